"""Fetches batches of records, each with the positions behind it: what one transaction takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.config import Settings
from stream.schema_registry.updates import PlainValues
from stream.serving.store import Place

RECORDS: Final = 2_000
"""In one transaction: enough to be fast, few enough that the store is never long in writing."""

BULK_RECORDS: Final = 50_000
BULK_BYTES: Final = 67_108_864
"""In one transaction while nobody is answered yet, whichever comes first.

A larger one writes fewer pages of the file twice; this one needs some 200 MB of memory.
"""

FETCH_BYTES: Final = 4_194_304
"""Of a partition in one fetch: a start that reads everything waits for the broker less often."""

WAIT_MS: Final = 100


@dataclass(slots=True)
class Batch:
    """Holds what one transaction takes: records, and the positions behind them."""

    profiles: list[Any] = field(default_factory=list)
    updates: list[Any] = field(default_factory=list)
    positions: dict[Place, int] = field(default_factory=dict)
    bytes: int = 0  # of values


class Fetching:
    """Fetches from a consumer that is assigned partitions of the two topics."""

    def __init__(self, settings: Settings) -> None:
        self._profiles_topic = settings.profiles_topic
        self._values = PlainValues(settings)

    async def some(
        self,
        consumer: AIOKafkaConsumer,
        only: Sequence[TopicPartition] = (),
        wait_ms: int = WAIT_MS,
    ) -> Batch:
        """Returns what there is, of some partitions or of all, after a moment if need be."""
        batch = Batch()
        await self._into(batch, consumer, only, wait_ms)
        return batch

    async def bulk(self, consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> Batch:
        """Returns as many profiles as one transaction may have.

        They are fewer where these ends are near, and where nothing comes for a moment.
        """
        batch = Batch()
        while (
            len(batch.profiles) < BULK_RECORDS
            and batch.bytes < BULK_BYTES
            and not await is_past(consumer, ends)
            and await self._into(batch, consumer, (), WAIT_MS)
        ):
            pass
        return batch

    async def _into(
        self,
        batch: Batch,
        consumer: AIOKafkaConsumer,
        only: Sequence[TopicPartition],
        wait_ms: int,
    ) -> bool:
        """Adds what there is to a batch; returns whether there was anything."""
        found = await consumer.getmany(*only, timeout_ms=wait_ms, max_records=RECORDS)
        for partition, some in found.items():
            is_profile = partition.topic == self._profiles_topic
            (batch.profiles if is_profile else batch.updates).extend(await self._values.of(some))
            batch.bytes += sum(len(each.value or b"") for each in some)
            # behind the last record, and behind what ends a transaction
            batch.positions[place_of(partition)] = await consumer.position(partition)
        return bool(found)


async def is_past(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> bool:
    """Returns whether reading has come to these ends."""
    return all([await consumer.position(each) >= end for each, end in ends.items()])


def place_of(partition: TopicPartition) -> Place:
    """Returns the name of a partition in the store."""
    return partition.topic, partition.partition
