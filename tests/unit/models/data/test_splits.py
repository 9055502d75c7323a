"""Checks what is held out, and that nothing of it reaches the training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from models.data.prepare import Dataset, catalogue_rows, subset
from models.data.splits import Split, frozen_at_cut, split, without_validation
from models.errors import ModelDataError

Make = Callable[..., Dataset]
Letters = Callable[..., list[tuple[str, str, int]]]


def questions(cut: Split) -> list[tuple[str, int, str]]:
    """Returns (user, events before, target) of every case."""
    cases, whole = cut.cases, cut.whole
    return [
        (whole.users[user], int(history), whole.item_ids[target])
        for user, history, target in zip(cases.user, cases.history, cases.target, strict=True)
    ]


def trained(cut: Split) -> dict[str, str]:
    rows = catalogue_rows(cut.train.events["key"], cut.train.item_ids)
    letters = "".join("?" if row == 0 else cut.train.item_ids[row - 1] for row in rows.tolist())
    starts = cut.train.user_start.tolist()
    return {
        user: letters[starts[place] : starts[place + 1]]
        for place, user in enumerate(cut.train.users)
    }


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
    events = [("u", "a", time) for time in range(0, 18, 2)] + [
        ("u", "b", 19),
        ("new", "a", 20),
        ("new", "b", 21),
    ]
    cut = split(
        prepared(events, "ab"), "time-split"
    )  # 12 events: nine tenths lie before the one at 19
    assert questions(cut) == [("u", 9, "b"), ("new", 0, "a"), ("new", 1, "b")]
    assert trained(cut) == {"u": "a" * 9}
    assert cut.train.events["time_ms"].max() < cut.cases.time_ms.min()


def sitting(user: str, items: str, begin: int) -> list[tuple[str, str, int]]:
    return [(user, item, begin * 1000 + place) for place, item in enumerate(items)]


def test_sessions_are_held_out_whole_and_their_first_event_is_not_asked_for(prepared: Make) -> None:
    early = [event for number in range(9) for event in sitting(f"u{number}", "ab", number * 10)]
    dataset = prepared([*early, *sitting("u0", "cab", 100), *sitting("new", "ba", 200)], "abc")
    cut = split(
        dataset, "sessions", session_gap_s=5
    )  # 11 sessions: nine tenths begin before the one at 100
    assert questions(cut) == [("u0", 3, "a"), ("u0", 4, "b"), ("new", 1, "a")]
    assert trained(cut) == {f"u{number}": "ab" for number in range(9)}
    coarse = [
        (user, item, begin) for begin in range(11) for user, item, _ in sitting("v", "aba", 0)
    ]
    assert questions(split(prepared(coarse, "ab"), "sessions", session_gap_s=0)) == [
        ("v", history, item) for history, item in ((28, "b"), (29, "a"), (31, "b"), (32, "a"))
    ]  # every new time begins a session; the last two of eleven are held out


def test_new_items_are_those_that_nobody_met_before_the_cut(prepared: Make) -> None:
    early = [("u", "ab"[time % 2], time) for time in range(18)]
    cut = split(
        prepared([*early, ("u", "c", 30), ("u", "a", 31), ("v", "c", 32), ("v", "b", 33)], "abc"),
        "new-items",
    )
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
    assert (
        first.cases.position.tolist()
        == again.cases.position.tolist()
        != other.cases.position.tolist()
    )
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


def test_a_cut_can_be_named(prepared: Make) -> None:
    events = [("u", "a", time) for time in range(0, 18, 2)] + [("v", "a", 1), ("v", "b", 19)]
    cut = split(prepared(events, "ab"), "time-split", cut_ms=14)
    assert questions(cut) == [("u", 7, "a"), ("u", 8, "a"), ("v", 1, "b")]
    assert trained(cut) == {"u": "aaaaaaa", "v": "a"}
    for wrong in (0, 20):
        with pytest.raises(ModelDataError, match="leaves nothing on one side"):
            split(prepared(events, "ab"), "sessions", cut_ms=wrong)
    with pytest.raises(ModelDataError, match="leave-one-out has no cut"):
        split(prepared(events, "ab"), cut_ms=14)


def test_sessions_are_those_of_the_tracker_where_it_names_them(prepared: Make) -> None:
    """Checks ids that part events a second apart, and join events an hour apart."""
    hour = 3_600_000
    events = [("u", "a", 0), ("u", "b", 1_000), ("u", "a", hour), ("u", "b", hour + 1_000)]
    events += [("u", "a", 9 * hour), ("u", "b", 10 * hour), ("u", "a", 10 * hour + 1_000)]
    dataset = prepared(events, "ab")
    ids = np.array([1, 2, 2, 0, 5, 5, 6], np.uint64)
    cut = split(replace(dataset, sessions=ids), "sessions", cut_ms=9 * hour)
    assert cut.begun is not None
    assert cut.begun.tolist() == [0, 1, 1, 1, 4, 4, 6]
    assert questions(cut) == [("u", 5, "b")]
    assert "86 % of the events have a session_id" in cut.description
    plain = split(dataset, "sessions", cut_ms=9 * hour)
    assert plain.begun is not None
    assert plain.begun.tolist() == [0, 0, 2, 2, 4, 5, 5]


def test_session_ids_stay_with_their_events(prepared: Make) -> None:
    dataset = prepared([("v", "b", 1), ("v", "a", 2), ("u", "a", 1), ("u", "b", 2)], "ab")
    named = replace(dataset, sessions=np.arange(1, 5, dtype=np.uint64))
    part = subset(named, np.array([False, True, False, True]))
    assert part.sessions is not None
    assert part.sessions.tolist() == [2, 4]


@pytest.mark.parametrize("protocol", ["leave-one-out", "sessions"])
def test_baselines_need_not_know_what_validates(prepared: Make, protocol: str) -> None:
    hour = 3_600_000
    events = [
        (user, item, hour * (place // 3) + 1_000 * place)
        for user in ("u", "v")
        for place, item in enumerate("abcabcabc")
    ]
    cut = split(prepared(events, "abc"), protocol)
    less = without_validation(cut)
    assert less.cases is cut.cases
    assert {user: items[:-1] for user, items in trained(cut).items()} == trained(less)
    if cut.train_begun is not None:
        assert less.train_begun is not None
        assert len(less.train_begun) == len(less.train.events)
        assert (less.train_begun <= np.arange(len(less.train_begun))).all()


LEARNED = [("u", "a", 1), ("u", "b", 2), ("v", "c", 3), ("v", "a", 4), ("w", "b", 5), ("w", "a", 6)]


def test_events_of_test_files_are_asked_for_and_not_learned(prepared: Make) -> None:
    tests = [
        ("u", "c", 10),
        ("v", "?words", 11),
        ("v", "b", 12),
        ("new", "a", 13),
        ("new", "c", 14),
    ]
    cut = split(prepared(LEARNED, "abc", tests), "test-files")
    assert questions(cut) == [
        ("u", 2, "c"),
        ("v", 3, "b"),  # the search of the test file is known by then
        ("new", 0, "a"),
        ("new", 1, "c"),
    ]
    assert trained(cut) == {"u": "ab", "v": "ca", "w": "ba"}
    assert cut.timed_out
    assert trained(without_validation(cut)) == {"u": "a", "v": "c", "w": "b"}


def test_a_test_event_that_was_learned_too_is_not_asked_for(prepared: Make) -> None:
    cut = split(prepared(LEARNED, "abc", [LEARNED[1], ("u", "c", 10)]), "test-files")
    assert questions(cut) == [("u", 2, "c")]
    with pytest.raises(ModelDataError, match="those left out that repeat an event to learn from"):
        split(prepared(LEARNED, "abc", LEARNED[:2]), "test-files")


def test_test_events_before_events_of_the_training_are_told(prepared: Make) -> None:
    """Checks a random split: a live counter must not count what lies behind a case."""
    cut = split(prepared(LEARNED, "abc", [("u", "c", 0), ("w", "c", 9)]), "test-files")
    assert questions(cut) == [("u", 0, "c"), ("w", 2, "c")]
    assert not cut.timed_out
    assert "1 of them lie before events trained on" in cut.description


def test_test_files_need_times_of_all_events_or_of_none(prepared: Make) -> None:
    whole = prepared(LEARNED, "abc", [("u", "c", 10)])
    whole.report["events_without_time"] = 6
    with pytest.raises(ModelDataError, match="give all of them times, or none"):
        split(whole, "test-files")
    whole.report["events_without_time"] = 7
    cut = split(whole, "test-files")
    assert (questions(cut), cut.timed_out) == ([("u", 2, "c")], False)
