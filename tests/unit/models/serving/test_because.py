"""An explanation against automatic differentiation, or against leaving an event out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from models.current_interest import WINDOW
from models.network.attention import Attention, newest_items
from models.network.language_model import Block, LanguageModel
from models.scorers import blend
from models.scorers.blend import INTEREST_FEATURES, Blend, follow, own_shares, weighted
from models.scorers.cooccurrence import Cooccurrence
from models.scorers.ease import Ease
from models.scorers.registry import NAMES, ScorerSet
from models.scorers.scorer import Histories, Pool, RecentItems, ScorerInput
from models.serving.because import (
    Explainer,
    lost_by_counters,
    lost_by_language_model,
    pull_of_items,
)
from models.serving.membership import Membership
from models.serving.reading import Reading

USERS, ITEMS, INTERESTS, WIDTH, READ, HEADS = 6, 30, 4, 16, 3, 2


@pytest.fixture
def explainer() -> Explainer:
    torch.manual_seed(3)
    usual = torch.linspace(0.8, -0.6, len(NAMES))
    item = torch.stack((2 * usual, usual.flip(0), usual))  # each length of history its own
    interest = torch.tensor([0.9, 0.2, 0.3, 0.4, 0.1, 0.0, 0.2, 0.6, -0.3, 0.4])
    membership = (torch.rand(ITEMS + 1, INTERESTS) < 0.3).numpy()
    membership[0] = False
    rows = np.random.default_rng(3).integers(0, ITEMS + 1, 400)
    return Explainer(
        language_model=LanguageModel(1, WIDTH, 2, HEADS, 0.0, READ).eval(),
        scorers=ScorerSet.learn(Histories(rows, np.arange(0, 401, 40), ITEMS)),
        blend=Blend(
            item,
            interest,
            torch.full((INTERESTS,), 0.2),
            torch.zeros(ITEMS + 1),
            torch.zeros(ITEMS + 1),
            session=0.3 * torch.stack((usual, usual.flip(0), -usual)),
            rates=torch.tensor([0.1, 0.6]),
        ),
        membership=Membership(membership, whole=True),
        answers=torch.randn(ITEMS + 1, WIDTH),
        interests=torch.randn(INTERESTS, WIDTH),
        attention=Attention(ITEMS, WIDTH, READ + 1, 0.0).eval(),
        attended=torch.randn(ITEMS + 1, WIDTH),
    )


@pytest.fixture
def reading(explainer: Explainer) -> Reading:
    length = torch.tensor([32, 20, 9, 4, 2, 1])
    held = torch.arange(32)[None, :] < length[:, None]
    rows = torch.randint(0, ITEMS + 1, (USERS, 32)) * held
    session = held & (torch.arange(32) < torch.tensor([12, 20, 3, 1, 2, 1])[:, None])
    there = held[:, :READ].flip(1)
    tokens = torch.randn(USERS, READ + 2, WIDTH)
    bias = torch.zeros(USERS, HEADS, READ + 2, READ + 2)
    bias[:, :, :, :READ].masked_fill_(~there[:, None, None, :], float("-inf"))
    windows, slots = newest_items(rows, READ + 1)
    recent = RecentItems(rows, held, session)
    network, popular = torch.randn(2, USERS, ITEMS + 1), explainer.blend.log_popularity
    given = ScorerInput(recent, network[0], network[1], popular, popular[None])
    scored = explainer.scorers.scores(given)
    weights = explainer.blend.item_weights(recent)
    return Reading(
        answer=torch.randn(USERS, WIDTH),
        tokens=tokens,
        bias=bias,
        windows=windows,
        slots=slots,
        read=torch.randn(USERS, READ + 1, WIDTH),
        there=there,
        recent=recent,
        scored=scored,
        items=weighted([each.scores for each in scored], weights),
    )


def odds_of(explainer: Explainer, items: Tensor, which: Tensor) -> Tensor:
    return torch.logit(
        (torch.softmax(items.double(), 1) * explainer.membership.of_all(which)).sum(1)
    )


def test_the_pull_is_the_derivative_of_the_log_odds_by_the_item_scores(
    explainer: Explainer, reading: Reading
) -> None:
    which = torch.arange(USERS) % INTERESTS
    items = reading.items.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(odds_of(explainer, items, which).sum(), items)
    torch.testing.assert_close(
        pull_of_items(reading.items, explainer.membership.of_all(which)), gradient
    )


def test_what_the_counters_lose_is_what_they_say_without_the_event(
    explainer: Explainer, reading: Reading
) -> None:
    which = torch.arange(USERS) % INTERESTS
    opinion = dict(zip(blend.INTEREST_FEATURES, explainer.blend.interest.tolist(), strict=True))
    mine, base = explainer.membership.of_all(which), explainer.blend.base
    about = mine.gather(1, reading.recent.rows)
    lost = lost_by_counters(reading.recent, about, base[which], opinion)
    touched = explainer.membership.of(reading.recent.rows)

    def said(there: Tensor) -> Tensor:
        own = own_shares(touched * there[..., None], there, base)
        logits = {
            name: torch.logit(each.gather(1, which[:, None])[:, 0]) for name, each in own.items()
        }
        return torch.stack([opinion[name] * each for name, each in logits.items()]).sum(0)

    whole = reading.recent.held.float()
    for place in range(32):
        left = whole.clone()
        left[:, place] = 0
        torch.testing.assert_close(lost[:, place], said(whole) - said(left), atol=1e-5, rtol=1e-4)


def test_what_the_belief_loses_is_what_is_believed_without_the_event(
    explainer: Explainer, reading: Reading
) -> None:
    only = torch.tensor([0.6 * (name == "current") for name in INTEREST_FEATURES])
    told = replace(explainer.blend, interest=only)
    alone = replace(explainer, blend=told, looks_inside=False)
    which = torch.arange(USERS) % INTERESTS
    lost = alone.log_odds_lost(reading, which)
    touched = explainer.membership.of(reading.recent.rows)

    def said(touched: Tensor) -> Tensor:
        belief = follow(touched, told.base, told.rates).belief
        return 0.6 * belief.gather(1, which[:, None])[:, 0]

    for place in range(WINDOW):
        left = touched.clone()
        left[:, place] = 0
        wanted = (said(touched) - said(left)) * reading.recent.held[:, place]
        torch.testing.assert_close(lost[:, place], wanted, atol=1e-5, rtol=1e-4)
    assert not lost[:, WINDOW:].any()


def test_what_the_language_model_loses_is_its_last_block_with_the_event_hidden(
    explainer: Explainer, reading: Reading
) -> None:
    """It is exact where neither simplification bites: no feed-forward, and a linear LayerNorm."""
    block, norm, towards = (
        explainer.language_model.blocks[-1],
        explainer.language_model.norm,
        torch.randn(USERS, WIDTH),
    )
    assert isinstance(block, Block)
    with torch.no_grad():
        block.feed_forward.down.weight.zero_()
        block.feed_forward.down.bias.zero_()
        whole = block(reading.tokens, reading.bias, last=1)[:, -1]
        lost = lost_by_language_model(reading, towards, explainer.language_model)
    at = whole.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((norm(at) * towards).sum(), at)
    for place in range(READ):
        hidden = reading.bias.clone()
        hidden[:, :, -1, place] = float("-inf")
        with torch.no_grad():
            change = whole - block(reading.tokens, hidden, last=1)[:, -1]
        expected = (change * gradient).sum(1) * reading.there[:, place]
        torch.testing.assert_close(lost[:, READ - 1 - place], expected, atol=1e-5, rtol=1e-3)


def test_what_is_lost_is_the_sum_over_counters_scorers_and_language_model(
    explainer: Explainer, reading: Reading
) -> None:
    """With the weights of all scorers but one at 0, what is left is what that scorer says."""
    which = torch.arange(USERS) % INTERESTS
    silent = replace(explainer.blend, item=torch.zeros(3, len(NAMES)), session=None)
    alone = replace(explainer, blend=silent, looks_inside=False)
    counters = alone.log_odds_lost(reading, which)
    summed = counters.clone()
    for place in range(len(NAMES)):
        weights = explainer.blend.item.clone()
        weights[:, [each for each in range(len(NAMES)) if each != place]] = 0
        one = replace(alone, blend=replace(silent, item=weights))
        summed += one.log_odds_lost(reading, which) - counters
    together = replace(alone, blend=replace(silent, item=explainer.blend.item))
    torch.testing.assert_close(together.log_odds_lost(reading, which), summed, atol=1e-5, rtol=1e-4)


def test_a_pool_of_all_items_gives_the_causes_of_the_whole_catalogue(
    explainer: Explainer, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an item stands, and that the pairs of an event are picked out, changes nothing."""
    for kind in (Cooccurrence, Ease):
        monkeypatch.setattr(kind, "named", 10**9)
    order = torch.stack([1 + torch.randperm(ITEMS) for _ in range(USERS)])
    pool = Pool.of(order, ITEMS)
    assert pool.rows is not None
    network, popular = torch.randn(2, USERS, ITEMS + 1), explainer.blend.log_popularity
    given = ScorerInput(reading.recent, network[0], network[1], popular, popular[None])
    whole = [each.scores for each in explainer.scorers.scores(given)]
    items = weighted(whole, explainer.blend.item_weights(reading.recent))
    shape = torch.zeros(1, 1).expand(*pool.rows.shape)
    in_pool = explainer.scorers.scores(given._replace(language_model=shape, lstm=shape, pool=pool))
    picked = replace(reading, items=items.gather(1, pool.rows), scored=in_pool, pool=pool)
    every = replace(reading, items=items, scored=explainer.scorers.scores(given))
    which = torch.arange(USERS) % INTERESTS
    torch.testing.assert_close(
        explainer.log_odds_lost(picked, which),
        explainer.log_odds_lost(every, which),
        atol=1e-4,
        rtol=1e-3,
    )


def test_nothing_is_named_where_nothing_is_held(explainer: Explainer, reading: Reading) -> None:
    which = torch.zeros(USERS, dtype=torch.long)
    lost = explainer.log_odds_lost(reading, which)
    assert (lost[~reading.recent.held] == 0).all()
    assert torch.isfinite(lost).all()
    nobody = torch.zeros_like(reading.recent.held)
    blank = replace(
        reading,
        recent=reading.recent._replace(held=nobody),
        there=torch.zeros_like(reading.there),
    )
    assert (explainer.log_odds_lost(blank, which) == 0).all()
