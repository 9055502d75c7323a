"""The refusals that need only offsets, as a pure function of them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from stream import preflight
from stream.config import Settings
from stream.errors import RefusalError
from stream.preflight import Ends, refuse

SOURCE = {0: Ends(0, 100), 1: Ends(0, 50)}
CHANGELOG = {0: Ends(0, 40), 1: Ends(0, 0)}


def test_a_first_start_and_a_normal_restart_are_not_refused() -> None:
    refuse(Settings(), SOURCE, {0: Ends(0, 0), 1: Ends(0, 0)}, {0: 0, 1: 0}, {})
    refuse(Settings(), SOURCE, CHANGELOG, {0: 100, 1: 0}, {})


def test_a_partition_that_held_only_bad_records_is_not_mistaken_for_a_lost_changelog() -> None:
    refuse(Settings(), SOURCE, CHANGELOG, {0: 100, 1: 50}, {})


def test_a_topic_of_only_bad_records_is_not_mistaken_for_a_lost_changelog() -> None:
    empty, committed = {0: Ends(0, 0), 1: Ends(0, 0)}, {0: 3, 1: 0}
    refuse(Settings(), SOURCE, empty, committed, {0: {0, 1, 2, 7}})
    with pytest.raises(RefusalError, match="changelog"):
        refuse(Settings(), SOURCE, empty, committed, {0: {0, 2}, 1: {1}})


@pytest.mark.parametrize("changelog", [{0: Ends(0, 0), 1: Ends(0, 0)}, {0: Ends(40, 40), 1: Ends(7, 7)}])
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
    """Of a topic into which 50 events come, and are committed by another worker, between any two questions."""

    def __init__(self, **options: object) -> None:
        self._events = 100
        self._client = self._coordinator = self

    async def ensure_coordinator_known(self) -> None: ...

    async def _send_req(self, request: object) -> object:
        return SimpleNamespace(groups=[(0, "group", "Empty", "", "", [])])

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def force_metadata_update(self) -> None: ...

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {0}

    async def committed(self, partition: object) -> int:
        self._events += 50
        return self._events

    async def beginning_offsets(self, partitions: list[object]) -> dict[object, int]:
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: list[object]) -> dict[object, int]:
        self._events += 50
        return dict.fromkeys(partitions, self._events)


def test_a_worker_that_joins_a_busy_group_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends read before offsets made a busy topic look as if it had been deleted and created again."""

    async def nothing(*_: object) -> list[object]:
        return []

    monkeypatch.setattr(preflight, "AIOKafkaConsumer", LivelyConsumer)
    monkeypatch.setattr(preflight, "start_client", nothing)
    monkeypatch.setattr(preflight, "check_topics", nothing)
    assert asyncio.run(preflight.preflight(Settings())) == 1
