"""Telling one process from another that got its number later: nothing is ever ended by name."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path


def identity(pid: int) -> str | None:
    """When and as what the process started; None if it does not run (a zombie does not).

    A number that the system gave to another process later has another identity.
    """
    reap(pid)
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        # after a SIGKILL the first thread is a zombie while others still end, and with them ports and files stay taken
        ended = fields[0] == "X" or (fields[0] == "Z" and int(fields[17]) <= 1)
        return None if ended else f"ticks {fields[19]} boot {_boot()}"
    shown = subprocess.run(
        ["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    return None if not shown or shown[0].startswith("Z") else " ".join(shown[1:])


def alive(pid: int, known: str) -> bool:
    """Whether the very process of that identity still runs."""
    return identity(pid) == known


def reap(pid: int) -> None:
    """Collect the process if it is an ended child of this one."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def end(pid: int, known: str, sent: signal.Signals, timeout_s: float) -> bool:
    """Signal the process of that identity and wait; True when it is gone."""
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
    """Start a process in a session of its own, output appended to `log`; it outlives this one."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawn(command[0], command, environment, file_actions=actions, setsid=True)


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
