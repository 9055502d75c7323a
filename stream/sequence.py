"""Which batch of a partition must come next, and which must be applied next: nothing may fall out between broker and commit. Pure.

Faust and aiokafka drop fetched records in more places than can be closed one by one (a rebalance empties queues, a cancelled fetch has
moved the position). So each batch is checked twice: when it is delivered it must begin where the last one ended, and when it is
applied the one before it must have been. Keys are anything that names a partition.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

from stream.errors import LostBatchError

Partition = TypeVar("Partition", bound=Hashable)


class BatchSequence(Generic[Partition]):
    """Of the partitions read now."""

    def __init__(self) -> None:
        self._next: dict[Partition, int] = {}  # offset that the next batch must begin with
        self._delivered: dict[Partition, deque[int]] = {}  # last offsets of batches delivered and not yet applied
        self._done: dict[Partition, int] = {}  # offset up to which all was applied, exclusive
        self._sought: dict[Partition, int] = {}  # where a gap was seen and read again
        self.gaps = 0  # batches that did not begin where they should, and were read again

    def start(self, offsets: Mapping[Partition, int]) -> None:
        """Reading begins anew, at these offsets; what was delivered before comes again."""
        self._next, self._done = dict(offsets), dict(offsets)
        self._delivered = {partition: deque() for partition in offsets}
        self._sought = {}

    def gap(self, partition: Partition, first: int) -> int | None:
        """Where to seek because a batch that begins with `first` leaves records out; None: it may be delivered.

        The second time at the same place the gap is the log's own (retention, control records), and is accepted.
        """
        expected = self._next.get(partition)
        if expected is None or first <= expected or self._sought.get(partition) == expected:
            return None
        self._sought[partition] = expected
        self.gaps += 1
        return expected

    def missing(self, partition: Partition, first: int) -> int:
        """How many offsets an accepted batch that begins with `first` leaves out."""
        return max(0, first - self._next.get(partition, first))

    def deliver(self, partition: Partition, last: int) -> None:
        """A batch up to `last` goes on its way."""
        self._next[partition] = last + 1
        self._delivered.setdefault(partition, deque()).append(last)

    def under_way(self, partition: Partition) -> int:
        """Offsets delivered and not yet applied."""
        return self._next.get(partition, 0) - self._done.get(partition, self._next.get(partition, 0))

    def apply(self, partition: Partition, last: int) -> bool:
        """Whether a batch up to `last`, now durable, moves the commit; not so if it was read before reading began anew.

        Raises LostBatchError if one delivered before it was never applied.
        """
        delivered = self._delivered.get(partition, deque())
        if last not in delivered:
            return False
        if delivered[0] != last:
            raise LostBatchError(
                f"a batch up to offset {delivered[0]} was read and not applied, the next one up to {last} was; "
                "nothing is committed past it, and a new worker reads it again"
            )
        delivered.popleft()
        self._done[partition] = last + 1
        return True
