"""The oracle of the fuzzer: silent about every seed with the real decoder, and not about a decoder that errs."""

from __future__ import annotations

import time
from typing import Any

import pytest

from stream.events import Decoder
from tests.faults.fuzz_events import examine, seeds
from tests.poison import event


def test_nothing_is_found_in_the_seeds() -> None:
    decoder = Decoder()
    assert [found for value in seeds(70_000) if (found := examine(value, decoder)) is not None] == []


class Erring(Decoder):
    """A decoder with a fault of one kind."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.kept = kind, b""

    def decode(self, topic: str, partition: int, records: Any) -> Any:
        if self.kind == "raises":
            raise KeyError("user_id")
        if self.kind == "slow":
            began = time.thread_time()
            while time.thread_time() < began + 0.15:
                pass
        if self.kind == "large":
            self.kept = b"x" * 400_000_000
        return super().decode(topic, partition, [] if self.kind == "forgets" else records)


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        ("raises", event(), "KeyError in decode"),
        ("slow", event(), "slow"),
        ("large", event(), "memory"),
        ("forgets", event(), "neither an event nor a reason"),
    ],
)
def test_a_decoder_that_errs_is_found(kind: str, value: bytes, found: str) -> None:
    assert (examine(value, Erring(kind)) or "").startswith(found)


def test_answers_other_than_those_of_json_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from stream import events

    assert examine(event(',"value":2.5'), Decoder()) is None
    monkeypatch.setattr(events, "MAX_DEPTH", 2)
    assert examine(event(',"note":[[[]]]'), Decoder()) == "the decoder refuses what the audit does not"
    monkeypatch.setattr("tests.faults.fuzz_events.parse_event", lambda record, limits: _other())
    assert examine(event(), Decoder()) == "other item_id than json reads"


def _other() -> Any:
    from stream.events import Event
    from tests.poison import TIME_MS

    return Event(user_id="poisoned", action="view", time=TIME_MS, item_id="item-2")
