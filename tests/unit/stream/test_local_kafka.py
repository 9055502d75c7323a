"""What the local broker says before it starts Java: folders, ports, processes. Starting it for real: tests/kafka/test_broker.py."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import AsyncMock

import pytest
from aiokafka.errors import NodeNotReadyError

from stream import processes
from stream.errors import BrokerError
from stream.kafka_folder import KafkaFolder
from stream.local_kafka import LocalKafka, serves
from stream.ports import free_ports


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_a_taken_port_is_named_with_its_option_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        port, free = free_ports(2)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(BrokerError, match=rf"port {port} .*--port"):
            LocalKafka(tmp_path / "one", port).start()
        with pytest.raises(BrokerError, match=rf"port {port} .*--controller-port"):
            LocalKafka(tmp_path / "two", free, port).start()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(BrokerError, match=r"thesis\.txt.*--data-dir"):
        LocalKafka(tmp_path, 1).start()
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == ["thesis.txt"]


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BrokerError, match=r"cannot use the data folder .*file.*--data-dir"):
        LocalKafka(tmp_path / "file", 1).start()


@pytest.mark.parametrize(
    ("meta", "told"),
    [
        ("", "no meta.properties"),
        ("node.id=7\ncluster.id=abc\ndirectory.id=def\nversion=1\n", "node.id 7"),
        ("\x00\x01garbage", "not that of this broker"),
    ],
)
def test_data_of_another_broker_or_damaged_is_refused(tmp_path: Path, meta: str, told: str) -> None:
    data = tmp_path / "data"
    (data / "clickstream-0").mkdir(parents=True)
    if meta:
        (data / "meta.properties").write_text(meta)
    with pytest.raises(BrokerError, match=told) as error:
        LocalKafka(tmp_path, 1).start()
    assert "--data-dir" in str(error.value)


def test_status_and_stop_of_a_folder_that_never_ran(tmp_path: Path) -> None:
    kafka = LocalKafka(tmp_path / "none")
    assert kafka.status().state == "stopped"
    assert kafka.stop() is False
    assert not (tmp_path / "none").exists()


def test_stop_never_ends_a_process_that_only_got_the_same_number(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    record = {"pid": sleeper.pid, "identity": "another start", "port": 1, "controller_port": 2, "version": "4"}
    (tmp_path / "broker.json").write_text(json.dumps(record))
    assert LocalKafka(tmp_path).stop() is False
    assert LocalKafka(tmp_path).status().state == "stopped"
    assert sleeper.poll() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1, "more": 2}'])
def test_a_damaged_record_counts_as_stopped(tmp_path: Path, text: str) -> None:
    (tmp_path / "broker.json").write_text(text)
    assert LocalKafka(tmp_path).status().state == "stopped"


def test_properties_can_name_any_folder(tmp_path: Path) -> None:
    folder = KafkaFolder(tmp_path / "数据 é\\x")
    folder.claim()
    folder.write_properties(19092, 19093)
    text = folder.properties.read_bytes().decode("ascii")
    assert r"\u6570\u636e \u00e9\\x/data" in text
    assert "listeners=PLAINTEXT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093" in text


def test_a_broker_that_goes_away_while_it_is_asked_does_not_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def client(*_: object, **__: object) -> AsyncIterator[object]:
        yield SimpleNamespace(describe_cluster=AsyncMock(side_effect=NodeNotReadyError()))

    monkeypatch.setattr("stream.kafka_client.admin_client", client)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert not serves(f"127.0.0.1:{listening.getsockname()[1]}")


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    folder = KafkaFolder(tmp_path)
    assert folder.tail(3) == "(no log)"
    folder.log.write_text("".join(f"line {number}\n" for number in range(1000)))
    assert folder.tail(2) == "line 998\nline 999"


def test_identity_ends_with_the_process_and_differs_between_processes(sleeper: subprocess.Popen[bytes]) -> None:
    known = processes.identity(sleeper.pid)
    assert known is not None
    assert processes.alive(sleeper.pid, known)
    assert processes.identity(os.getpid()) != known
    sleeper.kill()
    sleeper.wait()
    assert processes.identity(sleeper.pid) is None


def test_spawn_detaches_and_end_waits_until_it_is_gone(tmp_path: Path) -> None:
    script = "import os, sys, time; print(os.getsid(0) == os.getpid(), flush=True); time.sleep(60)"
    pid = processes.spawn([sys.executable, "-c", script], tmp_path / "log", dict(os.environ))
    known = processes.identity(pid)
    assert known is not None
    while not (tmp_path / "log").exists() or not (tmp_path / "log").read_text():
        assert processes.alive(pid, known)
    assert processes.end(pid, known, signal.SIGTERM, 10)
    assert processes.identity(pid) is None
    assert (tmp_path / "log").read_text() == "True\n"
