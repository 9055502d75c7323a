"""Workers forked from a server that has imported everything, instead of started from nothing.

A worker's start is mostly imports: seconds of CPU, the same each time. A fork of a process that has done them is a fresh worker with the
same code, so a campaign of hundreds of kills takes minutes instead of hours.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
from collections.abc import Mapping
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
PRELOAD = [
    "tests.faults.campaign.worker_entry",
    "models.predictor",
    "stream.app",
    "stream.preflight",
    "tests.faults.campaign.run",
]


def prepare() -> None:
    """Start the server, before the first worker."""
    CONTEXT.set_forkserver_preload(PRELOAD)
    forkserver.ensure_running()


def end() -> None:
    """Stop the server; else it lives as long as this process."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


class Forked:
    """A worker process with the part of subprocess.Popen that the harness uses."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], log: Path) -> None:
        self._process = CONTEXT.Process(target=_work, args=(arguments, dict(environment), str(log)), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("worker", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _work(arguments: list[str], environment: dict[str, str], log: str) -> None:
    os.setsid()
    null, file = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(null, 0)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.clear()
    os.environ.update(environment)
    from tests.faults.campaign.worker_entry import work

    work(arguments)
