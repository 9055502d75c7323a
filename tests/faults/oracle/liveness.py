"""Checks the invariants of time: L1, L2, L3.

A fault may hold things up while it lasts and until the workers have recovered, not longer.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from typing import Final

from tests.faults.oracle.history import History, Poll

STUCK_S: Final = 15.0
"""Longest wait outside of a fault and its recovery.

Two commit intervals are the promise on a machine of one's own; here the campaign shares two cores
with brokers and others.
"""


def l1_lag_recovers(history: History, within_s: float = STUCK_S) -> list[str]:
    """Checks that what a partition held when a fault was over is committed soon after.

    Unless another fault came meanwhile.
    """
    alone = [
        over_s
        for place, (_, over_s) in enumerate(history.disturbed)
        if not _is_disturbed(
            over_s, over_s + within_s, history.disturbed[:place] + history.disturbed[place + 1 :]
        )
    ]
    violations = []
    for partition, polls in _by_partition(history).items():
        times = [poll.at_s for poll in polls]
        for over_s in alone:
            at = bisect_left(times, over_s)
            if at == 0 or times[-1] < over_s + within_s:
                continue  # nothing was seen before, or not for long enough after
            held = polls[at - 1].end
            late = polls[at : bisect_left(times, over_s + within_s) + 1]
            if all(poll.committed < held for poll in late):
                violations.append(
                    f"partition {partition}: {late[-1].committed} of {held} committed "
                    f"{within_s:.0f} s after a fault was over"
                )
    return violations


def l2_lag_makes_progress(history: History, stuck_s: float = STUCK_S) -> list[str]:
    """With lag and no fault the committed offset moves."""
    violations = []
    for partition, polls in _by_partition(history).items():
        since: Poll | None = None
        for poll in polls:
            if (
                poll.committed >= poll.end
                or _is_disturbed(poll.at_s, poll.at_s, history.disturbed)
                or since is None
                or poll.committed > since.committed
            ):
                since = poll
            elif poll.at_s - since.at_s > stuck_s:
                violations.append(
                    f"partition {partition}: committed {poll.committed} of {poll.end} for "
                    f"{poll.at_s - since.at_s:.0f} s"
                )
                since = poll
    return violations


def l3_no_partition_starves(history: History, longest_s: float = STUCK_S) -> list[str]:
    """Checks that without a fault an event is followed by an update of its partition.

    However busy other partitions are.
    """
    return [
        f"partition {partition}: no update for {waited:.0f} s after an event"
        for partition, waits in update_waits(history).items()
        for sent_s, waited in waits
        if waited > longest_s and not _is_disturbed(sent_s, sent_s + waited, history.disturbed)
    ]


def update_waits(history: History) -> dict[int, list[tuple[float, float]]]:
    """Returns of each partition when each applied event was sent, and its wait for an update.

    The wait is until the next update of that partition; seconds. Empty where nothing says how the
    two clocks stand to one another (histories made in memory).
    """
    if history.epoch_s is None:
        return {}
    updates = defaultdict[int, list[float]](list)
    for record in history.updates:
        updates[record.partition].append(record.timestamp_ms / 1000 - history.epoch_s)
    for times in updates.values():
        times.sort()
    waits = defaultdict[int, list[tuple[float, float]]](list)
    for sent in history.journal:
        if sent.place in history.reference.applied:
            times = updates[sent.place[0]]
            at = bisect_left(times, sent.actual_s)
            if at < len(times):
                waits[sent.place[0]].append((sent.actual_s, times[at] - sent.actual_s))
    return waits


def longest_wait_s(history: History) -> float:
    """The longest of all, faults included."""
    return max(
        (waited for waits in update_waits(history).values() for _, waited in waits), default=0.0
    )


def _by_partition(history: History) -> dict[int, list[Poll]]:
    polls = defaultdict[int, list[Poll]](list)
    for poll in history.polls:
        polls[poll.partition].append(poll)
    return polls


def _is_disturbed(from_s: float, to_s: float, disturbed: list[tuple[float, float]]) -> bool:
    return any(start <= to_s and from_s <= end for start, end in disturbed)
