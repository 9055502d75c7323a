"""Arenas while events flow: a row for each user, wherever it lies."""

from __future__ import annotations

from stream.pipeline.state import Arena


def test_find_grows_and_keeps_what_is_there() -> None:
    arena = Arena(6, fingerprint=9, partitions=4)
    row = arena.find([b"first"])
    held = arena.gather(row)
    held["offset"], held["memory"] = 7, 0.5
    arena.put(row, held)
    before = arena.encoded(b"first")
    arena.find([b"user-%d" % place for place in range(5_000)])
    assert arena.encoded(b"first") == before
    assert arena.find([b"first"]).tolist() == row.tolist()
    assert len(arena) == 5_001
