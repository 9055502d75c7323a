"""Checks that an event which training learned is known again, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.data import known_events
from models.data.known_events import FILE, KnownEvents, event_numbers, read_known_events
from models.data.prepare import Dataset
from models.data.splits import split

Make = Callable[..., Dataset]
HISTORIES = [
    (f"u{user}", item, 1_000 * place + user)
    for user in range(30)
    for place, item in enumerate("abcdcba")
]


def known_of(asked: Dataset, learned: KnownEvents) -> int | None:
    return learned.count(asked, split(asked).cases.position)


def test_an_older_cut_of_the_training_is_known_and_later_events_are_not(prepared: Make) -> None:
    whole = prepared(HISTORIES, "abcd")
    learned = KnownEvents.of(split(whole).train)
    assert known_of(whole, learned) == 0  # the last event of each user was held out
    yesterday = [each for each in HISTORIES if each[2] < 6_000]
    assert known_of(prepared(yesterday, "abcd"), learned) == 30
    others = [(f"new-{user}", item, time) for user, item, time in yesterday]
    assert known_of(prepared(others, "abcd"), learned) == 0
    later = [(user, item, time + 10**9) for user, item, time in yesterday]
    assert known_of(prepared(later, "abcd"), learned) == 0


def test_the_catalogue_and_the_order_of_users_do_not_matter(prepared: Make) -> None:
    learned = KnownEvents.of(prepared(HISTORIES, "abcd"))
    assert known_of(prepared(HISTORIES[::-1], "dcbax"), learned) == 30


def test_without_times_the_place_in_the_history_counts(prepared: Make) -> None:
    """Checks events whose times are invented: an older cut of them has other times."""
    whole, cut = prepared(HISTORIES, "abcd"), prepared(HISTORIES[:-7], "abcd")
    cut.events["time_ms"] += 5
    cut.report["events_without_time"] = len(cut.events)
    assert known_of(cut, KnownEvents.of(whole)) is None
    whole.report["events_without_time"] = len(whole.events)
    assert known_of(cut, KnownEvents.of(whole)) == 29


def test_what_is_stored_is_bounded_and_the_rest_estimated(
    prepared: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_events, "MOST_KEPT", 50)
    whole = prepared(HISTORIES, "abcd")
    learned = KnownEvents.of(whole)
    assert len(learned.events) == 50
    assert known_of(whole, learned) == 30  # of those that can be looked up all are known


def test_the_file_is_of_one_model_and_names_nobody(prepared: Make, tmp_path: Path) -> None:
    whole = prepared(HISTORIES, "abcd")
    learned = KnownEvents.of(whole)
    assert read_known_events(tmp_path, 7) is None
    learned.write(tmp_path, 7)
    found = read_known_events(tmp_path, 7)
    assert found is not None
    assert (found.events == learned.events).all()
    assert (found.timed, found.complete) == (True, True)
    assert read_known_events(tmp_path, 8) is None  # left behind by another training
    assert b"u7" not in (tmp_path / FILE).read_bytes()
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    (tmp_path / FILE).write_bytes(b"damaged")
    assert read_known_events(tmp_path, 7) is None


def test_numbers_do_not_fall_together(prepared: Make) -> None:
    events = [
        (f"user-{user}", f"item-{item}", 60_000 * (7 * user + item))
        for user in range(300)
        for item in range(20)
    ]
    assert len(np.unique(event_numbers(prepared(events)))) == len(events)
