"""What is held about a user, in words; reading it from Kafka is tested with the commands."""

from __future__ import annotations

from stream.cli.inspect_command import as_dictionary, in_words
from stream.cli.tail_command import readable
from stream.state import decode_record
from stream.subscribe import Held, recent_events
from tests.contracts import golden, golden_bytes

STATE = golden_bytes("state-1.hex")
UPDATE = golden("updates-valid.jsonl")[0]


def test_recent_events_are_told_in_the_words_of_the_contract() -> None:
    newest, before = recent_events(decode_record(STATE))
    assert newest["query"] == "zelt für zwei"
    assert (before["item or title"], before["action"], before["time"]) == ("item-7", "purchase", 1_767_225_540_000)


def test_state_and_profile_for_a_program_and_for_a_person() -> None:
    found = as_dictionary("user-7", Held(decode_record(STATE), len(STATE), UPDATE, 3))
    assert found["state"]["digest"] == "3a4169d193412a43"
    assert (found["state"]["count"], found["state"]["last_offset"], found["state"]["bytes"]) == (2, 9, len(STATE))
    words = in_words(found)
    assert "user-7: 2 events, the last on 2026-01-01 00:00:00 UTC" in words
    assert "188 bytes in partition 3, up to offset 9" in words
    assert "3a4169d193412a43" in words
    for told in ("zelt für zwei", "Camping", " 62% ↑", "item-0123", "add_to_cart item-0119"):
        assert told in words


def test_half_of_it_is_told_too() -> None:
    assert "No profile is published yet" in in_words(
        as_dictionary("u", Held(decode_record(STATE), len(STATE), None, 3))
    )
    assert "No state is held" in in_words(as_dictionary("u", Held(None, 0, UPDATE, 3)))


def test_an_update_is_one_line_and_names_user_interest_and_cause() -> None:
    line = readable(UPDATE)
    assert "\n" not in line
    for told in ("user-7", "Camping", " 62% ↑", "书籍", "add_to_cart item-0119"):
        assert told in line
    assert readable(golden("updates-valid.jsonl")[1])
