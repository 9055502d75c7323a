"""Turns keyword arguments and the environment into the settings of a Kafka client."""

from __future__ import annotations

from typing import TypedDict

from stream.config import Settings, from_environment
from stream.errors import SettingsError


class Connection(TypedDict, total=False):
    """Names how to reach Kafka. What is not given comes from the environment, INTEREST_STREAM_*.

    They are the settings of the same names: `broker` is INTEREST_STREAM_BROKER, and so on for the
    others. `config` names a TOML file of settings, which come last.
    """

    config: str
    broker: str  # host:port, several with commas between them
    kafka_options: str  # key=value with commas between them, as client.rack=zone-a
    security_protocol: str  # PLAINTEXT, SSL, SASL_SSL or SASL_PLAINTEXT
    sasl_mechanism: str  # SCRAM-SHA-512, SCRAM-SHA-256; over TLS PLAIN, OAUTHBEARER, AWS_MSK_IAM
    sasl_username: str
    sasl_password: str
    sasl_password_file: str
    oauth_token_url: str
    oauth_client_id: str
    oauth_client_id_file: str
    oauth_client_secret: str
    oauth_client_secret_file: str
    oauth_scope: str
    oauth_audience: str
    oauth_extensions: str  # as logicalCluster=lkc-1
    oauth_cafile: str
    aws_region: str
    ssl_cafile: str
    ssl_certfile: str
    ssl_keyfile: str
    schema_registry: str  # as https://host:8081, where updates are published as Avro
    schema_registry_username: str
    schema_registry_password: str
    schema_registry_password_file: str
    schema_registry_token: str
    schema_registry_token_file: str
    schema_registry_cafile: str
    schema_registry_certfile: str
    schema_registry_keyfile: str


def settings_of(connection: Connection, **topics: str | None) -> Settings:
    """Returns checked settings; raises SettingsError naming the setting and the fix."""
    unknown = sorted(set(connection) - Connection.__annotations__.keys())
    if unknown:
        known = ", ".join(Connection.__annotations__)
        raise SettingsError(f"{unknown[0]} is no option of a connection; use one of {known}")
    return from_environment(**connection, **topics)
