"""`tail --webhook` from a real Kafka to a real receiver: nothing is left out, whoever is killed."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream.broker.ports import free_ports
from tests.support import processes
from tests.support.contracts import faults, golden
from tests.support.pages import blocks
from tests.support.pipelines import SHORT_SESSION_S, Pipeline, wait_until

pytestmark = pytest.mark.kafka

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
names: dict[str, Any] = {}
exec(blocks("docs/operate/webhook.md", "python")[0], names)


@dataclass
class Receiver:
    """A program that verifies what it gets and keeps it as the page advises; it can be killed."""

    port: int
    status: int = 204
    asked: int = 0
    came: list[tuple[int, int]] = field(default_factory=list)  # partition and offset, in order
    held: dict[str, tuple[int, Any]] = field(default_factory=dict)  # the newest of each user
    faults: list[str] = field(default_factory=list)
    server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): each for name, each in self.headers.items()}
                self.send_response(receiver.take(headers, body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def take(self, headers: dict[str, str], body: bytes) -> int:
        self.asked += 1
        if not names["is_ours"](SECRET, headers, body, time.time()):
            self.faults.append("a signature is wrong")
        if self.status < 300:
            found = json.loads(body)
            self.faults += faults("webhook-1", found)
            for each in found["records"]:
                self.came.append((found["partition"], each["offset"]))
                if each["offset"] > self.held.get(each["user_id"], (-1, None))[0]:
                    self.held[each["user_id"]] = each["offset"], each["profile"]
        return self.status

    def stop(self) -> None:
        server, self.server = self.server, None
        if server is not None:
            server.shutdown()
            server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver(free_ports(1)[0])
    yield receiver
    receiver.stop()


@dataclass
class Sender:
    """The command, started again and again."""

    pipeline: Pipeline
    folder: Path
    port: int
    starts: int = 0

    def start(self, *more: str) -> processes.Process:
        secret = self.folder / "secret"
        secret.write_text(SECRET, encoding="ascii")
        self.starts += 1
        self.log = self.folder / f"tail-{self.starts}.log"
        self.log.touch()
        words = ["tail", "--webhook", f"http://127.0.0.1:{self.port}/in"]
        words += ["--webhook-secret-file", str(secret), "--webhook-batch", "20"]
        words += ["--group", self.group, *more]
        timing = {"SESSION_TIMEOUT_S": str(SHORT_SESSION_S), "HEARTBEAT_S": "0.5"}
        more_environment = {f"INTEREST_STREAM_{name}": each for name, each in timing.items()}
        environment = {**self.pipeline.environment, **more_environment}
        self.process = processes.spawn(words, environment, self.log)
        return self.process

    @property
    def group(self) -> str:
        return f"{self.pipeline.settings.app_id}-crm"

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")


@pytest.fixture
def sender(pipeline: Pipeline, receiver: Receiver, tmp_path: Path) -> Iterator[Sender]:
    sender = Sender(pipeline, tmp_path, receiver.port)
    yield sender
    if sender.starts:
        sender.process.kill()
        sender.process.wait(60)


def publish(pipeline: Pipeline, records: list[tuple[str, int | None]]) -> None:
    """Writes profiles, a null for None, as a worker does."""

    async def write() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=pipeline.settings.bootstrap, enable_idempotence=True
        )
        await producer.start()
        sample = golden("updates-valid.jsonl")[0]
        for user, seen in records:
            update = sample | {"user_id": user, "events_seen": seen}
            value = None if seen is None else orjson.dumps(update)
            await producer.send(pipeline.settings.profiles_topic, value, key=user.encode())
        await producer.stop()

    asyncio.run(write())


def newest(records: list[tuple[str, int | None]]) -> dict[str, int | None]:
    return dict(records)


def test_killed_on_both_sides_it_leaves_nothing_out(
    pipeline: Pipeline, receiver: Receiver, sender: Sender
) -> None:
    first = [(f"user-{number % 50}", number) for number in range(1, 301)]
    publish(pipeline, [("", None), *first, ("user-7", None)])

    # nobody listens, then somebody who cannot: it goes on trying
    process = sender.start("--from-beginning")
    wait_until(lambda: "cannot be reached" in sender.said(), "nobody listens")
    receiver.status = 503
    receiver.start()
    wait_until(lambda: receiver.asked > 1, "the receiver was tried again")
    receiver.status = 204
    wait_until(lambda: len(receiver.came) > 40, "some were taken")

    # the receiver is killed, then the sender while it waits
    receiver.stop()
    second = [(f"user-{number % 50}", number) for number in range(301, 601)]
    publish(pipeline, [*second, ("user-9", None)])
    process.kill()
    process.wait(60)
    receiver.start()
    process = sender.start()
    expected = newest([*first, ("user-7", None), *second, ("user-9", None)])
    wait_until(lambda: held(receiver) == expected, "every user is as published last")
    assert held(receiver)["user-9"] is None

    # Ctrl-C in the middle of a refusal that passes, and of nothing: what comes meanwhile waits
    receiver.status = 500
    publish(pipeline, [("user-1", 601), ("user-1", None)])
    asked = receiver.asked
    wait_until(lambda: receiver.asked > asked, "it was tried")
    process.send_signal(2)
    assert process.wait(60) == 0
    assert "sent at the next start" in sender.said()
    publish(pipeline, [("user-2", 602)])
    receiver.status = 200
    process = sender.start()
    expected |= {"user-1": None, "user-2": 602}
    wait_until(lambda: held(receiver) == expected, "what had to wait has come")

    # what the receiver never takes ends it, and is not lost
    receiver.status = 400
    publish(pipeline, [("user-3", 603)])
    assert process.wait(60) == 1
    assert "the receiver answered 400" in sender.said()
    receiver.status = 200
    assert sender.start("--limit", "1").wait(60) == 0
    assert held(receiver)["user-3"] == 603

    # the whole log came, but for the marker of a worker, each partition in its order, whatever
    # came twice
    assert not receiver.faults
    assert "" not in receiver.held
    assert len(set(receiver.came)) == len(first) + len(second) + 6
    for partition in {each for each, _ in receiver.came}:
        offsets = [offset for each, offset in receiver.came if each == partition]
        places = {offset: place for place, offset in enumerate(sorted(set(offsets)))}
        seen_to = -1
        for offset in offsets:
            assert places[offset] <= seen_to + 1, "something was left out, and came later"
            seen_to = max(seen_to, places[offset])


def held(receiver: Receiver) -> dict[str, int | None]:
    return {
        user: None if profile is None else profile["events_seen"]
        for user, (_, profile) in receiver.held.items()
    }


def test_a_new_group_begins_now_and_stands_there_before_anything_comes(
    pipeline: Pipeline, receiver: Receiver, sender: Sender
) -> None:
    publish(pipeline, [("before", 1)])
    process = sender.start()
    wait_until(lambda: "is new: it sends from now on" in sender.said(), "it has begun")
    wait_until(lambda: asyncio.run(committed(pipeline, sender.group)) == 1, "that is committed")
    process.send_signal(15)
    assert process.wait(60) == 0
    publish(pipeline, [("after", 2)])
    receiver.start()
    assert sender.start("--limit", "1").wait(60) == 0
    assert held(receiver) == {"after": 2}


async def committed(pipeline: Pipeline, group: str) -> int:
    """The sum of the offsets that a group has committed."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=pipeline.settings.bootstrap, group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        topic = pipeline.settings.profiles_topic
        return sum(
            [await consumer.committed(TopicPartition(topic, each)) or 0 for each in range(4)]
        )
    finally:
        await consumer.stop()
