"""Starts processes, ends them, and tells one from another that got its number later.

Nothing is ever ended by name.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What Ctrl-C, a supervisor and a closed terminal send."""
PATIENCE_S: Final = 60.0


def own_command(*words: str) -> list[str]:
    """Returns the line that runs a command of interest-stream in another process.

    With -P, so that Python does not look for our packages in the current directory, which may hold
    others of the same name.
    """
    return [sys.executable, "-P", "-m", "stream.cli", *words]


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Keeps back what would end this process until the block is done; then the first one comes.

    For the few lines between starting a process and noting that it has to be ended. Signals are not
    blocked in the system's sense, because a process that is started inherits that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs signal handlers in the main thread alone
        return
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    before = {each: signal.signal(each, note) for each in ENDING_SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, signal.SIG_DFL if handler is None else handler)
        if came:
            signal.raise_signal(came[0])


def run_to_end(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs a short program and returns what it printed; it is killed when this is interrupted."""
    process: subprocess.Popen[str] | None = None
    try:
        with interrupts_held():
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
                start_new_session=True,  # Ctrl-C in a terminal is for this process alone
            )
        out, err = process.communicate()
    except BaseException:
        if process is not None:
            with process:  # closes its pipes and waits for it
                process.kill()
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def identity(pid: int) -> str | None:
    """Returns when and as what a process started; None if it does not run (a zombie does not).

    A number that the system gave to another process later has another identity.
    """
    reap(pid)
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        # After a SIGKILL the first thread is a zombie while others still end, and until they have,
        # ports and files stay taken.
        ended = fields[0] == "X" or (fields[0] == "Z" and int(fields[17]) <= 1)
        return None if ended else f"ticks {fields[19]} boot {_boot()}"
    shown = subprocess.run(
        ["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    return None if not shown or shown[0].startswith("Z") else " ".join(shown[1:])


def alive(pid: int, known: str) -> bool:
    """Says whether the very process of that identity still runs."""
    return identity(pid) == known


def reap(pid: int) -> None:
    """Collects a process if it is an ended child of this one."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def end(pid: int, known: str, sent: signal.Signals, timeout_s: float) -> bool:
    """Sends a signal to the process of that identity and waits; True when it is gone."""
    deadline = time.monotonic() + timeout_s
    if alive(pid, known):
        try:
            os.kill(pid, sent)
        except ProcessLookupError:
            return True
    while alive(pid, known):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def spawn(command: list[str], log: Path, environment: dict[str, str]) -> int:
    """Starts a process in a session of its own, so that it outlives this one; returns its number.

    Its output is appended to `log`. It gets no other open file of this process: a lock that the
    caller holds must not stay taken for as long as a broker runs.
    """
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
        *((os.POSIX_SPAWN_CLOSE, number) for number in _inherited()),
    ]
    return os.posix_spawn(command[0], command, environment, file_actions=actions, setsid=True)


def _inherited() -> list[int]:
    """Returns the open files beyond the standard streams that a new process would get."""
    try:
        names = os.listdir("/dev/fd")
    except OSError:
        return []
    numbers = [int(name) for name in names if name.isdecimal() and int(name) > 2]
    return [number for number in numbers if _is_inheritable(number)]


def _is_inheritable(number: int) -> bool:
    try:
        return os.get_inheritable(number)
    except OSError:  # that of the listing itself is closed by now
        return False


def run_and_interrupt(command: list[str], folder: Path) -> int:
    """Runs a program in `folder` on our own standard streams and returns its exit code.

    When this is interrupted, the program gets one SIGINT and is waited for, because it has to clean
    up itself; it is killed when that takes longer than PATIENCE_S.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with interrupts_held():
            process = subprocess.Popen(command, cwd=folder, start_new_session=True)
        return process.wait()
    except BaseException:
        if process is not None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        raise


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
