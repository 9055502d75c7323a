"""Cuts histories into the windows that the bridge learns from.

A window is a few events in a row with answers after its later half; features and event vectors of
every event are computed once, for the LSTM is frozen.

Glossary: N events, W windows, n events of a window, A = n / 2 answers, D width of the LSTM.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.data.prepare import Dataset, catalogue_rows, previous_times
from models.serving.predictor import Predictor

Array = np.ndarray[Any, Any]

CELLS: Final = 200_000
"""Padded events in one pass of the LSTM; it bounds memory."""


@dataclass(frozen=True)
class Histories:
    """Holds what the frozen LSTM makes of each event."""

    rows: Array  # int64 [N] catalogue rows, 0 unknown
    x: Tensor  # [N, D] event vectors
    features: Tensor  # [N, D] after the event


@dataclass(frozen=True)
class Windows:
    """Holds windows: some events in a row, and after which of them an answer is learned."""

    first: Tensor  # int64 [W] its first event
    count: Tensor  # int64 [W] its events, at most n
    after: Tensor  # int64 [W, A] place in the window of the event before an answer; -1: not used

    def __len__(self) -> int:
        return len(self.first)

    def part(self, low: int, high: int) -> Windows:
        """Returns the windows at places low to high - 1."""
        return Windows(self.first[low:high], self.count[low:high], self.after[low:high])

    def batches(self, size: int, most: int, generator: torch.Generator) -> Iterator[Windows]:
        """Yields batches of at most `most` windows, drawn anew, those of one length together."""
        drawn = torch.randperm(len(self), generator=generator)[:most]
        drawn = drawn[torch.argsort(self.count[drawn], stable=True)]
        parts = list(torch.split(drawn, size))
        for place in torch.randperm(len(parts), generator=generator).tolist():
            chosen = parts[place]
            yield Windows(self.first[chosen], self.count[chosen], self.after[chosen])


def shares(batches: Sequence[Windows]) -> list[float]:
    """Returns the number of answers of each batch over that of an average one.

    Windows of short histories have fewer answers than others, and are batched together. A step by
    the mean loss of a batch is multiplied by its share: each answer counts the same.
    """
    answers = np.array([int((windows.after >= 0).sum()) for windows in batches])
    found: list[float] = (answers / answers.mean()).tolist()
    return found


def read_histories(small: Predictor, dataset: Dataset) -> Histories:
    """Returns every user's whole history as the LSTM sees it, each event as a worker reads it."""
    rows = catalogue_rows(dataset.events["key"], dataset.item_ids).astype(np.int64)
    starts = dataset.user_start
    with torch.no_grad():
        x = small.vectors(dataset.events, previous_times(dataset))
        features = torch.empty_like(x)
        lengths = np.diff(starts)
        order = np.argsort(-lengths, kind="stable")
        done = 0
        while done < len(order):
            longest = int(lengths[order[done]])
            users = order[done : done + max(1, CELLS // longest)]
            padded = x.new_zeros(len(users), longest, x.shape[1])
            for place, user in enumerate(users.tolist()):
                padded[place, : lengths[user]] = x[starts[user] : starts[user + 1]]
            through = small.network.features(padded)
            for place, user in enumerate(users.tolist()):
                features[starts[user] : starts[user + 1]] = through[place, : lengths[user]]
            done += len(users)
    return Histories(rows, x, features)


def cut_windows(dataset: Dataset, rows: Array, recent: int) -> Windows:
    """Returns windows of up to `recent` events with half as many answers each.

    rows: int64 [N] catalogue rows of the events. The last event of each user is never an answer: it
    is for validation.
    """
    half = recent // 2
    first, count, after = [], [], []
    for start, end in zip(
        dataset.user_start[:-1].tolist(), dataset.user_start[1:].tolist(), strict=True
    ):
        for low in range(0, end - start - 2, half):
            high = min(low + half, end - start - 2)
            begin = max(0, high - recent)
            places = [
                place - begin if rows[start + place + 1] > 0 else -1 for place in range(low, high)
            ]
            if max(places) >= 0:
                first.append(start + begin)
                count.append(high - begin)
                after.append(places + [-1] * (half - len(places)))
    return Windows(
        torch.tensor(first, dtype=torch.long),
        torch.tensor(count, dtype=torch.long),
        torch.tensor(after, dtype=torch.long).view(-1, half),
    )
