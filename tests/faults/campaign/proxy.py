"""Forwards TCP with knowledge of Kafka's framing: it can hold, delay or cut what passes.

It does so by direction and by what a connection is for. Clients use one connection for the group
coordinator, others for fetching and producing; a rule names requests (api keys) and applies to
every connection that has carried one of them. What was held is counted: a fault that held nothing
did not happen.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field
from typing import Any, Final

PRODUCE: Final = 0
FETCH: Final = 1
COORDINATION: Final = frozenset({8, 9, 11, 12, 13, 14})
"""OffsetCommit, OffsetFetch, JoinGroup, Heartbeat, LeaveGroup, SyncGroup."""

UP: Final = "to the broker"
DOWN: Final = "to the client"


@dataclass(frozen=True)
class Rule:
    """Holds what goes these ways on connections that carried these requests, until it is healed.

    Requests None: on all connections. Or it does something else: delay_s lets it through later;
    cut_after lets so many bytes through and resets the connection; half_open never lets anything
    through again on a connection that carried something meanwhile, nor ends it.
    """

    ways: tuple[str, ...] = (UP, DOWN)
    apis: frozenset[int] | None = None
    delay_s: float | None = None
    cut_after: int | None = None
    half_open: bool = False


@dataclass(eq=False)
class _Link:
    """One client connection."""

    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    apis: set[int] = field(default_factory=set)
    frame: bytearray = field(default_factory=bytearray)
    skip: int = 0

    def notice(self, chunk: bytes) -> None:
        """Follow the requests' frames: length, api key."""
        self.frame += chunk
        while self.frame:
            drop = min(self.skip, len(self.frame))
            del self.frame[:drop]
            self.skip -= drop
            if self.skip or len(self.frame) < 6:
                return
            self.apis.add(int.from_bytes(self.frame[4:6], "big"))
            self.skip = 4 + int.from_bytes(self.frame[:4], "big")


class Proxy:
    """Forwards `port` to `target` in a thread of its own."""

    def __init__(self, port: int, target: int) -> None:
        self.port, self._target = port, target
        self.held_bytes = 0
        self.connections = 0
        self._rule: Rule | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._call(self._open())

    def stop(self) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def block(self, rule: Rule) -> None:
        """From now on, until `heal`."""
        self.held_bytes = 0
        self._rule = rule

    def heal(self, reset: bool = False) -> int:
        """Ends the rule and returns the bytes held.

        With reset, connections that it applied to are cut and what was held for them is lost.
        """
        rule, self._rule = self._rule, None
        if reset and rule is not None:
            self._call(self._reset(rule))
        return self.held_bytes

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(15)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _reset(self, rule: Rule) -> None:
        for link in [each for each in self._links if _applies(rule, each)]:
            for writer in link.writers:
                writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        link = _Link([writer])
        self._links.add(link)
        self.connections += 1
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                theirs, to_them = await asyncio.open_connection("127.0.0.1", self._target)
                link.writers.append(to_them)
                await asyncio.gather(
                    self._pump(reader, to_them, link, UP), self._pump(theirs, writer, link, DOWN)
                )
        finally:
            for each in link.writers:
                each.transport.abort()
            self._links.discard(link)
            self._tasks.discard(task)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link, way: str
    ) -> None:
        while chunk := await reader.read(65_536):
            if way == UP:
                link.notice(chunk)
            passing = await self._pass(link, way, len(chunk))
            writer.write(chunk[:passing])
            await writer.drain()
            if passing < len(chunk):
                break
        raise ConnectionResetError

    async def _pass(self, link: _Link, way: str, size: int) -> int:
        """Return when the chunk may go on, with how many bytes of it."""
        counted = False
        while (rule := self._rule) is not None and way in rule.ways and _applies(rule, link):
            self.held_bytes += 0 if counted else size
            counted = True
            if rule.delay_s is not None:
                await asyncio.sleep(rule.delay_s)
                break
            if rule.cut_after is not None and rule.cut_after < size:
                return rule.cut_after
            if rule.cut_after is not None:
                break
            if rule.half_open:
                await asyncio.Future()
            await asyncio.sleep(0.02)
        return size


def _applies(rule: Rule, link: _Link) -> bool:
    return rule.apis is None or bool(rule.apis & link.apis)
