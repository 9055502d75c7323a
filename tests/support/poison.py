"""Lists the poison corpus: every kind of record that the contract refuses, with its reason.

A clickstream may bring each of them. Rows P1, P4 and P5 of the reliability plan. One table for the
decoder's unit test and for the worker's test on real Kafka.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

USER: Final = b"poisoned"
TIME_MS: Final = 1_767_225_600_000
LIMIT: Final = 65_536
"""max_value_bytes."""


@dataclass(frozen=True)
class Poison:
    """One bad record and the reason that its dead letter must name."""

    name: str
    reason: str
    value: bytes | None
    key: bytes | None = USER
    headers: tuple[tuple[str, bytes | None], ...] = ()


def event(more: str = "", user: str = USER.decode()) -> bytes:
    """A sound event with more JSON put in at its end."""
    return (
        f'{{"user_id":"{user}","action":"view","time":{TIME_MS},"item_id":"item-1"{more}}}'.encode()
    )


def padded(size: int) -> bytes:
    """A sound event, blown up to a size by an unknown field."""
    bare = event(',"note":""')
    return bare.replace(b'""', b'"' + b"x" * (size - len(bare)) + b'"')


def named_user(value: bytes) -> bytes:
    """The user that a sound event names."""
    found = re.search(rb'"user_id":"([^"]+)"', value)
    assert found is not None
    return found[1]


CORPUS: Final = (
    # not JSON at all
    Poison("empty", "empty-value", b""),
    Poison("only spaces", "empty-value", b" " * 1_000),
    Poison("words", "not-json", b"garbage"),
    Poison("one NUL byte", "not-json", b"\0"),
    Poison("NUL after the event", "not-json", event() + b"\0"),
    Poison("cut in the middle", "not-json", event()[:40]),
    Poison("two events", "not-json", event() + event()),
    Poison("trailing comma", "not-json", event(",")),
    Poison("NaN", "not-json", event(',"value":NaN')),
    Poison("Infinity", "not-json", event(',"value":Infinity')),
    Poison("NaN in an unknown field", "not-json", event(',"note":NaN')),
    Poison("tab inside a text", "not-json", event(',"title":"a\tb"')),
    Poison("byte order mark", "byte-order-mark", b"\xef\xbb\xbf" + event()),
    Poison("Latin-1", "not-utf8", event(',"title":"caf') + b'\xe9"}'),
    Poison("not UTF-8 in an unknown field", "not-utf8", event()[:-1] + b',"note":"\xff"}'),
    Poison("UTF-16", "not-utf8", event().decode().encode("utf-16")),
    Poison("CESU surrogate bytes", "not-utf8", event()[:-1] + b',"title":"\xed\xa0\x80"}'),
    # JSON that is no event
    Poison("null", "not-object", b"null"),
    Poison("array", "not-object", b"[" + event() + b"]"),
    Poison("text", "not-object", b'"view"'),
    Poison("empty object", "missing-field", b"{}"),
    Poison("no action", "missing-field", event().replace(b'"action":"view",', b"")),
    Poison("empty action", "missing-field", event().replace(b'"view"', b'""')),
    Poison("no time", "missing-field", event().replace(b'"time":1767225600000,', b"")),
    Poison(
        "no item, title or query",
        "no-subject",
        event().replace(b'"item_id":"item-1"', b'"session_id":"s"'),
    ),
    Poison("user is a number", "wrong-type", event().replace(b'"poisoned"', b"7")),
    Poison("user is null", "wrong-type", event().replace(b'"poisoned"', b"null")),
    Poison("item is a number", "wrong-type", event().replace(b'"item-1"', b"1")),
    Poison(
        "a value of the wrong type before the right one",
        "wrong-type",
        event(',"value":"3","value":3'),
    ),
    Poison("categories is a text", "wrong-type", event(',"categories":"tents"')),
    Poison("a category is a number", "wrong-type", event(',"categories":["tents",1]')),
    Poison("time has a fraction", "wrong-type", event(',"time":1767225600000.5')),
    Poison("time is true", "wrong-type", event(',"time":true')),
    # values out of bounds
    Poison("1e400", "out-of-range", event(',"value":1e400')),
    Poison("integer of 5,000 digits", "out-of-range", event(',"value":' + "9" * 5_000)),
    Poison("negative dwell time", "out-of-range", event(',"dwell_ms":-1')),
    Poison("negative time", "bad-time", event(',"time":-1')),
    Poison("time of 24 digits", "bad-time", event(',"time":' + "9" * 24)),
    Poison("time without zone", "bad-time", event(',"time":"2026-01-01T00:00:00"')),
    Poison("day that does not exist", "bad-time", event(',"time":"2026-02-30T00:00:00Z"')),
    Poison("before 1970", "bad-time", event(',"time":"1969-12-31T23:59:59Z"')),
    Poison("before 2000", "bad-time", event(',"time":"1999-12-31T23:59:59.999Z"')),
    Poison("before 2000 in milliseconds", "bad-time", event(',"time":946684799999')),
    Poison("time of zero", "bad-time", event(',"time":0')),
    Poison("time in seconds", "bad-time", event(',"time":1767225600')),
    Poison("time in microseconds", "bad-time", event(',"time":1767225600000000')),
    Poison("time in nanoseconds", "bad-time", event(',"time":1767225600000000000')),
    Poison("a date as a number", "bad-time", event(',"time":20260101')),
    Poison("time is an object", "wrong-type", event(',"time":{"$date":1767225600000}')),
    Poison("item is an object", "wrong-type", event(',"item_id":{"$oid":"65aa"}')),
    Poison("year 2200", "future-time", event(',"time":7258118400000')),
    Poison("seconds taken for nanoseconds", "future-time", event(',"time":253402300799999')),
    # texts
    Poison("half a surrogate pair", "lone-surrogate", event(r',"title":"\ud800"')),
    Poison("half a pair in an unknown field", "lone-surrogate", event(r',"note":"\udfff"')),
    Poison("NUL in an id", "control-character", event(r',"item_id":"a\u0000b"')),
    Poison("newline in the user", "control-character", event(user=r"a\nb"), b"a\nb"),
    Poison("title one byte too long", "text-too-long", event(f',"title":"{"x" * 2_049}"')),
    Poison("title too long in bytes only", "text-too-long", event(f',"title":"{"é" * 1_025}"')),
    Poison("user one byte too long", "text-too-long", event(user="u" * 257), b"u" * 257),
    # depth
    Poison("65 arrays in an unknown field", "too-deep", event(f',"note":{"[" * 64}{"]" * 64}')),
    Poison("60,000 arrays", "too-deep", b"[" * 60_000),
    Poison("30,000 objects", "too-deep", b'{"":' * 15_000),
    # size
    Poison("one byte over the limit", "too-large", padded(LIMIT + 1)),
    Poison("a hundred thousand arrays", "too-large", b"[" * 100_000),
    Poison("most of a megabyte of spaces", "too-large", b" " * 900_000),
    Poison("700 kB that cannot be kept", "too-large", padded(700_000)),
    # the record around the value
    Poison("null value", "null-value", None),
    Poison("null key", "null-key", event(), None),
    Poison("null key and value", "null-value", None, None),
    Poison("empty key", "key-mismatch", event(), b""),
    Poison("empty key and user", "missing-field", event(user=""), b""),
    Poison("key of another user", "key-mismatch", event(), b"somebody"),
    Poison("key of 64 KiB", "key-mismatch", event(), b"k" * 65_536),
    Poison("key that is not UTF-8", "key-mismatch", event(), b"\xff\xfe"),
    Poison(
        "headers that are not UTF-8",
        "not-json",
        b"{",
        USER,
        (("trace", b"\xff\xfe\x00"), ("empty", b""), ("no", None)),
    ),
    Poison(
        "a thousand headers",
        "not-json",
        b"{",
        USER,
        tuple((f"h{place}", b"%d" % place) for place in range(1_000)),
    ),
    Poison(
        "headers of an earlier dead letter",
        "not-json",
        b"{",
        USER,
        (("is.dlq.reason", b"too-large"),),
    ),
)

STRANGE: Final = {
    "at the size limit": padded(LIMIT),
    "unknown fields": event(',"note":{"a":[1,2.5,null,true,"x"]},"Action":"x"'),
    "keys given twice": event(',"item_id":"item-2","action":"like"'),
    "1e400 in an unknown field": event(',"note":1e400'),
    "5,000 digits in an unknown field": event(',"note":' + "9" * 5_000),
    "63 arrays in an unknown field": event(f',"note":{"[" * 63}{"]" * 63}'),
    "a surrogate pair": event(r',"title":"\ud83d\ude00"'),
    "NUL in a title": event(r',"title":"a\u0000b"'),
    "control character in the session": event(r',"session_id":"a\u0001"'),
    "a user of 256 bytes": event(user="u" * 256),
    "an unknown action": event(',"action":"telepathy"'),
    "the first moment of 2000": event(',"time":946684800000'),
    "a leap second": event(',"time":"2016-12-31T23:59:60Z"'),
    "spaces around": b" \r\n\t" + event() + b"\n",
    "minus zero": event(',"value":-0.0,"dwell_ms":-0'),
}
"""Sound events that look like poison. Their key is the user they name."""
