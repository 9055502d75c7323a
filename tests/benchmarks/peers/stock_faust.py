"""Makes the app of both Faust forms.

It has a memory store with a changelog, and a batched producer, because the default sends one
request a record.
"""

from __future__ import annotations

import logging
from typing import Any

import faust

from job import BATCH, BROKER, FOLDER, GROUP, PARTITIONS, SESSION_S, SOURCE, UPDATES


def make_app(**table: Any) -> tuple[faust.App, Any, Any, Any]:
    """Returns app, source, updates and table of states."""
    logging.disable(logging.INFO)  # else each send is logged at DEBUG
    app = faust.App(
        GROUP,
        broker=f"kafka://{BROKER}",
        store="memory://",
        datadir=FOLDER,
        topic_partitions=PARTITIONS,
        topic_disable_leader=True,
        broker_session_timeout=SESSION_S,
        broker_heartbeat_interval=1,
        broker_rebalance_timeout=SESSION_S,
        stream_buffer_maxsize=max(4096, BATCH),
        producer_linger_ms=5,
        producer_max_batch_size=1 << 17,
    )
    raw: dict[str, Any] = {
        "key_type": bytes,
        "value_type": bytes,
        "key_serializer": "raw",
        "value_serializer": "raw",
    }
    states = app.Table("states", partitions=PARTITIONS, key_type=bytes, value_type=bytes, **table)
    return app, app.topic(SOURCE, **raw), app.topic(UPDATES, **raw), states
