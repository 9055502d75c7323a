"""Reads documents as a mapping file says, once more: for the audit, one field after the other.

It shares no code with stream/formats/mappings. The file was judged before; here it is obeyed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from math import isfinite, isinf
from typing import Any, Final
from zoneinfo import ZoneInfo

from stream.audit.documents import Headers, Meant, NotReadableError
from stream.audit.event_rules import MAX_TIME_MS, MIN_TIME_MS, Huge, json_object, milliseconds

TEXTS: Final = ("user_id", "action", "item_id", "title", "query", "event_id", "session_id")
NO_IDS: Final = (
    "null", "none", "nil", "nan", "n/a", "undefined", "(not set)", "(null)", "(none)", "\\n",
)  # fmt: skip
"""What programs write, in any case, where they know no id."""

PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}

_DIGITS: Final = re.compile(r"[+-]?[0-9]{1,19}(\.[0-9]{1,12})?")
_DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?")
_CLOCK: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?"
)


class MappedShape:
    """Says what a document means by a mapping."""

    def __init__(self, text: str) -> None:
        """Takes the text of a mapping file."""
        found = tomllib.loads(text)
        self._fields = {
            field: [
                {"path": each} if isinstance(each, str) else each
                for each in (value if isinstance(value, list) else [value])
            ]
            for field, value in found["event"].items()
        }
        self._actions: dict[str, str] = found.get("actions", {})
        self._keeps = found.get("unlisted_actions", "keep") == "keep"
        self._drops: list[dict[str, Any]] = found.get("drop", [])
        sources = [each for of in self._fields.values() for each in of]
        self._paths = [each["path"] for each in (*sources, *self._drops) if "path" in each]

    def __call__(self, value: bytes, headers: Headers, received_ms: int | None) -> Meant:
        """Returns the events of a document; raises NotReadableError."""
        document = json_object(value)
        if document is None:
            raise NotReadableError
        meant = Meant()
        rows = list(self._rows(document))
        for place, row in rows:
            if any(_has_infinity(each) for each in row.values()):
                raise NotReadableError
            event = self._event(row, received_ms)
            if event is None:
                meant.dropped += 1
                continue
            if place is not None and event.get("event_id") and not self._owns_id:
                event["event_id"] += f"#{place}"
            meant.events.append(event)
        return meant

    @property
    def _owns_id(self) -> bool:
        """Returns whether each event of a document may have an event_id of its own."""
        return any("[]" in each.get("path", "") for each in self._fields.get("event_id", ()))

    def _rows(self, document: dict[str, Any]) -> Iterator[tuple[int | None, dict[str, Any]]]:
        """Yields the values of the paths, once or for each element of the array among them."""
        outer, inner, array = {}, dict[str, list[str]](), None
        for path in self._paths:
            before, after = _steps(path)
            if after is None:
                outer[path] = _at(document, before)
            else:
                array, inner[path] = before, after
        elements = None if array is None else _at(document, array)
        if elements is None or elements == []:
            yield None, {**outer, **dict.fromkeys(inner)}
            return
        if not isinstance(elements, list):
            raise NotReadableError
        for place, element in enumerate(elements):
            yield place, {**outer, **{path: _at(element, of) for path, of in inner.items()}}

    def _event(self, row: dict[str, Any], received_ms: int | None) -> dict[str, Any] | None:
        """Returns the event of a row, None if it is left out."""
        if any(_drops(drop, row[drop["path"]]) for drop in self._drops):
            return None
        action = self._field("action", row, received_ms)
        if action is not None and action not in self._actions and not self._keeps:
            return None
        event = {field: self._field(field, row, received_ms) for field in self._fields}
        event["action"] = self._actions.get(action or "", action)
        return {field: value for field, value in event.items() if value is not None}

    def _field(self, field: str, row: dict[str, Any], received_ms: int | None) -> Any:
        """Returns the first value that a field is given."""
        for source in self._fields[field]:
            if "received" in source:
                value: Any = received_ms
            elif "path" not in source:
                value = source["constant"]
                value = [value] if field == "categories" and isinstance(value, str) else value
            else:
                value = _read(field, row[source["path"]], source)
            if value is not None:
                return value
        return None


def _read(field: str, value: Any, source: dict[str, Any]) -> Any:
    """Returns what a field takes from the value at a path; raises NotReadableError."""
    if field in TEXTS:
        text = _text(value)
        unknown = field in ("user_id", "event_id") and (text or "").lower() in NO_IDS
        return None if unknown else text
    if field == "categories":
        if isinstance(value, str) and "split" in source:
            return [name.strip() for name in value.split(source["split"]) if name.strip()] or None
        several = value if isinstance(value, list) else [value]
        return [text for each in several if (text := _text(each)) is not None] or None
    if field == "time":
        return _moment(value, source)
    number, unit = _number(value), source.get("unit", "ms")
    if number is None:
        return None
    return number * 1_000 if unit == "s" else number / (PER_SECOND[unit] // 1_000)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    whole = isinstance(value, int) or (isinstance(value, float) and value == value // 1)
    most = 2**53 - 1 if isinstance(value, float) else 2**63 - 1
    if isinstance(value, bool) or not whole or not -most - isinstance(value, int) <= value <= most:
        raise NotReadableError
    return str(int(value))


def _number(value: Any) -> float | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise NotReadableError
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise NotReadableError
    if not isfinite(float(value)):
        raise NotReadableError
    return float(value)


def _moment(value: Any, source: dict[str, Any]) -> int | None:
    """Returns a time in Unix milliseconds, None if none is given; raises NotReadableError."""
    if value is None or value == "":
        return None
    unit = source.get("unit", "")
    if unit in PER_SECOND:
        moment = _of_unix(value, PER_SECOND[unit])
        plausible = MIN_TIME_MS <= moment <= MAX_TIME_MS
    else:
        text = _universal(value, unit, source) if unit in ("utc", "local") else value
        if unit == "rfc3339" and not isinstance(text, str):
            raise NotReadableError
        found = milliseconds(text)
        moment, plausible = found or 0, found is not None
    if not plausible:
        raise NotReadableError
    return moment


def _of_unix(value: Any, per_second: int) -> int:
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = float(value) if "." in value else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise NotReadableError
    if isinstance(value, int):
        return value * 1_000 // per_second
    if per_second == 1:
        return round(value * 1_000)
    return round(value / (per_second // 1_000))


def _universal(value: Any, unit: str, source: dict[str, Any]) -> str:
    """Returns a time as RFC 3339."""
    if not isinstance(value, str):
        raise NotReadableError
    written = re.sub(" ?UTC$", "", value) if unit == "utc" else value
    found = _CLOCK.fullmatch(written)
    if found is None or (unit == "utc" and (written == value or found[0][10] == "t")):
        raise NotReadableError
    text = f"{found[1]}T{found[2]}"
    if unit == "local":
        zone = ZoneInfo(source["zone"])
        try:
            local = datetime.fromisoformat(text)
            moment = local.replace(tzinfo=zone).astimezone(UTC)
            back = moment.astimezone(zone).replace(tzinfo=None)
        except (ValueError, OverflowError):
            raise NotReadableError from None
        if back != local:
            raise NotReadableError
        text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}{found[3] or ''}Z"


def _drops(drop: dict[str, Any], value: Any) -> bool:
    """Returns whether a rule leaves out what has this value."""
    if "given" in drop:
        return (value is not None and value != "" and value != []) is drop["given"]
    listed = drop["in"] if "in" in drop else drop["not_in"]
    found = any(_same(value, each) for each in listed)
    return found if "in" in drop else not found


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    numbers = isinstance(one, int | float) and isinstance(other, int | float)
    return (numbers or (isinstance(one, str) and isinstance(other, str))) and one == other


def _steps(path: str) -> tuple[list[str], list[str] | None]:
    """Returns the names on the way to a value, and those inside an element if there is an array."""
    before, after, name, quoted, at = list[str](), None, "", False, 0
    while at < len(path):
        sign = path[at]
        if quoted and sign == "\\":
            at += 1
            name += path[at]
        elif sign == '"':
            quoted = not quoted
        elif quoted or sign not in ".[":
            name += sign
        else:
            if name:
                (before if after is None else after).append(name)
                name = ""
            if sign == "[":
                after, at = list[str](), at + 1
        at += 1
    if name:
        (before if after is None else after).append(name)
    return before, after


def _at(document: Any, steps: list[str]) -> Any:
    """Returns the value at the end of a path, None if it leads nowhere."""
    for step in steps:
        document = document.get(step) if isinstance(document, dict) else None
    return document


def _has_infinity(value: Any) -> bool:
    """Returns whether a number of JSON in a value is too large to be one."""
    if isinstance(value, float):
        return isinf(value) and not isinstance(value, Huge)
    if isinstance(value, dict):
        return any(map(_has_infinity, value.values()))
    return isinstance(value, list) and any(map(_has_infinity, value))
