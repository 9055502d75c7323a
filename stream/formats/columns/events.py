"""Makes columns of events of the contract, as the contract itself and the readers of schemas do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stream.contracts.event import Event
from stream.contracts.times import parse_time, parse_times
from stream.formats.columns.event_columns import EventColumns
from stream.formats.columns.fields import read_each

NO_EVENT: Final = Event("", "", 0)
"""Stands where a record is no event."""


def columns_of(events: Sequence[Event], odd: set[int]) -> EventColumns:
    """Returns the columns of N events."""
    return EventColumns(
        users=[event.user_id for event in events],
        actions=[event.action for event in events],
        times_ms=_moments([event.time for event in events], odd),
        event_ids=[event.event_id or "" for event in events],
        item_ids=[event.item_id or "" for event in events],
        titles=[event.title or "" for event in events],
        queries=[event.query or "" for event in events],
        others=(
            [event.session_id or "" for event in events],
            ["".join(event.categories) if event.categories else "" for event in events],
        ),
    )


def _moments(times: Sequence[int | str], odd: set[int]) -> Sequence[int]:
    """Returns Unix milliseconds, 0 for what is no moment."""
    texts = [time for time in times if isinstance(time, str)]
    if not texts:
        return [time for time in times if isinstance(time, int)]
    found = parse_times(texts) if len(texts) == len(times) else None
    return read_each(_moment, times, 0, odd) if found is None else found


def _moment(time: int | str) -> int:
    return parse_time(time) if isinstance(time, str) else time
