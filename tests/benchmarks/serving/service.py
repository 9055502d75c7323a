"""Runs `interest-stream serve` from nothing, and says how large it and its file are."""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from tests.benchmarks.serving import processor
from tests.support import processes
from tests.support.pipelines import wait_until

MB: Final = 1_000_000


class Service:
    """Starts the service over one folder, again and again."""

    def __init__(self, data: Path, environment: Mapping[str, str]) -> None:
        self.data, self._environment = data, environment
        self._process: processes.Process | None = None
        self._starts = 0
        self.port = 0

    @property
    def runs(self) -> bool:
        """Says whether it was started and not stopped."""
        return self._process is not None

    def start(self) -> float:
        """Returns the seconds from the start of the process until it is ready."""
        self._starts += 1
        log = self.data.parent / f"serve-{self._starts}.log"
        log.touch()
        # no request of a benchmark is refused for coming too often
        words = ["serve", "--port", "0", "--data", str(self.data), "--rate-limit", "1000000"]
        begun = time.monotonic()
        self._process = processes.spawn_new([*words, "--demo-model"], self._environment, log)

        def ready() -> bool:
            assert self._process is not None
            said = log.read_text(encoding="utf-8")
            assert self._process.poll() is None, f"the service has ended:\n{said[-3000:]}"
            found = re.search(r"serving on http://127\.0\.0\.1:(\d+)", said)
            if found is None:
                return False
            self.port = int(found[1])
            return self.ask("/readyz")[0] == 200

        wait_until(ready, "the service is ready", 600.0, moved=self.file_mb)
        return time.monotonic() - begun

    def ask(self, path: str) -> tuple[int, Any]:
        """Returns status and JSON of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, orjson.loads(answer.read())
        finally:
            connection.close()

    def wait_for_history(self) -> None:
        """Waits until histories are complete, too."""
        wait_until(
            lambda: self.ask("/v1/status")[1]["history_complete"],
            "histories are complete",
            600.0,
            interval_s=0.5,
            moved=self.file_mb,
        )

    def file_mb(self) -> float:
        """Returns the megabytes of the file, its log included."""
        if not self.data.exists():
            return 0.0
        return sum(each.stat().st_size for each in self.data.iterdir()) / MB

    def highest_memory_mb(self) -> float:
        """Returns the most memory that its processes had so far, added up."""
        return sum(map(processor.highest_memory_bytes, self.pids().values())) / MB

    def pids(self) -> dict[str, int]:
        """Returns its processes by what they do."""
        assert self._process is not None
        (follower,) = processor.children_of(self._process.pid)
        return {"who answers": self._process.pid, "who follows": follower}

    def cpu_s(self) -> float:
        """Returns the processor time that its processes have used, in seconds."""
        return sum(map(processor.used_s, self.pids().values()))

    def stop(self) -> None:
        """Asks it to end, as a supervisor does."""
        if self._process is not None:
            self._process.send_signal(15)
            try:
                self._process.wait(60)
            finally:
                self._process.kill()
            self._process = None
