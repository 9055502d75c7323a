"""Turns raw behaviour events into the data set that models train on.

Whatever is left out is counted with its reason. The events of a data set are compact events
(models/compact.py), the form that serving sees: nothing is learned from a field that a worker would
not have.

Glossary: N events, U users, V catalogue items, C interests. Row 0 stands for "not in the
catalogue", so catalogue position i is row i + 1 everywhere (vocabulary, models, membership).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import numpy as np

from models.compact import ACTIONS, COMPACT, hash64
from models.errors import ModelDataError

Array = np.ndarray[Any, Any]

DAY_MS: Final = 86_400_000
UNKNOWN_ITEMS: Final = ("keep", "drop", "add")

READ: Final = np.dtype(
    [
        ("owner", np.int64),  # number of the user
        ("event", COMPACT),
        ("action", np.int64),  # number of the action's text
        ("session", np.uint64),  # hash64 of session_id; 0: none
        ("asked", bool),  # whether it is of a test file
    ]
)
"""An event that was read, with what only preparation looks at."""


@dataclass(frozen=True)
class PrepareConfig:
    """Holds what is left out of a data set; the defaults are those of the command line."""

    min_events: int = 3
    """Users with fewer are left out: one event to learn from, one to validate, one to test."""
    max_events_per_day: int = 5_000
    """A user with more events in any 24 hours is taken for a robot; 0: no limit."""
    keep_duplicates: bool = False
    """Whether to keep events equal to the user's event before in item or text, action and time.

    Actions are compared as they were written: two that count as the same here are two events."""
    unknown_items: str = "keep"
    """What to do about an item that the catalogue lacks: keep the event, drop it, add the item."""
    sort_by_time: bool = True
    """Whether events are put in order of time; otherwise the order of the file is their order."""

    def __post_init__(self) -> None:
        if self.min_events < 2:
            raise ModelDataError(
                f"min_events is {self.min_events}; a prediction needs at least 2 events a user"
            )
        if self.max_events_per_day < 0:
            raise ModelDataError(
                f"max_events_per_day is {self.max_events_per_day}; use 0 for no limit"
            )
        if self.unknown_items not in UNKNOWN_ITEMS:
            raise ModelDataError(
                f"unknown_items is {self.unknown_items!r}; use one of {', '.join(UNKNOWN_ITEMS)}"
            )


@dataclass(frozen=True)
class Catalogue:
    """Holds what is known of the items, in the order of the file: lists of V."""

    item_ids: list[str]
    titles: list[str]
    categories: list[tuple[str, ...]]


@dataclass(frozen=True)
class EventChunk:
    """Holds a piece of an event stream in log order: N events of any users."""

    users: list[str]  # [N]
    events: Array  # COMPACT [N]
    item_ids: list[str | None]  # [N]
    titles: list[str | None]  # [N]
    categories: list[tuple[str, ...]]  # [N]
    actions: list[str] = field(default_factory=list)  # [N] as written; empty: those of the events
    sessions: list[str | None] = field(default_factory=list)  # [N] ids; empty: none has one
    untimed: int = 0  # how many had no time of their own, only a place in the order
    asked: bool = False  # whether they are of a test file: asked for, and not learned


class Membership(NamedTuple):
    """Holds which interests each item belongs to, as compressed sparse rows.

    Those of the item at catalogue position i are indices[indptr[i]:indptr[i + 1]].
    """

    indptr: Array  # int64 [V + 1]
    indices: Array  # int32


@dataclass(frozen=True)
class Dataset:
    """Holds prepared events, users one after the other, and what they are about.

    The events of user u are events[user_start[u]:user_start[u + 1]].
    """

    events: Array  # COMPACT [N], sorted by (user, order)
    user_start: Array  # int64 [U + 1]
    users: list[str]  # [U]
    item_ids: list[str]  # [V]
    titles: list[str]  # [V]
    categories: list[tuple[str, ...]]  # [V]
    interests: list[str]  # [C] names
    membership: Membership  # [V] -> interests
    report: dict[str, Any] = field(default_factory=dict)  # what preparation did
    sessions: Array | None = None  # uint64 [N] of the session_id of each event, 0: none; or unknown
    asked: Array | None = None  # bool [N] whether each event is of a test file; None: there is none

    def with_interests(
        self, interests: list[str], membership: Membership, how: dict[str, Any]
    ) -> Dataset:
        """Returns the same events seen through other interests; how: goes into the report."""
        return replace(
            self,
            interests=interests,
            membership=membership,
            report={**self.report, "interests": how},
        )


def prepare(
    chunks: Iterable[EventChunk], catalogue: Catalogue | None, config: PrepareConfig | None = None
) -> Dataset:
    """Returns the data set of some events: sorted, filtered, and with a report that counts both.

    Its interests are still empty: models/data/interests.py finds them in what comes out. Without a
    catalogue the items are those of the events. Raises ModelDataError if nothing can be learned
    from what is left.
    """
    # Everything is read into columns; users and items become numbers.
    config = config or PrepareConfig()
    if catalogue is None:
        catalogue, config = Catalogue([], [], []), replace(config, unknown_items="add")
    read = _Read(catalogue, add=config.unknown_items == "add")
    for chunk in chunks:
        read.add(chunk)
    found = read.columns()
    if not len(found):
        raise ModelDataError(
            "there is not one usable event; check the files, and what was said about bad lines"
        )
    drops: list[dict[str, Any]] = []
    rows = catalogue_rows(found["event"]["key"], read.item_ids)
    if not rows.any() and read.item_ids:
        raise ModelDataError(
            f"no event is about an item of the catalogue (its ids look like {read.item_ids[0]!r}); "
            "check that both files write item_id the same way, or take the items from the events "
            "with --unknown-items add"
        )

    # What cannot be used is left out: first events about unknown items, then, in the order of each
    # user's events, duplicates, robots and users with too little left.
    unknown = int((rows == 0).sum())
    if config.unknown_items == "drop":
        reason = "item not in the catalogue"
        drops.append(_dropped(reason, found["owner"], rows == 0, "--unknown-items keep"))
        found = found[rows > 0]
    as_read = np.argsort(found["owner"], kind="stable")
    order = as_read
    if config.sort_by_time:
        order = np.lexsort((found["event"]["time_ms"], found["owner"]))
    moved = int((order != as_read).sum())
    found = _filter(found[order], config, drops, timed=not read.untimed)
    users, owner = _renumber(read.users, found["owner"])
    events = np.ascontiguousarray(found["event"])
    _check_useful(events, users, config, drops)

    # The report says what was read, what is left, and why the rest is not.
    report = {
        "events_read": read.total,
        "users_read": len(read.users),
        "events": len(events),
        "users": len(users),
        "items": len(read.item_ids),
        "items_with_events": len(np.unique(rows[rows > 0])),
        "items_added": read.added,
        "events_of_unknown_items": unknown if config.unknown_items == "keep" else 0,
        "events_without_time": read.untimed,
        "events_moved_by_time": moved,
        "first_time_ms": int(events["time_ms"].min()),
        "last_time_ms": int(events["time_ms"].max()),
        "dropped": drops,
    }
    start = np.concatenate(([0], np.cumsum(np.bincount(owner, minlength=len(users))))).astype(
        np.int64
    )
    nothing = Membership(np.zeros(len(read.item_ids) + 1, np.int64), np.zeros(0, np.int32))
    sessions = np.ascontiguousarray(found["session"]) if found["session"].any() else None
    catalogue_of_all = (read.item_ids, read.titles, read.categories)
    asked = np.ascontiguousarray(found["asked"]) if read.has_tests else None
    return Dataset(events, start, users, *catalogue_of_all, [], nothing, report, sessions, asked)


def catalogue_rows(keys: Array, item_ids: list[str]) -> Array:
    """Returns catalogue position + 1 of each compact event's key (uint64 [N]), int32 [N].

    0 stands for a key that is no item of the catalogue.
    """
    if not item_ids:
        return np.zeros(len(keys), np.int32)
    known = np.array([hash64(item_id) for item_id in item_ids], np.uint64)
    order = np.argsort(known)
    place = np.minimum(np.searchsorted(known[order], keys), len(known) - 1)
    found = known[order][place] == keys
    return np.where(found, order[place] + 1, 0).astype(np.int32)


def owners(dataset: Dataset) -> Array:
    """Returns the index of the user of each event, int64 [N]."""
    return np.repeat(np.arange(len(dataset.users)), np.diff(dataset.user_start))


def previous_times(dataset: Dataset) -> Array:
    """Returns the time of the event before each in its user's history, int64 [N]; -1: none."""
    before = np.concatenate(([-1], dataset.events["time_ms"][:-1]))
    before[dataset.user_start[:-1]] = -1
    return before


def subset(dataset: Dataset, keep: Array) -> Dataset:
    """Returns the data set with only the events of a mask, bool [N].

    Users without any event left are gone.
    """
    users, owner = _renumber(dataset.users, owners(dataset)[keep])
    start = np.concatenate(([0], np.cumsum(np.bincount(owner, minlength=len(users))))).astype(
        np.int64
    )
    sessions = None if dataset.sessions is None else dataset.sessions[keep]
    asked = None if dataset.asked is None else dataset.asked[keep]
    return replace(
        dataset,
        events=dataset.events[keep],
        user_start=start,
        users=users,
        sessions=sessions,
        asked=asked,
    )


class _Read:
    """Collects the columns of all events, with users and items as numbers."""

    def __init__(self, catalogue: Catalogue, *, add: bool) -> None:
        self.item_ids = list(catalogue.item_ids)
        self.titles = list(catalogue.titles)
        self.categories = list(catalogue.categories)
        self.total = self.untimed = self.added = 0
        self.has_tests = False  # whether some events are of a test file
        self._add = add
        self._known = set(self.item_ids)
        self._users: dict[str, int] = {}
        self._owners: list[Array] = []
        self._action_texts: dict[str, int] = {}
        self._actions: list[Array] = []
        self._sessions: list[Array] = []
        self._asked: list[Array] = []
        self._events: list[Array] = []

    @property
    def users(self) -> list[str]:
        """Returns all users, in the order in which they were met."""
        return list(self._users)

    def add(self, chunk: EventChunk) -> None:
        """Takes in the events of a chunk."""
        index = self._users
        self._owners.append(
            np.array([index.setdefault(user, len(index)) for user in chunk.users], np.int64)
        )
        self._events.append(chunk.events)
        texts = self._action_texts
        actions = chunk.actions or [ACTIONS[code] for code in chunk.events["action"].tolist()]
        self._actions.append(
            np.array([texts.setdefault(action, len(texts)) for action in actions], np.int64)
        )
        sessions = chunk.sessions or [None] * len(chunk.users)
        self._sessions.append(
            np.array([hash64(each) if each else 0 for each in sessions], np.uint64)
        )
        self._asked.append(np.full(len(chunk.users), chunk.asked))
        self.has_tests = self.has_tests or chunk.asked
        self.total += len(chunk.users)
        self.untimed += chunk.untimed
        if self._add:
            self._add_items(chunk)

    def columns(self) -> Array:
        """Returns everything taken in, READ [N]."""
        found = np.zeros(self.total, READ)
        for name, column in (
            ("owner", self._owners),
            ("event", self._events),
            ("action", self._actions),
            ("session", self._sessions),
            ("asked", self._asked),
        ):
            if column:
                found[name] = np.concatenate(column)
        return found

    def _add_items(self, chunk: EventChunk) -> None:
        for item_id, title, categories in zip(
            chunk.item_ids, chunk.titles, chunk.categories, strict=True
        ):
            if item_id and item_id not in self._known:
                self._known.add(item_id)
                self.item_ids.append(item_id)
                self.titles.append(title or item_id)
                self.categories.append(categories)
                self.added += 1


def _filter(
    found: Array, config: PrepareConfig, drops: list[dict[str, Any]], *, timed: bool
) -> Array:
    """Applies the rules that need the order; returns what is left and appends to `drops`.

    They are duplicates, then robots, then users with too little left. found: READ [N].
    """
    if not config.keep_duplicates:
        repeated = _repeats(found)
        reason = "exact duplicate of the event before it"
        drops.append(_dropped(reason, found["owner"], repeated, "--keep-duplicates"))
        found = found[~repeated]
    if config.max_events_per_day and timed:
        robot = _robots(found["owner"], found["event"]["time_ms"], config.max_events_per_day)
        reason = f"robot: over {config.max_events_per_day} events in 24 hours"
        drops.append(_dropped(reason, found["owner"], robot, "--max-rate 0"))
        found = found[~robot]
    owner = found["owner"]
    count = np.bincount(owner) if len(owner) else np.zeros(1, np.int64)
    few = count[owner] < config.min_events
    reason = f"user with fewer than {config.min_events} events"
    drops.append(
        _dropped(
            reason, owner, few, "--min-events 2" if config.min_events > 2 else "give more events"
        )
    )
    kept: Array = found[~few]
    return kept


def _repeats(found: Array) -> Array:
    """Returns which events, READ [N], repeat another of their user, bool [N].

    An event repeats the one just before it if item or text, action, time and event_id are equal, or
    any earlier one that carries the same event_id. The action is its text: two that a model does
    not tell apart are two things that happened. Without an id only neighbours are compared: where
    times are coarse (minutes, or the start of a session) going A, B, A is behaviour and no copy.
    """
    owner, events, actions = found["owner"], found["event"], found["action"]
    same = np.zeros(len(events), bool)
    equal = (owner[1:] == owner[:-1]) & (actions[1:] == actions[:-1])
    for name in ("key", "time_ms", "event_id"):
        equal = equal & (events[name][1:] == events[name][:-1])
    same[1:] = equal
    with_id = np.flatnonzero(events["event_id"] != 0)
    ids = with_id[np.lexsort((events["event_id"][with_id], owner[with_id]))]
    equal = (owner[ids][1:] == owner[ids][:-1]) & (
        events["event_id"][ids][1:] == events["event_id"][ids][:-1]
    )
    same[ids[1:][equal]] = True
    return same


def _robots(owner: Array, time_ms: Array, most: int) -> Array:
    """Returns the events of users who once had more than `most` events in 24 hours, bool [N].

    Events are sorted by user and time.
    """
    robot = np.zeros(int(owner.max(initial=0)) + 1, bool)
    if len(owner) > most:
        close = (owner[most:] == owner[:-most]) & (time_ms[most:] - time_ms[:-most] < DAY_MS)
        robot[owner[most:][close]] = True
    return robot[owner]


def _renumber(users: list[str], owner: Array) -> tuple[list[str], Array]:
    """Returns the users that still have events, and the user of each event by the new numbers."""
    left, numbers = np.unique(owner, return_inverse=True)
    return [users[each] for each in left.tolist()], numbers.astype(np.int64)


def _dropped(reason: str, owner: Array, mask: Array, keep_with: str) -> dict[str, Any]:
    """Returns a row of the report: what a rule left out, and the option that keeps it."""
    return {
        "reason": reason,
        "events": int(mask.sum()),
        "users": len(np.unique(owner[mask])),
        "keep_with": keep_with,
    }


def _check_useful(
    events: Array, users: list[str], config: PrepareConfig, drops: list[dict[str, Any]]
) -> None:
    """Raises ModelDataError if no user, or only one item, is left."""
    if not users:
        causes = "; ".join(
            f"{each['reason']}: {each['events']} events" for each in drops if each["events"]
        )
        raise ModelDataError(
            f"no user has {config.min_events} events or more left ({causes}); give a longer log, "
            "or lower --min-events"
        )
    if len(np.unique(events["key"])) < 2:
        raise ModelDataError(
            "all events are about one and the same item, and nothing is left to predict; give "
            "events about two items or more"
        )
