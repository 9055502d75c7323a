"""The consumer's last commit, and the last look before a write, without a broker."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from stream import transport
from stream.errors import FencedError
from stream.transport import Consumer, ConsumerThread


class Committing(Consumer):
    """Has a commit under way that has not seen the last batch."""

    def __init__(self) -> None:
        self.commits = 0
        self.app: Any = SimpleNamespace(client_only=False)

    async def force_commit(self, *arguments: Any, **more: Any) -> bool:
        self.commits += 1
        return True


def test_the_last_commit_is_not_skipped_because_another_is_under_way() -> None:
    async def scenario() -> int:
        consumer = Committing()
        consumer.loop = asyncio.get_running_loop()
        under_way = consumer._commit_fut = asyncio.get_running_loop().create_future()
        last = asyncio.ensure_future(consumer.commit_and_end_transactions())
        await asyncio.sleep(0)
        assert not last.done()
        consumer._commit_fut = None
        under_way.set_result(None)
        await last
        return consumer.commits

    assert asyncio.run(scenario()) == 1


class Member(Consumer):
    """Of a group with a session timeout of 6 s that answered last so many seconds ago."""

    def __init__(self, silent_s: float, expelled: bool = False) -> None:
        conf = SimpleNamespace(broker_session_timeout=6.0)
        self.app: Any = SimpleNamespace(conf=conf, should_stop=False)
        self._thread: Any = SimpleNamespace(last_heartbeat=time.monotonic() - silent_s, expelled=expelled)


def test_a_member_may_write() -> None:
    asyncio.run(Member(silent_s=1).confirm_membership())


def test_a_write_that_waited_through_a_pause_is_not_sent_once_the_group_has_moved_on() -> None:
    with pytest.raises(FencedError, match="not sent"):
        asyncio.run(Member(silent_s=60, expelled=True).confirm_membership())


def test_a_write_waits_for_the_groups_word_and_goes_on() -> None:
    """A broker was away: nobody has put the worker out."""

    async def scenario() -> None:
        member = Member(silent_s=60)
        waiting = asyncio.ensure_future(member.confirm_membership())
        await asyncio.sleep(0)
        assert not waiting.done()
        member._thread.last_heartbeat = time.monotonic()
        await waiting

    asyncio.run(scenario())


def test_an_answer_that_waited_through_a_pause_does_not_count_from_when_it_was_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Asked, stopped for 60 s, woken: the answer of a minute ago lies in the socket, and another worker has taken over."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(transport, "time", SimpleNamespace(monotonic=lambda: clock.now))

    async def answered_before_the_pause() -> bool:
        clock.now += 60
        return True

    thread = ConsumerThread.__new__(ConsumerThread)
    coordinator = SimpleNamespace(_do_heartbeat=answered_before_the_pause, member_id="member")
    thread._remember_heartbeats(coordinator)
    assert asyncio.run(coordinator._do_heartbeat())
    assert thread.last_heartbeat == 100.0
