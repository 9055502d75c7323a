"""Does the job in Quix Streams in its expert form: batches through a sink.

Each checkpoint flushes the sink before the changelogs and the offsets. The states of other keys are
reached through the store transaction of the checkpoint, which the documentation does not show.
`interest-stream bench compare` starts it.
"""

from __future__ import annotations

from typing import Any

from quixstreams.sinks import BatchingSink

from job import BATCH, UPDATES, Meter, Record, make_job
from quix_app import make_app

app, source, _ = make_app(commit_every=2 * BATCH)
job, meter, producer = make_job(), Meter(app.stop), app.get_producer()


class Interests(BatchingSink):
    """Takes what a checkpoint hands over, a partition at a time."""

    def write(self, batch: Any) -> None:
        """Does the job: load, compute, store, publish; at most BATCH at once."""
        transaction = frame.processing_context.checkpoint.get_store_transaction(
            stream_id=frame.stream_id, partition=batch.partition
        )

        def state_of(user: bytes) -> Any:
            """Returns the state of a user."""
            return transaction.as_state(prefix=user, timestamp=0)

        items = list(batch)
        for start in range(0, len(items), BATCH):
            records = [
                Record(each.key, each.value, each.offset, each.timestamp)
                for each in items[start : start + BATCH]
            ]
            users, new, made = job.batch(
                records,
                batch.partition,
                lambda names: [state_of(name).get_bytes("state") for name in names],
            )
            for user, state, update in zip(users, new, made, strict=True):
                state_of(user).set_bytes("state", state)
                producer.produce(UPDATES, update, user)
            meter(len(records), len(users))

    def flush(self) -> None:
        """Flushes the producer first in each checkpoint."""
        super().flush()
        producer.flush()


frame = app.dataframe(source)
frame.register_store()
frame.sink(Interests())
app.run()
meter.report()
