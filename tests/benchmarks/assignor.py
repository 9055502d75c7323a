"""Runs Faust's assignor at the size of a large pipeline.

    python -m tests.benchmarks.assignor [PARTITIONS] [WORKERS]

It prints, for a first start, a join and a leave, the seconds that one assignment takes, how many
partitions move, and how many workers hold how many partitions.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

from faust.assignor.client_assignment import CopartitionedAssignment
from faust.assignor.copartitioned_assignor import CopartitionedAssignor

TOPICS = {"clickstream", "interest-stream-user-state-changelog"}


def assign(owners: dict[str, list[int]], partitions: int) -> tuple[dict[str, list[int]], float]:
    """Returns the owner of each partition after a rebalance, and the seconds that it took.

    owners as they were: of each partition before it.
    """
    clients = {
        name: CopartitionedAssignment(actives=set(held), topics=set(TOPICS))
        for name, held in owners.items()
    }
    started = time.perf_counter()
    assigned = CopartitionedAssignor(TOPICS, clients, partitions, replicas=0).get_assignment()
    return {
        name: sorted(each.actives) for name, each in assigned.items()
    }, time.perf_counter() - started


def moved(before: dict[str, list[int]], after: dict[str, list[int]]) -> int:
    """Returns the number of partitions that have another owner than before."""
    was = {partition: name for name, held in before.items() for partition in held}
    return sum(was.get(partition) != name for name, held in after.items() for partition in held)


def main(partitions: int, workers: int) -> None:
    """Prints a line for a first start, a join and a leave."""
    names = [f"worker-{number:04}" for number in range(workers)]
    first, seconds = assign({name: [] for name in names}, partitions)
    _say("first start", seconds, 0, first)
    joined, seconds = assign({**first, "worker-new": []}, partitions)
    _say("one joins", seconds, moved(first, joined), joined)
    left, seconds = assign(
        {name: held for name, held in joined.items() if name != names[0]}, partitions
    )
    _say("one leaves", seconds, moved(joined, left), left)


def _say(what: str, seconds: float, moves: int, owners: dict[str, list[int]]) -> None:
    """Writes a line about one rebalance."""
    load = Counter(len(held) for held in owners.values())
    sys.stdout.write(
        f"{what}: {seconds:.2f} s, {moves} partitions moved, "
        f"workers by partitions held {dict(sorted(load.items()))}\n"
    )


if __name__ == "__main__":
    main(*(int(word) for word in [*sys.argv[1:], "4096", "500"][:2]))
