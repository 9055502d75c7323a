"""What is kept about a user is shown to a program and to a person; tests/kafka reads it."""

from __future__ import annotations

from stream.cli.inspect_command import as_dictionary, in_words
from stream.clients.reader import Held
from stream.contracts.state_record import decode_record
from tests.support.contracts import golden, golden_bytes

STATE = golden_bytes("state-1.hex")
UPDATE = golden("updates-valid.jsonl")[0]


def test_state_and_profile_for_a_program_and_for_a_person() -> None:
    found = as_dictionary("user-7", Held(decode_record(STATE), len(STATE), UPDATE, 3))
    assert found["state"]["digest"] == "3a4169d193412a43"
    assert (found["state"]["count"], found["state"]["last_offset"], found["state"]["bytes"]) == (
        2,
        9,
        len(STATE),
    )
    words = in_words(found)
    assert "user-7: 2 events, the last on 2026-01-01 00:00:00 UTC" in words
    assert "188 bytes in partition 3, up to offset 9" in words
    assert "3a4169d193412a43" in words
    for shown in ("zelt für zwei", "Camping", " 62% ↑", "item-0123", "add_to_cart item-0119"):
        assert shown in words


def test_what_is_missing_is_said() -> None:
    assert "No profile is published yet" in in_words(
        as_dictionary("u", Held(decode_record(STATE), len(STATE), None, 3))
    )
    assert "No state is held" in in_words(as_dictionary("u", Held(None, 0, UPDATE, 3)))
