"""The scorers of a model are learned together and kept in their stored order."""

from __future__ import annotations

import json

import numpy as np

from models.contract import DEMO_MODEL
from models.scorers.registry import EXPLAINED, NAMES, SCORERS, ScorerSet, before_last
from models.scorers.scorer import Histories, removed

ITEMS = 8


def test_the_stored_order_only_grows() -> None:
    """The demo model stores weights by place; its report says which scorer each place was."""
    report = json.loads((DEMO_MODEL / "report.json").read_text(encoding="utf-8"))
    (stored, *_) = report["blend"]["item"].values()
    assert NAMES[: len(stored)] == tuple(stored)


def test_names_and_turns_and_keys_of_tensors_are_each_ones_own() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert sorted(EXPLAINED) == list(range(len(SCORERS)))
    prefixes = [scorer.tensors_prefix for scorer in SCORERS if scorer.tensors_prefix]
    assert len(set(prefixes)) == len(prefixes)


def test_before_last_knows_nothing_of_the_last_events() -> None:
    rows, starts = np.array([1, 2, 3, 4, 5, 6]), np.array([0, 3, 6])
    found = before_last(Histories(rows, starts, ITEMS))
    assert found.rows.tolist() == [1, 2, 4, 5]
    assert found.user_start.tolist() == [0, 2, 4]


def test_a_scorer_that_another_model_lacks_is_not_learned() -> None:
    events = Histories(np.array([1, 2, 3, 1, 2, 3]), np.array([0, 3, 6]), ITEMS)
    found = ScorerSet.learn(events)
    for name in NAMES:
        again = ScorerSet.learn(events, found.without(name))
        assert again[name] is None
        wanted = found.without(name).tensors()
        assert again.tensors().keys() == wanted.keys()
        assert all(again.tensors()[key].equal(wanted[key]) for key in wanted)


def test_a_scorer_that_was_taken_out_keeps_its_place_and_nothing_else() -> None:
    gone = removed("oracle")
    assert gone.name == "oracle"
    assert gone.learn(Histories(np.array([1, 2]), np.array([0, 2]), ITEMS)) is None
    assert gone.load({}) is None
