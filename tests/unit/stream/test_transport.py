"""The consumer's last commit, without a broker."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from stream.transport import Consumer


class Committing(Consumer):
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
