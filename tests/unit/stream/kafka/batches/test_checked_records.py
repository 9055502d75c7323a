"""Checks that whatever bytes a fetch brings end as records, and that every offset is told."""

from __future__ import annotations

import logging
import struct
from typing import Any

import msgspec
import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from stream.contracts.event import Limits, parse_event
from stream.contracts.faults import REASONS, BadEvent, UnreadableBytes
from stream.kafka.batches import checked_records
from stream.kafka.batches.checked_records import (
    CheckedPartitionRecords,
    CheckedRecords,
    check_records,
)
from stream.kafka.batches.decompression import ALWAYS_ALLOWED_BYTES
from tests.support.raw_batches import (
    CODECS,
    batch,
    old_message,
    record,
    varint,
    with_checksum,
    wrongly_summed_lz4,
)

TP = TopicPartition("clicks", 3)
BAD_NAME = b"\xff\xfe-id"


def read(data: bytes, offset: int = 0, aborted: Any = ()) -> tuple[list[Any], int]:
    """Returns the records of a fetch as aiokafka's fetcher gives them, and where it goes on."""
    records = CheckedRecords(data)
    assert records.has_next()
    fetched = CheckedPartitionRecords(TP, records, aborted, offset, None, None, True, 1)
    return list(fetched), fetched.next_fetch_offset


def three(base: int = 0, codec: int = 0, name: bytes = b"trace") -> bytes:
    records = (record(place, b"k", b"v%d" % place, [(name, b"h")]) for place in range(3))
    return batch(b"".join(records), 3, base, codec)


def spans(records: list[Any]) -> list[tuple[int, int, str]]:
    return [
        (each.value.first_offset, each.offset, each.value.reason)
        for each in records
        if isinstance(each.value, UnreadableBytes)
    ]


@pytest.mark.parametrize("codec", CODECS)
def test_sound_batches_are_read_as_aiokafka_reads_them(codec: int) -> None:
    data = three(10, codec) + three(13) + three(16, codec)[:-1]  # the last one is cut short
    assert CheckedRecords(data).size_in_bytes() == len(data)
    ours, position = read(data, 11)
    stock = CheckedPartitionRecords.__base__(TP, MemoryRecords(data), [], 11, None, None, True, 1)
    assert [msgspec.structs.asdict(each) for each in ours] == list(map(vars, stock))
    assert position == stock.next_fetch_offset
    assert [each.offset for each in ours] == [11, 12, 13, 14, 15]


@pytest.mark.parametrize("codec", CODECS)
def test_a_header_name_that_is_not_utf8_is_escaped_and_the_record_counts(codec: int) -> None:
    records, position = read(three(7, codec, BAD_NAME) + three(10), 7)
    assert position == 13
    assert [each.offset for each in records] == list(range(7, 13))
    assert [each.value for each in records[:3]] == [b"v0", b"v1", b"v2"]
    assert records[0].headers == (("\\xff\\xfe-id", b"h"),)
    assert records[0].timestamp == records[3].timestamp


def test_what_a_damaged_batch_says_of_its_span_is_not_believed_against_the_next_batch() -> None:
    damaged = bytearray(three(3))
    struct.pack_into(">i", damaged, 23, 0)  # the last offset, as a delta
    struct.pack_into(">i", damaged, 57, 1)  # the number of records
    records, position = read(three(0) + bytes(damaged) + three(6))
    assert spans(records) == [(3, 5, "corrupt-batch")]
    assert ([each.offset for each in records], position) == ([0, 1, 2, 5, 6, 7, 8], 9)


def test_a_sound_batch_whose_offset_the_next_one_belies_is_part_of_the_damage() -> None:
    shifted = bytearray(bytes(30) + struct.pack(">q", 133) + three(0)[8:])
    struct.pack_into(">i", shifted, 8, len(shifted) - 12)
    records, position = read(bytes(shifted) + three(3))
    assert spans(records) == [(0, 2, "corrupt-batch")]
    assert ([each.offset for each in records], position) == ([2, 3, 4, 5], 6)


def test_a_wrong_checksum_makes_one_letter_of_the_batch() -> None:
    damaged = bytearray(three(3))
    damaged[-1] ^= 1
    records, position = read(three(0) + bytes(damaged) + three(6))
    assert spans(records) == [(3, 5, "corrupt-batch")]
    assert [each.offset for each in records] == [0, 1, 2, 5, 6, 7, 8]
    assert records[3].value == bytes(damaged)
    assert (records[3].key, records[3].headers, position) == (None, (), 9)


@pytest.mark.parametrize("codec", [1, 3, 4])  # snappy shrinks to a twentieth at most
def test_a_bomb_is_not_decompressed_and_its_neighbours_are_read(codec: int) -> None:
    bomb = batch(record(0, b"k", bytes(ALWAYS_ALLOWED_BYTES)), 1, 3, codec)
    records, position = read(three(0) + bomb + three(4))
    assert spans(records) == [(3, 3, "batch-too-large")]
    assert records[3].value == bomb
    assert position == 7


def test_a_batch_of_too_many_records_is_not_read() -> None:
    raw = bytearray(three(0, 4))
    struct.pack_into(">i", raw, 23, 600_000 - 1)
    struct.pack_into(">i", raw, 57, 600_000)
    records, position = read(with_checksum(bytes(raw)))
    assert (spans(records), position) == ([(0, 599_999, "batch-too-large")], 600_000)


def test_what_cannot_be_decompressed_is_one_letter() -> None:
    body = record(0, b"k", b"v") + record(1, b"k", b"w")
    odd = batch(wrongly_summed_lz4(body), 2, 3, 3, compressed=True)
    records, position = read(three(0) + odd + three(5))
    assert (spans(records), position) == ([(3, 4, "corrupt-batch")], 8)


@pytest.mark.parametrize("codec", CODECS)
def test_a_damaged_record_does_not_touch_the_others_of_its_batch(codec: int) -> None:
    bad = varint(4) + b"\0\0\0\xff"
    body = record(0, b"k", b"a") + bad + record(2, b"k", b"c", [(BAD_NAME, None)])
    records, position = read(batch(body, 3, 5, codec), 5)
    assert spans(records) == [(6, 6, "corrupt-record")]
    assert [each.value for each in records] == [b"a", bad[1:], b"c"]
    assert position == 8


def test_where_no_record_begins_any_more_the_rest_is_one_letter() -> None:
    body = record(0, b"k", b"a") + b"\xff" * 30
    records, position = read(batch(body, 4, 5), 5)
    assert (spans(records), position) == ([(6, 8, "corrupt-record")], 9)
    many = batch(varint(0) * 5_000, 5_000)
    records, position = read(many)
    assert (len(records), records[-1].value.first_offset, position) == (1_001, 1_000, 5_000)


def test_offsets_that_do_not_fit_lose_no_neighbour() -> None:
    low, high = bytearray(three(3)), bytearray(three(3))
    struct.pack_into(">q", low, 0, 0)
    struct.pack_into(">q", high, 0, 1 << 50)
    for damaged in (low, high):
        records, position = read(three(0) + bytes(damaged) + three(6))
        assert (spans(records), position) == ([(3, 5, "corrupt-batch")], 9)
        assert [each.offset for each in records] == [0, 1, 2, 5, 6, 7, 8]


def test_a_damaged_length_is_skipped_up_to_the_next_sound_batch() -> None:
    for length in (-1, 3, 10_000):
        damaged = bytearray(three(0))
        struct.pack_into(">i", damaged, 8, length)
        records, position = read(bytes(damaged) + three(3))
        assert (spans(records), position) == ([(0, 2, "corrupt-batch")], 6)
    records, position = read(b"\0" * 7, 40)
    assert (spans(records), position) == ([(40, 40, "corrupt-batch")], 41)


def test_a_damaged_number_of_the_format_does_no_harm_if_the_checksum_fits() -> None:
    damaged = bytearray(three(0))
    damaged[16] = 7
    assert read(bytes(damaged) + three(3)) == read(three(0) + three(3))  # the checksum fits
    damaged[-1] ^= 1
    records, position = read(bytes(damaged) + three(3))
    assert (spans(records), position) == ([(0, 2, "corrupt-batch")], 6)


@pytest.mark.parametrize("magic", [0, 1])
def test_messages_of_the_old_formats_are_read_with_the_same_bound(magic: int) -> None:
    inner = old_message(0, b"k", b"a", magic) + old_message(1, b"k", b"b", magic)
    if magic == 0:  # format 0 has absolute offsets inside
        inner = old_message(5, b"k", b"a", magic) + old_message(6, b"k", b"b", magic)
    packed = old_message(6, None, CODECS[1](inner), magic, codec=1)
    bomb = old_message(7, None, CODECS[1](bytes(ALWAYS_ALLOWED_BYTES + 1)), magic, codec=1)
    damaged = bytearray(old_message(8, b"k", b"v", magic))
    damaged[-1] ^= 1
    plain = old_message(4, b"k", b"plain", magic)
    records, position = read(plain + packed + bomb + bytes(damaged), 4)
    assert position == 8  # what is behind a batch that cannot be read is fetched by itself
    more, position = read(bytes(damaged) + three(9), position)
    records += more
    assert spans(records) == [(7, 7, "batch-too-large"), (8, 8, "corrupt-batch")]
    assert [each.value for each in records[:3]] == [b"plain", b"a", b"b"]
    assert [each.offset for each in records] == [4, 5, 6, 7, 8, 9, 10, 11]
    assert records[0].timestamp == (5 if magic else -1)
    assert position == 12


def test_control_batches_and_aborted_data_are_no_records() -> None:
    def transactional(base: int, body: bytes, attributes: int) -> bytes:
        raw = bytearray(batch(body, 1, base, attributes=attributes))
        struct.pack_into(">qh", raw, 43, 77, 0)
        return with_checksum(bytes(raw))

    data = transactional(0, record(0, b"k", b"gone"), 0x10)
    abort = transactional(1, record(0, b"\0\0\0\0", b"\0" * 6), 0x30)
    kept = transactional(2, record(0, b"k", b"kept"), 0x10)
    bomb = transactional(0, record(0, b"k", b"x"), 0x10)
    records, position = read(data + abort + kept, 0, [(77, 0)])
    assert ([each.value for each in records], position) == ([b"kept"], 3)
    odd = transactional(1, record(0, b"", b""), 0x30)  # no marker that anybody knows
    assert read(bomb + odd + kept, 0)[1] == 3


def test_more_than_fits_at_a_time_is_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked_records, "MOST_BYTES_A_FETCH", 100)
    records, position = read(three(0) + three(3) + three(6))
    assert ([each.offset for each in records], position) == ([0, 1, 2], 3)


def test_bombs_count_by_what_it_costs_to_know_them() -> None:
    bomb = batch(record(0, b"k", bytes(ALWAYS_ALLOWED_BYTES)), 1, 0, 4)
    flood = b"".join(struct.pack(">q", number) + bomb[8:] for number in range(10))
    records, position = read(flood)
    assert (len(records), position) == (4, 4)


def test_what_cannot_be_read_is_told_once_and_without_its_content(
    caplog: pytest.LogCaptureFixture,
) -> None:
    damaged = bytearray(three(100, name=b"secret"))
    damaged[-1] ^= 1
    with caplog.at_level(logging.WARNING, "interest_stream"):
        read(bytes(damaged), 100)
        read(bytes(damaged), 100)
    (line,) = caplog.messages
    assert line.startswith("clicks[3]: what is at offsets 100 to 102 cannot be read: the checksum")
    assert "secret" not in line


def test_the_decoder_gives_it_its_reason() -> None:
    damaged = bytearray(three(0))
    damaged[-1] ^= 1
    ((bad,), _) = read(bytes(damaged))
    with pytest.raises(BadEvent) as caught:
        parse_event(bad, Limits())
    assert caught.value.reason == "corrupt-batch"
    assert caught.value.reason in REASONS


def test_the_fetcher_uses_ours_once_a_consumer_was_made() -> None:
    check_records()
    assert fetcher.MemoryRecords is CheckedRecords
    assert fetcher.PartitionRecords is CheckedPartitionRecords
    check_records()
    assert fetcher.PartitionRecords is CheckedPartitionRecords
