"""Connects to Kafka: addresses, security, and a clear message when nobody answers."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
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

from stream.config import OAUTHBEARER, Settings
from stream.config.kafka_options import keywords_of
from stream.errors import BrokerError
from stream.kafka.security.bearer_connection import use_bearer_connections
from stream.kafka.security.refusals import refusal
from stream.kafka.security.tokens import token_provider

CONNECT_TIMEOUT_S = 8.0
START_TIMEOUT_S = 20.0
MOST_TRIED = 10
"""Advertised addresses of a large cluster that are tried."""


def client_options(settings: Settings, consumer: bool = False) -> dict[str, Any]:
    """Returns the keyword arguments that every aiokafka client takes: address and security.

    To them come the options of --kafka-option; some of these are a consumer's alone. Raises
    SettingsError if a library that the settings need is not installed.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap,
        "security_protocol": settings.security_protocol,
        **keywords_of(settings.kafka_options, consumer),
    }
    if settings.uses_tls:
        options["ssl_context"] = settings.tls_context()
    provider = token_provider(settings)
    if provider is not None:
        use_bearer_connections()
        # AWS_MSK_IAM is a token like others to a broker, and to aiokafka
        options["sasl_mechanism"] = OAUTHBEARER
        options["sasl_oauth_token_provider"] = provider
    elif settings.uses_sasl:
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = settings.sasl_password
    return options


async def check_reachable(bootstrap: list[str], timeout_s: float = CONNECT_TIMEOUT_S) -> None:
    """Raises BrokerError when no address accepts a connection.

    The message names each address and its reason.
    """
    reasons = await asyncio.gather(*(_refusal(address, timeout_s) for address in bootstrap))
    if all(reasons):
        refused = "; ".join(
            f"{address}: {reason}" for address, reason in zip(bootstrap, reasons, strict=True)
        )
        raise BrokerError(
            f"no Kafka broker answers ({refused}); "
            "start one with 'interest-stream broker start', or name yours with --broker host:port"
        )


@asynccontextmanager
async def admin_client(
    bootstrap: list[str], timeout_s: float = CONNECT_TIMEOUT_S, **options: Any
) -> AsyncIterator[AIOKafkaAdminClient]:
    """Yields a started admin client, and closes it at the end.

    `options` are as of client_options, without the address. Raises BrokerError within about
    `timeout_s` when nobody answers, or what answers is not Kafka.
    """
    await check_reachable(bootstrap, timeout_s)
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap, request_timeout_ms=int(timeout_s * 1000), **options
    )
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
    """Makes a started admin client try each broker with a request that any of them can answer.

    aiokafka asks a random one, once, and of several one may be away. Raises BrokerError when none
    answers.
    """
    # every request of the admin client goes through this method; there is no public hook
    send = admin._send_request

    async def send_to_any(request: Any, node_id: int | None = None) -> Any:
        if node_id is not None:
            return await send(request, node_id)
        # the brokers that the client knows are known to its network client alone
        brokers = list(admin._client.cluster.brokers())
        reasons = []
        for broker in random.sample(brokers, len(brokers)):
            try:
                return await send(request, broker.nodeId)
            except (NodeNotReadyError, KafkaConnectionError, RequestTimedOutError) as error:
                reasons.append(f"broker {broker.nodeId}: {error}")
        await check_advertised(admin._client)
        raise silent(admin._client, "; ".join(reasons) or "none is known")

    admin._send_request = send_to_any


def silent(client: AIOKafkaClient, reason: str) -> BrokerError:
    """Returns the error of a client to which none of the brokers that it knows answers."""
    known = [_address(each.host, each.port) for each in client.cluster.brokers()]
    return BrokerError(
        f"no Kafka broker answers any more ({reason}); they advertise {', '.join(sorted(known))}: "
        "see whether they run, and whether these addresses lead to them from here "
        "(advertised.listeners)"
    )


async def check_advertised(client: AIOKafkaClient) -> None:
    """Raises BrokerError if none of the addresses that the brokers advertise can be reached.

    A client asks a bootstrap address only for the list of brokers; from then on it uses the
    addresses in that list, which name a host that only the brokers know if `advertised.listeners`
    is wrong. The message names each with the reason.
    """
    asked = sorted(_address(host, port) for host, port, _ in client.hosts)
    advertised = sorted({_address(each.host, each.port) for each in client.cluster.brokers()})
    if not advertised or not set(advertised).isdisjoint(asked):
        return
    some = advertised[:MOST_TRIED]
    reasons = await asyncio.gather(*(_refusal(each, CONNECT_TIMEOUT_S) for each in some))
    if all(reasons):
        listed = ", ".join(
            f"{address}, which cannot be reached from here ({reason})"
            for address, reason in zip(some, reasons, strict=True)
        )
        raise BrokerError(
            f"the broker at {', '.join(asked)} advertises {listed}; "
            "set advertised.listeners of the broker to an address that clients can reach"
        )


async def start_client(client: Any, settings: Settings, timeout_s: float = START_TIMEOUT_S) -> None:
    """Starts a consumer or producer, or closes it and raises BrokerError.

    That is raised when nobody answers, what answers is not Kafka, or the client may not write.
    """
    try:
        await check_reachable(settings.bootstrap)
        with quiet_aiokafka():
            await asyncio.wait_for(client.start(), timeout_s)
        # a consumer connects to the brokers of the list later, a producer has done so by now
        if isinstance(client, AIOKafkaConsumer):
            await check_advertised(client._client)
    except ClusterAuthorizationFailedError as error:
        # an idempotent producer gets an id if it may write to any topic at all
        await client.stop()
        raise BrokerError(
            f"{settings.principal or 'this client'!r} is not allowed to write to any topic "
            f"({type(error).__name__}); "
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


async def open_producer(settings: Settings, **options: Any) -> AIOKafkaProducer:
    """Returns a started producer whose writes are idempotent and acknowledged by all replicas.

    `options` are aiokafka's. Raises BrokerError.
    """
    producer = AIOKafkaProducer(
        acks="all", enable_idempotence=True, **options, **client_options(settings)
    )
    await start_client(producer, settings)
    return producer


def heed_group_errors(consumer: AIOKafkaConsumer) -> None:
    """Makes a started consumer ask again when its group's offsets could not be read.

    They cannot while the coordinator loads them. From version 2 of the answer on Kafka says so for
    the whole group, with no partition in it; aiokafka 0.14 looks at partitions only and takes it
    for "nothing committed" (docs/understand/upstream/offsets-of-a-loading-group.md).
    """
    # the coordinator has no public name, and every request of it goes through `_send_req`
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


async def _not_kafka(
    bootstrap: list[str], options: dict[str, Any], error: Exception
) -> BrokerError:
    with quiet_aiokafka():
        for address in bootstrap:
            reason = await refusal(address, options, CONNECT_TIMEOUT_S)
            if reason:
                return BrokerError(f"{address} does not let this client in: {reason}")
        try:
            await _check_brokers_of(bootstrap, options)
        except BrokerError as advertised:
            return advertised
    return BrokerError(
        f"{', '.join(bootstrap)} accepts connections but does not answer as Kafka "
        f"({str(error) or type(error).__name__}); check --broker and the security settings "
        f"(security_protocol is {options.get('security_protocol', 'PLAINTEXT')})"
    )


async def _check_brokers_of(bootstrap: list[str], options: dict[str, Any]) -> None:
    """Asks for the list of brokers and raises BrokerError if none of them can be reached."""
    security = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    client = AIOKafkaClient(bootstrap_servers=bootstrap, **security)
    try:
        await asyncio.wait_for(client.bootstrap(), CONNECT_TIMEOUT_S)
        await check_advertised(client)
    except (KafkaError, TimeoutError, OSError):
        return  # it does not even say which brokers there are
    finally:
        await client.close()


def _address(host: str, port: int) -> str:
    """Returns host:port, with brackets around an IPv6 host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def quiet_aiokafka() -> Iterator[None]:
    """Silences aiokafka while a client connects.

    It logs each refused try as an error, and the caller reports once instead.
    """
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
        _reader, writer = await asyncio.wait_for(
            asyncio.open_connection(host.strip("[]"), int(port)), timeout_s
        )
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
