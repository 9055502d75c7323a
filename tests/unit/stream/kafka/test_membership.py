"""Checks what counts as a confirmation by the group, and the last look before a write."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.protocol.group import JoinGroupRequest, SyncGroupRequest

from stream.config import Settings
from stream.errors import FencedError, GroupError, SettingsError
from stream.kafka import membership
from stream.kafka.batch_consumer import BatchConsumer
from stream.kafka.membership import FENCED_INSTANCE_ID, Membership

DYNAMIC = Settings(session_timeout_s=6, heartbeat_s=1)
STATIC = Settings(session_timeout_s=6, heartbeat_s=1, instance_id="one")


class Clock:
    """Stands in for the module time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(membership, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Coordinator:
    """Stands for aiokafka's coordinator.

    `error_code` is what the broker answers, `pause` what happens before the answer is read.
    """

    def __init__(self, error_code: int = 0, pause: Callable[[], None] = lambda: None) -> None:
        self.error_code, self.pause = error_code, pause
        self.member_id, self.resets, self.left_as = "member", 0, "nobody"
        self._group_instance_id: str | None = "one"
        self._closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._coordination_task: Any = asyncio.get_running_loop().create_future()
        self._pending_exception: Exception | None = None

    async def _do_heartbeat(self) -> bool:
        self.pause()
        if self.error_code:
            self.reset_generation()
        return not self.error_code

    async def _send_req(self, request: Any) -> Any:
        self.pause()
        return SimpleNamespace(error_code=self.error_code)

    def reset_generation(self) -> None:
        self.resets += 1
        self.member_id = ""

    async def _maybe_leave_group(self) -> None:
        if self._group_instance_id is None:
            self.left_as = self.member_id
        self.reset_generation()


SYNC = SyncGroupRequest("group", 1, "member", None, [])
JOIN = JoinGroupRequest("group", 6000, 60000, "member", "one", "consumer", [])


def watched(settings: Settings, coordinator: Coordinator) -> tuple[Membership, list[Exception]]:
    ends: list[Exception] = []
    member = Membership(settings, ends.append)
    member.watch(coordinator)
    return member, ends


def test_an_answer_that_waited_through_a_pause_does_not_count_from_when_it_was_read(
    clock: Clock,
) -> None:
    """The worker asked, was stopped for 60 s and then woken.

    The answer of a minute ago lies in the socket, and another worker has taken over.
    """

    async def scenario() -> None:
        coordinator = Coordinator(pause=lambda: setattr(clock, "now", clock.now + 60))
        member, _ = watched(DYNAMIC, coordinator)
        assert await coordinator._do_heartbeat()
        assert member.confirmed == 100.0
        await coordinator._send_req(SYNC)
        assert member.confirmed == 160.0, (
            "partitions given before a pause do not count from after it either"
        )
        assert member.silent_s() == 60.0 > member.lease_s

    asyncio.run(scenario())


def test_a_session_timeout_that_the_broker_refuses_names_the_setting() -> None:
    async def scenario() -> list[Exception]:
        coordinator = Coordinator(error_code=26)
        _, ends = watched(DYNAMIC, coordinator)
        await coordinator._send_req(JOIN)
        return ends

    (error,) = asyncio.run(scenario())
    assert isinstance(error, SettingsError)
    assert "session_timeout_s (INTEREST_STREAM_SESSION_TIMEOUT_S) is 6" in str(error)
    assert "group.max.session.timeout.ms" in str(error)


def test_a_refused_sync_confirms_nothing(clock: Clock) -> None:
    async def scenario() -> None:
        coordinator = Coordinator(error_code=25)
        member, ends = watched(DYNAMIC, coordinator)
        await coordinator._send_req(SYNC)
        assert member.confirmed == 0.0
        assert not ends

    asyncio.run(scenario())


def test_a_member_that_was_put_out_joins_again_unless_it_has_an_instance_id() -> None:
    """With an instance id it would put out the process that has its place now."""

    async def scenario(settings: Settings) -> tuple[bool, int, list[Exception]]:
        coordinator = Coordinator(error_code=25)
        member, ends = watched(settings, coordinator)
        await coordinator._do_heartbeat()
        return member.expelled, coordinator.resets, ends

    assert asyncio.run(scenario(DYNAMIC)) == (True, 1, [])
    expelled, resets, ends = asyncio.run(scenario(STATIC))
    assert (expelled, resets) == (True, 0)
    assert isinstance(ends[0], FencedError)
    assert "instance_id one" in str(ends[0])


def test_a_fenced_join_ends_the_worker() -> None:
    """Stock waits for ever once it has got this error."""

    async def scenario() -> list[Exception]:
        coordinator = Coordinator(error_code=FENCED_INSTANCE_ID)
        _, ends = watched(STATIC, coordinator)
        await coordinator._send_req(JOIN)
        return ends

    assert "FencedInstanceId" in str(asyncio.run(scenario())[0])


@pytest.mark.parametrize(("leaves", "left_as"), [(False, "nobody"), (True, "member")])
def test_a_stop_keeps_the_place_unless_it_is_for_good(leaves: bool, left_as: str) -> None:
    async def scenario() -> str:
        coordinator = Coordinator()
        member, ends = watched(STATIC, coordinator)
        member.leaves = leaves
        coordinator._closing.set_result(None)
        await coordinator._maybe_leave_group()
        assert not ends
        return coordinator.left_as

    assert asyncio.run(scenario()) == left_as


def test_states_are_restored_once_a_process_of_the_same_id_may_write_no_more(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process has asked at most just before we joined, and its lease is two heartbeats.

    A later rebalance waits no more.
    """
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def scenario(settings: Settings) -> list[float]:
        waits.clear()
        coordinator = Coordinator()
        member, _ = watched(settings, coordinator)
        for _ in range(2):
            await coordinator._send_req(SYNC)
            await member.predecessor_over()
            clock.now += 5
        return list(waits)

    monkeypatch.setattr(membership, "asyncio", SimpleNamespace(sleep=sleep))
    assert asyncio.run(scenario(STATIC)) == [2.0, 0.0]
    assert asyncio.run(scenario(DYNAMIC)) == []


def test_coordination_that_has_ended_is_trouble() -> None:
    async def scenario() -> Exception | None:
        coordinator = Coordinator()
        member, _ = watched(DYNAMIC, coordinator)
        assert member.trouble() is None
        coordinator._coordination_task.set_exception(AssertionError("other url"))
        return member.trouble()

    trouble = asyncio.run(scenario())
    assert isinstance(trouble, GroupError)
    assert "other url" in str(trouble)


def test_an_error_that_nobody_takes_is_trouble_the_second_time() -> None:
    async def scenario() -> list[bool]:
        coordinator = Coordinator()
        member, _ = watched(DYNAMIC, coordinator)
        coordinator._pending_exception = RuntimeError("not allowed")
        return [member.trouble() is not None for _ in range(2)]

    assert asyncio.run(scenario()) == [False, True]


class Member(BatchConsumer):
    """Stands for a member whose group answered last so many seconds ago; the session is 6 s."""

    def __init__(
        self, silent_s: float, expelled: bool = False, settings: Settings = DYNAMIC
    ) -> None:
        self.app: Any = SimpleNamespace(should_stop=False)
        member = Membership(settings, lambda error: None)
        member.confirmed, member.expelled = time.monotonic() - silent_s, expelled
        self._thread: Any = SimpleNamespace(membership=member)


def test_a_member_may_write() -> None:
    asyncio.run(Member(silent_s=1).confirm_membership())


@pytest.mark.parametrize("silent_s", [0.5, 60])
def test_a_queued_write_is_not_sent_once_the_group_has_put_the_worker_out(silent_s: float) -> None:
    with pytest.raises(FencedError, match="not sent"):
        asyncio.run(Member(silent_s, expelled=True).confirm_membership())


def test_a_write_waits_for_the_groups_confirmation_and_goes_on() -> None:
    """A broker was away, and nobody has put the worker out.

    With an instance id it waits sooner.
    """

    async def scenario(member: Member) -> None:
        waiting = asyncio.ensure_future(member.confirm_membership())
        await asyncio.sleep(0)
        assert not waiting.done()
        member.membership.confirmed = time.monotonic()
        await waiting

    asyncio.run(scenario(Member(silent_s=60)))
    asyncio.run(scenario(Member(silent_s=3, settings=STATIC)))
