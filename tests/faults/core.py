"""Runs the worker's own code on logs in memory, with crashes at failpoints.

It is the pipeline below Kafka: the worker's own Decoder, Scoring, Arena, Computing and Delivery.
What is modelled here and not the product's: topics (lists), the producer (an acknowledgement comes
some turns of the loop after the append; a crash loses what was not appended yet), commits (at
random moments, of what was applied), assignment. Seeded.
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

from models.contract import Predictor
from models.predict import null_predictor
from stream.audit.mapping_rules import MappedShape
from stream.config import Settings
from stream.contracts.control import Control, encode_control
from stream.contracts.update import UpdateSize
from stream.formats.mappings.mapping_file import parse_mapping
from stream.formats.mappings.mapping_format import MappingFormat
from stream.kafka.batch_consumer import Records
from stream.kafka.host import Clients
from stream.kafka.record_batches import PreparedBatch, Section
from stream.metrics import Metrics
from stream.pipeline.computing import Computing, Threads
from stream.pipeline.decode import Decoder
from stream.pipeline.delivery import Delivery
from stream.pipeline.scoring import Scoring
from stream.worker.restore import RestorableArena
from tests.faults.oracle.history import History, Poll, Record, Sent, fingerprint

PARTITIONS: Final = 2
NOW_MS: Final = 1_800_000_000_000
SETTINGS: Final = Settings(publish_timeout_s=5)

MAPPING: Final = """
unlisted_actions = "drop"

[event]
user_id = "who.id"
action = "name"
time = { path = "at", unit = "s" }
item_id = ["lines[].sku", "about.sku"]
event_id = "id"

[actions]
Opened = "view"
Bought = "purchase"

[[drop]]
path = "private"
in = [true]
reason = "consent"
"""
"""Of the shape that records have in a mapped world."""


class CrashError(BaseException):
    """The process is gone. No code of the product may catch it."""


@dataclass
class Logs:
    """Topics in memory: by name and partition."""

    records: dict[tuple[str, int], list[Record]] = field(default_factory=dict)

    def append(
        self, topic: str, partition: int, record: tuple[Any, ...], now_ms: int = NOW_MS
    ) -> int:
        log = self.records.setdefault((topic, partition), [])
        key, value, headers = record
        log.append(Record(partition, len(log), key, value, now_ms, tuple(headers)))
        return len(log) - 1

    def of(self, topic: str) -> list[Record]:
        return [
            record
            for (name, _), log in sorted(self.records.items())
            if name == topic
            for record in log
        ]


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

    generation = 1

    def __init__(self, world: World) -> None:
        self.world = world
        self.lost: str | None = None
        self.flowing = True  # False: a rebalance has begun
        self.applied_: dict[int, int] = {}

    async def send_records(
        self, topic: str, partition: int, records: Iterable[Any]
    ) -> list[tuple[Any, int]]:
        found = list(records)
        if not found:
            return []
        return [(asyncio.ensure_future(self._append(topic, partition, found)), len(found))]

    async def send_sections(
        self, topic: str, partition: int, sections: Iterable[Section]
    ) -> list[tuple[Any, int]]:
        batches = (DefaultRecordBatch(PreparedBatch(section).build()) for section in sections)
        records = [
            (record.key, record.value, record.headers) for batch in batches for record in batch
        ]
        return await self.send_records(topic, partition, records)

    async def partitions_of(self, topic: str) -> list[int]:
        return list(range(PARTITIONS))

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


@dataclass
class Host:
    """What the pipeline is given by its worker."""

    reach: Callable[[str], None]
    end: Callable[[Exception], None]
    settings: Settings = SETTINGS
    metrics: Metrics = field(default_factory=Metrics)

    def fail(self, error: Exception) -> None:
        self.end(error)

    def failpoint(self, name: str) -> None:
        self.reach(name)


class Store:
    """Arenas, restored from the changelog."""

    def __init__(self, world: World) -> None:
        info = world.predictor.info
        self.arenas = {
            each: RestorableArena(info.state_size, info.fingerprint, PARTITIONS)
            for each in range(PARTITIONS)
        }
        for partition, arena in self.arenas.items():
            records = world.logs.records.get((SETTINGS.changelog_topic, partition), [])
            arena.restore(
                [cast(bytes, record.key) for record in records],
                [record.value for record in records],
            )

    def arena(self, partition: int) -> RestorableArena:
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
    value: Records

    acked: bool = False

    def ack(self) -> None:
        """The commit floor comes by applied() only."""
        self.acked = True


class Raw:
    """A record as a consumer hands it out."""

    def __init__(self, record: Record) -> None:
        self.key, self.value, self.offset, self.headers = (
            record.key,
            record.value,
            record.offset,
            record.headers,
        )
        self.timestamp = record.timestamp_ms


class World:
    """One history being made."""

    def __init__(
        self,
        seed: int,
        events: int = 120,
        users: int = 8,
        predictor: Predictor | None = None,
        erasures: float = 0.0,
        settings: Settings = SETTINGS,
        mapped: bool = False,
    ) -> None:
        """`erasures`: share of records that are controls; with them some events come late.

        `mapped`: records have a shape of their own, and many hold several events.
        """
        self.erasures, self.settings, self.mapped = erasures, settings, mapped
        self.random = random.Random(seed)
        self.logs, self.committed = Logs(), dict.fromkeys(range(PARTITIONS), 0)
        self.predictor: Predictor = predictor or cast(Predictor, null_predictor(4))
        self.shape = MappedShape(MAPPING) if mapped else None
        self.history = History(SETTINGS.events_topic)
        self.workers = self.crashes = 0
        self.reached: set[str] = set()
        self._produce(events, users)

    def _produce(self, events: int, users: int) -> None:
        partitions, random_ = list(range(PARTITIONS)), self.random
        seqs: dict[str, int] = {}
        for number in range(events):
            user = f"user-{random_.randrange(users)}"
            now_ms = NOW_MS - events + number
            if self.erasures and random_.random() < self.erasures:
                self._ask(user, now_ms)
                continue
            late = random_.choice((0, 0, events)) if self.erasures else 0
            event: dict[str, Any] = {
                "user_id": user,
                "action": "view",
                "time": now_ms - late,
                "item_id": f"item-{number}",
            }
            if random_.random() < 0.2:
                event["event_id"] = f"id-{random_.randrange(20)}"
            value = orjson.dumps(event) if not self.mapped else self._mapped(event)
            value = b"bad %d" % number if random_.random() < 0.03 else value
            partition = DefaultPartitioner()(user.encode(), partitions, partitions)
            offset = self.logs.append(
                SETTINGS.events_topic,
                partition,
                (user.encode(), value, [("trace", b"%d" % number)]),
                now_ms if self.erasures else NOW_MS,
            )
            seqs[user] = seqs.get(user, -1) + 1
            sent = Sent(
                str(number),
                user,
                seqs[user],
                0.0,
                0.0,
                "ok",
                (partition, offset),
                fingerprint(value),
            )
            self.history.journal.append(sent)

    def _mapped(self, event: dict[str, Any]) -> bytes:
        """Returns an event as documents of another shape, some bad or left out on purpose."""
        random_ = self.random
        documents = []
        for number in range(random_.choice((1, 1, 1, 2, 3))):
            skus = [{"sku": f"{event['item_id']}-{each}"} for each in range(random_.randrange(4))]
            document = {
                "who": {"id": event["user_id"]},
                "name": random_.choice(("Opened", "Opened", "Bought", "Identified")),
                "at": event["time"] / 1000,
                "id": f"{event['event_id']}-{number}" if "event_id" in event else None,
                "about": {"sku": event["item_id"]} if random_.random() < 0.5 else None,
                "lines": skus,
                "private": random_.random() < 0.1,
            }
            if random_.random() < 0.05:
                document["at"] = "soon"
            documents.append(orjson.dumps(document))
        if len(documents) == 1:
            return documents[0]
        lines = random_.choice((b"\n", b""))
        return lines.join(documents) if random_.random() < 0.5 else b"[%b]" % b",".join(documents)

    def _ask(self, user: str, now_ms: int) -> None:
        """Puts a control of a user into the source."""
        kind = self.random.choice(("erase", "erase", "suppress", "unsuppress", "unsuppress"))
        asked = Control(kind, user, f"r-{now_ms}", now_ms)  # type: ignore[arg-type]
        key, value, headers = encode_control(asked)
        partitions = list(range(PARTITIONS))
        partition = DefaultPartitioner()(key, partitions, partitions)
        self.logs.append(SETTINGS.events_topic, partition, (key, value, headers), now_ms)

    def poll(self) -> None:
        for partition, committed in self.committed.items():
            end = len(self.logs.records.get((SETTINGS.events_topic, partition), []))
            self.history.polls.append(
                Poll(float(len(self.history.polls)), partition, committed, end)
            )

    def batches(self) -> list[_Event]:
        """What is not committed, cut at random."""
        found = []
        for partition, start in self.committed.items():
            log = self.logs.records.get((SETTINGS.events_topic, partition), [])
            while start < len(log):
                records = log[start : start + self.random.randrange(1, 25)]
                start += len(records)
                message = _Message(TP(SETTINGS.events_topic, partition), records[-1].offset)
                found.append(_Event(message, Records(Raw(record) for record in records)))
        return found

    def pipeline(
        self, broker: Broker, failpoint: Callable[[str], None], fail: Callable[[Exception], None]
    ) -> Computing:
        self.workers += 1
        store, host, inline = Store(self), Host(failpoint, fail, self.settings), InlineExecutor()
        scoring = Scoring(self.predictor, UpdateSize(), failpoint)
        clients = Clients(
            group=lambda: cast(Any, broker), writer=lambda: broker, changelog=lambda: store
        )
        delivery = Delivery(host, clients, scoring.write, inline)
        event_format = MappingFormat(parse_mapping(MAPPING, "shop.toml")) if self.mapped else None
        decoder = Decoder(event_format=event_format)
        return Computing(host, decoder, scoring, store.arena, Threads(inline, inline), delivery)

    def live(self, point: str = "", at: int = 1, action: str = "kill") -> bool:
        """Runs one life of a worker, until everything is applied or the failpoint ends it.

        Returns True if the point was reached.
        """
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
                await pipeline.delivery.release_withheld()
                broker.commit()
                break
            await asyncio.sleep(0)
        crashed = any(task.done() and task.exception() for task in tasks)
        self.crashes += crashed
        if crashed or failed:
            self.history.disturbed.append((0.0, 0.0))
        await _end(
            [*tasks, *(each for each in asyncio.all_tasks() if each is not asyncio.current_task())]
        )

    def zombie(self) -> None:
        """Lets one worker compute and another take over and do it all, then wakes the first.

        The first goes on.
        """
        asyncio.run(self._zombie())

    async def _zombie(self) -> None:
        failed: list[Exception] = []
        broker = Broker(self)
        sleeper = self.pipeline(broker, lambda name: None, failed.append)
        batch = self.batches()[0]

        async def stream() -> Any:
            yield batch

        await sleeper.consume(stream())
        computing = asyncio.ensure_future(sleeper.run())
        for _ in range(100):
            await asyncio.sleep(0)
        await _end([computing])
        await self._live(lambda name: None)
        broker.lost = "the group has put this worker out"
        self.history.disturbed.append((0.0, 0.0))
        task = asyncio.ensure_future(sleeper.delivery.run())
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
            profiles=logs.of(SETTINGS.profiles_topic),
            committed=dict(self.committed),
            journal=history.journal,
            polls=list(history.polls),
            disturbed=list(history.disturbed),
            shape=self.shape,
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


def _running(computing: Computing, stream: Any) -> tuple[Any, ...]:
    return computing.consume(stream), computing.run(), computing.delivery.run()


async def _end(tasks: list[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError, CrashError, Exception):
            await task
