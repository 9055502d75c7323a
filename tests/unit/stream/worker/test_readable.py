"""Passes batches on once their schemas are known, and lets go those that a rebalance overtook."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

from stream.worker.readable import readable


class FakeSchemas:
    """Knows the schemas of even batches at once, and waits for others for ever."""

    trouble = ""

    async def close(self) -> None:
        return None

    async def know(self, records: Any, wanted: Callable[[], bool] = lambda: True) -> bool:
        while records[0] % 2:
            await asyncio.sleep(0)
            if not wanted():
                return False
        return True


def test_batches_keep_their_order_and_none_is_left_unacknowledged() -> None:
    acked, generation, looks = list[int](), 1, 0

    def event(number: int) -> Any:
        message = SimpleNamespace(generation_id=1)
        return SimpleNamespace(value=[number], message=message, ack=lambda: acked.append(number))

    async def events() -> AsyncIterator[Any]:
        for number in (0, 2, 3, 4):
            yield event(number)

    def flows(given: int | None) -> bool:
        nonlocal looks, generation
        looks += 1
        generation = 2 if looks > 3 else 1
        return given == generation

    async def run() -> list[int]:
        group = cast(Any, SimpleNamespace(flows=flows))
        found = readable(events(), FakeSchemas(), lambda: group)
        return [each.value[0] async for each in found]

    assert asyncio.run(run()) == [0, 2, 4]
    assert acked == [3], "the others are acknowledged by whoever applies them"
