"""Tries a format on sample records: what each of them becomes, or why it becomes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from models.compact import ACTION_CODES
from stream.contracts.event import Event, Limits
from stream.contracts.faults import BadEvent
from stream.formats.event_format import EventFormat
from stream.formats.records import read_record


@dataclass(slots=True)
class Tried:
    """Holds what one record became."""

    place: str
    events: Sequence[Event] = ()
    dropped: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)  # of the record, or of documents in it


@dataclass(slots=True)
class Trial:
    """Holds what a sample became, and what a person should know of it."""

    tried: list[Tried]
    other_actions: Counter[str] = field(default_factory=Counter)
    other_keys: int = 0  # records whose key is not the user of their events

    @property
    def events(self) -> int:
        """Returns how many events there are."""
        return sum(len(each.events) for each in self.tried)

    @property
    def dropped(self) -> int:
        """Returns how many events, or documents, are left out on purpose."""
        return sum(sum(each.dropped.values()) for each in self.tried)

    @property
    def bad(self) -> int:
        """Returns how many dead letters there would be."""
        return sum(len(each.faults) for each in self.tried)


def tried_on(
    records: Sequence[Any], event_format: EventFormat, limits: Limits, now_ms: int
) -> Trial:
    """Returns what records become; each has a place, key, value, headers, offset and timestamp."""
    trial = Trial([])
    for record in records:
        tried = Tried(record.place)
        trial.tried.append(tried)
        try:
            reading = read_record(record, event_format, limits, now_ms, keyed=False)
        except BadEvent as fault:
            tried.faults.append(f"{fault.reason}: {fault}")
            continue
        tried.events, tried.dropped = reading.events, dict(reading.dropped)
        tried.faults += (f"{bad.fault.reason}: {bad.fault}" for bad in reading.bad)
        trial.other_actions.update(
            event.action for event in reading.events if not ACTION_CODES[event.action]
        )
        users = {event.user_id.encode() for event in reading.events}
        trial.other_keys += bool(users and record.key is not None and users != {record.key})
    return trial
