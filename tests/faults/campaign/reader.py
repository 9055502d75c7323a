"""Reads what a run left in Kafka.

Topics are read on from where the last reading ended, and the group's offsets are polled all the
time.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.kafka.client import heed_group_errors
from stream.kafka.fence import MARKER
from tests.faults.oracle.history import Poll, Record

POLL_S: Final = 0.25


class Reader:
    """Reads whole topics; each reading continues the last one.

    So records are kept that compaction removes later.
    """

    def __init__(self, bootstrap: list[str], partitions: int) -> None:
        self._bootstrap, self._partitions = bootstrap, partitions
        self._records: dict[str, list[Record]] = {}
        self._next: dict[TopicPartition, int] = {}

    def read(self, *topics: str) -> list[list[Record]]:
        """Returns the records of each topic up to its end now.

        Ends are taken in this order, so that effects come before their causes. Of a pipeline that
        lives: the changelog before the source, else states would seem to come from nowhere.
        """
        asyncio.run(self._read(topics))
        return [list(self._records.get(topic, [])) for topic in topics]

    async def _read(self, topics: tuple[str, ...]) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            enable_auto_commit=False,
            isolation_level="read_committed",
        )
        await consumer.start()
        try:
            places = [
                TopicPartition(topic, each) for topic in topics for each in range(self._partitions)
            ]
            ends: dict[TopicPartition, int] = {}
            for topic in topics:
                ends |= await consumer.end_offsets(
                    [place for place in places if place.topic == topic]
                )
            begins = await consumer.beginning_offsets(places)
            consumer.assign(places)
            for place in places:
                consumer.seek(place, max(self._next.get(place, 0), begins[place]))
            left = {place for place in places if await consumer.position(place) < ends[place]}
            while left:
                fetched = await consumer.getmany(*left, timeout_ms=500)
                for place, records in fetched.items():
                    kept = (
                        _record(each)
                        for each in records
                        if each.offset < ends[place] and not _is_marker(each)
                    )
                    self._records.setdefault(place.topic, []).extend(kept)
                for place in left:
                    self._next[place] = min(await consumer.position(place), ends[place])
                left = {place for place in left if self._next[place] < ends[place]}
        finally:
            await consumer.stop()


def _is_marker(found: Any) -> bool:
    """Of a fence, which is no state (stream/kafka/fence.py)."""
    fenced: bool = found.topic.endswith("-changelog") or found.topic.startswith("profiles-")
    return fenced and found.key == MARKER and found.value is None


def _record(found: Any) -> Record:
    return Record(
        found.partition, found.offset, found.key, found.value, found.timestamp, tuple(found.headers)
    )


class Poller:
    """Committed and end offsets, a few times a second, while the broker answers."""

    def __init__(self, bootstrap: list[str], group: str, topic: str, partitions: int) -> None:
        self._bootstrap, self._group = bootstrap, group
        self._places = [TopicPartition(topic, each) for each in range(partitions)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.polls: list[Poll] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)

    def latest(self) -> dict[int, Poll]:
        """The newest poll of each partition."""
        return {poll.partition: poll for poll in self.polls[-2 * len(self._places) :]}

    async def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(Exception):  # the broker is away: try again
                await self._connected()
            await asyncio.sleep(POLL_S)

    async def _connected(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, group_id=self._group, enable_auto_commit=False
        )
        try:
            await asyncio.wait_for(consumer.start(), 5)
            heed_group_errors(consumer)  # an answer that cannot be given is no zero
            while not self._stop.is_set():
                committed = [
                    await asyncio.wait_for(consumer.committed(each), 3) or 0
                    for each in self._places
                ]
                ends = await asyncio.wait_for(consumer.end_offsets(self._places), 3)
                now = time.monotonic()
                self.polls += [
                    Poll(now, place.partition, done, ends[place])
                    for place, done in zip(self._places, committed, strict=True)
                ]
                await asyncio.sleep(POLL_S)
        finally:
            await asyncio.wait_for(consumer.stop(), 5)
