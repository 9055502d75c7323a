"""Checks that dead letters keep the original and say why; a flood of them stops the worker."""

from __future__ import annotations

from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import pytest

from stream.contracts.dead_letter import KEPT_BYTES, MAX_KEPT_BYTES, dead_letter, printable
from stream.contracts.faults import Reject, UnreadableBytes
from stream.errors import PoisonError
from stream.policies.breaker import DeadLetterBreaker

FAULT = Reject(7, "not-json", "DecodeError", "not JSON: x; send one JSON object a record", None)


def letter(reject: Any = FAULT, **given: Any) -> tuple[Any, Any, dict[str, Any]]:
    record = SimpleNamespace(
        **{"key": b"user-7", "value": b"{", "headers": (), "timestamp": 5, **given}
    )
    key, value, headers = dead_letter("clicks", 3, record, reject, 1_767_225_600_000)
    assert len({name for name, _ in headers}) == len(headers)
    return key, value, dict(headers)


def test_the_original_and_the_reason() -> None:
    key, value, headers = letter(headers=[("trace", b"\xff"), ("none", None)])
    assert (key, value, headers["trace"], headers["none"]) == (b"user-7", b"{", b"\xff", None)
    assert {
        name.removeprefix("is.dlq."): text.decode()
        for name, text in headers.items()
        if name.startswith("is.")
    } == {
        "topic": "clicks",
        "partition": "3",
        "offset": "7",
        "timestamp": "5",
        "reason": "not-json",
        "stage": "decode",
        "error": "DecodeError",
        "message": FAULT.message,
        "worker": headers["is.dlq.worker"].decode(),
        "time": "1767225600000",
    }


def test_what_could_not_be_read_says_which_offsets_it_stands_for() -> None:
    value = UnreadableBytes(b"raw")
    value.reason, value.message, value.first_offset = "corrupt-batch", "x", 4
    kept = letter(Reject(7, "corrupt-batch", "BadEvent", "x", None), key=None, value=value)
    assert kept[:2] == (None, b"raw")
    assert (kept[2]["is.dlq.first-offset"], kept[2]["is.dlq.offset"]) == (b"4", b"7")


def test_null_stays_null_and_empty_stays_empty() -> None:
    assert letter(key=None, value=None)[:2] == (None, None)
    assert letter(key=b"", value=b"")[:2] == (b"", b"")


def test_a_model_that_failed_is_another_stage() -> None:
    assert letter(Reject(7, "unprocessable", "ModelError", "", None))[2]["is.dlq.stage"] == b"score"


def test_headers_of_an_earlier_visit_are_kept_next_to_the_new_ones() -> None:
    headers = letter(headers=[("is.dlq.reason", b"too-large")])[2]
    assert (headers["is.dlq.reason"], headers["is.dlq.previous.reason"]) == (
        b"not-json",
        b"too-large",
    )


@pytest.mark.parametrize("field", ["key", "value"])
def test_a_key_or_value_at_the_limit_is_kept_and_one_byte_more_is_cut(field: str) -> None:
    room = MAX_KEPT_BYTES - len(b"user-7" if field == "value" else b"{")
    kept = dict(zip(("key", "value", "headers"), letter(**{field: b"x" * room}), strict=True))
    assert len(kept[field]) == room
    assert f"is.dlq.{field}-bytes" not in kept["headers"]
    whole = b"x" * (room + 1)
    cut = dict(zip(("key", "value", "headers"), letter(**{field: whole}), strict=True))
    assert cut[field] == whole[:KEPT_BYTES]
    assert cut["headers"][f"is.dlq.{field}-bytes"] == str(room + 1).encode()
    assert cut["headers"][f"is.dlq.{field}-sha256"] == sha256(whole).hexdigest().encode()


def test_headers_that_are_too_large_are_left_out_and_described() -> None:
    key, value, headers = letter(headers=[("big", b"x" * 700_000), ("small", b"y")])
    assert (key, value) == (b"user-7", b"{")
    assert not {"big", "small"} & headers.keys()
    assert int(headers["is.dlq.headers-bytes"]) > 700_000


def test_messages_are_safe_to_show() -> None:
    assert printable("a\x1b[31m\n\u2028b\ud800") == "a\\u001b[31m\\u000a\\u2028b\\ud800"
    assert len(printable("x" * 10_000)) == 500
    printable("\ud800" * 600).encode()


def records(first: int, count: int) -> list[Any]:
    return [SimpleNamespace(offset=first + place) for place in range(count)]


def bad(*offsets: int) -> list[Reject]:
    return [Reject(offset, "not-json", "", "garbage", None) for offset in offsets]


def test_as_many_in_a_row_as_allowed_pass_and_one_more_stops_the_worker() -> None:
    breaker = DeadLetterBreaker(5)
    breaker.check(0, records(0, 3), bad(0, 1, 2))
    breaker.check(0, records(3, 2), bad(3, 4))
    with pytest.raises(
        PoisonError,
        match=r"6 bad records in a row on partition 0 up to offset 5.*"
        r"max_consecutive_dead_letters \(now 5\)",
    ):
        breaker.check(0, records(5, 1), bad(5))


@pytest.mark.parametrize("good", [[2], [5], [3, 4]])
def test_a_good_record_between_them_begins_the_count_anew(good: list[int]) -> None:
    breaker = DeadLetterBreaker(5)
    breaker.check(0, records(0, 6), bad(*(set(range(6)) - set(good))))
    breaker.check(0, records(6, 2), bad(6, 7))


def test_a_batch_without_bad_records_begins_anew_and_an_empty_one_does_not() -> None:
    breaker = DeadLetterBreaker(2)
    breaker.check(0, records(0, 2), bad(0, 1))
    breaker.check(0, records(2, 1), [])
    breaker.check(0, records(3, 2), bad(3, 4))
    breaker.check(0, [], [])
    with pytest.raises(PoisonError):
        breaker.check(0, records(5, 1), bad(5))


def test_partitions_are_counted_apart_and_a_replay_counts_once() -> None:
    breaker = DeadLetterBreaker(3)
    for partition in range(4):
        breaker.check(partition, records(0, 2), bad(0, 1))
    breaker.check(0, records(0, 3), bad(0, 1, 2))
