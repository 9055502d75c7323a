"""Rows of states are made blank, and lose events, in place."""

from __future__ import annotations

import numpy as np

from models.compact import RECENT
from stream.contracts.state_record import row_dtype
from stream.contracts.state_rows import blank, drop_recent


def row_of(events: int) -> np.ndarray:
    row = np.zeros(1, row_dtype(2))
    row["n_recent"], row["count"], row["digest"], row["memory"] = events, 40, 7, 1.5
    row["offset"], row["erased_ms"], row["broker_ms"] = 99, 5, 6
    row["recent"]["key"][0, :events] = np.arange(events, 0, -1)
    row["recent"]["time_ms"][0, :events] = 1_000 * np.arange(events, 0, -1)
    return row


def test_a_blank_row_holds_no_event_and_still_knows_its_place() -> None:
    row = row_of(3)
    blank(row)
    for name in ("n_recent", "count", "digest"):
        assert row[name][0] == 0
    assert not row["memory"].any()
    assert not row["recent"]["key"].any()
    assert row["time_ms"][0] == -1
    assert (row["offset"][0], row["erased_ms"][0], row["broker_ms"][0]) == (99, 5, 6)


def test_events_that_are_taken_out_leave_the_others_in_their_order() -> None:
    row = row_of(5)
    gone = np.zeros(RECENT, bool)
    gone[[0, 3]] = True
    drop_recent(row, gone)
    assert row["recent"]["key"][0, :4].tolist() == [4, 3, 1, 0]
    assert (row["n_recent"][0], row["time_ms"][0]) == (3, 4_000)
    drop_recent(row, np.ones(RECENT, bool))
    assert (row["n_recent"][0], row["time_ms"][0]) == (0, -1)
    assert not row["recent"]["key"].any()
