"""Runs a worker of the demo in a process of its own, and looks at it over its health port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from stream.broker.processes import own_command
from stream.config import Settings
from stream.errors import Failure
from stream.metrics import read_figures

LAST_WORDS: Final = 1_500


@dataclass(frozen=True, slots=True)
class WorkerView:
    """Holds what is seen of a worker from outside: its state in a word, how far it is behind."""

    state: str = "starting"
    lag: int = 0  # events that it has not applied yet

    @property
    def ready(self) -> bool:
        """Says whether it consumes."""
        return self.state == "ready"


class WorkerProcess:
    """Runs one worker, which imports everything at once and connects when it is let go.

    So the imports and the start of the broker, the two longest waits of the demo, happen together.
    """

    def __init__(self, settings: Settings, number: int, log: Path) -> None:
        """`number` counts from 1; what the worker says goes to the file `log`."""
        self.view = WorkerView()
        self._number, self._log, self._url = number, log, ""
        command = own_command("worker", "--broker", settings.broker, "--wait-for-a-line")
        command += ["--session-timeout-s", "10", "--heartbeat-s", "2"]
        command += ["--model", settings.model] if settings.model else ["--demo-model"]
        with log.open("wb") as out:
            # a session of its own: Ctrl-C is for the demo, which then ends its workers in order
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=own_environment(log.parent),
            )

    @property
    def pid(self) -> int:
        """Returns the number of the process."""
        return self._process.pid

    def let_go(self) -> None:
        """Tells the worker that its broker and topics are there."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended; `look` says why
            self._process.stdin.write(b"\n")
            self._process.stdin.close()

    def look(self) -> None:
        """Refreshes `view`. Raises Failure with the last words of a worker that ended."""
        code = self._process.poll()
        if code is not None:
            how = (
                f"was killed by {signal.Signals(-code).name}"
                if code < 0
                else f"ended with code {code}"
            )
            words = self._log.read_text(errors="replace").strip()[-LAST_WORDS:]
            raise Failure(
                f"worker {self._number} {how} in the middle of the demo. Its last words:\n{words}"
            )
        if not self._url:
            found = re.search(
                r"health and metrics on (http://\S+)", self._log.read_text(errors="replace")
            )
            self._url = found.group(1) if found else ""
        if not self._url:
            return
        try:
            answer = orjson.loads(_get(f"{self._url}/readyz"))
            lag = read_figures(_get(f"{self._url}/metrics"))["lag"]
        except (OSError, ValueError):
            self.view = WorkerView("does not answer", self.view.lag)
        else:
            self.view = WorkerView(
                "ready" if answer["ready"] else ", ".join(answer["reasons"]), int(lag)
            )

    def ask_to_end(self) -> None:
        """Sends SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Sends SIGTERM, and SIGKILL if that is not enough; returns when the worker is gone."""
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


def own_environment(folder: Path) -> dict[str, str]:
    """Returns our environment without settings that are meant for the user's own processes.

    Even a killed one leaves its temporary files in `folder`.
    """
    ours = {
        name: value for name, value in os.environ.items() if not name.startswith("INTEREST_STREAM_")
    }
    return {**ours, "TMPDIR": str(folder)}
