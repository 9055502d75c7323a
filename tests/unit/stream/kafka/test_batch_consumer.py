"""Checks the consumer's last commit, and who closes it, without a broker."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from faust.types import AppT

from stream.kafka.batch_consumer import BatchConsumer
from stream.kafka.consumer_thread import ConsumerThread


class Committing(BatchConsumer):
    """Has a commit under way that has not seen the last batch."""

    def __init__(self) -> None:
        self.commits = 0
        self.app: Any = SimpleNamespace(client_only=False)

    async def force_commit(self, *arguments: Any, **more: Any) -> bool:
        self.commits += 1
        return True


def test_the_last_commit_is_not_skipped_because_another_is_under_way() -> None:
    async def scenario() -> int:
        consumer = Committing()
        consumer.loop = asyncio.get_running_loop()
        under_way = consumer._commit_fut = asyncio.get_running_loop().create_future()
        last = asyncio.ensure_future(consumer.commit_and_end_transactions())
        await asyncio.sleep(0)
        assert not last.done()
        consumer._commit_fut = None
        under_way.set_result(None)
        await last
        return consumer.commits

    assert asyncio.run(scenario()) == 1


def test_the_consumers_connections_are_closed_by_its_own_thread_alone() -> None:
    closed: list[str] = []

    async def close() -> None:
        closed.append("closed")

    async def scenario() -> None:
        thread = ConsumerThread.__new__(ConsumerThread)
        thread.app = cast(AppT, SimpleNamespace(loop=asyncio.get_running_loop()))
        thread._consumer = SimpleNamespace(
            _client=SimpleNamespace(close=close), _coordinator=SimpleNamespace(close=close)
        )
        await asyncio.to_thread(thread.close)
        await asyncio.sleep(0.01)

    asyncio.run(scenario())
    assert closed == []
