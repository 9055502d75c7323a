"""The local broker, as a person uses it: real Kafka, real processes."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic

from stream.errors import BrokerError
from stream.kafka_client import admin_client
from stream.local_kafka import LocalKafka
from stream.processes import identity

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


@pytest.fixture
def broker(tmp_path: Path, ports: list[int]) -> Iterator[LocalKafka]:
    found = LocalKafka(tmp_path / "broker", ports[0], ports[1], heap_mb=384)
    yield found
    found.stop()


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stream.cli", *words], capture_output=True, text=True, check=False, timeout=120
    )


async def write(bootstrap: str, topic: str, value: bytes) -> None:
    async with admin_client([bootstrap]) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait(topic, value)


async def read(bootstrap: str, topic: str) -> bytes | None:
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        record = await asyncio.wait_for(consumer.getone(), 20)
        value: bytes | None = record.value
        return value


def test_data_survives_stop_crash_and_another_port(broker: LocalKafka, ports: list[int]) -> None:
    assert broker.start()
    asyncio.run(write(broker.bootstrap, "kept", b"one"))
    assert broker.stop()
    assert broker.status().state == "stopped"

    moved = LocalKafka(broker.data_dir, ports[2], ports[3], heap_mb=384)
    assert moved.start()
    assert asyncio.run(read(moved.bootstrap, "kept")) == b"one"
    assert moved.kill()

    assert broker.start()
    assert asyncio.run(read(broker.bootstrap, "kept")) == b"one"


def test_the_commands_start_tell_and_stop(tmp_path: Path, ports: list[int]) -> None:
    folder = ("--data-dir", str(tmp_path / "broker"))
    start = (
        "broker",
        "start",
        *folder,
        "--port",
        str(ports[0]),
        "--controller-port",
        str(ports[1]),
        "--heap-mb",
        "384",
    )
    stopped = run("broker", "status", *folder)
    assert (stopped.returncode, stopped.stdout.split(";")[0]) == (1, "stopped")
    try:
        started = run(*start)
        assert started.returncode == 0, started.stderr
        assert f"kafka://127.0.0.1:{ports[0]}" in started.stdout

        again = run(*start)
        assert again.returncode == 0
        assert "runs already" in again.stdout

        elsewhere = run("broker", "start", *folder, "--port", str(ports[2]))
        assert elsewhere.returncode == 1
        assert f"on port {ports[0]} and not {ports[2]}" in elsewhere.stderr

        status = run("broker", "status", "--json", *folder)
        found = json.loads(status.stdout)
        assert status.returncode == 0
        assert (found["state"], found["url"]) == ("running", f"kafka://127.0.0.1:{ports[0]}")
        assert run("broker", "logs", *folder).returncode == 0
    finally:
        ended = run("broker", "stop", *folder)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert identity(found["pid"]) is None
    assert "no broker of" in run("broker", "stop", *folder).stdout


def test_two_starts_at_once_make_one_broker(broker: LocalKafka) -> None:
    words = [
        "broker",
        "start",
        "--data-dir",
        str(broker.data_dir),
        "--port",
        str(broker.port),
        "--controller-port",
        str(broker.controller_port),
    ]
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "stream.cli", *words, "--heap-mb", "384"], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = sorted(process.communicate(timeout=120)[0].split(" at ")[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert said == ["Kafka runs already", "Kafka serves"]


def test_a_start_that_is_interrupted_leaves_no_broker(broker: LocalKafka) -> None:
    words = [
        "broker",
        "start",
        "--data-dir",
        str(broker.data_dir),
        "--port",
        str(broker.port),
        "--controller-port",
        str(broker.controller_port),
    ]
    process = subprocess.Popen([sys.executable, "-m", "stream.cli", *words])
    record = broker.data_dir / "broker.json"
    while not record.exists() and process.poll() is None:
        pass
    pid = json.loads(record.read_text(encoding="utf-8"))["pid"]
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert identity(pid) is None
    assert broker.status().state == "stopped"


def test_data_that_kafka_itself_refuses_is_told_with_its_own_words(broker: LocalKafka) -> None:
    broker.start()
    broker.stop()
    meta = broker.data_dir / "data" / "meta.properties"
    meta.write_text(
        "\n".join(
            line if "cluster.id" not in line else "cluster.id=AAAAAAAAAAAAAAAAAAAAAA"
            for line in meta.read_text().splitlines()
        )
    )
    (broker.data_dir / "data" / "__cluster_metadata-0" / "quorum-state").write_text("not json")
    with pytest.raises(BrokerError, match="Kafka ended while starting") as told:
        broker.start()
    assert str(broker.folder.log) in str(told.value)


def test_the_fixture_serves(kafka: object) -> None:
    bootstrap: str = kafka.bootstrap  # type: ignore[attr-defined]
    host, _, port = bootstrap.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5):
        pass
    asyncio.run(write(bootstrap, kafka.unique("fixture"), b"x"))  # type: ignore[attr-defined]
