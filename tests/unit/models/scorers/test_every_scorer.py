"""One suite for every scorer of the blend: whatever it has learned, it keeps to the interface."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.compact import RECENT
from models.scorers.registry import SCORERS
from models.scorers.scorer import (
    NOBODY,
    Family,
    Histories,
    Needs,
    Pool,
    Pull,
    RecentItems,
    Scorer,
    ScorerInput,
)

USERS, ITEMS = 7, 30
TITLES = [f"{row % 5} of {row % 3}" for row in range(1, ITEMS + 1)]
PAGE = Path(__file__).parents[4] / "docs/understand/path-of-a-model.md"


def of_the_page() -> type[Scorer]:
    """The new scorer that path-of-a-model.md shows; what it says must be true."""
    shown = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    names: dict[str, Any] = {}
    exec(shown[1], names)  # a page of this repository
    found: type[Scorer] = names["SeenOften"]
    return found


IN_USE = [*(kind for kind in SCORERS if kind.__name__ != "Removed"), of_the_page()]
EXACT = (Family.SEEN, Family.SUCCESSION)
"""Families whose causes are exact; those of others are taken as linear, or are nobody's."""

every_scorer = pytest.mark.parametrize("kind", IN_USE, ids=lambda kind: kind.name)


def learned(kind: type[Scorer]) -> Scorer:
    """The scorer after 400 events of ten users; some items are unknown."""
    rows = np.random.default_rng(3).integers(0, ITEMS + 1, 400)
    found = kind.learn(Histories(rows, np.arange(0, 401, 40), ITEMS, titles=TITLES))
    assert found is not None
    return found


def users(events: int = 12, seed: int = 0) -> ScorerInput:
    """Users of so many events, of whom networks and popularity say something."""
    random = torch.Generator().manual_seed(seed)
    held = (torch.arange(RECENT) < events).expand(USERS, -1)
    rows = torch.randint(0, ITEMS + 1, (USERS, RECENT), generator=random) * held
    session = held & (torch.arange(RECENT) < torch.arange(1, USERS + 1)[:, None])
    network = torch.randn(3, USERS, ITEMS + 1, generator=random)
    popular = torch.randn(2, ITEMS + 1, generator=random).log_softmax(1)
    recent = RecentItems(rows, held, session)
    return ScorerInput(
        recent, network[0], network[1], popular[0], popular[1][None], attention=network[2]
    )


def pull_on(given: ScorerInput) -> Pull:
    """An interest that each item moves in a way of its own."""
    items = torch.randn(USERS, ITEMS + 1, generator=torch.Generator().manual_seed(1))
    items[:, 0] = 0  # what is not in the catalogue belongs to no interest
    return Pull(items, items.gather(1, given.recent.rows), torch.full((USERS, 1), 0.7))


def without_event(given: ScorerInput, place: int) -> ScorerInput:
    """The same users as if one recent event had never been read; the others keep their places."""
    rows, held, session = (each.clone() for each in given.recent)
    rows[:, place], held[:, place], session[:, place] = 0, False, False
    return given._replace(recent=RecentItems(rows, held, session))


@every_scorer
@pytest.mark.parametrize("events", [0, 1, 12, RECENT])
def test_every_item_gets_a_finite_score_of_every_user(kind: type[Scorer], events: int) -> None:
    scores = learned(kind).scores(users(events)).scores
    assert scores.shape == (USERS, ITEMS + 1)
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()


@every_scorer
def test_a_user_alone_gets_the_scores_of_that_user_among_others(kind: type[Scorer]) -> None:
    scorer, given = learned(kind), users()
    together = scorer.scores(given).scores
    for user in range(USERS):
        mine = slice(user, user + 1)
        recent = RecentItems(*(each[mine] for each in given.recent))
        attention = None if given.attention is None else given.attention[mine]
        networks = given.language_model[mine], given.lstm[mine], attention
        alone = given._replace(
            recent=recent, language_model=networks[0], lstm=networks[1], attention=networks[2]
        )
        torch.testing.assert_close(scorer.scores(alone).scores, together[mine])


@every_scorer
def test_a_pool_of_all_items_says_what_the_whole_catalogue_says(
    kind: type[Scorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each item has a place of its own in the pool of a user; scores move to it."""
    monkeypatch.setattr(kind, "named", 10**9, raising=False)  # all of a table of pairs
    scorer, given = learned(kind), users()
    if kind.product is not None:  # of a pool it is known before: models/serving/retrieval.py
        return
    order = torch.stack([1 + torch.randperm(ITEMS) for _ in range(USERS)])
    pool = Pool.of(order, ITEMS)
    assert pool.rows is not None
    larger = torch.zeros(1, 1).expand(*pool.rows.shape)
    given = given._replace(language_model=larger, lstm=larger, pool=pool)
    named = scorer.candidates(given.recent)
    looked_up = () if named is None else named.looked_up
    found = scorer.scores(given._replace(looked_up=looked_up)).scores
    assert torch.equal(found, scorer.scores(given).scores)  # looked up once, or again
    assert found.shape == pool.rows.shape
    wanted = scorer.scores(users()).scores.gather(1, pool.rows)
    places = slice(NOBODY + 1, None)
    torch.testing.assert_close(  # all pairs are float16
        found[:, places], wanted[:, places], atol=1e-3, rtol=2e-3
    )
    # of the empty place it says what it says where it knows nothing
    nothing = users(0)._replace(language_model=larger, lstm=larger, pool=pool)
    unknown = scorer.scores(nothing).scores[:, NOBODY]
    torch.testing.assert_close(found[:, NOBODY], unknown)


@every_scorer
@pytest.mark.parametrize("events", [0, 12])
def test_named_candidates_are_items_or_none(kind: type[Scorer], events: int) -> None:
    given = users(events)
    found = learned(kind).candidates(given.recent)
    if found is None:
        return
    named = found.rows
    assert kind.product is None
    assert named.dtype == torch.int64
    assert named.shape[0] == USERS
    assert ((named >= 0) & (named <= ITEMS)).all()
    assert events or not named.any()


@every_scorer
def test_an_empty_history_says_the_same_of_all_users(kind: type[Scorer]) -> None:
    """Only what the networks made of a user can tell two users without events apart."""
    given = users(0)
    nothing = torch.zeros_like(given.lstm)
    scores = (
        learned(kind)
        .scores(given._replace(language_model=nothing, lstm=nothing, attention=nothing))
        .scores
    )
    assert torch.equal(scores, scores[:1].expand(USERS, -1))


@every_scorer
def test_events_about_unknown_items_are_as_none(kind: type[Scorer]) -> None:
    scorer, given = learned(kind), users(12)
    rows = torch.zeros_like(given.recent.rows)
    unknown = given._replace(recent=given.recent._replace(rows=rows))
    none = given._replace(recent=RecentItems(rows, rows > 0, rows > 0))
    found, wanted = (scorer.scores(each).scores[:, 1:] for each in (unknown, none))
    torch.testing.assert_close(found, wanted)
    if kind.needs is Needs.ITEMS and kind.family is not Family.NETWORK:
        assert (found == found[:, :1]).all()  # it says nothing: no item is above another


@every_scorer
def test_what_is_stored_is_read_back_and_says_the_same(kind: type[Scorer]) -> None:
    scorer, given = learned(kind), users()
    stored = scorer.tensors()
    assert all(kind.tensors_prefix and key.startswith(kind.tensors_prefix) for key in stored)
    again = kind.load(stored)
    assert again is not None
    assert torch.equal(again.scores(given).scores, scorer.scores(given).scores)
    if stored:
        assert kind.load({}) is None  # a model that was trained before there was such a scorer


@every_scorer
def test_an_event_that_is_left_out_takes_what_it_gave(kind: type[Scorer]) -> None:
    """Each event is left out for real; where causes are exact, the change is the cause."""
    scorer, given = learned(kind), users()
    before = scorer.scores(given)
    pull = pull_on(given)
    lost = scorer.lost(given.recent, before.kept, pull)
    if lost is None:
        assert kind.family not in EXACT
        return
    assert lost.shape[0] == USERS
    assert lost.shape[1] <= RECENT
    assert torch.isfinite(lost).all()
    if kind.family not in EXACT:
        return
    for place in range(RECENT):
        after = scorer.scores(without_event(given, place)).scores
        change = (pull.weight * pull.items * (before.scores - after)).sum(1)
        torch.testing.assert_close(lost[:, place], change, atol=1e-5, rtol=1e-4)


@every_scorer
def test_the_only_event_of_a_user_gives_all_that_the_user_has(kind: type[Scorer]) -> None:
    scorer, given = learned(kind), users(1)
    scored, pull = scorer.scores(given), pull_on(given)
    lost = scorer.lost(given.recent, scored.kept, pull)
    if lost is None or kind.family not in EXACT:
        return
    whole: Tensor = (pull.weight * pull.items * scored.scores).sum(1)
    torch.testing.assert_close(lost.sum(1), whole, atol=1e-5, rtol=1e-4)


@every_scorer
def test_nothing_to_learn_from_is_no_failure(kind: type[Scorer]) -> None:
    for rows in (np.zeros(4, np.int64), np.zeros(0, np.int64)):
        scorer = kind.learn(Histories(rows, np.array([0, len(rows)]), ITEMS, titles=TITLES))
        assert scorer is not None
        assert torch.isfinite(scorer.scores(users()).scores).all()


@every_scorer
def test_fewer_neighbours_change_no_user_without_events(kind: type[Scorer]) -> None:
    scorer, given = learned(kind), users(0)
    assert torch.equal(scorer.pruned(1).scores(given).scores, scorer.scores(given).scores)


@every_scorer
def test_what_is_learned_of_other_items_says_other_things(kind: type[Scorer]) -> None:
    scorer, given = learned(kind), users()
    order = np.concatenate(([0], 1 + np.random.default_rng(5).permutation(ITEMS)))
    same = torch.equal(scorer.permuted(order).scores(given).scores, scorer.scores(given).scores)
    # a scorer that stores nothing has learned nothing; what a network has learned is not with it
    assert same == (not scorer.tensors() or kind.family is Family.NETWORK)
