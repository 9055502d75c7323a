"""Defines what a scorer of the blend is: one file, one class, one interface.

A scorer gives every item of the catalogue a number for every user. The blend adds these numbers up,
each with a weight that was fitted on validation users. `models.scorers.registry` names all scorers,
in the order in which their weights are stored.

Glossary: U users, N events, V items (row 0: unknown), R = 32 recent events of a user, newest first,
A <= R of them that a scorer looks at.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from torch import Tensor

Array = np.ndarray[Any, Any]
Tensors = Mapping[str, Tensor]


class Family(Enum):
    """Names the kinds of scorers, by which reports group them."""

    NETWORK = auto()  # the trained networks
    PAIRS = auto()  # tables of pairs of items
    SUCCESSION = auto()  # which item directly comes after which
    POPULARITY = auto()  # what everybody meets
    SEEN = auto()  # what the user met before


class Needs(Enum):
    """Names what a scorer has to know of a user before it says anything."""

    NOTHING = auto()
    TEXTS = auto()  # events with a text: searches, titles that no catalogue has
    ITEMS = auto()  # events about items of the catalogue


class Histories(NamedTuple):
    """Holds the events that a scorer learns from, user after user, oldest first."""

    rows: Array  # int [N] item rows, 0: unknown
    user_start: Array  # int [users + 1]: user u has rows[user_start[u] : user_start[u + 1]]
    items: int  # V
    least_users: int = 1
    """Users who must have met a pair of items before a table of pairs may hold it."""


class RecentItems(NamedTuple):
    """Holds the recent events of U users as catalogue rows, newest first."""

    rows: Tensor  # int64 [U, R], 0: not in the catalogue
    held: Tensor  # bool [U, R], which of them exist
    session: Tensor  # bool [U, R], which of them are of the session of the newest one


class ScorerInput(NamedTuple):
    """Holds all that a scorer may use of U users."""

    recent: RecentItems
    language_model: Tensor  # [U, V + 1] logits of the language model
    lstm: Tensor  # [U, V + 1] logits of the LSTM alone
    log_popularity: Tensor  # [V + 1] log share of each item in all training events
    log_recent: Tensor  # [1, V + 1] log share lately; or of each user's moment, [U, V + 1]


class Scored(NamedTuple):
    """Holds the scores of one scorer, and what it needs again to say which events they rest on."""

    scores: Tensor  # [U, V + 1]
    kept: Tensor | None = None


class Pull(NamedTuple):
    """Holds how the log-odds of one interest of each user move with the scores of a scorer."""

    items: Tensor  # [U, V + 1] derivative by the blended score of each item
    of_events: Tensor  # [U, R] the same at the items of the recent events
    weight: Tensor  # [U, 1] the weight of this scorer in the blend


class Scorer:
    """Scores items for users; a subclass is one scorer, an instance is what it has learned.

    The methods here are those of a scorer that learns nothing, keeps nothing and rests on no event.
    """

    name: ClassVar[str]
    """The name of its weight in reports; the weight itself is stored by its place."""
    label: ClassVar[str] = ""
    """What a report calls it where it is left out; empty: only its whole family is left out."""
    family: ClassVar[Family]
    needs: ClassVar[Needs] = Needs.ITEMS
    tensors_prefix: ClassVar[str] = ""
    """Begins the keys of its tensors in weights.safetensors; empty: it stores none."""
    start_weight: ClassVar[float] = 0.0
    """Where the search for its weight begins."""
    must_earn_its_cost: ClassVar[bool] = False
    """Whether training leaves it out unless it takes something from the loss of unseen users."""
    explained: ClassVar[int] = 100
    """Its turn when causes are summed; rounding depends on the order, so it never changes."""

    @classmethod
    def learn(cls, histories: Histories) -> Self | None:
        """Returns the scorer as learned from histories; None: it cannot be learned."""
        return cls()

    @classmethod
    def load(cls, tensors: Tensors) -> Self | None:
        """Returns the scorer as a model stored it; None: the model was trained without it."""
        return cls()

    def tensors(self) -> dict[str, Tensor]:
        """Returns what a model directory stores of it; each key begins with `tensors_prefix`."""
        return {}

    def scores(self, given: ScorerInput) -> Scored:
        """Returns the scores of every item, float32 [U, V + 1]; those of row 0 mean nothing."""
        raise NotImplementedError

    def lost(self, recent: RecentItems, kept: Tensor | None, pull: Pull) -> Tensor | None:
        """Returns what the log-odds lose without each event, [U, A]; None: it rests on no event.

        kept: what `scores` kept of the same users.
        """
        return None

    def pruned(self, most: int) -> Self:
        """Returns the scorer with no more than `most` neighbours an item, to explain cheaply."""
        return self

    def permuted(self, order: Array) -> Self:
        """Returns the scorer with each item's knowledge of another: order int64 [V + 1], 0 first.

        Measurements use it as a scorer that has learned nothing.
        """
        return self


def removed(old_name: str) -> type[Scorer]:
    """Returns a scorer that no model has any more; it keeps the place of its stored weight."""

    class Removed(Scorer):
        """Keeps the place of a scorer that was taken out."""

        name = old_name
        family = Family.PAIRS

        @classmethod
        def learn(cls, histories: Histories) -> None:
            """Returns nothing: it cannot be learned."""
            return None

        @classmethod
        def load(cls, tensors: Tensors) -> None:
            """Returns nothing: no model has it."""
            return None

    return Removed
