"""Makes profiles of many users, as bytes that a worker's own encoder writes.

Each user has five interests, five items and three causes, drawn at random. The first users are the
segment: they have interest 0, which the others have not, until updates change who has it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from models.compact import COMPACT, ITEM_ID, TEXT_BYTES, hash64
from models.contract import TRENDS, Scores
from models.predict import load_predictor
from stream.config import Settings
from stream.contracts.state_record import row_dtype
from stream.contracts.update import ScoredUsers, UpdateWriter
from stream.kafka.record_batches import Section, pack

Array = np.ndarray[Any, Any]

PARTITIONS: Final = 4
INTERESTS, ITEMS, CAUSES = 5, 5, 3
AT_ONCE: Final = 4_000
SPREAD_MS: Final = 29 * 86_400_000
"""Last events lie in so long a time, most of them late: within the usual `active_since`."""

CHANGED_SHARE: Final = 0.2
"""Of the updates give their user other interests; the others move probabilities."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Holds profiles of one partition, as Kafka stores them, and whose they are."""

    partition: int
    section: Section
    users: Array  # int64 [U]
    offsets: Array  # int64 [U] of the events that they are as of
    members: Array  # bool [U]: in the segment from now on


class Population:
    """Knows what each user's newest profile says, as far as the benchmark asks."""

    def __init__(self, users: int, segment: int, topic: str, seed: int = 1) -> None:
        info = load_predictor(None).info
        self.users, self.segment_name = users, info.interests[0]
        self.interests, self.items = info.interests, info.items
        self._info, self._topic = info, topic
        self._random = np.random.default_rng(seed)
        self._writer = UpdateWriter(info)
        self.member = np.arange(users) < segment
        self._share = segment / users
        self._interest = np.zeros((users, INTERESTS), np.int16)
        self._next_offset = [1] * PARTITIONS
        self._recent = np.zeros(len(info.items), COMPACT)
        for number, item in enumerate(info.items):
            self._recent[number] = (hash64(item), 0, 0, 1, ITEM_ID, item.encode()[:TEXT_BYTES])
        self.bytes = self.records = 0

    def all(self, settings: Settings) -> Iterator[Batch]:
        """Yields a profile of everybody, partition by partition in turns."""
        now_ms = int(time.time() * 1000)
        for low in range(0, self.users, AT_ONCE * PARTITIONS):
            high = min(self.users, low + AT_ONCE * PARTITIONS)
            for partition in range(PARTITIONS):
                users = np.arange(low + (partition - low) % PARTITIONS, high, PARTITIONS)
                if len(users):
                    self._draw_interests(users)
                    ago_ms = SPREAD_MS * self._random.random(len(users)) ** 3
                    yield from self._batches(
                        partition, users, now_ms - ago_ms.astype(np.int64), now_ms, settings
                    )

    def updates(self, count: int, settings: Settings) -> Batch:
        """Returns updates of so many users of one partition, drawn evenly."""
        partition = int(self._random.integers(PARTITIONS))
        places = self._random.choice((self.users - partition - 1) // PARTITIONS + 1, count, False)
        users = places * PARTITIONS + partition
        changed = users[self._random.random(count) < CHANGED_SHARE]
        self.member[changed] = self._random.random(len(changed)) < self._share
        self._draw_interests(changed)
        now_ms = int(time.time() * 1000)
        (batch,) = self._batches(partition, users, np.full(count, now_ms), now_ms, settings)
        return batch

    def save(self, path: Path) -> None:
        """Keeps what the newest profiles say."""
        np.savez(path, member=self.member, interest=self._interest, next_offset=self._next_offset)

    def load(self, path: Path) -> None:
        """Takes what another run has kept; what is drawn from now on is new."""
        with np.load(path) as found:
            self.member, self._interest = found["member"], found["interest"]
            self._next_offset = found["next_offset"].tolist()
        self._random = np.random.default_rng(self._next_offset)

    def _draw_interests(self, users: Array) -> None:
        """Draws five interests of each user, best first; members of the segment have interest 0."""
        count = len(users)
        order = self._random.random((count, len(self.interests) - 1))
        drawn = np.argpartition(order, INTERESTS, axis=1)[:, :INTERESTS] + 1
        where = np.flatnonzero(self.member[users])
        drawn[where, self._random.integers(INTERESTS, size=len(where))] = 0
        self._interest[users] = drawn

    def _batches(
        self, partition: int, users: Array, time_ms: Array, now_ms: int, settings: Settings
    ) -> Iterator[Batch]:
        count = len(users)
        offsets = np.arange(count) + self._next_offset[partition]
        self._next_offset[partition] += count
        slots = self._random.integers(len(self.items), size=(count, CAUSES))
        rows = np.zeros(count, row_dtype(0))
        rows["offset"], rows["time_ms"] = offsets, time_ms
        rows["count"] = self._random.integers(1, 200, count)
        rows["recent"][:, :CAUSES] = self._recent[slots]
        rows["recent"]["time_ms"] = time_ms[:, None] - np.arange(rows["recent"].shape[1]) * 40_000
        keys = [b"user-%07d" % user for user in users.tolist()]
        values = self._writer.write(
            ScoredUsers(
                source=(self._topic, partition),
                users=keys,
                rows=rows,
                scores=self._scores(users),
                by_model=np.ones(count, bool),
                published_at_ms=now_ms,
            )
        )
        self.bytes += sum(map(len, values))
        self.records += count
        begin = 0
        for section in pack(keys, values, now_ms, settings.compression):
            end = begin + section.count
            some = users[begin:end]
            yield Batch(partition, section, some, offsets[begin:end], self.member[some].copy())
            begin = end

    def _scores(self, users: Array) -> Scores:
        draw, count = self._random, len(users)
        chances = np.sort(draw.dirichlet(np.full(INTERESTS + 3, 0.5), count), axis=1)
        return Scores(
            interest=self._interest[users].astype(np.int32),
            probability=chances[:, : -1 - INTERESTS : -1].astype(np.float32),
            change=draw.normal(0, 0.1, (count, INTERESTS)).astype(np.float32),
            trend=draw.integers(0, len(TRENDS), (count, INTERESTS)).astype(np.uint8),
            item=draw.integers(0, len(self.items), (count, ITEMS)).astype(np.int32),
            item_score=-np.sort(-draw.normal(3, 1, (count, ITEMS)), axis=1).astype(np.float32),
            because=np.tile(np.arange(CAUSES, dtype=np.int8), (count, 1)),
            because_weight=np.tile(np.array([0.5, 0.3, 0.1], np.float32), (count, 1)),
        )
