"""The suite itself: Ctrl-C in the middle of it leaves no process and no folder behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.broker.local_kafka import serves
from tests.support.brokers import BROKER_VARIABLE, Kafka
from tests.support.pipelines import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
SIDE_BY_SIDE = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")


def running(folder: Path) -> dict[int, str]:
    """Returns the command lines of what runs with this folder for temporary files, by number."""
    mark, found = f"TMPDIR={folder}\0".encode(), {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if mark in (place / "environ").read_bytes() and words:
                found[int(place.name)] = words
        except OSError:
            continue
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yields a folder for all temporary files of a suite.

    Its name is short, because it is part of the name of sockets.
    """
    with tempfile.TemporaryDirectory(prefix="is-") as name:
        yield Path(name)


@pytest.mark.parametrize("how", [(), SIDE_BY_SIDE], ids=["alone", "side by side"])
def test_ctrl_c_leaves_nothing(
    how: tuple[str, ...], folder: Path, tmp_path: Path, kafka: Kafka
) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    }
    if not how:  # one process with a Kafka that is there, several with one of their own
        environment[BROKER_VARIABLE] = kafka.bootstrap
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *how]
    with (tmp_path / "said").open("wb") as said:
        suite = subprocess.Popen(
            [*command, "tests/faults/test_kill.py"],
            cwd=ROOT,
            env={**environment, "TMPDIR": str(folder)},
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def logs() -> list[Path]:
        # not the whole tree: in it Kafka and the worker make and remove folders of their own
        tests = "interest-stream-tests-*/tests"
        return [*folder.glob(f"{tests}/*/worker-0.log"), *folder.glob(f"{tests}/*/*/worker-0.log")]

    def works() -> bool:
        assert suite.poll() is None, (tmp_path / "said").read_text()
        return any("starting" in log.read_text() for log in logs())

    try:
        wait_until(works, "a worker starts", moved=lambda: running(folder).keys())
        assert any("kafka.Kafka" in words for words in running(folder).values()) == bool(how)
        os.killpg(suite.pid, signal.SIGINT)  # as a terminal sends it: to every process in front
        wait_until(lambda: suite.poll() is not None, "the suite ends")
        assert serves(kafka.bootstrap), "a Kafka that it was given is not its to end"
        assert suite.returncode == pytest.ExitCode.INTERRUPTED, (tmp_path / "said").read_text()
        wait_until(lambda: not running(folder), "every process has ended")
    finally:
        for pid in running(folder):
            os.kill(pid, signal.SIGKILL)
        suite.wait()
    assert list(folder.iterdir()) == []
