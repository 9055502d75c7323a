"""What is held out, and that nothing of it reaches the training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models.errors import ModelDataError
from models.prepare import Dataset, catalogue_rows
from models.protocols import Split, frozen_at_cut, split

Make = Callable[..., Dataset]
Letters = Callable[..., list[tuple[str, str, int]]]


def questions(cut: Split) -> list[tuple[str, int, str]]:
    """(user, events before, item asked for) of every case."""
    cases, whole = cut.cases, cut.whole
    return [
        (whole.users[user], int(history), whole.item_ids[target])
        for user, history, target in zip(cases.user, cases.history, cases.target, strict=True)
    ]


def trained(cut: Split) -> dict[str, str]:
    rows = catalogue_rows(cut.train.events["key"], cut.train.item_ids)
    letters = "".join("?" if row == 0 else cut.train.item_ids[row - 1] for row in rows.tolist())
    starts = cut.train.user_start.tolist()
    return {user: letters[starts[place] : starts[place + 1]] for place, user in enumerate(cut.train.users)}


def test_leave_one_out_asks_for_the_last_known_item(prepared: Make, histories: Letters) -> None:
    events = [*histories({"u": "abc", "v": "ba"}), ("w", "a", 1), ("w", "b", 2), ("w", "?query", 3)]
    cut = split(prepared(events, "abc"))
    assert questions(cut) == [("u", 2, "c"), ("v", 1, "a"), ("w", 1, "b")]
    assert trained(cut) == {"u": "ab", "v": "b", "w": "a"}


def test_a_user_without_a_question_is_trained_on_whole(prepared: Make, histories: Letters) -> None:
    events = [*histories({"u": "abc"}), ("w", "b", 1), ("w", "?query", 2)]
    cut = split(prepared(events, "abc"))
    assert questions(cut) == [("u", 2, "c")]
    assert trained(cut) == {"u": "ab", "w": "b?"}


def test_time_split_trains_on_what_came_before_the_cut_only(prepared: Make) -> None:
    events = [("u", "a", time) for time in range(0, 18, 2)] + [("u", "b", 19), ("new", "a", 20), ("new", "b", 21)]
    cut = split(prepared(events, "ab"), "time-split")  # 12 events: nine tenths lie before the one at 19
    assert questions(cut) == [("u", 9, "b"), ("new", 0, "a"), ("new", 1, "b")]
    assert trained(cut) == {"u": "a" * 9}
    assert cut.train.events["time_ms"].max() < cut.cases.time_ms.min()


def sitting(user: str, items: str, begin: int) -> list[tuple[str, str, int]]:
    return [(user, item, begin * 1000 + place) for place, item in enumerate(items)]


def test_sessions_are_held_out_whole_and_their_first_event_is_not_asked_for(prepared: Make) -> None:
    early = [event for number in range(9) for event in sitting(f"u{number}", "ab", number * 10)]
    dataset = prepared([*early, *sitting("u0", "cab", 100), *sitting("new", "ba", 200)], "abc")
    cut = split(dataset, "sessions", session_gap_s=5)  # 11 sessions: nine tenths begin before the one at 100
    assert questions(cut) == [("u0", 3, "a"), ("u0", 4, "b"), ("new", 1, "a")]
    assert trained(cut) == {f"u{number}": "ab" for number in range(9)}
    coarse = [(user, item, begin) for begin in range(11) for user, item, _ in sitting("v", "aba", 0)]
    assert questions(split(prepared(coarse, "ab"), "sessions", session_gap_s=0)) == [
        ("v", history, item) for history, item in ((28, "b"), (29, "a"), (31, "b"), (32, "a"))
    ]  # every new time begins a session; the last two of eleven are held out


def test_new_items_are_those_that_nobody_met_before_the_cut(prepared: Make) -> None:
    early = [("u", "ab"[time % 2], time) for time in range(18)]
    cut = split(prepared([*early, ("u", "c", 30), ("u", "a", 31), ("v", "c", 32), ("v", "b", 33)], "abc"), "new-items")
    assert questions(cut) == [("u", 18, "c"), ("v", 0, "c")]
    assert "c" not in trained(cut)["u"]
    with pytest.raises(ModelDataError, match="no item appears first in the last tenth"):
        split(prepared([*early, ("u", "a", 30), ("u", "b", 31)], "ab"), "new-items")


def test_frozen_states_hold_only_what_was_trained_on(prepared: Make) -> None:
    events = [
        *(("u", "ab"[time % 2], time) for time in range(18)),
        ("u", "a", 30),
        ("u", "b", 31),
        ("new", "a", 32),
        ("new", "b", 33),
    ]
    cut = split(prepared(events, "ab"), "prequential")
    still = frozen_at_cut(cut)
    assert questions(cut) == [("u", 18, "a"), ("u", 19, "b"), ("new", 0, "a"), ("new", 1, "b")]
    assert still.history.tolist() == [18, 18, 0, 0]  # 18 of 22 events lie before the cut
    assert still.target.tolist() == cut.cases.target.tolist()


def test_many_cases_are_drawn_by_the_seed_and_said(prepared: Make, histories: Letters) -> None:
    dataset = prepared(histories({f"u{number}": "ab" for number in range(30)}), "ab")
    first, again, other = (split(dataset, seed=seed, most_cases=10) for seed in (1, 1, 2))
    assert len(first.cases) == 10
    assert first.cases.position.tolist() == again.cases.position.tolist() != other.cases.position.tolist()
    assert first.description.endswith("10 of 30 cases drawn with seed 1")
    assert len(first.train.events) == 30  # what is not drawn is not trained on either


def test_refusals_name_the_way_out(prepared: Make, histories: Letters) -> None:
    dataset = prepared(histories({"u": "ab"}), "ab")
    with pytest.raises(ModelDataError, match="use one of leave-one-out, time-split, sessions"):
        split(dataset, "half")
    dataset.report["events_without_time"] = 2
    with pytest.raises(ModelDataError, match="use leave-one-out"):
        split(dataset, "time-split")


def test_no_question_no_evaluation(prepared: Make) -> None:
    dataset = prepared([("u", "a", 1), ("u", "?x", 2), ("v", "b", 1), ("v", "?x", 2)], "ab")
    with pytest.raises(ModelDataError, match="no event about a known item can be asked for"):
        split(dataset)
    assert np.diff(dataset.user_start).tolist() == [2, 2]
