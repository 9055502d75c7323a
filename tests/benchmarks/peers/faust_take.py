"""Does the job in stock Faust with `take`: in batches.

The table allows writes outside of an event (use_partitioner). `interest-stream bench compare`
starts it.
"""

from __future__ import annotations

from typing import Any

from job import BATCH, Meter, Record, make_job
from stock_faust import make_app

app, source, updates, states = make_app(use_partitioner=True)
job, meter = make_job(), Meter()


@app.agent(source)
async def interests(stream: Any) -> None:
    """Does the job for a batch of all partitions: load, compute, store, publish."""
    async for events in stream.take_events(BATCH, within=0.2):
        records = [
            Record(
                event.message.key,
                event.value,
                event.message.offset,
                int(event.message.timestamp * 1000),
            )
            for event in events
        ]
        users, new, made = job.batch(records, 0, lambda names: [states.get(name) for name in names])
        for user, state, update in zip(users, new, made, strict=True):
            states[user] = state
            await updates.send(key=user, value=update)
        meter(len(records), len(users))


app.main()
