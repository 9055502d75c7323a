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
    assert (settings.app_id, settings.max_batch_events, settings.max_value_bytes) == (
        "given",
        7,
        65_536,
    )


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"INTEREST_STREAM_MAX_BATCH_EVENTS": "many"}, "INTEREST_STREAM_MAX_BATCH_EVENTS"),
        ({"INTEREST_STREAM_WEB": "perhaps"}, "INTEREST_STREAM_WEB"),
        ({"INTEREST_STREAM_MAX_BATCH_EVENTS": "0"}, "max_batch_events"),
        ({"INTEREST_STREAM_BROKER": "localhost"}, "broker"),
        ({"INTEREST_STREAM_HEARTBEAT_S": "20"}, "heartbeat_s"),
        ({"INTEREST_STREAM_COMPRESSION": "rar"}, "compression"),
        (
            {"INTEREST_STREAM_SASL_PASSWORD_FILE": "/no/such/file"},
            "INTEREST_STREAM_SASL_PASSWORD_FILE",
        ),
        (
            {
                "INTEREST_STREAM_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
                "INTEREST_STREAM_SASL_MECHANISM": "PLAIN",
            },
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


def test_a_key_is_read_from_its_file_and_goes_with_rekey(tmp_path: Path) -> None:
    path = tmp_path / "ids.key"
    path.write_bytes(b"0123456789abcdef\n")
    assert Settings().pseudonym_key() is None
    given = Settings(pseudonym_key_file=str(path), rekey=True)
    assert given.pseudonym_key() == b"0123456789abcdef"
    given.check_for_worker()
    with pytest.raises(SettingsError, match=r"pseudonym_key_file .* give --rekey too"):
        Settings(pseudonym_key_file=str(path)).check_for_worker()
    path.write_bytes(b"short\n")
    with pytest.raises(SettingsError, match="its key has 5 bytes and 16 are the least") as caught:
        given.check_for_worker()
    assert "short" not in str(caught.value).replace(str(path), "")
    path.unlink()
    with pytest.raises(SettingsError, match="No such file or directory"):
        given.check_for_worker()
