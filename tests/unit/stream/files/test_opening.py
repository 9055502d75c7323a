"""Files are opened by their first bytes; compressed ones that are damaged are told."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd

from stream.errors import DataError
from stream.files.events import EventFiles
from stream.files.lines import read_lines
from stream.files.opening import Source

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
packed = pytest.mark.parametrize("packer", PACKERS)
TEXT = b"".join(b"line %d\n" % number for number in range(20_000))


def write(folder: Path, data: bytes) -> Path:
    path = folder / "events"
    path.write_bytes(data)
    return path


@packed
def test_several_compressed_parts_in_a_file_are_read_whole(tmp_path: Path, packer: str) -> None:
    pack = PACKERS[packer]
    parts = [b"one\n", b"", b"two\nthr", b"ee\n"]
    path = write(tmp_path, b"".join(map(pack, parts)))
    assert [line for _, line in read_lines(path)] == [b"one", b"two", b"three"]


@packed
def test_a_file_that_was_cut_is_told_with_the_place(tmp_path: Path, packer: str) -> None:
    data = PACKERS[packer](TEXT)
    for end in (len(data) // 2, len(data) - 1):
        path = write(tmp_path, data[:end])
        with pytest.raises(DataError, match=f"events: the {packer} data is damaged.*copy the file"):
            list(read_lines(path))


@packed
def test_a_file_whose_bytes_changed_is_told(tmp_path: Path, packer: str) -> None:
    data = bytearray(PACKERS[packer](TEXT))
    if packer == "zstd":
        # as its program does, with a checksum
        options = {int(zstd.CompressionParameter.checksum_flag): 1}
        data = bytearray(zstd.compress(TEXT, options=options))
    data[len(data) // 2] ^= 0x55
    path = write(tmp_path, bytes(data))
    with pytest.raises(DataError, match=f"events: .*{packer} data is damaged"):
        list(read_lines(path))


@pytest.mark.parametrize("packer", ["gzip", "zstd"])  # the others take what follows for padding
def test_what_follows_the_compressed_data_is_not_passed_over(tmp_path: Path, packer: str) -> None:
    path = write(tmp_path, PACKERS[packer](TEXT) + b"some other text")
    with pytest.raises(DataError, match=f"events: the {packer} data is damaged"):
        list(read_lines(path))


def test_events_before_the_damage_are_counted(tmp_path: Path) -> None:
    rows = b"".join(b"u%d,i%d,1764000000\n" % (row % 99, row) for row in range(50_000))
    path = write(tmp_path, zstd.compress(b"user_id,item_id,time\n" + rows)[:-100])
    files = EventFiles([path])
    with pytest.raises(DataError, match=r"the zstd data is damaged after line \d+ .*copy"):
        for _ in files:
            pass
    assert 0 < files.events <= files.rows < 50_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04rest", "is not text but a zip archive"),
        (b"PARErest", "an encrypted Parquet file"),
        (b"ORC\x01", "an ORC file; write it as Parquet"),
        (b"Obj\x01\x04", "an Avro file"),
        (b"FEA1\x00", "Feather file of version 1"),
        (b"SQLite format 3\x00", "an SQLite database"),
        (b"\x04\x22\x4d\x18rest", "compressed with lz4"),
        (b"\xff\xfea\x00", "UTF-16; save it as UTF-8"),
        (gzip.compress(b"PAR1....PAR1", mtime=0), "is Parquet inside gzip; decompress it"),
        (gzip.compress(b"", mtime=0), "is empty"),
    ],
)
def test_files_that_are_named_as_what_they_are(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(DataError, match="events: ") as raised:
        Source(write(tmp_path, content))
    assert message in str(raised.value)


def test_an_archive_inside_gzip_is_named(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        member = tarfile.TarInfo("ratings.csv")
        member.size = len(TEXT)
        archive.addfile(member, io.BytesIO(TEXT))
    with pytest.raises(DataError, match="is not text but a tar archive; unpack it"):
        Source(write(tmp_path, sink.getvalue()))


@packed
def test_how_far_a_file_is_read(tmp_path: Path, packer: str) -> None:
    path = write(tmp_path, PACKERS[packer](TEXT))
    with Source(path) as source:
        assert source.compression == packer
        while source.stream.read(1 << 16):
            pass
        assert 0 < source.bytes_read <= source.size == path.stat().st_size
