"""The Kafka that all tests share, and brokers of a kind that only some tests need."""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from stream.broker import quick_start
from stream.broker.local_kafka import LocalKafka, serves
from stream.broker.ports import free_ports

BROKER_VARIABLE: Final = "INTEREST_STREAM_TEST_BROKER"
"""Name of the variable that names a Kafka for the tests, in place of one of their own."""
IMAGE_VARIABLE: Final = "INTEREST_STREAM_KAFKA_IMAGE"
IMAGE: Final = "docker.io/apache/kafka:4.3.1"
START_S: Final = 400.0
"""Longest wait for a broker to serve, on a machine that does much else."""


LENT: Final[list[LocalKafka]] = []
"""Brokers of their own that tests of a module have now."""


@dataclass(frozen=True)
class Kafka:
    """Names a broker that tests share, and gives each test names of its own.

    Data of one must not meet another's.
    """

    bootstrap: str
    run: str = field(default_factory=lambda: secrets.token_hex(3))
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def url(self) -> str:
        return f"kafka://{self.bootstrap}"

    def unique(self, name: str) -> str:
        """Returns a name of topic, group or application that no other test uses."""
        return f"{name}-{self.run}-{next(self.numbers)}"


@contextmanager
def broker_of_its_own(folder: Path, heap_mb: int = 512) -> Iterator[LocalKafka]:
    """Runs a broker that a test may break, and removes it with its data."""
    port, controller_port = free_ports(2)
    broker = LocalKafka(folder, port, controller_port, heap_mb, short_lived=True)
    LENT.append(broker)
    try:
        broker.start(START_S)
        yield broker
    finally:
        remove(broker)
        LENT.remove(broker)


def lent() -> list[int]:
    """Returns the processes of brokers that outlive the test which has started them again."""
    return [broker.status().pid or 0 for broker in LENT]


def remove(broker: LocalKafka) -> None:
    """Ends a broker at once, and removes its data, which nobody needs any more."""
    broker.kill()
    shutil.rmtree(broker.data_dir, ignore_errors=True)


def join_shared(folder: Path) -> LocalKafka:
    """Returns the broker in a folder.

    The first process of the suite that asks for it starts it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    address = folder / "ports"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not address.exists():
            quick_start.prepare()  # some twenty brokers are started after this one
            address.write_text("{} {}".format(*free_ports(2)), encoding="ascii")
        port, controller_port = map(int, address.read_text(encoding="ascii").split())
        broker = LocalKafka(folder / "broker", port, controller_port, short_lived=True)
        broker.start(START_S)
    return broker


def end_all(folder: Path) -> None:
    """Ends every broker whose data lies below a folder.

    The shared one, and what an interrupted test has left.
    """
    for record in list(folder.rglob("broker.json")):
        remove(LocalKafka(record.parent))


@contextmanager
def container() -> Iterator[str]:
    """Runs a Kafka of the image in a container; gives its address."""
    from testcontainers.core.container import DockerContainer

    port, controller_port = free_ports(2)  # clients are told the address before the start
    settings = {
        "NODE_ID": "1",
        "PROCESS_ROLES": "broker,controller",
        "CONTROLLER_QUORUM_VOTERS": f"1@localhost:{controller_port}",
        "LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:{controller_port}",
        "ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "AUTO_CREATE_TOPICS_ENABLE": "false",
        "GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        "OFFSETS_TOPIC_NUM_PARTITIONS": "1",
        "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
        "SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
    }
    started = DockerContainer(os.environ.get(IMAGE_VARIABLE, IMAGE)).with_bind_ports(port, port)
    for name, value in settings.items():
        started.with_env(f"KAFKA_{name}", value)
    with started:
        deadline = time.monotonic() + START_S
        while not serves(f"127.0.0.1:{port}"):
            engine = started.get_wrapped_container()
            engine.reload()
            if engine.status == "exited" or time.monotonic() > deadline:
                out, err = started.get_logs()
                told = (out + err).decode(errors="replace")[-2000:]
                pytest.fail(
                    f"the Kafka container does not serve ({engine.status}):\n{told}", pytrace=False
                )
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
