"""Checks the refusals that need only offsets, as a pure function of them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import orjson
import pytest
from aiokafka.structs import OffsetAndMetadata

from stream.config import Settings
from stream.config.marks import Mark
from stream.contracts.control import Control, encode_control
from stream.contracts.state_record import (
    VERSION,
    Record,
    decode_record,
    encode_rows,
    row_dtype,
)
from stream.errors import RefusalError
from stream.kafka.topic_identity import Shape
from stream.pipeline.decode import Decoder
from stream.worker import preflight
from stream.worker.preflight import (
    Ends,
    is_event_of,
    other_reading,
    refuse,
    refuse_replaced,
)

NOW_MS: Final = 1_800_000_000_000

SOURCE = {0: Ends(0, 100), 1: Ends(0, 50)}
CHANGELOG = {0: Ends(0, 40), 1: Ends(0, 0)}


def test_a_first_start_and_a_normal_restart_are_not_refused() -> None:
    refuse(Settings(), SOURCE, {0: Ends(0, 0), 1: Ends(0, 0)}, {0: 0, 1: 0}, {})
    refuse(Settings(), SOURCE, CHANGELOG, {0: 100, 1: 0}, {})


def test_a_partition_that_held_only_bad_records_is_not_mistaken_for_a_lost_changelog() -> None:
    refuse(Settings(), SOURCE, CHANGELOG, {0: 100, 1: 50}, {1: set(range(50))})


@pytest.mark.parametrize(
    ("changelog", "said"),
    [
        ({0: Ends(0, 40), 1: Ends(0, 0)}, r"changelog\[1\] is empty"),
        ({0: Ends(0, 40), 1: Ends(7, 7)}, r"changelog\[1\] is empty"),
        ({0: Ends(20, 40), 1: Ends(0, 30)}, r"changelog\[0\] begins at 20"),
        ({0: Ends(0, 40), 1: Ends(0, 9)}, r"changelog\[1\] ends at 9, and was written up to 30"),
    ],
    ids=["made again", "emptied", "cut at the start", "cut at the end"],
)
def test_a_changelog_that_lost_any_part_is_refused(changelog: dict[int, Ends], said: str) -> None:
    with pytest.raises(RefusalError, match=said):
        refuse(Settings(), SOURCE, changelog, {0: 100, 1: 50}, {}, {0: 40, 1: 30})
    refuse(Settings(), SOURCE, changelog, {0: 0, 1: 0}, {}, {})


def test_another_reading_is_told_with_both_and_one_that_is_not_known_is_not() -> None:
    now = Mark("mapping shop.toml (5e6f)", "5e6f")
    assert other_reading(Settings(), [], now) is None
    assert other_reading(Settings(), [Mark("mapping old.toml (5e6f)", "5e6f")], now) is None
    said = other_reading(Settings(), [Mark("segment", "77"), now, Mark("contract", "1")], now)
    assert said is not None
    assert said.startswith(
        "clickstream was read as contract, segment until now, and is read as "
        "mapping shop.toml (5e6f) from here on"
    )
    assert "--app-id" in said


def test_topics_that_were_made_again_are_refused_each_with_what_to_do() -> None:
    settings = Settings(rekey=True)
    said = {
        settings.source_topic: "delete the changelog",
        settings.changelog_topic: "if all of it was restored",
        settings.profiles_topic: "to go on without",
        settings.events_topic: "forwarded from its beginning",
    }
    now = {name: Shape("new", 4) for name in said}
    for topic, remedy in said.items():
        refuse_replaced(settings, {topic: ["new"], "another": ["old"]}, now)
        with pytest.raises(RefusalError, match=remedy) as caught:
            refuse_replaced(settings, {topic: ["new", "old"]}, now)
        assert str(caught.value).startswith(f"{topic} was deleted and created again")
    # a broker that has no ids, and a topic that it does not name, say nothing
    refuse_replaced(settings, {settings.source_topic: ["old"]}, {})
    refuse_replaced(
        settings, {settings.source_topic: ["old"]}, {settings.source_topic: Shape("", 4)}
    )


def state_of(user: str, time_ms: int) -> tuple[Record, Any]:
    """A state and the record that it was last made of."""
    rows = np.zeros(1, row_dtype(4))
    rows["version"], rows["state_size"], rows["time_ms"] = VERSION, 4, time_ms
    event = {"user_id": user, "action": "view", "time": time_ms, "item_id": "a"}
    record = SimpleNamespace(
        key=user.encode(), value=orjson.dumps(event), headers=[], offset=0, timestamp=NOW_MS
    )
    found = decode_record(encode_rows(rows)[0])
    return Record(found.header.copy(), found.memory, found.recent), record


def test_where_no_id_tells_the_log_does() -> None:
    """Another event at the offset of a state is that of another topic."""
    state, record = state_of("user-1", NOW_MS)
    _, later = state_of("user-1", NOW_MS + 1)
    _, other = state_of("user-2", NOW_MS)
    bad = SimpleNamespace(key=b"user-1", value=b"{", headers=[], offset=0, timestamp=NOW_MS)
    found = [
        is_event_of(b"user-1", state, "clicks", each, Decoder())
        for each in (record, later, other, bad)
    ]
    assert found == [True, False, False, False]
    # a time whose unit an earlier version did not understand says nothing
    seconds, _ = state_of("user-1", NOW_MS // 1000)
    assert is_event_of(b"user-1", seconds, "clicks", record, Decoder())


def test_a_state_may_have_been_made_of_a_control() -> None:
    state, _ = state_of("user-1", -1)
    state.header["broker_ms"] = NOW_MS
    found = []
    for user, moment in (("user-1", NOW_MS), ("user-1", NOW_MS + 1), ("user-2", NOW_MS)):
        key, value, headers = encode_control(Control("erase", user, "r-1", NOW_MS))
        record = SimpleNamespace(key=key, value=value, headers=headers, offset=0, timestamp=moment)
        found.append(is_event_of(b"user-1", state, "clicks", record, Decoder()))
    assert found == [True, False, False]


def test_a_topic_of_only_bad_records_is_not_mistaken_for_a_lost_changelog() -> None:
    empty, committed = {0: Ends(0, 0), 1: Ends(0, 0)}, {0: 3, 1: 0}
    refuse(Settings(), SOURCE, empty, committed, {0: {0, 1, 2, 7}})
    with pytest.raises(RefusalError, match="changelog"):
        refuse(Settings(), SOURCE, empty, committed, {0: {0, 2}, 1: {1}})


@pytest.mark.parametrize(
    "changelog", [{0: Ends(0, 0), 1: Ends(0, 0)}, {0: Ends(40, 40), 1: Ends(7, 7)}]
)
def test_offsets_without_states_are_refused(changelog: dict[int, Ends]) -> None:
    with pytest.raises(RefusalError, match="changelog"):
        refuse(Settings(), SOURCE, changelog, {0: 100, 1: 50}, {})


def test_offsets_beyond_the_end_are_refused() -> None:
    with pytest.raises(RefusalError, match="deleted and created again"):
        refuse(Settings(), SOURCE, CHANGELOG, {0: 101, 1: 50}, {})


def test_another_number_of_partitions_is_refused() -> None:
    with pytest.raises(RefusalError, match=r"2 partitions and its changelog .* has 1"):
        refuse(Settings(), SOURCE, {0: Ends(0, 40)}, {0: 100, 1: 50}, {})


class LivelyConsumer:
    """Reads a topic into which 50 events come between any two requests.

    Another worker commits them.
    """

    def __init__(self, **options: object) -> None:
        self._events = 100
        self._client = self._coordinator = self

    async def ensure_coordinator_known(self) -> None: ...

    async def _send_req(self, request: object) -> object:
        return SimpleNamespace(groups=[(0, "group", "Empty", "", "", [])])

    async def stop(self) -> None: ...

    async def force_metadata_update(self) -> None: ...

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {0}

    async def fetch_committed_offsets(self, partitions: list[Any]) -> dict[Any, Any]:
        self._events += 50
        return {
            each: OffsetAndMetadata(self._events, "")
            for each in partitions
            if each.topic == Settings().source_topic
        }

    async def beginning_offsets(self, partitions: list[object]) -> dict[object, int]:
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: list[object]) -> dict[object, int]:
        self._events += 50
        return dict.fromkeys(partitions, self._events)


def test_a_worker_that_joins_a_busy_group_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends read before offsets made a busy topic look as if it had been made anew.

    That is, deleted and created again.
    """

    async def nothing(*_: object) -> list[object]:
        return []

    async def lively(*_: object, **__: object) -> LivelyConsumer:
        return LivelyConsumer()

    async def no_ids(*_: object) -> dict[str, Shape]:
        return {}

    monkeypatch.setattr(preflight, "open_consumer", lively)
    monkeypatch.setattr(preflight, "shapes", no_ids)
    monkeypatch.setattr(preflight, "check_topics", nothing)
    monkeypatch.setattr(preflight, "_refuse_other_events", nothing)
    assert asyncio.run(preflight.preflight(Settings())) == 1
