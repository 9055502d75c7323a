"""Lets fetched batches wait until the schemas that their values name are known.

It stands between Faust's stream and the pipeline, so a batch that waits is not decoded yet. One
that a rebalance or the end overtakes is let go: its next owner reads it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from faust.types import EventT

from stream.kafka.host import Group
from stream.schema_registry.schemas import AnySchemas


async def readable(
    events: AsyncIterator[EventT[Any]], schemas: AnySchemas, group: Callable[[], Group]
) -> AsyncIterator[EventT[Any]]:
    """Yields fetched batches in their order, each once its schemas are known."""
    async for event in events:
        generation = event.message.generation_id

        def wanted(generation: int | None = generation) -> bool:
            return group().flows(generation)

        if await schemas.know(event.value, wanted):
            yield event
        else:
            event.ack()
