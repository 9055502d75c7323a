"""Checks the attack where its answer is known: members alike, members learned by heart."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.compact import hash64
from models.data.prepare import Dataset
from models.data.splits import held_out
from models.errors import ModelDataError
from models.evaluation.membership import attack, auc, measure_membership

ITEMS = "abcdefgh"


def test_auc_is_the_chance_that_a_member_has_the_smaller_loss() -> None:
    random = np.random.default_rng(0)
    members, others = random.integers(0, 9, 30) * 1.0, random.integers(3, 12, 40) * 1.0
    pairs = [
        1.0 if mine < theirs else 0.5 if mine == theirs else 0.0
        for mine in members
        for theirs in others
    ]
    assert auc(members, others) == pytest.approx(np.mean(pairs))
    assert auc(np.zeros(5), np.ones(5)) == 1.0
    assert auc(np.ones(5), np.ones(7)) == 0.5


def test_users_alike_are_told_apart_by_chance_and_others_surely() -> None:
    random = np.random.default_rng(1)
    same = attack(random.normal(size=800), random.normal(size=900))
    low, high = same["auc interval"]
    assert low < 0.5 < high
    assert high - low < 0.08
    told = attack(random.normal(size=800), random.normal(3, 1, size=900))
    assert told["auc interval"][0] > 0.97
    assert told["found_at_1_in_100"] > 0.6


def test_the_same_users_are_held_out_wherever_they_stand() -> None:
    users = [f"u{number}" for number in range(4_000)]
    some = held_out(users, 0.3, seed=5)
    assert some.mean() == pytest.approx(0.3, abs=0.03)
    assert np.array_equal(held_out(users[::-1], 0.3, seed=5)[::-1], some)
    assert not np.array_equal(held_out(users, 0.3, seed=6), some)
    assert not held_out(users, 0.0, seed=5).any()


class ByHeart:
    """A model that knows the items of its members by the first of them, and of others nothing."""

    def __init__(self, dataset: Dataset, members: np.ndarray[Any, Any]) -> None:
        self.info = SimpleNamespace(state_size=1, interests=())
        keys = [hash64(item) for item in dataset.item_ids]
        self._items = {key: place for place, key in enumerate(keys)}
        self._known = members

    def step(self, state: Any, events: Any, sizes: Any, previous_ms: Any) -> Any:
        """Returns states that hold the time of the first event, which is the user's number."""
        begun = events["time_ms"][: len(state)] * (previous_ms < 0)
        return np.maximum(state, begun[:, None].astype(np.float32))

    def score_all(self, state: Any, recent: Any) -> Any:
        """Returns a high score for the next letter, to members."""
        scores = np.zeros((len(state), len(ITEMS)), np.float32)
        for row, (user, newest) in enumerate(zip(state[:, 0], recent[:, 0], strict=True)):
            if self._known[int(user) // 1_000 - 1]:
                scores[row, (self._items[int(newest["key"])] + 1) % len(ITEMS)] = 5
        return scores

    def interest_scores(self, state: Any, recent: Any) -> Any:
        raise NotImplementedError


def walks(prepared: Callable[..., Dataset], users: int) -> Dataset:
    """Users who walk through the letters, each from one of them on; a time says whose it is."""
    events = [
        (f"u{user:03}", ITEMS[(user + place) % len(ITEMS)], 1_000 * (user + 1) + place)
        for user in range(users)
        for place in range(6)
    ]
    return prepared(events, ITEMS)


def test_a_model_that_knows_members_by_heart_is_found_out(
    prepared: Callable[..., Dataset],
) -> None:
    dataset = walks(prepared, 60)
    members = np.arange(60) % 2 == 0
    report = measure_membership(ByHeart(dataset, members), dataset, members)
    assert (report["members"], report["held_out"], report["places"]) == (30, 30, 300)
    for each in report["attacks"].values():
        assert (each["auc"], each["found_at_1_in_100"]) == (1.0, 1.0)
    assert report["loss"]["held_out"] == pytest.approx(np.log(8), abs=1e-3)
    same = measure_membership(ByHeart(dataset, np.ones(60, bool)), dataset, members)
    assert {each["auc"] for each in same["attacks"].values()} == {0.5}


def test_too_few_users_of_a_kind_are_refused(prepared: Callable[..., Dataset]) -> None:
    dataset = walks(prepared, 30)
    with pytest.raises(ModelDataError, match="only 3 users"):
        measure_membership(ByHeart(dataset, np.ones(30, bool)), dataset, np.arange(30) > 2)
