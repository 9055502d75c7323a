"""Finds out why Kafka does not let a client in, and which setting to mend.

aiokafka says only that it could not bootstrap.
"""

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

from stream.kafka.security.tokens import TokenError
from stream.plain_text import plain


async def refusal(address: str, options: dict[str, Any], timeout_s: float) -> str:
    """Returns why one connection to host:port is refused.

    It is empty when the client is let in, or nothing better than silence comes back.

    options: as of stream.kafka.client.client_options.
    """
    # a bare connection with the client's security, without retries or bootstrapping
    host, _, port = address.rpartition(":")
    security = {
        name: value
        for name, value in options.items()
        if name.startswith(("sasl_", "ssl_", "security_"))
    }
    try:
        connection = await create_conn(
            host.strip("[]"), int(port), request_timeout_ms=int(timeout_s * 1000), **security
        )
    # each error that names its cause becomes a message that names the setting
    except TokenError as error:
        return str(error)
    except ssl.SSLCertVerificationError as error:
        return (
            f"its certificate is not trusted ({error.verify_message}); "
            "set ssl_cafile to the CA that signed it"
        )
    except ssl.SSLError as error:
        return (
            f"no TLS there ({error.reason or error}); "
            f"security_protocol is {options['security_protocol']}, check it and the port"
        )
    except (
        AuthenticationFailedError,
        SaslAuthenticationFailed,
        UnsupportedSaslMechanismError,
    ) as error:
        if "sasl_oauth_token_provider" in options:
            return (
                f"it refused the token of this client ({type(error).__name__}: {plain(str(error))}"
                "); check the scope and audience of the token, and what the listener expects"
            )
        return (
            f"it refused sasl_username {options.get('sasl_plain_username')!r} with this "
            "sasl_password "
            f"and sasl_mechanism {options.get('sasl_mechanism')} ({type(error).__name__}); check "
            "the three"
        )
    except (KafkaError, TimeoutError, OSError, asyncio.IncompleteReadError):
        return ""  # nothing better than silence
    connection.close()
    return ""
