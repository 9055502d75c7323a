"""Packs updates and profiles: once where they are the same, apart where they are not."""

from __future__ import annotations

from typing import Any

from stream.kafka.publishing import Publishing
from stream.kafka.record_batches import Section

USERS, UPDATES = [b"u", b"v", b"w"], [b"1", None, b"3"]


def bytes_of(sections: list[Section]) -> bytes:
    return b"".join(each.body for each in sections)


def test_what_is_the_same_is_packed_once() -> None:
    updates, profiles, count = Publishing("none").both(USERS, [b"1", b"2", b"3"], 1)
    assert updates is profiles
    assert count == 3


def test_a_profile_that_goes_is_no_update() -> None:
    publishing = Publishing("none")
    updates, profiles, count = publishing.both(USERS, UPDATES, 1)
    assert count == 2
    assert bytes_of(updates) == bytes_of(publishing.sections([b"u", b"w"], [b"1", b"3"], 1))
    assert bytes_of(profiles) == bytes_of(publishing.sections(USERS, UPDATES, 1))


def test_another_form_is_of_updates_alone() -> None:
    publishing = Publishing("none", lambda update: b"\0" + update)
    updates, profiles, count = publishing.both(USERS, UPDATES, 1)
    assert count == 2
    framed: list[Any] = [b"\0" + each for each in UPDATES if each]
    assert bytes_of(updates) == bytes_of(publishing.sections([b"u", b"w"], framed, 1))
    assert bytes_of(profiles) == bytes_of(publishing.sections(USERS, UPDATES, 1))
