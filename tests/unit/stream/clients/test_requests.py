"""Checks how requests about users are named and judged; tests/kafka has real ones."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest

from stream.clients import requests
from stream.clients.requests import (
    CHUNK,
    DONE,
    REFUSED,
    WAITING,
    Ask,
    Facts,
    Request,
    encoded,
    judge,
    made_at_ms,
    new_request_id,
    send,
    source_offset,
    state_of,
)
from stream.config import Settings
from stream.contracts.control import parse_control
from stream.contracts.event import Limits
from stream.contracts.state_record import HEADER, MARKER, Record
from stream.errors import UsageError
from tests.support.contracts import golden_bytes

ERASE = Ask("erase", "erase-1")
AT_MS = 1_767_225_600_000
SENT = Request("alice", b"alice", 2, offset=40, time_ms=AT_MS)


def state(offset: int, erased_ms: int = 0, flags: int = 0) -> Record:
    header = np.zeros(1, HEADER)
    header["offset"], header["erased_ms"], header["flags"] = offset, erased_ms, flags
    nothing = np.zeros(0, np.float32)
    return Record(header[0], nothing, nothing)


def test_a_name_says_when_it_was_made_and_no_other_has_it() -> None:
    names = {new_request_id("erase") for _ in range(100)}
    assert len(names) == 100
    assert abs(made_at_ms(names.pop()) - time.time() * 1000) < 60_000
    assert made_at_ms("ticket 4711") == 0


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts(), WAITING),
        (Facts(state(39), committed=40), WAITING),
        (Facts(state(40, AT_MS, MARKER)), DONE),
        (Facts(state(40, AT_MS, MARKER), profile_offset=39), WAITING),  # the null is not there yet
        (Facts(state(55, AT_MS), profile_offset=55), DONE),  # the user has come back
        (Facts(state(55), profile_offset=55), WAITING),  # passed over: not erased
        (Facts(None, committed=41), DONE),  # nobody knew the user, or the marker has ended
        (Facts(state(40, AT_MS), letter={"reason": "bad-control", "message": "sign it"}), REFUSED),
    ],
)
def test_an_erasure_is_done_when_marker_and_null_are_in_the_log(
    facts: Facts, expected: str
) -> None:
    found, why = judge(ERASE, SENT, facts)
    assert found == expected
    assert bool(why) == (expected != DONE)


def test_other_requests_are_done_when_workers_have_passed_them() -> None:
    for control in ("forget", "unsuppress"):
        ask = Ask(control, "r")
        assert judge(ask, SENT, Facts(state(39), 39, committed=40))[0] == WAITING
        assert judge(ask, SENT, Facts(state(39), 39, committed=41)) == (DONE, "")
        assert judge(ask, SENT, Facts(state(40), 39)) == (DONE, "")


def test_what_was_not_sent_waits() -> None:
    assert judge(ERASE, replace(SENT, offset=None), Facts(committed=99))[0] == WAITING


def test_a_worker_that_knows_no_requests_is_named_by_its_version() -> None:
    letter = {"reason": "missing-field", "worker": "0.9.1", "message": "no action"}
    assert judge(ERASE, SENT, Facts(letter=letter)) == (
        REFUSED,
        "a worker of version 0.9.1 made a dead letter of it (missing-field): that version knows no "
        "such request. Upgrade every worker, and run the command again",
    )


class Producer:
    """Acknowledges what it is sent, and is interrupted when it is asked for one record too many."""

    def __init__(self, most: int) -> None:
        self.most, self.sent = most, list[bytes]()

    async def send(self, topic: str, value: bytes, key: bytes, partition: int, *_: Any) -> Any:
        if len(self.sent) == self.most:
            raise asyncio.CancelledError
        self.sent.append(key)
        place: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        place.set_result(SimpleNamespace(offset=len(self.sent) + 100, timestamp=AT_MS))
        return place

    async def flush(self) -> None: ...

    async def stop(self) -> None: ...


@pytest.mark.parametrize("most", [0, 3, CHUNK + 2, 10_000])
def test_after_ctrl_c_it_is_known_what_was_sent(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    producer, shown = Producer(most), list[int]()

    async def opened(settings: Settings, **_: Any) -> Producer:
        return producer

    monkeypatch.setattr(requests, "open_producer", opened)
    asked = [Request(f"u{each}", b"u%d" % each, 0) for each in range(CHUNK + 10)]
    made = encoded(Settings(), ERASE, [each.key for each in asked])
    whole = asyncio.run(send(Settings(), asked, made, lambda what, done, total: shown.append(done)))
    sent = [each.key for each in asked if each.offset is not None]
    assert sent == producer.sent == [each.key for each in asked][:most]
    assert whole == (most > len(asked))
    assert shown == ([CHUNK, CHUNK + 10] if whole else [CHUNK][: most // CHUNK])


def test_what_no_worker_would_take_is_not_sent(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="longer than 2048 bytes"):
        encoded(Settings(), Ask("forget", "r", query="q" * 3_000), [b"u"])
    key = tmp_path / "control.key"
    key.write_bytes(b"k" * 16)
    (record,) = encoded(Settings(control_key_file=str(key)), ERASE, [b"u"]).values()
    made = SimpleNamespace(key=record[0], value=record[1], headers=record[2])
    assert parse_control(made, Limits(), b"k" * 16).user_id == "u"


def test_nulls_and_what_is_none_of_ours_say_nothing() -> None:
    assert state_of(None) is state_of(b"junk") is None
    assert state_of(golden_bytes("state-1.hex")) is not None
    assert source_offset(orjson.dumps({"source": {"offset": 7}})) == 7
    for value in (None, b"", b"junk", b"[]", b"{}", b'{"source":{}}'):
        assert source_offset(value) is None
