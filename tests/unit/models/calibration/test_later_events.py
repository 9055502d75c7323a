"""A rehearsal learns what came before a moment, and is asked for what came then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.calibration import later_events as room
from models.calibration.later_events import later_events
from models.data.prepare import Dataset, catalogue_rows

Prepared = Callable[..., Dataset]


def rows_of(dataset: Dataset) -> np.ndarray:
    return catalogue_rows(dataset.events["key"], dataset.item_ids).astype(np.int64)


@pytest.fixture
def dataset(prepared: Prepared) -> Dataset:
    """Ten events: nine tenths of them before 9,000. u does two later things, w is new."""
    events = [("u", "abc"[place % 3], 1_000 * place) for place in range(1, 8)]
    events += [("u", "?tent", 9_500), ("u", "a", 9_600), ("v", "a", 100), ("v", "b", 9_000)]
    events += [("v", "c", 200), *(("x", "b", 300 + place) for place in range(6))]
    events += [("w", "c", 9_700), ("w", "a", 9_800)]
    return prepared(events, "abc")


def test_what_is_learned_comes_before_the_moment_and_what_is_asked_for_not(
    dataset: Dataset,
) -> None:
    found = later_events(dataset, rows_of(dataset), seed=0)
    times = dataset.events["time_ms"]
    assert found.cut_ms is not None
    assert (times[found.learned] < found.cut_ms).all()
    assert (times[~found.learned] >= found.cut_ms).all()
    # searches are no case; the events before a case are its history, later ones too
    assert (rows_of(dataset)[found.cases.position] == found.cases.target + 1).all()
    asked = {
        (dataset.users[user], int(time_ms), int(history))
        for user, time_ms, history in zip(
            found.cases.user, found.cases.time_ms, found.cases.history, strict=True
        )
    }
    assert asked == {("u", 9_600, 8), ("w", 9_700, 0), ("w", 9_800, 1)} | (
        {("v", 9_000, 2)} if found.cut_ms <= 9_000 else set()
    )


def test_scorers_learn_the_histories_up_to_the_moment(dataset: Dataset) -> None:
    found = later_events(dataset, rows_of(dataset), seed=0)
    histories = found.histories(least_users=3)
    assert histories.least_users == 3
    for user, name in enumerate(dataset.users):
        begin, end = histories.user_start[user : user + 2]
        mine = slice(dataset.user_start[user], dataset.user_start[user + 1])
        early = dataset.events["time_ms"][mine] < found.cut_ms
        assert histories.rows[begin:end].tolist() == rows_of(dataset)[mine][early].tolist(), name


def test_without_times_the_end_of_each_history_is_asked_for(dataset: Dataset) -> None:
    dataset = replace(dataset, report={**dataset.report, "events_without_time": 3})
    found = later_events(dataset, rows_of(dataset), seed=0)
    assert found.cut_ms is None
    counts = np.diff(dataset.user_start)
    assert (dataset.user_start[1:] - found.ends).tolist() == np.ceil(counts / 10).tolist()
    popularity = np.zeros(4)
    assert found.log_recent(torch.tensor(popularity)).tolist() == popularity.tolist()


def test_cases_are_drawn_by_the_seed(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_CASES", 1)
    rows = rows_of(dataset)
    drawn = [later_events(dataset, rows, seed).cases.position.tolist() for seed in range(12)]
    assert all(len(each) == 1 for each in drawn)
    assert len({each[0] for each in drawn}) > 1
    assert later_events(dataset, rows, 3).cases.position.tolist() == drawn[3]


def test_too_few_events_say_so(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    found = later_events(dataset, rows_of(dataset), seed=0)
    cases = len(found.cases)
    assert found.why_not == f"{cases} later events are too few, 1,000 are needed"
    monkeypatch.setattr(room, "LEAST_CASES", cases)
    assert found.why_not.startswith("the later events are of ")
    monkeypatch.setattr(room, "LEAST_USERS", 1)
    assert not found.why_not
    nothing = replace(found, learned=np.zeros_like(found.learned))
    assert nothing.why_not == "too few events come before the later ones"
