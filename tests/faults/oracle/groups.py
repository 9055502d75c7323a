"""Invariants of workers and the group: O1, C2, H1."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from tests.faults.oracle.history import History, Production

ALLOWED_LINES: Final = (
    r"SIGTERM: finishing the batch|Ctrl-C: finishing",  # what a stop says
    r"mode.timers: Timer|faust.transport.consumer",  # a loaded machine
    r"aiokafka",  # brokers away, coordinators moving: its own words, counted elsewhere
    r"Heartbeat|heartbeat|rejoin|Rejoin|rebalanc|Rebalanc|generation|coordinator",
    r"failpoint \w+:",
    # a worker that ends and says why; its exit code is checked
    r"FencedError|PublishError|StalledError|PoisonError|FailpointError",
    r"events were deleted by retention",
    r"are about items that the model demo does not know",  # whose load is of other items
    r"Thread keepalive is not responding",  # a process that was stopped by a signal
    r"Sender\._fail_all",  # aiokafka, of a producer that the last look has ended
)
LEVELS: Final = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b|Traceback")


def o1_one_writer_a_partition(history: History) -> list[str]:
    """Checks that states of a partition come from one worker a generation.

    In the order in which the broker appended them, and generations rise. By log order and not by
    the worker's clock: a worker that was stopped reads the acknowledgement of an earlier write when
    it goes on. With instance ids a process takes the place of another within a generation; then the
    other never writes again.
    """
    latest: dict[int, Production] = {}
    replaced: set[tuple[int, int, str]] = (
        set()
    )  # partition, generation, worker whose place another process took
    violations = []
    for each in sorted(history.productions, key=lambda one: (one.partition, one.offset)):
        before = latest.get(each.partition)
        if before is not None and each.generation < before.generation:
            violations.append(
                f"partition {each.partition}: {each.worker} wrote offset {each.offset} in "
                f"generation {each.generation}, after "
                f"{before.worker} in generation {before.generation}"
            )
        elif (
            before is not None
            and each.generation == before.generation
            and each.worker != before.worker
        ):
            replaced.add((each.partition, each.generation, before.worker))
            if (
                history.static_members
                and (each.partition, each.generation, each.worker) not in replaced
            ):
                latest[each.partition] = each
                continue
            violations.append(
                f"partition {each.partition}: {each.worker} and {before.worker} wrote in "
                f"generation {each.generation}"
            )
        else:
            latest[each.partition] = each
    return violations


def c2_commits_stay_in_bounds(history: History) -> list[str]:
    """Checks that the committed offset is never past the end.

    And never goes back unless an operator reset it.
    """
    last: dict[int, int] = {}
    violations = []
    for poll in history.polls:
        if poll.committed > poll.end:
            violations.append(
                f"partition {poll.partition}: committed {poll.committed}, end {poll.end}"
            )
        if poll.committed < last.get(poll.partition, 0) and not history.operator_reset:
            violations.append(
                f"partition {poll.partition}: committed {poll.committed} after "
                f"{last[poll.partition]}"
            )
        last[poll.partition] = poll.committed
    return violations


def h1_nothing_unexpected(history: History, allowed: Iterable[str] = ALLOWED_LINES) -> list[str]:
    """Log lines from WARNING up are on the list, no traceback, exit codes as planned."""
    permitted = re.compile("|".join((*allowed, *history.expected)))
    violations = [
        f"{worker}: {line.strip()[:200]}"
        for worker, log in history.logs.items()
        for line in log.splitlines()
        if LEVELS.search(line) and not permitted.search(line)
    ]
    violations += [
        f"{each.worker} ended with {each.code}, planned {each.planned}"
        for each in history.exits
        if each.code not in each.planned
    ]
    return violations
