"""Checks whose record one is, and until when it can be read; tests/kafka searches real topics."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from stream.clients.holdings import (
    EVENTS,
    Newest,
    Place,
    Users,
    owner_by_name,
    partitions_of_users,
    user_named,
)
from stream.config import Settings
from stream.contracts.pseudonym import pseudonym
from stream.kafka.topic_life import Life


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
        (b'{"user_id":"alice"}', b"alice"),
        (b'{"user_id":"\\u0430"}', "а".encode()),
        (b'{"user_id":7}', None),
        (b'{"user_id": "alice", broken', b"alice"),
        (b"[" * 5000, None),
        (b"\xff\xfe", None),
    ],
)
def test_a_damaged_event_names_its_user_all_the_same(
    value: bytes | None, user: bytes | None
) -> None:
    assert user_named(value) == user


def test_a_log_is_rid_of_what_was_found_when_its_newest_is_too_old() -> None:
    place = Place(EVENTS, "clicks", Life(1000, 1000, newest_stays=False))
    before = place.gone_by_ms
    for time_ms in (7, 5):
        place.add(b"alice", SimpleNamespace(timestamp=time_ms), keep=True)
    assert (before, place.gone_by_ms) == (None, 1007)
    assert (place.found, place.users) == (2, {b"alice"})
    assert [each.timestamp for each in place.records] == [7, 5]
    place.life = Life(None, None, newest_stays=False)
    assert place.gone_by_ms is None


def test_a_record_of_another_shape_names_its_user_too(tmp_path: Path) -> None:
    file = tmp_path / "shape.toml"
    file.write_text('[event]\nuser_id = "who.id"\naction = "a"\ntime = "t"\nitem_id = "i"\n')
    users = Users.of(Settings(mapping=str(file)), ["alice", "bob"])
    owner = owner_by_name(users)
    for value, user in (
        (b'{"who":{"id":"alice"},"a":"view","t":1750000000000,"i":1}', b"alice"),
        (b'[{"who":{"id":"bob"},"a":"view","t":1750000000000,"i":1},{}]', b"bob"),
        (b'{"who":{"id":"carol"},"a":"view","t":1750000000000,"i":1}', None),
        (b'{"who":{"id":"alice"}}', None),
        (b'{"user_id":"alice"}', b"alice"),
        (None, None),
    ):
        assert owner(SimpleNamespace(key=b"session-1", value=value, headers=())) == user
