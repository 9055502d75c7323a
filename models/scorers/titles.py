"""Scores items by how alike their titles are to those of a user's last items.

It learns from the catalogue alone, so it knows items that nobody has met. The likeness of two
titles is the cosine of their words, each weighed by how rare it is (tf-idf [1]); each item keeps
those that are most alike. A word of more than COMMON titles joins no pair, which keeps the work
within the length of the catalogue; it counts in the length of a title all the same.

The score is the sum itself, not the logarithm of a share as for what users met together: a title
that is like another one says something, one that is a little like many says nothing
(docs/measured/logs/simple-rules.md).

[1] Salton, Buckley: Term-weighting approaches in automatic text retrieval, 1988.

Glossary: U users, V items (row 0: unknown), K neighbours an item or places of a pool, N words of
titles, P pairs of items, A recent events that are looked back at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final, Self

import numpy as np
from torch import Tensor

from models.scorers.pair_table import FEW, TableScorer, strongest
from models.scorers.scorer import Family, Histories, Pull, RecentItems, Scored, ScorerInput
from models.vocabulary import words

Array = np.ndarray[Any, Any]

LOOK_BACK: Final = 3
DECAY: Final = 0.7
EQUAL: Final = 5.0
"""What an equal title scores: with 1 the ridge of the fit would hold its weight down."""
COMMON: Final = 1_000
"""Titles that have a word, at most, for it to join them."""
PART: Final = 4_000_000
"""Pairs of words that are joined at once: some 200 MB while they are sorted."""


class Titles(TableScorer):
    """Scores items by the likeness of their titles to those of the last items."""

    name = "titles"
    label = "like titles"
    family = Family.TITLES
    tensors_prefix = "titles."
    must_earn_its_cost = True
    explained = 6
    decay = DECAY
    look_back = LOOK_BACK
    named = 192

    @classmethod
    def learn(cls, histories: Histories) -> Self | None:
        """Returns the scorer of the catalogue's titles; None: no two titles share a word."""
        neighbours, weights = learn(histories.titles, histories.items)
        return cls.of(neighbours, weights) if weights.any() else None

    def scores(self, given: ScorerInput) -> Scored:
        """Returns the likeness summed over the last items [U, K]."""
        return self.summed(given)

    def lost(self, recent: RecentItems, kept: tuple[Tensor, ...], pull: Pull) -> Tensor:
        """Returns what the log-odds lose without each event, [U, A]: all that it gives."""
        places, given = self.given(recent, kept)
        return pull.weight * (pull.items.gather(1, places).view_as(given) * given).sum(2)


def titles_that_say(titles: Sequence[str], item_ids: Sequence[str]) -> list[str]:
    """Returns the titles, those empty that are a bare id."""
    return ["" if title == item else title for title, item in zip(titles, item_ids, strict=True)]


def learn(titles: Sequence[str], items: int) -> tuple[Array, Array]:
    """Returns the items with the most alike titles of each, and how alike, [V + 1, K] each.

    titles: V of them, that of row 1 first; an empty one is like none. The likeness is EQUAL of
    equal titles, 0 where no word is shared.
    """
    neighbours, alike = (np.zeros((items + 1, FEW), kind) for kind in (np.int32, np.float32))
    for begin, end, first, second, cosine in _pairs(*_weighed(titles), items):
        rows, values = strongest(first, second, cosine, end - begin - 1, FEW)
        neighbours[begin:end, : rows.shape[1]] = rows
        alike[begin:end, : rows.shape[1]] = EQUAL * values
    return neighbours, alike


def _weighed(titles: Sequence[str]) -> tuple[Array, Array, Array]:
    """Returns the row, the word and the weight of each word of each title, [N] each.

    The weights of a title have the length 1. Words are numbers, rows are in order.
    """
    said = [sorted(set(words(title))) for title in titles]
    count = Counter(word for title in said for word in title)
    number = {word: place for place, word in enumerate(count)}
    row = np.repeat(np.arange(1, len(said) + 1), [len(title) for title in said])
    word = np.array([number[each] for title in said for each in title], np.int64)
    rarity = np.log((len(said) + 1) / np.array(list(count.values()) or [1]))
    weight = rarity[word]
    length = np.sqrt(np.bincount(row, weight**2, minlength=len(said) + 1))
    return row, word, weight / np.maximum(length[row], 1e-9)


def _pairs(
    row: Array, word: Array, weight: Array, items: int
) -> Iterator[tuple[int, int, Array, Array, Array]]:
    """Yields pairs of items that share a word, each once, those of some rows at a time.

    Of each part the first of its rows and the one after the last, then [P] each: the first item,
    counted from there, the second one, and their cosine. row, word, weight: [N], rows in order.
    """
    # the titles of each word, and how many pairs each row makes
    count = np.bincount(word, minlength=1)
    kept = (count[word] > 1) & (count[word] <= COMMON)
    row, word, weight = row[kept], word[kept], weight[kept]
    by_word = np.argsort(word, kind="stable")
    start = np.searchsorted(word[by_word], np.arange(len(count) + 1))
    size = np.diff(start)[word]
    ends = np.cumsum(np.bincount(row, size, minlength=items + 1)).astype(np.int64)
    begin = 0
    while begin <= items:
        before = ends[begin - 1] if begin else 0
        end = max(int(np.searchsorted(ends, before + PART)), begin + 1)
        low, high = np.searchsorted(row, (begin, end)).tolist()
        # each word of these rows with each title that has it
        many = size[low:high]
        first = np.repeat(np.arange(low, high), many)
        nth = np.arange(len(first)) - np.repeat(np.cumsum(many) - many, many)
        other = by_word[np.repeat(start[word[low:high]], many) + nth]
        apart = row[first] != row[other]
        first, other = first[apart], other[apart]
        keys, place = np.unique(
            (row[first] - begin) * (items + 1) + row[other], return_inverse=True
        )
        alike = np.bincount(place, weight[first] * weight[other], minlength=len(keys))
        yield begin, end, keys // (items + 1), keys % (items + 1), alike
        begin = end
