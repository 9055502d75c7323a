"""Makes the application of both Quix forms."""

from __future__ import annotations

from typing import Any

from quixstreams import Application

from job import BROKER, FOLDER, GROUP, SESSION_S, SOURCE, UPDATES


def make_app(**more: Any) -> tuple[Any, Any, Any]:
    """Returns application, source and updates."""
    app = Application(
        broker_address=BROKER,
        consumer_group=GROUP,
        auto_offset_reset="earliest",
        state_dir=FOLDER,
        commit_interval=5.0,
        loglevel="WARNING",
        consumer_extra_config={"session.timeout.ms": SESSION_S * 1000},
        **more,
    )
    source = app.topic(SOURCE, key_deserializer="bytes", value_deserializer="bytes")
    return app, source, app.topic(UPDATES, key_serializer="bytes", value_serializer="bytes")
