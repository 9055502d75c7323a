"""Keeps what Java works out while the broker starts, so that later starts take half of the work.

Java reads, checks and links some 10,000 classes at each start, and the runtime of the wheel brings
no archive of its own ones either. Its ahead-of-time cache (JEP 483 and 514) holds the result; it is
written when a broker that was started for it ends, which takes longer than the start itself. So
this is asked for, by `broker prepare`, and no start does it unasked.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import tempfile
from pathlib import Path
from typing import Final

from stream.broker.jars import default_cache_dir, kept_start, resolve
from stream.broker.local_kafka import LocalKafka
from stream.broker.ports import free_ports
from stream.errors import BrokerError

PATIENCE_S: Final = 600.0
HEAP_MB: Final = 512
TOPIC: Final = "prepare"


def prepare(cache_dir: Path | None = None) -> bool:
    """Fetches the jars and keeps a start of the broker, once; False if both were there already.

    Raises BrokerError: the jars cannot be fetched, the broker does not start, or Java wrote no
    cache, for which it needs 130 MB for a while and 65 MB after.
    """
    cache_dir = default_cache_dir() if cache_dir is None else cache_dir
    resolve(cache_dir)
    kept = kept_start(cache_dir)
    with (cache_dir / ".start-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kept.exists():
            return False
        with tempfile.TemporaryDirectory(prefix="start-", dir=cache_dir) as folder:
            draft = Path(folder, "start.aot")
            said = _run_once(Path(folder, "kafka"), draft)
            if not draft.exists():
                raise BrokerError(
                    f"Java has not written {draft}: make room there, or name another folder with "
                    f"XDG_CACHE_HOME. It said:\n{said}"
                )
            draft.replace(kept)
    return True


def _run_once(folder: Path, draft: Path) -> str:
    """Starts a broker, uses it as a worker does, and ends it; returns what it said last."""
    port, controller_port = free_ports(2)
    kafka = LocalKafka(
        folder, port, controller_port, HEAP_MB, short_lived=True, keep_start_as=draft
    )
    told = logging.getLogger("aiokafka")
    level = told.level
    # the first member of a group waits for its topic, and says so
    told.setLevel(logging.CRITICAL)
    try:
        kafka.start(PATIENCE_S)
        asyncio.run(_use(kafka.bootstrap))
        kafka.stop(PATIENCE_S)
    finally:
        told.setLevel(level)
        kafka.kill()
    return kafka.folder.tail(8)


async def _use(bootstrap: str) -> None:
    """Has the broker load what a topic, a transaction and a member of a group need."""
    from aiokafka import AIOKafkaProducer
    from aiokafka.admin import NewTopic

    from stream.config import Settings
    from stream.kafka.client import admin_client
    from stream.kafka.consumer import new_consumer

    async with admin_client([bootstrap], timeout_s=PATIENCE_S) as admin:
        await admin.create_topics([NewTopic(TOPIC, 1, 1)])
    async with (
        AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=TOPIC) as producer,
        producer.transaction(),
    ):
        await producer.send_and_wait(TOPIC, b"a record")
    settings = Settings(broker=bootstrap)
    consumer = new_consumer(settings, group_id=TOPIC, auto_offset_reset="earliest")
    consumer.subscribe([TOPIC])
    async with consumer:
        await asyncio.wait_for(consumer.getone(), PATIENCE_S)
        await consumer.commit()
