"""Decides which moment a number or a text means, by one rule for files and for Kafka.

A moment is plausible from 2000 on. Seconds, milliseconds, microseconds and nanoseconds of plausible
moments are numbers of different sizes, so a number has one plausible unit at most. The contract of
Kafka takes milliseconds alone and names the unit that another number looks like; files are read in
the unit that fits, and their reader says so. Nothing here reads a clock: callers hand theirs over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

from stream.contracts.faults import BadEvent, shown

FIRST_TIME_MS: Final = 946_684_800_000
"""2000-01-01. An event, or a record's timestamp, before that is a wrong unit or an unset clock."""

FIRST_RECORDED_MS: Final = 631_152_000_000
"""1990-01-01: files to learn from may be older than any stream (MovieLens began in 1995)."""

MAX_TIME_MS: Final = 253_402_300_799_999
"""End of the year 9999, the last moment that RFC 3339 can write."""

YEAR_MS: Final = 365 * 86_400_000

MILLISECONDS: Final = "milliseconds"
DATES: Final = "dates written as a number, such as 20260105"

_UNITS: Final = {
    MILLISECONDS: (1, 1),
    "seconds": (1000, 1),
    "microseconds": (1, 1000),
    "nanoseconds": (1, 1_000_000),
}
"""What a number of each unit is multiplied with and divided by to get milliseconds."""

_SAID_UNTIL_MS: Final = 4_102_444_800_000
"""2100-01-01: a unit is named in a message if the moment lies before that."""

_DIGITS_OF_DATES: Final = (8, 10, 12, 14)  # to the day, hour, minute, second
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_RFC_3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(\.\d+)?(?:[Zz]|([+-]\d\d:\d\d))", re.ASCII
)
PARTS_KEPT: Final = 4_096
"""Minutes, and fractions of a second with their zone, whose milliseconds are remembered: events
that come together happened near each other."""

LONGEST_FRACTION: Final = 4
"""Signs of a fraction that is remembered, its point counted: of finer ones there are too many."""

_SECONDS: Final = {f":{second:02}": 1000 * second for second in range(61)}

_minutes: Final[dict[str, int]] = {}
_rests: Final[dict[str, int]] = {}
"""Milliseconds of what times begin and end with: `2026-11-25T10:00`, and `Z`, `.123Z`, `+01:00`."""


class Reading(NamedTuple):
    """Holds what a number means as a time."""

    unit: str  # a unit of Unix time, or DATES
    time_ms: int


def read_number(number: float, first_ms: int, last_ms: int) -> Reading | None:
    """Returns the moment between two others that a number means, None if it means none of them.

    Whole numbers stay exact.
    """
    for unit, (factor, divisor) in _UNITS.items():
        time_ms = (
            number * factor // divisor
            if isinstance(number, int)
            else _rounded(number * factor / divisor)
        )
        if first_ms <= time_ms <= last_ms:
            return Reading(unit, time_ms)
    date_ms = _date(number) if isinstance(number, int) else None
    if date_ms is not None and first_ms <= date_ms <= last_ms:
        return Reading(DATES, date_ms)
    return None


def time_fault(
    number: float, first_ms: int = FIRST_TIME_MS, last_ms: int = MAX_TIME_MS
) -> BadEvent:
    """Returns what is wrong with a number that is no plausible time in milliseconds."""
    found = read_number(number, first_ms, min(last_ms, _SAID_UNTIL_MS))
    if found is not None and found.unit != MILLISECONDS:
        what = "a date" if found.unit == DATES else f"Unix {found.unit}"
        return BadEvent(
            "bad-time",
            f"time {shown(number)} looks like {what} ({_written(found.time_ms)}); "
            f"send integer Unix milliseconds, {found.time_ms}",
        )
    if number > last_ms:
        reason = "bad-time" if last_ms >= MAX_TIME_MS else "future-time"
        return BadEvent(
            reason,
            f"time {shown(number)} is after {_written(last_ms)}; "
            "correct the clock, or send Unix milliseconds",
        )
    return BadEvent(
        "bad-time",
        f"time {shown(number)} is before {_written(first_ms)[:4]}, in Unix milliseconds; "
        "send the time of the event in Unix milliseconds, or as RFC 3339",
    )


def parse_time(text: str) -> int:
    """Returns the Unix milliseconds of an RFC 3339 time.

    Finer digits are dropped, and a leap second is the next second. Raises BadEvent.
    """
    try:
        time_ms = _minutes[text[:16]] + _SECONDS[text[16:19]] + _rests[text[19:]]
    except KeyError:
        return _parse_time(text)
    return time_ms if 0 <= time_ms <= MAX_TIME_MS else _parse_time(text)


def parse_times(texts: Sequence[str]) -> list[int] | None:
    """Returns the Unix milliseconds of RFC 3339 times whose parts are all remembered, else None."""
    try:
        found = [_minutes[text[:16]] + _SECONDS[text[16:19]] + _rests[text[19:]] for text in texts]
    except KeyError:
        return None
    return found if found and min(found) >= 0 and max(found) <= MAX_TIME_MS else None


def _parse_time(text: str) -> int:
    """Returns what `parse_time` does, and remembers the parts of the time."""
    found = _RFC_3339.fullmatch(text)
    if found is None:
        naive = " without a zone" if _RFC_3339.fullmatch(text + "Z") else ""
        fix = "write 2026-11-25T10:00:00Z or integer milliseconds"
        raise BadEvent("bad-time", f"time {shown(text)} is not RFC 3339{naive}; {fix}")
    date, minute, seconds, fraction, offset = found.groups()
    try:
        minute_ms = _minute_ms(date, minute, "+00:00")
        second_ms = _second_ms(seconds)
        rest_ms = _minute_ms("1970-01-01", "00:00", offset) if offset is not None else 0
    except ValueError as error:
        raise BadEvent("bad-time", f"time {shown(text)} does not exist ({error})") from None
    if fraction is not None:
        rest_ms += int(fraction[1:4].ljust(3, "0"))
    time_ms = minute_ms + second_ms + rest_ms
    if not 0 <= time_ms <= MAX_TIME_MS:
        raise BadEvent(
            "bad-time",
            f"time {shown(text)} is before 1970 or after 9999; send the time of the event",
        )
    _remember(_minutes, text[:16], minute_ms)
    if fraction is None or len(fraction) <= LONGEST_FRACTION:
        _remember(_rests, text[19:], rest_ms)
    return time_ms


def _remember(parts: dict[str, int], part: str, part_ms: int) -> None:
    if len(parts) >= PARTS_KEPT:
        parts.clear()
    parts[part] = part_ms


@lru_cache(PARTS_KEPT)
def _minute_ms(date: str, minute: str, offset: str) -> int:
    """Returns the Unix milliseconds of the begin of a minute; raises ValueError for none."""
    return (datetime.fromisoformat(f"{date}T{minute}{offset}") - _EPOCH) // _MILLISECOND


def _second_ms(digits: str) -> int:
    """Returns the milliseconds of a second of a minute, of which a leap second is the 61st."""
    second = int(digits)
    if second > 60:
        raise ValueError("second must be in 0..60")
    return 1000 * second


def _rounded(number: float) -> int:
    """Returns the nearest whole number; -1 for what is none (infinite)."""
    return round(number) if abs(number) < 1e30 else -1


def _date(number: int) -> int | None:
    """Returns the Unix milliseconds of a date in UTC whose digits a number is, such as 20260105.

    Two digits each may follow for the hour, the minute and the second.
    """
    digits = str(number) if 0 < number < 10**14 else ""
    if len(digits) not in _DIGITS_OF_DATES:
        return None
    full = digits.ljust(14, "0")
    date, clock = f"{full[:4]}-{full[4:6]}-{full[6:8]}", f"{full[8:10]}:{full[10:12]}:{full[12:]}"
    try:
        moment = datetime.fromisoformat(f"{date}T{clock}+00:00")
    except ValueError:
        return None
    return (moment - _EPOCH) // _MILLISECOND


def _written(time_ms: int) -> str:
    """Returns a moment as RFC 3339, to the second."""
    return (_EPOCH + timedelta(milliseconds=time_ms)).strftime("%Y-%m-%dT%H:%M:%SZ")
