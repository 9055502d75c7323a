"""Checks how requests about users are named and sent; tests/kafka has real ones."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stream.clients import requests
from stream.clients.requests import (
    CHUNK,
    Ask,
    Request,
    encoded,
    made_at_ms,
    new_request_id,
    send,
)
from stream.config import Settings
from stream.contracts.control import parse_control
from stream.contracts.event import Limits
from stream.errors import UsageError

ERASE = Ask("erase", "erase-1")
AT_MS = 1_767_225_600_000
SENT = Request("alice", b"alice", 2, offset=40, time_ms=AT_MS)


def test_a_name_says_when_it_was_made_and_no_other_has_it() -> None:
    names = {new_request_id("erase") for _ in range(100)}
    assert len(names) == 100
    assert abs(made_at_ms(names.pop()) - time.time() * 1000) < 60_000
    assert made_at_ms("ticket 4711") == 0


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
