"""A first reading that writes profiles alone leaves what one that writes everything leaves."""

from __future__ import annotations

import random
from pathlib import Path

import orjson
import pytest

from stream.serving.store import Store, loading
from tests.support.serving import NOW_MS, PROFILES, Record, null, record, update
from tests.support.stored import PLACE, check_counts, everything, in_segment, marked, reading

IDS = {PROFILES: "an-id"}


def some_records(chance: random.Random, count: int) -> list[Record]:
    """Records of some users, a few erased, a few that come again, of times far apart."""
    records = []
    for number in range(count):
        user = f"user-{chance.randrange(40)}"
        if chance.random() < 0.1:
            records.append(null(user, timestamp=NOW_MS + number))
            continue
        names = [chance.choice("abcdefghi") for _ in range(chance.randrange(9))]  # some come twice
        interests = [
            {"interest": name, "probability": chance.random(), "trend": "new", "change": 0.1}
            for name in names
        ]
        # half a millionth is rounded alike by Python and by SQL; a clock may be before 1970
        for each in interests[:1]:
            each["probability"] = chance.randrange(1_000_000) / 1_000_000 + 0.0000005
        time_ms = chance.choice((NOW_MS, -1, 0)) - chance.randrange(10**10)
        said = {**update(user, number, time=time_ms), "interests": interests}
        records.append(Record(user.encode(), orjson.dumps(said), NOW_MS + number))
    return records


def test_what_was_loaded_is_what_was_written_one_by_one(store: Store, tmp_path: Path) -> None:
    records, other = some_records(random.Random(3), 300), Store(tmp_path / "other")
    store.begin_anew(IDS, loading=True)
    other.begin_anew(IDS)
    for some in (records[:120], records[120:121], records[121:]):
        store.apply(some, [], {PLACE: 1})
        other.apply(some, [], {PLACE: 1})
    with reading(store) as db:
        assert db.execute("SELECT count(*) FROM tally").fetchone() == (0,)
    store.finish_loading()
    for each in (store, other):  # what follows changes both alike
        each.apply([*records[-30:], record("user-1", 999)], [], {PLACE: 2}, as_of_ms=NOW_MS)
    with reading(store) as mine, reading(other) as its:
        assert everything(mine) == everything(its)
        check_counts(mine)
        schema = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
        assert mine.execute(schema).fetchall() == its.execute(schema).fetchall()
    other.close()


def test_one_that_does_not_come_to_its_end_leaves_no_moment_to_go_on_from(tmp_path: Path) -> None:
    first = Store(tmp_path)
    first.begin_anew(IDS, loading=True)
    first.apply([record("anna", 1)], [], {PLACE: 1})
    first.close()
    again = Store(tmp_path)
    assert again.known().as_of_ms == 0  # so the follower reads all anew
    again.begin_anew(IDS, loading=True)
    again.apply([record("berta", 1)], [], {PLACE: 1})
    again.finish_loading()
    again.finish_loading()  # nothing is left to do
    assert in_segment(again, "camping") == ["berta"]
    again.close()


def test_profiles_are_read_some_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "AT_ONCE", 20)
    store.begin_anew(IDS, loading=True)
    many = [record(f"user-{number}", number) for number in range(41)]
    store.apply(many, [], {PLACE: 1})
    store.finish_loading()
    with reading(store) as db:
        assert len(marked(db)) == len(many)
        check_counts(db)
