"""Values that producers compressed themselves are read, up to a fixed size."""

from __future__ import annotations

import gzip

import cramjam
import pytest

from stream.contracts.faults import BadEvent
from stream.formats.documents import read_documents
from stream.formats.packed import MOST_BYTES, unpacked
from stream.formats.registry import format_named
from tests.support.foreign import cases


def zstd(value: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(value))


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
@pytest.mark.parametrize("value", [b"", b"{}", b"x" * MOST_BYTES])
def test_what_was_packed_is_unpacked(pack: object, value: bytes) -> None:
    assert callable(pack)
    assert unpacked(pack(value)) == value


def test_other_values_stay_as_they_are() -> None:
    for value in (b"", b"{", b"\x1f\x8b", b"\x28\xb5\x2f"):
        assert unpacked(value) is value


def test_several_members_of_gzip_are_one_value() -> None:
    assert unpacked(gzip.compress(b"a") + gzip.compress(b"b")) == b"ab"


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_a_value_that_would_fill_the_memory_is_refused(pack: object) -> None:
    assert callable(pack)
    with pytest.raises(BadEvent, match=f"more than {MOST_BYTES} bytes") as caught:
        unpacked(pack(b"0" * (MOST_BYTES + 1)))
    assert caught.value.reason == "too-large"
    with pytest.raises(BadEvent, match="more than"):
        unpacked(pack(b"0" * (1 << 24)))


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_damaged_values_are_refused(pack: object) -> None:
    assert callable(pack)
    whole = pack("".join(f'{{"type": "track{number}"}}\n' for number in range(9_999)).encode())
    for end in (5, 11, len(whole) // 2, len(whole) - 1):
        damaged = whole[:end]
        with pytest.raises(BadEvent, match="cannot be unpacked"):
            unpacked(damaged)


def test_a_packed_batch_is_read_like_one_that_is_not() -> None:
    found = [case for case in cases("segment", 200) if case.events]
    together = b"[" + b",".join(case.value for case in found) + b"]"
    reading = read_documents(format_named("segment"), zstd(together), (), None)
    assert len(reading.events) == sum(len(case.events) for case in found)
