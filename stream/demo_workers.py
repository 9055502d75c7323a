"""A worker of the demo, in a process of its own: started, looked at over its health port, ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from stream.bench import parse_sample
from stream.config import Settings
from stream.errors import Failure

LAST_WORDS: Final = 1_500


@dataclass(frozen=True, slots=True)
class WorkerView:
    """What is seen of a worker from outside: its state in a word, and the events it has not applied yet."""

    state: str = "starting"
    lag: int = 0

    @property
    def ready(self) -> bool:
        """Whether it consumes."""
        return self.state == "ready"


class WorkerProcess:
    """One worker; `number` counts from 1."""

    def __init__(self, settings: Settings, number: int, log: Path) -> None:
        self.view = WorkerView()
        self._number, self._log, self._url = number, log, ""
        command = [sys.executable, "-m", "stream.cli", "worker", "--broker", settings.broker]
        command += ["--session-timeout-s", "10", "--heartbeat-s", "2"]
        if settings.model:
            command += ["--model", settings.model]
        with log.open("wb") as out:
            # a session of its own: Ctrl-C is for the demo, which then ends its workers in order
            self._process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, env=_environment(log.parent)
            )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def look(self) -> None:
        """Refresh `view`. Raises Failure with the last words of a worker that ended."""
        code = self._process.poll()
        if code is not None:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            words = self._log.read_text(errors="replace").strip()[-LAST_WORDS:]
            raise Failure(f"worker {self._number} {how} in the middle of the demo. Its last words:\n{words}")
        if not self._url:
            found = re.search(r"health and metrics on (http://\S+)", self._log.read_text(errors="replace"))
            self._url = found.group(1) if found else ""
        if not self._url:
            return
        try:
            answer = orjson.loads(_get(f"{self._url}/readyz"))
            lag = parse_sample(_get(f"{self._url}/metrics"))["lag"]
        except (OSError, ValueError):
            self.view = WorkerView("does not answer", self.view.lag)
        else:
            self.view = WorkerView("ready" if answer["ready"] else ", ".join(answer["reasons"]), int(lag))

    def ask_to_end(self) -> None:
        """SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """SIGTERM, and SIGKILL if that is not enough."""
        self.ask_to_end()
        try:
            self._process.wait(12)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:  # 503 has the reasons in its body
        return str(error.read().decode())


def _environment(folder: Path) -> dict[str, str]:
    """Ours without settings meant for the user's own workers; what even a killed worker leaves lies in `folder`."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("INTEREST_STREAM_")}
    return {**ours, "TMPDIR": str(folder)}
