"""Checks the oracle of the fuzzer.

It is silent about every seed with the real decoder, and not about a decoder that errs.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from stream.kafka.batches.checked_records import CheckedPartitionRecords
from stream.pipeline.decode import Decoder
from tests.faults import fuzz_batches
from tests.faults.fuzz_events import examine, seeds
from tests.support.poison import event


def test_nothing_is_found_in_the_seeds() -> None:
    decoder = Decoder()
    assert [
        found for value in seeds(70_000) if (found := examine(value, decoder)) is not None
    ] == []


class Erring(Decoder):
    """A decoder with a fault of one kind."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.kept = kind, b""

    def decode(self, topic: str, partition: int, records: Any, now_ms: int | None = None) -> Any:
        if self.kind == "raises":
            raise KeyError("user_id")
        if self.kind == "slow":
            began = time.thread_time()
            while time.thread_time() < began + 0.15:
                pass
        if self.kind == "large":
            self.kept = b"x" * (_returned_bytes() + 400_000_000)
        return super().decode(topic, partition, [] if self.kind == "forgets" else records, now_ms)


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
    assert examine(event(',"value":2.5'), Decoder()) is None
    monkeypatch.setattr("stream.contracts.event.MAX_DEPTH", 2)
    assert (
        examine(event(',"note":[[[]]]'), Decoder()) == "the decoder refuses what the audit does not"
    )
    monkeypatch.setattr("tests.faults.fuzz_events.parse_event", lambda record, limits: _other())
    assert examine(event(), Decoder()) == "other item_id than json reads"


def test_damaged_batches_end_as_records_and_every_offset_is_told() -> None:
    report = fuzz_batches.run(seed=1, logs=3_000, seconds=60)
    assert (report["logs"] > 100, report["findings"]) == (True, {})


def test_a_reader_of_batches_that_errs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def stock(data: bytes, position: int) -> tuple[list[Any], int]:
        tp, stock_of_aiokafka = TopicPartition("fuzzed", 0), CheckedPartitionRecords.__base__
        fetched = stock_of_aiokafka(tp, MemoryRecords(data), [], position, None, None, True, 1)
        return list(fetched), fetched.next_fetch_offset

    monkeypatch.setattr(fuzz_batches, "read", stock)
    found = fuzz_batches.run(seed=1, logs=200, seconds=60)["findings"]
    assert any("CorruptRecord" in each for each in found)


def _returned_bytes() -> int:
    """Returns how much less memory this process has than at its peak, by which growth is told."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return max(0, peak - pages * resource.getpagesize())


def _other() -> Any:
    from stream.contracts.event import Event
    from tests.support.poison import TIME_MS

    return Event(user_id="poisoned", action="view", time=TIME_MS, item_id="item-2")
