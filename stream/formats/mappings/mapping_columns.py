"""Reads many documents as a mapping file says, a column a field, as mapping_format.py reads one.

A column of a usual type is made in one go; another one by the very function that picks the field
out of one document, so both say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from stream.contracts.times import FIRST_TIME_MS, MAX_TIME_MS, parse_times
from stream.formats.columns.event_columns import EventColumns
from stream.formats.columns.fields import NONE, first_of, known, read_each
from stream.formats.event_format import NO_BEHAVIOUR
from stream.formats.mappings.mapping_file import DROP, MappingSpec, Source
from stream.formats.mappings.paths import Extractor, Row
from stream.formats.mappings.picks import dropper_of, pick_one
from stream.formats.values import RFC_3339, UNITS

Column = Sequence[Any]

_IDS: Final = ("user_id", "event_id")
_NUMBERS: Final = ("dwell_ms", "value")
_MOST: Final = 1e30
"""A number up to this one is finite in any unit."""


class MappingColumns:
    """Reads columns of the documents that a mapping describes."""

    def __init__(self, spec: MappingSpec, extractor: Extractor) -> None:
        self._fields, self._extractor = spec.fields, extractor
        self._actions = dict(spec.actions)
        self._drops_unlisted = spec.unlisted_actions == DROP
        self._drops = [(each.path.text, dropper_of(each, 0)) for each in spec.drops]

    def read(
        self, values: Sequence[bytes], received_ms: Sequence[int], odd: set[int]
    ) -> EventColumns:
        """Returns the columns of N documents."""
        columns = self._extractor.columns(values, odd)
        if columns is None:
            odd.update(range(len(values)))
            columns = [[None] * len(values)] * len(self._extractor.slots)
        by_path = dict(zip(self._extractor.slots, columns, strict=True))

        def field(name: str) -> Column:
            sources = self._fields.get(name, ())
            found = [_column(name, each, by_path, received_ms, odd) for each in sources]
            return first_of(found or [[""] * len(values)])

        dropped = self._dropped(by_path)
        names: Sequence[str] = field("action")
        actions = [self._actions.get(name, name) for name in names]
        if self._drops_unlisted:
            for place, name in enumerate(names):
                if name and name not in self._actions:
                    dropped.setdefault(place, NO_BEHAVIOUR)
        for name in _NUMBERS:
            field(name)  # it is in no row, and may be a fault
        return EventColumns(
            users=field("user_id"),
            actions=actions,
            times_ms=field("time"),
            event_ids=field("event_id"),
            item_ids=field("item_id"),
            titles=field("title"),
            queries=field("query"),
            others=(field("session_id"), field("categories")),
            dropped=dropped,
        )

    def _dropped(self, by_path: Mapping[str, Column]) -> dict[int, str]:
        """Returns why documents are left out, by place; the first reason counts."""
        dropped: dict[int, str] = {}
        for path, drop in self._drops:
            column = by_path[path]
            if not _fires(drop, column):
                continue
            for place, value in enumerate(column):
                if (reason := drop((value,))) is not None:
                    dropped.setdefault(place, reason)
        return dropped


def _fires(drop: Callable[[Row], str | None], column: Column) -> bool:
    """Returns whether any value of a column is a reason; that costs less than asking for each."""
    try:
        distinct = set(zip(map(type, column), column, strict=True))
    except TypeError:  # of objects and lists nobody knows
        return True
    return any(drop((value,)) is not None for _, value in distinct)


def _column(
    field: str,
    source: Source,
    by_path: Mapping[str, Column],
    received_ms: Sequence[int],
    odd: set[int],
) -> Column:
    """Returns the column of a field from one of its sources: texts, or numbers (0: not given)."""
    if source.received:
        return received_ms
    if source.path is None:
        return [_plain(field, source.constant)] * len(received_ms)
    column = by_path[source.path.text]
    kinds = set(map(type, column))
    nothing: Any = 0 if field == "time" or field in _NUMBERS else ""
    if kinds == {NONE}:
        return [nothing] * len(column)
    if field == "time":
        found = _moments(column, kinds, source)
    elif field in _NUMBERS:
        found = column if kinds <= {int, float} and _is_usual(column) else None
    elif kinds != {str}:
        found = None
    else:
        found = known(column) if field in _IDS else column
    if found is None:
        pick = pick_one(field, source, {source.path.text: 0})
        found = read_each(lambda value: _plain(field, pick((value,), None)), column, nothing, odd)
        if field == "dwell_ms":
            odd.update(place for place, value in enumerate(found) if value < 0)
    return found


def _plain(field: str, value: Any) -> Any:
    """Returns what a column holds for a value of a field."""
    if field == "categories":
        return "".join([value] if isinstance(value, str) else value or ())
    if field == "time" or field in _NUMBERS:
        return value
    return value or ""


def _moments(column: Column, kinds: set[type], source: Source) -> Column | None:
    """Returns Unix milliseconds, None where not all values are plausible and of one usual type."""
    found: Column | None = None
    if source.unit in ("", *UNITS):
        factor, divisor = UNITS[source.unit or "ms"]
        if kinds == {int}:
            found = column
            if factor != divisor:
                found = [value * factor // divisor for value in column]
        elif kinds == {float} and source.unit and _is_usual(column):
            found = [round(value * factor / divisor) for value in column]
    if kinds == {str} and source.unit in ("", RFC_3339):
        found = parse_times(column)
    if found is None or min(found) < FIRST_TIME_MS or max(found) > MAX_TIME_MS:
        return None
    return found


def _is_usual(column: Column) -> bool:
    """Returns whether no number of a column is negative, and each is finite in any unit."""
    return bool(min(column) >= 0 and max(column) <= _MOST)
