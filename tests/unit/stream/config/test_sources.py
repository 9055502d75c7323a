"""Where the value of a setting comes from, and that nothing misspelled is silently a default."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from stream.config import ConnectionSettings, Settings, connection_variables, load_settings
from stream.config.connection import FROM_FILES
from stream.errors import SettingsError


def file(folder: Path, text: str) -> str:
    path = folder / "shop.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_first_place_that_gives_a_value_wins(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name, text in {"app_id": "secret\n", "publish": "changed\n", "model": "m\n"}.items():
        (secrets / name).write_text(text)
    (secrets / "tls.crt").write_text("somebody else's")
    config = file(tmp_path, 'app_id = "file"\npublish = "interval"\nmodel = "f"\ndevice = "cuda"')
    environment = {
        "INTEREST_STREAM_SECRETS_DIR": str(secrets),
        "INTEREST_STREAM_CONFIG": config,
        "INTEREST_STREAM_APP_ID": "variable",
        "INTEREST_STREAM_PUBLISH": "every",
    }
    found = load_settings(environment, app_id="given", max_value_bytes=None)
    assert found.app_id == "given"
    assert found.publish == "every"
    assert found.model == "m"
    assert found.device == "cuda"
    assert found.max_value_bytes == Settings().max_value_bytes


def test_the_file_of_the_command_line_is_read_instead_of_the_variable(tmp_path: Path) -> None:
    config = file(tmp_path, "torch_threads = 3\nscore_budget_s = 2")
    found = load_settings({"INTEREST_STREAM_CONFIG": "/no/such/file"}, config)
    assert (found.torch_threads, found.score_budget_s) == (3, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "max_batch_event = 5",
            r"'max_batch_event' is no setting; did you mean max_batch_events\?",
        ),
        ("max-batch-events = 5", r"did you mean max_batch_events\?"),
        ("[kafka]\na = 1", "'kafka' is no setting; "),
        ("zzzz = 1", "'zzzz' is no setting; 'interest-stream worker --show-settings' lists"),
        ("max_batch_events = ", "is not TOML: Invalid value"),
        ('max_batch_events = "5"', r"shop\.toml: max_batch_events .* a whole number is needed"),
        ("max_batch_events = true", r"shop\.toml: max_batch_events .* a whole number is needed"),
        ("web = 1", r"shop\.toml: web .* use true or false"),
        ("broker = ['a:1']", r"shop\.toml: broker .* no Kafka address"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_the_file(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(SettingsError, match=words) as raised:
        load_settings({}, file(tmp_path, text))
    assert "shop.toml" in str(raised.value)
    assert raised.value.exit_code == 2


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--config: .*none\.toml.* No such file"):
        load_settings({}, str(tmp_path / "none.toml"))
    with pytest.raises(SettingsError, match=r"SECRETS_DIR: .*none.* is no folder"):
        load_settings({"INTEREST_STREAM_SECRETS_DIR": str(tmp_path / "none")})


def test_a_secret_that_cannot_work_is_named_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "web_port").write_text("many")
    with pytest.raises(SettingsError, match=r"web_port .* whole number"):
        load_settings({"INTEREST_STREAM_SECRETS_DIR": str(tmp_path)})
    (tmp_path / "web_port").write_text("66000")
    with pytest.raises(SettingsError, match=f"{tmp_path}: web_port "):
        load_settings({"INTEREST_STREAM_SECRETS_DIR": str(tmp_path)})
    (tmp_path / "web_port").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="web_port cannot be read: it is not UTF-8"):
        load_settings({"INTEREST_STREAM_SECRETS_DIR": str(tmp_path)})


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("INTEREST_STREAM_MAX_BATCH_EVENT", "INTEREST_STREAM_MAX_BATCH_EVENTS"),
        ("INTEREST_STREAM_BROKERS", "INTEREST_STREAM_BROKER"),
        ("INTEREST_STREAM_SASL_PASSWORDFILE", "INTEREST_STREAM_SASL_PASSWORD_FILE"),
        ("interest_stream_broker", "INTEREST_STREAM_BROKER"),
        ("INTEREST_STREAM_WEBB_PORT", "INTEREST_STREAM_WEB_PORT"),
    ],
)
def test_a_misspelled_variable_is_refused_with_the_nearest_name(name: str, nearest: str) -> None:
    with pytest.raises(SettingsError, match=rf"variable {name} .* did you mean {nearest}\?"):
        load_settings({name: "8080"})


def test_variables_that_are_no_settings_are_let_be() -> None:
    """Kubernetes gives a pod variables of each Service; of one named interest-stream, these."""
    load_settings(
        {
            "INTEREST_STREAM_SERVICE_HOST": "10.0.0.1",
            "INTEREST_STREAM_SERVICE_PORT": "6066",
            "INTEREST_STREAM_SERVICE_PORT_METRICS": "6066",
            "INTEREST_STREAM_PORT": "tcp://10.0.0.1:6066",
            "INTEREST_STREAM_PORT_6066_TCP": "tcp://10.0.0.1:6066",
            "INTEREST_STREAM_PORT_6066_TCP_ADDR": "10.0.0.1",
            "INTEREST_STREAM_API_SERVICE_HOST": "10.0.0.2",
            "INTEREST_STREAM_API_PORT": "tcp://10.0.0.2:80",
            "INTEREST_STREAM_TEST_BROKER": "127.0.0.1:9092",
            "INTEREST_STREAM_BROKER_DATA_DIR": "/data",
            "INTEREST_STREAMER": "somebody else",
            "PATH": "/bin",
        }
    )


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ('[kafka_options]\n"client.rack" = "a"\n"retry.backoff.ms" = 7', ""),
        ('[kafka_options]\nclient.rack = "a"\nretry.backoff.ms = 7', ""),
        ('kafka_options = "client_rack=a, retry.backoff.ms=7"', ""),
        ('kafka_options = ["client.rack=a", "retry.backoff.ms=7"]', ""),
        ('kafka_options = "client.rack=b"', "client.rack=a,retry.backoff.ms=7"),
    ],
)
def test_options_of_kafka_are_written_in_several_ways(
    tmp_path: Path, text: str, options: str
) -> None:
    environment = {"INTEREST_STREAM_KAFKA_OPTIONS": options} if options else {}
    found = load_settings(environment, file(tmp_path, text))
    assert found.kafka_options == "client.rack=a,retry.backoff.ms=7"


def test_a_process_of_ours_reaches_kafka_as_we_do(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("hunter2\n", encoding="utf-8")
    config = file(tmp_path, f'sasl_password_file = "{password}"\n[kafka_options]\nclient.id = "x"')
    given = load_settings(
        {}, config, broker="b:1", security_protocol="SASL_SSL", sasl_username="shop"
    )
    passed = load_settings(connection_variables(given) | {"INTEREST_STREAM_CONFIG": config})
    names = [each.name for each in fields(ConnectionSettings)]
    differing = [name for name in names if getattr(given, name) != getattr(passed, name)]
    assert set(differing) <= {f"{name}_file" for name in FROM_FILES}
    assert passed.sasl_password == "hunter2"
