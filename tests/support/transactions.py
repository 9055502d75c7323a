"""Sends events in transactions that are committed, aborted, or left open for a while."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable

import orjson
from aiokafka import AIOKafkaProducer

from stream.config import Settings


def events(tag: str, count: int, users: int = 8) -> list[tuple[bytes, bytes]]:
    """Keys and values of views by users whose names begin with a tag."""
    return [
        (
            f"{tag}-{number % users}".encode(),
            orjson.dumps(
                {
                    "user_id": f"{tag}-{number % users}",
                    "action": "view",
                    "time": int(time.time() * 1000),
                    "item_id": f"item-{number % 200}",
                }
            ),
        )
        for number in range(count)
    ]


def send(
    settings: Settings,
    *transactions: tuple[list[tuple[bytes, bytes]], bool],
    while_open: Callable[[], None] = lambda: None,
) -> None:
    """Sends transactions one after the other, each with whether it is committed.

    `while_open` is called before each one ends.
    """
    asyncio.run(_send(settings, transactions, while_open))


async def _send(
    settings: Settings,
    transactions: tuple[tuple[list[tuple[bytes, bytes]], bool], ...],
    while_open: Callable[[], None],
) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap,
        transactional_id=f"test-{secrets.token_hex(4)}",
        transaction_timeout_ms=600_000,
    ) as producer:
        for records, committed in transactions:
            await producer.begin_transaction()
            for key, value in records:
                await producer.send(settings.events_topic, value, key=key)
            await producer.flush()
            await asyncio.to_thread(while_open)
            end = producer.commit_transaction if committed else producer.abort_transaction
            await end()
