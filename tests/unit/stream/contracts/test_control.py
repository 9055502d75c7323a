"""Checks controls: what is written is read again, and what cannot be obeyed is refused unquoted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contracts.control import (
    KINDS,
    MAC_HEADER,
    Control,
    encode_control,
    is_control,
    is_late,
    parse_control,
)
from stream.contracts.event import CONTROL_HEADER, Limits
from stream.contracts.faults import BadEvent

NOW_MS = 1_800_000_000_000
KEY = b"0123456789abcdef0123456789abcdef"
CANARY = "canary-7f3a"


def record(value: Any, key: bytes | None = b"canary-7f3a", headers: Any = None) -> Any:
    raw = value if isinstance(value, bytes | None) else orjson.dumps(value)
    return SimpleNamespace(key=key, value=raw, headers=headers or [(CONTROL_HEADER, b"1")])


def erase(**changes: Any) -> dict[str, Any]:
    return {
        "control": "erase",
        "user_id": CANARY,
        "request_id": "r-1",
        "time": NOW_MS,
        **changes,
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", [None, KEY])
def test_a_control_reads_back(kind: str, key: bytes | None) -> None:
    subject = {"query": "tent"} if kind == "forget" else {}
    control = Control(kind, "zoë", "r-1", NOW_MS, **subject)  # type: ignore[arg-type]
    name, value, headers = encode_control(control, key)
    assert name == "zoë".encode()
    assert is_control(headers)
    assert not is_control([("trace", b"1")])
    assert parse_control(record(value, name, headers), Limits(), key) == control


def test_times_of_both_forms_are_one() -> None:
    found = parse_control(record(erase(time="2027-01-15T08:00:00Z")), Limits())
    assert found.time == NOW_MS


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff",
        b"[]",
        b'{"control":"erase"}',
        erase(control="purge"),
        erase(user_id=""),
        erase(user_id=CANARY + "u" * 256),
        erase(request_id=""),
        erase(request_id="a\nb"),
        erase(time="yesterday"),
        erase(time=17),
        erase(item_id="i"),
        erase(control="forget"),
        erase(control="forget", item_id="i", query="q"),
        erase(control="forget", query="q" * 3_000),
        erase(user_id=CANARY + "-other"),
        b" " * 70_000,
    ],
)
def test_what_cannot_be_obeyed_is_refused_and_not_quoted(value: Any) -> None:
    with pytest.raises(BadEvent) as caught:
        parse_control(record(value), Limits())
    assert caught.value.reason == "bad-control"
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("mac", [None, b"", b"00", "other value"])
def test_with_a_key_an_unsigned_control_is_refused(mac: Any) -> None:
    _, value, headers = encode_control(Control("erase", CANARY, "r-1", NOW_MS), KEY)
    if mac == "other value":
        headers = encode_control(Control("erase", CANARY, "r-2", NOW_MS), KEY)[2]
    else:
        headers = [headers[0], *([(MAC_HEADER, mac)] if mac is not None else [])]
    with pytest.raises(BadEvent, match="control_key_file"):
        parse_control(record(value, headers=headers), Limits(), KEY)


def test_a_control_that_workers_would_refuse_is_not_written() -> None:
    with pytest.raises(BadEvent, match="256 bytes"):
        encode_control(Control("erase", "u" * 257, "r-1", NOW_MS))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 20))
def test_late_is_what_happened_before_and_came_within_the_window(
    erased: int, own: int, broker: int, window: int
) -> None:
    expected = erased != 0 and own <= erased and broker - erased <= window
    assert is_late(erased, own, broker, window) == expected
