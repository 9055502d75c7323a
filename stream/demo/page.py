"""Runs the service of the demo in a process of its own: the page that shows every user."""

from __future__ import annotations

import importlib.util
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import Final

from stream.broker.ports import free_ports
from stream.broker.processes import own_command
from stream.config import Settings
from stream.demo.workers import own_environment

PORT: Final = 8080
"""The first choice: easy to type."""

END_S: Final = 12


def can_serve() -> bool:
    """Returns whether the packages of the extra `serve` are installed."""
    return importlib.util.find_spec("fastapi") is not None


class PageProcess:
    """Runs `serve` over the topics of the demo. The demo goes on if it ends."""

    def __init__(self, settings: Settings, folder: Path, truth: Path) -> None:
        """What it says and its file go to the folder; `truth` says what is true of the users."""
        self._log = folder / "serve.log"
        command = own_command("serve", "--broker", settings.broker, "--port", str(_port()))
        command += ["--data", str(folder / "serve"), "--simulated-truth", str(truth)]
        command += ["--model", settings.model] if settings.model else ["--demo-model"]
        with self._log.open("wb") as out:
            # a session of its own: Ctrl-C is for the demo, which then ends its processes in order
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=own_environment(folder),
            )

    @property
    def address(self) -> str:
        """Returns where the page is; empty until it is there, and when it is not any more."""
        if self._process.poll() is not None:
            return ""
        found = re.search(r"serving on (http://\S+)", self._log.read_text(errors="replace"))
        return found[1] if found else ""

    def end(self) -> None:
        """Sends SIGTERM, and SIGKILL if that is not enough; returns when the process is gone."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _port() -> int:
    """Returns a port of this machine that nothing uses."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            return free_ports(1)[0]
    return PORT
