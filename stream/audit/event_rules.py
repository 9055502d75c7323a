"""Decides which events are valid, by a second reading of the contract with Python's own library.

It shares no code with stream/contracts/event.py, so that a fault of the decoder is found and not
repeated. A test compares the two with each other and with schemas/event-1.json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from math import isfinite, isinf
from typing import Any, Final

MAX_DEPTH: Final = 64
MIN_TIME_MS: Final = 946_684_800_000  # 2000-01-01
MAX_TIME_MS: Final = 253_402_300_799_999
MOST_READ: Final = 2**63 - 1  # of a time that another one replaces, which need not be plausible
MOST_DIGITS: Final = 25  # of an integer that a field may take, with room
MOST_READ_DIGITS: Final = 4_300  # of an integer that Python reads; a longer one is no number
REQUIRED: Final = ("user_id", "action")
OPTIONAL: Final = ("item_id", "title", "query", "event_id", "session_id")
IDS: Final = ("user_id", "item_id", "event_id")
RFC_3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Holds the worker's settings that decide what is too large or too late, and what is kept."""

    value_bytes: int = 65_536
    text_bytes: int = 2_048
    future_s: int = 86_400
    late_window_ms: int = 30 * 86_400_000  # after an erasure
    ttl_ms: int = 0  # silence after which a user is forgotten; 0: none is long enough
    control_key: bytes | None = None  # that signs controls


class _Object(dict[str, Any]):
    """Holds a JSON object with all its pairs: of a key given twice the last value counts.

    The others must be sound nevertheless.
    """

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def valid_event(
    key: bytes | None,
    value: bytes | None,
    timestamp_ms: int,
    limits: Limits,
    now_ms: int | None = None,
) -> dict[str, Any] | None:
    """Returns the event as a dictionary if the contract accepts it, else None.

    A timestamp before 2000 says nothing (it is in seconds, or there is none); then the event must
    not be ahead of `now_ms`, if that is given.
    """
    if key is None or value is None or len(value) > limits.value_bytes or not 1 <= len(key) <= 256:
        return None
    event = contract_event(value)
    if event is None:
        return None
    return event if valid_fields(event, key, timestamp_ms, limits, now_ms) else None


def contract_event(value: bytes) -> dict[str, Any] | None:
    """Returns the object in a value whose fields have the contract's types, None if it has none."""
    event = json_object(value)
    typed = event is not None and all(_is_typed(*pair) for pair in event.pairs)
    return event if typed else None


def valid_fields(
    event: dict[str, Any], key: bytes, timestamp_ms: int, limits: Limits, now_ms: int | None
) -> bool:
    """Returns whether fields are an event of the user who is the key.

    A key of more than 256 bytes is no user.
    """
    typed = all(_is_typed(*pair) for pair in event.items())
    if not (typed and 1 <= len(key) <= 256 and _has_identity(event, key)):
        return False
    moment = milliseconds(event.get("time"))
    clock_ms = timestamp_ms if timestamp_ms >= MIN_TIME_MS else now_ms
    if moment is None or (clock_ms is not None and clock_ms < moment - limits.future_s * 1000):
        return False
    return _texts_fit(event, limits)


def json_object(value: bytes) -> _Object | None:
    """Returns the JSON object that a value holds, None if it holds no sound one."""
    try:
        found = sound_json(value)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, _Object) else None


def sound_json(value: bytes) -> Any:
    """Returns what JSON says, its objects with all their pairs.

    Raises ValueError if it is unsound or nests too deep, RecursionError if far too deep.
    """
    found = json.loads(
        value.decode("utf-8"),
        parse_constant=_refuse,
        parse_int=_integer,
        object_pairs_hook=_Object,
    )
    if not _is_sound(found):
        raise ValueError("it nests too deep")
    return found


def _is_sound(document: Any) -> bool:
    """Returns whether a document nests no deeper than allowed.

    Raises ValueError for text that no UTF-8 can carry (half a surrogate pair).
    """
    level = list(_checked(document))
    for _ in range(MAX_DEPTH):
        level = [each for container in level for each in _inside(container)]
    return not level


def _inside(container: Any) -> Iterator[Any]:
    """Yields the objects and arrays directly in an object or array, and checks its texts."""
    if isinstance(container, _Object):
        for name, value in container.pairs:
            name.encode()
            yield from _checked(value)
    else:
        for value in container:
            yield from _checked(value)


def _checked(value: Any) -> Iterator[Any]:
    """Yields the value if it is an object or array; a text must be one that UTF-8 can carry."""
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, _Object | list):
        yield value


def _is_typed(name: str, value: Any) -> bool:
    """Returns whether a field holds what the contract says; an unknown field may hold anything."""
    if name in REQUIRED:
        return isinstance(value, str)
    if name in OPTIONAL:
        return value is None or isinstance(value, str)
    if name == "categories":
        return value is None or (
            isinstance(value, list) and all(isinstance(each, str) for each in value)
        )
    if name in ("dwell_ms", "value"):
        number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        return value is None or (number and (name == "value" or value >= 0))
    if name == "time":
        whole = isinstance(value, int) and not isinstance(value, bool)
        return isinstance(value, str) or (whole and 0 <= value <= MOST_READ)
    return True


def _has_identity(event: dict[str, Any], key: bytes) -> bool:
    """Returns whether an event names its user, who is the key, its action and its subject."""
    named = event.get("user_id", "").encode() == key and event.get("action")
    return bool(named and (event.get("item_id") or event.get("title") or event.get("query")))


def _texts_fit(event: dict[str, Any], limits: Limits) -> bool:
    """Returns whether no text is too long and no id holds a control character."""
    texts = [event.get(name) or "" for name in (*REQUIRED, *OPTIONAL)] + (
        event.get("categories") or []
    )
    ids = "".join(event.get(name) or "" for name in IDS)
    return all(len(text.encode()) <= limits.text_bytes for text in texts) and not any(
        ord(each) < 32 or ord(each) == 127 for each in ids
    )


def milliseconds(time: Any) -> int | None:
    """Returns a time in Unix milliseconds, None if the contract does not allow it.

    A leap second counts as the second after it.
    """
    if isinstance(time, int) and not isinstance(time, bool):
        return time if MIN_TIME_MS <= time <= MAX_TIME_MS else None
    found = RFC_3339.fullmatch(time) if isinstance(time, str) else None
    if found is None:
        return None
    leap = found[3] == "60"
    try:
        zone = found[5].upper().replace("Z", "+00:00")
        moment = datetime.fromisoformat(f"{found[1]}T{found[2]}:{'59' if leap else found[3]}{zone}")
    except ValueError:
        return None
    milliseconds = (int(moment.timestamp()) + leap) * 1000 + int(((found[4] or "") + "000")[:3])
    return milliseconds if MIN_TIME_MS <= milliseconds <= MAX_TIME_MS else None


def _refuse(text: str) -> float:
    raise ValueError(text)


def _integer(text: str) -> int | float:
    """Reads an integer of any length: Python refuses thousands of digits, JSON does not."""
    number = int(text) if len(text) < MOST_DIGITS else float(text)
    return Huge(number) if isinf(number) and len(text) <= MOST_READ_DIGITS else number


class Huge(float):
    """Stands for an integer beyond all floats: no field takes it, and it is read nevertheless."""
