"""Processes are started, told apart, interrupted and ended without losing one."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.broker import processes


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_identity_ends_with_the_process_and_differs_between_processes(
    sleeper: subprocess.Popen[bytes],
) -> None:
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


def test_our_own_commands_start_where_others_of_the_same_name_lie(tmp_path: Path) -> None:
    (tmp_path / "stream.py").write_text("raise SystemExit('the wrong one')")
    line = processes.own_command("--version")
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def interrupt_when(there: Path) -> threading.Thread:
    """Sends Ctrl-C to this process once a file is there."""

    def wait() -> None:
        while not there.exists():
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_short_program_is_killed_when_we_are_interrupted(tmp_path: Path) -> None:
    script = f"import time; open({str(tmp_path / 'there')!r}, 'w'); time.sleep(60)"
    thread = interrupt_when(tmp_path / "there")
    with pytest.raises(KeyboardInterrupt):
        processes.run_to_end([sys.executable, "-c", script], dict(os.environ))
    thread.join()


def test_a_program_that_cleans_up_is_interrupted_and_waited_for(tmp_path: Path) -> None:
    script = """
import time
try:
    open("there", "w")
    time.sleep(60)
finally:
    time.sleep(0.2)
    open("cleaned up", "w")
"""
    thread = interrupt_when(tmp_path / "there")
    with pytest.raises(KeyboardInterrupt):
        processes.run_and_interrupt([sys.executable, "-c", script], tmp_path)
    thread.join()
    assert (tmp_path / "cleaned up").exists()


def test_a_lock_of_the_caller_does_not_stay_taken_while_the_process_runs(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        fcntl.flock(lock, fcntl.LOCK_EX)
        pid = processes.spawn(
            [sys.executable, "-c", "import time; time.sleep(60)"],
            tmp_path / "log",
            dict(os.environ),
        )
        known = processes.identity(pid)
        assert known is not None
    try:
        with (tmp_path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert processes.alive(pid, known)
    finally:
        processes.end(pid, known, signal.SIGKILL, 10)
