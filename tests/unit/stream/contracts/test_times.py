"""What a number or a text means as a time does not depend on where it was read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contracts.faults import BadEvent
from stream.contracts.times import (
    DATES,
    FIRST_RECORDED_MS,
    FIRST_TIME_MS,
    MAX_TIME_MS,
    _minutes,
    _rests,
    parse_time,
    read_number,
    time_fault,
)

NOW_MS = 1_795_000_000_000
PER_SECOND = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}


@given(st.integers(FIRST_RECORDED_MS // 1000, NOW_MS // 1000), st.sampled_from(list(PER_SECOND)))
def test_times_in_all_units_come_back(seconds: int, unit: str) -> None:
    for last_ms in (NOW_MS, MAX_TIME_MS):
        found = read_number(seconds * PER_SECOND[unit], FIRST_RECORDED_MS, last_ms)
        assert found == (unit, seconds * 1000)
    assert read_number(seconds + 0.25, FIRST_RECORDED_MS, MAX_TIME_MS) == (
        "seconds",
        seconds * 1000 + 250,
    )


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (20260105, "2026-01-05T00:00:00Z"),
        (2026010513, "2026-01-05T13:00:00Z"),
        (202601051345, "2026-01-05T13:45:00Z"),
        (20260105134559, "2026-01-05T13:45:59Z"),
    ],
)
def test_digits_of_a_date_are_a_date(number: int, text: str) -> None:
    assert read_number(number, FIRST_TIME_MS, NOW_MS) == (DATES, parse_time(text))


@pytest.mark.parametrize(
    "number", [-1, 0, 5, 45_000, 20261305, 20260230, 1_767_225, 10**24, 1e300, 2.5]
)
def test_what_is_no_plausible_time_in_any_unit_is_none(number: float) -> None:
    assert read_number(number, FIRST_TIME_MS, NOW_MS) is None


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (1_767_225_600, "looks like Unix seconds (2026-01-01T00:00:00Z); .* 1767225600000"),
        (1_767_225_600_000_000, "looks like Unix microseconds"),
        (1_767_225_600_000_000_000, "looks like Unix nanoseconds"),
        (20260105, "looks like a date (2026-01-05T00:00:00Z)"),
        (5, "is before 2000"),
        (10**24, "is after 9999"),
    ],
)
def test_the_message_names_the_unit_that_a_number_looks_like(number: int, said: str) -> None:
    fault = time_fault(number)
    assert fault.reason == "bad-time"
    with pytest.raises(BadEvent, match=said.replace("(", r"\(").replace(")", r"\)")):
        raise fault


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-01-01T00:00:00Z", 1_767_225_600_000),
        ("2026-01-01 01:00:00.5+01:00", 1_767_225_600_500),
        ("2025-12-31t16:00:00.123999-08:00", 1_767_225_600_123),
        ("2026-01-01T00:00:00.1234567890123Z", 1_767_225_600_123),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("2024-02-29T00:00:00-00:00", 1_709_164_800_000),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ],
)
def test_times_become_milliseconds(text: str, time_ms: int) -> None:
    assert parse_time(text) == time_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1767225600000",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00Z\n",
        "2026-01-01T00:00:00+25:00",
        "2026-01-01T24:00:01Z",
        "2026-13-01T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "２０２６-01-01T00:00:00Z",
        "1970-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
    ],
)
def test_what_is_no_moment_is_refused_with_a_fix(text: str) -> None:
    with pytest.raises(BadEvent) as caught:
        parse_time(text)
    assert caught.value.reason == "bad-time"
    assert (
        "RFC 3339" in str(caught.value)
        or "does not exist" in str(caught.value)
        or "1970" in str(caught.value)
    )


def test_a_time_of_known_parts_is_what_it_would_be_alone() -> None:
    """Parts of times are remembered; what they are joined to is no time by that alone."""
    texts = [
        f"{day}T{minute}:{rest}"
        for day in ("2026-01-05", "2026-02-30", "9999-12-31", "0001-01-01", "1969-12-31")
        for minute in ("00:00", "23:59", "24:00")
        for rest in ("07Z", "60.5z", "61Z", "59.123+01:00", "00.123456-23:59", "1Z", "07.Z", "07")
    ]
    alone = []
    for text in texts:
        _minutes.clear()
        _rests.clear()
        alone.append(said(text))
    assert [said(text) for text in texts] == alone
    assert [said(text) for text in reversed(texts)] == alone[::-1]
    assert len(set(alone)) > 30


def said(text: str) -> int | str:
    try:
        return parse_time(text)
    except BadEvent as fault:
        return f"{fault.reason} {fault}"
