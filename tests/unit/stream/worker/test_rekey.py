"""Checks the pure side of --rekey: who an event belongs to, and what is forwarded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest

from stream.config import Settings
from stream.contracts.control import MAC_HEADER, Control, encode_control, parse_control
from stream.contracts.event import ORIGIN_HEADER, Event, Limits, parse_event
from stream.contracts.faults import BadEvent
from stream.contracts.pseudonym import pseudonym
from stream.formats.registry import foreign_format
from stream.metrics import Metrics
from stream.worker.rekey import (
    Forwarder,
    forwarded_events,
    forwarded_record,
    signed_anew,
    user_and_value,
    user_of,
)
from tests.support.poison import LIMIT, TIME_MS, event, padded


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
    source = SimpleNamespace(value=event(), headers=[("trace", b"\xff")], offset=17, timestamp=5)
    key, value, headers = forwarded_record(message, source, b"poisoned", event())
    assert (key, value) == (b"poisoned", event())
    assert list(headers) == [("trace", b"\xff"), (ORIGIN_HEADER, b"by-session-2-17-5")]
    forwarded = SimpleNamespace(key=key, value=value, headers=headers, timestamp=TIME_MS)
    assert parse_event(forwarded, Limits()).event_id == "by-session-2-17-5"


def test_an_event_of_a_topic_made_again_is_not_the_one_that_had_its_place() -> None:
    message = SimpleNamespace(topic="by-session", partition=2)
    origins = {
        forwarded_record(
            message,
            SimpleNamespace(value=event(), headers=[], offset=17, timestamp=each),
            b"u",
            event(),
        )[2][-1]
        for each in (5, 6, 6)
    }
    assert len(origins) == 2


def test_a_pseudonym_replaces_the_user_in_key_and_value_and_nothing_else() -> None:
    sound = orjson.loads(event(',"event_id":"e-1","more":{"a":[1,2.50,null]}'))
    user, value = user_and_value(orjson.dumps(sound), LIMIT, b"k" * 32)
    assert user == pseudonym(sound["user_id"].encode(), b"k" * 32).encode()
    assert value is not None
    assert orjson.loads(value) == {**sound, "user_id": user.decode()}
    assert user_and_value(orjson.dumps(sound), LIMIT) == (
        sound["user_id"].encode(),
        orjson.dumps(sound),
    )
    forwarded = SimpleNamespace(key=user, value=value, headers=[], timestamp=TIME_MS)
    assert parse_event(forwarded, Limits()).user_id == user.decode()


@pytest.mark.parametrize(
    "value", [None, b"", b"[]", b'{"user_id":"u"', b'{"user_id":"u","x":"\xff"}', b'{"user_id":7}']
)
def test_what_cannot_be_renamed_is_a_dead_letter_that_quotes_nothing(value: bytes | None) -> None:
    with pytest.raises(BadEvent) as caught:
        user_and_value(value, LIMIT, b"k" * 32)
    assert caught.value.reason == "no-user"


def test_an_event_id_of_its_own_stays() -> None:
    headers = [(ORIGIN_HEADER, b"by-session-2-17")]
    forwarded = SimpleNamespace(
        key=b"poisoned", value=event(',"event_id":"e-1"'), headers=headers, timestamp=TIME_MS
    )
    assert parse_event(forwarded, Limits()).event_id == "e-1"


def test_a_control_is_forwarded_by_its_user_and_signed_for_its_pseudonym() -> None:
    """With ids replaced the signature would not fit; a wrong one is not made right."""
    control_key, secret = b"0123456789abcdef", b"fedcba9876543210"
    user, value, headers = encode_control(Control("erase", "u-1", "r-1", TIME_MS), control_key)
    source = SimpleNamespace(value=value, headers=headers, offset=17, timestamp=5)
    name, renamed = user_and_value(value, LIMIT, secret)
    message = SimpleNamespace(topic="raw", partition=0)
    for sound in (True, False):
        if not sound:
            source.headers = [headers[0], (MAC_HEADER, b"00" * 32)]
        again = signed_anew(source, renamed, control_key)
        key, sent, own = forwarded_record(message, again, name, renamed)
        forwarded = SimpleNamespace(key=key, value=sent, headers=own)
        if sound:
            found = parse_control(forwarded, Limits(), control_key)
            assert (found.user_id, found.request_id) == (pseudonym(user, secret), "r-1")
        else:
            with pytest.raises(BadEvent, match="control_key_file"):
                parse_control(forwarded, Limits(), control_key)


def test_each_event_of_a_foreign_record_is_forwarded_as_one_of_the_contract() -> None:
    message = SimpleNamespace(topic="calls", partition=2)
    source = SimpleNamespace(headers=[("trace", b"x")], offset=17, timestamp=TIME_MS)
    events = [
        Event(user, "purchase", TIME_MS, item_id=item) for user, item in (("u", "a"), ("v", "b"))
    ]
    forwarded = forwarded_events(message, source, events)
    for place, (key, value, headers) in enumerate(forwarded):
        record = SimpleNamespace(key=key, value=value, headers=headers, timestamp=TIME_MS)
        parsed = parse_event(record, Limits())
        assert parsed.event_id == f"calls-2-17-{TIME_MS}-{place}"
        assert (parsed.item_id, parsed.user_id.encode()) == (events[place].item_id, key)
    (alone,) = forwarded_events(message, source, events[:1], b"k" * 32)
    assert alone[0] == pseudonym(b"u", b"k" * 32).encode()
    assert alone[2][-1] == (ORIGIN_HEADER, b"calls-2-17-%d" % TIME_MS)


class Sent:
    """A producer and consumer that take everything at once."""

    def __init__(self) -> None:
        self.records: dict[str, list[Any]] = {}
        self.applied_to = -1

    async def partitions_of(self, topic: str) -> list[int]:
        return [0]

    async def send_records(self, topic: str, partition: int, records: list[Any]) -> list[Any]:
        self.records.setdefault(topic, []).extend(records)
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return [(done, len(records))]

    def applied(self, tp: Any, offset: int) -> None:
        self.applied_to = offset


def test_records_of_a_mapping_are_forwarded_dropped_or_parked(tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    file.write_text(
        '[event]\nuser_id = "u"\naction = "a"\ntime = "t"\nitem_id = "lines[].sku"\n'
        '[[drop]]\npath = "a"\nin = ["ping"]\n'
    )
    good = {"u": 7, "a": "buy", "t": TIME_MS, "lines": [{"sku": "x"}, {"sku": "y"}]}
    values = [
        orjson.dumps(good),
        orjson.dumps({**good, "a": "ping"}),
        orjson.dumps([good, {**good, "t": "soon"}]),
        b"broken",
        None,
    ]
    records = [
        SimpleNamespace(key=b"s-1", value=value, headers=[], offset=offset, timestamp=TIME_MS)
        for offset, value in enumerate(values)
    ]
    control = encode_control(Control("erase", "7", "r-1", TIME_MS))
    records.append(
        SimpleNamespace(key=b"7", value=control[1], headers=control[2], offset=5, timestamp=TIME_MS)
    )
    sent, failures = Sent(), list[Exception]()
    host = SimpleNamespace(
        settings=Settings(rekey=True, mapping=str(file)),
        metrics=Metrics(),
        failpoint=lambda name: None,
        fail=failures.append,
    )
    place = SimpleNamespace(topic="calls", partition=0, offset=5, tp=("calls", 0))
    batch = SimpleNamespace(message=place, value=records, ack=lambda: None)

    async def stream() -> Any:
        yield batch

    shape = foreign_format(host.settings)
    forwarder = Forwarder(cast(Any, host), cast(Any, lambda: sent), cast(Any, lambda: sent), shape)
    asyncio.run(forwarder.consume(stream()))
    assert failures == []
    assert sent.applied_to == 5
    forwarded = sent.records["clickstream-by-user"]
    assert [each[0] for each in forwarded] == [b"7"] * 5
    events = [orjson.loads(value) for _, value, _ in forwarded[:4]]
    assert [each["item_id"] for each in events] == ["x", "y", "x", "y"]
    assert forwarded[4][1] == control[1], "a control is no document of the shape"
    letters = [
        (value, dict(headers)) for _, value, headers in sent.records["clickstream-dead-letters"]
    ]
    assert [(value, headers["is.dlq.reason"]) for value, headers in letters] == [
        (orjson.dumps({**good, "t": "soon"}), b"bad-time"),
        (b"broken", b"not-json"),
        (None, b"null-value"),
    ]
    assert letters[0][1]["is.dlq.document"] == b"0"
    assert letters[0][1]["is.dlq.message"].startswith(b"shop.toml:4 time = t")
    figure = host.metrics.registry.get_sample_value
    assert figure("interest_stream_events_dropped_total", {"reason": "filter"}) == 2
