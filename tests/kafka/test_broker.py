"""The local broker, as a person uses it: real Kafka, real processes."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic

from stream.broker import jars
from stream.broker.local_kafka import LocalKafka
from stream.broker.processes import identity
from stream.errors import BrokerError
from stream.kafka.client import admin_client
from tests.support import processes
from tests.support.brokers import START_S, Kafka, remove
from tests.support.pipelines import PATIENCE_S

pytestmark = pytest.mark.kafka


@pytest.fixture
def broker(tmp_path: Path, ports: list[int]) -> Iterator[LocalKafka]:
    found = LocalKafka(tmp_path / "broker", ports[0], ports[1], heap_mb=384, short_lived=True)
    yield found
    remove(found)


def start(broker: LocalKafka) -> tuple[str, ...]:
    """Returns the command that starts a broker."""
    ports = ("--port", str(broker.port), "--controller-port", str(broker.controller_port))
    patient = ("--heap-mb", "384", "--timeout", str(START_S))
    return ("broker", "start", "--data-dir", str(broker.data_dir), *ports, *patient)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return processes.run(list(words))


def run_new(*words: str) -> subprocess.CompletedProcess[str]:
    """The same, started from nothing."""
    command = [*processes.COMMAND, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


async def write(bootstrap: str, topic: str, value: bytes) -> None:
    async with admin_client([bootstrap], timeout_s=PATIENCE_S) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True
    ) as producer:
        await producer.send_and_wait(topic, value)


async def read(bootstrap: str, topic: str) -> bytes | None:
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest"
    ) as consumer:
        record = await asyncio.wait_for(consumer.getone(), PATIENCE_S)
        value: bytes | None = record.value
        return value


def test_data_survives_stop_crash_and_another_port(broker: LocalKafka, ports: list[int]) -> None:
    assert broker.start(START_S)
    asyncio.run(write(broker.bootstrap, "kept", b"one"))
    assert broker.stop()
    assert broker.status().state == "stopped"

    moved = LocalKafka(broker.data_dir, ports[2], ports[3], heap_mb=384, short_lived=True)
    assert moved.start(START_S)
    assert asyncio.run(read(moved.bootstrap, "kept")) == b"one"
    assert moved.kill()

    assert broker.start(START_S)
    assert asyncio.run(read(broker.bootstrap, "kept")) == b"one"


def test_the_commands_start_tell_and_stop(broker: LocalKafka, ports: list[int]) -> None:
    """Two starts at once make one broker."""
    folder = ("--data-dir", str(broker.data_dir))
    stopped = run("broker", "status", *folder)
    assert (stopped.returncode, stopped.stdout.split(";")[0]) == (1, "stopped")
    command = [*processes.COMMAND, *start(broker)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate()[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert [each.split(" at ")[0] for each in said] == ["Kafka runs already", "Kafka serves"]
    assert all(broker.url in each for each in said)
    try:
        again = run(*start(broker))
        assert again.returncode == 0
        assert "runs already" in again.stdout

        elsewhere = run("broker", "start", *folder, "--port", str(ports[2]))
        assert elsewhere.returncode == 1
        assert f"on port {ports[0]} and not {ports[2]}" in elsewhere.stderr

        status = run("broker", "status", "--json", *folder)
        found = json.loads(status.stdout)
        assert status.returncode == 0
        assert (found["state"], found["url"]) == ("running", broker.url)
        assert run("broker", "logs", *folder).returncode == 0

        # started from what Java kept of an earlier start, which the suite prepared
        assert "prepared already" in run("broker", "prepare").stdout
        line = Path(f"/proc/{found['pid']}/cmdline").read_text(encoding="utf-8")
        assert f"-XX:AOTCache={jars.kept_start(jars.default_cache_dir())}\0" in line
    finally:
        ended = run_new("broker", "stop", *folder)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert identity(found["pid"]) is None
    assert "no broker of" in run("broker", "stop", *folder).stdout


def test_a_start_that_is_interrupted_leaves_no_broker(broker: LocalKafka) -> None:
    process = subprocess.Popen([*processes.COMMAND, *start(broker)])
    record = broker.data_dir / "broker.json"
    while not record.exists() and process.poll() is None:
        time.sleep(0.005)
    pid = json.loads(record.read_text(encoding="utf-8"))["pid"]
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert identity(pid) is None
    assert broker.status().state == "stopped"


def test_data_that_kafka_itself_refuses_is_told_with_its_own_words(broker: LocalKafka) -> None:
    broker.folder.claim()
    broker.folder.write_properties(broker.port, broker.controller_port)
    broker.prepare_data(jars.resolve(jars.default_cache_dir()))
    meta = broker.data_dir / "data" / "meta.properties"
    meta.write_text(
        "\n".join(
            line if "cluster.id" not in line else "cluster.id=AAAAAAAAAAAAAAAAAAAAAA"
            for line in meta.read_text().splitlines()
        )
    )
    quorum = broker.data_dir / "data" / "__cluster_metadata-0" / "quorum-state"
    quorum.parent.mkdir()
    quorum.write_text("not json", encoding="ascii")
    with pytest.raises(BrokerError, match="Kafka ended while starting") as told:
        broker.start(START_S)
    assert str(broker.folder.log) in str(told.value)


def test_the_fixture_serves(kafka: Kafka) -> None:
    bootstrap = kafka.bootstrap
    host, _, port = bootstrap.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5):
        pass
    asyncio.run(write(bootstrap, kafka.unique("fixture"), b"x"))
