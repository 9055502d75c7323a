"""Turns histories into the tensors that a training reads.

They are pieces with the item that comes after each event, and the last event of each user, which is
kept for validation.

Glossary: B sequences, T events, U users, N events of the data set, V items, M texts of events that
are about none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.compact import WORDS, text_of
from models.data.prepare import Dataset, catalogue_rows, owners, previous_times
from models.errors import ModelDataError
from models.network.dropout import Part
from models.vocabulary import gap_buckets, words

Array = np.ndarray[Any, Any]

MOST_TEXTS: Final = 100_000
"""Texts of searches that are read, the most frequent: 26 MB of encodings. The others are not."""


LEAST_STEPS: Final = 128
LEAST_WINDOWS: Final = 64
DRAWN_TOGETHER: Final = 24
"""Batches of windows that are drawn together."""


class Batch(NamedTuple):
    """Holds some pieces of similar length, cut to the longest of them, and what they count."""

    rows: Tensor
    actions: Tensor
    gaps: Tensor
    targets: Tensor
    share: float
    """Holds the number of its targets over that of an average batch."""

    def of(self, part: Part, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns rows, actions, gaps and targets of a part of it, on a device."""
        rows, actions, gaps, targets = (part.of(column).to(device) for column in self[:4])
        return rows, actions, gaps, targets


@dataclass
class Sequences:
    """Holds training pieces, right-padded: T events and the row that comes after each of them."""

    rows: Tensor  # int64 [B, T]: an item, or V + 1 and more: a text; 0: neither
    actions: Tensor
    gaps: Tensor
    targets: Tensor  # int64 [B, T]: the row that comes after; 0: none to learn

    def batches(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yields batches of `size` pieces of similar length, shuffled.

        A batch of long pieces has many times the targets of one of short pieces. Whoever takes a
        step by the mean loss of a batch multiplies it by the batch's `share`: then a target counts
        the same in whatever history it stands, and the shares of an epoch are 1 on average.
        """
        lengths = (self.rows > 0).sum(1) + torch.rand(len(self.rows), generator=generator)
        order = torch.argsort(lengths)
        starts = torch.arange(0, len(order), size)
        usual = int((self.targets > 0).sum()) / len(starts)
        for start in starts[torch.randperm(len(starts), generator=generator)].tolist():
            chosen = order[start : start + size]
            longest = int((self.targets[chosen] > 0).any(0).nonzero().max()) + 1
            rows, actions, gaps, targets = (
                column[chosen, :longest]
                for column in (self.rows, self.actions, self.gaps, self.targets)
            )
            yield Batch(rows, actions, gaps, targets, int((targets > 0).sum()) / usual)


class WindowBatch(NamedTuple):
    """Holds some windows of items, and the one that came after each."""

    rows: Tensor  # int64 [B, T], oldest first, 0: an empty place, which come first
    targets: Tensor  # int64 [B]
    share: float
    """Holds the number of its windows over that of an average batch."""


@dataclass(frozen=True)
class Windows:
    """Holds the items of all users, each with those that came before it as a window."""

    rows: Tensor  # int64 [N], user after user, oldest first
    before: Tensor  # int64 [N], how many of its user's items came before each

    def batch(self, most: int) -> int:
        """Returns the windows of a batch, at most so many: of little data there are fewer.

        An epoch has at least LEAST_STEPS steps, unless batches get smaller than LEAST_WINDOWS.
        """
        return min(most, max(LEAST_WINDOWS, self.count // LEAST_STEPS))

    @property
    def count(self) -> int:
        """Returns how many windows there are: items that another one came before."""
        return int((self.before > 0).sum())

    def batches(
        self, window: int, size: int, most: int, generator: torch.Generator
    ) -> Iterator[WindowBatch]:
        """Yields batches of `size` windows of at most `window` items, at most `most` in all.

        They are drawn over all users. Some batches' worth are drawn together and parted by length,
        so that a batch holds few empty places.
        """
        asked = torch.nonzero(self.before)[:, 0]
        asked = asked[torch.randperm(len(asked), generator=generator)[:most]]
        usual = len(asked) / max(1, -(-len(asked) // size))
        for drawn in torch.split(asked, size * DRAWN_TOGETHER):
            by_length = drawn[self.before[drawn].clamp(max=window).argsort(stable=True)]
            batches = torch.split(by_length, size)
            for place in torch.randperm(len(batches), generator=generator).tolist():
                at = batches[place]
                longest = min(window, int(self.before[at].max()))
                back = torch.arange(longest, 0, -1)
                rows = self.rows[(at[:, None] - back).clamp(min=0)]
                rows[back > self.before[at][:, None]] = 0
                yield WindowBatch(rows, self.rows[at], len(at) / usual)


class TrainingData:
    """Holds the events of a data set as numbers.

    Validation is the last event of each user; what picks by it must not learn it. length: most
    events of a sequence. least_users: users who must have written a word before it is stored in a
    model; what fewer wrote may be private, and is read as a number of a bucket, as rare words are.
    """

    def __init__(self, dataset: Dataset, length: int, least_users: int = 1) -> None:
        self.starts, self.ends = dataset.user_start[:-1], dataset.user_start[1:]
        self.rows = catalogue_rows(dataset.events["key"], dataset.item_ids).astype(np.int64)  # [N]
        self.texts, self.inputs = _with_texts(dataset.events, self.rows, len(dataset.item_ids))
        self.words_of_many = _words_of_many(self.texts, self.inputs, dataset, least_users)
        self.is_validation = np.zeros(len(self.rows), bool)  # [N]
        self.is_validation[self.ends - 1] = True
        times, before = dataset.events["time_ms"], previous_times(dataset)
        self._gaps = gap_buckets(np.where(before < 0, -1, np.maximum(times - before, 0)))
        self._actions = dataset.events["action"].astype(np.int64)
        self._length = length

    def pieces(self, ends: Array) -> Sequences:
        """Returns histories up to their ends, cut into pieces.

        ends: int64 [U], the place of the first event of each user that is not learned. Raises
        ModelDataError if there is nothing to learn.
        """
        length = self._length
        pieces = [
            (start, min(start + length, end))
            for first, end in zip(self.starts.tolist(), (ends - 1).tolist(), strict=True)
            for start in range(first, end, length)
        ]
        if not pieces:
            raise ModelDataError(
                "no user has three events or more; nothing can be learned and validated"
            )
        columns = [torch.zeros(len(pieces), length, dtype=torch.long) for _ in range(4)]
        for place, (start, end) in enumerate(pieces):
            for column, values, shift in zip(
                columns,
                (self.inputs, self._actions, self._gaps, self.rows),
                (0, 0, 0, 1),
                strict=True,
            ):
                column[place, : end - start] = torch.from_numpy(values[start + shift : end + shift])
        useful = (columns[3] > 0).any(1)
        return Sequences(*(column[useful] for column in columns))

    def windows(self, ends: Array) -> Windows:
        """Returns the items of histories up to their ends, int64 [U] as of `pieces`."""
        lengths = self.ends - self.starts
        learned = np.arange(len(self.rows)) < np.repeat(ends, lengths)
        known = learned & (self.rows > 0)
        owner = np.repeat(np.arange(len(lengths)), lengths)[known]
        first = np.searchsorted(owner, owner)
        before = np.arange(len(owner)) - first
        return Windows(torch.from_numpy(self.rows[known]), torch.from_numpy(before))

    def validation(self, most: int, seed: int) -> tuple[Array, Sequences]:
        """Returns at most `most` users int64 [U], drawn, and their histories.

        The last event of each of them is about a known item, and is the only target. Raises
        ModelDataError if there is no such user.
        """
        last = self.ends - 1
        users = np.flatnonzero((self.rows[last] > 0) & (last > self.starts))
        if not len(users):
            raise ModelDataError(
                "the last events of all users are about unknown items; check the catalogue"
            )
        users = np.sort(np.random.default_rng(seed).permutation(users)[:most])
        columns = [torch.zeros(len(users), self._length, dtype=torch.long) for _ in range(4)]
        for place, user in enumerate(users.tolist()):
            start = max(int(self.starts[user]), int(last[user]) - self._length)
            size = int(last[user]) - start
            for column, values in zip(
                columns, (self.inputs, self._actions, self._gaps), strict=False
            ):
                column[place, :size] = torch.from_numpy(values[start : last[user]])
            columns[3][place, size - 1] = int(self.rows[last[user]])
        return users, Sequences(*columns)


def _with_texts(events: Array, rows: Array, items: int) -> tuple[list[str], Array]:
    """Returns the texts [M] of searches and unknown items, and the inputs int64 [N] of a training.

    An input is the row of an item, or V + 1 + m for the m-th of the texts; 0: neither.
    """
    inputs, unknown = rows.copy(), np.flatnonzero((rows == 0) & np.isin(events["kind"], WORDS))
    texts, which, counts = np.unique(
        events["text"][unknown], return_inverse=True, return_counts=True
    )
    kept = np.argsort(-counts, kind="stable")[:MOST_TEXTS]
    places = np.zeros(len(texts), np.int64)
    places[kept] = items + 1 + np.arange(len(kept))
    inputs[unknown] = places[which]
    return [text_of(raw) for raw in texts[kept].tolist()], inputs


def _words_of_many(
    texts: list[str], inputs: Array, dataset: Dataset, least_users: int
) -> list[list[str]]:
    """Returns the words of each text that at least `least_users` users wrote, in any text."""
    items = len(dataset.item_ids)
    said = np.flatnonzero(inputs > items)
    of_text = [words(text) for text in texts]
    writers: dict[str, set[int]] = {}
    pairs = np.unique(np.stack((inputs[said] - items - 1, owners(dataset)[said]), 1), axis=0)
    for text, user in pairs.tolist():
        for word in of_text[text]:
            known = writers.setdefault(word, set())
            if len(known) < least_users:
                known.add(user)
    return [[word for word in each if len(writers[word]) >= least_users] for each in of_text]
