"""Each scorer's part of an explanation against automatic differentiation, or against leaving the event out for real."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from models import because, blend, cooccurrence, ease
from models.because import Scorers
from models.blend import Blend, item_features, own_shares, weighted
from models.followers import learn
from models.language_model import Block, LanguageModel
from models.pair_tables import PairTable
from models.pairs import Pairs
from models.scorer import Reading

USERS, ITEMS, INTERESTS, WIDTH, READ, HEADS = 6, 30, 4, 16, 3, 2


@pytest.fixture
def parts() -> Scorers:
    torch.manual_seed(3)
    usual = torch.tensor([0.6, 0.2, 0.4, 0.1, 0.2, 0.3, -0.8, 0.5, 0.2, -0.4])
    item = torch.stack((2 * usual, usual.flip(0), usual))  # each length of history its own
    interest = torch.tensor([0.9, 0.2, 0.3, 0.4, 0.1, 0.0, 0.2])
    membership = (torch.rand(ITEMS + 1, INTERESTS) < 0.3).float()
    membership[0] = 0
    return Scorers(
        language_model=LanguageModel(1, WIDTH, 2, HEADS, 0.0, READ).eval(),
        pairs=Pairs(
            cooccurrence.table(*drawn(0)),
            ease.table(*drawn(1)),
            learn(np.random.default_rng(3).integers(0, ITEMS + 1, 400), np.arange(0, 401, 40), ITEMS),
        ),
        blend=Blend(
            item,
            interest,
            torch.full((INTERESTS,), 0.2),
            torch.zeros(ITEMS + 1),
            torch.zeros(ITEMS + 1),
            session=0.3 * torch.stack((usual, usual.flip(0), -usual)),
        ),
        membership=membership,
        answers=torch.randn(ITEMS + 1, WIDTH),
        interests=torch.randn(INTERESTS, WIDTH),
    )


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours and weights [V + 1, 5], as learned: no neighbour, no weight."""
    random = np.random.default_rng(seed)
    neighbours = np.stack([random.permutation(ITEMS + 1)[:5] for _ in range(ITEMS + 1)]).astype(np.int32)
    return neighbours, np.where(neighbours > 0, random.random(neighbours.shape), 0).astype(np.float32)


@pytest.fixture
def reading(parts: Scorers) -> Reading:
    length = torch.tensor([32, 20, 9, 4, 2, 1])
    held = torch.arange(32)[None, :] < length[:, None]
    rows = torch.randint(0, ITEMS + 1, (USERS, 32)) * held
    session = held & (torch.arange(32) < torch.tensor([12, 20, 3, 1, 2, 1])[:, None])
    there = held[:, :READ].flip(1)
    tokens = torch.randn(USERS, READ + 2, WIDTH)
    bias = torch.zeros(USERS, HEADS, READ + 2, READ + 2)
    bias[:, :, :, :READ].masked_fill_(~there[:, None, None, :], float("-inf"))
    together, ease_sums = (gathered(table, rows, torch.ones(USERS, 32)) for table in tables(parts))
    network = torch.randn(2, USERS, ITEMS + 1)
    popular = parts.blend.log_popularity
    scorers = item_features(
        network[0], network[1], together, ease_sums, popular, popular, rows, session, parts.pairs.followers
    )
    return Reading(
        answer=torch.randn(USERS, WIDTH),
        tokens=tokens,
        bias=bias,
        there=there,
        rows=rows,
        held=held,
        session=session,
        cooccurrence=together,
        ease=ease_sums,
        scorers=scorers,
        items=weighted(scorers, parts.blend.item_weights(held, session, rows)),
    )


def tables(parts: Scorers) -> tuple[PairTable, PairTable]:
    assert parts.pairs.ease is not None
    return parts.pairs.cooccurrence, parts.pairs.ease


def gathered(table: PairTable, rows: Tensor, amount: Tensor) -> Tensor:
    """Sums [U, V + 1] over a table with each event taken as often as `amount` [U, 32] says; written plainly."""
    scores = torch.zeros(len(rows), ITEMS + 1)
    for user in range(len(rows)):
        for place in range(table.look_back):
            row = int(rows[user, place])
            for near, weight in zip(table.neighbours[row].tolist(), table.weights[row].tolist(), strict=True):
                if near:
                    scores[user, near] = scores[user, near] + amount[user, place] * weight * table.decay**place
    return scores


def odds_of(parts: Scorers, items: Tensor, which: Tensor) -> Tensor:
    return torch.logit((torch.softmax(items.double(), 1) * parts.membership.t()[which]).sum(1))


def test_the_pull_is_the_derivative_of_the_log_odds_by_the_item_scores(parts: Scorers, reading: Reading) -> None:
    which = torch.arange(USERS) % INTERESTS
    items = reading.items.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(odds_of(parts, items, which).sum(), items)
    torch.testing.assert_close(because._pull(reading.items, parts.membership.t()[which]), gradient)


@pytest.mark.parametrize("scorer", ["cooccurrence", "ease"])
def test_what_a_table_of_pairs_loses_is_the_derivative_by_how_much_an_event_counts(
    parts: Scorers, reading: Reading, scorer: str
) -> None:
    table: PairTable = getattr(parts.pairs, scorer)
    place = blend.ITEM_SCORERS.index(scorer)
    which = torch.arange(USERS) % INTERESTS
    amount = torch.ones(USERS, 32, requires_grad=True)
    scorers = list(reading.scorers)
    scorers[place] = blend.log_share(gathered(table, reading.rows, amount))
    weights = parts.blend.item_weights(reading.held, reading.session, reading.rows)
    (gradient,) = torch.autograd.grad(odds_of(parts, weighted(scorers, weights), which).sum(), amount)
    pull = because._pull(reading.items, parts.membership.t()[which])
    sums: Tensor = getattr(reading, scorer)
    lost = weights[:, place : place + 1] * because._of_pairs(reading.rows, pull, table, sums)
    torch.testing.assert_close(lost, gradient[:, : table.look_back], atol=1e-5, rtol=1e-4)


def test_what_the_followers_lose_is_the_pull_of_the_newest_known_item_minus_that_of_the_one_before(
    parts: Scorers, reading: Reading
) -> None:
    followers = parts.pairs.followers
    assert followers is not None
    pull = because._pull(reading.items, parts.membership.t()[torch.arange(USERS) % INTERESTS])
    lost = because._of_followers(reading.rows, pull, followers)
    for user in range(USERS):
        known = reading.rows[user].nonzero()[:, 0].tolist()
        assert (lost[user, [each for each in range(32) if each != (known or [0])[0]]] == 0).all()
        if known:
            without = reading.rows[user : user + 1].clone()
            without[0, known[0]] = 0
            change = followers.of(reading.rows[user : user + 1]) - followers.of(without)
            torch.testing.assert_close(lost[user, known[0]], (pull[user] * change[0]).sum())


@pytest.mark.parametrize("session", [12, 32])
def test_an_event_alone_keeps_its_item_seen(parts: Scorers, reading: Reading, session: int) -> None:
    """Each event left out for real: only where no other event of the same session is about its item does it stop being seen there."""
    within = reading.held & (torch.arange(32) < session)
    alone = because._alone(reading.rows, within)
    assert 0 < alone.sum() < within.sum()  # some items were seen twice

    def seen(rows: Tensor) -> Tensor:
        nothing = torch.zeros(USERS, ITEMS + 1)
        popular = parts.blend.log_popularity
        found = item_features(nothing, nothing, nothing, None, popular, popular, rows, within, None)
        return found[blend.ITEM_SCORERS.index("seen_this_session")]

    for place in range(32):
        without = reading.rows.clone()
        without[:, place] = 0
        at = reading.rows[:, place : place + 1]
        lost = (seen(reading.rows) - seen(without)).gather(1, at)[:, 0]
        known = at[:, 0] > 0
        assert torch.equal(lost[known], alone[known, place].float())


def test_what_the_counters_lose_is_what_they_say_without_the_event(parts: Scorers, reading: Reading) -> None:
    which = torch.arange(USERS) % INTERESTS
    opinion = dict(zip(blend.INTEREST_FEATURES, parts.blend.interest.tolist(), strict=True))
    mine, base = parts.membership.t()[which], parts.blend.base
    lost = because._of_counters(reading, mine, base[which], opinion)
    touched = parts.membership[reading.rows]

    def said(there: Tensor) -> Tensor:
        own = own_shares(touched * there[..., None], there, base)
        logits = {name: torch.logit(each.gather(1, which[:, None])[:, 0]) for name, each in own.items()}
        return torch.stack([opinion[name] * each for name, each in logits.items()]).sum(0)

    whole = reading.held.float()
    for place in range(32):
        left = whole.clone()
        left[:, place] = 0
        torch.testing.assert_close(lost[:, place], said(whole) - said(left), atol=1e-5, rtol=1e-4)


def test_what_the_language_model_loses_is_its_last_block_with_the_event_hidden(
    parts: Scorers, reading: Reading
) -> None:
    """Exact where the two simplifications do not bite: no feed-forward, and the LayerNorm linear."""
    block, norm, towards = parts.language_model.blocks[-1], parts.language_model.norm, torch.randn(USERS, WIDTH)
    assert isinstance(block, Block)
    with torch.no_grad():
        block.feed_forward.down.weight.zero_()
        block.feed_forward.down.bias.zero_()
        whole = block(reading.tokens, reading.bias, last=1)[:, -1]
        lost = because._of_language_model(reading, towards, parts.language_model)
    at = whole.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((norm(at) * towards).sum(), at)
    for place in range(READ):
        hidden = reading.bias.clone()
        hidden[:, :, -1, place] = float("-inf")
        with torch.no_grad():
            change = whole - block(reading.tokens, hidden, last=1)[:, -1]
        expected = (change * gradient).sum(1) * reading.there[:, place]
        torch.testing.assert_close(lost[:, READ - 1 - place], expected, atol=1e-5, rtol=1e-3)


def test_nothing_is_named_where_nothing_is_held(parts: Scorers, reading: Reading) -> None:
    which = torch.zeros(USERS, dtype=torch.long)
    lost = because.losses(reading, which, parts)
    assert (lost[~reading.held] == 0).all()
    assert torch.isfinite(lost).all()
    blank = replace(reading, held=torch.zeros_like(reading.held), there=torch.zeros_like(reading.there))
    assert (because.losses(blank, which, parts) == 0).all()
