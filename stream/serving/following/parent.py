"""Starts the process that follows the topics, and knows what it tells.

It is forked before this process has an event loop or a thread, so nothing is imported twice.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from stream import errors
from stream.config import Settings
from stream.serving.feed import Feed
from stream.serving.following.child import run_child
from stream.serving.following.messages import (
    AskCount,
    AskPairs,
    Channel,
    Counted,
    End,
    Ended,
    Follow,
    FromFollower,
    Heard,
    Listen,
    Open,
    Opened,
    Pairs,
    Progress,
    ToFollower,
)
from stream.serving.meters import Meters
from stream.serving.overview.outcomes import Said
from stream.serving.queries import Segment
from stream.serving.store import Place
from stream.serving.updates import read_update

STALE_MS: Final = 60_000
"""Answers that are older are told to be: /readyz says 503."""

ANSWER_S: Final = 10.0
"""What the child is asked for comes at once, unless it is gone."""

KINDS: Final = {
    each.__name__: each
    for each in (
        errors.UsageError,
        errors.SettingsError,
        errors.Failure,
        errors.BrokerError,
        errors.TopicError,
        errors.RegistryError,
    )
}


def fork(settings: Settings, folder: Path) -> Following:
    """Forks the process that follows into the file of a folder, and returns this side of it.

    It does nothing until it is opened. Call it before there is an event loop or a thread.
    """
    mine, its = socket.socketpair()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or what waits there would be said twice
    pid = os.fork()
    if pid == 0:
        mine.close()
        run_child(settings, folder, its)
    its.close()
    return Following(mine, pid)


class Following:
    """Knows how far the child is, hands its updates on, and asks it."""

    def __init__(self, end: socket.socket, pid: int = 0) -> None:
        """`end` is this side's; `pid` is that of the child, 0 if it is no process."""
        self._end, self._pid = end, pid
        self._channel: Channel | None = None
        self._tickets = itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}  # by ticket
        self._positions: dict[Place, int] = {}
        self.ready = False
        self.history_ready = False
        self.as_of_ms = 0
        self.models: dict[str, str] = {}  # names and versions of those met, by fingerprint

    # -- what others ask

    def lag_ms(self, now_ms: int) -> int:
        """Returns how old an answer of now may be."""
        return max(0, now_ms - self.as_of_ms)

    def why_not_ready(self, now_ms: int) -> list[str]:
        """Returns what keeps this process from being asked; empty: nothing does."""
        if not self.ready:
            return ["the profiles are being read"]
        lag_ms = self.lag_ms(now_ms)
        return [f"nothing was heard of Kafka for {lag_ms // 1000} s"] if lag_ms > STALE_MS else []

    def position(self, place: Place) -> int:
        """Returns the next offset of a partition that is not in the file yet."""
        return self._positions.get(place, 0)

    async def pairs(self, number: int) -> list[tuple[Said, Said]]:
        """Returns each of the last updates of a user with the one after it, newest first."""
        found: list[tuple[Said, Said]] = await self._answer(partial(AskPairs, number=number))
        return found

    async def users_of(self, segment: Segment) -> int:
        """Returns how many users a segment has that no tally counts; raises TimeoutError."""
        users: int = await self._answer(partial(AskCount, segment=segment))
        return users

    def listen(self, wanted: bool) -> None:
        """Has updates handed on, or not any more."""
        self._send(Listen(wanted))

    # -- the child

    async def open(self) -> None:
        """Has the child open the file; raises what it says of it, as `run` does."""
        self._channel = await Channel.over(self._end)
        self._send(Open())
        message = await self._next()
        if not isinstance(message, Opened):
            raise TypeError(f"a file is opened first, and {type(message).__name__} came")

    async def run(self, feed: Feed, meters: Meters) -> None:
        """Has the child follow, and takes what it tells until it ends.

        Raises the reason, of `stream.errors`.
        """
        self._send(Follow())
        while True:
            match message := await self._next():
                case Progress():
                    self._take(message, meters)
                case Heard():
                    for key, value in message.updates:
                        if (update := read_update(key, value)) is not None:
                            feed.publish(update, value)
                case Pairs():
                    self._take_answer(message.ticket, message.pairs)
                case Counted():
                    self._take_answer(message.ticket, message.users)

    async def close(self) -> None:
        """Has the child write what it has and end, and waits for it."""
        if self._channel is None:
            self._end.close()
        else:
            self._send(End())
            await self._channel.until_gone()
            self._channel.close()
        if self._pid:
            await asyncio.to_thread(os.waitpid, self._pid, 0)

    async def _answer(self, question: Callable[[int], ToFollower]) -> Any:
        """Returns what the child answers to a question with a ticket; raises TimeoutError."""
        ticket = next(self._tickets)
        answer = self._asked[ticket] = asyncio.get_running_loop().create_future()
        try:
            self._send(question(ticket))
            async with asyncio.timeout(ANSWER_S):
                return await answer
        finally:
            del self._asked[ticket]

    def _take_answer(self, ticket: int, answer: Any) -> None:
        waiting = self._asked.get(ticket)
        if waiting is not None and not waiting.done():  # else nobody waits for it any more
            waiting.set_result(answer)

    def _send(self, message: ToFollower) -> None:
        if self._channel is not None:
            self._channel.send(message)

    async def _next(self) -> FromFollower | ToFollower:
        assert self._channel is not None
        message = await self._channel.receive()
        if message is None:
            raise errors.Failure(
                "the process that follows the topics was killed, so answers would only get older; "
                "start `interest-stream serve` again, it goes on where its file ends"
            )
        if isinstance(message, Ended):
            if kind := KINDS.get(message.kind):
                raise kind(message.message)
            raise errors.Failure(f"the process that follows the topics failed: {message.message}")
        return message

    def _take(self, progress: Progress, meters: Meters) -> None:
        self.ready, self.history_ready = progress.ready, progress.history_ready
        self.as_of_ms = progress.as_of_ms
        self._positions.update(
            ((topic, partition), offset) for topic, partition, offset in progress.positions
        )
        self.models |= progress.models
        meters.take(progress)
