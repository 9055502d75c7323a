"""Says which recent events the user's first interest rests on.

The cause of an event is what the log-odds of the interest would lose, scorer by scorer, had the
event not been read:

    language model   the last block attends to the other events instead
    attention        its last block has nothing of the event, neither in filter nor in attention
    pairs of items   the items that the event speaks for lose that
    what followed    the item before the last one is the newest instead of the last
    seen, lately     the event's own item is no longer one that was seen, or seen in this session
    own counters     one event less touches the interest
    current one      the event says nothing of which interest is the current one

All but the last two are taken as linear at their values; that an interest is the surest one of all
is credited to no event. What reached the answer through the LSTM's
memory or an earlier block is credited to no event. How well this agrees with replaying the history
without the event: models/evaluation/explanations.py measures it. What each scorer loses is in its
own file (models/scorers); here they are added up, with the three that are no scorers of items.

Glossary: U users, V items (row 0: unknown), K places of a pool, C interests, D width, n events read
as tokens, S items of the rest of a pool, R = 32 recent events, newest first, F scorers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from models.current_interest import Followed, without_each
from models.network.attention import Attention
from models.network.language_model import Block, LanguageModel
from models.scorers import blend as blending
from models.scorers.blend import Blend
from models.scorers.registry import EXPLAINED, NAMES, ScorerSet
from models.scorers.scorer import Pull, RecentItems
from models.serving.membership import Membership
from models.serving.reading import Reading


@dataclass(frozen=True)
class Explainer:
    """Holds what events act through: the language model, the scorers and their weights."""

    language_model: LanguageModel
    scorers: ScorerSet  # of few neighbours an item
    blend: Blend
    membership: Membership
    answers: Tensor
    """What the language model's answer is held against, [V + 1, D]; what lies beyond is unread."""
    interests: Tensor  # [C, D]
    attention: Attention | None = None
    attended: Tensor | None = None
    """What the attention's answer is held against, [V + 1, D]."""
    looks_inside: bool = True  # False: another language model answered, credited to no event

    def log_odds_lost(self, reading: Reading, which: Tensor) -> Tensor:
        """Returns what the log-odds of interests [U] lose without each recent event, [U, R].

        It is 0 where there is no event.
        """
        recent = reading.recent
        weights = self.blend.item_weights(recent).t().unsqueeze(2)  # [F, U, 1]
        opinion = dict(zip(blending.INTEREST_FEATURES, self.blend.interest.tolist(), strict=True))
        # how the interest moves with each item's score, and with the items of the events
        pool, mine = reading.pool, self._mine(reading, which)
        chances, current = self._asked_before(reading)
        by_items, believed = (
            each.gather(1, which.unsqueeze(1)).squeeze(1) for each in (chances, current.belief)
        )
        of_items = opinion["items"] + opinion["current_items"] * believed
        pull = of_items.unsqueeze(1) * (
            pull_of_items(reading.items, mine)
            if reading.rest is None
            else pull_of_candidates(reading, mine, self.membership.of(reading.rest.rows).t()[which])
        )
        of_events = pull.gather(1, pool.places(recent.rows))

        # the user's own counters, then each scorer by its weight
        touched = self.membership.among(recent.rows, which)
        lost = lost_by_counters(recent, touched, self.blend.base[which], opinion)
        if self.blend.rates is not None:
            belief = without_each(current, self.blend.base, self.blend.rates, which)
            weight = opinion["current"] + opinion["current_items"] * blending.logit(by_items)
            given = weight.unsqueeze(1) * (believed.unsqueeze(1) - belief)
            lost[:, : given.shape[1]] += given
        for place in EXPLAINED:
            scorer = self.scorers.each[place]
            if scorer is None:
                continue
            given = scorer.lost(
                recent, reading.scored[place].kept, Pull(pull, of_events, weights[place], pool)
            )
            if given is not None:
                lost[:, : given.shape[1]] += given

        # the language model acts through the items and on the interest directly
        if self.looks_inside:
            own = opinion["language_model"] * self.interests[which]
            by_items = pool.summed(pull, self.answers)[:, : own.shape[1]]
            towards = weights[NAMES.index("language_model")] * by_items + own
            read = reading.there.shape[1]
            lost[:, :read] += lost_by_language_model(reading, towards, self.language_model)

        # and the attention through the items alone
        if self.attention is not None and self.attended is not None:
            by_items = pool.summed(pull, self.attended)
            towards = weights[NAMES.index("attention")] * by_items
            given = self.attention.unread(reading.windows, reading.read, towards)
            lost.scatter_add_(1, reading.slots, given)
        return lost.masked_fill_(~recent.held, 0)

    def _asked_before(self, reading: Reading) -> tuple[Tensor, Followed]:
        """Returns what is known since interests were asked for, or makes it now.

        It is how likely the next item is one of each interest [U, C], and which is the current one.
        """
        if reading.by_items is not None and reading.current is not None:
            return reading.by_items, reading.current
        touched = self.membership.of(reading.recent.rows)
        followed = blending.follow(touched, self.blend.base, self.blend.rates)
        return reading.chances(self.membership), followed

    def _mine(self, reading: Reading, which: Tensor) -> Tensor:
        """Returns 1 at the items of the pool that belong to interests [U], float32 [U, K]."""
        if reading.pool.rows is None:
            return self.membership.of_all(which)
        return self.membership.among(reading.pool.rows, which)


def lost_by_language_model(reading: Reading, towards: Tensor, model: LanguageModel) -> Tensor:
    """Returns what the answer loses along a direction without each event, [U, n], newest first.

    towards: [U, D], the derivative of the log-odds by the answer.
    """
    block = cast(Block, model.blocks[-1])
    lost = block.unread(reading.tokens, reading.bias, model.norm, towards)
    return lost[:, : reading.there.shape[1]].masked_fill(~reading.there, 0).flip(1)


def lost_by_counters(
    recent: RecentItems, touched: Tensor, base: Tensor, opinion: dict[str, float]
) -> Tensor:
    """Returns what the own counters of one interest a user lose without each event, [U, R].

    It is blend.own_shares with and without the event. touched: [U, R], 1 at events about an item of
    the interest; base: [U], its base rate; opinion: the weight of each interest feature.
    """
    held = recent.held
    touched = touched * held
    lost = torch.zeros_like(touched)
    for name, half_life, prior in blending.COUNTERS:
        decay = 0.5 ** (torch.arange(touched.shape[1]) / half_life) * held
        hits = (decay * touched).sum(1, keepdim=True) + prior * base.unsqueeze(1)
        total = decay.sum(1, keepdim=True) + prior
        without = (hits - decay * touched) / (total - decay)
        lost += opinion[name] * (torch.logit(hits / total, 1e-5) - torch.logit(without, 1e-5))
    return lost


def pull_of_items(items: Tensor, mine: Tensor) -> Tensor:
    """Returns the derivative of an interest's log-odds by the item scores, [U, K].

    mine: [U, K], 1 where an item belongs to the interest.
    """
    share = torch.softmax(items, 1)
    within = share * mine
    outside = share - within
    return within / within.sum(1, keepdim=True).clamp(1e-5) - outside / outside.sum(
        1, keepdim=True
    ).clamp(1e-5)


def pull_of_candidates(reading: Reading, mine: Tensor, mine_of_rest: Tensor) -> Tensor:
    """Returns the same by the scores of candidates, [U, K]; the rest of the items has its share.

    mine: [U, K] and mine_of_rest: [U, S], 1 where an item belongs to the interest.
    """
    share, rest = reading.shares()
    of_rest = (rest * mine_of_rest).sum(1, keepdim=True)
    within = share * mine
    outside = share - within
    inside = within.sum(1, keepdim=True) + of_rest
    beyond = outside.sum(1, keepdim=True) + rest.sum(1, keepdim=True) - of_rest
    return within / inside.clamp(1e-5) - outside / beyond.clamp(1e-5)
