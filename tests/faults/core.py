"""The pipeline below Kafka: the worker's own Decoder, Scoring, Arena and Pipeline on logs in memory, with crashes at failpoints.

What is modelled here and not the product's: topics (lists), the producer (an acknowledgement comes some turns of the loop after the
append; a crash loses what was not appended yet), commits (at random moments, of what was applied), assignment. Seeded.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, Final, cast

import orjson
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.record.default_records import DefaultRecordBatch
from faust.types import TP

from models.predict import null_predictor
from stream.agents import Pipeline
from stream.asking import Predictor, UpdateSize
from stream.config import Settings
from stream.events import Decoder
from stream.metrics import Metrics
from stream.record_batches import PreparedBatch, Section
from stream.scoring import Scoring
from stream.state import Arena
from tests.faults.oracle.history import History, Poll, Record, Sent, fingerprint

PARTITIONS: Final = 2
NOW_MS: Final = 1_800_000_000_000
SETTINGS: Final = Settings(publish_timeout_s=5)


class CrashError(BaseException):
    """The process is gone. No code of the product may catch it."""


@dataclass
class Logs:
    """Topics in memory: by name and partition."""

    records: dict[tuple[str, int], list[Record]] = field(default_factory=dict)

    def append(self, topic: str, partition: int, record: tuple[Any, ...]) -> int:
        log = self.records.setdefault((topic, partition), [])
        key, value, headers = record
        log.append(Record(partition, len(log), key, value, NOW_MS, tuple(headers)))
        return len(log) - 1

    def of(self, topic: str) -> list[Record]:
        return [record for (name, _), log in sorted(self.records.items()) if name == topic for record in log]


class InlineExecutor(Executor):
    """The model thread without a thread, so that a seed decides everything."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **more: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments, **more))
        except BaseException as error:
            future.set_exception(error)
        return future


class Broker:
    """What a worker sees of consumer and producer. `lost`: why it owns nothing any more."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lost: str | None = None
        self.flowing = True  # False: a rebalance has begun
        self.applied_: dict[int, int] = {}

    async def send_records(self, topic: str, partition: int, records: Iterable[Any]) -> list[tuple[Any, int]]:
        found = list(records)
        if not found:
            return []
        return [(asyncio.ensure_future(self._append(topic, partition, found)), len(found))]

    async def send_sections(self, topic: str, partition: int, sections: Iterable[Section]) -> list[tuple[Any, int]]:
        batches = (DefaultRecordBatch(PreparedBatch(section)._build()) for section in sections)
        records = [(record.key, record.value, record.headers) for batch in batches for record in batch]
        return await self.send_records(topic, partition, records)

    async def _append(self, topic: str, partition: int, records: list[Any]) -> Any:
        for _ in range(self.world.random.randrange(4)):
            await asyncio.sleep(0)
        offsets = [self.world.logs.append(topic, partition, record) for record in records]
        for _ in range(self.world.random.randrange(4)):
            await asyncio.sleep(0)
        return _Metadata(offsets[0])

    def applied(self, tp: TP, last_offset: int) -> None:
        self.applied_[tp.partition] = max(last_offset + 1, self.applied_.get(tp.partition, 0))
        if self.world.random.random() < 0.5:
            self.commit()

    def commit(self) -> None:
        self.world.committed.update(self.applied_)
        self.world.poll()

    def flows(self, generation: int) -> bool:
        return self.flowing

    def why_not_owner(self, tp: TP, generation: int) -> str | None:
        return self.lost

    def confirmed(self) -> bool:
        return True


@dataclass(frozen=True)
class _Metadata:
    offset: int


class Store:
    """Arenas, restored from the changelog."""

    def __init__(self, world: World) -> None:
        info = world.predictor.info
        self.arenas = {each: Arena(info.state_size, info.fingerprint, PARTITIONS) for each in range(PARTITIONS)}
        for partition, arena in self.arenas.items():
            records = world.logs.records.get((SETTINGS.changelog_topic, partition), [])
            arena.restore([cast(bytes, record.key) for record in records], [record.value for record in records])

    def arena(self, partition: int) -> Arena:
        return self.arenas[partition]

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Nothing is kept."""


@dataclass
class _Message:
    tp: TP
    offset: int
    generation_id: int = 1
    timestamp: float = NOW_MS / 1000

    @property
    def topic(self) -> str:
        return self.tp.topic

    @property
    def partition(self) -> int:
        return self.tp.partition


@dataclass
class _Event:
    message: _Message
    value: list[Any]

    acked: bool = False

    def ack(self) -> None:
        """The commit floor comes by applied() only."""
        self.acked = True


class Raw:
    """A record as a consumer hands it out."""

    def __init__(self, record: Record) -> None:
        self.key, self.value, self.offset, self.headers = record.key, record.value, record.offset, record.headers
        self.timestamp = record.timestamp_ms


class World:
    """One history being made."""

    def __init__(self, seed: int, events: int = 120, users: int = 8, predictor: Predictor | None = None) -> None:
        self.random = random.Random(seed)
        self.logs, self.committed = Logs(), dict.fromkeys(range(PARTITIONS), 0)
        self.predictor: Predictor = predictor or cast(Predictor, null_predictor(4))
        self.history = History(SETTINGS.events_topic)
        self.workers = self.crashes = 0
        self.reached: set[str] = set()
        self._produce(events, users)

    def _produce(self, events: int, users: int) -> None:
        partitions, random_ = list(range(PARTITIONS)), self.random
        seqs: dict[str, int] = {}
        for number in range(events):
            user = f"user-{random_.randrange(users)}"
            event = {"user_id": user, "action": "view", "time": NOW_MS - events + number, "item_id": f"item-{number}"}
            if random_.random() < 0.2:
                event["event_id"] = f"id-{random_.randrange(20)}"
            value = b"bad %d" % number if random_.random() < 0.03 else orjson.dumps(event)
            partition = DefaultPartitioner()(user.encode(), partitions, partitions)
            offset = self.logs.append(
                SETTINGS.events_topic, partition, (user.encode(), value, [("trace", b"%d" % number)])
            )
            seqs[user] = seqs.get(user, -1) + 1
            sent = Sent(str(number), user, seqs[user], 0.0, 0.0, "ok", (partition, offset), fingerprint(value))
            self.history.journal.append(sent)

    def poll(self) -> None:
        for partition, committed in self.committed.items():
            end = len(self.logs.records.get((SETTINGS.events_topic, partition), []))
            self.history.polls.append(Poll(float(len(self.history.polls)), partition, committed, end))

    def batches(self) -> list[_Event]:
        """What is not committed, cut at random."""
        found = []
        for partition, start in self.committed.items():
            log = self.logs.records.get((SETTINGS.events_topic, partition), [])
            while start < len(log):
                records = log[start : start + self.random.randrange(1, 25)]
                start += len(records)
                message = _Message(TP(SETTINGS.events_topic, partition), records[-1].offset)
                found.append(_Event(message, [Raw(record) for record in records]))
        return found

    def pipeline(self, broker: Broker, failpoint: Callable[[str], None], fail: Callable[[Exception], None]) -> Pipeline:
        self.workers += 1
        store = Store(self)
        return Pipeline(
            SETTINGS,
            Scoring(self.predictor, UpdateSize(), failpoint),
            Decoder(),
            store=lambda: cast(Any, store),
            consumer=lambda: cast(Any, broker),
            producer=lambda: cast(Any, broker),
            executor=InlineExecutor(),
            beside=InlineExecutor(),
            metrics=Metrics(),
            fail=fail,
            failpoint=failpoint,
        )

    def live(self, point: str = "", at: int = 1, action: str = "kill") -> bool:
        """One life of a worker, until everything is applied or the failpoint ends it; True if the point was reached."""
        count = 0

        def failpoint(name: str) -> None:
            nonlocal count
            count += name == point
            if name == point and count == at:
                self.reached.add(point)
                if action == "raise":
                    raise RuntimeError(point)
                raise CrashError

        asyncio.run(self._live(failpoint))
        return count >= at

    async def _live(self, failpoint: Callable[[str], None]) -> None:
        failed: list[Exception] = []
        broker = Broker(self)
        pipeline = self.pipeline(broker, failpoint, failed.append)
        batches = self.batches()

        async def stream() -> Any:
            for batch in batches:
                yield batch
                for _ in range(self.random.randrange(12)):
                    await asyncio.sleep(0)

        ends = {batch.message.partition: batch.message.offset + 1 for batch in batches}
        tasks = [asyncio.ensure_future(each) for each in _running(pipeline, stream())]
        while not failed and not any(task.done() and task.exception() for task in tasks):
            if all(broker.applied_.get(partition, 0) >= end for partition, end in ends.items()):
                broker.commit()
                break
            await asyncio.sleep(0)
        crashed = any(task.done() and task.exception() for task in tasks)
        self.crashes += crashed
        if crashed or failed:
            self.history.disturbed.append((0.0, 0.0))
        await _end([*tasks, *(each for each in asyncio.all_tasks() if each is not asyncio.current_task())])

    def zombie(self) -> None:
        """One worker computes, another takes over and does it all, then the first wakes up and goes on."""
        asyncio.run(self._zombie())

    async def _zombie(self) -> None:
        failed: list[Exception] = []
        broker = Broker(self)
        sleeper = self.pipeline(broker, lambda name: None, failed.append)
        batch = self.batches()[0]

        async def stream() -> Any:
            yield batch

        await sleeper.consume(stream())
        computing = asyncio.ensure_future(sleeper.compute_forever())
        for _ in range(100):
            await asyncio.sleep(0)
        await _end([computing])
        await self._live(lambda name: None)
        broker.lost = "the group has put this worker out"
        self.history.disturbed.append((0.0, 0.0))
        task = asyncio.ensure_future(sleeper.publish_forever())
        for _ in range(100):
            await asyncio.sleep(0)
        await _end([task])

    def overtaken(self) -> list[_Event]:
        """Batches that a rebalance finds in the inbox, as they are some turns later."""
        return asyncio.run(self._overtaken())

    async def _overtaken(self) -> list[_Event]:
        broker, batches = Broker(self), self.batches()
        broker.flowing = False
        pipeline = self.pipeline(broker, lambda name: None, lambda error: None)

        async def stream() -> Any:
            for batch in batches:
                yield batch

        tasks = [asyncio.ensure_future(each) for each in _running(pipeline, stream())]
        for _ in range(100):
            await asyncio.sleep(0)
        await _end(tasks)
        return batches

    def cut(self) -> History:
        """The history as it is now."""
        history, logs = self.history, self.logs
        return History(
            SETTINGS.events_topic,
            source=logs.of(SETTINGS.events_topic),
            changelog=logs.of(SETTINGS.changelog_topic),
            updates=logs.of(SETTINGS.updates_topic),
            letters=logs.of(SETTINGS.dead_letters_topic),
            committed=dict(self.committed),
            journal=history.journal,
            polls=list(history.polls),
            disturbed=list(history.disturbed),
        )

    def finished(self) -> History:
        """At rest, with the table that a fresh worker restores."""
        found, store = self.cut(), Store(self)
        found.tables["restored"] = {
            (partition, user): cast(bytes, arena.encoded(user))
            for partition, arena in store.arenas.items()
            for user in arena.users()
        }
        return found


def _running(pipeline: Pipeline, stream: Any) -> tuple[Any, ...]:
    return pipeline.consume(stream), pipeline.compute_forever(), pipeline.publish_forever()


async def _end(tasks: list[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError, CrashError, Exception):
            await task
