"""Checks that no codec writes more than it may, and that damaged bytes end as an error."""

from __future__ import annotations

import gzip
import zlib

import cramjam
import numpy as np
import pytest

from stream.kafka.batches.decompression import (
    ALWAYS_ALLOWED_BYTES,
    GZIP,
    LZ4,
    MOST_BYTES,
    MOST_RATIO,
    NAMES,
    SNAPPY,
    ZSTD,
    TooLargeError,
    allowed_bytes,
    decompress_into,
)
from tests.support.raw_batches import CODECS

BODY = b"".join(b'{"user_id":"u-%d"}' % number for number in range(5_000))


def out(size: int) -> memoryview:
    return memoryview(np.zeros(size, np.uint8))  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", NAMES)
@pytest.mark.parametrize("body", [BODY, b"x", bytes(200_000)])
def test_each_codec_fills_what_it_needs_and_no_more(codec: int, body: bytes) -> None:
    data = memoryview(CODECS[codec](body))
    room = out(len(body) + 1)
    assert decompress_into(codec, data, room) == len(body)
    assert room[:-1] == body
    assert decompress_into(codec, data, out(len(body))) == len(body)
    with pytest.raises(TooLargeError):
        decompress_into(codec, data, out(len(body) - 1))


@pytest.mark.parametrize("codec", NAMES)
def test_damaged_bytes_are_an_error_and_no_crash(codec: int) -> None:
    data = CODECS[codec](BODY)
    errors = (ValueError, zlib.error, cramjam.DecompressionError, TooLargeError)
    for damaged in (data[: len(data) // 2], b"rubbish" * 10, b""):
        with pytest.raises(errors):
            decompress_into(codec, memoryview(damaged), out(2 * len(BODY)))


def test_bare_snappy_and_a_size_that_lies() -> None:
    bare = bytes(cramjam.snappy.compress_raw(BODY))
    room = out(len(BODY))
    assert decompress_into(SNAPPY, memoryview(bare), room) == len(BODY)
    assert room == BODY
    with pytest.raises(TooLargeError):
        decompress_into(SNAPPY, memoryview(b"\xff\xff\xff\xff\x0f"), out(100))  # 4 GiB, it says


def test_gzip_of_several_members_and_with_rubbish_behind_as_java_reads_it() -> None:
    room = out(100)
    twice = gzip.compress(b"one") + gzip.compress(b"two") + b"rubbish"
    assert bytes(room[: decompress_into(GZIP, memoryview(twice), room)]) == b"onetwo"
    with pytest.raises(ValueError, match="pieces"):
        decompress_into(GZIP, memoryview(gzip.compress(b"") * 200), room)


def test_a_codec_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="no codec 6"):
        decompress_into(6, memoryview(b"x"), out(1))


def test_what_is_allowed_grows_with_the_batch_between_two_bounds() -> None:
    assert allowed_bytes(34_000) == ALWAYS_ALLOWED_BYTES
    assert allowed_bytes(400_000) == MOST_RATIO * 400_000
    assert allowed_bytes(1 << 20) == MOST_BYTES


@pytest.mark.parametrize("codec", [ZSTD, LZ4])
def test_several_frames_are_read_as_one(codec: int) -> None:
    room = out(2 * len(BODY))
    data = CODECS[codec](BODY) * 2
    assert decompress_into(codec, memoryview(data), room) == 2 * len(BODY)
