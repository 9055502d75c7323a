"""Looks at the workers' group now and then: who is in it, what each has, how far behind it is.

A service that only reads cannot ask workers, whose addresses it does not know. The broker knows the
members of their group and what it has committed. So the broker is asked, by a task of its own: no
request waits for it, and an answer says how old it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from stream.config import Settings
from stream.errors import BrokerError, TopicError
from stream.kafka.consumer import commits, members_of, open_consumer, partitions_of
from stream.plain_text import told

log = logging.getLogger("interest_stream")

LOOK_S: Final = 3.0
ANSWER_S: Final = 10.0
RETRY_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Look:
    """Holds what was seen of the group at a moment."""

    at_ms: int
    state: str  # Kafka's word: Stable, Empty, PreparingRebalance, ...
    members: list[dict[str, Any]] = field(default_factory=list)
    partitions: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Returns what the answer says of the workers."""
        return {
            "seen_at": self.at_ms,
            "state": self.state,
            "lag": sum(each["lag"] for each in self.partitions),
            "members": self.members,
            "partitions": self.partitions,
        }


class Workers:
    """Holds the last look, and why there is none."""

    def __init__(self, settings: Settings, clock_ms: Callable[[], int]) -> None:
        self._settings, self._clock_ms = settings, clock_ms
        self.last: Look | None = None
        self.problem = "nobody has looked yet"

    async def run(self) -> None:
        """Looks until it is cancelled, whatever the broker does meanwhile."""
        while True:
            consumer: AIOKafkaConsumer | None = None
            try:
                # of the workers' group, to read its offsets; it joins nothing
                consumer = await open_consumer(self._settings, group_id=self._settings.app_id)
                while True:
                    async with asyncio.timeout(ANSWER_S):
                        self.last = await self._look(consumer)
                    self.problem = ""
                    await asyncio.sleep(LOOK_S)
            except (KafkaError, BrokerError, TopicError, TimeoutError, OSError) as error:
                if not self.problem or self.last is None:  # once: it is asked again and again
                    log.info("the workers' group cannot be looked at now (%s)", told(error))
                self.problem = told(error)
            finally:
                if consumer is not None:
                    with suppress(KafkaError, OSError):
                        await consumer.stop()
            await asyncio.sleep(RETRY_S)

    async def _look(self, consumer: AIOKafkaConsumer) -> Look:
        """Returns what the broker says; raises aiokafka's errors, TopicError."""
        topic = self._settings.source_topic
        places = await partitions_of(consumer, topic)
        # offsets before ends: what is committed meanwhile must not seem to be beyond the end
        committed = await commits(consumer, places)
        state, members = await members_of(consumer, self._settings.app_id)
        ends = await consumer.end_offsets(places)
        begins = await consumer.beginning_offsets(places)
        partitions = []
        for each in places:
            at = committed[each].offset if each in committed else begins[each]
            partitions.append(
                {"partition": each.partition, "offset": at, "lag": max(0, ends[each] - at)}
            )
        found = [
            {
                "client": client,
                "host": host,
                "partitions": sorted(each.partition for each in own if each.topic == topic),
            }
            for client, host, own in members
        ]
        found.sort(key=lambda each: (each["partitions"] or [1 << 30], each["client"]))
        return Look(self._clock_ms(), state, found, partitions)
