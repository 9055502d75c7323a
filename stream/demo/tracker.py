"""Compares updates with the simulated truth behind the events that were sent. Pure.

Times are seconds of one monotonic clock, given by the caller.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Final

WINDOW_S: Final = 10.0
LATENCIES_KEPT: Final = 200_000


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Holds how often an answer was the simulated truth."""

    tracked: float
    last_category: float  # of the user's last event
    # always the interest that was true most often in this run, which nobody knows beforehand
    most_popular: float


@dataclass(slots=True)
class Seen:
    """Holds one user as the demo sees it."""

    sent: int = 0
    applied: int = 0  # events_seen of the newest update
    offset: int = -1  # source offset of the newest update
    truth: str = ""  # after the last event sent
    before: str = ""  # the truth before that one
    since: int = 0  # events sent since it changed
    last_category: str = ""  # of the last event sent that has one
    update: dict[str, Any] | None = None
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=6))
    waiting: deque[tuple[int, float]] = field(
        default_factory=deque
    )  # offset and intended time of events without update
    marks: dict[int, tuple[str, str]] = field(
        default_factory=dict
    )  # offset to truth and last category


class Tracker:
    """Takes sent events and updates; returns figures."""

    def __init__(self) -> None:
        self.users: dict[str, Seen] = {}
        self.sent = self.updates = self.judged = self.right = self.right_by_last = 0
        self.latencies_s: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self.first_update_at: float | None = None
        self._truths: Counter[str] = Counter()  # of the judged updates
        self._first_sent_at: float | None = None
        self._recent_sent: deque[float] = deque()
        self._recent_updates: deque[float] = deque()

    def event_sent(self, event: dict[str, Any], truth: str, category: str, at: float) -> None:
        """Notes an event that was handed to the producer, with the truth behind it."""
        seen = self.users.setdefault(event["user_id"], Seen())
        seen.sent += 1
        if truth != seen.truth:
            seen.before, seen.truth, seen.since = seen.truth, truth, 0
        seen.since += 1
        seen.last_category = category or seen.last_category
        seen.events.appendleft(event)
        self.sent += 1
        self._recent_sent.append(at)
        self._first_sent_at = at if self._first_sent_at is None else self._first_sent_at

    def event_acknowledged(
        self, user: str, offset: int, intended: float, truth: str, category: str, at: float
    ) -> None:
        """Notes the offset at which Kafka holds an event, whose update may have come before."""
        seen = self.users[user]
        seen.marks[offset] = truth, category
        if offset <= seen.offset:
            self.latencies_s.append(max(0.0, at - intended))
            self._judge(seen)
        else:
            seen.waiting.append((offset, intended))

    def update_received(self, update: dict[str, Any], at: float) -> None:
        """Notes an update; repeats and older ones change nothing.

        An event is answered by the first update of its user whose source offset is not lower.
        """
        self.updates += 1
        self._recent_updates.append(at)
        self.first_update_at = at if self.first_update_at is None else self.first_update_at
        seen = self.users.get(update["user_id"])
        offset = update["source"]["offset"]
        if seen is None or offset <= seen.offset:
            return
        seen.offset, seen.applied, seen.update = offset, update["events_seen"], update
        while seen.waiting and seen.waiting[0][0] <= offset:
            self.latencies_s.append(at - seen.waiting.popleft()[1])
        self._judge(seen)

    def _judge(self, seen: Seen) -> None:
        """Compares the top interest with the truth behind the last event of the update."""
        mark = seen.marks.get(seen.offset)
        if mark is None or seen.update is None:
            return
        self.judged += 1
        self._truths[mark[0]] += 1
        self.right += seen.update["interests"][0]["interest"] == mark[0]
        self.right_by_last += mark[1] == mark[0]
        seen.marks = {offset: mark for offset, mark in seen.marks.items() if offset > seen.offset}

    @property
    def applied(self) -> int:
        """Counts the events that the newest update of each user says were applied."""
        return sum(seen.applied for seen in self.users.values())

    def complete(self) -> bool:
        """Says whether every event sent is in its user's state, no more and no fewer."""
        return all(seen.applied == seen.sent for seen in self.users.values())

    def rates(self, now: float) -> tuple[float, float]:
        """Returns the events sent and the updates received per second, lately."""
        for each in (self._recent_sent, self._recent_updates):
            while each and each[0] < now - WINDOW_S:
                each.popleft()
        since = now if self._first_sent_at is None else self._first_sent_at
        window = min(WINDOW_S, max(1.0, now - since))
        return len(self._recent_sent) / window, len(self._recent_updates) / window

    def latency_ms(self, share: float, last: int | None = None) -> float:
        """Returns a quantile of the time from event to update, of all or of the last ones."""
        values = sorted(list(self.latencies_s)[-last:] if last else self.latencies_s)
        return (
            round(values[min(len(values) - 1, int(share * len(values)))] * 1000, 1)
            if values
            else 0.0
        )

    def accuracy(self) -> Accuracy:
        """Returns how often the tracked top interest was true, over all judged updates.

        And how often two answers were that need no model, over the same updates.
        """
        judged = max(1, self.judged)
        popular = max(self._truths.values(), default=0)
        return Accuracy(self.right / judged, self.right_by_last / judged, popular / judged)
