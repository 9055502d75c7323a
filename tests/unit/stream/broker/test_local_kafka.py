"""The local broker before it starts Java: folders, ports, what it says.

Started for real it is in tests/kafka/test_broker.py.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import AsyncMock

import pytest
from aiokafka.errors import NodeNotReadyError

from stream.broker import processes
from stream.broker.folder import KafkaFolder
from stream.broker.jars import default_cache_dir
from stream.broker.local_kafka import LocalKafka, default_data_dir, serves
from stream.broker.ports import free_ports
from stream.errors import BrokerError


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_a_taken_port_is_named_with_its_option_before_anything_starts(tmp_path: Path) -> None:
    port, free = free_ports(2)
    with socket.create_server(("127.0.0.1", port)):
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
    record = {
        "pid": sleeper.pid,
        "identity": "another start",
        "port": 1,
        "controller_port": 2,
        "version": "4",
    }
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


def test_a_broker_that_goes_away_while_it_is_asked_does_not_serve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @asynccontextmanager
    async def client(*_: object, **__: object) -> AsyncIterator[object]:
        yield SimpleNamespace(describe_cluster=AsyncMock(side_effect=NodeNotReadyError()))

    monkeypatch.setattr("stream.kafka.client.admin_client", client)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert not serves(f"127.0.0.1:{listening.getsockname()[1]}")


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    folder = KafkaFolder(tmp_path)
    assert folder.tail(3) == "(no log)"
    folder.log.write_text("".join(f"line {number}\n" for number in range(1000)))
    assert folder.tail(2) == "line 998\nline 999"


@pytest.mark.parametrize("when", ["before Java", "after Java", "Java itself"])
def test_on_a_full_disk_nothing_runs_that_the_folder_does_not_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Java is a program that sleeps here; what is tested is the order of writing and starting."""
    started: list[int] = []
    real_spawn, real_write = processes.spawn, LocalKafka._write

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def spawn(_line: list[str], log: Path, environment: dict[str, str]) -> int:
        if when == "Java itself":
            full()
        started.append(real_spawn(["/bin/sleep", "60"], log, environment))
        return started[-1]

    def write(self: LocalKafka, draft: Path, text: str) -> None:
        if (when == "before Java" and not text) or (when == "after Java" and text):
            monkeypatch.setattr(os, "fsync", full)
        real_write(self, draft, text)

    monkeypatch.setattr(processes, "spawn", spawn)
    monkeypatch.setattr(LocalKafka, "_write", write)
    monkeypatch.setattr(LocalKafka, "prepare_data", lambda *_: None)
    monkeypatch.setattr("stream.broker.jars.resolve", lambda cache: "jars")
    port, controller_port = free_ports(2)
    kafka = LocalKafka(tmp_path / "kafka", port, controller_port)
    with pytest.raises(BrokerError, match=r"No space left on device.*--data-dir"):
        kafka.start()
    assert len(started) == (when == "after Java")
    assert not [pid for pid in started if processes.identity(pid)]
    assert kafka.status().state == "stopped"
    assert not kafka.folder.record.exists()


@pytest.mark.parametrize("folder", [default_data_dir, default_cache_dir])
def test_a_user_without_a_home_folder_is_told_what_to_set(
    folder: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(BrokerError, match=r"set HOME, or .*--data-dir and XDG_CACHE_HOME"):
        folder()
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "/somewhere")
    assert folder().is_relative_to("/somewhere")


def test_the_home_folder_of_nobody_is_told() -> None:
    with pytest.raises(BrokerError, match="whole path"):
        LocalKafka(Path("~no-such-user-here/kafka"))
