"""Hands updates on to whoever listens, and lets nobody who listens slowly hold up the others."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from stream.serving.updates import Update

WAITING: Final = 1_000
"""Updates kept for a slow listener; older ones are left out, and that is told."""

LISTENERS: Final = 200
SILENCE_S: Final = 15.0
"""After so long without an update a comment is sent, so that proxies keep the connection."""


class TooManyError(Exception):
    """Says that nobody more can listen."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Says which updates somebody listens to; None: of every user, about every interest."""

    user: str | None = None
    interest: str | None = None

    def takes(self, update: Update) -> bool:
        """Returns whether an update is wanted."""
        return self.user in (None, update.user_id) and (
            self.interest is None
            or any(each.interest == self.interest for each in update.interests)
        )


class Listener:
    """Holds the updates that wait for one listener."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._waiting: deque[tuple[str, bytes]] = deque(maxlen=WAITING)
        self._left_out = 0
        self._there = asyncio.Event()

    def put(self, update: Update, value: bytes) -> None:
        """Adds an update; the oldest goes where too many wait."""
        self._left_out += len(self._waiting) == WAITING
        self._waiting.append((update.update_id, value))
        self._there.set()

    def wake(self) -> None:
        """Lets the listener look around, though nothing may wait."""
        self._there.set()

    async def take(self) -> list[bytes]:
        """Returns what waits as Server-Sent Events; after a long silence a comment."""
        try:
            async with asyncio.timeout(SILENCE_S):
                await self._there.wait()
        except TimeoutError:
            return [b": still here\n\n"]
        self._there.clear()
        waiting, self._waiting = list(self._waiting), deque(maxlen=WAITING)
        left_out, self._left_out = self._left_out, 0
        told = [b'event: left-out\ndata: {"updates":%d}\n\n' % left_out] if left_out else []
        return told + [
            b"event: update\nid: %b\ndata: %b\n\n" % (one_line(update_id.encode()), one_line(value))
            for update_id, value in waiting
        ]


class Feed:
    """Knows who listens. All of it runs in the event loop."""

    def __init__(self, listen: Callable[[bool], None] = lambda wanted: None) -> None:
        """`listen` is called with True when the first one listens, with False after the last."""
        self._listeners: set[Listener] = set()
        self._listen = listen
        self.ended = False

    def __len__(self) -> int:
        return len(self._listeners)

    def publish(self, update: Update, value: bytes) -> None:
        """Gives an update to everybody who wants it."""
        for each in self._listeners:
            if each.wanted.takes(update):
                each.put(update, value)

    def join(self, wanted: Wanted) -> Listener:
        """Returns a new listener; raises TooManyError."""
        if len(self._listeners) >= LISTENERS:
            raise TooManyError
        listener = Listener(wanted)
        if not self._listeners:
            self._listen(True)
        self._listeners.add(listener)
        return listener

    async def events(self, listener: Listener) -> AsyncIterator[bytes]:
        """Yields what a listener is to be sent, until nobody listens or the service ends."""
        try:
            yield b"retry: 2000\n\n"
            while not self.ended:
                for each in await listener.take():
                    yield each
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._listen(False)

    def end(self) -> None:
        """Lets everybody go."""
        self.ended = True
        for each in self._listeners:
            each.wake()


def one_line(text: bytes) -> bytes:
    """Returns a text that cannot end a line of the stream; JSON stays the same JSON."""
    return b" ".join(text.splitlines())
