"""Shows each invariant a history that breaks it, made by hand from a sound one.

It turns red, and says what is wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from zlib import crc32

import orjson
import pytest

from tests.faults.core import World
from tests.faults.oracle.checks import CHECKS, violations
from tests.faults.oracle.history import Exit, History, Poll, Production, Record, Sent, fingerprint
from tests.faults.oracle.liveness import longest_wait_s


@pytest.fixture(scope="module")
def sound() -> History:
    world = World(11, users=12)
    world.live("after_states", 3)
    world.live()
    return world.finished()


def test_the_sound_one_is_sound(sound: History) -> None:
    assert violations(sound) == {}
    assert len(sound.reference.applied) > 80
    assert sound.letters


def last_of(records: list[Record], partition: int = 0) -> Record:
    return [record for record in records if record.partition == partition][-1]


def changed(record: Record, **fields: object) -> Record:
    """An update with other content."""
    return replace(record, value=orjson.dumps({**orjson.loads(record.value or b""), **fields}))


def acknowledged_and_gone(history: History) -> History:
    return replace(
        history, journal=[*history.journal, Sent("x", "user-1", 99, 0, 0, "ok", (0, 10**6), "none")]
    )


def failed_and_there(history: History) -> History:
    mark = fingerprint(history.source[3].value)
    return replace(history, journal=[Sent("x", "user-1", 99, 0, 0, "fail", (-1, -1), mark)])


def update_from_nowhere(history: History) -> History:
    ghost = changed(
        history.updates[0], source={"topic": history.topic, "partition": 0, "offset": 10**6}
    )
    return replace(history, updates=[*history.updates, ghost])


def unknown_and_not_applied(history: History) -> History:
    record = next(
        each
        for each in history.source
        if (each.partition, each.offset) in history.reference.applied
    )
    journal = [Sent("x", "user", 0, 0, 0, "info", (-1, -1), fingerprint(record.value))]
    return replace(
        history,
        journal=journal,
        changelog=[each for each in history.changelog if each.key != record.key],
    )


def newest_state_lost(history: History) -> History:
    return replace(
        history,
        changelog=[each for each in history.changelog if each is not last_of(history.changelog)],
    )


def state_in_the_other_partition(history: History) -> History:
    moved = replace(last_of(history.changelog), partition=1)
    return replace(history, changelog=[*history.changelog, moved])


def older_state_later(history: History) -> History:
    """Another record of an offset that was passed: a zombie's."""
    user = last_of(history.changelog).key
    first = next(each for each in history.changelog if each.key == user)
    body = bytearray(first.value or b"")[:-4]
    struct.pack_into("<f", body, 80, 0.25)
    value = bytes(body) + crc32(body).to_bytes(4, "little")
    return replace(history, changelog=[*history.changelog, replace(first, value=value)])


def table_behind(history: History) -> History:
    table = dict(history.tables["restored"])
    place = next(
        each
        for each in history.changelog
        if history.states[each.partition, each.key or b""].count > 3
    )
    table[place.partition, place.key or b""] = place.value or b""
    return replace(history, tables={"worker": table})


def update_again_with_other_numbers(history: History) -> History:
    interests = [
        {**each, "probability": 0.9}
        for each in orjson.loads(history.updates[0].value or b"")["interests"]
    ]
    return replace(
        history, updates=[*history.updates, changed(history.updates[0], interests=interests)]
    )


def replay_cut_without_a_fault(history: History) -> History:
    user = last_of(history.updates).key
    first = next(each for each in history.updates if each.key == user)
    cut = changed(first, update_id="never seen before")
    return replace(history, updates=[*history.updates, cut], disturbed=[])


def newest_update_missing(history: History) -> History:
    gone = last_of(history.updates)
    return replace(history, updates=[each for each in history.updates if each is not gone])


def update_that_counts_wrong(history: History) -> History:
    return replace(
        history, updates=[changed(history.updates[0], events_seen=77), *history.updates[1:]]
    )


def some_update_missing(history: History) -> History:
    return replace(history, updates=history.updates[1:])


def profile_of_an_erased_user(history: History) -> History:
    user = last_of(history.updates).key
    marks = history.reference.marks
    place = next(each for each in marks if each[1] == user)
    marks[place].append(replace(marks[place][-1], gone=True))
    return history


def profile_left_behind(history: History) -> History:
    gone = last_of(history.profiles)
    return replace(history, profiles=[each for each in history.profiles if each is not gone])


def two_writers(history: History) -> History:
    return replace(
        history,
        productions=[
            Production("a", 0, 7, 40),
            Production("b", 0, 8, 45),
            Production("a", 0, 7, 50),
        ],
    )


def two_writers_in_a_generation(history: History) -> History:
    return replace(history, productions=[Production("a", 0, 7, 40), Production("b", 0, 7, 45)])


def commit_ahead(history: History) -> History:
    """What a crash leaves when offsets were committed before the states were acknowledged."""
    cut = [
        each for each in history.changelog if each.offset < last_of(history.changelog).offset - 3
    ]
    return replace(history, changelog=cut)


def commit_beyond_the_end(history: History) -> History:
    return replace(history, polls=[Poll(0.0, 0, 12, 10)])


def commit_that_goes_back(history: History) -> History:
    return replace(history, polls=[Poll(0.0, 0, 8, 10), Poll(1.0, 0, 7, 10)])


def dead_letter_missing(history: History) -> History:
    return replace(history, letters=[], journal=[])


def dead_letter_of_a_good_event(history: History) -> History:
    place = next(iter(history.reference.applied))
    headers = (("is.dlq.partition", b"%d" % place[0]), ("is.dlq.offset", b"%d" % place[1]))
    return replace(
        history, letters=[*history.letters, Record(place[0], 99, None, None, 0, headers)]
    )


def dead_letter_cut(history: History) -> History:
    letter = history.letters[0]
    return replace(history, letters=[replace(letter, value=(letter.value or b"")[:-1])])


def dead_letter_without_its_headers(history: History) -> History:
    letter = history.letters[0]
    own = tuple(header for header in letter.headers if header[0].startswith("is.dlq."))
    return replace(history, letters=[replace(letter, headers=own)])


def stuck(history: History) -> History:
    return replace(
        history, polls=[Poll(float(second), 0, 5, 10) for second in range(40)], disturbed=[]
    )


def behind_for_long_after_a_fault(history: History) -> History:
    before, after = (
        [Poll(9.0, 0, 5, 10)],
        [Poll(10.0 + second, 0, 5 + second // 8, 30) for second in range(20)],
    )
    return replace(history, polls=before + after, disturbed=[(2.0, 9.5)])


def partition_that_starves(history: History) -> History:
    """Partition 0 gets an update 20 s after its event, others at once."""
    places = [place for place in sorted(history.reference.applied) if place[0] < 2]
    journal = [Sent("x", "user", 0, 100.0, 100.0, "ok", place, "none") for place in places]
    updates = [
        replace(each, timestamp_ms=120_000 if each.partition == 0 else 100_100)
        for each in history.updates
    ]
    return replace(history, journal=journal, updates=updates, disturbed=[], epoch_s=0.0)


def strange_line(history: History) -> History:
    return replace(
        history, logs={"a": "2026-01-01 ERROR interest_stream: something nobody planned"}
    )


def strange_exit(history: History) -> History:
    return replace(history, exits=[Exit("a", 1, (0, -9))])


BROKEN: list[tuple[str, Callable[[History], History]]] = [
    ("A1", acknowledged_and_gone),
    ("A2", failed_and_there),
    ("A2", update_from_nowhere),
    ("A3", unknown_and_not_applied),
    ("T1", newest_state_lost),
    ("T3", state_in_the_other_partition),
    ("T4", older_state_later),
    ("T5", table_behind),
    ("T5", older_state_later),
    ("U1", update_again_with_other_numbers),
    ("U1", replay_cut_without_a_fault),
    ("U2", newest_update_missing),
    ("U3", update_that_counts_wrong),
    ("U4", some_update_missing),
    ("U5", profile_of_an_erased_user),
    ("U5", profile_left_behind),
    ("O1", two_writers),
    ("O1", two_writers_in_a_generation),
    ("C1", commit_ahead),
    ("C2", commit_beyond_the_end),
    ("C2", commit_that_goes_back),
    ("D1", dead_letter_missing),
    ("D1", dead_letter_of_a_good_event),
    ("D2", dead_letter_cut),
    ("D2", dead_letter_without_its_headers),
    ("L1", behind_for_long_after_a_fault),
    ("L2", stuck),
    ("L3", partition_that_starves),
    ("H1", strange_line),
    ("H1", strange_exit),
]


@pytest.mark.parametrize(
    ("code", "break_"), BROKEN, ids=[f"{code} {break_.__name__}" for code, break_ in BROKEN]
)
def test_it_turns_red(sound: History, code: str, break_: Callable[[History], History]) -> None:
    assert CHECKS[code](break_(sound))


def test_every_invariant_has_such_a_history() -> None:
    assert {code for code, _ in BROKEN} == CHECKS.keys()


def test_a_partition_that_comes_back_in_a_later_generation_is_no_violation(sound: History) -> None:
    writes = [
        Production("a", 0, 7, 40),
        Production("b", 0, 8, 45),
        Production("a", 0, 9, 50),
        Production("b", 1, 7, 2),
    ]
    assert CHECKS["O1"](replace(sound, productions=writes)) == []


def test_lag_during_a_fault_is_no_violation(sound: History) -> None:
    polls = [Poll(float(second), 0, 5, 10) for second in range(40)]
    assert CHECKS["L2"](replace(sound, polls=polls, disturbed=[(0.0, 39.0)])) == []


def test_only_the_partition_that_starves_is_named_and_none_while_a_fault_lasts(
    sound: History,
) -> None:
    broken = partition_that_starves(sound)
    assert {sentence.split(":")[0] for sentence in CHECKS["L3"](broken)} == {"partition 0"}
    assert longest_wait_s(broken) == 20.0
    assert CHECKS["L3"](replace(broken, disturbed=[(110.0, 111.0)])) == []


def test_a_lag_that_is_gone_soon_after_a_fault_is_no_violation(sound: History) -> None:
    broken = behind_for_long_after_a_fault(sound)
    healed = [replace(poll, committed=10) if poll.at_s > 15 else poll for poll in broken.polls]
    assert CHECKS["L1"](replace(broken, polls=healed)) == []
    assert CHECKS["L1"](replace(broken, disturbed=[*broken.disturbed, (20.0, 21.0)])) == [], (
        "another fault came meanwhile"
    )


def test_with_instance_ids_a_place_is_taken_once() -> None:
    taken = [
        Production("a", 0, 7, 40),
        Production("b", 0, 7, 45),
        Production("c", 0, 7, 47),
        Production("c", 0, 7, 50),
    ]
    assert CHECKS["O1"](History("clicks", productions=taken, static_members=True)) == []
    came_back = [*taken, Production("a", 0, 7, 55)]
    assert len(CHECKS["O1"](History("clicks", productions=came_back, static_members=True))) == 1
