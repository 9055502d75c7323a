"""Server-Sent Events: whatever pieces a stream comes in, its events are the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interest_stream.event_stream import EventStream, ServerEvent

STREAM = (
    "retry: 2000\n\n: still here\n\n"
    'event: update\nid: c-0-1\ndata: {"user_id": "gäst"}\n\n'
    "event: left-out\r\ndata:one\r\ndata: two\r\n\r\n"
    "data: plain\r\rid: nothing\n\n"
).encode()
EVENTS = [
    ServerEvent("update", '{"user_id": "gäst"}'.encode()),
    ServerEvent("left-out", b"one\ntwo"),
    ServerEvent("message", b"plain"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_pieces_may_end_anywhere(cuts: list[int]) -> None:
    stream, found = EventStream(), []
    places = [0, *sorted(cuts), len(STREAM)]
    for begin, end in pairwise(places):
        found += stream.take(STREAM[begin:end])
    assert found == EVENTS
    assert stream.retry_s == 2.0


def test_what_is_not_complete_is_no_event() -> None:
    stream = EventStream()
    assert stream.take(b"event: update\ndata: {}\n") == []
    assert stream.begun
    assert stream.take(b"\n") == [ServerEvent("update", b"{}")]


@pytest.mark.parametrize("line", ["retry: soon", "retry:", "retry: -5", "retries: 5", "retry"])
def test_a_time_that_is_none_is_left_out(line: str) -> None:
    stream = EventStream()
    assert stream.take(f"{line}\n\n".encode()) == []
    assert stream.retry_s is None


def test_a_mark_of_the_byte_order_is_no_part_of_the_first_line() -> None:
    assert EventStream().take(b"\xef\xbb\xbfdata: a\n\n") == [ServerEvent("message", b"a")]
