"""Histories as the tensors a training reads: pieces with the item that followed each event, and the last event of each user.

Glossary: B sequences, T events, U users, N events of the data set, V items, M texts of events that are about none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.compact import WORDS, text_of
from models.errors import ModelDataError
from models.prepare import Dataset, catalogue_rows, previous_times
from models.vocabulary import gap_buckets

Array = np.ndarray[Any, Any]

MOST_TEXTS: Final = 100_000
"""Of searches, the most frequent: 26 MB of encodings; of the others nothing is read in training."""


@dataclass
class Sequences:
    """Training pieces, right-padded: inputs of T events and the row that followed each (0: none to learn)."""

    rows: Tensor  # int64 [B, T]: an item, or V + 1 and more: a text; 0: neither
    actions: Tensor
    gaps: Tensor
    targets: Tensor  # int64 [B, T]

    def batches(self, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Shuffled, with pieces of similar length together, cut to the longest."""
        lengths = (self.rows > 0).sum(1) + torch.rand(len(self.rows), generator=generator)
        order = torch.argsort(lengths)
        starts = torch.arange(0, len(order), size)
        for start in starts[torch.randperm(len(starts), generator=generator)].tolist():
            chosen = order[start : start + size]
            longest = int((self.targets[chosen] > 0).any(0).nonzero().max()) + 1
            yield tuple(column[chosen, :longest] for column in (self.rows, self.actions, self.gaps, self.targets))  # type: ignore[misc]


class TrainingData:
    """The events of a data set as numbers. Validation is the last event of each user; what picks by it must not learn it."""

    def __init__(self, dataset: Dataset, length: int) -> None:
        self.starts, self.ends = dataset.user_start[:-1], dataset.user_start[1:]
        self.rows = catalogue_rows(dataset.events["key"], dataset.item_ids).astype(np.int64)  # [N]
        self.texts, self.inputs = _with_texts(dataset.events, self.rows, len(dataset.item_ids))
        self.is_validation = np.zeros(len(self.rows), bool)  # [N]
        self.is_validation[self.ends - 1] = True
        times, before = dataset.events["time_ms"], previous_times(dataset)
        self._gaps = gap_buckets(np.where(before < 0, -1, np.maximum(times - before, 0)))
        self._actions = dataset.events["action"].astype(np.int64)
        self._length = length

    def pieces(self, held_out: int = 1) -> Sequences:
        """Histories without their last `held_out` events, cut into pieces."""
        length = self._length
        pieces = [
            (start, min(start + length, end))
            for first, end in zip(self.starts.tolist(), (self.ends - 1 - held_out).tolist(), strict=True)
            for start in range(first, end, length)
        ]
        if not pieces:
            raise ModelDataError("no user has three events or more; nothing can be learned and validated")
        columns = [torch.zeros(len(pieces), length, dtype=torch.long) for _ in range(4)]
        for place, (start, end) in enumerate(pieces):
            for column, values, shift in zip(
                columns, (self.inputs, self._actions, self._gaps, self.rows), (0, 0, 0, 1), strict=True
            ):
                column[place, : end - start] = torch.from_numpy(values[start + shift : end + shift])
        useful = (columns[3] > 0).any(1)
        return Sequences(*(column[useful] for column in columns))

    def validation(self, most: int, seed: int) -> tuple[Array, Sequences]:
        """Users int64 [U] whose last event is about a known item, and their histories: targets only at the last place."""
        last = self.ends - 1
        users = np.flatnonzero((self.rows[last] > 0) & (last > self.starts))
        if not len(users):
            raise ModelDataError("the last events of all users are about unknown items; check the catalogue")
        users = np.sort(np.random.default_rng(seed).permutation(users)[:most])
        columns = [torch.zeros(len(users), self._length, dtype=torch.long) for _ in range(4)]
        for place, user in enumerate(users.tolist()):
            start = max(int(self.starts[user]), int(last[user]) - self._length)
            size = int(last[user]) - start
            for column, values in zip(columns, (self.inputs, self._actions, self._gaps), strict=False):
                column[place, :size] = torch.from_numpy(values[start : last[user]])
            columns[3][place, size - 1] = int(self.rows[last[user]])
        return users, Sequences(*columns)


def _with_texts(events: Array, rows: Array, items: int) -> tuple[list[str], Array]:
    """Texts [M] of searches and of items that the catalogue lacks, and rows int64 [N] of which V + 1 + m stand for the m-th of them."""
    inputs, unknown = rows.copy(), np.flatnonzero((rows == 0) & np.isin(events["kind"], WORDS))
    texts, which, counts = np.unique(events["text"][unknown], return_inverse=True, return_counts=True)
    kept = np.argsort(-counts, kind="stable")[:MOST_TEXTS]
    places = np.zeros(len(texts), np.int64)
    places[kept] = items + 1 + np.arange(len(kept))
    inputs[unknown] = places[which]
    return [text_of(raw) for raw in texts[kept].tolist()], inputs
