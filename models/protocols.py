"""How events are split into what a model may learn from and what it is asked afterwards.

Every protocol gives the same thing: events to train on, and cases. A case is the place of one event in a user's history:
the events before it are known, the item of the event itself is asked for. Protocols differ only in which places they ask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.errors import ModelDataError
from models.prepare import Dataset, catalogue_rows, owners, subset

Array = np.ndarray[Any, Any]

TIME_SPLIT_SHARE: Final = 0.9  # of the events lie before the cut of `time-split`
MOST_CASES: Final = 20_000  # more are sampled down; the standard error of a rate is then at most 0.0036


@dataclass(frozen=True)
class Cases:
    """T questions, sorted by user and place."""

    position: Array  # int64 [T] index into the events of the whole data set
    user: Array  # int64 [T]
    history: Array  # int64 [T] events of that user before it
    target: Array  # int32 [T] catalogue position of the item asked for
    time_ms: Array  # int64 [T] when it happened

    def __len__(self) -> int:
        return len(self.position)

    def take(self, places: Array) -> Cases:
        """Some of the cases."""
        return Cases(*(getattr(self, name)[places] for name in ("position", "user", "history", "target", "time_ms")))


@dataclass(frozen=True)
class Split:
    """A data set cut by a protocol."""

    protocol: str
    description: str  # of the protocol, for the report
    whole: Dataset
    train: Dataset
    cases: Cases
    timed_out: bool  # True: the cut is a moment, so all that happened before a case may be counted by a live counter


def split(dataset: Dataset, protocol: str = "leave-one-out", *, seed: int = 0, most_cases: int = MOST_CASES) -> Split:
    """Cut a data set. Raises ModelDataError if nothing is left to train on or to ask."""
    try:
        cut = PROTOCOLS[protocol]
    except KeyError:
        raise ModelDataError(f"protocol {protocol!r} is unknown; use one of {', '.join(PROTOCOLS)}") from None
    found = cut(dataset)
    if not len(found.cases):
        raise ModelDataError(f"{protocol}: no event about a known item can be asked for; give longer histories")
    if not len(found.train.events):
        raise ModelDataError(f"{protocol}: no event is left to train on; give a longer log")
    if len(found.cases) > most_cases:
        chosen = np.sort(np.random.default_rng(seed).choice(len(found.cases), most_cases, replace=False))
        text = f"{found.description}; {most_cases} of {len(found.cases)} cases drawn with seed {seed}"
        return Split(found.protocol, text, dataset, found.train, found.cases.take(chosen), found.timed_out)
    return found


def leave_one_out(dataset: Dataset) -> Split:
    """The last event about a known item of each user is asked for; the events before it are trained on."""
    owner, rows = owners(dataset), catalogue_rows(dataset.events["key"], dataset.item_ids)
    last = np.full(len(dataset.users), -1, np.int64)
    known = np.flatnonzero(rows > 0)
    last[owner[known]] = known  # the later assignment stays
    asked = np.flatnonzero(last > dataset.user_start[:-1])
    keep = np.ones(len(owner), bool)
    stop = np.where(last > dataset.user_start[:-1], last, dataset.user_start[1:])
    keep = np.arange(len(owner)) < stop[owner]
    cases = _cases(dataset, rows, last[asked])
    text = "leave-one-out: the last item of each user is asked for, all events before it are known"
    return Split("leave-one-out", text, dataset, subset(dataset, keep), cases, timed_out=False)


def time_split(dataset: Dataset) -> Split:
    """Trained on the first 90 % of the time-ordered events; every later event is asked for, weights stay, states move on."""
    if dataset.report.get("events_without_time"):
        raise ModelDataError("time-split needs times, and some events have none; use leave-one-out")
    rows, times = catalogue_rows(dataset.events["key"], dataset.item_ids), dataset.events["time_ms"]
    cut = int(np.quantile(times, TIME_SPLIT_SHARE, method="lower"))
    cases = _cases(dataset, rows, np.flatnonzero((times >= cut) & (rows > 0)))
    text = (
        f"time-split: trained on events before {np.datetime64(cut, 'ms')}Z, every later event is asked for with all of "
        "its user's events before it"
    )
    return Split("time-split", text, dataset, subset(dataset, times < cut), cases, timed_out=True)


PROTOCOLS: Final[dict[str, Callable[[Dataset], Split]]] = {"leave-one-out": leave_one_out, "time-split": time_split}


def _cases(dataset: Dataset, rows: Array, position: Array) -> Cases:
    user = np.searchsorted(dataset.user_start, position, side="right") - 1
    history = position - dataset.user_start[user]
    return Cases(position, user, history, rows[position] - 1, dataset.events["time_ms"][position])
