"""Generates the load and keeps its journal.

The journal has what was sent, when it should have been, and what the broker answered.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from pathlib import Path
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTopicError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
)

from tests.faults.oracle.history import Sent, fingerprint

REFUSED: Final = (InvalidTopicError, MessageSizeTooLargeError, TopicAuthorizationFailedError)
"""The event is certainly not in the topic; after any other error nobody knows."""

POISON: Final = (
    b"",
    b"{",
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b"[1,2,3]",
    b'{"user_id": 7, "action": "view", "time": 1, "item_id": "a"}',
    b'{"action": "view", "time": 1, "item_id": "a"}',
    b'{"user_id": "u", "action": "view", "time": 1e400, "item_id": "a"}',
    b'{"user_id": "u", "action": "view", "time": NaN, "item_id": "a"}',
    b'{"user_id": "u", "action": "view", "time": 1, "item_id": "\\ud800"}',
    b'{"user_id": "u", "action": "view", "time": ' + b"9" * 5_000 + b"}",
    b"[" * 100_000,
    b" " * 60_000,
    b'{"user_id": "u", "action": "view", "time": 1, "item_id": "a\\u0000"}',
)
"""Each fails in another way (corpus P1 of the plan)."""


class Shape:
    """Decides who does what: uniform users, views and clicks of 500 items.

    Some event ids repeat. Scenarios of inputs have their own.
    """

    def user(self, random_: random.Random, users: int) -> str:
        return f"user-{random_.randrange(users)}"

    def event(self, random_: random.Random, user: str, number: int, seq: int) -> dict[str, Any]:
        """Event number `number` of all, `seq` of this user."""
        event: dict[str, Any] = {
            "user_id": user,
            "action": random_.choice(("view", "click", "purchase", "like")),
            "time": int(time.time() * 1000),
            "item_id": f"item-{random_.randrange(500)}",
        }
        if random_.random() < 0.3:
            event["event_id"] = f"{user}-{seq // 6}"  # some repeat
        return event


class Load:
    """Sends in an open loop: event number i is due at start + i / rate.

    That holds whatever happened to the ones before it.
    """

    def __init__(
        self,
        bootstrap: list[str],
        topic: str,
        journal: Path,
        seed: int,
        rate: float,
        users: int,
        poison: float,
        shape: Shape | None = None,
    ) -> None:
        self._shape = shape or Shape()
        self._bootstrap, self._topic, self._journal = bootstrap, topic, journal
        self._seed, self._rate, self._users, self._poison = seed, rate, users, poison
        self._stop = threading.Event()
        self._connected = threading.Event()  # or failed to connect
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.sent: list[Sent] = []
        self.error: Exception | None = None

    def start(self) -> None:
        """Returns once the producer knows its brokers: what a scenario does next may kill them."""
        self._thread.start()
        self._connected.wait()
        if self.error is not None:
            raise self.error

    @property
    def running(self) -> bool:
        return self._thread.is_alive() and not self._stop.is_set()

    def stop(self, timeout_s: float = 60) -> None:
        """Ends the load and waits until the outcome of every event is written.

        Raises what ended it early.
        """
        self._stop.set()
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), "the load generator does not end"
        if self.error is not None:
            raise self.error

    async def _run(self) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            enable_idempotence=True,
            linger_ms=5,
            max_batch_size=65_536,
        )
        try:
            await producer.start()
        except Exception as error:
            self.error = error
            await producer.stop()
            return
        finally:
            self._connected.set()
        random_, seqs, started, number = (
            random.Random(self._seed),
            dict[str, int](),
            time.monotonic(),
            0,
        )
        waiting: set[asyncio.Task[None]] = set()
        try:
            with self._journal.open("ab") as journal:
                while not self._stop.is_set():
                    intended = started + number / self._rate
                    if intended > time.monotonic():
                        await asyncio.sleep(intended - time.monotonic())
                    user = self._shape.user(random_, self._users)
                    seqs[user] = seqs.get(user, -1) + 1
                    value = self._value(random_, user, number, seqs[user])
                    facts = (
                        f"{self._seed}-{number}",
                        user,
                        seqs[user],
                        intended,
                        time.monotonic(),
                        fingerprint(value),
                    )
                    headers = [("trace", facts[0].encode())]
                    sending = producer.send(self._topic, value, key=user.encode(), headers=headers)
                    task = asyncio.create_task(self._outcome(sending, facts, journal))
                    waiting.add(task)
                    task.add_done_callback(waiting.discard)
                    await asyncio.sleep(0)  # so that events are queued in their order
                    number += 1
                await asyncio.gather(*waiting)
        except Exception as error:
            self.error = error
        finally:
            await producer.stop()

    def _value(self, random_: random.Random, user: str, number: int, seq: int) -> bytes:
        if random_.random() < self._poison:
            return random_.choice(POISON)
        event = self._shape.event(random_, user, number, seq) | {
            "journal": f"{self._seed}-{number}"
        }
        return orjson.dumps(event)

    async def _outcome(
        self, sending: Any, facts: tuple[str, str, int, float, float, str], journal: Any
    ) -> None:
        place, outcome = (-1, -1), "info"
        try:
            metadata = await (await sending)
            place, outcome = (metadata.partition, metadata.offset), "ok"
        except REFUSED:
            outcome = "fail"
        except Exception:
            outcome = "info"
        sent = Sent(*facts[:5], outcome, place, facts[5])
        self.sent.append(sent)
        journal.write(orjson.dumps(sent) + b"\n")
