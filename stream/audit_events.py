"""What the audit takes for a valid event: the contract read a second time, with the standard library and plain dictionaries.

Shares no code with stream/events.py, so that a fault of the decoder is found and not repeated. A test holds both against each
other and against schemas/event-1.json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any, Final

MAX_DEPTH: Final = 64
MAX_TIME_MS: Final = 253_402_300_799_999
REQUIRED: Final = ("user_id", "action")
OPTIONAL: Final = ("item_id", "title", "query", "event_id", "session_id")
IDS: Final = ("user_id", "item_id", "event_id")
RFC_3339: Final = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limits:
    """As the worker's settings."""

    value_bytes: int = 65_536
    text_bytes: int = 2_048
    future_s: int = 86_400


class _Object(dict[str, Any]):
    """A JSON object that remembers all its pairs: of a key given twice each value must be sound, the last one counts."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def valid_event(key: bytes | None, value: bytes | None, timestamp_ms: int, limits: Limits) -> dict[str, Any] | None:
    """The event as a dictionary if the contract accepts it, else None. A timestamp below 0: the record has none."""
    if key is None or value is None or len(value) > limits.value_bytes or not 1 <= len(key) <= 256:
        return None
    try:
        event = json.loads(value.decode("utf-8"), parse_constant=_refuse, parse_int=_integer, object_pairs_hook=_Object)
        if not isinstance(event, _Object) or not _is_sound(event):
            return None
    except (ValueError, RecursionError):
        return None
    if not (all(_is_typed(*pair) for pair in event.pairs) and _has_identity(event, key)):
        return None
    moment = _milliseconds(event.get("time"))
    late = moment is not None and 0 <= timestamp_ms < moment - limits.future_s * 1000
    return None if moment is None or late or not _texts_fit(event, limits) else event


def _is_sound(event: _Object) -> bool:
    """Nests no deeper than allowed. Raises ValueError for text that no UTF-8 can carry (half a surrogate pair)."""
    level: list[Any] = [event]
    for _ in range(MAX_DEPTH):
        level = [each for part in level for each in _inside(part)]
    return not level


def _inside(part: Any) -> Iterator[Any]:
    """The objects and arrays directly in one."""
    if isinstance(part, _Object):
        for name, value in part.pairs:
            name.encode()
            yield from _checked(value)
    else:
        for value in part:
            yield from _checked(value)


def _checked(value: Any) -> Iterator[Any]:
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, _Object | list):
        yield value


def _is_typed(name: str, value: Any) -> bool:
    if name in REQUIRED:
        return isinstance(value, str)
    if name in OPTIONAL:
        return value is None or isinstance(value, str)
    if name == "categories":
        return value is None or (isinstance(value, list) and all(isinstance(each, str) for each in value))
    if name in ("dwell_ms", "value"):
        number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        return value is None or (number and (name == "value" or value >= 0))
    if name == "time":
        return isinstance(value, str) or _milliseconds(value) is not None
    return True


def _has_identity(event: _Object, key: bytes) -> bool:
    named = event.get("user_id", "").encode() == key and event.get("action")
    return bool(named and (event.get("item_id") or event.get("title") or event.get("query")))


def _texts_fit(event: _Object, limits: Limits) -> bool:
    texts = [event.get(name) or "" for name in (*REQUIRED, *OPTIONAL)] + (event.get("categories") or [])
    ids = "".join(event.get(name) or "" for name in IDS)
    return all(len(text.encode()) <= limits.text_bytes for text in texts) and not any(
        ord(each) < 32 or ord(each) == 127 for each in ids
    )


def _milliseconds(time: Any) -> int | None:
    """Unix milliseconds of a time as the contract allows it; a leap second is the next one."""
    if isinstance(time, int) and not isinstance(time, bool):
        return time if 0 <= time <= MAX_TIME_MS else None
    found = RFC_3339.fullmatch(time) if isinstance(time, str) else None
    if found is None:
        return None
    leap = found[3] == "60"
    try:
        moment = datetime.fromisoformat(
            f"{found[1]}T{found[2]}:{'59' if leap else found[3]}{found[5].upper().replace('Z', '+00:00')}"
        )
    except ValueError:
        return None
    milliseconds = (int(moment.timestamp()) + leap) * 1000 + int(((found[4] or "") + "000")[:3])
    return milliseconds if 0 <= milliseconds <= MAX_TIME_MS else None


def _refuse(text: str) -> float:
    raise ValueError(text)


def _integer(text: str) -> int | float:
    """Python refuses integers of thousands of digits, JSON does not."""
    return int(text) if len(text) < 20 else float(text)
