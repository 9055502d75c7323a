"""Measures what fencing by transactions costs.

    python tests/benchmarks/fencing.py

It prints milliseconds a batch, of the wall clock and of CPU, of two ways to write; results and
decision are in docs/understand/decisions/0005-fencing.md. The writes of one batch of 4,096 events
are done in turn: as the worker does it (idempotent producer; updates and profiles awaited, then
states awaited; offsets committed once a second, so not here), and in one transaction of a producer
of the partition (updates, profiles, states and source offsets, then commit). CPU is that of this
process and of the broker, wall is of the writes only.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream.broker.local_kafka import LocalKafka
from stream.broker.ports import free_ports

EVENTS = 4_096
UPDATE_BYTES, STATE_BYTES = 900, 1_900  # of the demo model
OUT, STATES = ("updates", "profiles"), "changelog"
PRODUCER: dict[str, Any] = {"compression_type": "lz4", "max_batch_size": 786_432, "acks": "all"}


async def write(producer: AIOKafkaProducer, topic: str, users: int, size: int) -> list[Any]:
    """Queues records of the partition as full batches; returns futures of their delivery."""
    body, futures, batch = (
        os.urandom(size // 2) + b"a" * (size - size // 2),
        [],
        producer.create_batch(),
    )
    for user in range(users):
        key = b"user-%d" % user
        if batch.append(timestamp=None, key=key, value=body, headers=[]) is None:
            futures.append(await producer.send_batch(batch, topic, partition=0))
            batch = producer.create_batch()
            batch.append(timestamp=None, key=key, value=body, headers=[])
    return [*futures, await producer.send_batch(batch, topic, partition=0)]


async def plain(producer: AIOKafkaProducer, users: int, offset: int) -> None:
    """Writes as stream/pipeline/delivery.py does."""
    for future in [
        each for topic in OUT for each in await write(producer, topic, users, UPDATE_BYTES)
    ]:
        await future
    for future in await write(producer, STATES, users, STATE_BYTES):
        await future


async def transaction(producer: AIOKafkaProducer, users: int, offset: int) -> None:
    """Writes all or nothing, with the source offsets; an older producer is fenced."""
    async with producer.transaction():
        for topic in OUT:
            await write(producer, topic, users, UPDATE_BYTES)
        await write(producer, STATES, users, STATE_BYTES)
        await producer.send_offsets_to_transaction({TopicPartition("events", 0): offset}, "app")


def cpu_s(pid: int) -> float:
    """Returns user and system time of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(broker: LocalKafka, rounds: int, users: int) -> None:
    """Writes batches in both ways in turn, and prints what they took."""
    # Topics, two producers, and a consumer so that the group is known.
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1) for name in ("events", *OUT, STATES)])
    await admin.close()
    first = AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap, enable_idempotence=True, **PRODUCER
    )
    second = AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap, transactional_id="app-0", **PRODUCER
    )
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, group_id="app")
    await first.start()
    await second.start()
    await consumer.start()
    pid = broker.status().pid or 0
    wall: dict[str, list[float]] = {"plain": [], "transaction": []}
    cpu: dict[str, list[float]] = {"plain": [], "transaction": []}
    broker_cpu: dict[str, list[float]] = {"plain": [], "transaction": []}

    # Both ways take turns; the first two rounds only warm up.
    for number in range(rounds + 2):
        for name, work, producer in (("plain", plain, first), ("transaction", transaction, second)):
            before, broker_before, started = cpu_s(os.getpid()), cpu_s(pid), time.perf_counter()
            for _ in range(5):  # the clock of /proc ticks a hundred times a second
                await work(producer, users, number)
            if number >= 2:
                wall[name].append((time.perf_counter() - started) / 5 * 1000)
                cpu[name].append((cpu_s(os.getpid()) - before) / 5 * 1000)
                broker_cpu[name].append((cpu_s(pid) - broker_before) / 5 * 1000)

    # What they took.
    await consumer.stop()
    await second.stop()
    await first.stop()
    print(  # noqa: T201
        f"{users} users a batch, {rounds} rounds of 5 batches each, "
        f"load average {os.getloadavg()[0]:.1f}"
    )
    for name in wall:
        quantiles = statistics.quantiles(wall[name], n=10)
        print(  # noqa: T201
            f"{name:12} wall ms a batch p10 {quantiles[0]:.1f} "
            f"p50 {statistics.median(wall[name]):.1f} p90 {quantiles[8]:.1f}; "
            f"CPU ms a batch, mean: client {statistics.mean(cpu[name]):.1f}, "
            f"broker {statistics.mean(broker_cpu[name]):.1f}"
        )


def main() -> None:
    """Measures on a broker, or on one of its own where none is named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument(
        "--users", type=int, default=2_000, help="touched users in a batch: records a topic"
    )
    options = parser.parse_args()
    port, controller_port = free_ports(2)
    with tempfile.TemporaryDirectory() as folder:
        broker = LocalKafka(Path(folder) / "kafka", port, controller_port)
        broker.start(timeout_s=120)
        try:
            asyncio.run(measure(broker, options.rounds, options.users))
        finally:
            broker.stop()


if __name__ == "__main__":
    main()
