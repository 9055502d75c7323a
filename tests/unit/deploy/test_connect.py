"""The files of deploy/connect name what the pipeline has; `make connect-test` runs them."""

from __future__ import annotations

import json

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


def test_the_worker_is_beside_the_local_broker_and_of_its_version() -> None:
    settings = text_of(HERE / "worker.properties")
    assert f"bootstrap.servers=127.0.0.1:{DEFAULT_PORT}\n" in settings
    program = text_of(ROOT / "deploy" / "connect_test.py")
    assert program.count(f":{KAFKA_VERSION}") == 3
    assert f"Connect {KAFKA_VERSION}" in text_of(ROOT / "docs" / "operate" / "connect.md")
