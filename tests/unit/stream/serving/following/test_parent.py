"""The two sides of the service, over a pair of sockets: what one tells the other knows."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stream.config import Settings
from stream.errors import Failure, UsageError
from stream.serving.feed import Feed, Wanted
from stream.serving.following.child import Child
from stream.serving.following.follower import Follower, Step
from stream.serving.following.messages import (
    AskCount,
    Channel,
    Counted,
    Follow,
    Open,
    Opened,
)
from stream.serving.following.parent import STALE_MS, Following
from stream.serving.meters import Meters
from stream.serving.queries import ANY_RANK, Segment
from stream.serving.store import Store
from stream.serving.updates import number_of
from tests.support.processes import HANG_S
from tests.support.serving import NOW_MS, PROFILES, UPDATES, Record, null, record
from tests.support.stored import offset

P0, U0 = (PROFILES, 0), (UPDATES, 0)


class Fed(Follower):
    """Reads what a test puts into its queue instead of topics."""

    batches: asyncio.Queue[list[Record]]

    async def run(self) -> None:
        self.ready = self.history_ready = True
        self.as_of_ms = NOW_MS
        done = 0
        while True:
            some = await self.batches.get()
            done += len(some)
            places = {P0: done, U0: done}
            changes = self._store.apply(some, [each for each in some if each.value], places)
            await self._tell(self, Step(changes, places, len(some), len(some)))


class Loading(Follower):
    """Is in its first reading for ever."""

    async def run(self) -> None:
        self._store.begin_anew({PROFILES: "an-id"}, loading=True)
        self.as_of_ms = 1  # says that it has come so far
        await self._tell(self, Step())
        await asyncio.Event().wait()


@asynccontextmanager
async def both(
    folder: Path, monkeypatch: pytest.MonkeyPatch, follower: type[Follower] = Fed
) -> AsyncIterator[tuple[Following, asyncio.Queue[list[Record]], list[str]]]:
    """Gives the parent's side of a child that runs here, its records, and whether it was left."""
    Fed.batches = asyncio.Queue()
    monkeypatch.setattr("stream.serving.following.child.Follower", follower)
    mine, its = socket.socketpair()
    left: list[str] = []
    child = asyncio.create_task(Child(Settings(), folder, lambda: left.append("gone")).run(its))
    following = Following(mine)
    try:
        yield following, Fed.batches, left
    finally:
        await following.close()
        await child


def test_what_is_in_the_file_is_told_heard_and_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        meters = Meters()
        async with both(tmp_path, monkeypatch) as (following, batches, left):
            feed = Feed(following.listen)
            assert following.why_not_ready(NOW_MS) == ["the profiles are being read"]
            await following.open()
            hearing = asyncio.create_task(following.run(feed, meters))
            # nobody listens: what came is known, and nothing of it is handed on
            await batches.put([record("anna", 1), Record(b"berta", b"{"), null("carla")])
            while following.position(P0) < 3:  # noqa: ASYNC110 the child runs in this loop
                await asyncio.sleep(0)
            assert following.models == {"9f1c5a0e77d2b413": "demo 1"}
            assert following.why_not_ready(NOW_MS + STALE_MS) == []
            assert "61 s" in following.why_not_ready(NOW_MS + STALE_MS + 1_000)[0]
            assert following.lag_ms(NOW_MS - 5) == 0

            listener = feed.join(Wanted())
            await following.pairs(0)  # the child has read all that was sent before
            await batches.put([record("anna", 2), record("anna", 3)])
            (two, three) = await listener.take()
            assert b'"offset":2' in two
            assert b'"offset":3' in three
            pairs = await following.pairs(number_of(b"anna"))
            assert [(said.source.offset, after.source.offset) for said, after in pairs] == [
                (2, 3),
                (1, 2),
            ]
            await batches.put([record("berta", 1, {"camping": 0.7, "hiking": 0.6})])
            while following.position(P0) < 6:  # noqa: ASYNC110 the child runs in this loop
                await asyncio.sleep(0)
            sure = [Segment("camping", least, ANY_RANK, None, 0) for least in (0.5, 0.65, 0.9)]
            assert [await following.users_of(each) for each in sure] == [2, 1, 0]
            await batches.put([null("anna")])
            while following.position(P0) < 7:  # noqa: ASYNC110 the child runs in this loop
                await asyncio.sleep(0)
            assert await following.pairs(number_of(b"anna")) == []
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
        assert left == []
        text = meters.text().decode()
        for name, value in (
            ('records_read_total{topic="profiles"}', 7),
            ('records_read_total{topic="updates"}', 7),
            ("profiles_erased_total", 2),
            ("records_foreign_total", 2),
        ):
            assert f"interest_stream_serve_{name} {value}.0\n" in text

    asyncio.run(run())
    again = Store(tmp_path)  # the child has let go of the file
    assert offset(again, "anna") is None
    again.close()


def test_why_the_child_ends_is_raised_by_the_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.serving.following.child.ORPHAN_S", 0.0)

    async def run() -> None:
        owner = Store(tmp_path)
        async with both(tmp_path, monkeypatch) as (following, _, _):
            with pytest.raises(UsageError, match="another `interest-stream serve` has it"):
                await following.open()
        owner.close()
        (tmp_path / "profiles.sqlite").write_bytes(b"no database, and longer than a header " * 99)
        async with both(tmp_path, monkeypatch) as (following, _, _):
            with pytest.raises(Failure, match="delete it"):
                await following.open()

    asyncio.run(run())


def test_what_nobody_foresaw_ends_both_with_its_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with both(tmp_path, monkeypatch) as (following, batches, _):
            await following.open()
            monkeypatch.setattr(Store, "apply", lambda *_: 1 / 0)
            await batches.put([record("anna", 1)])
            with pytest.raises(Failure, match="the process that follows the topics failed: Zero"):
                await following.run(Feed(), Meters())

    asyncio.run(run())


def test_a_first_reading_is_ended_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with both(tmp_path, monkeypatch, Loading) as (following, _, left):
            await following.open()
            hearing = asyncio.create_task(following.run(Feed(), Meters()))
            while not following.as_of_ms:  # noqa: ASYNC110 the child runs in this loop
                await asyncio.sleep(0)
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
        assert left == ["gone"]

    asyncio.run(run())


def test_neither_outlives_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        mine, its = socket.socketpair()
        following = Following(mine)
        other = await Channel.over(its)
        opening = asyncio.create_task(following.open())
        assert await other.receive() is not None
        other.close()
        with pytest.raises(Failure, match="was killed"):
            await opening
        await following.close()

        left: list[str] = []
        mine, its = socket.socketpair()
        mine.close()
        await Child(Settings(), tmp_path, lambda: left.append("gone")).run(its)
        assert left == ["gone"]

    asyncio.run(run())


def test_an_answer_that_comes_too_late_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    segment = Segment("camping", 0.5, ANY_RANK, None, 0)

    async def run() -> None:
        mine, its = socket.socketpair()
        following, other = Following(mine), await Channel.over(its)
        opening = asyncio.create_task(following.open())
        assert isinstance(await other.receive(), Open)
        other.send(Opened())
        await opening
        hearing = asyncio.create_task(following.run(Feed(), Meters()))
        assert isinstance(await other.receive(), Follow)
        monkeypatch.setattr("stream.serving.following.parent.ANSWER_S", 0.0)
        with pytest.raises(TimeoutError):
            await following.users_of(segment)
        monkeypatch.setattr("stream.serving.following.parent.ANSWER_S", HANG_S)
        late = await other.receive()
        asking = asyncio.create_task(following.users_of(segment))
        asked = await other.receive()
        assert isinstance(late, AskCount)
        assert isinstance(asked, AskCount)
        other.send(Counted(late.ticket, 7))
        other.send(Counted(asked.ticket, 5))
        assert await asking == 5
        other.close()
        with pytest.raises(Failure, match="was killed"):
            await hearing
        await following.close()

    asyncio.run(run())
