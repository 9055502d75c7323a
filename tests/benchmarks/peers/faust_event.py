"""Does the job in stock Faust as its documentation shows it: an agent and a table.

It handles one event at a time. `interest-stream bench compare` starts it.
"""

from __future__ import annotations

from typing import Any

from job import Meter, Record, make_job
from stock_faust import make_app

app, source, updates, states = make_app()
job, meter = make_job(), Meter()


@app.agent(source)
async def interests(stream: Any) -> None:
    """Does the job for one event: load, compute, store, publish."""
    async for event in stream.events():
        message = event.message
        record = Record(message.key, event.value, message.offset, int(message.timestamp * 1000))
        _, new, made = job.batch([record], message.partition, lambda users: [states.get(users[0])])
        states[message.key] = new[0]
        await updates.send(key=message.key, value=made[0])
        meter(1, 1)


app.main()
