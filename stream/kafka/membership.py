"""Knows this worker's place in the group: when the group last confirmed it, or that it was put out.

A worker may write while the group's confirmation is younger than a lease
(docs/understand/decisions/0005-fencing.md). A confirmation counts from when it was asked for: an
answer may have waited in the socket for as long as this process was stopped.

Without an instance id the lease is the session timeout, because nobody else gets the partitions
earlier. With one (static membership) a new process of the same id takes the place over at once, so
the lease is two heartbeats, and the new one restores states only when that of a process before it
is over. A process that has lost its place ends; stock would join again and put the other one out,
for ever in turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from aiokafka.errors import InvalidSessionTimeoutError, NoError, for_code
from aiokafka.protocol.group import JoinGroupRequest, SyncGroupRequest

from stream.config import Settings, wrong
from stream.errors import FencedError, GroupError

FENCED_INSTANCE_ID: Final = 82
"""Kafka's error code; aiokafka 0.14 has no name for it."""


class Membership:
    """Follows the membership of one consumer.

    It is written in the consumer's thread and read in any. `end` is called, perhaps more than once,
    with the reason why this worker must end.
    """

    def __init__(
        self,
        settings: Settings,
        end: Callable[[Exception], None],
        failpoint: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._settings, self._end, self._failpoint = settings, end, failpoint
        self.lease_s = (
            2 * settings.heartbeat_s if settings.instance_id else settings.session_timeout_s
        )
        # time.monotonic() of the last request whose answer said that we are a member; 0: never
        self.confirmed = 0.0
        self.expelled = False  # the last answer said that we are not
        # this worker stops for good: its place is given up though it has an instance id
        self.leaves = False
        self._began = 0.0  # the first time that the group gave us partitions
        self._coordinator: Any = None
        self._pending: Exception | None = None

    def watch(self, coordinator: Any) -> None:
        """Follows what aiokafka's coordinator asks the group, and what it is answered."""
        self._coordinator = coordinator
        self._watch_heartbeats(coordinator)
        self._watch_joins(coordinator)
        if self._settings.instance_id:
            self._keep_place(coordinator)

    def silent_s(self) -> float:
        """Returns the seconds since the group last confirmed that this worker is a member.

        Its partitions are its own for `lease_s`.
        """
        return time.monotonic() - self.confirmed

    async def predecessor_over(self) -> None:
        """Waits until a process that had our instance id until we joined may write no more."""
        if self._settings.instance_id:
            await asyncio.sleep(max(0.0, self._began + self.lease_s - time.monotonic()))

    def trouble(self) -> Exception | None:
        """Returns why this worker will never get partitions again, though it lives; None if it may.

        It is meant to be called now and then: an error counts the second time that it is seen.
        """
        if self._coordinator is None or self._coordinator._closing.done():
            return None  # it leaves on purpose, which aiokafka says in this future alone
        # aiokafka ends its task, or keeps its last error in this field, and says so to nobody
        task, before = self._coordinator._coordination_task, self._pending
        self._pending = self._coordinator._pending_exception
        error = task.exception() if task.done() and not task.cancelled() else None
        if error is None and self._pending is not None and self._pending is before:
            error = self._pending
        return error and GroupError(
            f"this worker lost touch with group {self._settings.app_id}: {error}"
        )

    def _watch_heartbeats(self, coordinator: Any) -> None:
        # aiokafka has no hook for the answers to its heartbeats; they pass through here
        do_heartbeat = coordinator._do_heartbeat

        async def remembered_heartbeat() -> bool:
            sent_at = time.monotonic()
            alive: bool = await do_heartbeat()
            if alive:
                self.confirmed = max(sent_at, self.confirmed)
            elif coordinator.member_id == JoinGroupRequest.UNKNOWN_MEMBER_ID:
                # when nobody answered, the member id stays
                self.expelled = True
            return alive

        coordinator._do_heartbeat = remembered_heartbeat

    def _watch_joins(self, coordinator: Any) -> None:
        # every request to the coordinator passes through here, joins and their answers too
        send = coordinator._send_req

        async def remembered(request: Any) -> Any:
            sent_at = time.monotonic()
            answer = await send(request)
            if isinstance(request, SyncGroupRequest) and for_code(answer.error_code) is NoError:
                self._failpoint("joined")
                self._began = self._began or time.monotonic()
                self.confirmed, self.expelled = sent_at, False
            elif (
                isinstance(request, JoinGroupRequest | SyncGroupRequest)
                and answer.error_code == FENCED_INSTANCE_ID
            ):
                self._lost()
            elif (
                isinstance(request, JoinGroupRequest)
                and for_code(answer.error_code) is InvalidSessionTimeoutError
            ):
                self._end(
                    wrong(
                        "session_timeout_s",
                        self._settings.session_timeout_s,
                        "the broker refuses it: choose one between its "
                        "group.min.session.timeout.ms and group.max.session.timeout.ms, which are "
                        "6 s and 1800 s unless they were changed",
                    )
                )
            return answer

        coordinator._send_req = remembered

    def _keep_place(self, coordinator: Any) -> None:
        # aiokafka forgets a lost place here, and joins again; and it leaves the group here, which a
        # member with an instance id never does on its own
        reset, leave = coordinator.reset_generation, coordinator._maybe_leave_group

        def lost_or_closing() -> None:
            # a member that leaves on purpose resets its generation too
            if coordinator._closing.done():
                reset()
            else:
                self._lost()

        async def leave_for_good() -> None:
            if self.leaves:
                coordinator._group_instance_id = None  # else aiokafka does not leave
            await leave()

        coordinator.reset_generation = lost_or_closing
        coordinator._maybe_leave_group = leave_for_good

    def _lost(self) -> None:
        self.expelled = True
        self._end(
            FencedError(
                f"the place of instance_id {self._settings.instance_id} in group "
                f"{self._settings.app_id} is not ours any more "
                "(FencedInstanceId): another worker was started with the same id, or this one was "
                "silent for longer than the session "
                "timeout; nothing more was written. Give each worker an id of its own"
            )
        )
