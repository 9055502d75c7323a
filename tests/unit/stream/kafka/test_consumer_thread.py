"""How long a fetch waits for more: not at all for a single event, nor while a backlog is there."""

from __future__ import annotations

from stream.config import Settings
from stream.kafka.consumer_thread import BACKLOG, Gathering

SETTINGS = Settings(fetch_max_wait_ms=100, fetch_max_bytes=1_000_000)
AT_ONCE, LONG = (1, 100), 1_000_000


def after_fetches(*counts: int, every_s: float, pass_s: float = 0.0) -> tuple[int, int]:
    """Returns how long the next fetch may wait, after fetches of so many records."""
    gathering = Gathering(SETTINGS, lambda: pass_s)
    waits = [gathering.after(count, place * every_s) for place, count in enumerate(counts)]
    return waits[-1]


def test_a_single_event_is_answered_at_once() -> None:
    assert after_fetches(1, every_s=1.0) == AT_ONCE
    assert after_fetches(1, 1, 1, 1, 1, 1, every_s=0.1) == AT_ONCE


def test_events_that_come_steadily_are_gathered() -> None:
    assert after_fetches(*[1] * 50, every_s=0.01) == (LONG, 30)
    assert after_fetches(*[40] * 50, every_s=0.05) == (LONG, 30)


def test_they_are_gathered_for_longer_than_a_pass_takes() -> None:
    assert after_fetches(*[40] * 50, every_s=0.05, pass_s=0.04) == (LONG, 60)
    assert after_fetches(*[40] * 50, every_s=0.05, pass_s=9.0) == (LONG, 100)


def test_a_backlog_is_not_waited_for() -> None:
    assert after_fetches(40, 40, BACKLOG, every_s=0.05) == AT_ONCE


def test_a_pause_ends_the_gathering() -> None:
    gathering = Gathering(SETTINGS, lambda: 0.0)
    steady = [gathering.after(40, place * 0.05) for place in range(20)]
    assert steady[-1] == (LONG, 30)
    assert gathering.after(1, 10.0) == AT_ONCE
