"""A broker with a second listener for strangers: TLS, SCRAM, and rights by topic and group. The first one is for the test itself."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from stream.config import Settings
from stream.kafka_folder import KafkaFolder
from stream.kafka_jars import java
from stream.local_kafka import LocalKafka, _environment
from stream.ports import free_ports

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
        own, controller = f"PLAINTEXT://127.0.0.1:{port}", f"CONTROLLER://127.0.0.1:{controller_port}"
        secured = f"SECURED://127.0.0.1:{self.secured_port}"
        more = (
            f"listeners={own},{controller},{secured}\n"
            f"advertised.listeners={own},{secured}\n"
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURED:SASL_SSL\n"
            f"listener.name.secured.ssl.keystore.location={self.root / 'broker.p12'}\n"
            f"listener.name.secured.ssl.keystore.password={STORE_PASSWORD}\n"
            "listener.name.secured.ssl.keystore.type=PKCS12\n"
            "listener.name.secured.sasl.enabled.mechanisms=SCRAM-SHA-512\n"
            "listener.name.secured.scram-sha-512.sasl.jaas.config="
            "org.apache.kafka.common.security.scram.ScramLoginModule required;\n"
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

    def _format(self, class_path: str) -> None:
        if self.folder.formatted():
            return
        make_certificate(self.folder.root / "broker.p12", self.folder.certificate)
        scram = [f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in self.users.items()]
        added = [word for each in scram for word in ("--add-scram", each)]
        tool = self._java(class_path, 256, "kafka.tools.StorageTool", "format", "-t", "Wdn5MvoZQcSy1Aou3w6VCg")
        subprocess.run(
            [*tool, "-c", str(self.folder.properties), *added], check=True, capture_output=True, env=_environment()
        )


def make_certificate(store: Path, certificate: Path) -> None:
    """A key of the broker in a store, and its certificate."""
    keytool = [
        str(java().with_name("keytool")),
        "-keystore",
        str(store),
        "-storepass",
        STORE_PASSWORD,
        "-alias",
        "broker",
    ]
    made = ["-genkeypair", "-keyalg", "EC", "-storetype", "PKCS12", "-validity", "2", "-dname", "CN=broker"]
    subprocess.run([*keytool, *made, "-ext", "san=ip:127.0.0.1", "-ext", "bc=ca:true"], check=True, capture_output=True)
    subprocess.run([*keytool, "-exportcert", "-rfc", "-file", str(certificate)], check=True, capture_output=True)


@contextmanager
def secured_cluster(folder: Path, users: dict[str, str]) -> Iterator[SecuredKafka]:
    """One broker, gone at the end."""
    port, controller_port, secured_port = free_ports(3)
    broker = SecuredKafka(folder, port, controller_port, heap_mb=512)
    broker.folder, broker.users = SecuredFolder(folder), users
    broker.folder.secured_port = secured_port
    broker.start(timeout_s=400)
    try:
        yield broker
    finally:
        broker.stop()


def rights_of_a_worker(settings: Settings) -> dict[str, Rule]:
    """The table of docs/runbook.md, by what each is about."""
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

    async def add() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
        await admin.start()
        try:
            kind, name, pattern, operations = rights
            for operation in operations:
                request = CreateAclsRequest(kind, name, pattern, f"User:{user}", "*", operation, permission)
                answer = await admin._send_request(request)
                assert [error for error, _ in answer.creation_responses] == [0], answer
        finally:
            await admin.close()

    asyncio.run(add())
