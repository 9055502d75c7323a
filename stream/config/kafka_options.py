"""Says which options of a Kafka client may be given with `--kafka-option`, and which never may.

They are named as Kafka's own documentation names them; aiokafka's names are taken too. What a
setting of this project decides, or what exactness needs, is refused with the reason.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from stream.setting_rules import INT32, Number, Pairs, Rule, Text, pairs_of

_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class ClientOption:
    """Holds what one option may be, and which clients have it."""

    rule: Rule
    consumers_only: bool = False


CLIENT_OPTIONS: Final[Mapping[str, ClientOption]] = MappingProxyType(
    {
        "client.id": ClientOption(Text(needed=True)),
        "client.rack": ClientOption(Text(needed=True), consumers_only=True),
        "connections.max.idle.ms": ClientOption(Number(1_000, _DAY_MS, whole=True)),
        "fetch.max.bytes": ClientOption(Number(1, INT32, whole=True), consumers_only=True),
        "fetch.min.bytes": ClientOption(Number(1, INT32, whole=True), consumers_only=True),
        "metadata.max.age.ms": ClientOption(Number(1_000, _DAY_MS, whole=True)),
        "retry.backoff.ms": ClientOption(Number(1, 60_000, whole=True)),
    }
)

_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bootstrap.servers": "broker",
        "compression.type": "compression",
        "delivery.timeout.ms": "publish_timeout_s",
        "fetch.max.wait.ms": "fetch_max_wait_ms",
        "fetch.wait.max.ms": "fetch_max_wait_ms",
        "group.id": "app_id",
        "group.instance.id": "instance_id",
        "heartbeat.interval.ms": "heartbeat_s",
        "max.partition.fetch.bytes": "fetch_max_bytes",
        "max.poll.records": "max_batch_events",
        "request.timeout.ms": "publish_timeout_s",
        "sasl.jaas.config": "sasl_username and sasl_password_file",
        "sasl.mechanism": "sasl_mechanism",
        "sasl.mechanisms": "sasl_mechanism",
        "sasl.oauthbearer.client.id": "oauth_client_id",
        "sasl.oauthbearer.client.secret": "oauth_client_secret_file",
        "sasl.oauthbearer.extensions": "oauth_extensions",
        "sasl.oauthbearer.scope": "oauth_scope",
        "sasl.oauthbearer.token.endpoint.url": "oauth_token_url",
        "sasl.password": "sasl_password_file",
        "sasl.username": "sasl_username",
        "security.protocol": "security_protocol",
        "session.timeout.ms": "session_timeout_s",
        "ssl.ca.location": "ssl_cafile",
        "ssl.certificate.location": "ssl_certfile",
        "ssl.key.location": "ssl_keyfile",
        "ssl.keystore.location": "ssl_certfile and ssl_keyfile",
        "ssl.truststore.location": "ssl_cafile",
    }
)
"""Options that a setting of ours decides."""

_FIXED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "acks": "all",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": "false",
        "enable.idempotence": "true",
        "isolation.level": "read_committed",
        "transactional.id": "not used",
    }
)
"""Options with the only value with which no event is lost or counted twice."""


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """Takes options of Kafka's clients as KEY=VALUE."""

    def read(self, value: Any) -> str:
        """Returns them as key=value,key=value; raises ValueError naming a wrong one."""
        found: dict[str, str] = {}
        for key, given in Pairs().pairs(value):
            name = key.lower().replace("_", ".")
            option = _option(name)
            try:
                option.rule.read(_typed(option, given))
            except ValueError as error:
                raise ValueError(f"{name} in it is {given[:40]!r}: {error}") from None
            if found.setdefault(name, given) != given:
                raise ValueError(f"{name} stands in it with two values; give one")
        return ",".join(f"{name}={given}" for name, given in found.items())


def _option(name: str) -> ClientOption:
    """Returns what an option may be; raises ValueError for one that is not to be given."""
    if name in _SETTINGS:
        raise ValueError(f"{name} in it is a setting of ours; set {_SETTINGS[name]} instead")
    if name in _FIXED:
        raise ValueError(
            f"{name} in it cannot be set: it is {_FIXED[name]}, so that no event is lost or "
            "counted twice"
        )
    if name not in CLIENT_OPTIONS:
        near = difflib.get_close_matches(name, CLIENT_OPTIONS, n=1)
        raise ValueError(
            f"{name} in it is no option here; "
            + (f"did you mean {near[0]}?" if near else f"there are {', '.join(CLIENT_OPTIONS)}")
        )
    return CLIENT_OPTIONS[name]


def _typed(option: ClientOption, given: str) -> Any:
    """Returns a value as its rule wants it."""
    if isinstance(option.rule, Number):
        return int(given) if given.isascii() and given.isdigit() else given
    return given


def keywords_of(text: str, consumer: bool) -> dict[str, Any]:
    """Returns checked options as keyword arguments of aiokafka's clients, or of its consumer."""
    return {
        name.replace(".", "_"): _typed(CLIENT_OPTIONS[name], given)
        for name, given in pairs_of(text).items()
        if consumer or not CLIENT_OPTIONS[name].consumers_only
    }
