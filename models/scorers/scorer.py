"""Defines what a scorer of the blend is: one class with one interface, mostly a file of its own.

A scorer gives every item of the catalogue a number for every user. The blend adds these numbers up,
each with a weight that was fitted on validation users. `models.scorers.registry` names all scorers,
in the order in which their weights are stored.

What is scored is a pool: the whole catalogue, or of each user some items of a large one. A scorer
names those that it would have in it (`candidates`), and scores those that are (`scores`).

Glossary: U users, N events, V items (row 0: unknown), K places of a pool (place 0: any other item;
K = V + 1 where all items are scored), R = 32 recent events of a user, newest first, A <= R of them
that a scorer looks at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Any, ClassVar, Final, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

Array = np.ndarray[Any, Any]
Tensors = Mapping[str, Tensor]


class Family(Enum):
    """Names the kinds of scorers, by which reports group them."""

    NETWORK = auto()  # the trained networks
    PAIRS = auto()  # tables of pairs of items
    SUCCESSION = auto()  # which item directly comes after which
    POPULARITY = auto()  # what everybody meets
    SEEN = auto()  # what the user met before
    TITLES = auto()  # what the catalogue says of items


class Needs(Enum):
    """Names what a scorer has to know of a user before it says anything."""

    NOTHING = auto()
    TEXTS = auto()  # events with a text: searches, titles that no catalogue has
    ITEMS = auto()  # events about items of the catalogue


class Product(Enum):
    """Names what a scorer multiplies each item with: the same product for all of the catalogue.

    Such a scorer names no candidates. One search finds those of all such scorers together, and
    gives their part of the blend (models/serving/retrieval.py).
    """

    LANGUAGE_MODEL = auto()  # the language model's answer with an item's vector, and its bias
    LSTM = auto()  # the LSTM's feature with an item's vector, and its bias
    ATTENTION = auto()  # the attention's answer with its own vector of an item, and its bias
    POPULARITY = auto()  # 1 with an item's share of all events
    RECENT_POPULARITY = auto()  # 1 with an item's share lately


class Histories(NamedTuple):
    """Holds the events that a scorer learns from, user after user, oldest first."""

    rows: Array  # int [N] item rows, 0: unknown
    user_start: Array  # int [users + 1]: user u has rows[user_start[u] : user_start[u + 1]]
    items: int  # V
    least_users: int = 1
    """Users who must have met a pair of items before a table of pairs may hold it."""
    titles: Sequence[str] = ()
    """Of the catalogue, V of them, that of row 1 first; empty where a title is a bare id."""

    @property
    def met(self) -> tuple[Array, Array, int, int]:
        """Returns all that tables of what users met are counted from: the fields but the titles."""
        return self.rows, self.user_start, self.items, self.least_users


MOST_SLOTS: Final = 16_384
"""Slots by which a pool finds the place of a row, at most; as many as the catalogue below that."""


NOBODY: Final = 1
"""The place of a pool of some items that is empty."""


class Pool(NamedTuple):
    """Holds which items are scored: of each user some of its own, or all of the catalogue.

    It is a small catalogue of each user. Place 0 stands for every item that has no other place, as
    row 0 does for what is not in the catalogue; what is said of it means nothing. Place NOBODY of
    some items is always empty: what is said of it is said of every item that nobody names.
    """

    rows: Tensor | None = None  # int64 [U, K] item rows, 0: an empty place; None: all items
    slots: Tensor | None = None  # int16 [U, H] the place of the item in each slot
    shared: bool = False  # whether two items of the catalogue may have the same slot

    @classmethod
    def of(cls, named: Tensor, items: int) -> Pool:
        """Returns the pool of item rows int64 [U, K - 2], 0: none, the most wanted last.

        An item that is named twice has one place. A place is found by its slot, the last bits of
        the row. Of two items of one slot the more wanted has it and the other is left out: one pair
        in MOST_SLOTS, none in a catalogue of fewer items.
        """
        count = min(MOST_SLOTS, 1 << items.bit_length())
        slot = named & (count - 1)
        places = torch.arange(2, named.shape[1] + 2, dtype=torch.int16) * (named > 0)
        slots = torch.zeros(named.shape[0], count, dtype=torch.int16)
        slots.scatter_reduce_(1, slot, places, "amax")
        held = named * (slots.gather(1, slot) == places)
        return cls(pad(held, (2, 0)), slots, count <= items)

    def places(self, rows: Tensor) -> Tensor:
        """Returns the places of item rows, int64 [U, n] of int32 or int64 [U, n]."""
        if self.rows is None or self.slots is None:
            return rows.long()
        if not self.shared:
            return self.slots.gather(1, rows.long()).long()
        place = self.slots.gather(1, (rows & (self.slots.shape[1] - 1)).long()).long()
        return place * (self.rows.gather(1, place) == rows)

    def rows_of(self, places: Tensor) -> Tensor:
        """Returns the item rows of places, int64 [U, n] both."""
        return places if self.rows is None else self.rows.gather(1, places)

    def summed(self, weights: Tensor, table: Tensor) -> Tensor:
        """Returns the rows of a table [V + 1, n] summed with the items' weights [U, K], [U, n]."""
        if self.rows is None:
            return weights @ table
        return embedding_bag(self.rows, table, mode="sum", per_sample_weights=weights)


EVERYTHING: Final = Pool()
"""The pool of all items: places are rows."""


class Named(NamedTuple):
    """Holds the items that a scorer would have scored."""

    rows: Tensor  # int64 [U, n], 0: none
    looked_up: tuple[Tensor, ...] = ()
    """What the scorer read in its tables to name them, and reads again to score them."""


class RecentItems(NamedTuple):
    """Holds the recent events of U users as catalogue rows, newest first."""

    rows: Tensor  # int64 [U, R], 0: not in the catalogue
    held: Tensor  # bool [U, R], which of them exist
    session: Tensor  # bool [U, R], which of them are of the session of the newest one


class ScorerInput(NamedTuple):
    """Holds all that a scorer may use of U users."""

    recent: RecentItems
    language_model: Tensor  # [U, K] logits of the language model
    lstm: Tensor  # [U, K] logits of the LSTM alone
    log_popularity: Tensor  # [V + 1] log share of each item in all training events
    log_recent: Tensor  # [1, V + 1] log share lately; or of each user's moment, [U, V + 1]
    pool: Pool = EVERYTHING
    looked_up: tuple[Tensor, ...] = ()  # by this scorer, when it named candidates
    attention: Tensor | None = None  # [U, K] logits of the attention; None: there is none

    @property
    def places(self) -> Tensor:
        """Returns the places of the items of the recent events, int64 [U, R]."""
        return self.pool.places(self.recent.rows)


class Scored(NamedTuple):
    """Holds the scores of one scorer, and what it needs again to say which events they rest on."""

    scores: Tensor  # [U, K]
    kept: tuple[Tensor, ...] = ()


class Pull(NamedTuple):
    """Holds how the log-odds of one interest of each user move with the scores of a scorer."""

    items: Tensor  # [U, K] derivative by the blended score of each item
    of_events: Tensor  # [U, R] the same at the items of the recent events
    weight: Tensor  # [U, 1] the weight of this scorer in the blend
    pool: Pool = EVERYTHING


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
    worth: ClassVar[float] = 0.0
    """Nats that it has to take from it at least."""
    explained: ClassVar[int] = 100
    """Its turn when causes are summed; rounding depends on the order, so it never changes."""
    product: ClassVar[Product | None] = None
    """What it multiplies every item with; None: it says the same of most items."""

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

    def candidates(self, recent: RecentItems) -> Named | None:
        """Returns the items that it would have scored; None: it names none.

        They are those of which it says most beyond what it says of any other item. An item may be
        named more than once.
        """
        return None

    def scores(self, given: ScorerInput) -> Scored:
        """Returns the scores of every item of the pool, float32 [U, K]; place 0 means nothing."""
        raise NotImplementedError

    def lost(self, recent: RecentItems, kept: tuple[Tensor, ...], pull: Pull) -> Tensor | None:
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
