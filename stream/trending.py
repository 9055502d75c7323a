"""A worker follows what is popular: the newest snapshot of stream/popularity.py goes to the model, beside the pipeline.

It is given in the model's thread, so a batch is scored with one snapshot from beginning to end. Nothing that happens here stops a
worker: without snapshots it scores as it did before the first one, or with the last one it got.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Executor
from typing import Any, Final

import numpy as np
from aiokafka import AIOKafkaConsumer

from models.errors import ModelDataError
from stream.config import Settings
from stream.metrics import Metrics
from stream.popularity import Snapshot, decode
from stream.subscribe import open_consumer, partitions_of, seek_to_last

log = logging.getLogger("interest_stream")

RETRY_S: Final = 10.0
WAIT_MS: Final = 1_000
"""Of a fetch: snapshots are minutes apart, nobody waits for one."""


class Trending:
    """`predictor`: of a worker; one that cannot follow is left alone."""

    def __init__(
        self, settings: Settings, predictor: Any, executor: Executor, metrics: Metrics, retry_s: float = RETRY_S
    ) -> None:
        self._settings = settings
        self._predictor = predictor
        self._executor = executor
        self._metrics = metrics
        self._retry_s = retry_s

    async def run(self) -> None:
        """Until cancelled, or the model cannot follow."""
        if not hasattr(self._predictor, "follow"):  # the null model
            log.warning("this model knows nothing of live popularity; it scores without")
            return
        while True:
            try:
                await self._read()
            except ModelDataError as error:
                log.warning("this worker scores without live popularity: %s", error)
                return
            except Exception as error:
                log.warning(
                    "snapshots of %s cannot be read now (%s: %s); again in %.0f s",
                    self._settings.popularity_topic,
                    type(error).__name__,
                    error,
                    self._retry_s,
                )
            await asyncio.sleep(self._retry_s)

    async def _read(self) -> None:
        consumer = await open_consumer(self._settings, auto_offset_reset="earliest", fetch_max_wait_ms=WAIT_MS)
        try:
            await self._seek(consumer)
            async for record in consumer:
                await self._take(record)
        finally:
            await consumer.stop()

    async def _seek(self, consumer: AIOKafkaConsumer) -> None:
        """To the last record; snapshots before it say nothing any more."""
        partition = (await partitions_of(consumer, self._settings.popularity_topic))[0]
        await seek_to_last(consumer, partition)

    async def _take(self, record: Any) -> None:
        """Give the model a snapshot, or say why not. Raises ModelDataError."""
        where = f"the snapshot at offset {record.offset} of {record.topic} is left out"
        if record.key != self._settings.source_topic.encode():
            log.warning("%s: it is of topic %s", where, (record.key or b"?").decode(errors="replace"))
            return
        try:
            snapshot = decode(record.value)
            await self._give(snapshot)
        except ModelDataError:
            raise
        except Exception as error:
            log.warning("%s: %s", where, error)
            return
        self._metrics.popularity_as_of.set(snapshot.as_of / 1000)
        log.info("scoring with what was popular as of %d, %d items", snapshot.as_of, len(snapshot.items))

    async def _give(self, snapshot: Snapshot) -> None:
        item_ids = [item_id for item_id, _ in snapshot.items]
        shares = np.array([share for _, share in snapshot.items], np.float64)
        run = asyncio.get_running_loop().run_in_executor
        await run(self._executor, self._predictor.follow, item_ids, shares, snapshot.as_of)
