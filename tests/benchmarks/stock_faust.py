"""The same job in stock Faust, as its documentation shows it: an agent, a table, one event at a time.

The model, the decoder and the state record are ours, so what differs is the pipeline only. Run by compare.py:
    python tests/benchmarks/stock_faust.py BROKER APP_ID EVENTS_TOPIC UPDATES_TOPIC worker --without-web -l warn
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from types import SimpleNamespace
from typing import Any

import faust

from models.predict import load_predictor
from stream.asking import UpdateSize
from stream.events import Decoder
from stream.scoring import Scoring
from stream.state import Arena

broker, app_id, events_topic, updates_topic = sys.argv[1:5]
del sys.argv[1:5]
logging.disable(logging.INFO)  # stock Faust logs each send at DEBUG otherwise

app = faust.App(
    app_id,
    broker=broker,
    store="memory://",
    datadir=tempfile.mkdtemp(prefix="stock-faust-"),
    topic_partitions=4,
    topic_disable_leader=True,
    producer_linger_ms=5,  # the default sends one request a record
    producer_max_batch_size=1 << 17,
)
raw: dict[str, Any] = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
source = app.topic(events_topic, **raw)
updates = app.topic(updates_topic, **raw)
states = app.Table("user-state", partitions=4, key_type=bytes, value_type=bytes)
scoring = Scoring(load_predictor(None), UpdateSize())
decoder = Decoder()


@app.agent(source)
async def interests(stream: Any) -> None:
    """One event: decode, LSTM step, language-model score, table, update."""
    info = scoring.predictor.info
    async for event in stream.events():
        message = event.message
        record = SimpleNamespace(
            key=message.key,
            value=message.value,
            headers=(),
            offset=message.offset,
            timestamp=int(message.timestamp * 1000),
        )
        arena = Arena(info.state_size, info.fingerprint, 4)
        if message.key in states:
            arena.restore([(message.key or b"", states[message.key])])
        batch = decoder.decode(message.topic, message.partition, [record])
        outcome = scoring.process(batch, arena, int(time.time() * 1000))
        states[message.key] = outcome.states[0]
        await updates.send(key=message.key, value=outcome.updates[0])


if __name__ == "__main__":
    app.main()
