"""A count is what looking at all users gives, whatever was written, has failed or was begun."""

from __future__ import annotations

import tempfile
import threading
from itertools import product
from pathlib import Path
from unittest import mock

import numpy as np
import orjson
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from models.contract import TRENDS
from stream.serving.store import Store, marks, postings
from stream.serving.store.finding import Wanted
from stream.serving.store.marks import Marks
from stream.serving.store.marks_file import SLOTS, Mapped, Rows
from stream.serving.store.postings import MOST_HOURS, NoRoomError, Postings
from stream.serving.store.tallies import HOUR_MS
from tests.support.processes import HANG_S
from tests.support.serving import NOW_MS, PROFILES, Record, null, update
from tests.support.stored import PLACE, Marked, check_counts, marked, reading

ID = b"0123456789abcdef"
HOUR = NOW_MS - NOW_MS % HOUR_MS
NAMES = "abcdefg"
CHANCES = [0.0, 0.1, 0.25, 0.7, 1.0]
TIMES = [HOUR, HOUR - 1, HOUR_MS, 0, -1, 2**62, -(2**62)]
ASKED = [
    *product("ag", [0.0, 0.1, 0.5, 1.0], [1, 3, 1_000], [None, 0, 1, 2], [0, HOUR]),
    *product("a", [0.0, 0.25], [2, 5], [None, 3], [-HOUR_MS, HOUR_MS, HOUR + HOUR_MS]),
]
"""Name of an interest, least probability, highest rank, trend, and since when."""

some_users = st.integers(0, 8)
some_interests = st.dictionaries(
    st.sampled_from(NAMES), st.sampled_from(CHANCES), min_size=2, max_size=7
)
some_profiles = st.tuples(
    some_users, some_interests, st.sampled_from(TIMES), st.sampled_from(TRENDS)
)
some_batches = st.lists(st.one_of(some_profiles, some_profiles, some_users), min_size=3, max_size=9)
FOLLOWS = ["follows"] * 6
WAYS = [*FOLLOWS, "fails", "is behind a start", "is read anew", "is a first reading"]
some_steps = st.lists(st.tuples(st.sampled_from(WAYS), some_batches), min_size=6, max_size=9)

Said = int | tuple[int, dict[str, float], int, str]
"""A user who is erased, or a user's interests, time and trend."""


def records_of(batch: list[Said], step: int) -> list[Record]:
    """Records of a batch, each newer than those before."""
    records = []
    for place, each in enumerate(batch):
        if isinstance(each, int):
            records.append(null(f"user-{each}", timestamp=NOW_MS + step))
        else:
            user, chances, time_ms, trend = each
            said = [
                {"interest": name, "probability": chance, "trend": trend, "change": 0.1}
                for name, chance in chances.items()
            ]
            name = f"user-{user}"
            value = {**update(name, 1_000 * (step + 1) + place, time=time_ms), "interests": said}
            records.append(Record(name.encode(), orjson.dumps(value)))
    return records


def looked_at(found: dict[int, Marked], asked: tuple[str, float, int, int | None, int]) -> int:
    """How many users of the array a segment has, looked at one by one."""
    interest, least, most, trend, since_ms = asked
    return sum(
        name == interest
        and rank <= most
        and chance >= float(np.float32(least))
        and trend in (None, its_trend)
        and time_ms >= since_ms
        for time_ms, ranks in found.values()
        for rank, (name, chance, its_trend) in ranks.items()
    )


def check_segments(store: Store) -> None:
    """Fails unless each segment has as many users as the profiles say."""
    with reading(store) as db:
        check_counts(db)  # the array is what the profiles say
        found = marked(db)
        numbers = dict(db.execute("SELECT name, interest FROM name"))
    for asked in ASKED:
        counted = store.count(Wanted(numbers.get(asked[0], 999), *asked[1:]))
        assert counted == looked_at(found, asked), asked


# to make an example smaller takes minutes: each has a file
@settings(max_examples=8, phases=set(Phase) - {Phase.shrink, Phase.explain})
@given(some_steps)
def test_a_count_is_what_looking_at_all_users_gives(steps: list[tuple[str, list[Said]]]) -> None:
    small = mock.patch.multiple(postings, BLOCK=2, LEAST_SPARE=12)  # so that they are full at times
    with tempfile.TemporaryDirectory() as folder, small:
        store = Store(Path(folder))
        for number, (way, batch) in enumerate(steps):
            records = records_of(batch, number)
            if way == "fails":
                half_written(store, records)
                check_segments(store)
            elif way == "is behind a start":
                store.close()
                store = Store(Path(folder))
            elif way != "follows":
                store.begin_anew({PROFILES: "an-id"}, loading=way == "is a first reading")
            store.apply(records, [], {PLACE: number})
            store.finish_loading()
            check_segments(store)
        store.close()


def half_written(store: Store, records: list[Record]) -> None:
    """Fails in a batch when its rows are in the array, and not yet where counts look."""
    put = marks._set

    def fail(*given: object) -> None:
        put(*given)  # type: ignore[arg-type]
        marks._set = put
        raise ZeroDivisionError

    with mock.patch.object(marks, "_set", fail), pytest.raises(ZeroDivisionError):
        store.apply(records, [], {PLACE: 0})


def rows(numbers: list[int], interest: int, time_ms: int = HOUR) -> Rows:
    return Rows.of([(number, time_ms, {interest: (0.5, 1, 3)}) for number in numbers])


def all_of(interest: int, since_ms: int = 0) -> Wanted:
    return Wanted(interest, 0.25, 1_000, None, since_ms)


def test_it_follows_an_array_that_grows_and_is_filled(tmp_path: Path) -> None:
    numbers = list(range(0, 2**63, 2**53))  # more than a bucket has room for
    array = Marks(tmp_path / "marks", ID, may_be_open=True)
    array.prepare()
    for low in range(0, len(numbers), 100):
        array.write(rows(numbers[low : low + 100], 1))
        assert array.count(all_of(1)) == min(low + 100, len(numbers))
    array.fill(ID, rows(numbers[:7], 2))
    assert [array.count(all_of(each)) for each in (1, 2)] == [0, 7]
    array.close()


def test_whoever_leaves_makes_room_and_where_there_is_none_it_says_so(tmp_path: Path) -> None:
    array = Marks(tmp_path / "marks", ID, may_be_open=True)
    users = np.arange(SLOTS)
    numbers = (users << 40).tolist()
    array.fill(ID, rows(numbers, 1))
    found = Postings(Mapped(tmp_path / "marks", writes=False).buckets)
    for interest in [2, 1] * (2 * postings.LEAST_SPARE):  # each has a block, again and again
        found.write(users, rows(numbers, interest), users)
        assert [found.count(all_of(each)) for each in (interest, 3 - interest)] == [SLOTS, 0]

    def fill_up() -> None:
        for interest in range(3, 4 + postings.LEAST_SPARE):
            found.write(users, rows(numbers, interest), users)

    with pytest.raises(NoRoomError):
        fill_up()
    array.close()


def test_moments_that_are_far_away_are_no_others(tmp_path: Path) -> None:
    array = Marks(tmp_path / "marks", ID, may_be_open=True)
    moments = [-(2**62), -MOST_HOURS * HOUR_MS, -1, 0, HOUR_MS - 1, MOST_HOURS * HOUR_MS, 2**62]
    for number, moment in enumerate(moments):
        array.write(rows([number], 1, moment))
    since = [-(2**62), -HOUR_MS, 0, HOUR_MS, MOST_HOURS * HOUR_MS, 2**63]
    assert [array.count(all_of(1, each)) for each in since] == [7, 5, 4, 2, 2, 2]
    array.close()


def test_a_count_is_of_one_moment_between_two_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array, numbers = Marks(tmp_path / "marks", ID, may_be_open=True), list(range(200))
    array.write(rows(numbers, 1))
    array.prepare()
    counted, waits = list[int](), threading.Event()

    class Lock:
        """Says when somebody waits for it."""

        held = threading.Lock()

        def __enter__(self) -> None:
            if threading.current_thread() is asking:
                waits.set()
            self.held.acquire()

        def __exit__(self, *_: object) -> None:
            self.held.release()

    def ask() -> None:
        counted.append(array.count(all_of(1)) + array.count(all_of(2)))
        waits.set()

    def while_asked(*given: object) -> None:
        asking.start()
        assert waits.wait(HANG_S)
        assert not counted  # it waits for the batch
        put(*given)  # type: ignore[arg-type]

    put, asking = marks._set, threading.Thread(target=ask)
    monkeypatch.setattr(marks, "_set", while_asked)
    monkeypatch.setattr(array, "_counting", Lock())
    array.write(rows(numbers[:150], 2))
    asking.join()
    assert counted == [200]
    array.close()
