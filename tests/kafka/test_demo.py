"""The demo as a person starts it: a real process, its own Kafka, its own worker."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.pipelines import wait_until
from tests.support.processes import HANG_S

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

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
        def flow() -> bool:
            assert self.process.poll() is None, self.said()
            return " applied " in self.said()

        wait_until(flow, "events flow", moved=self.said)

    def ask(self, path: str) -> Any:
        """Returns what the page is answered."""
        with urllib.request.urlopen(f"{self.page()}{path}", timeout=60) as answer:
            return json.load(answer)

    def page(self) -> str:
        """Returns the address of the page, once it is printed and the page is ready."""
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            found = re.search(r"the page: (http://\S+)", self.said())
            with suppress(OSError):  # it begins, or is not ready yet
                if found:
                    urllib.request.urlopen(f"{found[1]}/readyz", timeout=60).close()
                    return found[1]
            assert self.process.poll() is None, self.said()
            time.sleep(0.05)
        raise AssertionError(self.said())

    def helpers(self) -> dict[int, str]:
        """Returns the demo's broker and workers.

        They are whatever runs with this test's folder in its environment.
        """
        mark, found = f"TMPDIR={self.folder}".encode(), {}  # the workers' lies below it
        for place in Path("/proc").glob("[0-9]*"):
            try:
                inherited = mark in (place / "environ").read_bytes()
                words = (
                    (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
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
        process.communicate(timeout=HANG_S)


def nothing_is_left(run: Run) -> None:
    assert run.helpers() == {}
    assert list(run.folder.glob("interest-stream*")) == []


def test_the_summary_accounts_for_every_event(tmp_path: Path) -> None:
    with demo(
        tmp_path, "--for", "6", "--users", "40", "--rate", "200", "--seed", "3", "--json"
    ) as run:
        out, _ = run.process.communicate(timeout=HANG_S)
    assert run.process.returncode == 0, run.said()
    summary = json.loads(out)
    assert set(summary) == FIELDS
    assert summary["complete"] is True
    assert summary["events_sent"] == summary["events_applied"] > 0
    assert 0 < summary["updates_seen"] <= summary["events_sent"]
    assert 0 < summary["users"] <= 40
    assert 0 < summary["latency_p50_ms"] <= summary["latency_p99_ms"]
    assert (
        summary["top_interest_is_truth"]
        > summary["last_category_is_truth"]
        > summary["most_popular_is_truth"]
        > 0
    )
    nothing_is_left(run)


def test_ctrl_c_in_the_middle_leaves_nothing_and_tells_the_summary(tmp_path: Path) -> None:
    with demo(tmp_path, "--for", "200", "--rate", "50", "--json") as run:
        run.until_events_flow()
        assert "users" in run.ask("/v1/status")
        assert len(run.helpers()) >= 3, "the broker, the worker and the page"
        (user,) = wait_until(lambda: run.ask("/v1/users?limit=1")["users"], "a user is served")
        truth = run.ask(f"/v1/users/{user}/truth")
        assert truth["periods"], "what is true is shown beside what is tracked"
        run.process.send_signal(signal.SIGINT)
        out, _ = run.process.communicate(timeout=HANG_S)
    assert run.process.returncode == 0, run.said()
    summary = json.loads(out)
    assert summary["complete"] is True
    assert summary["events_sent"] == summary["events_applied"] > 0
    nothing_is_left(run)


MOMENTS: dict[str, Callable[[Run], object]] = {
    "folder made": lambda run: list(run.folder.glob("interest-stream-demo-*")),
    "broker spawned": lambda run: list(run.folder.glob("*/kafka/broker.json")),
    "worker waits": lambda run: "waiting for the worker" in run.said(),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_twice_at_any_moment_of_the_start_leaves_nothing(
    tmp_path: Path, moment: str
) -> None:
    with demo(tmp_path, "--json") as run:
        while not MOMENTS[moment](run):
            assert run.process.poll() is None, run.said()
            time.sleep(0.005)
        run.process.send_signal(signal.SIGINT)
        while "stopping everything" not in run.said() and run.process.poll() is None:
            time.sleep(0.005)
        run.process.send_signal(signal.SIGINT)
        out, _ = run.process.communicate(timeout=HANG_S)
    # the second may come when Python is already ending, and then ends it as any program
    assert run.process.returncode in (130, -signal.SIGINT)
    assert out == ""
    assert "nothing is left running" in run.said()
    assert "Traceback" not in run.said()
    nothing_is_left(run)


def test_a_killed_worker_is_a_failure(tmp_path: Path) -> None:
    with demo(tmp_path, "--for", "200", "--rate", "50", "--json") as run:
        run.until_events_flow()
        (worker,) = [pid for pid, words in run.helpers().items() if "stream.cli worker" in words]
        os.kill(worker, signal.SIGKILL)
        out, _ = run.process.communicate(timeout=HANG_S)
    assert run.process.returncode == 1
    assert out == ""
    assert "worker 1 was killed by SIGKILL in the middle of the demo" in run.said()
    assert "Traceback" not in run.said()
    nothing_is_left(run)
