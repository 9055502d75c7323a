"""Runs a broker with a second listener for strangers: TLS, a login, rights by topic and group.

The first listener is for the test itself.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from aiokafka.protocol.admin import CreateAclsRequest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from stream.broker.folder import KafkaFolder
from stream.broker.local_kafka import SHORT_LIVED, LocalKafka, java_environment, new_uuid
from stream.broker.ports import free_ports
from stream.config import Settings
from tests.support.brokers import START_S, remove
from tests.support.topics import request

STORE_PASSWORD: Final = "store-password"
TOPIC, GROUP, TRANSACTIONAL_ID = 2, 3, 5
LITERAL, PREFIXED = 3, 4
READ, WRITE, DESCRIBE, DESCRIBE_CONFIGS = 3, 4, 8, 10
DENY, ALLOW = 2, 3

Rule = tuple[int, str, int, tuple[int, ...]]
"""Resource type, name, pattern, operations."""


class SecuredFolder(KafkaFolder):
    """With the listener SECURED and an authorizer that knows the test by having no name."""

    secured_port = 0

    @property
    def certificate(self) -> Path:
        """Self-signed: the broker's, and what a client has to trust."""
        return self.root / "ca.pem"

    def write_properties(self, port: int, controller_port: int) -> None:
        super().write_properties(port, controller_port)
        own, controller = (
            f"PLAINTEXT://127.0.0.1:{port}",
            f"CONTROLLER://127.0.0.1:{controller_port}",
        )
        secured = f"SECURED://127.0.0.1:{self.secured_port}"
        more = (
            f"listeners={own},{controller},{secured}\n"
            f"advertised.listeners={own},{secured}\n"
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURED:SASL_SSL\n"
            f"listener.name.secured.ssl.keystore.location={self.root / 'broker.p12'}\n"
            f"listener.name.secured.ssl.keystore.password={STORE_PASSWORD}\n"
            "listener.name.secured.ssl.keystore.type=PKCS12\n"
            "listener.name.secured.sasl.enabled.mechanisms=SCRAM-SHA-512,OAUTHBEARER\n"
            "listener.name.secured.scram-sha-512.sasl.jaas.config="
            "org.apache.kafka.common.security.scram.ScramLoginModule required;\n"
            # takes unsecured tokens (tests/support/tokens.py), and ends a session with its token
            "listener.name.secured.oauthbearer.sasl.jaas.config="
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;\n"
            "listener.name.secured.oauthbearer.connections.max.reauth.ms=3600000\n"
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
            "super.users=User:ANONYMOUS\n"
            "allow.everyone.if.no.acl.found=false\n"
        )
        with self.properties.open("a", encoding="ascii") as properties:
            properties.write(more)


class SecuredKafka(LocalKafka):
    """`users`: names and passwords."""

    folder: SecuredFolder
    users: dict[str, str]

    @property
    def secured_url(self) -> str:
        return f"kafka://127.0.0.1:{self.folder.secured_port}"

    def prepare_data(self, class_path: str) -> None:
        if self.folder.formatted():
            return
        make_certificate(self.folder.root / "broker.p12", self.folder.certificate)
        scram = [
            f"SCRAM-SHA-512=[name={name},password={password}]"
            for name, password in self.users.items()
        ]
        added = [word for each in scram for word in ("--add-scram", each)]
        tool = self.java_command(class_path, 256, *SHORT_LIVED, "kafka.tools.StorageTool", "format")
        subprocess.run(
            [*tool, "-t", new_uuid(), "-c", str(self.folder.properties), *added],
            check=True,
            capture_output=True,
            env=java_environment(),
        )


def make_certificate(store: Path, certificate: Path) -> None:
    """A key of the broker in a store, and its certificate.

    Java's own tool for it would be started twice, which takes seconds.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    here, now = x509.IPAddress(IPv4Address("127.0.0.1")), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([here]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=False)
        .sign(key, hashes.SHA256())
    )
    locked = BestAvailableEncryption(STORE_PASSWORD.encode())
    store.write_bytes(pkcs12.serialize_key_and_certificates(b"broker", key, made, None, locked))
    certificate.write_bytes(made.public_bytes(Encoding.PEM))


@contextmanager
def secured_cluster(folder: Path, users: dict[str, str]) -> Iterator[SecuredKafka]:
    """One broker, gone at the end."""
    port, controller_port, secured_port = free_ports(3)
    broker = SecuredKafka(folder, port, controller_port, heap_mb=512, short_lived=True)
    broker.folder, broker.users = SecuredFolder(folder), users
    broker.folder.secured_port = secured_port
    try:
        broker.start(START_S)
        yield broker
    finally:
        remove(broker)


def rights_of_a_worker(settings: Settings) -> dict[str, Rule]:
    """The tables of docs/operate/security.md, by what each is about."""
    out = (WRITE, DESCRIBE, DESCRIBE_CONFIGS)
    return {
        "clickstream": (TOPIC, settings.events_topic, LITERAL, (READ, DESCRIBE, DESCRIBE_CONFIGS)),
        "group": (GROUP, settings.app_id, LITERAL, (READ, DESCRIBE)),
        "changelog": (TOPIC, f"{settings.app_id}-", PREFIXED, (READ, *out)),
        "fence": (TRANSACTIONAL_ID, f"{settings.app_id}-", PREFIXED, (WRITE, DESCRIBE)),
        "updates": (TOPIC, settings.updates_topic, LITERAL, out),
        "profiles": (TOPIC, settings.profiles_topic, LITERAL, out),
        "dead letters": (TOPIC, settings.dead_letters_topic, LITERAL, (READ, *out)),
    }


def rule(settings: Settings, user: str, rights: Rule, permission: int = ALLOW) -> None:
    """Add rights of a user, or (DENY) take them, which counts for more."""

    kind, name, pattern, operations = rights
    answers = request(
        settings,
        *(
            CreateAclsRequest(kind, name, pattern, f"User:{user}", "*", operation, permission)
            for operation in operations
        ),
    )
    assert not any(error for each in answers for error, _ in each.creation_responses), answers
