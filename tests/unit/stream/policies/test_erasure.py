"""Checks controls and expiry against a slow reference that takes one record at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.compact import RECENT, hash64
from models.predict import NullPredictor, null_predictor
from stream.contracts.control import Control, encode_control
from stream.contracts.state_record import MARKER, SUPPRESSED, Record, decode_record
from stream.contracts.update import UpdateSize
from stream.pipeline.decode import Decoder
from stream.pipeline.scoring import Outcome, Scoring
from stream.pipeline.state import Arena
from stream.policies.erasure import Remembering, waves

BEGIN_MS = 1_800_000_000_000
MASK = 2**64 - 1
PARTITION = 3
RULES = Remembering(late_window_ms=40, ttl_ms=0)


class OrderKeeping(NullPredictor):
    """Has a memory that depends on every event and on their order."""

    def __init__(self) -> None:
        super().__init__(null_predictor(2).info)

    def step(self, state: Any, events: Any, sizes: Any, previous_ms: Any) -> Any:
        start = 0
        for size in sizes.tolist():
            keys = (events["key"][start : start + size] % np.uint64(997)).astype(np.float32)
            state[:size, 0] = 0.5 * state[:size, 0] + keys
            state[:size, 1] += 1
            start += size
        return state

    def rebuild(self, recent: Any) -> Any:
        state = np.zeros((len(recent), 2), np.float32)
        for slot in range(RECENT - 1, -1, -1):
            there = recent["key"][:, slot] != 0
            keys = (recent["key"][:, slot] % np.uint64(997)).astype(np.float32)
            state[there, 0] = 0.5 * state[there, 0] + keys[there]
            state[there, 1] += 1
        return state


def event(
    user: str, offset: int, broker: int, own: int | None = None, item: str = "", event_id: str = ""
) -> Any:
    value = {
        "user_id": user,
        "action": "view",
        "time": BEGIN_MS + (broker if own is None else own),
        "item_id": item or f"i{offset}",
    }
    if event_id:
        value["event_id"] = event_id
    return SimpleNamespace(
        key=user.encode(),
        value=orjson.dumps(value),
        headers=(),
        offset=offset,
        timestamp=BEGIN_MS + broker,
    )


def control(kind: str, user: str, offset: int, broker: int, item: str | None = None) -> Any:
    asked = Control(kind, user, f"r-{offset}", BEGIN_MS, item)  # type: ignore[arg-type]
    key, value, headers = encode_control(asked)
    return SimpleNamespace(
        key=key, value=value, headers=headers, offset=offset, timestamp=BEGIN_MS + broker
    )


@dataclass
class User:
    """What the laws say of one user, in plain Python."""

    count: int = 0
    digest: int = 0
    offset: int = -1
    broker: int = 0
    erased: int = 0
    suppressed: bool = False
    recent: list[tuple[str, str]] = field(default_factory=list)  # item and event id, oldest first

    def blank(self) -> None:
        self.count = self.digest = 0
        self.recent = []

    def fold(self, record: Any) -> None:
        z = record.offset ^ (crc32(record.value) << 32)
        z = (z ^ (((PARTITION << 1 | 1) * 0xD1B54A32D192ED03) & MASK)) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        self.digest = (self.digest * 0x9E3779B97F4A7C15 + (z ^ (z >> 31))) & MASK

    def take(self, record: Any, rules: Remembering) -> str:
        told = orjson.loads(record.value)
        if record.offset <= self.offset:
            return "replayed"
        over = bool(rules.ttl_ms and self.broker and record.timestamp - self.broker > rules.ttl_ms)
        if "control" in told:
            if over:
                self.blank()
            self.obey(told, record)
        elif self.suppressed:
            return "suppressed"
        elif (
            self.erased
            and told["time"] <= self.erased
            and record.timestamp <= self.erased + rules.late_window_ms
        ):
            return "erased"
        else:
            if over:
                self.blank()
            event_id = told.get("event_id", "")
            if event_id and event_id in [each for _, each in self.recent]:
                return "repeated"
            self.recent = [*self.recent, (told["item_id"], event_id)][-RECENT:]
            self.count += 1
            self.fold(record)
            if record.timestamp > self.erased + rules.late_window_ms:
                self.erased = 0
        self.offset, self.broker = record.offset, record.timestamp
        return "applied"

    def obey(self, told: dict[str, Any], record: Any) -> None:
        kind = told["control"]
        if kind in ("erase", "suppress"):
            self.suppressed = self.suppressed or kind == "suppress"
            self.blank()
            self.erased = record.timestamp
        elif kind == "unsuppress" and (self.suppressed or not self.count):
            self.suppressed = False
            self.blank()
            self.erased = record.timestamp
        elif kind == "forget" and self.count:
            self.recent = [each for each in self.recent if each[0] != told["item_id"]]
            self.fold(record)


def memory_of(recent: Sequence[tuple[str, str]]) -> list[float]:
    memory = np.float32(0)
    for item, _ in recent:
        memory = np.float32(0.5) * memory + np.float32(hash64(item) % 997)
    return [float(memory), len(recent)]


def run(
    records: Sequence[Any], cuts: Sequence[int], rules: Remembering
) -> tuple[Arena, list[Outcome]]:
    scoring, decoder = Scoring(OrderKeeping(), UpdateSize(), rules=rules), Decoder()
    arena, outcomes = Arena(2, 1, 4), []
    edges = sorted({0, len(records), *(min(cut, len(records)) for cut in cuts)})
    for start, end in pairwise(edges):
        batch = decoder.decode("clickstream", PARTITION, records[start:end])
        assert not batch.rejects
        outcomes.append(scoring.process(batch, arena, 7))
    return arena, outcomes


def state(arena: Arena, user: str) -> Record:
    return decode_record(arena.encoded(user.encode()) or b"")


STEP = st.tuples(
    st.integers(0, 2),  # user
    st.sampled_from(["event"] * 6 + ["erase", "suppress", "unsuppress", "unsuppress", "forget"]),
    st.integers(0, 12),  # milliseconds since the record before
    st.integers(-60, 0),  # own time against the broker's
    st.integers(0, 3),  # item
    st.integers(0, 4),  # event id, 0: none
)


def records_of(steps: Sequence[tuple[int, str, int, int, int, int]]) -> list[Any]:
    records, broker = [], 0
    for offset, (user, kind, later, own, item, event_id) in enumerate(steps):
        broker += later
        name, subject = f"u{user}", f"item-{item}"
        if kind == "event":
            given = f"e{event_id}" if event_id else ""
            records.append(event(name, offset, broker, broker + own, subject, given))
        else:
            about = subject if kind == "forget" else None
            records.append(control(kind, name, offset, broker, about))
    return records


@settings(max_examples=120, deadline=None)
@given(
    st.lists(STEP, min_size=1, max_size=80),
    st.lists(st.integers(0, 80), max_size=5),
    st.sampled_from([0, 20]),
    st.integers(0, 80),
)
def test_any_cut_of_the_log_equals_one_record_at_a_time(
    steps: list[Any], cuts: list[int], ttl_ms: int, again: int
) -> None:
    rules = Remembering(late_window_ms=40, ttl_ms=ttl_ms)
    records, users, results = records_of(steps), dict[str, User](), list[str]()
    for record in records:
        user = users.setdefault(record.key.decode(), User())
        results.append(user.take(record, rules))
    arena, outcomes = run(records, cuts, rules)
    for name, want in users.items():
        if want.offset < 0:
            continue
        held = state(arena, name)
        found = [int(held.header[each]) for each in ("count", "digest", "offset", "broker_ms")]
        assert found == [want.count, want.digest, want.offset, want.broker]
        assert (held.erased_ms, held.suppressed) == (want.erased, want.suppressed)
        assert held.recent["key"].tolist() == [hash64(each) for each, _ in want.recent[::-1]]
        assert held.is_marker == (want.count == 0)
        if "forget" not in {kind for _, kind, *_ in steps} and want.count <= RECENT:
            assert held.is_marker or held.memory.tolist() == memory_of(want.recent)
    for name in ("erased", "suppressed", "repeated"):
        assert sum(getattr(each, name) for each in outcomes) == results.count(name)

    # what is read again changes nothing, and publishes nothing
    before = {user: arena.encoded(user) for user in arena.users()}
    batch = Decoder().decode("clickstream", PARTITION, records[again:])
    outcome = Scoring(OrderKeeping(), UpdateSize(), rules=rules).process(batch, arena, 7)
    assert {user: arena.encoded(user) for user in arena.users()} == before
    assert not outcome.controls


def test_after_an_erasure_a_user_is_as_one_who_was_never_seen() -> None:
    """Memory, events and scores are bit-identical; T and the offset differ."""
    lived = [event("u", each, each) for each in range(40)]
    lived += [control("erase", "u", 40, 50), event("u", 41, 60)]
    arena, outcomes = run(lived, [17, 40], RULES)
    fresh, others = run([event("u", 41, 60)], [], RULES)
    one, other = state(arena, "u"), state(fresh, "u")
    assert one.memory.tobytes() == other.memory.tobytes()
    assert one.recent.tobytes() == other.recent.tobytes()
    assert {
        name for name in one.header.dtype.names or () if one.header[name] != other.header[name]
    } == {"erased_ms"}
    assert outcomes[-1].updates[-1] == others[-1].updates[-1]


@pytest.mark.parametrize("came_back", [False, True])
def test_what_was_before_an_erasure_is_dropped_however_it_comes_again(came_back: bool) -> None:
    """Second copies that --rekey forwards after a crash are such records, with and without ids."""
    old = [(each, f"e{each}" if each % 2 else "") for each in range(6)]
    records = [event("u", n, n, n, f"i{n}", name) for n, name in old]
    records.append(control("erase", "u", 6, 10))
    if came_back:
        records.append(event("u", 7, 11, 11, "new"))
    records += [event("u", 8 + n, 12 + n, n, f"i{n}", name) for n, name in old]
    arena, outcomes = run(records, [4, 9], RULES)
    assert sum(each.erased for each in outcomes) == 6
    assert int(state(arena, "u").header["count"]) == int(came_back)
    assert state(arena, "u").is_marker is not came_back


def test_where_nobody_asks_a_batch_is_taken_as_it_is() -> None:
    """It costs nothing that somebody could ask: no wave is cut, and no state looked at for it."""
    records = [event(f"u{each % 3}", each, each) for each in range(20)]
    batch = Decoder().decode("clickstream", PARTITION, records)
    no_states: Any = None
    ((events, controls),) = waves(batch, no_states, RULES)
    assert (events is batch, controls) == (True, [])
    arena, _ = run(records, [7], RULES)
    assert not arena.erased, "so that no event is compared with an erasure"


def test_the_last_update_comes_before_the_null_and_the_next_one_after() -> None:
    records = [event("u", 0, 1), event("v", 1, 1), control("erase", "u", 2, 2), event("u", 3, 3)]
    _, (outcome,) = run(records, [], RULES)
    of_user = [
        update is not None
        for user, update in zip(outcome.users, outcome.updates, strict=True)
        if user == b"u"
    ]
    assert of_user == [True, False, True]
    states = [
        decode_record(value or b"")
        for user, value in zip(outcome.users, outcome.states, strict=True)
        if user == b"u"
    ]
    assert [int(each.header["offset"]) for each in states] == [0, 2, 3]
    assert [each.is_marker for each in states] == [False, True, False]
    assert outcome.controls == ["erase"]


def test_suppressed_events_are_dropped_until_unsuppress() -> None:
    records = [
        control("suppress", "u", 0, 1),
        *(event("u", each, each) for each in range(2, 1_000)),
    ]
    arena, (outcome,) = run(records, [], RULES)
    assert (outcome.suppressed, outcome.applied) == (998, 0)
    assert [update for update in outcome.updates if update] == []
    assert int(state(arena, "u").header["flags"]) == MARKER | SUPPRESSED
    records += [control("unsuppress", "u", 1_000, 1_001), event("u", 1_001, 1_002)]
    arena, _ = run(records, [500], RULES)
    assert int(state(arena, "u").header["count"]) == 1


@pytest.mark.parametrize("count", [1, 20])
def test_forgetting_an_item_leaves_the_memory_of_a_user_who_never_had_it(count: int) -> None:
    records = [event("u", each, each) for each in range(count)]
    arena, outcomes = run([*records, control("forget", "u", 20, 21, "i0")], [10], RULES)
    without, _ = run(records[1:], [], RULES)
    held = state(arena, "u")
    if count == 1:
        assert outcomes[-1].updates[-1] is None, "nothing is left to publish"
        assert (held.is_marker, len(held.recent), bool(held.memory.any())) == (False, 0, False)
        return
    never = state(without, "u")
    assert held.memory.tobytes() == never.memory.tobytes()
    assert held.recent.tobytes() == never.recent.tobytes()
    assert int(held.header["time_ms"]) == int(never.header["time_ms"])
    assert outcomes[-1].updates[-1] is not None, "the profile named the item"


def test_a_thousand_controls_of_a_thousand_users_cost_two_calls_of_the_model() -> None:
    class Counting(OrderKeeping):
        calls = 0

        def step(self, *given: Any) -> Any:
            self.calls += 1
            return super().step(*given)

    records: list[Any] = []
    for each in range(1_000):
        records += [
            event(f"u{each}", 3 * each, each),
            control("erase", f"u{each}", 3 * each + 1, each),
        ]
        records += [event(f"u{each}", 3 * each + 2, each + 1)]
    model = Counting()
    batch = Decoder().decode("clickstream", PARTITION, records)
    outcome = Scoring(model, UpdateSize()).process(batch, Arena(2, 1, 4), 7)
    assert (outcome.applied, len(outcome.controls), model.calls) == (2_000, 1_000, 2)
