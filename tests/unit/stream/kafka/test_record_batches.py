"""Checks that Kafka's own readers and aiokafka's own writer agree with our record batches."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import PublishError
from stream.kafka import record_batches
from stream.kafka.record_batches import (
    CODECS,
    MAX_BATCH_BYTES,
    MAX_RECORD_BYTES,
    PreparedBatch,
    pack,
)

NOW_MS = 1_764_000_000_000
maybe_bytes = st.none() | st.binary(max_size=300)
headers = st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=3)


def built(section: record_batches.Section) -> bytes:
    batch = PreparedBatch(section)
    batch._set_producer_state(7, 1, 42)
    return bytes(batch.build())


def read(
    raw: bytes,
) -> list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]]:
    batch = DefaultRecordBatch(raw)
    assert batch.validate_crc()
    return [(each.offset, each.key, each.value, list(each.headers)) for each in batch]


@given(st.lists(st.tuples(maybe_bytes, maybe_bytes, headers), min_size=1, max_size=200))
def test_without_compression_a_batch_is_byte_for_byte_what_aiokafka_writes(
    records: list[Any],
) -> None:
    keys, values, tails = (list(column) for column in zip(*records, strict=True))
    (section,) = pack(keys, values, NOW_MS, "none", tails)
    reference = DefaultRecordBatchBuilder(2, 0, 0, 7, 1, 42, MAX_BATCH_BYTES)
    for place, (key, value, tail) in enumerate(records):
        reference.append(place, timestamp=NOW_MS, key=key, value=value, headers=tail)
    assert built(section) == bytes(reference.build())


@pytest.mark.parametrize("compression", CODECS)
def test_every_codec_is_read_back(compression: str) -> None:
    keys = [b"user-%d" % place for place in range(300)]
    values = [b'{"a":"%d"}' % (place % 7) * 20 for place in range(300)]
    (section,) = pack(keys, values, NOW_MS, compression)
    assert section.codec == CODECS[compression][0]
    assert read(built(section)) == [(place, keys[place], values[place], []) for place in range(300)]


def test_what_does_not_shrink_is_sent_as_it_is() -> None:
    (section,) = pack([b"k"], [b"v"], NOW_MS, "lz4")
    assert section.codec == 0
    assert read(built(section)) == [(0, b"k", b"v", [])]


@pytest.mark.parametrize("size", [0, 1, 62, 63, 64, 8191, 8192, 100_000, MAX_RECORD_BYTES - 10])
def test_batches_stay_below_the_limit_and_lose_nothing(size: int) -> None:
    count = 2_000_000 // (size + 100) + 2
    keys, values = [b"k"] * count, [bytes([place % 251]) * size for place in range(count)]
    sections = list(pack(keys, values, NOW_MS, "none"))
    assert all(len(built(section)) <= MAX_BATCH_BYTES + 100 for section in sections)
    assert [record[2] for section in sections for record in read(built(section))] == values
    assert sum(section.count for section in sections) == count


def test_a_record_too_large_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(PublishError, match="nothing was sent"):
        next(pack([b"a", b"b"], [b"", bytes(MAX_RECORD_BYTES)], NOW_MS, "lz4"))


def test_no_records_make_no_batch() -> None:
    assert list(pack([], [], NOW_MS, "lz4")) == []
