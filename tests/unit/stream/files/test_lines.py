"""Lines are read in bounded memory, and files that are no text are named as what they are."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from stream.errors import DataError
from stream.files.lines import MAX_LINE_BYTES, read_lines, read_stream


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
def test_lines_are_numbered_and_blank_ones_left_out(tmp_path: Path, packed: bool) -> None:
    content = b"\xef\xbb\xbfone\r\n\n  \nfour\nfive"
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert list(read_lines(path)) == [(1, b"one"), (4, b"four"), (5, b"five")]


def test_an_overlong_line_is_cut_and_the_next_one_is_whole() -> None:
    stream = io.BytesIO(b"x" * (3 * MAX_LINE_BYTES) + b"\nnext\n")
    (number, long), after = read_stream(stream, "name")
    assert (number, len(long)) == (1, MAX_LINE_BYTES + 1)
    assert after == (2, b"next")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b"PK\x03\x04rest", "a zip archive; unpack it"),
        (b"PAR1rest", "a Parquet file"),
        (b"\xff\xfea\x00", "UTF-16; save it as UTF-8"),
        (b"\x00\x01\x02", "binary data"),
        (gzip.compress(b"user_id,item_id\nu1,a\n" * 9, mtime=0)[:-9], "the gzip data is damaged"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "events"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="events: ") as raised:
        list(read_lines(path))
    assert message in str(raised.value)


def test_a_folder_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder; name the files in it"):
        list(read_lines(tmp_path))
