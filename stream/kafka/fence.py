"""Raises a partition's epoch for its newest owner, so that the broker refuses writes of older ones.

This is the broker's side of "one worker at a time writes the states of a partition". A worker looks
at the group's last answer before it writes (membership.py), but a write that is on its way when the
network goes, or the machine sleeps, arrives when it arrives.

So each partition of the changelog has a transactional id, `<app id>-states-<partition>`. Its new
owner asks for a producer id under it (InitProducerId, KIP-98), which raises the epoch, and writes
one empty record with it, before it reads the end of the changelog. From that record on the
partition's log takes no write with an older epoch. No transaction is ever begun: the epoch stands
in the header of plain idempotent batches, and costs nothing. The same partition of the profiles
is fenced with the same epoch: a former owner's late profile of a user who was erased meanwhile
would stay for ever.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError, NoError, TransactionalIdAuthorizationFailed, for_code
from aiokafka.protocol.transaction import InitProducerIdRequest

from stream.errors import BrokerError
from stream.kafka.record_batches import PreparedBatch, Section, pack

MARKER: Final = b""
"""Key of the empty record; no user has it."""

RETRY_S: Final = 0.1
TRANSACTION_TIMEOUT_MS: Final = 60_000
"""Timeout of transactions that never begin; brokers want a number."""


class Fence:
    """Holds what the batches of one partition are signed with.

    That is a producer id, an epoch, and the sequence number of the next record.
    """

    def __init__(self, producer_id: int, epoch: int) -> None:
        self.producer_id, self.epoch = producer_id, epoch
        self._next = 0

    def beside(self) -> Fence:
        """Returns the same signature for another partition, where the numbers begin anew."""
        return Fence(self.producer_id, self.epoch)

    def take(self, records: int) -> int:
        """Returns the sequence number of the first of some records, and takes as many numbers."""
        first, self._next = self._next, (self._next + records) % (1 << 31)
        return first


class FencedBatch(PreparedBatch):
    """Carries a fence's signature, where aiokafka would sign with the producer's own id."""

    def __init__(self, section: Section, fence: Fence) -> None:
        super().__init__(section)
        self._fence = fence

    def _set_producer_state(
        self, producer_id: int, producer_epoch: int, base_sequence: int
    ) -> None:
        # aiokafka's sender calls it once a batch, in the order of the partition, when the batch is
        # first sent; it is the only place where the signature can be another one
        fence = self._fence
        super()._set_producer_state(fence.producer_id, fence.epoch, fence.take(self.record_count()))


def marker() -> Section:
    """Returns the empty record that closes the log to older epochs; compaction removes it."""
    (section,) = pack([MARKER], [None], int(time.time() * 1000), "none")
    return section


async def raise_fence(client: Any, name: str, timeout_s: float) -> Fence:
    """Returns a fence with a new epoch under a transactional id.

    Raises BrokerError if the right is missing, or nobody answers in time.
    """
    deadline, reason = time.monotonic() + timeout_s, "nobody answered"
    while time.monotonic() < deadline:
        # the coordinator of the id may move, so each try looks it up anew
        try:
            node = await client.coordinator_lookup(CoordinationType.TRANSACTION, name)
            if await client.ready(node, group=ConnectionGroup.COORDINATION):
                request = InitProducerIdRequest(
                    transactional_id=name, transaction_timeout_ms=TRANSACTION_TIMEOUT_MS
                )
                answer = await client.send(node, request, group=ConnectionGroup.COORDINATION)
                error = for_code(answer.error_code)
                if error is NoError:
                    return Fence(answer.producer_id, answer.producer_epoch)
                raise error(name)
        # a missing right stays missing; any other error may pass
        except TransactionalIdAuthorizationFailed as error:
            raise BrokerError(
                f"not allowed to Write and Describe transactional id {name}, which keeps a worker "
                "that was put out from writing; "
                "see the table of rights in the runbook"
            ) from error
        except KafkaError as error:
            reason = f"{type(error).__name__}: {error}"
        await asyncio.sleep(RETRY_S)
    raise BrokerError(
        f"no broker gave a producer id for transactional id {name} within {timeout_s:.0f} s "
        f"({reason}); a cluster of fewer than three "
        "brokers needs transaction.state.log.replication.factor and transaction.state.log.min.isr "
        "set to what it has"
    )
