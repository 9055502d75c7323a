"""The files of deploy/connect name what the pipeline has; `make connect-test` runs them."""

from __future__ import annotations

import json
import re

from stream.broker.jars import KAFKA_VERSION
from stream.broker.local_kafka import DEFAULT_PORT
from stream.config import Settings
from tests.support.pages import ROOT, text_of

HERE = ROOT / "deploy" / "connect"


def test_the_connector_reads_the_profiles_and_tells_no_password() -> None:
    config = json.loads(text_of(HERE / "postgres.json"))["config"]
    assert config["topics"] == Settings().profiles_topic
    assert config["connection.password"] == "${env:INTERESTS_PASSWORD}"
    assert f"CREATE TABLE {config['collection.name.format']} " in text_of(HERE / "postgres.sql")
    fields = {config["transforms.key.field"], config["transforms.profile.field"]}
    assert fields == {"user_id", "profile"}


def test_the_table_has_the_users_key_the_profile_and_its_place() -> None:
    text = text_of(HERE / "iceberg.json")
    config = json.loads(text)["config"]
    assert config["topics"] == Settings().profiles_topic
    assert re.findall('"[^"]*(?:password|secret|key-id)": "(.*)"', text) == [
        "${env:INTERESTS_PASSWORD}"
    ]
    assert f"127.0.0.1:{DEFAULT_PORT}" == config["iceberg.kafka.bootstrap.servers"]
    columns = {value for name, value in config.items() if re.search(r"\.fields?$", name)}
    program = text_of(HERE / "iceberg_tidy.py")
    assert {"user_id", "profile", "kafka_offset", "kafka_partition", "published"} == columns
    assert all(f'"{name}"' in program for name in ("user_id", "profile", "kafka_offset"))
    assert f'default="{config["iceberg.tables"]}"' in program
    assert f'default="{config["iceberg.catalog"]}"' in program


def test_the_page_names_what_the_test_runs() -> None:
    page = text_of(ROOT / "docs" / "operate" / "connect.md")
    program = text_of(ROOT / "deploy" / "connect_test.py")
    machine = text_of(ROOT / "deploy" / "connect_machine.py")
    for name, where, text in (
        ("debezium-connector-jdbc", program, "Debezium's JDBC sink {}, PostgreSQL"),
        ("iceberg-kafka-connect", program, "Iceberg's sink {}, on"),
        (r"moto\[server\]=", machine, "(moto {})"),
        (r"pyiceberg\[pyarrow,sql-postgres\]=", machine, '"pyiceberg[pyarrow,sql-postgres]=={}"'),
    ):
        found = re.search(f"{name}[:=]([0-9.]*[0-9])", where)
        assert found is not None, name
        assert text.format(found[1]) in page
    pinned = re.search(r'pip install "(.*)"', text_of(HERE / "iceberg_tidy.py"))
    assert pinned is not None
    assert f'pip install "{pinned[1]}"' in page


def test_the_worker_is_beside_the_local_broker_and_of_its_version() -> None:
    settings = text_of(HERE / "worker.properties")
    assert f"bootstrap.servers=127.0.0.1:{DEFAULT_PORT}\n" in settings
    program = text_of(ROOT / "deploy" / "connect_machine.py")
    assert program.count(f":{KAFKA_VERSION}") == 3
    assert f"Connect {KAFKA_VERSION}" in text_of(ROOT / "docs" / "operate" / "connect.md")
