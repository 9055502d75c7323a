"""Runs the process that follows the topics, tells the one that serves how far it is, and counts."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import uvloop

from stream.config import Settings
from stream.errors import InterestStreamError
from stream.plain_text import told
from stream.serving import queries
from stream.serving.following.follower import Follower, Step
from stream.serving.following.messages import (
    AskCount,
    AskPairs,
    Channel,
    Counted,
    End,
    Ended,
    Follow,
    Heard,
    Listen,
    Open,
    Opened,
    Pairs,
    Progress,
)
from stream.serving.overview.outcomes import Outcomes
from stream.serving.queries import Segment
from stream.serving.store import Reader, Store

log = logging.getLogger("interest_stream")

ORPHAN_S: Final = 60.0
"""How long the file is waited for: the child of a parent that was killed may still have it."""

FOLLOWS_NICE: Final = 10
"""Whoever answers comes first where there is no core for both: a batch takes some 60 ms, and an
answer a half. Where there are cores it changes nothing."""

SWITCH_S: Final = 0.0005
"""So long who counts waits for the thread that writes a batch."""

GARBAGE_OBJECTS: Final = 100_000
"""So many new ones until garbage is looked for: a batch of records is no garbage."""


def run_child(settings: Settings, folder: Path, end: socket.socket) -> NoReturn:
    """Follows until the parent says that it is enough, or is gone; ends the process."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # a terminal sends them to both; the parent decides
    # what SQLite sorts at the end of a first reading has room where the file has; nothing stays
    os.environ.setdefault("SQLITE_TMPDIR", str(folder))
    os.nice(FOLLOWS_NICE)
    if sys.platform == "linux":  # whoever answers is not interrupted when a batch comes in
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS, *gc.get_threshold()[1:])
    code = 1
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Child(settings, folder, gone=_leave).run(end))
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)  # nothing of the parent's is to be ended here


def _leave() -> None:
    """Ends the process at once, whatever is being written: the file is whole at any moment."""
    os._exit(1)


class Child:
    """Follows the topics into a file, and talks to the parent over a channel."""

    def __init__(self, settings: Settings, folder: Path, gone: Callable[[], None]) -> None:
        """`gone` ends the process at once: the parent has gone without a word, or may not wait."""
        self._settings, self._folder, self._gone = settings, folder, gone
        self._store: Store | None = None
        self._outcomes = Outcomes()
        self._may_follow = asyncio.Event()
        self._is_heard = False  # somebody listens to the updates
        self._reader: Reader | None = None  # of counts

    async def run(self, end: socket.socket) -> None:
        """Opens the file, follows, and ends as it is asked, over one end of a pair of sockets."""
        self._channel = channel = await Channel.over(end)
        following: asyncio.Task[None] | None = None
        try:
            while (message := await channel.receive()) is not None:
                match message:
                    case Open():
                        following = asyncio.create_task(self._follow())
                    case Follow():
                        self._may_follow.set()
                    case Listen():
                        self._is_heard = message.wanted
                    case AskPairs():
                        found = await self._outcomes.pairs(message.number)
                        channel.send(Pairs(message.ticket, found))
                    case AskCount():
                        self._count(message)
                        await asyncio.sleep(0)  # or many in a row would hold up the reading
                    case End():
                        if self._store is not None and self._store.is_loading:
                            self._gone()  # a first reading that is ended begins again in any case
                        return
                    case _:
                        raise TypeError(f"no parent sends {type(message).__name__}")
            self._gone()
        finally:
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
            channel.close()

    async def _follow(self) -> None:
        """Follows for ever; what ends it is told to the parent."""
        try:
            self._store = store = await asyncio.to_thread(Store, self._folder, ORPHAN_S)
            follower = Follower(self._settings, store, self._tell)
            try:
                self._channel.send(Opened())
                await self._may_follow.wait()
                await follower.run()
            finally:
                follower.close()
                self._store = None
                if self._reader is not None:  # who closes the file last empties its log
                    self._reader.close()
                store.close()
        except InterestStreamError as error:
            self._channel.send(Ended(type(error).__name__, str(error)))
        except Exception as error:
            log.error("following the topics failed: %s", told(error))
            self._channel.send(Ended("", told(error)))

    def _count(self, asked: AskCount) -> None:
        """Counts at once: to hand it to a thread takes as long."""
        try:
            users = self._users_of(asked.segment)
        except Exception as error:  # whoever asks waits in vain, and says so
            log.error("counting a segment failed: %s", told(error))
        else:
            self._channel.send(Counted(asked.ticket, users))

    def _users_of(self, segment: Segment) -> int:
        assert self._store is not None, "the file is open while somebody asks for segments"
        if self._reader is None:
            self._reader = self._store.reader()
        return queries.users_of(self._reader, segment, self._store.count)

    async def _tell(self, follower: Follower, step: Step) -> None:
        """Tells the parent of a step, and keeps what may be asked for."""
        changes, channel = step.changes, self._channel
        for number in changes.gone:
            self._outcomes.forget(number)
        for number, update in changes.heard:
            self._outcomes.take(number, update)
        channel.send(
            Progress(
                ready=follower.ready,
                history_ready=follower.history_ready,
                as_of_ms=follower.as_of_ms,
                profiles=step.profiles,
                updates=step.updates,
                foreign=changes.foreign,
                older=changes.older,
                erased=changes.erased,
                positions=[(*place, offset) for place, offset in step.positions.items()],
                models=changes.models,
            )
        )
        # what was there before the start is no news
        if self._is_heard and follower.history_ready and changes.updates:
            updates = [(update.user_id.encode(), value) for update, value in changes.updates]
            channel.send(Heard(updates))
        await channel.drain()
