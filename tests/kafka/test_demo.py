"""The demo as a person starts it: a real process, its own Kafka, its own worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]

FIELDS = {
    "events_sent",
    "events_applied",
    "updates_seen",
    "users",
    "seconds",
    "events_per_s",
    "latency_p50_ms",
    "latency_p99_ms",
    "top_interest_is_truth",
    "last_category_is_truth",
    "most_popular_is_truth",
    "first_update_after_s",
    "complete",
}


class Run:
    """A demo that runs, its temporary files in a folder of the test."""

    def __init__(self, process: subprocess.Popen[str], log: Path, folder: Path) -> None:
        self.process, self.log, self.folder = process, log, folder

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def until_events_flow(self) -> None:
        deadline = time.monotonic() + 240
        while " applied " not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def helpers(self) -> dict[int, str]:
        """The demo's broker and workers: whatever runs with this test's folder in its environment."""
        mark, found = f"TMPDIR={self.folder}".encode(), {}  # the workers' lies below it
        for place in Path("/proc").glob("[0-9]*"):
            try:
                inherited = mark in (place / "environ").read_bytes()
                words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if inherited and words and int(place.name) != self.process.pid:
                found[int(place.name)] = words
        return found


@contextmanager
def demo(tmp_path: Path, *words: str) -> Iterator[Run]:
    folder, log = tmp_path / "temporary", tmp_path / "said"
    folder.mkdir()
    with log.open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "stream.cli", "demo", *words],
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env={**os.environ, "TMPDIR": str(folder)},
        )
    run = Run(process, log, folder)
    try:
        yield run
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


def nothing_is_left(run: Run) -> None:
    assert run.helpers() == {}
    assert list(run.folder.glob("interest-stream*")) == []


def test_the_summary_accounts_for_every_event(tmp_path: Path) -> None:
    with demo(tmp_path, "--for", "12", "--users", "40", "--rate", "100", "--seed", "3", "--json") as run:
        out, _ = run.process.communicate(timeout=280)
    assert run.process.returncode == 0, run.said()
    summary = json.loads(out)
    assert set(summary) == FIELDS
    assert summary["complete"] is True
    assert summary["events_sent"] == summary["events_applied"] > 0
    assert 0 < summary["updates_seen"] <= summary["events_sent"]
    assert 0 < summary["users"] <= 40
    assert 0 < summary["latency_p50_ms"] <= summary["latency_p99_ms"]
    assert summary["top_interest_is_truth"] > summary["last_category_is_truth"] > summary["most_popular_is_truth"] > 0
    nothing_is_left(run)


def test_ctrl_c_in_the_middle_leaves_nothing_and_tells_the_summary(tmp_path: Path) -> None:
    with demo(tmp_path, "--for", "200", "--rate", "50", "--json") as run:
        run.until_events_flow()
        assert len(run.helpers()) >= 2, "the broker and the worker"
        run.process.send_signal(signal.SIGINT)
        out, _ = run.process.communicate(timeout=120)
    assert run.process.returncode == 0, run.said()
    summary = json.loads(out)
    assert summary["complete"] is True
    assert summary["events_sent"] == summary["events_applied"] > 0
    nothing_is_left(run)


def test_a_killed_worker_is_a_failure(tmp_path: Path) -> None:
    with demo(tmp_path, "--for", "200", "--rate", "50", "--json") as run:
        run.until_events_flow()
        (worker,) = [pid for pid, words in run.helpers().items() if "stream.cli worker" in words]
        os.kill(worker, signal.SIGKILL)
        out, _ = run.process.communicate(timeout=120)
    assert run.process.returncode == 1
    assert out == ""
    assert "worker 1 was killed by SIGKILL in the middle of the demo" in run.said()
    assert "Traceback" not in run.said()
    nothing_is_left(run)
