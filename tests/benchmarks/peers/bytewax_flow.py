"""Does the job in Bytewax, by user or by partition.

    python -m bytewax.recovery FOLDER 1
    python -m bytewax.run bytewax_flow -r FOLDER -s 5 -b 0

JOB_FORM=event: stateful_map by user, as documented. JOB_FORM=shard: by partition, a dict of users,
pickled at each snapshot. States and offsets go to SQLite recovery files. The rate is printed by the
meter of job.py.
"""

from __future__ import annotations

import os
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic

from job import BATCH, BROKER, SOURCE, UPDATES, Meter, Record, make_job

job, meter = make_job(), Meter()


def record_of(message: Any) -> Record:
    """Returns the job's record of a Kafka message."""
    return Record(message.key, message.value, message.offset, message.timestamp[1])


def step(state: bytes | None, message: Any) -> tuple[bytes, KafkaSinkMessage]:
    """Does the job for one event."""
    users, new, made = job.batch([record_of(message)], message.partition, lambda names: [state])
    meter(1, 1)
    return new[0], KafkaSinkMessage(users[0], made[0])


class Shard(StatefulBatchLogic):
    """Holds all users of a partition."""

    def __init__(self, users: dict[bytes, bytes] | None) -> None:
        self.users = users or {}

    def on_batch(self, messages: list[Any]) -> tuple[list[KafkaSinkMessage], bool]:
        """Does the job for one batch of a partition."""
        records = [record_of(message) for message in messages]
        users, new, made = job.batch(
            records, messages[0].partition, lambda names: [self.users.get(name) for name in names]
        )
        self.users.update(zip(users, new, strict=True))
        meter(len(records), len(users))
        return [
            KafkaSinkMessage(user, update) for user, update in zip(users, made, strict=True)
        ], StatefulBatchLogic.RETAIN

    def snapshot(self) -> dict[bytes, bytes]:
        """Returns what is pickled."""
        return dict(self.users)


flow = Dataflow("peer")
stream: Any = op.input("in", flow, KafkaSource([BROKER], [SOURCE], batch_size=BATCH))
if os.environ["JOB_FORM"] == "event":
    keyed = op.key_on("user", stream, lambda message: message.key.decode())
    stream = op.key_rm("unkey", op.stateful_map("lstm", keyed, step))
else:
    keyed = op.key_on("partition", stream, lambda message: str(message.partition))
    stream = op.key_rm("unkey", op.stateful_batch("model", keyed, Shard))
op.output("out", stream, KafkaSink([BROKER], UPDATES, add_config={"linger.ms": 1}))
