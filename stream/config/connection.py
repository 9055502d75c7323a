"""Holds the settings by which every client of this project reaches Kafka: address and security."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from stream.config.fields import apply_rules, setting, wrong
from stream.config.kafka_options import KafkaOptions
from stream.config.schema_registry import REGISTRY_FILES, SchemaRegistrySettings
from stream.setting_rules import (
    Brokers,
    OneOf,
    Pairs,
    Place,
    SecretUrl,
    Text,
    TLSFileError,
    addresses_of,
    pairs_of,
    tls_context,
)

DEFAULT_BROKER: Final = "127.0.0.1:19092"
OAUTHBEARER: Final = "OAUTHBEARER"
AWS_MSK_IAM: Final = "AWS_MSK_IAM"
_LOGIN: Final = ("sasl_username", "sasl_password")
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "SCRAM-SHA-512": _LOGIN,
        "SCRAM-SHA-256": _LOGIN,
        "PLAIN": _LOGIN,
        OAUTHBEARER: ("oauth_token_url", "oauth_client_id", "oauth_client_secret"),
        AWS_MSK_IAM: ("aws_region",),
    }
)
"""Each mechanism, with the settings that it needs."""

_SENT_AS_THEY_ARE: Final[Mapping[str, str]] = MappingProxyType(
    {"PLAIN": "password", OAUTHBEARER: "token", AWS_MSK_IAM: "token"}
)
"""Mechanisms that hand the broker a secret which works for whoever reads it."""

FROM_FILES: Final = ("sasl_password", "oauth_client_id", "oauth_client_secret", *REGISTRY_FILES)
"""Settings that a setting with `_file` behind the name can take from a file."""


@dataclass(frozen=True, kw_only=True)
class ConnectionSettings(SchemaRegistrySettings):
    """Holds all that a client needs to reach Kafka and its schemas, one field a line."""

    broker: str = setting(
        DEFAULT_BROKER,
        "Kafka, as host:port; several with commas between them; IPv6 as [::1]:9092",
        Brokers(),
    )
    kafka_options: str = setting(
        "",
        "options of Kafka's clients as key=value with commas between them, as client.rack=zone-a",
        KafkaOptions(),
    )
    security_protocol: str = setting(
        "PLAINTEXT",
        "PLAINTEXT, SSL, SASL_SSL or SASL_PLAINTEXT",
        OneOf(("PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"), str.upper),
    )
    sasl_mechanism: str = setting(
        "SCRAM-SHA-512",
        "SCRAM-SHA-512, SCRAM-SHA-256; over TLS only: PLAIN, OAUTHBEARER or AWS_MSK_IAM",
        OneOf(tuple(_NEEDED), str.upper),
    )
    sasl_username: str = setting("", "with SCRAM and PLAIN", Text())
    sasl_password: str = setting("", "with SCRAM and PLAIN; no option of the command line", Text())
    sasl_password_file: str = setting("", "file that holds the password", Place())
    oauth_token_url: str = setting(
        "", "with OAUTHBEARER: where tokens are given for client credentials", SecretUrl()
    )
    oauth_client_id: str = setting("", "with OAUTHBEARER: who asks for a token", Text())
    oauth_client_id_file: str = setting("", "file that holds it", Place())
    oauth_client_secret: str = setting(
        "", "with OAUTHBEARER: the secret of the client; no option of the command line", Text()
    )
    oauth_client_secret_file: str = setting("", "file that holds it", Place())
    oauth_scope: str = setting("", "with OAUTHBEARER: scopes to ask for, spaces between", Text())
    oauth_audience: str = setting(
        "", "with OAUTHBEARER: audience to ask for, where the giver of tokens wants one", Text()
    )
    oauth_extensions: str = setting(
        "",
        "with OAUTHBEARER: key=value with commas between them, as logicalCluster=lkc-1 for "
        "Confluent Cloud",
        Pairs(),
    )
    oauth_cafile: str = setting(
        "", "CA certificates for oauth_token_url; empty: the system's", Place()
    )
    aws_region: str = setting("", "with AWS_MSK_IAM: region of the cluster, as eu-west-1", Text())
    ssl_cafile: str = setting("", "CA certificates of Kafka; empty: the system's", Place())
    ssl_certfile: str = setting("", "client certificate", Place())
    ssl_keyfile: str = setting("", "its key", Place())

    def __post_init__(self) -> None:
        apply_rules(self)
        self._read_files()
        self._check_security()

    def _read_files(self) -> None:
        """Takes secrets from the files that are named for them."""
        for name in FROM_FILES:
            path = getattr(self, f"{name}_file")
            if not path:
                continue
            found = _text_of(f"{name}_file", path)
            if getattr(self, name) not in ("", found):
                fix = f"{name} is given too, and is another; give one of the two"
                raise wrong(f"{name}_file", path, fix)
            object.__setattr__(self, name, found)

    def _check_security(self) -> None:
        # the combinations that would show a secret to anyone on the network
        shown = _SENT_AS_THEY_ARE.get(self.sasl_mechanism)
        if self.security_protocol == "SASL_PLAINTEXT" and shown:
            raise wrong(
                "security_protocol",
                self.security_protocol,
                f"SASL {self.sasl_mechanism} without TLS sends the {shown} in the clear; set it to "
                "SASL_SSL",
            )
        if self.uses_sasl:
            for name in _NEEDED[self.sasl_mechanism]:
                if not getattr(self, name):
                    raise wrong(
                        name,
                        "",
                        f"set it, because security_protocol is {self.security_protocol} with "
                        f"{self.sasl_mechanism}",
                    )
        if self.ssl_cafile or self.ssl_certfile or self.ssl_keyfile:
            self.tls_context()
        if self.oauth_cafile:
            self.oauth_tls_context()
        self.check_schema_registry()

    @property
    def uses_sasl(self) -> bool:
        """Returns whether a client says who it is by SASL."""
        return self.security_protocol.startswith("SASL_")

    @property
    def uses_tls(self) -> bool:
        """Returns whether a client speaks TLS."""
        return self.security_protocol.endswith("SSL")

    @property
    def principal(self) -> str:
        """Returns who this client says it is, empty where that is no setting."""
        name = self.oauth_client_id if self.sasl_mechanism == OAUTHBEARER else self.sasl_username
        return name if self.uses_sasl and self.sasl_mechanism != AWS_MSK_IAM else ""

    @property
    def bootstrap(self) -> list[str]:
        """Returns the brokers as host:port."""
        return addresses_of(self.broker)

    @property
    def extensions(self) -> dict[str, str]:
        """Returns what goes to the broker beside the token."""
        return pairs_of(self.oauth_extensions)

    def tls_context(self) -> ssl.SSLContext:
        """Returns how to speak TLS; raises SettingsError naming a file that cannot be used."""
        try:
            return tls_context(self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile)
        except TLSFileError as error:
            raise wrong(error.name, error.path, str(error)) from None

    def oauth_tls_context(self) -> ssl.SSLContext:
        """Returns how to speak TLS with the giver of tokens; raises SettingsError."""
        try:
            return tls_context(self.oauth_cafile, "", "")
        except TLSFileError as error:
            raise wrong("oauth_cafile", error.path, str(error)) from None


def _text_of(name: str, path: str) -> str:
    """Returns the text of a file without the line end; raises SettingsError."""
    try:
        found = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise wrong(name, path, f"it cannot be read ({reason}); name a text file") from None
    if not found:
        raise wrong(name, path, "that file is empty; write the secret into it")
    return found
