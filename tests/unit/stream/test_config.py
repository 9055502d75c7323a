"""Settings: who wins, what is refused by name, what is hidden."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream.config import Settings, load_settings
from stream.errors import SettingsError


def test_the_command_line_wins_over_the_environment_over_defaults() -> None:
    environment = {"INTEREST_STREAM_APP_ID": "from-env", "INTEREST_STREAM_MAX_BATCH_EVENTS": "7"}
    settings = load_settings(environment, app_id="given", max_value_bytes=None)
    assert (settings.app_id, settings.max_batch_events, settings.max_value_bytes) == ("given", 7, 65_536)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"INTEREST_STREAM_MAX_BATCH_EVENTS": "many"}, "INTEREST_STREAM_MAX_BATCH_EVENTS"),
        ({"INTEREST_STREAM_WEB": "perhaps"}, "INTEREST_STREAM_WEB"),
        ({"INTEREST_STREAM_MAX_BATCH_EVENTS": "0"}, "max_batch_events"),
        ({"INTEREST_STREAM_BROKER": "localhost:9092"}, "broker"),
        ({"INTEREST_STREAM_HEARTBEAT_S": "20"}, "heartbeat_s"),
        ({"INTEREST_STREAM_COMPRESSION": "rar"}, "compression"),
        ({"INTEREST_STREAM_SASL_PASSWORD_FILE": "/no/such/file"}, "INTEREST_STREAM_SASL_PASSWORD_FILE"),
        (
            {"INTEREST_STREAM_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "INTEREST_STREAM_SASL_MECHANISM": "PLAIN"},
            "in the clear",
        ),
    ],
)
def test_a_setting_that_cannot_work_is_named(environment: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load_settings(environment)


def test_secrets_come_from_files_and_are_masked(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2\n", encoding="utf-8")
    settings = load_settings({"INTEREST_STREAM_SASL_PASSWORD_FILE": str(secret)})
    assert settings.sasl_password == "hunter2"
    assert "hunter2" not in str(settings.masked())


@pytest.mark.parametrize(
    ("given", "topic"),
    [
        ({}, "clickstream"),
        ({"rekey": True}, "clickstream-by-user"),
        ({"events_topic": "c", "rekey": True}, "c-by-user"),
    ],
)
def test_the_source_topic_is_the_one_keyed_by_user(given: dict[str, Any], topic: str) -> None:
    assert Settings(**given).source_topic == topic
