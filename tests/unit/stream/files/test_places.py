"""A name may stand for a file, a folder or a pattern, on this machine or at an address."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from stream.errors import DataError
from stream.files.catalogue import read_catalogue
from stream.files.events import EventFiles
from stream.files.places import File, Remote, find_files, partition_of, place_of

HEADER = "user_id,item_id,time\n"


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def row(item: str) -> bytes:
    return f"{HEADER}u1,{item},1764000000\n".encode()


def items(*places: File) -> list[str | None]:
    return [event.item_id for chunk in EventFiles(places) for event in chunk]


def names(place: File) -> list[str]:
    return [file.name for file in find_files(place).files]


def test_a_folder_is_its_files_in_order_without_what_is_no_data(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    (folder / "day=2").mkdir(parents=True)
    for name in ("part-10.csv", "part-9.csv", "day=2/part-1.csv"):
        (folder / name).write_bytes(row(name))
    for name in ("_SUCCESS", ".part-9.csv.crc", "part-11.csv"):
        (folder / name).touch()
    files = EventFiles([folder])
    found = [event.item_id for chunk in files for event in chunk]
    assert found == ["day=2/part-1.csv", "part-9.csv", "part-10.csv"]
    assert files.notes == [
        "3 times are seconds: read as such",
        "3 events have no action: read as a view",
        "events: 4 files read",
        "events: 2 files whose names begin with _ or . are not",
        "part-1.csv: what its folders say (day) is not read",
        "part-11.csv: is empty",
    ]
    assert files.bytes_read == files.bytes_to_read > 0


def test_a_pattern(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "a.jsonl"):
        (tmp_path / name).write_bytes(row(name))
    (tmp_path / "c.csv").mkdir()
    (tmp_path / "c.csv" / "part-0").write_bytes(row("part"))
    assert items(tmp_path / "*.csv") == ["a.csv", "b.csv", "part"]
    assert names(tmp_path / "**") == ["a.csv", "a.jsonl", "b.csv", "part-0"]
    (tmp_path / "[x].csv").write_bytes(row("x"))
    assert names(tmp_path / "[x].csv") == ["[x].csv"]
    with pytest.raises(DataError, match="no file fits this pattern"):
        items(tmp_path / "*.tsv")


def test_names_are_looked_up_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(row("a"))
    files = EventFiles([tmp_path / "a.csv", tmp_path / "*.tsv"])
    with pytest.raises(DataError, match="no file fits"):
        next(iter(files))
    assert files.rows == 0


def test_the_place_of_events_is_that_of_the_name(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for name in ("train/a.csv", "train/b.csv", "test.csv"):
        (tmp_path / name).write_bytes(row(name))
    files = EventFiles([tmp_path / "train", tmp_path / "test.csv"])
    assert [files.place for _ in files] == [0, 0, 1]


@pytest.mark.parametrize(
    ("inside", "what"),
    [
        ("_delta_log/0.json", "a Delta table"),
        (".hoodie/hoodie.properties", "a Hudi table"),
        ("metadata/v1.metadata.json", "an Iceberg table"),
    ],
)
def test_a_table_that_is_more_than_its_files_is_refused(
    tmp_path: Path, inside: str, what: str
) -> None:
    path = tmp_path / inside
    path.parent.mkdir()
    path.touch()
    (tmp_path / "part-0.csv").write_bytes(row("a"))
    with pytest.raises(DataError, match=f"is {what}, whose folder holds files of older versions"):
        items(tmp_path)


def test_a_folder_without_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no files in it; name the files"):
        items(tmp_path)
    (tmp_path / "_SUCCESS").touch()
    with pytest.raises(DataError, match=r"no files in it but such as begin with _ or \."):
        items(tmp_path)


def test_what_folders_say_of_their_rows() -> None:
    assert partition_of(Path("/data/day=2026-01-05/kind=a%20b/part=0.csv")) == {
        "day": "2026-01-05",
        "kind": "a b",
    }
    assert partition_of(Remote("s3://b/day=__HIVE_DEFAULT_PARTITION__/p")) == {"day": None}


def test_names_with_a_scheme_are_addresses() -> None:
    assert place_of("s3://bucket/events/") == Remote("s3://bucket/events/")
    assert place_of("events:one.csv") == Path("events:one.csv")
    assert Remote("s3://bucket/events/").name == "events"


def test_files_folders_and_patterns_at_an_address(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe("/bucket/events/part-2.csv.gz", gzip.compress(row("two")))
    memory.pipe("/bucket/events/part-10.csv", row("ten"))
    memory.pipe("/bucket/events/_SUCCESS", b"")
    memory.pipe("/bucket/items.csv", b"item_id,title\ntwo,Tent\n")
    assert items(Remote("memory://bucket/events")) == ["two", "ten"]
    assert items(Remote("memory://bucket/events/")) == ["two", "ten"]
    assert items(Remote("memory://bucket/*/part-*.csv")) == ["ten"]
    assert items(Remote("memory://bucket/events/part-2.csv.gz")) == ["two"]
    assert read_catalogue([Remote("memory://bucket/items.csv")]).titles == ["Tent"]


def test_parquet_at_an_address(memory: fsspec.AbstractFileSystem) -> None:
    pa = pytest.importorskip("pyarrow")
    sink = pa.BufferOutputStream()
    pytest.importorskip("pyarrow.parquet").write_table(
        pa.table({"user_id": [1], "item_id": ["a"], "timestamp": [1764000000]}), sink
    )
    memory.pipe("/bucket/events.parquet", sink.getvalue().to_pybytes())
    assert items(Remote("memory://bucket/events.parquet")) == ["a"]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("memory://bucket/nothing", "there is no such file or folder"),
        ("memory://bucket/*.csv", "no file fits this pattern"),
        ("nonsense://bucket/x", "is no address that can be read"),
        ("gs://bucket/x", r"pip install 'interest-stream\[gcs\]'"),
        ("s3://bucket/x", r"pip install 'interest-stream\[s3\]'"),
    ],
)
def test_addresses_that_cannot_be_read(
    memory: fsspec.AbstractFileSystem, address: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("s3fs", "gcsfs"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(DataError, match=message):
        items(Remote(address))


def test_what_a_store_says_is_told(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoCredentialsError(Exception):
        """As botocore raises it, which is no OSError."""

    def refuse(*_args: object, **_given: object) -> None:
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr(type(memory), "isfile", refuse)
    with pytest.raises(DataError, match=r"NoCredentialsError: Unable to locate .* credentials$"):
        items(Remote("memory://bucket/a.csv"))
    monkeypatch.undo()
    memory.pipe("/bucket/a.csv", row("a"))
    monkeypatch.setattr(type(memory), "open", refuse)
    with pytest.raises(DataError, match=r"memory://bucket/a\.csv: cannot be read"):
        items(Remote("memory://bucket/a.csv"))
