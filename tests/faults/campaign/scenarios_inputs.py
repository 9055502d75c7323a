"""Holds the scenarios X (events as they come), P (bad ones) and K2 (some that are gone).

Names and numbers are those of the plan.
"""

from __future__ import annotations

import asyncio
import random
import re
import signal
import time
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from stream.bench.load import partition_of, produce_backlog, random_events
from stream.kafka.topics import create_topics
from tests.faults.campaign.load import Shape
from tests.faults.campaign.run import PARTITIONS, Run
from tests.faults.campaign.scenarios_kafka import apply_and_leave, refuses
from tests.faults.campaign.scenarios_kills import BATCHES
from tests.faults.oracle.events import parked
from tests.support import topics
from tests.support.pipelines import Worker

DAY_MS: Final = 86_400_000
DISTANT: Final = 40
"""Other events of a user between an event and its second copy.

They are more than the 32 that a state remembers.
"""
BURST: Final = 100_000
FAILING: Final = {"item-7": "raise", "item-8": "nan", "item-9": "raise"}


class Twice(Shape):
    """Each event twice in a row, and the same ids again after 40 others."""

    def event(self, random_: random.Random, user: str, number: int, seq: int) -> dict[str, Any]:
        return super().event(random_, user, number, seq) | {
            "event_id": f"{user}-{seq // 2 % DISTANT}"
        }


def x1(run: Run) -> None:
    """Sends the same event at two offsets, with kills in between.

    Near, it counts once; after more than 32 others, twice.
    """
    worker = run.worker(*BATCHES)
    run.begin_load(users=20, shape=Twice())
    for _ in range(2):
        run.works(worker)
        run.pause(6, 9)
        since, hit = time.monotonic(), run.kill(worker)
        run.crash_cut()
        worker = run.worker(*BATCHES)
        run.trial("kill between copies", hit, since)
    near = len(run.reference.filtered)
    again = sum(max(0, user.count - DISTANT) for user in run.reference.replay.users.values())
    run.trial(
        "copies near and far",
        near > 0 and again > 0,
        note=f"{near} left out, {again} counted again",
    )


class Clocks(Shape):
    """Gives events times out of order, of another day, or of the future.

    Or of the first second, before it, and beyond what a double can count.
    """

    def event(self, random_: random.Random, user: str, number: int, seq: int) -> dict[str, Any]:
        event = super().event(random_, user, number, seq)
        now_ms: int = event["time"]
        moments = (
            now_ms - random_.randrange(10_000),
            now_ms - random_.randrange(DAY_MS),
            now_ms + DAY_MS - 60_000,
            now_ms + 2 * DAY_MS,
            0,
            1,
            -1,
            -now_ms,
            2**53 + 1,
            2**63,
            "1970-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            now_ms / 1000,
        )
        return event | {"time": random_.choice(moments) if random_.random() < 0.5 else now_ms}


def x2(run: Run) -> None:
    """Wrong clocks, the real model: the order is that of the log, and no number is none."""
    run.null_model = False
    worker = run.worker()
    run.begin_load(shape=Clocks())
    run.works(worker)
    run.pause(8, 10)
    since, hit = time.monotonic(), run.kill(worker)
    run.crash_cut()
    run.worker()
    run.trial("wrong clocks, kill", hit, since)


class Skewed(Shape):
    """One user has 30 % of the events; most others are in one partition."""

    def user(self, random_: random.Random, users: int) -> str:
        if random_.random() < 0.3:
            return "user-0"
        return next(
            user
            for _ in range(100)
            if partition_of((user := super(Skewed, self).user(random_, users)).encode()) == 0
            or random_.random() < 0.05
        )


def x3(run: Run) -> None:
    """Gives one user 30 %, one partition most, then 100,000 events of one user at once.

    The others go on.
    """
    worker = run.worker()
    run.begin_load(shape=Skewed())
    run.works(worker)
    run.pause(6, 8)
    since, hit = time.monotonic(), run.kill(worker)
    run.crash_cut()
    worker = run.worker()
    run.trial("skew, kill", hit, since)
    since = time.monotonic()
    asyncio.run(
        produce_backlog(
            run.settings, random_events(BURST, 1, ["item-1", "item-2", "item-3"], run.seed)
        )
    )
    run.trial("100,000 events of one user", run.under_load(), since)


class Unrepeated(Shape):
    """No event ids: a repeat is left out before the model sees it, whatever its item."""

    def event(self, random_: random.Random, user: str, number: int, seq: int) -> dict[str, Any]:
        event = super().event(random_, user, number, seq)
        event.pop("event_id", None)
        return event


def p2(run: Run) -> None:
    """Sends events that only the model cannot take.

    By an error or by a memory that is no number (M6): they alone are dead letters.
    """
    run.reference.failing = FAILING
    worker = run.worker()
    run.begin_load(shape=Unrepeated())
    for _ in range(2):
        run.works(worker)
        run.pause(5, 7)
        since, hit = time.monotonic(), run.kill(worker)
        run.crash_cut()
        worker = run.worker()
        run.trial("model fails on some, kill", hit, since)
    letters = [dict(each.headers).get("is.dlq.reason") for each in parked(run.history()).values()]
    run.trial(
        "parked by the model",
        b"unprocessable" in letters,
        note=f"{letters.count(b'unprocessable')} of {len(letters)}",
    )


def p7(run: Run) -> None:
    """Removes the dead-letter topic, then makes it refuse what is large.

    The worker ends, and bad records are read again when it is mended.
    """
    letters = run.settings.dead_letters_topic
    worker = run.worker("--publish-timeout-s", "8")
    run.begin_load(poison=0)
    run.works(worker)

    async def delete(client: Any) -> None:
        await client.delete_topics([letters])

    topics.administer(run.settings, delete)
    since = time.monotonic()
    topics.produce(run.settings, run.settings.events_topic, 0, [(b"user-1", b"{")])
    code = worker.process.wait(60)
    run.ended(worker, 1)
    refuses(
        run, letters, r"not stopped after \d+ s; ending at once"
    )  # what the producer holds for a topic that is gone cannot be sent
    asyncio.run(create_topics(run.settings, PARTITIONS, 1))
    worker = run.worker()
    run.trial(
        "dead letters without a topic",
        code == 1 and run.under_load(),
        since,
        f"exit {code}, then refused",
    )
    run.works(worker)
    topics.configure(run.settings, letters, max_message_bytes="1000")
    since = time.monotonic()
    topics.produce(
        run.settings, run.settings.events_topic, 0, [(b"user-1", run.random.randbytes(5_000))]
    )
    code = worker.process.wait(60)
    run.ended(worker, 1)
    run.crash_cut()
    topics.configure(run.settings, letters, max_message_bytes="2000000")
    run.worker()
    run.trial("dead letters too large", code == 1 and run.under_load(), since, f"exit {code}")
    run.unchecked = (
        "T3",
    )  # the bad records were sent to one partition on purpose, whatever the key


def p3(run: Run) -> None:
    """Sends hardly anything but bad records.

    The worker stops instead of diverting them all, and goes on when its settings allow it.
    """
    failing = run.worker("--max-consecutive-dead-letters", "50", ready=False)
    run.begin_load(poison=0.97)
    code = failing.process.wait(60)
    run.ended(failing, 1)
    run.crash_cut()
    since = time.monotonic()
    run.worker("--max-consecutive-dead-letters", "100000")
    run.trial(
        "nothing but bad records",
        "bad records in a row" in failing.log and code == 1,
        since,
        f"exit {code}",
    )


def k2(run: Run) -> None:
    """Deletes events that nobody has read.

    The worker reports how many, goes on, and nothing else is lost.
    """
    apply_and_leave(run)
    lost = delete_unread(run)
    worker = run.worker()
    run.wait(run.at_rest, 60, "lag 0")
    run.trial(
        "unread events deleted",
        lost > 0 and told(worker) == lost,
        note=f"{lost} deleted, {told(worker)} told",
    )


def k2_late(run: Run) -> None:
    """The same while the worker lives: it was paused, and asks for what is gone."""
    worker = run.worker()
    run.begin_load()
    run.works(worker)
    if run.load is not None:
        run.load.stop()
    run.wait(run.at_rest, 60, "lag 0")
    worker.process.send_signal(signal.SIGSTOP)
    time.sleep(
        1.0
    )  # a fetch under way ends with nothing; else it would bring some of what is deleted
    lost = delete_unread(run)
    worker.process.send_signal(signal.SIGCONT)
    run.wait(run.at_rest, 60, "lag 0")
    run.trial(
        "deleted under a worker",
        lost > 0 and told(worker) == lost,
        note=f"{lost} deleted, {told(worker)} told",
    )


def delete_unread(run: Run) -> int:
    """Sends events, deletes half of them at once, and returns how many.

    What is deleted was never read, so it is not in the reference.
    """
    run.history()
    items = ["item-1", "item-2"]
    asyncio.run(produce_backlog(run.settings, random_events(4_000, 300, items, run.seed)))
    offsets = run.pipeline.offsets()
    keep = {partition: (done + end) // 2 for partition, (done, end) in offsets.items()}
    places = {
        TopicPartition(run.settings.source_topic, each): RecordsToDelete(before)
        for each, before in keep.items()
    }
    topics.administer(run.settings, lambda client: client.delete_records(places))
    return sum(keep[partition] - done for partition, (done, _) in offsets.items())


def told(worker: Worker) -> int:
    """How many deleted events its log speaks of."""
    return sum(
        int(each) for each in re.findall(r"(\d+) events were deleted by retention", worker.log)
    )


ALL = {"X1": x1, "X2": x2, "X3": x3, "P2": p2, "P3": p3, "P7": p7, "K2": k2, "K2late": k2_late}
