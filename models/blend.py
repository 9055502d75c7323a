"""Many scorers, one answer: weights of the item scores and of the interest features, both fitted on validation users.

Items: softmax of a weighted sum of what each scorer says; the weights depend on how much of a history there is, since a network
needs more of it than co-occurrence does, and on how much of this session, since who has just come begins with what was met
before. Interests: one logistic function of features, so that the result is a calibrated probability that the next event touches
the interest; interests overlap, so they need not sum to one.

Glossary: U users, V items (row 0: unknown), C interests, F features, L lengths of history, S of a session.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.followers import Followers

Array = np.ndarray[Any, Any]

ITEM_SCORERS: Final = (
    "language_model",
    "lstm",
    "cooccurrence",
    "popularity",
    "recent_popularity",
    "seen",
    "seen_lately",
    "following",
    "ease",
    "seen_this_session",
)
LENGTHS: Final = (5, 20)
"""Recent events that a history may have to get the first weights, the second ones; longer ones get the last. Picked as the half-life
of recent popularity was."""
SESSION_LENGTHS: Final = (2, 10)
"""The same, of the recent events of this session. Picked on validation (docs/model-log.md)."""
PRIORS: Final = ("popularity", "recent_popularity")
"""All that says something of a user without events: a network has nothing to read."""
READERS: Final = ("language_model", "lstm", *PRIORS)
"""What says something of a user whose events are about no known item (searches, titles that are new): networks read texts."""
INTEREST_FEATURES: Final = ("items", "language_model", "own_4", "own_16", "base", "one", "own_16_sure")


class Counter(NamedTuple):
    """A user's own share of events that touch an interest, older ones counting less."""

    name: str  # of its feature
    half_life: float  # events
    prior: float  # events' worth of the base rate in it


COUNTERS: Final = (Counter("own_4", 4.0, 2.0), Counter("own_16", 16.0, 2.0), Counter("own_16_sure", 16.0, 0.1))
"""The last believes a single event: where users keep to what they once did (editors of one language), two events' worth of what
others do is too much, and no weight can take it back for short and long histories at once."""
LATELY: Final = 0.8
"""What an item seen one event earlier counts for, of one seen now."""
EPSILON: Final = 1e-6
COMMON: Final = 1e-3
OWN: Final = 3e-3
"""Ridge on the weights that all histories share, and on what a length, of history or session, differs by."""
FLOOR: Final = 1e-4
"""Share of a user's sum over a table of pairs that is as good as none."""


class ItemWeights(NamedTuple):
    """Of the item scorers, by how much there is to read."""

    length: Tensor  # [L, F] by the length of the history
    session: Tensor  # [S, F] what they differ by with that of the session

    def of(self, length: Tensor, session: Tensor) -> Tensor:
        """[U, F] of users by both lengths, int64 [U]."""
        return self.length[length] + self.session[session]


@dataclass(frozen=True)
class Blend:
    """Fitted weights, and what is known before a user is."""

    item: Tensor  # [L, len(ITEM_SCORERS)]
    interest: Tensor  # [len(INTEREST_FEATURES)]
    base: Tensor  # [C] share of events that touch each interest
    log_popularity: Tensor  # [V + 1] of all training events
    log_recent: Tensor  # [V + 1] of the last days of training (models/popularity.py)
    live_item: Tensor | None = None  # weights for a log_recent that is live; None: data without times
    live_interest: Tensor | None = None
    strangers: Tensor | None = None  # [2, F] for users without events, and without known items; None: as for others
    live_strangers: Tensor | None = None
    session: Tensor | None = None  # [S, F] what the weights differ by with the length of the session; None: not at all
    live_session: Tensor | None = None

    @classmethod
    def start(cls, base: Tensor, log_popularity: Tensor) -> Blend:
        """Before anything is fitted: the first scorer and the first feature alone."""
        item, interest = torch.zeros(1 + len(LENGTHS), len(ITEM_SCORERS)), torch.zeros(len(INTEREST_FEATURES))
        item[:, 0], interest[0] = 1, 1
        # a copy: data without times keeps it, and a model file holds no two tensors of one memory
        return cls(item, interest, base, log_popularity, log_popularity.clone())

    def live(self) -> Blend | None:
        """The same for a recent popularity that comes in live; None if it was not fitted to one."""
        if self.live_item is None or self.live_interest is None:
            return None
        return replace(
            self,
            item=self.live_item,
            session=self.live_session,
            interest=self.live_interest,
            strangers=self.live_strangers,
        )

    def item_weights(self, held: Tensor, session: Tensor, rows: Tensor) -> Tensor:
        """[U, F] by the recent events: held bool [U, 32], session bool [U, 32] which are of this one, and their item rows [U, 32]
        (0: unknown); a function of the state alone."""
        if self.session is None:
            weights = self.item[lengths(held)]
        else:
            weights = ItemWeights(self.item, self.session).of(lengths(held), session_lengths(session))
        if self.strangers is None:
            return weights
        return torch.where((rows > 0).any(1, keepdim=True), weights, self.strangers[held.any(1).long()])


def lengths(held: Tensor) -> Tensor:
    """int64 [U] in 0..L - 1, of held bool [U, 32]."""
    return torch.bucketize(held.sum(1), torch.tensor(LENGTHS))


def session_lengths(session: Tensor) -> Tensor:
    """int64 [U] in 0..S - 1, of session bool [U, 32]."""
    return torch.bucketize(session.sum(1), torch.tensor(SESSION_LENGTHS))


def item_features(
    language_model: Tensor,
    lstm: Tensor,
    cooccurrence: Tensor,
    ease: Tensor | None,
    log_popularity: Tensor,
    log_recent: Tensor,
    recent: Tensor,
    session: Tensor,
    followers: Followers | None,
) -> list[Tensor]:
    """F tensors [U, V + 1] in the order of ITEM_SCORERS; recent: item rows [U, 32] newest first, 0 none.

    session: bool [U, 32], which of them are of the session of the newest: what was bought in it is not bought twice, what was bought
    before it often is.

    cooccurrence, ease: sums over tables of pairs; None, as of followers: a model without that table.
    """
    users, items = language_model.shape
    nothing = torch.zeros(1, 1).expand(users, items)
    seen = torch.zeros(users, items).scatter_(1, recent, 1.0)
    this_session = torch.zeros(users, items).scatter_(1, recent * session, 1.0)
    age = LATELY ** torch.arange(recent.shape[1], dtype=torch.float32)
    lately = torch.zeros(users, items).scatter_add_(1, recent, age.expand(users, -1))
    return [
        torch.log_softmax(language_model, 1),
        torch.log_softmax(lstm, 1),
        log_share(cooccurrence),
        log_popularity.expand(users, -1),
        log_recent.expand(users, -1),
        seen,
        lately,
        nothing if followers is None else followers.of(recent),
        nothing if ease is None else log_share(ease),
        this_session,
    ]


def log_share(sums: Tensor) -> Tensor:
    """[U, V + 1] of what a table of pairs gives each item, [U, V + 1]."""
    return (sums / (sums.sum(1, keepdim=True) + EPSILON)).add_(FLOOR).log_()


def weighted(features: list[Tensor], weights: Tensor) -> Tensor:
    """[U, V + 1] of weights [U, F], row 0 impossible."""
    total = torch.zeros_like(features[0])
    for feature, weight in zip(features, weights.t(), strict=True):
        total.addcmul_(feature, weight.unsqueeze(1))
    total[:, 0] = float("-inf")
    return total


def fit_item_weights(features: list[Tensor], targets: Tensor, length: Tensor, session: Tensor) -> ItemWeights:
    """Those that minimise cross-entropy of targets [U] (rows).

    From equal weights of the neural scorers. Each length [U] of history, and of session [U], has what all have in common and a
    difference of its own; few users of a length leave it near the others.
    """
    stacked = torch.stack([feature[:, 1:] for feature in features], dim=2)  # [U, V, F]

    def loss(parts: Tensor) -> Tensor:
        own = parts[0] + parts[1:lengths_end][length] + parts[lengths_end:][session]
        logits = torch.bmm(stacked, own.unsqueeze(2)).squeeze(2)
        entropy = torch.nn.functional.cross_entropy(logits, targets - 1)
        return entropy + COMMON * parts[0].square().sum() + OWN * parts[1:].square().sum()

    lengths_end = 2 + len(LENGTHS)
    start = torch.zeros(lengths_end + 1 + len(SESSION_LENGTHS), len(features))
    start[0, :3] = torch.tensor([0.5, 0.5, 0.3])
    parts = minimised(loss, start)
    return ItemWeights(parts[:1] + parts[1:lengths_end], parts[lengths_end:])


def crossed_losses(features: list[Tensor], targets: Tensor, length: Tensor, session: Tensor) -> Tensor:
    """Cross-entropy [U] of each target by weights that were fitted to the other half of the users (every second one)."""
    even = torch.arange(len(targets)) % 2 == 0
    losses = torch.zeros(len(targets))
    for half in (even, ~even):
        known = [feature[~half] for feature in features]
        weights = fit_item_weights(known, targets[~half], length[~half], session[~half])
        scores = weighted([feature[half] for feature in features], weights.of(length[half], session[half]))
        losses[half] = torch.nn.functional.cross_entropy(scores[:, 1:], targets[half] - 1, reduction="none")
    return losses


def fit_weights_of(opinions: dict[str, Tensor], targets: Tensor) -> Tensor:
    """Weights [F] of some scorers, the others 0, fitted as above: log-probabilities [U, V + 1] by name, targets [U] (rows)."""
    stacked = torch.stack([each[:, 1:] for each in opinions.values()], dim=2)

    def loss(weights: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(stacked @ weights, targets - 1) + COMMON * weights.square().sum()

    found = torch.zeros(len(ITEM_SCORERS))
    places = [ITEM_SCORERS.index(name) for name in opinions]
    found[places] = minimised(loss, torch.full((len(opinions),), 1 / len(opinions)))
    return found


def own_shares(touched: Tensor, there: Tensor, base: Tensor) -> dict[str, Tensor]:
    """[U, C] by each of COUNTERS: decayed share of the user's recent events that touch each interest, mixed with the base rate.

    touched [U, 32, C] 0/1, there [U, 32], newest first.
    """
    ages = torch.arange(there.shape[1], dtype=torch.float32)
    decays = {counter.half_life: 0.5 ** (ages / counter.half_life) * there for counter in COUNTERS}
    counted = {half_life: torch.einsum("un,unc->uc", decay, touched) for half_life, decay in decays.items()}
    return {
        name: (counted[half_life] + prior * base) / (decays[half_life].sum(1, keepdim=True) + prior)
        for name, half_life, prior in COUNTERS
    }


def interest_features(items: Tensor, language_model: Tensor, own: dict[str, Tensor], base: Tensor) -> Tensor:
    """[U, C, F] in the order of INTEREST_FEATURES: logits of each opinion. items: probability [U, C] from the item scores."""
    opinions = {name: _logit(each) for name, each in {"items": items, **own}.items()}
    opinions |= {"language_model": language_model, "base": _logit(base).expand_as(items), "one": torch.ones_like(items)}
    return torch.stack([opinions[name] for name in INTEREST_FEATURES], dim=2)


def fit_interest_weights(features: Tensor, happened: Tensor) -> Tensor:
    """Weights [F] that minimise binary cross-entropy of what happened [U, C] (0/1)."""

    def loss(weights: Tensor) -> Tensor:
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(features @ weights, happened)
        return entropy + 1e-4 * weights.square().sum()

    start = torch.zeros(features.shape[2])
    start[:4] = torch.tensor([0.4, 0.2, 0.2, 0.2])
    return minimised(loss, start)


def minimised(loss: Callable[[Tensor], Tensor], start: Tensor, steps: int = 30) -> Tensor:
    """Weights of the least loss; both losses are convex in them, so L-BFGS is there in some twenty passes over the data."""
    weights = start.requires_grad_()
    optimiser = torch.optim.LBFGS([weights], max_iter=steps, line_search_fn="strong_wolfe", tolerance_change=1e-7)

    def closure() -> float:
        optimiser.zero_grad()
        value = loss(weights)
        value.backward()  # type: ignore[no-untyped-call]
        return value.item()

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach()


def _logit(probability: Tensor) -> Tensor:
    bounded = probability.clamp(1e-5, 1 - 1e-5)
    return torch.log(bounded) - torch.log1p(-bounded)
