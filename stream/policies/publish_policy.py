"""Decides which updates are worth sending.

    every       each touched user, once a batch
    changed     only if the interests named, or their order, are others than in the user's last
                update that was sent, or a probability is further than a threshold from the one in
                it; so many small steps one way are sent once they add up
    interval    a user at most once in so many seconds; the newest update withheld is sent when they
                are over, and when the worker stops or gives the partition away

What was sent last is remembered next to the states, a row a user. It is memory of this worker, not
of the changelog: after a restart or rebalance the first update of each user is sent. What a worker
that was killed had withheld comes with the user's next event. States know nothing of all this.

U users, K interests of an update.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

import numpy as np

from models.contract import Scores

Array = np.ndarray[Any, Any]

NEVER: Final = np.iinfo(np.int64).min // 2
NOTHING: Final = -2
"""In place of an interest, before the first update."""


Released = tuple[list[bytes], list[bytes]]
"""Users and their updates that were withheld, in the same order."""


class ScoredUsers(Protocol):
    """Offers what the policies look at of the users of one partition that were scored together."""

    @property
    def source(self) -> tuple[str, int]:
        """Returns topic and partition."""

    @property
    def users(self) -> list[bytes]:
        """Returns the users [U]."""

    @property
    def arena(self) -> object:
        """Returns what holds their states; it names the users by place."""

    @property
    def places(self) -> Array:
        """Returns the users' places in it, int64 [U]."""

    @property
    def scores(self) -> Scores | None:
        """Returns the scores that the model gave them; None: what was sent of them is to go."""


@dataclass(frozen=True)
class PublishPolicy:
    """Holds the policy and its two numbers, as the settings give them."""

    mode: str = "every"
    threshold: float = 0.05  # of `changed`: a difference of probability up to here is none
    interval_s: float = 60.0  # of `interval`


def has_changed(
    interest: Array,
    probability: Array,
    sent_interest: Array,
    sent_probability: Array,
    threshold: float,
) -> Array:
    """Returns who differs from what was sent last, bool [U].

    Interests int32 [U, K] best first, probabilities float32 [U, K].
    """
    others = (interest != sent_interest).any(1)
    moved = (np.abs(probability - sent_probability) > threshold).any(1)
    changed: Array = others | moved
    return changed


class _Sent:
    """Holds what the last update of each user of an arena contained, and when it was sent.

    A row takes 8 K or 8 bytes.
    """

    def __init__(self, interests: int) -> None:
        self.interest = np.full((0, interests), NOTHING, np.int32)
        self.probability = np.zeros((0, interests), np.float32)
        self.at_ms = np.zeros(0, np.int64)

    def grow(self, rows: int) -> None:
        more = rows - len(self.at_ms)
        if more > 0:
            more += rows // 4
            self.interest = np.pad(self.interest, ((0, more), (0, 0)), constant_values=NOTHING)
            self.probability = np.pad(self.probability, ((0, more), (0, 0)))
            self.at_ms = np.pad(self.at_ms, (0, more), constant_values=NEVER)


@dataclass(frozen=True, slots=True)
class _Withheld:
    update: bytes
    sent: _Sent
    place: int


class UpdateFilter:
    """Applies the policy to the updates of one worker.

    One thread uses it.
    """

    def __init__(self, policy: PublishPolicy) -> None:
        self._policy = policy
        self._sent: WeakKeyDictionary[object, _Sent] = WeakKeyDictionary()
        # of `interval`, by partition and user
        self._withheld: dict[tuple[int, bytes], _Withheld] = {}

    def select(
        self, scored: Sequence[ScoredUsers], updates: Sequence[bytes | None], now_ms: int
    ) -> tuple[list[bytes], list[bytes | None]]:
        """Returns the users and updates to send now, of those of a partition that were scored.

        updates: in the order of the users; None, which takes a profile away, is always sent.
        """
        users = [user for each in scored for user in each.users]
        if self._policy.mode == "every":
            return users, list(updates)
        start, chosen = 0, list[bool]()
        for each in scored:
            stop = start + len(each.users)
            if each.scores is None:
                self._clear(each)
                chosen += [True] * len(each.users)
            else:
                chosen += self._select(each, each.scores, updates[start:stop], now_ms).tolist()
            start = stop
        return list(compress(users, chosen)), list(compress(updates, chosen))

    def release(self, now_ms: int, everything: bool) -> dict[int, Released]:
        """Returns withheld users and updates by partition, those whose interval is over, or all.

        They count as sent.
        """
        limit = now_ms - self._policy.interval_s * 1000
        due = [
            key
            for key, each in self._withheld.items()
            if everything or each.sent.at_ms[each.place] <= limit
        ]
        released: dict[int, Released] = {}
        for partition, user in due:
            withheld = self._withheld.pop((partition, user))
            withheld.sent.at_ms[withheld.place] = now_ms
            users, updates = released.setdefault(partition, ([], []))
            users.append(user)
            updates.append(withheld.update)
        return released

    def _clear(self, users: ScoredUsers) -> None:
        """Forgets what was withheld of users, and what was sent last in their rows.

        The next user of such a row inherits nothing.
        """
        for user in users.users:
            self._withheld.pop((users.source[1], user), None)
        sent = self._sent.get(users.arena)
        if sent is not None:
            places = users.places[users.places < len(sent.at_ms)]
            sent.interest[places], sent.probability[places] = NOTHING, 0
            sent.at_ms[places] = NEVER

    def _select(
        self,
        scored: ScoredUsers,
        scores: Scores,
        updates: Sequence[bytes | None],
        now_ms: int,
    ) -> Array:
        """Returns those to send now, bool [U]."""
        places, interest, probability = scored.places, scores.interest, scores.probability
        sent = self._sent.setdefault(scored.arena, _Sent(interest.shape[1]))
        sent.grow(int(places.max()) + 1)
        if self._policy.mode == "changed":
            now = has_changed(
                interest,
                probability,
                sent.interest[places],
                sent.probability[places],
                self._policy.threshold,
            )
            sent.interest[places[now]], sent.probability[places[now]] = (
                interest[now],
                probability[now],
            )
            return now
        now = now_ms - sent.at_ms[places] >= self._policy.interval_s * 1000
        sent.at_ms[places[now]] = now_ms
        for user, update, place, at_once in zip(
            scored.users, updates, places.tolist(), now.tolist(), strict=True
        ):
            if at_once:
                self._withheld.pop((scored.source[1], user), None)
            elif update is not None:
                self._withheld[scored.source[1], user] = _Withheld(update, sent, place)
        return now
