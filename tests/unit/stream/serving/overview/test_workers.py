"""Looking at the workers' group: tests/kafka/test_serving.py sees one; here there is no broker."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from stream.config import Settings
from stream.serving.overview.workers import Look, Workers


def test_while_no_broker_answers_it_says_so_and_goes_on() -> None:
    async def look() -> Workers:
        # port 1 of this machine is nobody's
        workers = Workers(Settings(broker="kafka://127.0.0.1:1"), lambda: 0)
        running = asyncio.create_task(workers.run())
        while "no Kafka broker answers" not in workers.problem:
            assert not running.done()
            await asyncio.sleep(0.01)
        assert not running.done()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        return workers

    workers = asyncio.run(look())
    assert workers.last is None


def test_the_lag_is_that_of_all_partitions() -> None:
    parts = [{"partition": 0, "offset": 5, "lag": 2}, {"partition": 1, "offset": 9, "lag": 5}]
    found = Look(7, "Stable", [], parts).as_json()
    assert (found["lag"], found["seen_at"], found["state"]) == (7, 7, "Stable")
