"""Does the job in a bare aiokafka loop: fetch, compute in a thread, send, await, commit.

Batches are prepared as in the worker. It writes a changelog, and cannot read it. `interest-stream
bench compare` starts it, and its rate is printed by the meter of job.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from job import BATCH, BROKER, CHANGELOG, GROUP, SESSION_S, SOURCE, UPDATES, Meter, Record, make_job


async def publish(producer: Any, topic: str, partition: int, pairs: Any) -> list[Any]:
    """Packs records into batches; returns the futures of their delivery."""
    futures, batch = [], producer.create_batch()
    for key, value in pairs:
        if batch.append(key=key, value=value, timestamp=None) is None:
            futures.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            batch.append(key=key, value=value, timestamp=None)
    futures.append(await producer.send_batch(batch, topic, partition=partition))
    return futures


async def main() -> None:
    """Runs until the meter ends the process."""
    # Settings are those of a worker where it has them.
    consumer = AIOKafkaConsumer(
        SOURCE,
        bootstrap_servers=BROKER,
        group_id=GROUP,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 << 20,
        session_timeout_ms=SESSION_S * 1000,
        heartbeat_interval_ms=1000,
    )
    producer = AIOKafkaProducer(bootstrap_servers=BROKER, linger_ms=5, max_batch_size=1 << 18)
    await asyncio.gather(consumer.start(), producer.start())
    job, meter, held = make_job(), Meter(), {}

    # States of all users are kept in a dict; offsets are committed when everything was delivered.
    loop = asyncio.get_running_loop()
    while True:
        for tp, fetched in (await consumer.getmany(timeout_ms=200, max_records=BATCH)).items():
            records = [
                Record(each.key, each.value, each.offset, each.timestamp) for each in fetched
            ]
            users, new, made = await loop.run_in_executor(
                None,
                job.batch,
                records,
                tp.partition,
                lambda names: [held.get(name) for name in names],
            )
            held.update(zip(users, new, strict=True))
            futures = await publish(producer, CHANGELOG, tp.partition, zip(users, new, strict=True))
            futures += await publish(producer, UPDATES, tp.partition, zip(users, made, strict=True))
            await asyncio.gather(*futures)
            await consumer.commit({tp: fetched[-1].offset + 1})
            meter(len(records), len(users))


asyncio.run(main())
