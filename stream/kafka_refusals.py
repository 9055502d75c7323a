"""Why Kafka does not let a client in, in words with the setting to mend. aiokafka says only that it could not bootstrap."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)


async def refusal(address: str, options: dict[str, Any], timeout_s: float) -> str:
    """What one connection to host:port is told; empty when it is let in, or nothing better than silence comes back.

    options: as of kafka_client.client_options.
    """
    host, _, port = address.rpartition(":")
    security = {name: value for name, value in options.items() if name.startswith(("sasl_", "ssl_", "security_"))}
    try:
        connection = await create_conn(
            host.strip("[]"), int(port), request_timeout_ms=int(timeout_s * 1000), **security
        )
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not trusted ({error.verify_message}); set ssl_cafile to the CA that signed it"
    except ssl.SSLError as error:
        return f"no TLS there ({error.reason or error}); security_protocol is {options['security_protocol']}, check it and the port"
    except (AuthenticationFailedError, SaslAuthenticationFailed, UnsupportedSaslMechanismError) as error:
        return (
            f"it refused sasl_username {options.get('sasl_plain_username')!r} with this sasl_password "
            f"and sasl_mechanism {options.get('sasl_mechanism')} ({type(error).__name__}); check the three"
        )
    except (KafkaError, TimeoutError, OSError, asyncio.IncompleteReadError):
        return ""
    connection.close()
    return ""
