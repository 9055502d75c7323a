"""Declares what a worker gives to the code that Faust runs: settings, metrics and a way to fail.

Faust makes consumers, producers and tables itself, so they cannot be given things by whoever needs
them. They get one object of these types through the transport and the table manager, and never
reach into the app.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from faust.types import TP
from mode.utils.locks import Event

from stream.config import Settings
from stream.kafka.record_batches import Record, Section
from stream.metrics import Metrics


class Host(Protocol):
    """Offers what any component of a worker may need from the worker."""

    settings: Settings
    metrics: Metrics

    def fail(self, error: Exception) -> None:
        """Ends the worker because of an error; from the first call on nothing is committed."""

    def failpoint(self, name: str) -> None:
        """Marks a point at which a test may make the worker fail (stream/worker/failpoints.py)."""


class Flow(Protocol):
    """Decides which partitions are fetched, which batches are delivered, and what is committed."""

    def start(self, offsets: Mapping[TP, int]) -> None:
        """Begins anew at these offsets."""

    def fetchable(self, active: set[TP]) -> set[TP]:
        """Returns the partitions that have room for more events."""

    def gap(self, partition: TP, first: int) -> int | None:
        """Returns the offset to read again from if a batch leaves records out, else None."""

    def missing(self, partition: TP, first: int) -> int:
        """Returns how many offsets an accepted batch leaves out."""

    def deliver(self, partition: TP, last: int, after: int | None = None) -> None:
        """Notes that a batch up to an offset is on its way to the model."""

    def under_way(self, partition: TP) -> int:
        """Returns how many offsets were delivered and not yet applied."""

    def skip(self, partition: TP, position: int) -> int:
        """Notes that no record stands before a position; returns how many offsets that skips."""

    def apply(self, partition: TP, last: int) -> bool:
        """Notes that a batch is durable; returns whether that moves the commit."""

    def revoke(self, partition: TP) -> None:
        """Forgets what may be committed of a partition that goes to another worker."""

    def to_commit(self) -> dict[TP, int]:
        """Returns the next offset of each partition that applied something."""


class Recovering(Protocol):
    """Restores the table from batches of its changelog."""

    completed: asyncio.Event

    def restore(self, tp: TP, records: list[Any]) -> None:
        """Applies one fetched batch of a changelog partition."""


@dataclass(frozen=True)
class ConsumerHooks:
    """Holds what the consumer and the producer of a worker are given."""

    host: Host
    flow: Flow
    model_free: Event  # set while nothing waits for the model
    pass_s: Callable[[], float]  # how long its passes took lately
    recovery: Callable[[], Recovering]
    flush: Callable[[], Awaitable[None]]  # publishes what was withheld
    # the changelog offset up to which everything is held of a partition of it
    covered: Callable[[TP], int | None]


Acknowledgement = tuple[asyncio.Future[Any], int]
"""The future of a batch's acknowledgement, and how many records it holds."""


class Group(Protocol):
    """Answers what the consumer group allows this worker, and commits what is durable."""

    @property
    def generation(self) -> int:
        """Returns the generation of the group now."""

    @property
    def flowing(self) -> bool:
        """Returns whether no rebalance and no end has begun."""

    def flows(self, generation: int | None) -> bool:
        """Returns whether batches read in a generation still go to the model."""

    def why_not_owner(self, tp: TP, generation: int | None) -> str | None:
        """Returns why this worker may not write for a partition, or None if it may."""

    def confirmed(self) -> bool:
        """Returns whether this worker may take itself for a member."""

    def applied(self, tp: TP, last_offset: int) -> None:
        """Notes that everything up to an offset is durable."""


class Writer(Protocol):
    """Queues records and prepared batches for one partition of a topic."""

    async def send_records(
        self, topic: str, partition: int, records: Iterable[Record]
    ) -> list[Acknowledgement]:
        """Queues records as full batches."""

    async def send_sections(
        self, topic: str, partition: int, sections: Iterable[Section]
    ) -> list[Acknowledgement]:
        """Queues prepared batches."""

    async def partitions_of(self, topic: str) -> list[int]:
        """Returns the partitions of a topic in order."""


class Changelog(Protocol):
    """Remembers which changelog offset the states in memory cover."""

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Notes an offset of the changelog."""


@dataclass(frozen=True)
class Clients:
    """Holds how to reach the worker's Kafka clients, which Faust makes when it starts."""

    group: Callable[[], Group]
    writer: Callable[[], Writer]
    changelog: Callable[[], Changelog]
