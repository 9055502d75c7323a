"""Turns what JSON holds into texts, numbers and moments, by one rule for every format.

None and "" mean "not given". What is something else than a field can hold is refused, never printed
into a text: `where` says of which field it is, and which field of the contract it was to become.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any, Final
from zoneinfo import ZoneInfo

from stream.contracts.faults import BadEvent, shown
from stream.contracts.times import parse_time

UNITS: Final = {"s": (1_000, 1), "ms": (1, 1), "us": (1, 1_000), "ns": (1, 1_000_000)}
"""Of Unix time: what a number of each is multiplied with and divided by to get milliseconds."""

RFC_3339: Final = "rfc3339"
UTC_TEXT: Final = "utc"
"""A moment as BigQuery writes it: `2026-11-25 10:00:00.123456 UTC`."""

LOCAL: Final = "local"
"""A moment on the clocks of a named zone, without a zone: `2026-11-25T10:00:00`."""

TIMES: Final = (RFC_3339, *UNITS, UTC_TEXT, LOCAL)

_MOST_WHOLE: Final = 2.0**53
"""Below it a float that is whole says which number was meant."""

_MOST_INTEGER: Final = 2**63
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_DIGITS: Final = re.compile(r"[+-]?\d{1,19}(\.\d{1,12})?", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?\d{1,300}(\.\d{1,300})?([eE][+-]?\d{1,3})?", re.ASCII)
_UTC: Final = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d+)? ?UTC", re.ASCII)
_LOCAL: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?", re.ASCII)


def text_of(value: Any, where: str) -> str | None:
    """Returns a text, or a number's digits as ids are written; None if nothing is given.

    A number with a fraction is no id, nor is one that a float cannot hold exactly.
    """
    if type(value) is str:
        return value or None
    if value is None:
        return None
    if type(value) is int and -_MOST_INTEGER <= value < _MOST_INTEGER:
        return str(value)
    if type(value) is float and value.is_integer() and abs(value) < _MOST_WHOLE:
        return str(int(value))
    raise _wrong(value, where, "a text or a whole number of at most 64 bits")


def texts_of(value: Any, where: str) -> list[str] | None:
    """Returns a list of texts; a text alone is a list of one. None if nothing is given."""
    if isinstance(value, list | tuple):
        return [text for each in value if (text := text_of(each, where)) is not None]
    text = text_of(value, where)
    return None if text is None else [text]


def number_of(value: Any, where: str) -> float | None:
    """Returns a finite number, also one written as a text; None if nothing is given."""
    if value is None or value == "":
        return None
    if type(value) in (int, float) or (type(value) is str and _NUMBER.fullmatch(value)):
        try:
            number = float(value)
        except OverflowError:
            number = float("inf")
        if isfinite(number):
            return number
    raise _wrong(value, where, "a finite number")


def moment_of(value: Any, form: str, where: str, zone: ZoneInfo | None = None) -> int | None:
    """Returns Unix milliseconds of a time in one of TIMES, None if nothing is given.

    A finer time is cut to milliseconds; a float of seconds is rounded to them. zone: of LOCAL.
    """
    if value is None or value == "":
        return None
    if form in UNITS:
        return _of_number(value, form, where)
    if type(value) is not str:
        raise _wrong(value, where, f"a time written as {form}", "bad-time")
    if form == UTC_TEXT:
        found = _UTC.fullmatch(value)
        if found is None:
            raise _wrong(value, where, "a time such as 2026-11-25 10:00:00.5 UTC", "bad-time")
        value = f"{found[1]}T{found[2]}{found[3] or ''}Z"
    elif form == LOCAL:
        return _of_zone(value, zone or ZoneInfo("UTC"), where)
    try:
        return parse_time(value)
    except BadEvent as error:
        raise BadEvent(error.reason, f"{where}: {error}") from None


def _of_number(value: Any, unit: str, where: str) -> int:
    """Returns the milliseconds of Unix time, given as a number or as the digits of one."""
    if type(value) is str and _DIGITS.fullmatch(value):
        value = float(value) if "." in value else int(value)
    factor, divisor = UNITS[unit]
    if type(value) is int:
        return value * factor // divisor
    if type(value) is float and abs(value) < 1e30:
        return round(value * factor / divisor)
    raise _wrong(value, where, f"Unix time in {unit}", "bad-time")


def _of_zone(value: str, zone: ZoneInfo, where: str) -> int:
    """Returns the milliseconds of a time on the clocks of a zone.

    An hour that comes twice, when clocks go back, is the first of the two; one that is left out
    does not exist.
    """
    if _LOCAL.fullmatch(value) is None:
        raise _wrong(value, where, "a time without a zone, such as 2026-11-25T10:00:00", "bad-time")
    clock, _, fraction = value.partition(".")
    try:
        moment = datetime.fromisoformat(clock).replace(tzinfo=zone)
        universal = moment.astimezone(UTC)
        back = universal.astimezone(zone)
    except (ValueError, OverflowError) as error:
        raise BadEvent("bad-time", f"{where}: {shown(value)} does not exist ({error})") from None
    if back.replace(tzinfo=None) != moment.replace(tzinfo=None):
        raise BadEvent("bad-time", f"{where}: {shown(value)} does not exist in {zone.key}")
    return (universal - _EPOCH) // _MILLISECOND + int((fraction or "0")[:3].ljust(3, "0"))


def _wrong(value: Any, where: str, wanted: str, reason: str = "wrong-type") -> BadEvent:
    return BadEvent(reason, f"{where}: {shown(value)} is not {wanted}")
