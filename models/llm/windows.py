"""Training windows of a data set for the bridge: features and event vectors of every event, and where a window asks.

Glossary: N events, W windows, n events of a window, A = n / 2 answers, D width of the LSTM.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.predictor import Predictor
from models.prepare import Dataset, catalogue_rows, previous_times

Array = np.ndarray[Any, Any]

CELLS: Final = 200_000  # padded events in one LSTM pass


@dataclass(frozen=True)
class Histories:
    """What the frozen LSTM makes of each event."""

    rows: Array  # int64 [N] catalogue rows, 0 unknown
    x: Tensor  # [N, D] event vectors
    features: Tensor  # [N, D] after the event


@dataclass(frozen=True)
class Windows:
    """Each asks what follows some events. -1: a slot that is not used."""

    first: Tensor  # int64 [W] its first event
    count: Tensor  # int64 [W] its events, at most n
    asked: Tensor  # int64 [W, A] place in the window of the event that an answer follows, or -1

    def __len__(self) -> int:
        return len(self.first)

    def part(self, low: int, high: int) -> Windows:
        """Those at places low to high - 1."""
        return Windows(self.first[low:high], self.count[low:high], self.asked[low:high])

    def batches(self, size: int, most: int, generator: torch.Generator) -> Iterator[Windows]:
        """At most that many windows, drawn anew, those of one length together."""
        drawn = torch.randperm(len(self), generator=generator)[:most]
        drawn = drawn[torch.argsort(self.count[drawn], stable=True)]
        parts = list(drawn.split(size))  # type: ignore[no-untyped-call]
        for place in torch.randperm(len(parts), generator=generator).tolist():
            chosen = parts[place]
            yield Windows(self.first[chosen], self.count[chosen], self.asked[chosen])


def read_histories(small: Predictor, dataset: Dataset) -> Histories:
    """Run every user's whole history through the LSTM once, each event read as a worker reads it."""
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
    """Half windows of answers, each behind up to n events; the last event of each user is never an answer (validation)."""
    half = recent // 2
    first, count, asked = [], [], []
    for start, end in zip(dataset.user_start[:-1].tolist(), dataset.user_start[1:].tolist(), strict=True):
        for low in range(0, end - start - 2, half):
            high = min(low + half, end - start - 2)
            begin = max(0, high - recent)
            places = [place - begin if rows[start + place + 1] > 0 else -1 for place in range(low, high)]
            if max(places) >= 0:
                first.append(start + begin)
                count.append(high - begin)
                asked.append(places + [-1] * (half - len(places)))
    return Windows(
        torch.tensor(first, dtype=torch.long),
        torch.tensor(count, dtype=torch.long),
        torch.tensor(asked, dtype=torch.long).view(-1, half),
    )
