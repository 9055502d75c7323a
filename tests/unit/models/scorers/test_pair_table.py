"""Sums over a table are the same for any catalogue; what an event gives is their derivative."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.scorers import cooccurrence, ease, markov, pair_table
from models.scorers.pair_table import WINDOW, PairScorer, PairTable, log_share, users_near
from models.scorers.registry import SCORERS
from models.scorers.scorer import Pull
from tests.support.scorer_inputs import input_of

USERS, ITEMS = 6, 30
PAIR_SCORERS = [scorer for scorer in SCORERS if issubclass(scorer, PairScorer)]


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours and weights [V + 1, 5], as learned: no neighbour, no weight."""
    random = np.random.default_rng(seed)
    neighbours = np.stack([random.permutation(ITEMS + 1)[:5] for _ in range(ITEMS + 1)]).astype(
        np.int32
    )
    return neighbours, np.where(neighbours > 0, random.random(neighbours.shape), 0).astype(
        np.float32
    )


def summed(scorer: PairScorer, rows: Tensor, amount: Tensor) -> Tensor:
    """Sums [U, V + 1], each event taken as often as `amount` [U, 32] says; written plainly."""
    sums, table = torch.zeros(len(rows), ITEMS + 1), scorer.table
    for user in range(len(rows)):
        for place in range(table.look_back):
            row = int(rows[user, place])
            near, weight = table.neighbours[row].tolist(), table.weights[row].tolist()
            for other, each in zip(near, weight, strict=True):
                if other:
                    sums[user, other] = (
                        sums[user, other] + amount[user, place] * each * table.decay**place
                    )
    return sums


@pytest.mark.parametrize("kind", PAIR_SCORERS, ids=lambda kind: kind.name)
def test_scores_are_log_shares_of_the_sums(kind: type[PairScorer]) -> None:
    scorer, rows = kind.of(*drawn(0)), torch.randint(0, ITEMS + 1, (USERS, 32))
    scored = scorer.scores(input_of(rows, ITEMS))
    wanted = summed(scorer, rows, torch.ones(USERS, 32))
    torch.testing.assert_close(scored.kept[0], wanted, rtol=2e-3, atol=1e-3)  # held in float16
    torch.testing.assert_close(scored.scores, log_share(scored.kept[0]))


@pytest.mark.parametrize("kind", PAIR_SCORERS, ids=lambda kind: kind.name)
def test_what_an_event_gives_is_the_derivative_by_how_much_it_counts(
    kind: type[PairScorer],
) -> None:
    torch.manual_seed(3)
    scorer, rows = kind.of(*drawn(1)), torch.randint(0, ITEMS + 1, (USERS, 32))
    pull = Pull(torch.randn(USERS, ITEMS + 1), torch.zeros(USERS, 32), torch.rand(USERS, 1))
    pull.items[:, 0] = 0
    amount = torch.ones(USERS, 32, requires_grad=True)
    moved = (pull.weight * pull.items * log_share(summed(scorer, rows, amount))).sum()
    (gradient,) = torch.autograd.grad(moved, amount)
    sums = summed(scorer, rows, torch.ones(USERS, 32))
    lost = scorer.lost(input_of(rows, ITEMS).recent, (sums,), pull)
    assert lost is not None
    torch.testing.assert_close(lost, gradient[:, : kind.look_back], atol=1e-5, rtol=1e-4)


def test_small_and_large_catalogues_count_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    neighbours = np.array([random.permutation(50)[:8] for _ in range(50)], np.int32)
    weights = random.random((50, 8)).astype(np.float32)
    rows = torch.from_numpy(random.integers(0, 50, (7, 32)))
    dense = PairTable(neighbours, weights, 0.7, 15).sums(rows)
    monkeypatch.setattr("models.scorers.pair_table.DENSE_ITEMS", 0)
    np.testing.assert_allclose(
        PairTable(neighbours, weights, 0.7, 15).sums(rows), dense, rtol=2e-3
    )  # held in float16


TABLES = [(cooccurrence, ("1 2", "2 1")), (markov, ("1 2", "2 1")), (ease, ("1 2", "2 1"))]
"""Who met 2 directly before 1 is one user, of three who met both."""


@pytest.mark.parametrize(("kind", "wanted"), TABLES, ids=["cooccurrence", "markov", "ease"])
def test_a_pair_that_few_users_met_is_in_no_table(
    kind: Any, wanted: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks three users who met 1 and 2, and one who met 3 and 4 again and again."""
    for each in (cooccurrence, pair_table):
        monkeypatch.setattr(each, "PART", 3)  # users are counted over several parts
    histories = [[1, 2], [1, 2, 0, 1, 2], [1, 2], [3, 4] * 5]
    rows = np.concatenate(histories)
    starts = np.concatenate(([0], np.cumsum([len(each) for each in histories])))

    def pairs(least_users: int) -> set[str]:
        found = kind.learn(rows, starts, 4, least_users)
        table, values = (found.rows, found.values) if kind is markov else found
        places = zip(*np.nonzero(values > 0), strict=True)
        return {f"{first} {table[first, place]}" for first, place in places}

    assert "3 4" in pairs(1)
    assert pairs(1) == pairs(0)
    for least in (2, 3):
        assert set(wanted) <= pairs(least)
        assert not [each for each in pairs(least) if "3" in each or "4" in each]
    assert pairs(4) == set()


@pytest.mark.parametrize("part", [1, 50, 10_000])
def test_users_near_a_pair_are_counted_as_defined(
    part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_table, "PART", part)
    random = np.random.default_rng(1)
    histories = [random.integers(1, 12, random.integers(0, 40)).tolist() for _ in range(9)]
    owner = np.repeat(np.arange(9), [len(each) for each in histories])
    rows = np.concatenate(histories).astype(np.int64)
    first, second = (each.ravel() for each in np.mgrid[1:13, 1:13])
    near = [
        {
            frozenset((a, b))
            for place, a in enumerate(items)
            for b in items[place + 1 : place + 1 + WINDOW]
        }
        for items in histories
    ]
    wanted = [
        sum(frozenset(pair) in each for each in near)
        for pair in zip(first.tolist(), second.tolist(), strict=True)
    ]
    assert users_near(rows, owner, first, second).tolist() == wanted
    nothing = np.zeros(0, np.int64)
    assert users_near(nothing, nothing, nothing, nothing).tolist() == []
    assert users_near(nothing, nothing, first[:2], second[:2]).tolist() == [0, 0]


def test_a_table_without_its_empty_rows_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a scorer learns from the most met items, most of a large catalogue has no row."""
    neighbours, weights = drawn(1)
    weights[0] = weights[4:] = 0
    table = PairTable(neighbours * (weights > 0), weights, 0.7, 15)
    order = np.concatenate(([0], 1 + np.random.default_rng(2).permutation(ITEMS)))
    rows = torch.randint(0, ITEMS + 1, (USERS, 15), generator=torch.Generator().manual_seed(1))
    assert table.packed() is table  # a matrix of a small catalogue
    monkeypatch.setattr(pair_table, "DENSE_ITEMS", ITEMS)
    few = table.packed()
    assert (len(few.neighbours), few.rows) == (4, ITEMS + 1)
    for one, other in ((table, few), (table.permuted(order), few.permuted(order))):
        assert torch.equal(one.sums(rows), other.sums(rows))
        for mine, theirs in zip(one.given(rows), other.given(rows), strict=True):
            assert torch.equal(mine, theirs)
        np.testing.assert_array_equal(one.weights, other.whole().weights)
        np.testing.assert_array_equal(one.neighbours, other.whole().neighbours)
    assert few.packed() is few
    neighbours, weights = drawn(1)
    weights[0] = 0
    full = PairTable(neighbours, weights, 0.7, 15)
    assert full.packed() is full
