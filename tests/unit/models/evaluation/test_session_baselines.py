"""Compares baselines of sessions with values worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models.data.prepare import Dataset
from models.data.splits import Split, split
from models.evaluation.session_baselines import (
    SequentialRules,
    SessionNeighbours,
    Sessions,
    session_baselines,
)

GAP_S = 100
ITEMS = "abcx"


@pytest.fixture
def cut(prepared: Callable[..., Dataset]) -> Split:
    """Returns ten sessions, a week apart: eight to train on, and the last two to test.

    The targets are the second x of p, and b and c of z.
    """
    sessions = [
        ("u", "abc"),
        ("u", "abx"),
        ("v", "ab"),
        ("w", "ca"),
        *(("p", "xx") for _ in range(5)),
        ("z", "abc"),
    ]
    events = [
        (user, item, (week * 7 * 86_400 + place) * 1_000)
        for week, (user, items) in enumerate(sessions, 1)
        for place, item in enumerate(items)
    ]
    return split(prepared(events, ITEMS, keep_duplicates=True), "sessions", session_gap_s=GAP_S)


def test_the_session_of_a_case_ends_before_it_and_begins_with_its_first_event(cut: Split) -> None:
    sessions = Sessions(cut)
    assert [sessions.before(cut.cases, place).tolist() for place in range(len(cut.cases))] == [
        [3],
        [0],
        [0, 1],
    ]
    assert len(sessions.start) - 1 == 8


def test_rules_count_what_followed_within_a_session_by_distance(cut: Split) -> None:
    _, after_a, after_b = SequentialRules(Sessions(cut)).scores(cut.cases)
    assert after_a == pytest.approx([0, 3, 0.5, 0.5], abs=1e-5)
    assert after_b == pytest.approx([0, 0, 1, 1], abs=1e-5)


def test_neighbours_give_their_items_by_how_alike_they_are(cut: Split) -> None:
    """Checks the scores after a, b, by hand.

    Sessions abc, abx and ab are alike by 1/2 + 1, ca by 1/2; the newest item in common is b, or a
    for the last one.
    """
    *_, scores = SessionNeighbours(Sessions(cut)).scores(cut.cases)
    assert scores == pytest.approx([3 * 1.5 + 0.25, 3 * 1.5, 1.5 + 0.25, 1.5], abs=1e-5)


def test_together_they_rank_by_both(cut: Split) -> None:
    rules, neighbours, both = session_baselines(cut)
    parts = [each.scores(cut.cases) for each in (rules, neighbours)]
    assert both.scores(cut.cases) == pytest.approx(
        sum(part / part.max(1, keepdims=True) for part in parts)
    )


def test_a_session_of_unknown_items_is_answered_by_popularity(cut: Split) -> None:
    sessions = Sessions(cut)
    nothing = SessionNeighbours(sessions).of_session(np.zeros(0, np.int32))
    assert not nothing.any()
    assert sessions.fill.argmax() == ITEMS.index("x")


def test_an_item_counts_once_a_neighbour_however_often_it_occurs_there(
    prepared: Callable[..., Dataset],
) -> None:
    """Checks the published algorithm, for which a session is a set: b thrice is no more than c."""
    sessions = [("u", "abbb"), ("v", "ac"), ("w", "ab"), *(("p", "xx") for _ in range(6))]
    sessions.append(("z", "ab"))
    events = [
        (user, item, (week * 7 * 86_400 + place) * 1_000)
        for week, (user, items) in enumerate(sessions, 1)
        for place, item in enumerate(items)
    ]
    cut = split(prepared(events, ITEMS, keep_duplicates=True), "sessions", session_gap_s=GAP_S)
    found = SessionNeighbours(Sessions(cut)).of_session(np.array([0]))
    assert found.tolist() == [3, 2, 1, 0]


def test_popularity_decides_between_equal_scores_however_large_they_are(cut: Split) -> None:
    sessions = Sessions(cut)
    for each in session_baselines(cut):
        assert each.scores(cut.cases).dtype == np.float64
    large = 1e6 + sessions.fill
    assert len(np.unique(large)) == len(np.unique(sessions.fill))
