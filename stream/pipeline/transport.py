"""Decides which partitions are fetched, which batch passes and what is committed (hops 1 and 8).

Hop 1: one fetch brings some thousand clicks of a partition. They arrive as one message, and it must
begin where the last one ended; a batch that leaves records out is read again. A partition with
enough events under way waits, and no other does.

Hop 8: a batch whose states are durable may be committed, if the one before it was. So the offset
that Faust commits never runs ahead of the states. It also moves past markers and aborted data.

Pure: Faust's consumer obeys it (stream/kafka/batch_consumer.py), and has the clock and the network.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, TypeVar

from stream.kafka.batch_sequence import BatchSequence

Partition = TypeVar("Partition", bound=Hashable)

MOST_UNDER_WAY: Final = 3
"""How many of the largest batches a partition may have between fetch and commit: one publishing,
one between, one computing."""


class BatchFlow(BatchSequence[Partition]):
    """Follows the batches of the partitions that this worker owns, from fetch to commit.

    Which batch must come next, and what is read again, is the sequence's to say.
    """

    def __init__(self, max_batch_events: int) -> None:
        super().__init__()
        self._most_under_way = MOST_UNDER_WAY * max_batch_events
        self._to_commit: dict[Partition, int] = {}  # next offset, of partitions owned now

    # -- hop 1

    def fetchable(self, active: set[Partition]) -> set[Partition]:
        """Returns the partitions that have room for more events between fetch and commit."""
        return {each for each in active if self.under_way(each) < self._most_under_way}

    def skip(self, partition: Partition, position: int) -> int:
        """Notes that no record stands before `position` and returns how many offsets that skips."""
        skipped = super().skip(partition, position)
        if skipped:
            self._to_commit[partition] = position
        return skipped

    # -- hop 8

    def apply(self, partition: Partition, last: int) -> bool:
        """Notes that a batch up to `last` is durable, and returns whether that moves the commit.

        Raises LostBatchError if a batch before it was delivered and never applied.
        """
        if not super().apply(partition, last):
            return False
        self._to_commit[partition] = max(self.done(partition), self._to_commit.get(partition, 0))
        return True

    def to_commit(self) -> dict[Partition, int]:
        """Returns the next offset of each partition that applied something since its assignment."""
        return dict(self._to_commit)

    def revoke(self, partition: Partition) -> None:
        """Forgets what may be committed of a partition that goes to another worker."""
        self._to_commit.pop(partition, None)
