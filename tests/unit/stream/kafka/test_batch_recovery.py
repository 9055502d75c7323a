"""Checks what an operator reads while states come back, and that no step of it is left out."""

from __future__ import annotations

import asyncio
import logging
from unittest.mock import MagicMock

import pytest
from faust.types import TP

from stream.kafka import batch_recovery as recovery


def test_progress_has_rate_and_time_left_once_a_second(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter([0.0, 0.5, 2.0, 2.1, 4.0])
    monkeypatch.setattr("stream.kafka.batch_recovery.time.perf_counter", lambda: next(clock))
    progress = recovery.RecoveryProgress()
    with caplog.at_level(logging.INFO, logger="interest_stream"):
        progress.restored(100, left=900)  # too early
        progress.restored(100, left=800)
        progress.restored(100, left=700)  # reported just now
        assert progress.ended() == 4.0
    assert caplog.messages == [
        "restoring states: 200 read, 800 left, 100/s, about 8 s more",
        "states restored: 300 records of the changelog in 4.00 s",
    ]


def test_a_step_is_waited_for_however_slow_the_broker_is() -> None:
    """Stock stops recovering for ever once a step took longer than a request to a broker may.

    See docs/understand/upstream.
    """
    done = []

    async def step() -> None:
        await asyncio.sleep(0.2)
        done.append("step")

    async def run() -> None:
        recovering = recovery.BatchRecovery(MagicMock(), MagicMock(), host=MagicMock())
        await recovering._wait(step(), timeout=0.01)
        done.append("next")

    asyncio.run(run())
    assert done == ["step", "next"]


def test_states_that_an_open_transaction_hides_are_not_taken_for_all() -> None:
    seen, hidden = TP("states-changelog", 1), TP("states-changelog", 2)
    assert recovery.hides_states({seen: 41}, {seen: 41, hidden: 7}) is None
    error = recovery.hides_states({seen: 41, hidden: 41}, {seen: 41, hidden: 7})
    assert "states-changelog[2] can be read up to offset 7" in str(error)
