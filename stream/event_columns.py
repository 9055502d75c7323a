"""Rows of other people's tables to events: which column is which field, and how a time is written.

Pure. A column is found by the name that --columns gives it, else by the contract's name, else by a usual other name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from stream.errors import DataError, UsageError
from stream.event_faults import BadEvent, shown
from stream.events import MAX_TIME_MS, Event, parse_time

SYNONYMS: Final[dict[str, tuple[str, ...]]] = {
    "user_id": ("user", "userid", "uid", "visitor_id", "visitorid", "customer_id", "customerid", "client_id"),
    "action": ("event_type", "eventtype", "event", "event_name", "behavior", "behaviour", "behavior_type", "type"),
    "time": ("timestamp", "ts", "event_time", "eventtime", "datetime", "date", "unix_time", "created_at"),
    "item_id": ("item", "itemid", "product_id", "productid", "sku", "asin", "movie_id", "movieid", "article_id"),
    "title": ("item_title", "product_name", "name"),
    "categories": ("category", "genres", "genre"),
    "query": ("search_query", "search_term", "keywords"),
    "event_id": ("eventid",),
    "session_id": ("sessionid", "session"),
    "dwell_ms": (),
    "value": ("rating", "stars"),
}
"""Fields of the contract and other names that data sets give them; the first that a header has is taken."""

DEFAULT_ACTION: Final = "view"
FIRST_TIME_MS: Final = 946_684_800_000
"""2000-01-01: where invented times begin when a file gives only an order."""

_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NAIVE: Final = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(:\d\d(\.\d+)?)?)", re.ASCII)


def parse_mapping(text: str | None) -> dict[str, str]:
    """`user_id=visitor,item_id=sku` to {field: column}. Raises UsageError naming the part that cannot be read."""
    mapping: dict[str, str] = {}
    for part in filter(None, (text or "").split(",")):
        field, equals, column = (word.strip() for word in part.partition("="))
        field = next((name for name, others in SYNONYMS.items() if field == name or field in others), "")
        if not (field and equals and column):
            raise UsageError(
                f"--columns: {part.strip()!r} is not FIELD=COLUMN with one of the fields {', '.join(SYNONYMS)}; "
                "write for example --columns user_id=visitor,item_id=sku"
            )
        mapping[field] = column
    return mapping


def match_columns(names: Sequence[str], mapping: Mapping[str, str], file: str) -> dict[str, str]:
    """{field: column of this file}. Raises DataError that lists the columns found and how to map them."""
    plain = {_plain(name): name for name in reversed(names)}
    found: dict[str, str] = {}
    for field, others in SYNONYMS.items():
        if field in mapping:
            if mapping[field] not in names:
                raise DataError(
                    f"{file}: --columns says {field}={mapping[field]}, but its columns are {_listed(names)}; name one of those"
                )
            found[field] = mapping[field]
            continue
        column = next((plain[name] for name in (field, *others) if name in plain), None)
        if column is not None and column not in mapping.values():
            found[field] = column
    missing = [] if "user_id" in found else ["user_id"]
    if not found.keys() & {"item_id", "title", "query"}:
        missing.append("item_id")
    if missing:
        raise DataError(
            f"{file}: no column is recognised as {' or as '.join(missing)}; its columns are {_listed(names)}. Say which "
            f"is which with --columns {','.join(f'{field}=COLUMN' for field in missing)}"
        )
    return found


class RowReader:
    """Turns rows into events, and remembers what it had to assume."""

    def __init__(self) -> None:
        self.untimed = 0  # rows without a time: they got the previous time plus one millisecond
        self.without_zone = 0  # times without a zone: read as UTC
        self.without_number = 0  # values and dwell times that are no numbers: left out, no model reads them
        self.without_action = 0  # rows without an action: read as DEFAULT_ACTION
        self._last_ms = FIRST_TIME_MS

    def event(self, row: Mapping[str, Any]) -> Event:
        """The event of {field: value}; values are texts, or what JSON has. Raises BadEvent naming field and fix."""
        action = _text(row.get("action"))
        if not action:
            self.without_action += 1
        return Event(
            user_id=_required(row, "user_id"),
            action=action.lower().replace(" ", "_").replace("-", "_") if action else DEFAULT_ACTION,
            time=self._time(row.get("time")),
            item_id=_text(row.get("item_id")) or None,
            title=_text(row.get("title")) or None,
            categories=categories_of(row.get("categories")),
            query=_text(row.get("query")) or None,
            event_id=_text(row.get("event_id")) or None,
            session_id=_text(row.get("session_id")) or None,
            dwell_ms=self._number(row.get("dwell_ms")),
            value=self._number(row.get("value")),
        )

    def _time(self, value: Any) -> int:
        text = _text(value)
        if not text:
            self.untimed += 1
            time_ms = self._last_ms + 1
        elif _NUMBER.fullmatch(text):
            time_ms = _from_number(text)
        elif _NAIVE.fullmatch(text) or _DAY.fullmatch(text):
            self.without_zone += 1
            time_ms = parse_time(_with_zone(text))
        else:
            time_ms = parse_time(text)
        self._last_ms = time_ms
        return time_ms

    def _number(self, value: Any) -> float | None:
        text = _text(value)
        if not text:
            return None
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
        self.without_number += 1
        return None


def categories_of(value: Any) -> list[str] | None:
    """A list as it is, a text cut at `|`."""
    if isinstance(value, list):
        return [_text(each) for each in value if _text(each)]
    text = _text(value)
    return [part.strip() for part in text.split("|") if part.strip()] if text else None


def _from_number(text: str) -> int:
    """Unix milliseconds. A number is seconds up to 1e11 (the year 5138), then milli-, micro- and nanoseconds."""
    number = float(text)
    scale = 1000.0 if number < 1e11 else 1.0 if number < 1e14 else 1e-3 if number < 1e17 else 1e-6
    time_ms = int(text) if scale == 1.0 and text.isdecimal() else round(number * scale)
    if not 0 <= time_ms <= MAX_TIME_MS:
        raise BadEvent("bad-time", f"time {shown(text)} is before 1970; send Unix seconds, milliseconds or RFC 3339")
    return time_ms


def _with_zone(text: str) -> str:
    found = _NAIVE.fullmatch(text)
    if found is None:
        return f"{text}T00:00:00Z"
    return f"{found[1]}T{found[2] if found[3] else found[2] + ':00'}Z"


def _required(row: Mapping[str, Any], field: str) -> str:
    text = _text(row.get(field))
    if not text:
        raise BadEvent("missing-field", f"{field} is empty; every event needs one")
    return text


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    return "" if value is None else str(value)


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")
