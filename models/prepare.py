"""From raw behaviour events to the data set that models train on; whatever is left out is counted with its reason.

Glossary: N events, U users, V catalogue items, C interests. Row 0 stands for "not in the catalogue", so catalogue
position i is row i + 1 everywhere (vocabulary, models, membership).

The events of a data set are compact events (models/compact.py), the form that serving sees: nothing is learned from a
field that a worker would not have.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import numpy as np

from models.compact import COMPACT, hash64
from models.errors import ModelDataError

Array = np.ndarray[Any, Any]

DAY_MS: Final = 86_400_000
UNKNOWN_ITEMS: Final = ("keep", "drop", "add")


@dataclass(frozen=True)
class PrepareConfig:
    """What is left out. The defaults are those of the command line."""

    min_events: int = 3  # users with fewer are left out: one to learn from, one to validate, one to test
    max_events_per_day: int = 5_000  # a user with more in any 24 hours is taken for a robot; 0: no limit
    keep_duplicates: bool = False  # keep events equal to the user's event before in item or text, action and time
    unknown_items: str = "keep"  # items missing in the catalogue: keep the event, drop it, or add the item
    sort_by_time: bool = True  # False: the order of the file is the order of events

    def __post_init__(self) -> None:
        if self.min_events < 2:
            raise ModelDataError(f"min_events is {self.min_events}; a prediction needs at least 2 events a user")
        if self.max_events_per_day < 0:
            raise ModelDataError(f"max_events_per_day is {self.max_events_per_day}; use 0 for no limit")
        if self.unknown_items not in UNKNOWN_ITEMS:
            raise ModelDataError(f"unknown_items is {self.unknown_items!r}; use one of {', '.join(UNKNOWN_ITEMS)}")


@dataclass(frozen=True)
class Catalogue:
    """What is known of the items, in the order of the file: lists of V."""

    item_ids: list[str]
    titles: list[str]
    categories: list[tuple[str, ...]]


@dataclass(frozen=True)
class EventChunk:
    """A piece of an event stream in log order: N events of any users."""

    users: list[str]  # [N]
    events: Array  # COMPACT [N]
    item_ids: list[str | None]  # [N]
    titles: list[str | None]  # [N]
    categories: list[tuple[str, ...]]  # [N]
    untimed: int = 0  # how many had no time of their own, only a place in the order


class Membership(NamedTuple):
    """Which interests an item belongs to, as compressed rows: those of catalogue row i are indices[indptr[i]:indptr[i + 1]]."""

    indptr: Array  # int64 [V + 1]
    indices: Array  # int32


@dataclass(frozen=True)
class Dataset:
    """Prepared events, users one after the other, and what they are about."""

    events: Array  # COMPACT [N], sorted by (user, order)
    user_start: Array  # int64 [U + 1]: events of user u are events[user_start[u]:user_start[u + 1]]
    users: list[str]  # [U]
    item_ids: list[str]  # [V]
    titles: list[str]  # [V]
    categories: list[tuple[str, ...]]  # [V]
    interests: list[str]  # [C] names
    membership: Membership  # [V] -> interests
    report: dict[str, Any] = field(default_factory=dict)  # what preparation did

    def with_interests(self, interests: list[str], membership: Membership, how: dict[str, Any]) -> Dataset:
        """The same events seen through other interests."""
        return replace(self, interests=interests, membership=membership, report={**self.report, "interests": how})


def prepare(chunks: Iterable[EventChunk], catalogue: Catalogue | None, config: PrepareConfig | None = None) -> Dataset:
    """Sort, filter and count. The interests are still empty: models/interests.py finds them in what comes out.

    Without a catalogue the items are those of the events. Raises ModelDataError if nothing can be learned from the rest.
    """
    config = config or PrepareConfig()
    if catalogue is None:
        catalogue, config = Catalogue([], [], []), replace(config, unknown_items="add")
    read = _Read(catalogue, add=config.unknown_items == "add")
    for chunk in chunks:
        read.add(chunk)
    owner, events = read.columns()
    if not len(events):
        raise ModelDataError("there is not one usable event; check the files, and what was said about bad lines")
    drops: list[dict[str, Any]] = []
    rows = catalogue_rows(events["key"], read.item_ids)
    if not rows.any() and read.item_ids:
        raise ModelDataError(
            f"no event is about an item of the catalogue (its ids look like {read.item_ids[0]!r}); check that both "
            "files write item_id the same way, or take the items from the events with --unknown-items add"
        )
    unknown = int((rows == 0).sum())
    keep = np.ones(len(events), bool)
    if config.unknown_items == "drop":
        keep = rows > 0
        drops.append(_dropped("item not in the catalogue", owner, ~keep, "--unknown-items keep"))
    owner, events = owner[keep], events[keep]
    order = np.lexsort((events["time_ms"], owner)) if config.sort_by_time else np.argsort(owner, kind="stable")
    moved = int((order != np.argsort(owner, kind="stable")).sum())
    owner, events = owner[order], events[order]
    owner, events = _filter(owner, events, config, drops, timed=not read.untimed)
    users, owner = _renumber(read.users, owner)
    _ensure_useful(events, users, config, drops)
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
    start = np.concatenate(([0], np.cumsum(np.bincount(owner, minlength=len(users))))).astype(np.int64)
    nothing = Membership(np.zeros(len(read.item_ids) + 1, np.int64), np.zeros(0, np.int32))
    return Dataset(events, start, users, read.item_ids, read.titles, read.categories, [], nothing, report)


def catalogue_rows(keys: Array, item_ids: list[str]) -> Array:
    """int32 [N]: catalogue position + 1 of each compact event's key (uint64 [N]); 0 if it is no item of the catalogue."""
    if not item_ids:
        return np.zeros(len(keys), np.int32)
    known = np.array([hash64(item_id) for item_id in item_ids], np.uint64)
    order = np.argsort(known)
    place = np.minimum(np.searchsorted(known[order], keys), len(known) - 1)
    found = known[order][place] == keys
    return np.where(found, order[place] + 1, 0).astype(np.int32)


def owners(dataset: Dataset) -> Array:
    """int64 [N]: index of the user of each event."""
    return np.repeat(np.arange(len(dataset.users)), np.diff(dataset.user_start))


def previous_times(dataset: Dataset) -> Array:
    """int64 [N]: time of the event before each in its user's history, -1 where there is none."""
    before = np.concatenate(([-1], dataset.events["time_ms"][:-1]))
    before[dataset.user_start[:-1]] = -1
    return before


def subset(dataset: Dataset, keep: Array) -> Dataset:
    """The data set with only the events of a mask, bool [N]; users without any event left are gone."""
    users, owner = _renumber(dataset.users, owners(dataset)[keep])
    start = np.concatenate(([0], np.cumsum(np.bincount(owner, minlength=len(users))))).astype(np.int64)
    return replace(dataset, events=dataset.events[keep], user_start=start, users=users)


class _Read:
    """Grows the columns of all events; knows users and items by number."""

    def __init__(self, catalogue: Catalogue, *, add: bool) -> None:
        self.item_ids = list(catalogue.item_ids)
        self.titles = list(catalogue.titles)
        self.categories = list(catalogue.categories)
        self.total = self.untimed = self.added = 0
        self._add = add
        self._known = set(self.item_ids)
        self._users: dict[str, int] = {}
        self._owners: list[Array] = []
        self._events: list[Array] = []

    @property
    def users(self) -> list[str]:
        return list(self._users)

    def add(self, chunk: EventChunk) -> None:
        index = self._users
        self._owners.append(np.array([index.setdefault(user, len(index)) for user in chunk.users], np.int64))
        self._events.append(chunk.events)
        self.total += len(chunk.users)
        self.untimed += chunk.untimed
        if self._add:
            self._add_items(chunk)

    def columns(self) -> tuple[Array, Array]:
        if not self._events:
            return np.zeros(0, np.int64), np.zeros(0, COMPACT)
        return np.concatenate(self._owners), np.concatenate(self._events)

    def _add_items(self, chunk: EventChunk) -> None:
        for item_id, title, categories in zip(chunk.item_ids, chunk.titles, chunk.categories, strict=True):
            if item_id and item_id not in self._known:
                self._known.add(item_id)
                self.item_ids.append(item_id)
                self.titles.append(title or item_id)
                self.categories.append(categories)
                self.added += 1


def _filter(
    owner: Array, events: Array, config: PrepareConfig, drops: list[dict[str, Any]], *, timed: bool
) -> tuple[Array, Array]:
    """Rules that need the order: duplicates, robots, then users with too little left."""
    if not config.keep_duplicates:
        repeated = _repeats(owner, events)
        drops.append(
            _dropped(
                "exact duplicate of the event before it",
                owner,
                repeated,
                "--keep-duplicates",
            )
        )
        owner, events = owner[~repeated], events[~repeated]
    if config.max_events_per_day and timed:
        robot = _robots(owner, events["time_ms"], config.max_events_per_day)
        reason = f"robot: over {config.max_events_per_day} events in 24 hours"
        drops.append(_dropped(reason, owner, robot, "--max-rate 0"))
        owner, events = owner[~robot], events[~robot]
    count = np.bincount(owner) if len(owner) else np.zeros(1, np.int64)
    few = count[owner] < config.min_events
    reason = f"user with fewer than {config.min_events} events"
    drops.append(_dropped(reason, owner, few, "--min-events 2" if config.min_events > 2 else "give more events"))
    return owner[~few], events[~few]


def _repeats(owner: Array, events: Array) -> Array:
    """Bool [N]: events that say the same as the user's event just before, at the same time; or carry a seen event_id.

    Only neighbours: where times are coarse (minutes, or the start of a session) going A, B, A is behaviour, not a copy.
    """
    same = np.zeros(len(events), bool)
    equal = owner[1:] == owner[:-1]
    for name in ("key", "action", "time_ms", "event_id"):
        equal = equal & (events[name][1:] == events[name][:-1])
    same[1:] = equal
    with_id = np.flatnonzero(events["event_id"] != 0)
    ids = with_id[np.lexsort((events["event_id"][with_id], owner[with_id]))]
    equal = (owner[ids][1:] == owner[ids][:-1]) & (events["event_id"][ids][1:] == events["event_id"][ids][:-1])
    same[ids[1:][equal]] = True
    return same


def _robots(owner: Array, time_ms: Array, most: int) -> Array:
    """Bool [N]: events of users who once had more than `most` events in 24 hours; events sorted by user and time."""
    robot = np.zeros(int(owner.max(initial=0)) + 1, bool)
    if len(owner) > most:
        close = (owner[most:] == owner[:-most]) & (time_ms[most:] - time_ms[:-most] < DAY_MS)
        robot[owner[most:][close]] = True
    return robot[owner]


def _renumber(users: list[str], owner: Array) -> tuple[list[str], Array]:
    """Users that still have events, and the owners by their new numbers."""
    left, numbers = np.unique(owner, return_inverse=True)
    return [users[each] for each in left.tolist()], numbers.astype(np.int64)


def _dropped(reason: str, owner: Array, mask: Array, keep_with: str) -> dict[str, Any]:
    return {
        "reason": reason,
        "events": int(mask.sum()),
        "users": len(np.unique(owner[mask])),
        "keep_with": keep_with,
    }


def _ensure_useful(events: Array, users: list[str], config: PrepareConfig, drops: list[dict[str, Any]]) -> None:
    if not users:
        causes = "; ".join(f"{each['reason']}: {each['events']} events" for each in drops if each["events"])
        raise ModelDataError(
            f"no user has {config.min_events} events or more left ({causes}); give a longer log, or lower --min-events"
        )
    if len(np.unique(events["key"])) < 2:
        raise ModelDataError(
            "all events are about one and the same item, and nothing is left to predict; give events about two items or more"
        )
