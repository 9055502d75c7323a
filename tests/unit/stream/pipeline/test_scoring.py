"""Checks that an event on which the model fails is parked alone.

Its neighbours in the batch are applied once.
"""

from __future__ import annotations

import copy
import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.compact import hash64
from models.predict import NullPredictor, null_predictor
from stream.contracts.faults import Reject
from stream.contracts.state_record import decode_record
from stream.contracts.update import UpdateSize
from stream.pipeline.decode import Decoder
from stream.pipeline.scoring import Outcome, Scoring
from stream.pipeline.state import Arena
from tests.support.contracts import faults

TIME_MS = 1_767_225_600_000
POISON = hash64("poison")


FAILURES = {
    "arithmetic": ZeroDivisionError("no"),
    "shape": ValueError("no"),
    "torch": RuntimeError("no"),
    "bug": KeyError("no"),
    "memory": RuntimeError(
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes"
    ),
}


class Fussy(NullPredictor):
    """Fails on the item `poison`, in the way that is asked for.

    Its memory is the sum of the keys it saw.
    """

    def __init__(self, failure: str) -> None:
        super().__init__(null_predictor(2).info)
        self.failure = failure

    def step(self, state: Any, events: Any, sizes: Any, previous_ms: Any) -> Any:
        bad = events["key"] == POISON
        if bad.any() and self.failure != "not finite":
            raise FAILURES[self.failure]
        state = super().step(state, events, sizes, previous_ms)
        if bad.any():
            state[:, 1] = np.nan
        return state


def batch(items: list[tuple[str, str]], first: int = 0) -> Any:
    """Events (user, item) of one partition."""
    records = [
        SimpleNamespace(
            key=user.encode(),
            value=orjson.dumps(
                {"user_id": user, "action": "view", "time": TIME_MS, "item_id": item}
            ),
            headers=(),
            offset=first + place,
            timestamp=TIME_MS,
        )
        for place, (user, item) in enumerate(items)
    ]
    return Decoder().decode("clickstream", 0, records)


def applied(items: list[tuple[str, str]], failure: str = "shape") -> tuple[Outcome, Arena]:
    arena = Arena(2, 1, 4)
    return Scoring(Fussy(failure), UpdateSize()).process(batch(items), arena, TIME_MS), arena


@pytest.mark.parametrize("failure", ["arithmetic", "shape", "torch", "not finite"])
def test_only_the_event_that_fails_is_parked(failure: str) -> None:
    items = [(f"u{place % 3}", f"i{place}") for place in range(31)]
    items.insert(17, ("u1", "poison"))
    outcome, arena = applied(items, failure)
    assert [(each.offset, each.reason) for each in outcome.rejects] == [(17, "unprocessable")]
    assert outcome.rejects[0].message
    assert outcome.applied == 31
    rows = arena.gather(arena.find([b"u0", b"u1", b"u2"]))
    assert rows["count"].tolist() == [11, 10, 10]
    assert np.isfinite(rows["memory"]).all()


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["poison", "i1", "i2", "i3"])),
        min_size=1,
        max_size=40,
    )
)
def test_states_are_those_of_a_topic_without_the_poison(items: list[tuple[str, str]]) -> None:
    outcome, arena = applied(items)
    bad = [place for place, (_, item) in enumerate(items) if item == "poison"]
    assert [each.offset for each in outcome.rejects] == bad
    alone = Arena(2, 1, 4)
    scoring = Scoring(null_predictor(2), UpdateSize())
    for place, item in enumerate(items):
        if place not in bad:
            scoring.process(batch([item], first=place), alone, TIME_MS)
    users = alone.users()
    assert [arena.encoded(user) for user in users] == [alone.encoded(user) for user in users]
    latest = dict(zip(outcome.users, outcome.states, strict=True))
    assert {user: latest[user] for user in users} == {user: alone.encoded(user) for user in users}


def test_a_fault_of_the_program_is_no_fault_of_an_event() -> None:
    """Such a fault stops the worker.

    Parking every event would empty the topic into the dead letters.
    """
    with pytest.raises(KeyError):
        applied([("u", "i1"), ("u", "poison")], "bug")


def test_a_record_of_several_events_is_applied_wholly_or_parked_wholly() -> None:
    """However a batch is halved: events of one offset stay together."""
    items = ["i0", "i1", "i2", "poison", "i4", "i5", "i6", "i7", "i8"]
    whole = batch([("u" if each < 5 else "v", item) for each, item in enumerate(items)])
    for offsets in ([0, 0, 0, 1, 1, 2, 2, 2, 3], [0, 1, 1, 1, 1, 1, 2, 2, 2], [0] * 4 + [1] * 5):
        given = dataclasses.replace(whole, offsets=np.array(offsets), last_offset=offsets[-1])
        bad = offsets[3]
        arena = Arena(2, 1, 4)
        outcome = Scoring(Fussy("shape"), UpdateSize()).process(given, arena, TIME_MS)
        assert [each.offset for each in outcome.rejects] == [bad]
        assert outcome.applied == sum(each != bad for each in offsets)
        good = [item for item, offset in zip(items, offsets, strict=True) if offset != bad]
        held = [
            int(each["key"])
            for user in arena.users()
            for each in decode_record(arena.encoded(user) or b"").recent
        ]
        assert sorted(held) == sorted(map(hash64, good))


class Counting(Fussy):
    """Notes how many events each call is given."""

    def __init__(self) -> None:
        super().__init__("shape")
        self.calls: list[int] = []

    def step(self, state: Any, events: Any, sizes: Any, previous_ms: Any) -> Any:
        self.calls.append(len(events))
        return super().step(state, events, sizes, previous_ms)


def test_the_model_takes_so_many_events_at_once_or_those_of_one_record() -> None:
    items = [("u" if each % 10 < 5 else "v", f"i{each}") for each in range(40)]
    offsets = np.repeat(np.arange(8), 5)  # eight records of five events

    def outcome_of(most: int) -> tuple[Counting, Outcome, Arena]:
        given = dataclasses.replace(batch(items), offsets=offsets, last_offset=7)
        other = dataclasses.replace(batch([("w", "i1")], first=50), partition=1)
        model, arena = Counting(), Arena(2, 1, 4)
        scoring = Scoring(model, UpdateSize(), most_events=most)
        outcome, alone = scoring.score([(given, arena), (other, Arena(2, 1, 4))], TIME_MS)
        assert alone.applied == 1
        scoring.write(outcome)
        return model, outcome, arena

    whole_model, whole, arena = outcome_of(100)
    assert whole_model.calls == [41]
    for most, calls in ((24, [11, 10, 10, 10]), (4, [6, 5, 5, 5, 5, 5, 5, 5])):
        model, cut, other = outcome_of(most)
        assert model.calls == calls
        assert (cut.applied, cut.rejects) == (whole.applied, []) == (40, [])
        for user in (b"u", b"v"):
            assert other.encoded(user) == arena.encoded(user)


def test_want_of_memory_is_no_fault_of_an_event() -> None:
    with pytest.raises(MemoryError):
        applied([("u", "i1"), ("u", "poison")], "memory")


def test_a_failure_leaves_the_arena_as_it_was() -> None:
    _, arena = applied([("u", "i1")])
    before = copy.copy(arena.encoded(b"u"))
    outcome = Scoring(Fussy("torch"), UpdateSize()).process(
        batch([("u", "poison")], first=1), arena, TIME_MS
    )
    assert arena.encoded(b"u") == before
    assert (outcome.users, outcome.updates, outcome.states, outcome.applied) == ([], [], [], 0)


def test_a_user_is_scored_once_and_the_update_speaks_of_the_last_event() -> None:
    outcome, _ = applied([("u", "i1"), ("v", "i2"), ("u", "i3")])
    assert outcome.users == [b"u", b"v"]
    update = orjson.loads(outcome.updates[0] or b"")
    assert not faults("update-1", update)
    assert (update["source"]["offset"], update["events_seen"]) == (2, 2)
    assert int(decode_record(outcome.states[0] or b"").header["offset"]) == 2


def test_bad_records_come_first_and_a_batch_of_nothing_does_nothing() -> None:
    bad = batch([("u", "i1")])
    fault = Reject(9, "not-json", "", "", None)
    bad.rejects.append(fault)
    outcome = Scoring(null_predictor(2), UpdateSize()).process(bad, Arena(2, 1, 4), TIME_MS)
    assert outcome.rejects == [fault]
    empty = Scoring(null_predictor(2), UpdateSize()).process(batch([]), Arena(2, 1, 4), TIME_MS)
    assert (empty.users, empty.applied, empty.rejects) == ([], 0, [])


def test_batches_of_two_partitions_in_one_call_lead_to_what_each_leads_to_alone() -> None:
    first = batch([("u", "i1"), ("v", "poison"), ("u", "i2")])
    second = dataclasses.replace(
        batch([("w", "i3"), ("x", "i4"), ("w", "i5")], first=50), partition=1
    )
    alone = [
        Scoring(Fussy("shape"), UpdateSize()).process(each, Arena(2, 1, 4), TIME_MS)
        for each in (first, second)
    ]
    scoring = Scoring(Fussy("shape"), UpdateSize())
    together = scoring.score([(first, Arena(2, 1, 4)), (second, Arena(2, 1, 4))], TIME_MS)
    for one, other in zip(alone, together, strict=True):
        scoring.write(other)
        assert (one.users, one.updates, one.states) == (other.users, other.updates, other.states)
        assert [each.offset for each in one.rejects] == [each.offset for each in other.rejects]
        assert (one.applied, one.replayed) == (other.applied, other.replayed)


class Following(NullPredictor):
    """Scores with a snapshot of what is popular."""

    popularity_as_of: int | None = None


def test_an_update_names_the_snapshot_that_it_was_scored_with_whenever_it_is_written() -> None:
    model, arena = Following(null_predictor(2).info), Arena(2, 1, 4)
    scoring = Scoring(model, UpdateSize())
    (before,) = scoring.score([(batch([("u", "i1"), ("v", "i1")]), arena)], TIME_MS)
    model.popularity_as_of = TIME_MS - 5
    (after,) = scoring.score([(batch([("u", "i2")], first=2), arena)], TIME_MS)
    model.popularity_as_of = TIME_MS
    for outcome, named in ((before, [None, None]), (after, [TIME_MS - 5])):
        scoring.write(outcome)
        updates = [orjson.loads(each or b"") for each in outcome.updates]
        assert [each.get("popularity_as_of") for each in updates] == named
        assert not [fault for each in updates for fault in faults("update-1", each)]
