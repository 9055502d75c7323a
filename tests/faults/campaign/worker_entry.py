"""Runs a worker that leaves evidence and that has a planted bug, if the environment names one.

Run as `python -m tests.faults.campaign.worker_entry worker ...`. EVIDENCE names a file; lines of
JSON go there, each at once, so that a killed worker's are whole:

    {"states": p, "generation": g, "offset": o}
        a batch of states acknowledged at an offset of the changelog
    {"table": p, "user": "...", "value": "hex"}
        the tables of a worker that stops, a line a user
    {"replayed": n}
        events of a batch that were skipped, because their state was durable
    {"inflight_at_revocation": n}
        batches under way when a rebalance took partitions away
    {"at_s": t, "tasks": n}
        asyncio tasks at a moment of the host's monotonic clock, each 10 s

MODEL_FAILS_ON names items whose events the model cannot take: "item-7=raise,item-8=nan".
PLANTED and PLANTED_EVERY name a bug of tests/faults/planted.py.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import numpy as np
import orjson

from models.compact import hash64
from stream.cli import main
from stream.kafka.batch_consumer import BatchConsumer
from stream.kafka.consumer_thread import HookedTransport
from stream.kafka.host import Acknowledgement
from stream.pipeline.delivery import Delivery
from stream.pipeline.scoring import Scoring
from stream.worker.app import InterestApp
from tests.faults.planted import plant

TASKS_EVERY_S = 10.0


def observe(path: str) -> None:
    """Wrap what writes states and what stops the app."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def tell(**facts: Any) -> None:
        os.write(file, orjson.dumps(facts) + b"\n")

    publish, deliver, on_stop = Delivery.publish, Delivery.deliver, InterestApp.on_stop
    generation = 0  # of the batch being published; they are published one after the other
    notice = _notices(tell)

    async def watched_publish(self: Delivery, job: Any) -> None:
        nonlocal generation
        notice(job)
        generation = max((each or 0 for _, each in job.read), default=generation)
        await publish(self, job)

    async def watched_deliver(
        self: Delivery,
        sending: Mapping[str, Awaitable[list[Acknowledgement]]],
        partition: int,
        sent_point: str,
    ) -> dict[str, int]:
        if sent_point != "states_sent":
            return await deliver(self, sending, partition, sent_point)
        [(topic, queued)] = sending.items()
        deliveries, written_in = await queued, generation

        async def same() -> list[Acknowledgement]:
            return deliveries

        last = await deliver(self, {topic: same()}, partition, sent_point)
        for acknowledged, _ in deliveries:
            tell(states=partition, generation=written_in, offset=acknowledged.result().offset)
        return last

    async def watched_stop(self: InterestApp) -> None:
        for partition, arena in self.store.arenas.items():
            for user in arena.users():
                tell(table=partition, user=user.decode(), value=(arena.encoded(user) or b"").hex())
        await on_stop(self)

    Delivery.publish = watched_publish  # type: ignore[method-assign]
    Delivery.deliver = watched_deliver  # type: ignore[method-assign]
    InterestApp.on_stop = watched_stop  # type: ignore[method-assign]
    _observe_revocations(tell)


def _observe_revocations(tell: Callable[..., None]) -> None:
    revoke = BatchConsumer.on_partitions_revoked

    async def watched(self: BatchConsumer, revoked: Any) -> None:
        registry = cast(HookedTransport, self.transport).hooks.host.metrics.registry
        inflight = registry.get_sample_value("interest_stream_inflight_batches")
        tell(inflight_at_revocation=int(inflight or 0))
        await revoke(self, revoked)

    BatchConsumer.on_partitions_revoked = watched  # type: ignore[method-assign]


def _notices(tell: Callable[..., None]) -> Callable[[Any], None]:
    """What to call with each job: tells of replays, and now and then the number of tasks."""
    due_s = 0.0

    def notice(job: Any) -> None:
        nonlocal due_s
        if replayed := sum(portion.outcome.replayed for portion in job.portions):
            tell(replayed=replayed)
        if time.monotonic() > due_s:
            due_s = time.monotonic() + TASKS_EVERY_S
            tell(at_s=time.monotonic(), tasks=len(asyncio.all_tasks()))

    return notice


def fail_on(items: Mapping[str, str]) -> None:
    """Make the model raise, or give what is no number, for a batch with one of these items."""
    begin = Scoring.__init__

    def watched(self: Scoring, predictor: Any, *rest: Any, **more: Any) -> None:
        step, raising, nan = (
            predictor.step,
            *(
                [hash64(item) for item, way in items.items() if way == each]
                for each in ("raise", "nan")
            ),
        )

        def failing(state: Any, events: Any, sizes: Any, previous_ms: Any) -> Any:
            if np.isin(events["key"], raising).any():
                raise ValueError("the model cannot take this event")
            bad = np.isin(events["key"], nan).any()
            state = step(state, events, sizes, previous_ms)
            if bad:
                state[:, -1] = np.nan
            return state

        predictor.step = failing
        begin(self, predictor, *rest, **more)

    Scoring.__init__ = watched  # type: ignore[method-assign]


def work(arguments: list[str]) -> None:
    """The command, with what the environment asks for."""
    if os.environ.get("PLANTED"):
        plant(os.environ["PLANTED"], setattr, int(os.environ.get("PLANTED_EVERY", "1000")))
    if items := os.environ.get("MODEL_FAILS_ON"):
        fail_on(dict(each.split("=", 1) for each in items.split(",")))
    if os.environ.get("EVIDENCE"):
        observe(os.environ["EVIDENCE"])
    main(arguments)


if __name__ == "__main__":
    work(sys.argv[1:])
