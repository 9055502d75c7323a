"""Splits events into what a model may learn from and what it is tested on afterwards.

Every protocol gives the same thing: events to train on, and cases. A case is the place of one event
in a user's history: the events before it are known, and the item of the event itself is the target.
Protocols differ only in which places they take.

Glossary: N events of the data set, T cases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from models.compact import SESSION_GAP_S, hash64
from models.data.prepare import Dataset, catalogue_rows, owners, subset
from models.errors import ModelDataError

Array = np.ndarray[Any, Any]

TIME_SPLIT_SHARE: Final = 0.9
"""So many of the events lie before the cut of `time-split`."""
MOST_CASES: Final = 20_000
"""More cases are sampled down to this; the standard error of a rate is then at most 0.0036."""

NO_CASES: Final = {
    "leave-one-out": "no event about a known item can be asked for; give longer histories",
    "test-files": "no event of a test file is about a known item, those left out that repeat an "
    "event to learn from",
    "new-items": "no item appears first in the last tenth of the log; give a longer log",
}


@dataclass(frozen=True)
class Cases:
    """Holds T cases, sorted by user and place."""

    position: Array  # int64 [T] index into the events of the whole data set
    user: Array  # int64 [T]
    history: Array  # int64 [T] events of that user before it
    target: Array  # int32 [T] catalogue position of the item to be predicted
    time_ms: Array  # int64 [T] when it happened

    def __len__(self) -> int:
        return len(self.position)

    def take(self, places: Array) -> Cases:
        """Returns the cases at some places."""
        return Cases(
            *(
                getattr(self, name)[places]
                for name in ("position", "user", "history", "target", "time_ms")
            )
        )


@dataclass(frozen=True)
class Split:
    """Holds a data set cut by a protocol: what to train on, and the cases to test."""

    protocol: str
    description: str  # of the protocol, for the report
    whole: Dataset
    train: Dataset
    cases: Cases
    timed_out: bool
    """Whether the cut is a moment, so that a live counter may count all that came before a case."""
    begun: Array | None = None
    """Of `sessions`: place of the event that began the session of each event, int64 [N]."""
    train_begun: Array | None = None
    """The same of the training events, as places among them."""


def split(
    dataset: Dataset,
    protocol: str = "leave-one-out",
    *,
    seed: int = 0,
    most_cases: int = MOST_CASES,
    session_gap_s: float = SESSION_GAP_S,
    cut_ms: int | None = None,
) -> Split:
    """Returns a data set cut by a protocol, with at most `most_cases` cases drawn by `seed`.

    cut_ms: the moment of the cut, of protocols that have one; None: 90 % lie before it. Raises
    ModelDataError if nothing is left to train on or to test.
    """
    if protocol not in (*PROTOCOLS, TEST_FILES):
        raise ModelDataError(f"protocol {protocol!r} is unknown; use one of {', '.join(PROTOCOLS)}")
    if protocol == TEST_FILES:
        return _drawn(test_files(dataset), seed, most_cases)
    if protocol != "leave-one-out" and dataset.report.get("events_without_time"):
        raise ModelDataError(
            f"{protocol} needs times, and some events have none; use leave-one-out"
        )
    if protocol == "leave-one-out":
        if cut_ms is not None:
            raise ModelDataError(
                "leave-one-out has no cut in time; give --protocol time-split or sessions"
            )
        found = leave_one_out(dataset)
    elif protocol == "sessions":
        found = sessions(dataset, session_gap_s, cut_ms)
    else:
        found = IN_TIME[protocol](dataset, cut_ms)
    return _drawn(found, seed, most_cases)


def _drawn(found: Split, seed: int, most_cases: int) -> Split:
    """Returns a split with at most `most_cases` cases. Raises ModelDataError if it has none."""
    protocol = found.protocol
    if not len(found.cases):
        raise ModelDataError(
            f"{protocol}: {NO_CASES.get(protocol, 'no event about a known item can be asked for')}"
        )
    if not len(found.train.events):
        raise ModelDataError(f"{protocol}: no event is left to train on; give a longer log")
    if len(found.cases) > most_cases:
        chosen = np.sort(
            np.random.default_rng(seed).choice(len(found.cases), most_cases, replace=False)
        )
        text = (
            f"{found.description}; {most_cases} of {len(found.cases)} cases drawn with seed {seed}"
        )
        return replace(found, description=text, cases=found.cases.take(chosen))
    return found


def held_out(users: list[str], share: float, seed: int) -> Array:
    """Returns which users a training with this share and seed leaves out, bool [U].

    It depends on the id alone, so that whoever has the ids finds the same users again.
    """
    return np.array([hash64(f"{seed}\0{user}") < share * 2.0**64 for user in users], bool)


def leave_one_out(dataset: Dataset) -> Split:
    """Returns the split whose cases are the last event about a known item of each user.

    The events before it are trained on.
    """
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


def test_files(dataset: Dataset) -> Split:
    """Returns the split whose cases are the events of the test files about known items.

    The other events are trained on, and the history of a case is what its user did before, in
    either. Raises ModelDataError if only some of the events have a time: order then means nothing.
    """
    untimed = dataset.report.get("events_without_time", 0)
    if 0 < untimed < dataset.report.get("events_read", untimed):
        raise ModelDataError(
            "test files: some events have times and others have none, so it is not known which "
            "come first; give all of them times, or none"
        )
    asked = np.zeros(len(dataset.events), bool) if dataset.asked is None else dataset.asked
    rows, times = catalogue_rows(dataset.events["key"], dataset.item_ids), dataset.events["time_ms"]
    cases = _cases(dataset, rows, np.flatnonzero(asked & (rows > 0)))
    last = int(times[~asked].max(initial=np.iinfo(times.dtype).min))
    early = int((cases.time_ms < last).sum())
    text = (
        "test-files: trained on the other files, every event of the test files is asked for with "
        "all of its user's events before it"
    )
    if early and not untimed:
        text += (
            f"; {early:,} of them lie before events trained on, of other users or of the same, so "
            "training knows what came later"
        )
    timed_out = not early and not untimed
    return Split(TEST_FILES, text, dataset, subset(dataset, ~asked), cases, timed_out)


def time_split(dataset: Dataset, cut_ms: int | None = None) -> Split:
    """Returns the split that trains on the events before a cut, the first 90 % unless it is given.

    Every later event is a case: weights stay as they are, states move on.
    """
    rows, times, cut = _in_time(dataset, cut_ms)
    cases = _cases(dataset, rows, np.flatnonzero((times >= cut) & (rows > 0)))
    text = (
        f"{_trained_before('time-split', cut)}, every later event is asked for with all of its "
        "user's events before it"
    )
    return Split("time-split", text, dataset, subset(dataset, times < cut), cases, timed_out=True)


def prequential(dataset: Dataset, cut_ms: int | None = None) -> Split:
    """Returns the cases of time-split under a name that makes the evaluation add two things.

    They are accuracy over time, and a model whose states stopped at the cut.
    """
    found = time_split(dataset, cut_ms)
    text = found.description.replace("time-split", "prequential") + ", in order of time"
    return replace(found, protocol="prequential", description=text)


def sessions(dataset: Dataset, gap_s: float = SESSION_GAP_S, cut_ms: int | None = None) -> Split:
    """Returns the split that holds out whole sessions, those that begin at a cut or later.

    Unless it is given, 90 % of the sessions begin before it. Each of the later ones' events but the
    first is a case. Events with a session_id are of one session if they have the same; elsewhere a
    session ends where a user's next event comes more than gap_s seconds later. With times that are
    those of the start of a session, a gap of 0 makes each start a session.
    """
    rows, owner = catalogue_rows(dataset.events["key"], dataset.item_ids), owners(dataset)
    times = dataset.events["time_ms"]
    first = np.ones(len(times), bool)
    parted = times[1:] - times[:-1] > gap_s * 1000
    ended = f"sessions end after {gap_s:g} s of silence"
    if (ids := dataset.sessions) is not None:
        parted = np.where((ids[1:] != 0) & (ids[:-1] != 0), ids[1:] != ids[:-1], parted)
        with_id = f"{100 * float((ids != 0).mean()):.0f} % of the events have a session_id"
        ended = (
            f"sessions are those of session_id, else end after {gap_s:g} s of silence ({with_id})"
        )
    first[1:] = (owner[1:] != owner[:-1]) | parted
    begun = np.flatnonzero(first)[np.cumsum(first) - 1]
    cut = _moment(times[first], cut_ms)
    early = times[begun] < cut
    cases = _cases(dataset, rows, np.flatnonzero(~early & ~first & (rows > 0)))
    text = (
        f"{_trained_before('sessions', cut)}; {ended}; every event but the first of each later "
        "session is asked for"
    )
    kept = np.cumsum(early) - 1  # places among the training events
    train = subset(dataset, early)
    return Split(
        "sessions",
        text,
        dataset,
        train,
        cases,
        timed_out=True,
        begun=begun,
        train_begun=kept[begun[early]],
    )


def new_items(dataset: Dataset, cut_ms: int | None = None) -> Split:
    """Returns the cases of time-split that are about items which nobody touched before the cut."""
    rows, times, cut = _in_time(dataset, cut_ms)
    old = np.zeros(len(dataset.item_ids) + 1, bool)
    old[rows[times < cut]] = True
    cases = _cases(dataset, rows, np.flatnonzero((times >= cut) & (rows > 0) & ~old[rows]))
    text = (
        f"{_trained_before('new-items', cut)}, every later event about an item that was never met "
        "before the cut is asked for"
    )
    return Split("new-items", text, dataset, subset(dataset, times < cut), cases, timed_out=True)


IN_TIME: Final[dict[str, Callable[[Dataset, int | None], Split]]] = {
    "time-split": time_split,
    "prequential": prequential,
    "new-items": new_items,
}
TEST_FILES: Final = "test-files"
"""The protocol of a data set that has test files."""
PROTOCOLS: Final = ("leave-one-out", "time-split", "sessions", "prequential", "new-items")


def without_validation(cut: Split) -> Split:
    """Returns the split without the last training event of each user, which validates.

    It is what a training learns that holds these events out, and so what baselines may know.
    """
    keep = np.ones(len(cut.train.events), bool)
    keep[cut.train.user_start[1:] - 1] = False
    begun = cut.train_begun
    if begun is not None:
        begun = (np.cumsum(keep) - 1)[begun[keep]]  # a session's first event stays if another does
    return replace(cut, train=subset(cut.train, keep), train_begun=begun)


def frozen_at_cut(cut: Split) -> Cases:
    """Returns the same cases, for states that hold only what was trained on."""
    kept = np.zeros(len(cut.whole.users), np.int64)
    known = {user: place for place, user in enumerate(cut.whole.users)}
    for user, count in zip(cut.train.users, np.diff(cut.train.user_start).tolist(), strict=True):
        kept[known[user]] = count
    history = np.minimum(kept[cut.cases.user], cut.cases.history)
    return replace(
        cut.cases, history=history, position=cut.whole.user_start[cut.cases.user] + history
    )


def _in_time(dataset: Dataset, cut_ms: int | None) -> tuple[Array, Array, int]:
    """Returns rows and times of the events, and the moment of the cut."""
    times = dataset.events["time_ms"]
    return catalogue_rows(dataset.events["key"], dataset.item_ids), times, _moment(times, cut_ms)


def _moment(times: Array, cut_ms: int | None) -> int:
    """Returns the moment of the cut, before which 90 % of some times lie unless it is given.

    Raises ModelDataError if all times are on one side of it.
    """
    if cut_ms is None:
        return int(np.quantile(times, TIME_SPLIT_SHARE, method="lower"))
    if not times.min() < cut_ms <= times.max():
        first, last = (np.datetime64(int(each), "ms") for each in (times.min(), times.max()))
        raise ModelDataError(
            f"--cut {np.datetime64(cut_ms, 'ms')}Z leaves nothing on one side: the events are of "
            f"{first}Z to {last}Z; name a moment between"
        )
    return cut_ms


def _trained_before(protocol: str, cut: int) -> str:
    """Returns the beginning of a split's description; cut: Unix ms."""
    return f"{protocol}: trained on events before {np.datetime64(cut, 'ms')}Z"


def _cases(dataset: Dataset, rows: Array, position: Array) -> Cases:
    """Returns the cases at some places of a data set whose items have these rows."""
    user = np.searchsorted(dataset.user_start, position, side="right") - 1
    history = position - dataset.user_start[user]
    return Cases(position, user, history, rows[position] - 1, dataset.events["time_ms"][position])
