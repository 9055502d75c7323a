"""What an operator reads while states come back, and that no step of it is left out."""

from __future__ import annotations

import asyncio
import logging
from unittest.mock import MagicMock

import pytest

from stream import recovery


def test_progress_has_rate_and_time_left_once_a_second(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter([0.0, 0.5, 2.0, 2.1, 4.0])
    monkeypatch.setattr("stream.recovery.time.perf_counter", lambda: next(clock))
    progress = recovery.Progress()
    with caplog.at_level(logging.INFO, logger="interest_stream"):
        progress.restored(100, left=900)  # too early
        progress.restored(100, left=800)
        progress.restored(100, left=700)  # told just now
        assert progress.ended() == 4.0
    assert caplog.messages == [
        "restoring states: 200 read, 800 left, 100/s, about 8 s more",
        "states restored: 300 records of the changelog in 4.00 s",
    ]


def test_a_step_is_waited_for_however_slow_the_broker_is() -> None:
    """Stock recovers never again once a step took longer than one request to a broker may (docs/upstream)."""
    done = []

    async def step() -> None:
        await asyncio.sleep(0.2)
        done.append("step")

    async def run() -> None:
        recovering = recovery.BatchRecovery(MagicMock(), MagicMock())
        await recovering._wait(step(), timeout=0.01)
        done.append("next")

    asyncio.run(run())
    assert done == ["step", "next"]
