"""Says what a format is: it reads one document of a topic as events of the contract.

A record's value is one document, or several (an array, or JSON objects after each other), which
`documents` takes apart. A document is read wholly or refused wholly. It may be several events (an
order of three products is three purchases); these share the record's offset and are applied in
their order, all or none. Each has an event_id of its own, `<id>#<index>`, where the document has an
id; an event without one is told apart by what the pipeline adds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from stream.contracts.event import Event
from stream.contracts.faults import BadEvent

MAX_EVENTS: Final = 1_000
"""Of one record; a record that holds more is refused as too large."""

CONSENT: Final = "consent"
FILTER: Final = "filter"
NO_BEHAVIOUR: Final = "no-behaviour"
DROPS: Final = (
    CONSENT,  # the user denied a purpose that this needs
    FILTER,  # a filter of the mapping left it out
    NO_BEHAVIOUR,  # it says nothing that a user did with an item, such as an `identify` call
)
"""Closed list of why something was dropped on purpose: labels of a metric. Append only."""

TOMBSTONES: Final = ("debezium",)
"""Formats whose topics hold a null value behind each deletion, which is no fault."""

Headers = Iterable[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class BadDocument:
    """Holds one document of several that cannot be read; its neighbours can."""

    place: int  # among the documents of the record, from 0
    value: bytes  # its own bytes
    fault: BadEvent


class Reading(msgspec.Struct, frozen=True):
    """Holds what one record's value says: every document of it is in one of the three."""

    events: Sequence[Event] = ()  # in their order; `time` in Unix milliseconds
    dropped: Mapping[str, int] = {}  # by one of DROPS: documents, or events of one
    bad: Sequence[BadDocument] = ()  # of several documents; a document alone is raised


class EventFormat(Protocol):
    """Reads documents of one shape; it holds no state, and names which contract fields they give.

    The events have the fields of the contract as the document means them. Limits of size, the key
    of the record, and times in the future are judged behind it, by the contract's own rules.
    """

    @property
    def name(self) -> str:
        """Returns its name on the command line."""

    @property
    def constant_bytes(self) -> int:
        """Returns the bytes of all texts of an event that come from no document."""

    def read(self, value: bytes, headers: Headers, received_ms: int | None) -> Reading:
        """Returns the events of one document; raises BadEvent naming the field and the fix.

        received_ms: when the broker took the record, None where it is not known; a document's own
        time goes before it.
        """

    def users_named(self, value: bytes, headers: Headers) -> Collection[str]:
        """Returns the ids of all users whom one document names, read as events or not.

        It is asked when a user's data is searched for, so what is dropped or refused counts as
        well, and so does each identity of a user, though events go by one of them. It never raises:
        of a document that is damaged it returns what can be found in it.
        """
