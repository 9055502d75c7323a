"""Checks whose record one is, and until when it can be read; tests/kafka searches real topics."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from stream.clients.holdings import (
    EVENTS,
    RAW,
    Newest,
    Place,
    Users,
    owners_by_name,
    partitions_of_users,
)
from stream.config import Settings
from stream.contracts.pseudonym import pseudonym
from stream.kafka.topic_life import Life


def raw(value: bytes | None, key: bytes = b"session-1") -> Any:
    return SimpleNamespace(key=key, value=value, headers=None, timestamp=7)


def test_a_user_has_the_pseudonym_of_the_workers_and_is_found_by_both_names(
    tmp_path: Any,
) -> None:
    path = tmp_path / "ids.key"
    path.write_bytes(b"k" * 32)
    users = Users.of(Settings(pseudonym_key_file=str(path)), ["alice"])
    key = pseudonym(b"alice", b"k" * 32).encode()
    assert users.ids == {key: "alice"}
    assert users.names() == {b"alice": key, key: key}
    assert Users.of(Settings(), ["alice"]).names() == {b"alice": b"alice"}


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, unique=True), st.integers(1, 24))
def test_a_request_goes_where_the_producer_puts_the_users_events(
    ids: list[str], count: int
) -> None:
    keys = [each.encode() for each in ids if each.isprintable()]
    users = Users({key: key.decode() for key in keys})
    all_ = list(range(count))
    found = partitions_of_users(users, Newest(), count, "clicks")
    assert found == {key: DefaultPartitioner()(key, all_, all_) for key in keys}


def test_a_request_goes_where_the_state_is_if_another_client_put_the_events_there() -> None:
    states = Newest({b"alice": SimpleNamespace(partition=3)})
    assert partitions_of_users(Users({b"alice": "alice"}), states, 4, "clicks") == {b"alice": 3}


@pytest.mark.parametrize(
    ("value", "user"),
    [
        (None, None),
        (b"", None),
        (b'{"user_id":"alice"}', "alice"),
        (b'{"user_id":"\\u0430"}', "а"),
        (b'{"user_id":7}', None),
        (b'{"user_id": "alice", broken', "alice"),
        (b"[" * 5000, None),
        (b"\xff\xfe", None),
    ],
)
def test_a_damaged_event_names_its_user_all_the_same(value: bytes | None, user: str | None) -> None:
    owners = owners_by_name(Users.of(Settings(), ["alice", "а", "7"]))
    assert set(owners(raw(value))) == ({user.encode()} if user else set())


def test_a_log_is_rid_of_what_was_found_when_its_newest_is_too_old() -> None:
    place = Place(EVENTS, "clicks", Life(1000, 1000, newest_stays=False))
    before = place.gone_by_ms
    for time_ms in (7, 5):
        place.add((b"alice",), SimpleNamespace(timestamp=time_ms), keep=True)
    assert (before, place.gone_by_ms) == (None, 1007)
    assert (place.found, place.users) == (2, {b"alice"})
    assert [each.timestamp for each in place.records] == [7, 5]
    place.life = Life(None, None, newest_stays=False)
    assert place.gone_by_ms is None


def test_a_record_of_another_shape_names_its_user_too(tmp_path: Path) -> None:
    file = tmp_path / "shape.toml"
    file.write_text('[event]\nuser_id = "who.id"\naction = "a"\ntime = "t"\nitem_id = "i"\n')
    users = Users.of(Settings(mapping=str(file)), ["alice", "bob"])
    owners = owners_by_name(users)
    for value, user in (
        (b'{"who":{"id":"alice"},"a":"view","t":1750000000000,"i":1}', b"alice"),
        (b'[{"who":{"id":"bob"},"a":"view","t":1750000000000,"i":1},{}]', b"bob"),
        (b'{"who":{"id":"carol"},"a":"view","t":1750000000000,"i":1}', None),
        (b'{"who":{"id":"alice"}}', b"alice"),
        (b'{"user_id":"alice"}', b"alice"),
        (None, None),
    ):
        assert set(owners(raw(value))) == ({user} if user else set())


def test_a_document_that_is_left_out_is_its_users_and_a_batch_is_of_all_its_users() -> None:
    users = Users.of(Settings(event_format="segment"), ["alice", "bob", "visitor"])
    identify = {"type": "identify", "userId": "alice", "traits": {"email": "a@example.com"}}
    denied = {"context": {"consent": {"categoryPreferences": {"Ads": False}}}, "userId": "bob"}
    found = Place(RAW, "clicks", None)
    owners = owners_by_name(users)
    for document, named in (
        (identify, {b"alice"}),
        ({**identify, "anonymousId": "visitor"}, {b"alice", b"visitor"}),
        (denied, {b"bob"}),
        ({"batch": [identify, denied]}, {b"alice", b"bob"}),
        ({"type": "identify", "userId": "carol"}, set()),
    ):
        record = raw(json.dumps(document).encode())
        assert set(owners(record)) == named
        found.add(owners(record), record, keep=False)
    assert found.users == {b"alice", b"bob", b"visitor"}
    assert owners(raw(b"x", key=b"alice")) == {b"alice"}
