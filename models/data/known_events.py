"""Remembers which events a training learned from, so that an evaluation knows what it must not ask.

Stored are 64-bit numbers of user, item and time, mixed: no id is in the file in clear, and only who
has an event already can find it again. So only its owner may read the file, and who gives a model
away deletes it. At most MOST_KEPT are kept, those with the smallest numbers: a fair sample, from
which the count of the rest follows.

    known-events.safetensors    `events`: uint64 [K], sorted; the metadata say of which model

Glossary: N events, K events kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from models.compact import hash64
from models.data.prepare import Dataset, owners

Array = np.ndarray[Any, Any]

FILE: Final = "known-events.safetensors"
MOST_KEPT: Final = 1_000_000
"""8 MB."""

_ODD: Final = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


@dataclass(frozen=True)
class KnownEvents:
    """Holds the numbers of the events that a training learned from, and whether it had times."""

    events: Array  # uint64 [K], sorted
    timed: bool
    complete: bool  # whether all were kept

    @classmethod
    def of(cls, dataset: Dataset) -> KnownEvents:
        """Returns what is remembered of the events of a data set."""
        numbers = np.unique(event_numbers(dataset))
        return cls(numbers[:MOST_KEPT], _timed(dataset), len(numbers) <= MOST_KEPT)

    def write(self, model: Path, fingerprint: int) -> None:
        """Writes the file into the directory of the model of a fingerprint."""
        about = {
            "model": f"{fingerprint:016x}",
            "timed": str(self.timed),
            "complete": str(self.complete),
        }
        save_file({"events": self.events}, model / FILE, about)
        (model / FILE).chmod(0o600)  # who reads it knows of any event whether it was learned

    def count(self, dataset: Dataset, places: Array) -> int | None:
        """Returns how many of the events at some places (int64 [T]) were learned from.

        It is an estimate where not all were kept, and None where nothing can be known: one of the
        two has times and the other has not.
        """
        if self.timed != _timed(dataset):
            return None
        asked = event_numbers(dataset)[places]
        if not self.complete:
            asked = asked[asked <= self.events[-1]]
        known = int(np.isin(asked, self.events).sum())
        return known if self.complete or not len(asked) else round(known / len(asked) * len(places))


def read_known_events(model: Path, fingerprint: int) -> KnownEvents | None:
    """Returns what a model directory remembers; None if it is older, or the file is of another."""
    try:
        with safe_open(model / FILE, "numpy") as file:
            about = file.metadata() or {}
            events = file.get_tensor("events")
    except (OSError, SafetensorError):
        return None
    if about.get("model") != f"{fingerprint:016x}" or events.dtype != np.uint64:
        return None
    return KnownEvents(events, about.get("timed") == "True", about.get("complete") == "True")


def event_numbers(dataset: Dataset) -> Array:
    """Returns a number of each event, of its user, item and time, uint64 [N].

    Where times are invented, the place in the user's history stands for the time.
    """
    owner = owners(dataset)
    users = np.array([hash64(user) for user in dataset.users], np.uint64)[owner]
    when = dataset.events["time_ms"].astype(np.uint64)
    if not _timed(dataset):
        when = (np.arange(len(owner)) - dataset.user_start[owner]).astype(np.uint64)
    mixed = users
    with np.errstate(over="ignore"):
        for value in (dataset.events["key"].astype(np.uint64), when):
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_ODD[1])
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_ODD[2]) + np.uint64(_ODD[0])
            mixed = mixed ^ value
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_ODD[1])
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_ODD[2])
    found: Array = mixed ^ (mixed >> np.uint64(31))
    return found


def _timed(dataset: Dataset) -> bool:
    return not dataset.report.get("events_without_time")
