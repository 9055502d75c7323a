"""Plants thirteen bugs that break the promise.

Each is a patch of the product made in a test process only. `plant(name, patch, every)` applies one;
`patch` is pytest's monkeypatch.setattr or the plain setattr of a worker that will be thrown away.
Table of what catches which: docs/measured/reliability-tests.md.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import orjson

from stream.contracts import dead_letter as dead_letters
from stream.contracts.event_batch import EventBatch
from stream.kafka.batch_consumer import BatchConsumer
from stream.kafka.fence import Fence
from stream.kafka.producer import BatchProducer
from stream.pipeline import delivery as agents
from stream.pipeline import scoring, step
from stream.pipeline.decode import Decoder
from stream.pipeline.delivery import Delivery
from stream.policies.erasure import Cleared
from stream.worker import failpoints
from stream.worker.restore import RestorableArena
from stream.worker.table import ArenaStore

Patch = Callable[[Any, str, Any], None]


def commit_before_changelog_ack(patch: Patch, every: int) -> None:
    original = Delivery.publish

    async def publish(self: Delivery, job: Any) -> None:
        _apply(self, job)
        await original(self, job)

    patch(Delivery, "publish", publish)


def no_dedupe_on_replay(patch: Patch, every: int) -> None:
    patch(step, "_not_applied", lambda batch, arena, rows, owner: np.ones(len(batch.offsets), bool))


def dedupe_only_in_memory(patch: Patch, every: int) -> None:
    original = RestorableArena.restore

    def restore(self: RestorableArena, users: Any, values: Any) -> int:
        known = set(self.users())
        regressions = original(self, users, values)
        rows = self.find([user for user in self.users() if user not in known])
        held = self.gather(rows)
        held["offset"] = -1
        self.put(rows, held)
        return regressions

    patch(RestorableArena, "restore", restore)


def event_dropped(patch: Patch, every: int) -> None:
    _change_batches(patch, lambda places, wrong: places[~wrong], every)


def event_applied_twice(patch: Patch, every: int) -> None:
    _change_batches(
        patch, lambda places, wrong: np.sort(np.concatenate((places, places[wrong]))), every
    )


def acked_in_finally(patch: Patch, every: int) -> None:
    original = Delivery.publish

    async def publish(self: Delivery, job: Any) -> None:
        try:
            await original(self, job)
        except Exception:
            for event in _events(job):
                event.ack()
        finally:
            _apply(self, job)

    patch(Delivery, "publish", publish)


def no_looks(patch: Patch, every: int) -> None:
    """Plants no bug, but a worker that never asks whether it is still the owner.

    The fence of the broker is all that holds it.
    """

    async def ensure_owner(self: Delivery, job: Any) -> None:
        return None

    async def confirm_membership(self: BatchConsumer) -> None:
        return None

    patch(Delivery, "ensure_owner", ensure_owner)
    patch(BatchConsumer, "confirm_membership", confirm_membership)  # the last look before the wire


def zombie_allowed(patch: Patch, every: int) -> None:
    async def fence(self: BatchProducer, partitions: Any) -> dict[Any, int]:
        return {}

    no_looks(patch, every)
    patch(BatchProducer, "fence", fence)


def recovery_from_one_later(patch: Patch, every: int) -> None:
    original = RestorableArena.restore

    def restore(self: RestorableArena, users: Any, values: Any) -> int:
        # the first state: before it lies the empty record of a fence, which nobody misses
        first = (
            0 if len(self) else next((place + 1 for place, value in enumerate(values) if value), 0)
        )
        return original(self, users[first:], values[first:])

    patch(RestorableArena, "restore", restore)


def wrong_partition(patch: Patch, every: int) -> None:
    original, numbers = Delivery.write_states, itertools.count(1)

    async def write(self: Delivery, partition: int, outcome: Any) -> None:
        await original(
            self, 1 - partition if partition < 2 and next(numbers) % 3 == 0 else partition, outcome
        )

    patch(Delivery, "write_states", write)


def number_off(patch: Patch, every: int) -> None:
    original = step.rows_after

    def rows_after(work: Any, memory: Any) -> Any:
        memory[0, 0] += 1e-4
        return original(work, memory)

    patch(scoring, "rows_after", rows_after)


def stale_update_again(patch: Patch, every: int) -> None:
    original = Delivery.publish
    kept: dict[int, tuple[bytes, bytes]] = {}

    async def publish(self: Delivery, job: Any) -> None:
        await job.packed
        for outcome, partition in ((each.outcome, each.partition) for each in job.portions):
            if partition in kept and outcome.users:
                user, update = kept.pop(partition)
                changed = orjson.loads(update)
                changed["interests"][0]["probability"] += 0.25
                topic = self.settings.updates_topic
                again = self.clients.writer().send_records(
                    topic, partition, [(user, orjson.dumps(changed), ())]
                )
                await self.deliver({topic: again}, partition, "")
            elif outcome.users:
                kept[partition] = outcome.users[0], outcome.updates[0]
        await original(self, job)

    patch(Delivery, "publish", publish)


def dead_letter_cut(patch: Patch, every: int) -> None:
    original = dead_letters.dead_letter

    def dead_letter(*arguments: Any) -> Any:
        key, value, headers = original(*arguments)
        return key, value and value[:-1], headers

    patch(agents, "dead_letter", dead_letter)


def no_marker(patch: Patch, every: int) -> None:
    """Writes a tombstone for an erased user, where a marker is needed."""

    def states(self: Cleared) -> list[bytes | None]:
        return [None] * len(self.users)

    patch(Cleared, "states", states)


def no_profile_fence(patch: Patch, every: int) -> None:
    """Lets a former owner's late profiles in, and takes none back."""

    def beside(self: Fence) -> None:
        return None

    async def clear_profiles(self: ArenaStore, partitions: set[int]) -> None:
        return None

    no_looks(patch, every)
    patch(Fence, "beside", beside)
    patch(ArenaStore, "_clear_profiles", clear_profiles)


def injector_does_nothing(patch: Patch, every: int) -> None:
    patch(failpoints, "_act", lambda name, action: None)


def _events(job: Any) -> list[Any]:
    return [event for portion in job.portions for event in portion.events]


def _apply(delivery: Delivery, job: Any) -> None:
    for event in _events(job):
        delivery.group.applied(event.message.tp, event.message.offset)


def _change_batches(patch: Patch, change: Callable[[Any, Any], Any], every: int) -> None:
    """Applies a change of places to each decoded batch.

    wrong marks each event whose number, counted from the start, is due.
    """
    original, seen = Decoder.decode, itertools.count(1)

    def decode(
        self: Decoder, topic: str, partition: int, records: Any, now_ms: int | None = None
    ) -> EventBatch:
        batch = original(self, topic, partition, records, now_ms)
        wrong = np.array([next(seen) % every == 0 for _ in batch.users], bool)
        places = change(np.arange(len(batch.users)), wrong)
        return dataclasses.replace(
            batch,
            users=[batch.users[each] for each in places.tolist()],
            **{
                name: getattr(batch, name)[places]
                for name in ("offsets", "checksums", "compact", "timestamps_ms")
            },
        )

    patch(Decoder, "decode", decode)


BUGS: Final[dict[str, tuple[Callable[[Patch, int], None], tuple[str, ...]]]] = {
    "commit before changelog ack": (commit_before_changelog_ack, ("C1",)),
    "no dedupe on replay": (no_dedupe_on_replay, ("T1",)),
    "dedupe only in memory": (dedupe_only_in_memory, ("T1",)),
    "event dropped every Nth": (event_dropped, ("T1", "D1")),
    "event applied twice every Nth": (event_applied_twice, ("T1",)),
    "batch acked in finally on error": (acked_in_finally, ("D1", "T1")),
    "zombie allowed to write": (zombie_allowed, ("T4",)),
    "recovery from offset+1": (recovery_from_one_later, ("T1",)),
    "user routed to wrong partition": (wrong_partition, ("T3",)),
    "1e-4 added to one component": (number_off, ("T2",)),
    "stale update re-sent with new bytes": (stale_update_again, ("U1",)),
    "dead letter truncated": (dead_letter_cut, ("D2",)),
    "fault injector made a no-op": (injector_does_nothing, ("void",)),
}
"""By name: the patch, and the checks that must turn red."""


ERASURE_BUGS: Final[dict[str, tuple[Callable[[Patch, int], None], tuple[str, ...]]]] = {
    "tombstone instead of a marker": (no_marker, ("T1",)),
    "profiles without a fence": (no_profile_fence, ("U5",)),
}
"""The same of erasures; they need scenario E2."""

NO_LOOKS: Final = "no looks"


def plant(name: str, patch: Patch, every: int = 10_000) -> None:
    """Apply a bug, or NO_LOOKS. `every`: of the bugs that hit one event in so many."""
    bugs = {**BUGS, **ERASURE_BUGS}
    (no_looks if name == NO_LOOKS else bugs[name][0])(patch, every)
