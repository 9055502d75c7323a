"""Configures a worker's Faust app, each setting with its reason."""

from __future__ import annotations

from functools import partial
from typing import Any

from mode import CrashingSupervisor

from stream.kafka.batch_recovery import BatchTableManager, GivenStoreTable
from stream.kafka.host import Host


def faust_settings(host: Host, partitions: int) -> dict[str, Any]:
    """Returns the keyword arguments of the app.

    `partitions`: of the source topic.
    """
    settings = host.settings
    return {
        "broker": [f"kafka://{each}" for each in settings.bootstrap],
        "store": "memory://",  # not used: the table is given its store
        "Table": GivenStoreTable,
        "TableManager": partial(BatchTableManager, host=host),
        "agent_supervisor": CrashingSupervisor,
        "web_enabled": False,
        "topic_partitions": partitions,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "table_standby_replicas": 0,
        "stream_wait_empty": True,
        "stream_buffer_maxsize": 4,  # batches, not events
        "broker_commit_interval": settings.commit_interval_s,
        "broker_commit_every": 1 << 62,  # a commit by count would stall the fetch loop
        # the broker gives a restarted member what the one before it had, URL included, and Faust
        # insists on its own
        "canonical_url": f"http://worker/{settings.instance_id}" if settings.instance_id else None,
        "consumer_group_instance_id": settings.instance_id or None,
        "broker_session_timeout": settings.session_timeout_s,
        "broker_heartbeat_interval": settings.heartbeat_s,
        "broker_rebalance_timeout": max(60.0, settings.session_timeout_s),
        "broker_request_timeout": max(90.0, settings.session_timeout_s),
        "broker_max_poll_interval": 86_400.0,  # nothing is fetched while states are rebuilt
        "broker_max_poll_records": settings.max_batch_events,
        "consumer_auto_offset_reset": "earliest",
        "consumer_max_fetch_size": settings.fetch_max_bytes,
        "producer_compression_type": (
            None if settings.compression == "none" else settings.compression
        ),
        "producer_max_batch_size": 786_432,
        "producer_request_timeout": settings.publish_timeout_s,  # an older batch is given up
        "stream_processing_timeout": 300.0,
    }
