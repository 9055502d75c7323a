"""A real Kafka for the tests that need one, and guards that no test leaves anything running behind."""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
import pytest

from stream import logs
from stream.local_kafka import LocalKafka, serves
from stream.ports import free_ports

# a busy machine is no failure: no example has a deadline, and slow generation is not unhealthy
hypothesis.settings.register_profile("house", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("house")

# what a shell starts in the background ignores Ctrl-C, and so would the commands under test, which inherit it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

BROKER_VARIABLE = "INTEREST_STREAM_TEST_BROKER"
IMAGE_VARIABLE = "INTEREST_STREAM_KAFKA_IMAGE"
IMAGE = "docker.io/apache/kafka:4.3.1"


@dataclass(frozen=True)
class Kafka:
    """The broker that the tests share. Names must be unique: data of one test must not meet another's."""

    bootstrap: str
    run: str = field(default_factory=lambda: secrets.token_hex(3))
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def url(self) -> str:
        return f"kafka://{self.bootstrap}"

    def unique(self, name: str) -> str:
        """A name of topic, group or application that no other test uses."""
        return f"{name}-{self.run}-{next(self._numbers)}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kafka",
        choices=("jars", "container"),
        default="jars",
        help=f"The tests' Kafka, unless {BROKER_VARIABLE} names one: from Apache Kafka's jars, or a container.",
    )


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A Kafka that serves: named in the environment, else of our own. Not having one is a failure, never a skip."""
    with ExitStack() as stack:
        given = os.environ.get(BROKER_VARIABLE, "").removeprefix("kafka://")
        if given:
            if not serves(given):
                pytest.fail(f"{BROKER_VARIABLE} names {given}, and no Kafka serves there", pytrace=False)
            yield Kafka(given)
        elif request.config.getoption("--kafka") == "container":
            yield Kafka(stack.enter_context(_container()))
        else:
            yield Kafka(stack.enter_context(_from_jars(tmp_path_factory.mktemp("kafka"))))


@contextmanager
def _from_jars(folder: Path) -> Iterator[str]:
    port, controller_port = free_ports(2)
    broker = LocalKafka(folder, port, controller_port)
    broker.start(timeout_s=120)
    try:
        yield broker.bootstrap
    finally:
        broker.stop()


@contextmanager
def _container() -> Iterator[str]:
    from testcontainers.core.container import DockerContainer

    port, controller_port = free_ports(2)  # the address that clients are told must be known before the start
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
    container = DockerContainer(os.environ.get(IMAGE_VARIABLE, IMAGE)).with_bind_ports(port, port)
    for name, value in settings.items():
        container.with_env(f"KAFKA_{name}", value)
    with container:
        deadline = time.monotonic() + 100
        while not serves(f"127.0.0.1:{port}"):
            engine = container.get_wrapped_container()
            engine.reload()
            if engine.status == "exited" or time.monotonic() > deadline:
                out, err = container.get_logs()
                said = (out + err).decode(errors="replace")[-2000:]
                pytest.fail(f"the Kafka container does not serve ({engine.status}):\n{said}", pytrace=False)
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"


@pytest.fixture
def ports() -> list[int]:
    """Four free ports for a test that starts servers of its own."""
    return free_ports(4)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command called inside this process sets up logging for it; its handler would write to a closed file in the tests after it."""
    own, root = logging.getLogger("interest_stream"), logging.getLogger()
    levels = own.level, root.level
    yield
    root.handlers[:] = [each for each in root.handlers if not isinstance(each.formatter, logs.Utc)]
    own.setLevel(levels[0])
    root.setLevel(levels[1])


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves child processes or non-daemon threads running; end what it left."""
    if "kafka" in request.fixturenames:
        request.getfixturevalue("kafka")  # the shared broker is there before the count
    processes, threads = _children(), set(threading.enumerate())
    yield
    left = _settle(processes, threads)
    if left:
        pytest.fail("left running: " + "; ".join(left), pytrace=False)


def _settle(processes: dict[int, str], threads: set[threading.Thread], patience_s: float = 3.0) -> list[str]:
    """What is still there after a moment to end by itself."""
    deadline = time.monotonic() + patience_s
    while True:
        left = [f"process {pid} ({command})" for pid, command in _children().items() if pid not in processes]
        left += [
            f"thread {each.name}"
            for each in threading.enumerate()
            if each not in threads and not each.daemon and each.is_alive()
        ]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def _children() -> dict[int, str]:
    """Running children of this process, number to command line; none where the system has no /proc."""
    found: dict[int, str] = {}
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            numbers = [int(word) for word in task.read_text(encoding="utf-8").split()]
        except OSError:
            continue
        for pid in numbers:
            try:
                state = (
                    Path(f"/proc/{pid}/stat")
                    .read_text(encoding="utf-8", errors="replace")
                    .rpartition(")")[2]
                    .split()[0]
                )
                command = (
                    Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                )
            except OSError:
                continue
            if state not in "ZX":
                found[pid] = command[:120]
    return found
