"""--rekey, the pure part: who an event belongs to, and what is forwarded."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from stream.event_faults import BadEvent
from stream.events import ORIGIN_HEADER, Limits, parse_event
from stream.rekey import forwarded_record, user_of
from tests.poison import LIMIT, TIME_MS, event, padded


def test_the_user_is_read_whatever_else_is_wrong_with_the_event() -> None:
    """All else is judged where the event is applied, so that it is judged once."""
    assert user_of(b'{"user_id":"user-7"}', LIMIT) == b"user-7"
    assert user_of('{"time":"junk","user_id":"用户"}'.encode(), LIMIT) == "用户".encode()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no-user"),
        (b"", "no-user"),
        (b"garbage", "no-user"),
        (b"{}", "no-user"),
        (b'{"user_id":7}', "no-user"),
        (b'{"user_id":"\xff"}', "no-user"),
        (b'{"note":' + b"[" * 60_000, "no-user"),
        (padded(LIMIT + 1), "too-large"),
    ],
)
def test_what_cannot_be_forwarded_becomes_a_dead_letter(value: bytes | None, reason: str) -> None:
    with pytest.raises(BadEvent) as caught:
        user_of(value, LIMIT)
    assert caught.value.reason == reason


def test_a_forwarded_event_keeps_its_bytes_and_headers_and_counts_once() -> None:
    message = SimpleNamespace(topic="by-session", partition=2)
    source = SimpleNamespace(value=event(), headers=[("trace", b"\xff")], offset=17)
    key, value, headers = forwarded_record(message, source, b"poisoned")
    assert (key, value) == (b"poisoned", event())
    assert list(headers) == [("trace", b"\xff"), (ORIGIN_HEADER, b"by-session-2-17")]
    forwarded = SimpleNamespace(key=key, value=value, headers=headers, timestamp=TIME_MS)
    assert parse_event(forwarded, Limits()).event_id == "by-session-2-17"


def test_an_event_id_of_its_own_stays() -> None:
    headers = [(ORIGIN_HEADER, b"by-session-2-17")]
    forwarded = SimpleNamespace(key=b"poisoned", value=event(',"event_id":"e-1"'), headers=headers, timestamp=TIME_MS)
    assert parse_event(forwarded, Limits()).event_id == "e-1"
