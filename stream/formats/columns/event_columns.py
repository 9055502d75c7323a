"""Holds what many documents say, a column a field, as a format reads it and before it is judged.

Glossary: N documents, one event each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from stream.formats.event_format import EventFormat


@dataclass(slots=True)
class EventColumns:
    """Holds N events; a text that is not given is empty, a time that cannot be told is 0.

    Rows that are in `odd` or `dropped` may hold anything of these types.
    """

    users: Sequence[str]
    actions: Sequence[str]
    times_ms: Sequence[int]  # Unix milliseconds, of any size
    event_ids: Sequence[str] = ()  # (), of this and the next three: none is given
    item_ids: Sequence[str] = ()
    titles: Sequence[str] = ()
    queries: Sequence[str] = ()
    others: tuple[Sequence[str], ...] = ()  # texts that are in no row, but may be too long
    dropped: dict[int, str] = field(default_factory=dict)  # by place: one of DROPS

    def __post_init__(self) -> None:
        """Fills columns that nobody gave."""
        nothing = [""] * len(self.users)
        self.event_ids = self.event_ids or nothing
        self.item_ids = self.item_ids or nothing
        self.titles = self.titles or nothing
        self.queries = self.queries or nothing


@runtime_checkable
class ColumnFormat(EventFormat, Protocol):
    """Is a format that reads many documents at once."""

    def columns(
        self, values: Sequence[bytes], received_ms: Sequence[int], odd: set[int]
    ) -> EventColumns:
        """Returns the columns of N values, and adds to `odd` the places that it does not read.

        It reads one document that is one event, or that is dropped, and says of it what `read`
        does. All else is odd, whatever it is: that costs time and nothing more. It raises nothing.

        received_ms: when the broker took each record, implausible where that is not known.
        """
