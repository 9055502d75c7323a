"""Picks the fields of an event, and why it is left out, from the values of a document's paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Final

from stream.contracts.faults import BadEvent, shown
from stream.contracts.times import FIRST_TIME_MS, MAX_TIME_MS, parse_time, read_number
from stream.formats.decoding import LONGEST_NOT_GIVEN, NOT_GIVEN
from stream.formats.mappings.mapping_file import Drop, Source
from stream.formats.mappings.paths import Row
from stream.formats.values import UNITS, moment_of, number_of, text_of, texts_of

Pick = Callable[[Row, int | None], Any]
"""Returns the value of a field from the values of a document; None if it is not given."""

_TEXTS: Final = ("user_id", "action", "item_id", "title", "query", "event_id", "session_id")


def pick_of(field: str, sources: Sequence[Source], slots: Mapping[str, int]) -> Pick:
    """Returns what picks the value of a field."""
    picks = [pick_one(field, each, slots) for each in sources]
    if len(picks) == 1:
        return picks[0]

    def first_given(row: Row, received_ms: int | None) -> Any:
        for pick in picks:
            if (value := pick(row, received_ms)) is not None:
                return value
        return None

    return first_given


def pick_one(field: str, source: Source, slots: Mapping[str, int]) -> Pick:
    where, constant = source.where, source.constant
    if source.received:
        return lambda row, received_ms: received_ms
    if source.path is None:
        if isinstance(constant, list):
            return lambda row, received_ms: list(constant)
        return lambda row, received_ms: constant
    slot = slots[source.path.text]
    if field in ("user_id", "event_id"):
        return _id_at(slot, where)
    if field in _TEXTS:
        return _text_at(slot, where)
    if field == "categories":
        return lambda row, received_ms: _categories(row[slot], source.split, where)
    if field == "time":
        return _moment_at(slot, source)
    factor, divisor = UNITS[source.unit or "ms"]

    def number(row: Row, received_ms: int | None) -> float | None:
        value = row[slot]
        if type(value) is float and isfinite(scaled := value * factor / divisor):
            return scaled
        found = number_of(row[slot], where)
        return None if found is None else number_of(found * factor / divisor, where)

    return number


def _text_at(slot: int, where: str) -> Pick:
    def text(row: Row, received_ms: int | None) -> str | None:
        value = row[slot]
        return value if type(value) is str and value else text_of(value, where)

    return text


def _id_at(slot: int, where: str) -> Pick:
    """Returns what picks an id that is none of the words programs write where they know none.

    Else all whose id was lost would be one user, or one event.
    """

    def known(row: Row, received_ms: int | None) -> str | None:
        value: str | None = row[slot]
        if type(value) is not str:
            value = text_of(value, where)
            if value is None:
                return None
        if len(value) > LONGEST_NOT_GIVEN:
            return value
        return value if value and value.lower() not in NOT_GIVEN else None

    return known


def _moment_at(slot: int, source: Source) -> Pick:
    factor, divisor = UNITS.get(source.unit or "ms", (0, 1))

    def moment(row: Row, received_ms: int | None) -> int | None:
        value, time_ms = row[slot], 0
        if type(value) is int:
            time_ms = value * factor // divisor
        elif type(value) is float and source.unit and abs(value) < 1e30:
            time_ms = round(value * factor / divisor)
        if FIRST_TIME_MS <= time_ms <= MAX_TIME_MS:
            return time_ms
        return _moment(value, source)

    return moment


def _categories(value: Any, split: str, where: str) -> list[str] | None:
    if split and type(value) is str:
        return [name for each in value.split(split) if (name := each.strip())] or None
    return texts_of(value, where) or None


def _moment(value: Any, source: Source) -> int | None:
    """Returns a time in Unix milliseconds that is plausible, by the unit that the mapping says."""
    where = source.where
    if source.unit:
        time_ms = moment_of(value, source.unit, where, source.zone)
    elif value is None or value == "":
        return None
    else:
        time_ms = _as_the_contract(value, where)
    if time_ms is None or FIRST_TIME_MS <= time_ms <= MAX_TIME_MS:
        return time_ms
    fix = 'say its unit, such as { path = ..., unit = "s" }'
    looks = read_number(value, FIRST_TIME_MS, MAX_TIME_MS) if type(value) in (int, float) else None
    what = f"is no plausible moment in {source.unit or 'milliseconds'}"
    told = f", it looks like {looks.unit}" if looks is not None else ""
    raise BadEvent("bad-time", f"{where}: {shown(value)} {what}{told}; {fix}")


def _as_the_contract(value: Any, where: str) -> int:
    """Returns a time that is RFC 3339 or whole milliseconds, as the contract has it."""
    if type(value) is int:
        return value
    if type(value) is not str:
        raise BadEvent("bad-time", f"{where}: {shown(value)} is neither RFC 3339 nor milliseconds")
    try:
        return parse_time(value)
    except BadEvent as error:
        raise BadEvent(error.reason, f"{where}: {error}") from None


def dropper_of(drop: Drop, slot: int) -> Callable[[Row], str | None]:
    """Returns what says why a row is left out, None if it is not."""
    reason = drop.reason
    if drop.kind == "given":
        (given,) = drop.values
        return lambda row: reason if (row[slot] not in (None, "", [])) is given else None
    listed, wanted = {_comparable(each) for each in drop.values}, drop.kind == "in"
    return lambda row: reason if (_comparable(row[slot]) in listed) is wanted else None


def _comparable(value: Any) -> tuple[str, Any]:
    """Returns a value so that true is not 1 and "1" is neither; what cannot be listed is None."""
    if isinstance(value, bool):
        return "truth", value
    if isinstance(value, int | float):
        return "number", value
    return ("text", value) if isinstance(value, str) else ("none", None)
