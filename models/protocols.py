"""How events are split into what a model may learn from and what it is asked afterwards.

Every protocol gives the same thing: events to train on, and cases. A case is the place of one event in a user's history:
the events before it are known, the item of the event itself is asked for. Protocols differ only in which places they ask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from models.compact import SESSION_GAP_S
from models.errors import ModelDataError
from models.prepare import Dataset, catalogue_rows, owners, subset

Array = np.ndarray[Any, Any]

TIME_SPLIT_SHARE: Final = 0.9  # of the events lie before the cut of `time-split`
MOST_CASES: Final = 20_000  # more are sampled down; the standard error of a rate is then at most 0.0036

NOTHING_ASKED: Final = {
    "leave-one-out": "no event about a known item can be asked for; give longer histories",
    "new-items": "no item appears first in the last tenth of the log; give a longer log",
}


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
    begun: Array | None = None  # int64 [N] of `sessions`: place of the event that began the session of each event
    train_begun: Array | None = None  # the same of the training events


def split(
    dataset: Dataset,
    protocol: str = "leave-one-out",
    *,
    seed: int = 0,
    most_cases: int = MOST_CASES,
    session_gap_s: float = SESSION_GAP_S,
) -> Split:
    """Cut a data set. Raises ModelDataError if nothing is left to train on or to ask."""
    if protocol not in PROTOCOLS:
        raise ModelDataError(f"protocol {protocol!r} is unknown; use one of {', '.join(PROTOCOLS)}")
    if protocol != "leave-one-out" and dataset.report.get("events_without_time"):
        raise ModelDataError(f"{protocol} needs times, and some events have none; use leave-one-out")
    found = sessions(dataset, session_gap_s) if protocol == "sessions" else PROTOCOLS[protocol](dataset)
    if not len(found.cases):
        raise ModelDataError(
            f"{protocol}: {NOTHING_ASKED.get(protocol, 'no event about a known item can be asked for')}"
        )
    if not len(found.train.events):
        raise ModelDataError(f"{protocol}: no event is left to train on; give a longer log")
    if len(found.cases) > most_cases:
        chosen = np.sort(np.random.default_rng(seed).choice(len(found.cases), most_cases, replace=False))
        text = f"{found.description}; {most_cases} of {len(found.cases)} cases drawn with seed {seed}"
        return replace(found, description=text, cases=found.cases.take(chosen))
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
    rows, times, cut = _in_time(dataset)
    cases = _cases(dataset, rows, np.flatnonzero((times >= cut) & (rows > 0)))
    text = (
        f"{_trained_before('time-split', cut)}, every later event is asked for with all of its user's events before it"
    )
    return Split("time-split", text, dataset, subset(dataset, times < cut), cases, timed_out=True)


def prequential(dataset: Dataset) -> Split:
    """As time-split; the evaluation adds accuracy over time, and a model whose states stopped at the cut."""
    found = time_split(dataset)
    text = found.description.replace("time-split", "prequential") + ", in order of time"
    return replace(found, protocol="prequential", description=text)


def sessions(dataset: Dataset, gap_s: float = SESSION_GAP_S) -> Split:
    """Whole sessions later than 90 % of the sessions are held out; each of their events but the first is asked for.

    A session ends where a user's next event comes more than gap_s seconds later. With times that are those of the start of a
    session, a gap of 0 makes each start a session.
    """
    rows, owner = catalogue_rows(dataset.events["key"], dataset.item_ids), owners(dataset)
    times = dataset.events["time_ms"]
    first = np.ones(len(times), bool)
    first[1:] = (owner[1:] != owner[:-1]) | (times[1:] - times[:-1] > gap_s * 1000)
    begun = np.flatnonzero(first)[np.cumsum(first) - 1]
    cut = int(np.quantile(times[first], TIME_SPLIT_SHARE, method="lower"))
    early = times[begun] < cut
    cases = _cases(dataset, rows, np.flatnonzero(~early & ~first & (rows > 0)))
    text = (
        f"{_trained_before('sessions', cut)}; sessions end after {gap_s:g} s of silence; every event but the first of each later "
        "session is asked for"
    )
    kept = np.cumsum(early) - 1  # places among the training events
    train = subset(dataset, early)
    return Split("sessions", text, dataset, train, cases, timed_out=True, begun=begun, train_begun=kept[begun[early]])


def new_items(dataset: Dataset) -> Split:
    """As time-split, but only events about items that nobody touched before the cut are asked for."""
    rows, times, cut = _in_time(dataset)
    old = np.zeros(len(dataset.item_ids) + 1, bool)
    old[rows[times < cut]] = True
    cases = _cases(dataset, rows, np.flatnonzero((times >= cut) & (rows > 0) & ~old[rows]))
    text = f"{_trained_before('new-items', cut)}, every later event about an item that was never met before the cut is asked for"
    return Split("new-items", text, dataset, subset(dataset, times < cut), cases, timed_out=True)


PROTOCOLS: Final[dict[str, Callable[[Dataset], Split]]] = {
    "leave-one-out": leave_one_out,
    "time-split": time_split,
    "sessions": sessions,
    "prequential": prequential,
    "new-items": new_items,
}


def frozen_at_cut(cut: Split) -> Cases:
    """The same questions, asked of states that hold only what was trained on."""
    kept = np.zeros(len(cut.whole.users), np.int64)
    known = {user: place for place, user in enumerate(cut.whole.users)}
    for user, count in zip(cut.train.users, np.diff(cut.train.user_start).tolist(), strict=True):
        kept[known[user]] = count
    history = np.minimum(kept[cut.cases.user], cut.cases.history)
    return replace(cut.cases, history=history, position=cut.whole.user_start[cut.cases.user] + history)


def _in_time(dataset: Dataset) -> tuple[Array, Array, int]:
    """Rows and times of the events, and the moment before which 90 % of them lie."""
    times = dataset.events["time_ms"]
    cut = int(np.quantile(times, TIME_SPLIT_SHARE, method="lower"))
    return catalogue_rows(dataset.events["key"], dataset.item_ids), times, cut


def _trained_before(protocol: str, cut: int) -> str:
    return f"{protocol}: trained on events before {np.datetime64(cut, 'ms')}Z"


def _cases(dataset: Dataset, rows: Array, position: Array) -> Cases:
    user = np.searchsorted(dataset.user_start, position, side="right") - 1
    history = position - dataset.user_start[user]
    return Cases(position, user, history, rows[position] - 1, dataset.events["time_ms"][position])
