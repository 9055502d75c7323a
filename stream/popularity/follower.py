"""Keeps a worker's model up to date with what is popular, while the pipeline runs.

The newest snapshot (stream/popularity/counts.py) is set in the model's own thread, so a batch is
scored with one snapshot from beginning to end. Nothing that happens here stops a worker: without
snapshots it scores as it did before the first one, or with the last one it got.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from aiokafka import AIOKafkaConsumer

from models.errors import ModelDataError
from stream.config import Settings
from stream.kafka.consumer import open_consumer, partitions_of, seek_to_last
from stream.metrics import Metrics
from stream.plain_text import told
from stream.popularity.counts import Snapshot, decode

log = logging.getLogger("interest_stream")

RETRY_S: Final = 10.0
WAIT_MS: Final = 1_000
"""Of a fetch: snapshots are minutes apart, nobody waits for one."""


@runtime_checkable
class TakesPopularity(Protocol):
    """Names what a model must have to score with live popularity; the null model lacks it."""

    def set_popularity(
        self, item_ids: Sequence[str], shares: np.ndarray[Any, Any], as_of_ms: int
    ) -> None:
        """Scores with these shares from now on; raises ModelDataError if it was not fitted to."""


class PopularityFollower:
    """Reads the topic of snapshots and sets each one in the model, until cancelled."""

    def __init__(
        self,
        settings: Settings,
        predictor: object,
        executor: Executor,
        metrics: Metrics,
        retry_s: float = RETRY_S,
    ) -> None:
        """`predictor` is a worker's model and `executor` its thread."""
        self._settings = settings
        self._predictor = predictor
        self._executor = executor
        self._metrics = metrics
        self._retry_s = retry_s

    async def run(self) -> None:
        """Follows the topic until cancelled; ends if the model cannot score with popularity."""
        predictor = self._predictor
        if not isinstance(predictor, TakesPopularity):
            log.warning("this model knows nothing of live popularity; it scores without")
            return
        while True:
            try:
                await self._read(predictor)
            except ModelDataError as error:
                log.warning("this worker scores without live popularity: %s", error)
                return
            except Exception as error:
                log.warning(
                    "snapshots of %s cannot be read now (%s); again in %.0f s",
                    self._settings.popularity_topic,
                    told(error),
                    self._retry_s,
                )
            await asyncio.sleep(self._retry_s)

    async def _read(self, predictor: TakesPopularity) -> None:
        """Sets snapshots as they come, from the last one on that the topic holds now."""
        consumer = await open_consumer(
            self._settings, auto_offset_reset="earliest", fetch_max_wait_ms=WAIT_MS
        )
        try:
            await self._seek(consumer)
            async for record in consumer:
                await self._take(record, predictor)
        finally:
            await consumer.stop()

    async def _seek(self, consumer: AIOKafkaConsumer) -> None:
        """Goes to the last record, because a snapshot replaces all those before it."""
        partition = (await partitions_of(consumer, self._settings.popularity_topic))[0]
        await seek_to_last(consumer, partition)

    async def _take(self, record: Any, predictor: TakesPopularity) -> None:
        """Sets one snapshot, or logs why it is left out; raises ModelDataError."""
        where = f"the snapshot at offset {record.offset} of {record.topic} is left out"
        if record.key != self._settings.source_topic.encode():
            log.warning("%s: it is not of topic %s", where, self._settings.source_topic)
            return
        try:
            snapshot = decode(record.value)
            await self._set(snapshot, predictor)
        except ModelDataError:
            raise
        except Exception as error:
            log.warning("%s: %s", where, told(error))
            return
        self._metrics.popularity_as_of.set(snapshot.as_of / 1000)
        log.info(
            "scoring with what was popular as of %d, %d items", snapshot.as_of, len(snapshot.items)
        )

    async def _set(self, snapshot: Snapshot, predictor: TakesPopularity) -> None:
        """Sets a snapshot in the model's thread, where no batch is being scored meanwhile."""
        item_ids = [item_id for item_id, _ in snapshot.items]
        shares = np.array([share for _, share in snapshot.items], np.float64)
        run = asyncio.get_running_loop().run_in_executor
        await run(self._executor, predictor.set_popularity, item_ids, shares, snapshot.as_of)
