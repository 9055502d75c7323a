"""Connecting to Kafka: one place for addresses, security and a clear word when nobody answers."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    NoError,
    NotCoordinatorForGroupError,
    RequestTimedOutError,
    for_code,
)
from aiokafka.protocol.commit import OffsetFetchRequest

from stream.config import Settings
from stream.errors import BrokerError
from stream.kafka_refusals import refusal

CONNECT_TIMEOUT_S = 8.0
START_TIMEOUT_S = 20.0


def client_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client takes: address and security."""
    options: dict[str, Any] = {"bootstrap_servers": settings.bootstrap, "security_protocol": settings.security_protocol}
    if settings.security_protocol in ("SSL", "SASL_SSL"):
        context = ssl.create_default_context(cafile=settings.ssl_cafile or None)
        if settings.ssl_certfile:
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile or None)
        options["ssl_context"] = context
    if settings.security_protocol.startswith("SASL_"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = settings.sasl_password
    return options


async def check_reachable(bootstrap: list[str], timeout_s: float = CONNECT_TIMEOUT_S) -> None:
    """Raises BrokerError, naming each address and its reason, when no address accepts a connection."""
    reasons = await asyncio.gather(*(_refusal(address, timeout_s) for address in bootstrap))
    if all(reasons):
        told = "; ".join(f"{address}: {reason}" for address, reason in zip(bootstrap, reasons, strict=True))
        raise BrokerError(
            f"no Kafka broker answers ({told}); "
            "start one with 'interest-stream broker start', or name yours with --broker kafka://host:port"
        )


@asynccontextmanager
async def admin_client(
    bootstrap: list[str], timeout_s: float = CONNECT_TIMEOUT_S, **options: Any
) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client, closed at the end. `options` as of client_options, without the address.

    Raises BrokerError within about `timeout_s` when nobody answers, or what answers is not Kafka.
    """
    await check_reachable(bootstrap, timeout_s)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=int(timeout_s * 1000), **options)
    try:
        with quiet_aiokafka():
            try:
                await asyncio.wait_for(admin.start(), timeout_s)
            except (KafkaError, TimeoutError, OSError) as error:
                raise await _not_kafka(bootstrap, options, error) from error
            ask_any(admin)
            yield admin
    finally:
        await admin.close()


def ask_any(admin: AIOKafkaAdminClient) -> None:
    """Make a started admin client put a question that any broker can answer to the next one, where the first does not.

    aiokafka asks a random one, once; of several, one may be away. BrokerError when none answers.
    """
    send = admin._send_request

    async def send_to_any(request: Any, node_id: int | None = None) -> Any:
        if node_id is not None:
            return await send(request, node_id)
        nodes = [broker.nodeId for broker in admin._client.cluster.brokers()]
        reasons = []
        for node in random.sample(nodes, len(nodes)):
            try:
                return await send(request, node)
            except (NodeNotReadyError, KafkaConnectionError, RequestTimedOutError) as error:
                reasons.append(f"{node}: {error}")
        raise BrokerError(f"no Kafka broker answers any more ({'; '.join(reasons) or 'none is known'})")

    admin._send_request = send_to_any


async def start_client(client: Any, settings: Settings, timeout_s: float = START_TIMEOUT_S) -> None:
    """Start a consumer or producer, or close it and raise BrokerError: nobody answers, or what answers is not Kafka."""
    try:
        await check_reachable(settings.bootstrap)
        with quiet_aiokafka():
            await asyncio.wait_for(client.start(), timeout_s)
    except (
        ClusterAuthorizationFailedError
    ) as error:  # an idempotent producer gets an id if it may write to any topic at all
        await client.stop()
        raise BrokerError(
            f"{settings.sasl_username or 'this client'!r} is not allowed to write to any topic ({type(error).__name__}); "
            "see the table of rights in the runbook"
        ) from error
    except (KafkaError, TimeoutError, OSError) as error:
        await client.stop()
        raise await _not_kafka(settings.bootstrap, client_options(settings), error) from error
    except BaseException:
        await client.stop()
        raise
    if isinstance(client, AIOKafkaConsumer):
        heed_group_errors(client)


def heed_group_errors(consumer: AIOKafkaConsumer) -> None:
    """Make a started consumer ask again when its group's offsets could not be read, as while the coordinator loads them.

    From version 2 of the answer on Kafka says so for the whole group, with no partition in it; aiokafka 0.14 looks at partitions
    only and takes it for "nothing committed" (docs/upstream/offsets-of-a-loading-group.md).
    """
    coordinator = consumer._coordinator
    if not hasattr(coordinator, "coordinator_dead"):  # of a consumer without a group
        return
    send = coordinator._send_req

    async def heeding(request: Any) -> Any:
        answer = await send(request)
        error = for_code(answer.error_code) if isinstance(request, OffsetFetchRequest) else NoError
        if error is NoError:
            return answer
        if error is NotCoordinatorForGroupError:
            coordinator.coordinator_dead()
        raise error()

    coordinator._send_req = heeding


async def _not_kafka(bootstrap: list[str], options: dict[str, Any], error: Exception) -> BrokerError:
    with quiet_aiokafka():
        for address in bootstrap:
            reason = await refusal(address, options, CONNECT_TIMEOUT_S)
            if reason:
                return BrokerError(f"{address} does not let this client in: {reason}")
    return BrokerError(
        f"{', '.join(bootstrap)} accepts connections but does not answer as Kafka "
        f"({str(error) or type(error).__name__}); check --broker and the security settings "
        f"(security_protocol is {options.get('security_protocol', 'PLAINTEXT')})"
    )


@contextmanager
def quiet_aiokafka() -> Iterator[None]:
    """While connecting, aiokafka logs each refused try as an error; the caller reports once instead."""
    logger = logging.getLogger("aiokafka")
    before = logger.level
    if not logger.isEnabledFor(logging.INFO):
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


async def _refusal(address: str, timeout_s: float) -> str | None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return "not host:port"
    try:
        _reader, writer = await asyncio.wait_for(asyncio.open_connection(host.strip("[]"), int(port)), timeout_s)
    except TimeoutError:
        return f"no answer in {timeout_s:g} s"
    except (OSError, OverflowError) as error:
        return (
            os.strerror(error.errno).lower()
            if isinstance(error, OSError) and error.errno and error.errno > 0
            else str(error)
        )
    writer.close()
    return None
