"""What a model must beat: popularity, last week's popularity, first-order Markov, decayed co-occurrence; none is trained.

All of them see the training events of a split, and of a case the items before it. T cases in a batch, V items.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, Protocol

import numpy as np

from models.prepare import Dataset, catalogue_rows, owners
from models.protocols import Cases, Split
from models.vocabulary import words

Array = np.ndarray[Any, Any]

WEEK_MS: Final = 7 * 86_400_000
WINDOW: Final = 10  # the co-occurrence floor: neighbours within this many events,
LAST: Final = 15  # asked with this many last items,
DECAY: Final = 0.7  # each older one counting this much less,
BACKWARDS: Final = 0.5  # and what came before counting half of what came after
MOST_WORDS: Final = 50_000
_FILL: Final = 1e-3  # popularity decides only where the rest says nothing


class Baseline(Protocol):
    """Scores cases of the data set it was made for."""

    name: str

    def scores(self, cases: Cases) -> Array:
        """float32 [T, V], higher is better."""
        ...


class Histories:
    """Items before a case: the events of a data set about known items, as catalogue positions."""

    def __init__(self, dataset: Dataset) -> None:
        self.items = len(dataset.item_ids)
        self._start = dataset.user_start
        self._rows = catalogue_rows(dataset.events["key"], dataset.item_ids)

    def before(self, cases: Cases, place: int, most: int | None = None) -> Array:
        """int32, oldest first: known items before case number `place`, at most the last `most`."""
        low, high = int(cases.position[place] - cases.history[place]), int(cases.position[place])
        rows = self._rows[low:high]
        rows = rows[rows > 0] - 1
        return rows if most is None else rows[-most:]


class Popularity:
    """How often each item was met in training."""

    name = "popularity"

    def __init__(self, split: Split) -> None:
        self.count = _counts(split.train)

    def scores(self, cases: Cases) -> Array:
        return np.broadcast_to(self.count, (len(cases), len(self.count)))


class RecentPopularity:
    """How often each item was met in the seven days before the case: a live counter, it sees nothing later."""

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
        found = np.empty((len(cases), len(self._fill)), np.float32)
        for place, (begin, end) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            found[place] = np.bincount(self._items[begin:end], minlength=len(self._fill))
        found += self._fill
        return found


class Markov:
    """How often each item directly followed the last one in training; popularity fills the rest."""

    name = "first-order Markov"

    def __init__(self, split: Split) -> None:
        rows, owner = _sequences(split.train)
        together = owner[1:] == owner[:-1]
        self._next = Pairs(
            rows[:-1][together], rows[1:][together], np.ones(int(together.sum())), len(split.whole.item_ids)
        )
        overall = _counts(split.train)
        self._fill = (_FILL * overall / max(float(overall.max()), 1.0)).astype(np.float32)
        self._histories = Histories(split.whole)

    def scores(self, cases: Cases) -> Array:
        found = np.tile(self._fill, (len(cases), 1))
        for place in range(len(cases)):
            for item in self._histories.before(cases, place, 1).tolist():
                others, counts = self._next.row(item)
                found[place, others] += counts
        return found


class Cooccurrence:
    """Decayed co-occurrence: co[a][b] += 1 / distance within a window of 10, half of that backwards; the score of j is the sum
    over the last 15 items of 0.7^age * co[i][j] / sqrt(count_j + 1); popularity fills the rest. Nothing is tuned."""

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
        self._fill = (1e-6 * count / max(float(count.max()), 1.0)).astype(np.float32)
        self._histories = Histories(split.whole)

    def scores(self, cases: Cases) -> Array:
        found = np.tile(self._fill, (len(cases), 1))
        for place in range(len(cases)):
            for age, item in enumerate(self._histories.before(cases, place, LAST)[::-1].tolist()):
                others, weight = self._pairs.row(item)
                found[place, others] += DECAY**age * weight
        return found


class TextNeighbours:
    """Cosine of title words (tf-idf) with those of the last items, older ones counting less: needs no event of an item."""

    name = "nearest titles"

    def __init__(self, split: Split) -> None:
        titles = [words(title) for title in split.whole.titles]
        frequency = Counter(word for title in titles for word in dict.fromkeys(title))
        index = {word: place for place, (word, _) in enumerate(frequency.most_common(MOST_WORDS))}
        cells = [
            (item, index[word]) for item, title in enumerate(titles) for word in sorted(set(title)) if word in index
        ]
        self._item, self._word = np.array(cells, np.int64).reshape(-1, 2).T
        rarity = np.log((len(titles) + 1) / np.array([frequency[word] for word in index] or [1]))
        weight = rarity[self._word]
        norm = np.sqrt(np.bincount(self._item, weight**2, minlength=len(titles)))
        self._weight = weight / np.maximum(norm[self._item], 1e-9)
        self._start = np.searchsorted(self._item, np.arange(len(titles) + 1))
        self._words = max(len(index), 1)
        self._histories = Histories(split.whole)

    def scores(self, cases: Cases) -> Array:
        items = self._histories.items
        found = np.zeros((len(cases), items), np.float32)
        for place in range(len(cases)):
            wanted = np.zeros(self._words)
            for age, item in enumerate(self._histories.before(cases, place, LAST)[::-1].tolist()):
                part = slice(int(self._start[item]), int(self._start[item + 1]))
                wanted[self._word[part]] += DECAY**age * self._weight[part]
            found[place] = np.bincount(self._item, self._weight * wanted[self._word], minlength=items)
        return found


class Pairs:
    """A sparse matrix of item pairs, summed: rows are found by their first item."""

    def __init__(self, first: Array, second: Array, weight: Array, items: int) -> None:
        cells, place = np.unique(first.astype(np.int64) * items + second, return_inverse=True)
        self._weight = np.bincount(place, weight, minlength=len(cells)).astype(np.float32)
        self._second = (cells % max(items, 1)).astype(np.int32)
        self._start = np.searchsorted(cells // max(items, 1), np.arange(items + 1))

    def row(self, first: int) -> tuple[Array, Array]:
        """Second items int32 and weights float32."""
        part = slice(int(self._start[first]), int(self._start[first + 1]))
        return self._second[part], self._weight[part]


def item_baselines(split: Split) -> list[Baseline]:
    """All baselines for the next item that the data allows."""
    found: list[Baseline] = [Popularity(split), Markov(split), Cooccurrence(split)]
    if not split.whole.report.get("events_without_time"):
        found.insert(1, RecentPopularity(split))
    if split.protocol == "new-items":
        found.append(TextNeighbours(split))
    return found


def _counts(dataset: Dataset) -> Array:
    """float32 [V] events of each item."""
    rows = catalogue_rows(dataset.events["key"], dataset.item_ids)
    return np.bincount(rows, minlength=len(dataset.item_ids) + 1)[1:].astype(np.float32)


def _sequences(dataset: Dataset) -> tuple[Array, Array]:
    """Items (catalogue positions) and users of all events about known items, user after user in order."""
    rows = catalogue_rows(dataset.events["key"], dataset.item_ids)
    known = rows > 0
    return rows[known] - 1, owners(dataset)[known]
