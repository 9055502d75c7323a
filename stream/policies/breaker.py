"""Stops a worker that would divert everything: a wrong producer is a deployment to fix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from stream.contracts.faults import Reject
from stream.errors import PoisonError


@dataclass(slots=True)
class _Run:
    """Counts the bad records in a row at the end of what a partition has shown so far."""

    length: int = 0
    next_offset: int = 0


class DeadLetterBreaker:
    """Stops a worker that would divert everything.

    A wrong producer or decoder is a deployment to fix, not a stream of bad records.
    """

    def __init__(self, max_consecutive: int) -> None:
        self._max_consecutive = max_consecutive
        self._runs: dict[int, _Run] = {}  # by partition

    def check(self, partition: int, records: Sequence[Any], rejects: Iterable[Reject]) -> None:
        """Counts the bad records of a fetched batch, before they are diverted.

        Raises PoisonError when too many come in a row. After a replay of earlier offsets counting
        starts anew.

        records: of the whole batch in log order, each with an offset.
        """
        if not records:
            return
        run = self._runs.setdefault(partition, _Run())
        if records[0].offset < run.next_offset:
            run.length = 0
        bad = {reject.offset: reject for reject in rejects if not reject.partial}
        for record in records if bad else ():
            reject = bad.get(record.offset)
            run.length = 0 if reject is None else run.length + 1
            if reject is not None and run.length > self._max_consecutive:
                raise PoisonError(
                    f"{run.length} bad records in a row on partition {partition} up to offset "
                    f"{reject.offset}, the last because of {reject.reason}; those before it are "
                    "dead letters: 'interest-stream dead-letters list' shows what to mend. "
                    "Correct the producer, then start again; to divert them all to the dead "
                    f"letters raise max_consecutive_dead_letters (now {self._max_consecutive})"
                )
        if not bad:
            run.length = 0
        run.next_offset = records[-1].offset + 1
