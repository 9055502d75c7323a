"""Holds what a run leaves behind, as plain data: the input of every invariant.

Times are seconds of one monotonic clock (the host's).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any
from zlib import crc32

import orjson

from stream.audit.changelog import RECORD, Held, held_in
from stream.audit.documents import Shape
from stream.audit.event_rules import Limits
from stream.audit.replay import Replay

Place = tuple[int, int]
"""Partition and offset."""

UserPlace = tuple[int, bytes]
"""Partition and user."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record of any topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int = 0
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Sent:
    """Is a line of the journal: one event, or bad record, that the load generator tried to send.

    outcome: `ok` (acknowledged, then place is where), `fail` (certainly not in the topic), `info`
    (nobody knows).
    """

    event_id: str
    user: str
    seq: int  # of this user, without gaps
    intended_s: float
    actual_s: float
    outcome: str
    place: Place
    fingerprint: str  # of the payload


@dataclass(frozen=True, slots=True)
class Production:
    """Is a batch of states that a worker wrote, read in a generation of the group.

    What it never saw acknowledged is left out; T4 sees it.
    """

    worker: str
    partition: int
    generation: int
    offset: int  # in the changelog, of its first record


@dataclass(frozen=True, slots=True)
class Poll:
    """What the group had committed, and where the partition ended, at one moment."""

    at_s: float
    partition: int
    committed: int
    end: int


@dataclass(frozen=True, slots=True)
class Exit:
    """How a worker ended, and which codes the scenario allows for it."""

    worker: str
    code: int
    planned: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A user's state after one more applied event, or a control."""

    offset: int
    count: int
    digest: int
    gone: bool = False  # a control left nothing of the user


@dataclass
class History:
    """All of one run. Lists of records are in log order of each partition."""

    topic: str
    source: list[Record] = field(default_factory=list)
    changelog: list[Record] = field(default_factory=list)
    updates: list[Record] = field(default_factory=list)
    letters: list[Record] = field(default_factory=list)
    profiles: list[Record] = field(default_factory=list)
    committed: dict[int, int] = field(default_factory=dict)
    journal: list[Sent] = field(default_factory=list)
    productions: list[Production] = field(default_factory=list)
    polls: list[Poll] = field(default_factory=list)
    disturbed: list[tuple[float, float]] = field(
        default_factory=list
    )  # from a fault until the workers are ready again
    tables: dict[str, dict[UserPlace, bytes]] = field(
        default_factory=dict
    )  # of workers that stopped last: state records
    logs: dict[str, str] = field(default_factory=dict)
    exits: list[Exit] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)
    shape: Shape | None = None  # of the events; None: the contract's
    epoch_s: float | None = None  # time.time() when the monotonic clock was 0, if known
    operator_reset: bool = False  # group offsets were set by hand
    # workers have instance ids, and a process may take the place of another within a generation
    static_members: bool = False
    expected: tuple[str, ...] = ()  # log lines, as regular expressions, that the fault brings about

    @cached_property
    def reference(self) -> Reference:
        """The source topic, replayed one event at a time."""
        reference = Reference(self.limits, self.shape)
        reference.extend(self.source)
        return reference

    @cached_property
    def states(self) -> dict[UserPlace, Held]:
        """Of each user the changelog record with the highest source offset."""
        states = States()
        states.extend(self.changelog)
        return states.best

    @property
    def parsed_updates(self) -> Iterator[tuple[Record, dict[str, Any]]]:
        """Yields updates with their JSON, parsed anew each time.

        Of a million they would not fit in memory.
        """
        return (
            (record, orjson.loads(record.value))
            for record in self.updates
            if record.value is not None
        )


class States:
    """Holds of each user the changelog record with the highest source offset.

    It grows with the changelog.
    """

    def __init__(self) -> None:
        self.best: dict[UserPlace, Held] = {}
        self._seen = 0

    def extend(self, changelog: list[Record]) -> None:
        """What is new at the end of a growing changelog."""
        for record in changelog[self._seen :]:
            found = held(record)
            if found is None or record.key is None:
                continue
            place = record.partition, record.key
            if place not in self.best or found.offset >= self.best[place].offset:
                self.best[place] = found
        self._seen = len(changelog)


class Reference:
    """Holds what the states must be according to the source topic.

    It shares no code with the worker (stream/audit/replay.py).
    """

    def __init__(self, limits: Limits, shape: Shape | None = None) -> None:
        self.replay = Replay(limits, shape=shape)
        self.marks: dict[UserPlace, list[Mark]] = {}
        self.applied: dict[Place, bytes] = {}  # to the user
        self.counts: dict[Place, int] = {}  # events that are applied, of records with several
        # nothing of them is applied: repeated event ids, late events, suppressed ones
        self.filtered: set[Place] = set()
        self.left_out: set[Place] = set()  # they hold no event: left out on purpose, or bad by part
        self.controls: set[Place] = set()
        # the offset up to which nothing of a user is left: erased, or the silence was too long
        self.blanked: dict[UserPlace, int] = {}
        self.at: dict[tuple[int, bytes, int], Mark] = {}
        self.failing: dict[
            str, str
        ] = {}  # items on which the model fails, to the way it does: their events are dead letters
        self._seen = 0

    @property
    def invalid(self) -> set[Place]:
        """Bad records."""
        return {(each[0], each[1]) for each in self.replay.invalid if len(each) == 2}

    @property
    def documents(self) -> dict[tuple[int, ...], bytes]:
        """Bad documents of records that hold several, with their bytes."""
        return {
            place: value for place, (_, value) in self.replay.invalid.items() if len(place) == 3
        }

    def extend(self, source: list[Record]) -> None:
        """Replay what is new at the end of a growing source."""
        for record in source[self._seen :]:
            self._add(record)
        self._seen = len(source)

    def _add(self, record: Record) -> None:
        origin = next(
            (value.decode() for name, value in record.headers if name == "is.origin" and value),
            None,
        )
        if any(f'"item_id":"{item}"'.encode() in (record.value or b"") for item in self.failing):
            self.replay.invalid[record.partition, record.offset] = record.key, record.value
            return
        before = self.replay.applied, self._dropped, self.replay.controls
        self.replay.add(
            record.partition,
            record.offset,
            record.key,
            record.value,
            record.timestamp_ms,
            origin,
            record.headers,
        )
        place = record.partition, record.offset
        control, count = self.replay.controls > before[2], self.replay.applied - before[0]
        if count > 1:
            self.counts[place] = count
        if self._dropped > before[1] and not count:
            self.filtered.add(place)
        elif not (control or count or place in self.replay.invalid):
            self.left_out.add(place)
        if (control or self.replay.applied > before[0]) and record.key is not None:
            user = record.partition, record.key
            state = self.replay.users[user]
            mark = Mark(state.offset, state.count, state.digest, gone=not state.count)
            self.marks.setdefault(user, []).append(mark)
            self.at[record.partition, record.key, record.offset] = mark
            if control:
                self.controls.add(place)
            else:
                self.applied[place] = record.key
            if mark.gone:
                self.blanked[user] = record.offset
            elif mark.count == count and not control:
                self.blanked[user] = record.offset - 1

    @property
    def _dropped(self) -> int:
        return self.replay.repeated + self.replay.erased + self.replay.suppressed


def held(record: Record) -> Held | None:
    """The header of a state record; None if it is no sound one."""
    value = record.value
    if (
        value is None
        or len(value) < RECORD.size + 4
        or crc32(value[:-4]) != int.from_bytes(value[-4:], "little")
    ):
        return None
    return held_in(record.partition, value)


def fingerprint(value: bytes | None) -> str:
    """How the journal names a payload."""
    return sha256(value or b"").hexdigest()[:16]
