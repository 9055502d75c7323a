"""Asks a service over HTTP at a rate, whatever becomes of earlier requests.

A request is due at its moment and its latency counts from then, so a service, a client or a queue
that falls behind is seen (no coordinated omission). Gaps between requests are exponential, as those
of people who know nothing of one another.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

CONNECTIONS: Final = 64
END_OF_HEAD: Final = b"\r\n\r\n"
LENGTH: Final = b"\r\ncontent-length: "

Done = Callable[[int, bytes], None]
"""Takes status and body of an answer."""


class Connection(asyncio.Protocol):
    """Sends one request at a time over a connection that stays open."""

    def __init__(
        self, idle: Callable[[Connection], None], lost: Callable[[Connection], None]
    ) -> None:
        self._idle, self._lost = idle, lost
        self._done: Done | None = None
        self._received = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self, request: bytes, done: Done) -> None:
        """Sends a request; `done` is called with the answer."""
        self._done = done
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._received:  # most answers come in one piece
            data = self._received + data
        end = data.find(END_OF_HEAD)
        at = data.find(LENGTH, 0, end) + len(LENGTH)
        begin = end + len(END_OF_HEAD)
        if end < 0 or len(data) < begin + int(data[at : data.index(b"\r\n", at)]):
            self._received = data
            return
        self._received = b""
        self._answer(int(data[9:12]), data[begin:])
        self._idle(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost(self)
        self._answer(0, b"")

    def _answer(self, status: int, body: bytes) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(status, body)

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()


class Client:
    """Holds some connections, and the requests that wait for one.

    The connection that was idle for the longest is taken: a server closes those that are for long.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: deque[Connection] = deque()
        self._waiting: deque[tuple[bytes, Done]] = deque()
        self._all: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()

    def request(self, path: str) -> bytes:
        """Returns the bytes of a request."""
        return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n\r\n".encode("ascii")

    def ask(self, request: bytes, done: Done) -> None:
        """Sends a request now, or as soon as a connection is free."""
        if self._idle:
            self._idle.popleft().send(request, done)
        else:
            self._waiting.append((request, done))

    async def get(self, path: str) -> tuple[int, bytes]:
        """Returns status and body of an answer."""
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        request = self.request(path)
        self.ask(request, lambda status, body: answer.set_result((status, body)))
        return await answer

    def _free(self, connection: Connection) -> None:
        if self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._idle.append(connection)

    def _replace(self, lost: Connection) -> None:
        """Opens another connection for one that the server has closed."""
        if lost in self._all:
            self._all.discard(lost)
            if lost in self._idle:
                self._idle.remove(lost)
            task = asyncio.get_running_loop().create_task(self._open_one())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open_one(self) -> None:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self._free, self._replace), "127.0.0.1", self._port
        )
        self._all.add(connection)
        self._free(connection)

    async def open(self) -> None:
        """Opens all connections."""
        for _ in range(CONNECTIONS):
            await self._open_one()

    def close(self) -> None:
        """Closes all connections."""
        for task in self._opening:
            task.cancel()
        closing, self._all = self._all, set()
        for each in closing:
            each.close()


@asynccontextmanager
async def client_of(port: int) -> AsyncIterator[Client]:
    """Yields a client of a service on this machine."""
    client = Client(port)
    try:
        await client.open()
        yield client
    finally:
        client.close()


@dataclass
class Latencies:
    """Holds how long answers took, in seconds, by kind of request, and what failed."""

    by_kind: dict[str, list[float]] = field(default_factory=dict)
    failed: int = 0
    due: int = 0

    def note(self, kind: str, status: int, took_s: float) -> None:
        """Takes one answer."""
        self.by_kind.setdefault(kind, []).append(took_s)
        self.failed += status != 200

    @property
    def all(self) -> list[float]:
        """Returns all latencies."""
        return [each for some in self.by_kind.values() for each in some]


async def ask_at_rate(
    client: Client, requests: Iterator[tuple[str, bytes]], rate: float, until: asyncio.Event
) -> Latencies:
    """Sends requests, each of a kind, at a rate until the event is set; returns what was seen.

    Answers that are still on their way then are waited for.
    """
    found, chance, answered = Latencies(), random.Random(2), 0
    due = time.perf_counter()

    def ask(moment: float) -> None:
        kind, request = next(requests)

        def done(status: int, _body: bytes) -> None:
            nonlocal answered
            answered += 1
            found.note(kind, status, time.perf_counter() - moment)

        client.ask(request, done)

    while not until.is_set():
        while due <= time.perf_counter():
            found.due += 1
            ask(due)
            due += chance.expovariate(rate)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
    while answered < found.due:  # noqa: ASYNC110 answers come by themselves
        await asyncio.sleep(0.01)
    return found


def percentile(values: list[float], share: float) -> float:
    """Returns the smallest value that this share of all does not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]
