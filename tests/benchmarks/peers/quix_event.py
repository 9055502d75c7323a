"""Does the job in Quix Streams as its documentation shows it: a stateful apply.

It handles one event at a time, with state in RocksDB and a changelog. `interest-stream bench
compare` starts it.
"""

from __future__ import annotations

from typing import Any

from job import Meter, Record, make_job
from quix_app import make_app

app, source, updates = make_app()
job, meter = make_job(), Meter(app.stop)


def step(raw: bytes, key: bytes, timestamp: int, headers: Any, state: Any) -> bytes:
    """Does the job for one event; the update is what it returns."""
    from quixstreams import message_context

    context = message_context()
    record = Record(key, raw, context.offset, timestamp)
    _, new, made = job.batch([record], context.partition, lambda users: [state.get_bytes("state")])
    state.set_bytes("state", new[0])
    meter(1, 1)
    return made[0]


app.dataframe(source).apply(step, stateful=True, metadata=True).to_topic(updates)
app.run()
meter.report()
