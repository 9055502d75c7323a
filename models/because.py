"""Which recent events the user's first interest rests on: what its log-odds would lose, scorer by scorer, had the event not been read.

    language model   the last block attends to the other events instead
    co-occurrence    the items that the event speaks for lose that
    EASE             the same
    followers        the item before the last one is followed instead of the last
    seen, lately     the event's own item is no longer one that was seen, or seen in this session
    own counters     one event less touches the interest

All but the counters are taken as linear at their values. What reached the answer through the LSTM's memory or an earlier block
is credited to no event. How well this agrees with replaying the history without the event: models/explain.py measures it.

Glossary: U users, V items (row 0: unknown), C interests, D width, n events read as tokens, R = 32 recent events, newest first,
A of them that a table of pairs looks back at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from models import blend as blending
from models.blend import Blend
from models.followers import Followers, places
from models.language_model import Block, LanguageModel
from models.pair_tables import PairTable
from models.pairs import Pairs

if TYPE_CHECKING:
    from models.scorer import Reading


@dataclass(frozen=True)
class Scorers:
    """What events act through, and the tables that go with it."""

    language_model: LanguageModel
    pairs: Pairs  # of few neighbours an item
    blend: Blend
    membership: Tensor  # [V + 1, C] 1 where an item belongs to an interest
    answers: Tensor  # [V + 1, D] candidates that the language model's answer is held against
    interests: Tensor  # [C, D]


def losses(reading: Reading, which: Tensor, scorers: Scorers, *, look_inside: bool = True) -> Tensor:
    """[U, R] what the log-odds of interests [U] lose without each recent event; 0 where there is none.

    look_inside: whether the language model is the one of `scorers`, and counts; another one's part is credited to no event.
    """
    weights = scorers.blend.item_weights(reading.held, reading.session, reading.rows).t().unsqueeze(2)  # [F, U, 1]
    weight = dict(zip(blending.ITEM_SCORERS, weights, strict=True))
    opinion = dict(zip(blending.INTEREST_FEATURES, scorers.blend.interest.tolist(), strict=True))
    mine = scorers.membership.t()[which]
    pull = opinion["items"] * _pull(reading.items, mine)
    lost = _of_counters(reading, mine, scorers.blend.base[which], opinion)
    at = pull.gather(1, reading.rows)
    lost += weight["seen"] * at * _alone(reading.rows, reading.rows > 0)
    lost += weight["seen_this_session"] * at * _alone(reading.rows, reading.session)
    lost += weight["seen_lately"] * at * blending.LATELY ** torch.arange(at.shape[1])
    pairs = scorers.pairs
    if pairs.followers is not None:
        lost += weight["following"] * _of_followers(reading.rows, pull, pairs.followers)
    tables = (("cooccurrence", pairs.cooccurrence, reading.cooccurrence), ("ease", pairs.ease, reading.ease))
    for name, table, sums in tables:
        if table is not None and sums is not None:
            lost[:, : table.look_back] += weight[name] * _of_pairs(reading.rows, pull, table, sums)
    if look_inside:
        own = opinion["language_model"] * scorers.interests[which]
        towards = weight["language_model"] * (pull @ scorers.answers) + own
        lost[:, : reading.there.shape[1]] += _of_language_model(reading, towards, scorers.language_model)
    return lost.masked_fill_(~reading.held, 0)


def _of_language_model(reading: Reading, towards: Tensor, model: LanguageModel) -> Tensor:
    """[U, n] newest first; towards [U, D]: derivative of the log-odds by the answer."""
    lost = cast(Block, model.blocks[-1]).unread(reading.tokens, reading.bias, model.norm, towards)
    return lost[:, : reading.there.shape[1]].masked_fill(~reading.there, 0).flip(1)


def _of_pairs(rows: Tensor, pull: Tensor, table: PairTable, sums: Tensor) -> Tensor:
    """[U, A]: blend.log_share of sums [U, V + 1] taken as linear; an event's neighbours lose what it gives, all others gain as shares."""
    neighbours, given = table.given(rows[:, : table.look_back])
    total = sums.sum(1, keepdim=True) + blending.EPSILON
    slope = pull / (sums + blending.FLOOR * total)
    lost = (slope.gather(1, neighbours.flatten(1)).view_as(given) * given).sum(2)
    gained = (slope * sums).sum(1, keepdim=True) / total * given.sum(2)
    return lost - gained


def _of_followers(rows: Tensor, pull: Tensor, followers: Followers) -> Tensor:
    """[U, R]: all of it at the newest known item, without which the one before it is followed."""
    newest = places(rows)
    follow, scores = followers.after(rows.gather(1, newest))  # [U, 2, K]
    given = (pull.gather(1, follow.flatten(1)).view_as(scores) * scores).sum(2)
    return torch.zeros_like(rows, dtype=given.dtype).scatter_(1, newest[:, :1], given[:, :1] - given[:, 1:])


def _alone(rows: Tensor, counted: Tensor) -> Tensor:
    """Bool [U, R]: which of the counted events is the only one of its item; an item that was seen twice stays one that was seen."""
    same = (rows.unsqueeze(2) == rows.unsqueeze(1)) & counted.unsqueeze(1)
    return counted & (same.sum(2) == 1)


def _of_counters(reading: Reading, mine: Tensor, base: Tensor, opinion: dict[str, float]) -> Tensor:
    """[U, R]: blend.own_shares of one interest with and without each event; its members mine [U, V + 1], base [U]."""
    touched = mine.gather(1, reading.rows) * reading.held
    lost = torch.zeros_like(touched)
    for name, half_life, prior in blending.COUNTERS:
        decay = 0.5 ** (torch.arange(touched.shape[1]) / half_life) * reading.held
        hits = (decay * touched).sum(1, keepdim=True) + prior * base.unsqueeze(1)
        total = decay.sum(1, keepdim=True) + prior
        without = (hits - decay * touched) / (total - decay)
        lost += opinion[name] * (torch.logit(hits / total, 1e-5) - torch.logit(without, 1e-5))
    return lost


def _pull(items: Tensor, mine: Tensor) -> Tensor:
    """[U, V + 1]: derivative of the log-odds of an interest by the item scores; mine: 1 where an item belongs to it."""
    share = torch.softmax(items, 1)
    within = share * mine
    outside = share - within
    return within / within.sum(1, keepdim=True).clamp(1e-5) - outside / outside.sum(1, keepdim=True).clamp(1e-5)
