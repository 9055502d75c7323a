"""What a worker's producer adds to Faust's and aiokafka's."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from aiokafka.errors import ProducerFenced
from aiokafka.producer.transaction_manager import TransactionManager

from stream.kafka.producer import _let_fail_quietly


def test_a_fenced_sender_leaves_no_traceback_beside_the_reason() -> None:
    reported: list[dict[str, Any]] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: reported.append(context))
        transactions = TransactionManager(None, 60_000)
        _let_fail_quietly(transactions)
        # aiokafka's sender calls it from a callback, for a producer without transactions too
        loop.call_soon(transactions.fatal_error, ProducerFenced())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert transactions.is_fatal_error()
        del transactions
        gc.collect()

    asyncio.run(run())
    assert not reported
