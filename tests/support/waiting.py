"""Waits within an event loop, as `wait_until` does outside of one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.support.pipelines import PATIENCE_S


async def until(condition: Callable[[], Any]) -> None:
    """Returns once a condition holds; raises TimeoutError if it never does."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # whatever the condition looks at sets no event
            await asyncio.sleep(0.01)
