"""Scores items by simple rules that a model must beat; none of them is trained or tuned.

They are popularity, last week's popularity, first-order Markov, decayed co-occurrence, the user's
own last items and nearest titles. All of them see the training events of a split, and of a case the
items before it. Scores that popularity completes are float64, else it would be lost beside them.

Glossary: T cases in a batch, V items.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, Protocol

import numpy as np

from models.data.prepare import Dataset, catalogue_rows, owners
from models.data.splits import Cases, Split
from models.vocabulary import words

Array = np.ndarray[Any, Any]

WEEK_MS: Final = 7 * 86_400_000
WINDOW: Final = 10
"""Co-occurrence counts neighbours within this many events."""
LAST: Final = 15
"""So many last items of a user are looked up by co-occurrence."""
LAST_TITLES: Final = 3
"""So many last items of a user are looked up by their titles."""
DECAY: Final = 0.7
"""Each older one of them counts this much less."""
BACKWARDS: Final = 0.5
"""What came before an item counts this share of what came after it."""
MOST_WORDS: Final = 50_000
"""Words of titles that are compared, the most frequent ones."""
_FILL: Final = 1e-3
"""Weight of popularity where it decides only between items of which the rest says nothing."""
_LEAST_FILL: Final = 1e-6
"""The same beside scores that are no whole numbers."""


class Baseline(Protocol):
    """Scores cases of the data set that it was made for."""

    name: str

    def scores(self, cases: Cases) -> Array:
        """Returns a score for each item, float32 or float64 [T, V]; a higher one is better."""
        ...


class Histories:
    """Finds the known items before a case, as catalogue positions."""

    def __init__(self, dataset: Dataset) -> None:
        self.items = len(dataset.item_ids)
        self._start = dataset.user_start
        self._rows = catalogue_rows(dataset.events["key"], dataset.item_ids)

    def before(self, cases: Cases, place: int, most: int | None = None) -> Array:
        """Returns the known items before case number `place`, int32, oldest first.

        most: only so many, the last ones; None: all of them.
        """
        low, high = int(cases.position[place] - cases.history[place]), int(cases.position[place])
        rows = self._rows[low:high]
        rows = rows[rows > 0] - 1
        return rows if most is None else rows[-most:]


class Popularity:
    """Scores an item by how often it was met in training."""

    name = "popularity"

    def __init__(self, split: Split) -> None:
        self.count = _counts(split.train)

    def scores(self, cases: Cases) -> Array:
        return np.broadcast_to(self.count, (len(cases), len(self.count)))


class RecentPopularity:
    """Scores an item by how often it was met in the seven days before the case.

    It is a live counter and sees nothing later; overall popularity fills the rest.
    """

    name = "popularity, last 7 days"

    def __init__(self, split: Split) -> None:
        seen = split.whole if split.timed_out else split.train
        rows, times = catalogue_rows(seen.events["key"], seen.item_ids), seen.events["time_ms"]
        known = np.flatnonzero(rows > 0)
        order = known[np.argsort(times[known], kind="stable")]
        self._times, self._items = times[order], rows[order] - 1
        self._overall = _counts(split.train)
        self._fill = _FILL * self._overall / max(float(self._overall.max()), 1.0)

    def scores(self, cases: Cases) -> Array:
        low = np.searchsorted(self._times, cases.time_ms - WEEK_MS)
        high = np.searchsorted(self._times, cases.time_ms)
        found = np.empty((len(cases), len(self._fill)))
        for place, (begin, end) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            found[place] = np.bincount(self._items[begin:end], minlength=len(self._fill))
        found += self._fill
        return found


class Markov:
    """Scores an item by how often it came directly after the last one in training.

    Popularity fills the rest.
    """

    name = "first-order Markov"

    def __init__(self, split: Split) -> None:
        rows, owner = _sequences(split.train)
        together = owner[1:] == owner[:-1]
        self._next = Pairs(
            rows[:-1][together],
            rows[1:][together],
            np.ones(int(together.sum())),
            len(split.whole.item_ids),
        )
        overall = _counts(split.train)
        self._fill = _FILL * overall / max(float(overall.max()), 1.0)
        self._histories = Histories(split.whole)

    def scores(self, cases: Cases) -> Array:
        found = np.tile(self._fill, (len(cases), 1))
        for place in range(len(cases)):
            for item in self._histories.before(cases, place, 1).tolist():
                others, counts = self._next.row(item)
                found[place, others] += counts
        return found


class Cooccurrence:
    """Scores an item by how often it occurred near the user's last items.

    co[a][b] += 1 / distance within a window of 10, half of that backwards; the score of j is the
    sum over the last 15 items i of 0.7^age * co[i][j] / sqrt(count_j + 1). Popularity fills the
    rest. Nothing is tuned.
    """

    name = "co-occurrence"

    def __init__(self, split: Split) -> None:
        items = len(split.whole.item_ids)
        rows, owner = _sequences(split.train)
        parts = []
        for distance in range(1, WINDOW + 1):
            together = owner[distance:] == owner[:-distance]
            a, b = rows[:-distance][together], rows[distance:][together]
            weight = np.full(len(a), 1.0 / distance)
            parts += [(a, b, weight), (b, a, BACKWARDS * weight)]
        count = _counts(split.train)
        first, second, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
        self._pairs = Pairs(first, second, weight / np.sqrt(count[second] + 1.0), items)
        self._fill = _LEAST_FILL * count / max(float(count.max()), 1.0)
        self._histories = Histories(split.whole)

    def scores(self, cases: Cases) -> Array:
        found = np.tile(self._fill, (len(cases), 1))
        for place in range(len(cases)):
            for age, item in enumerate(self._histories.before(cases, place, LAST)[::-1].tolist()):
                others, weight = self._pairs.row(item)
                found[place, others] += DECAY**age * weight
        return found


class OwnItems:
    """Scores the user's own items, the latest first; popularity fills the rest."""

    name = "own last items"

    def __init__(self, split: Split) -> None:
        overall = _counts(split.train)
        self._fill = _LEAST_FILL * overall / max(float(overall.max()), 1.0)
        self._histories = Histories(split.whole)

    def scores(self, cases: Cases) -> Array:
        found = np.tile(self._fill, (len(cases), 1))
        for place in range(len(cases)):
            items = self._histories.before(cases, place)
            # of an item that occurs twice the later place stays
            found[place, items] = np.arange(1, len(items) + 1)
        return found


class TextNeighbours:
    """Scores an item by how alike its title is to those of the last items.

    It is the cosine of title words (tf-idf), older items counting less, and needs no event of an
    item.
    """

    name = "nearest titles"

    def __init__(self, split: Split) -> None:
        # The words of each title, and how rare they are.
        titles = [words(title) for title in split.whole.titles]
        frequency = Counter(word for title in titles for word in dict.fromkeys(title))
        index = {word: place for place, (word, _) in enumerate(frequency.most_common(MOST_WORDS))}
        cells = [
            (item, index[word])
            for item, title in enumerate(titles)
            for word in sorted(set(title))
            if word in index
        ]
        item, word = np.array(cells, np.int64).reshape(-1, 2).T
        rarity = np.log((len(titles) + 1) / np.array([frequency[word] for word in index] or [1]))
        weight = rarity[word]
        norm = np.sqrt(np.bincount(item, weight**2, minlength=len(titles)))
        weight = weight / np.maximum(norm[item], 1e-9)

        # The words of an item, and the items of a word.
        self._word, self._weight = word, weight
        self._start = np.searchsorted(item, np.arange(len(titles) + 1))
        by_word = np.argsort(word, kind="stable")
        self._item, self._weight_in = item[by_word], weight[by_word]
        self._word_start = np.searchsorted(word[by_word], np.arange(len(index) + 1))
        self._histories = Histories(split.whole)

    def scores(self, cases: Cases) -> Array:
        found = np.zeros((len(cases), self._histories.items))
        for place in range(len(cases)):
            last = self._histories.before(cases, place, LAST_TITLES)[::-1]
            for age, item in enumerate(last.tolist()):
                mine = slice(int(self._start[item]), int(self._start[item + 1]))
                for word, weight in zip(
                    self._word[mine].tolist(), self._weight[mine].tolist(), strict=True
                ):
                    theirs = slice(int(self._word_start[word]), int(self._word_start[word + 1]))
                    found[place, self._item[theirs]] += (
                        DECAY**age * weight * self._weight_in[theirs]
                    )
        return found


class Pairs:
    """Holds a sparse matrix of item pairs, summed, whose rows are found by their first item."""

    def __init__(self, first: Array, second: Array, weight: Array, items: int) -> None:
        cells, place = np.unique(first.astype(np.int64) * items + second, return_inverse=True)
        self._weight = np.bincount(place, weight, minlength=len(cells))
        self._second = (cells % max(items, 1)).astype(np.int32)
        self._start = np.searchsorted(cells // max(items, 1), np.arange(items + 1))

    def row(self, first: int) -> tuple[Array, Array]:
        """Returns the second items int32 and the weights float64 of a first item."""
        part = slice(int(self._start[first]), int(self._start[first + 1]))
        return self._second[part], self._weight[part]


def item_baselines(split: Split) -> list[Baseline]:
    """Returns all baselines for the next item that the data allows."""
    found: list[Baseline] = [Popularity(split), Markov(split), Cooccurrence(split), OwnItems(split)]
    if not split.whole.report.get("events_without_time"):
        found.insert(1, RecentPopularity(split))
    if (
        split.whole.titles != split.whole.item_ids
    ):  # else a title is a bare id, and its words nothing
        found.append(TextNeighbours(split))
    return found


def _counts(dataset: Dataset) -> Array:
    """Returns the number of events of each item, float64 [V]."""
    rows = catalogue_rows(dataset.events["key"], dataset.item_ids)
    return np.bincount(rows, minlength=len(dataset.item_ids) + 1)[1:].astype(np.float64)


def _sequences(dataset: Dataset) -> tuple[Array, Array]:
    """Returns items (catalogue positions) and users of all events about known items, in order."""
    rows = catalogue_rows(dataset.events["key"], dataset.item_ids)
    known = rows > 0
    return rows[known] - 1, owners(dataset)[known]
