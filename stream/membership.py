"""What this worker knows of its place in the group: when the group last confirmed it, and whether it said the opposite.

A worker may write while the group's word is younger than a lease (docs/decisions/0005-fencing.md). The word counts from when it was asked
for: an answer may have waited in the socket for as long as this process was stopped.

Without an instance id the lease is the session timeout: nobody else gets the partitions earlier. With one (static membership) a new process
of the same id takes the place over at once, so the lease is two heartbeats, and the new one restores states only when that of a process
before it is over. A process that has lost its place ends; stock would join again and put the other one out, for ever in turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from aiokafka.errors import NoError, for_code
from aiokafka.protocol.group import JoinGroupRequest, SyncGroupRequest

from stream.config import Settings
from stream.errors import FencedError, GroupError

FENCED_INSTANCE_ID: Final = 82
"""Kafka's error code; aiokafka 0.14 has no name for it."""


class Membership:
    """Of one consumer. Written in its thread, read in any. `end`: called, more than once perhaps, with why this worker must end."""

    def __init__(
        self,
        settings: Settings,
        end: Callable[[Exception], None],
        failpoint: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._settings, self._end, self._failpoint = settings, end, failpoint
        self.lease_s = 2 * settings.heartbeat_s if settings.instance_id else settings.session_timeout_s
        self.confirmed = (
            0.0  # time.monotonic() when the last question was asked whose answer said we are a member; 0: never
        )
        self.expelled = False  # the last answer said we are not
        self.leaves = False  # this worker stops for good: its place is given up though it has an instance id
        self._began = 0.0  # the first time that the group gave us partitions
        self._coordinator: Any = None
        self._pending: Exception | None = None

    def watch(self, coordinator: Any) -> None:
        """Listen to what aiokafka's coordinator asks and is told."""
        self._coordinator = coordinator
        self._watch_heartbeats(coordinator)
        self._watch_joins(coordinator)
        if self._settings.instance_id:
            self._keep_place(coordinator)

    def silent_s(self) -> float:
        """Since the group last confirmed that this worker is a member; its partitions are its own for `lease_s`."""
        return time.monotonic() - self.confirmed

    async def predecessor_over(self) -> None:
        """Return when a process that had our instance id until we joined may write no more."""
        if self._settings.instance_id:
            await asyncio.sleep(max(0.0, self._began + self.lease_s - time.monotonic()))

    def trouble(self) -> Exception | None:
        """Why this worker will never get partitions again, though it lives. To be asked now and then: an error counts the second time."""
        if self._coordinator is None or self._coordinator._closing.done():
            return None
        task, before = self._coordinator._coordination_task, self._pending
        self._pending = self._coordinator._pending_exception
        error = task.exception() if task.done() and not task.cancelled() else None
        if error is None and self._pending is not None and self._pending is before:
            error = self._pending
        return error and GroupError(f"this worker lost touch with group {self._settings.app_id}: {error}")

    def _watch_heartbeats(self, coordinator: Any) -> None:
        do_heartbeat = coordinator._do_heartbeat

        async def remembered_heartbeat() -> bool:
            asked = time.monotonic()
            alive: bool = await do_heartbeat()
            if alive:
                self.confirmed = max(asked, self.confirmed)
            elif coordinator.member_id == JoinGroupRequest.UNKNOWN_MEMBER_ID:  # not so when nobody answered
                self.expelled = True
            return alive

        coordinator._do_heartbeat = remembered_heartbeat

    def _watch_joins(self, coordinator: Any) -> None:
        send = coordinator._send_req

        async def remembered(request: Any) -> Any:
            asked = time.monotonic()
            answer = await send(request)
            if isinstance(request, SyncGroupRequest) and for_code(answer.error_code) is NoError:
                self._failpoint("joined")
                self._began = self._began or time.monotonic()
                self.confirmed, self.expelled = asked, False
            elif isinstance(request, JoinGroupRequest | SyncGroupRequest) and answer.error_code == FENCED_INSTANCE_ID:
                self._lost()
            return answer

        coordinator._send_req = remembered

    def _keep_place(self, coordinator: Any) -> None:
        reset, leave = coordinator.reset_generation, coordinator._maybe_leave_group

        def lost_or_closing() -> None:
            if coordinator._closing.done():
                reset()
            else:
                self._lost()

        async def leave_for_good() -> None:
            if self.leaves:
                coordinator._group_instance_id = None  # else aiokafka keeps silent
            await leave()

        coordinator.reset_generation = lost_or_closing
        coordinator._maybe_leave_group = leave_for_good

    def _lost(self) -> None:
        self.expelled = True
        self._end(
            FencedError(
                f"the place of instance_id {self._settings.instance_id} in group {self._settings.app_id} is not ours any more "
                "(FencedInstanceId): another worker was started with the same id, or this one was silent for longer than the session "
                "timeout; nothing more was written. Give each worker an id of its own"
            )
        )
