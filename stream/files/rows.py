"""Turns rows, {field: value}, into events: how times are read, and what had to be assumed.

Nothing here reads a file.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from stream.contracts.event import Event, Limits
from stream.contracts.faults import BadEvent
from stream.contracts.times import FIRST_TIME_MS, MILLISECONDS, parse_time, read_number, time_fault
from stream.files.columns import plain_name
from stream.files.values import (
    NOTHING,
    categories_of,
    categories_of_codes,
    categories_of_tokens,
    looks_like_several,
    text_of,
    title_of,
)

DEFAULT_ACTION: Final = "view"

_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NAIVE: Final = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(:\d\d(\.\d+)?)?)", re.ASCII)
_ZONED: Final = re.compile(r"(.*\d)(?: (?:UTC|GMT|Z)| ?([+-]\d\d):?(\d\d))", re.ASCII)
"""A time whose zone is written otherwise than in RFC 3339: `2019-10-01 00:00:00 UTC`, `+0000`."""


class RowReader:
    """Turns rows into events, and counts what it had to assume."""

    def __init__(self, limits: Limits | None = None) -> None:
        """Begins with nothing counted; times are plausible between the moments of `limits`."""
        self.columns: Mapping[str, str] = {}  # {field: column} of the file, for messages
        self.untimed = 0  # rows without a time: they got the previous time plus one millisecond
        self.without_zone = 0  # times without a zone: read as UTC
        self.units: Counter[str] = Counter()  # times that are no milliseconds, by what they are
        self.old = 0  # times before 2000, where these are plausible
        self.without_number = 0  # values and dwell times that are no numbers: left out
        self.without_action = 0  # rows without an action: read as DEFAULT_ACTION
        self.several = 0  # rows whose category looks like several
        self.nothing = 0  # ids that are what programs write for no value, such as nan
        limits = limits or Limits()
        self._between = limits.earliest_ms, limits.latest_ms
        self._last_ms = FIRST_TIME_MS

    def event(self, row: Mapping[str, Any]) -> Event:
        """Returns the event of {field: value}, where values are texts, or what JSON has.

        Raises BadEvent naming field and fix.
        """
        action = self._text(row, "action")
        if not action:
            self.without_action += 1
        user_id = self._text(row, "user_id")
        if not user_id:
            raise BadEvent("missing-field", "user_id is empty; every event needs one")
        item_id = self._text(row, "item_id") or None
        categories = categories_in(row.get("categories"), self.columns.get("categories", ""))
        self.several += looks_like_several(categories or ())
        self.nothing += user_id.lower() in NOTHING or (item_id or "").lower() in NOTHING
        return Event(
            user_id=user_id,
            action=action.lower().replace(" ", "_").replace("-", "_") if action else DEFAULT_ACTION,
            time=self._time(row),
            item_id=item_id,
            title=title_of(row.get("title"), "title", self.columns.get("title", "")) or None,
            categories=categories,
            query=title_of(row.get("query"), "query", self.columns.get("query", "")) or None,
            event_id=self._text(row, "event_id") or None,
            session_id=self._text(row, "session_id") or None,
            dwell_ms=self._number(row.get("dwell_ms"), least=0.0),
            value=self._number(row.get("value")),
        )

    def moment(self, written: int | str) -> int:
        """Returns a time in Unix milliseconds, whatever unit or zone it is written in."""
        if isinstance(written, int):
            time_ms = self._from_number(written)
        elif _NUMBER.fullmatch(written):
            whole = written.isdecimal() and len(written) < 25
            time_ms = self._from_number(int(written) if whole else float(written))
        elif _NAIVE.fullmatch(written) or _DAY.fullmatch(written):
            self.without_zone += 1
            time_ms = parse_time(_with_zone(written))
        else:
            time_ms = parse_time(_in_rfc_3339(written))
        self.old += self._between[0] <= time_ms < FIRST_TIME_MS
        self._last_ms = time_ms
        return time_ms

    def _time(self, row: Mapping[str, Any]) -> int:
        text = self._text(row, "time")
        if text:
            return self.moment(text)
        self.untimed += 1
        self._last_ms += 1
        return self._last_ms

    def _from_number(self, number: float) -> int:
        found = read_number(number, *self._between)
        if found is None:
            raise time_fault(number, *self._between)
        if found.unit != MILLISECONDS:
            self.units[found.unit] += 1
        return found.time_ms

    def _text(self, row: Mapping[str, Any], field: str) -> str:
        value = row.get(field)
        if isinstance(value, str) and value[:1] not in ("{", "["):
            return value.strip()
        return text_of(value, field, self.columns.get(field, ""))

    def _number(self, value: Any, least: float = -math.inf) -> float | None:
        if value is None or value == "":
            return None
        try:
            number = float(value) if isinstance(value, str | int | float) else math.nan
        except (ValueError, OverflowError):
            if isinstance(value, str) and not value.strip():
                return None
            number = math.nan
        if math.isfinite(number) and number >= least and not isinstance(value, bool):
            return number
        self.without_number += 1
        return None


def categories_in(value: Any, column: str) -> list[str] | None:
    """Returns the categories of a column, whose name may say how they are written in it.

    Raises BadEvent.
    """
    return _spelling(column)(value)


@lru_cache(maxsize=1_000)
def _spelling(column: str) -> Callable[[Any], list[str] | None]:
    """Returns what reads the categories of a column.

    RecBole separates them by spaces in a `token_seq`; the `category_code` of REES46 is a path with
    dots.
    """
    if column.lower().endswith(":token_seq"):
        return categories_of_tokens
    return categories_of_codes if plain_name(column) == "category_code" else categories_of


def _with_zone(text: str) -> str:
    """Returns a date or a time without a zone as RFC 3339 in UTC."""
    found = _NAIVE.fullmatch(text)
    if found is None:
        return f"{text}T00:00:00Z"
    return f"{found[1]}T{found[2] if found[3] else found[2] + ':00'}Z"


def _in_rfc_3339(text: str) -> str:
    """Returns a time with the zone written as RFC 3339 does, where that is all that is missing."""
    found = _ZONED.fullmatch(text)
    if found is None:
        return text
    return f"{found[1]}{found[2]}:{found[3]}" if found[2] else f"{found[1]}Z"
