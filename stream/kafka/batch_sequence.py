"""Decides which batch of a partition must come next, and which must be applied next.

Nothing may fall out between broker and commit, and Faust and aiokafka drop fetched records in more
places than can be closed one by one (a rebalance empties queues, a cancelled fetch has moved the
position). Therefore each batch is checked twice: when it is delivered it must begin where the last
one ended, and when it is applied the one before it must have been. Keys are anything that names a
partition. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

from stream.errors import LostBatchError

Partition = TypeVar("Partition", bound=Hashable)


class BatchSequence(Generic[Partition]):
    """Follows the batches of the partitions that are read now."""

    def __init__(self) -> None:
        self._next: dict[Partition, int] = {}  # offset that the next batch must begin with
        # last offsets of batches delivered and not yet applied
        self._delivered: dict[Partition, deque[int]] = {}
        self._done: dict[Partition, int] = {}  # offset up to which all was applied, exclusive
        self._sought: dict[Partition, int] = {}  # where a gap was seen and read again
        self.gaps = 0  # batches that did not begin where they should, and were read again

    def start(self, offsets: Mapping[Partition, int]) -> None:
        """Begins anew at these offsets.

        What was delivered before comes again.
        """
        self._next, self._done = dict(offsets), dict(offsets)
        self._delivered = {partition: deque() for partition in offsets}
        self._sought = {}

    def gap(self, partition: Partition, first: int) -> int | None:
        """Returns where to seek if a batch that begins with `first` leaves records out, else None.

        The second time at the same place the gap is the log's own (retention, control records), and
        the batch may be delivered.
        """
        expected = self._next.get(partition)
        if expected is None or first <= expected or self._sought.get(partition) == expected:
            return None
        self._sought[partition] = expected
        self.gaps += 1
        return expected

    def missing(self, partition: Partition, first: int) -> int:
        """Returns how many offsets an accepted batch that begins with `first` leaves out."""
        return max(0, first - self._next.get(partition, first))

    def deliver(self, partition: Partition, last: int, after: int | None = None) -> None:
        """Notes that a batch up to `last` is on its way.

        `after`: where the next record can be, if markers or aborted data follow the batch.
        """
        self._next[partition] = last + 1 if after is None else max(last + 1, after)
        self._delivered.setdefault(partition, deque()).append(last)

    def skip(self, partition: Partition, position: int) -> int:
        """Notes that no record stands before `position` and returns how many offsets that skips.

        It is 0 while something is under way, or before reading has begun.
        """
        expected = self._next.get(partition)
        if expected is None or self._delivered.get(partition) or position <= expected:
            return 0
        self._next[partition] = self._done[partition] = position
        return position - expected

    def under_way(self, partition: Partition) -> int:
        """Returns how many offsets were delivered and not yet applied."""
        delivered = self._next.get(partition, 0)
        return delivered - self._done.get(partition, delivered)

    def apply(self, partition: Partition, last: int) -> bool:
        """Notes that a batch up to `last` is durable, and returns whether that moves the commit.

        It does not if the batch was read before reading began anew. Raises LostBatchError if one
        delivered before it was never applied.
        """
        delivered = self._delivered.get(partition, deque())
        if last not in delivered:
            return False
        if delivered[0] != last:
            raise LostBatchError(
                f"a batch up to offset {delivered[0]} was read and not applied, the next one up to "
                f"{last} was; "
                "nothing is committed past it, and a new worker reads it again"
            )
        delivered.popleft()
        # what follows the last batch under way holds no records
        self._done[partition] = last + 1 if delivered else self._next[partition]
        return True

    def done(self, partition: Partition) -> int:
        """Returns the offset up to which all was applied, exclusive."""
        return self._done[partition]
