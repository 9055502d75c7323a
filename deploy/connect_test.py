"""Runs deploy/connect for real: Apache Kafka, Kafka Connect from its jars, and two sinks.

A worker of the demo model publishes profiles. The connectors of deploy/connect bring them to
PostgreSQL, and as Parquet to object storage. An erased user disappears from each, and after Connect
was killed nothing is missing. Everything it starts is ended, and its files are removed.

    make connect-test

PostgreSQL is the one of this machine (Debian's package postgresql), run as nobody; without one, or
where something cannot be fetched, it says so and fails: nothing was tested then.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from aiokafka.admin import NewTopic

from deploy.connect_machine import (
    HERE,
    PASSWORD,
    PATIENCE_S,
    Connect,
    answering,
    fail,
    object_storage,
    postgres,
    say,
    started,
    tools,
    wait_for,
)
from stream.broker.local_kafka import LocalKafka
from stream.broker.ports import free_ports
from stream.config import Settings
from tests.support.pipelines import Pipeline
from tests.support.topics import administer, read

USERS = 40


class Sink:
    """A place where profiles go: its connector, and what it holds."""

    file: str
    jars: str
    """The Maven coordinates of its connector, and a class of it."""

    def connector(self, own: dict[str, str]) -> dict[str, Any]:
        """Returns its file with the addresses of this test in place of those it names."""
        text = (HERE / self.file).read_text(encoding="utf-8")
        for given, here in own.items():
            assert given in text, (self.file, given)
            text = text.replace(given, here)
        found: dict[str, Any] = json.loads(text)
        return found

    def profiles(self) -> dict[str, Any]:
        """Returns the profile of each user, as its readers see them."""
        raise NotImplementedError

    def tidy(self, *_words: str) -> None:
        """Does what an erasure needs there, beyond the connector: nothing."""

    def users(self) -> set[str]:
        """Returns all users that anything there names still."""
        raise NotImplementedError


class InPostgres(Sink):
    """A table with a row for each user."""

    file = "postgres.json"
    jars = "io.debezium:debezium-connector-jdbc:3.4.0.Final@io.debezium.connector.jdbc.Module"

    def __init__(self, ask: Callable[[str], str]) -> None:
        self._ask = ask

    def profiles(self) -> dict[str, Any]:
        rows = self._ask("SELECT json_build_array(user_id, profile) FROM interest_profiles")
        return dict(json.loads(row) for row in rows.splitlines())

    def users(self) -> set[str]:
        return set(self._ask("SELECT user_id FROM interest_profiles").splitlines())

    def surest(self) -> str:
        """Returns the user with the most probable interest, by the view of postgres.sql."""
        return self._ask("SELECT user_id FROM interests ORDER BY probability DESC LIMIT 1")


class InTable(Sink):
    """An Iceberg table: Parquet files on object storage, its catalogue in PostgreSQL."""

    file = "iceberg.json"
    jars = (
        "org.apache.iceberg:iceberg-kafka-connect:1.12.0+org.apache.iceberg:iceberg-parquet:1.12.0"
        "+org.apache.iceberg:iceberg-aws:1.12.0+org.apache.iceberg:iceberg-aws-bundle:1.12.0"
        "+org.apache.hadoop:hadoop-client-api:3.4.1+org.apache.hadoop:hadoop-client-runtime:3.4.1"
        "+org.apache.avro:avro:1.12.1+org.postgresql:postgresql:42.7.7"
        "@org.apache.iceberg.connect.IcebergSinkConnector"
    )

    def __init__(self, environment: dict[str, str], ask: Callable[[str], str]) -> None:
        self._environment, self._ask = environment, ask

    def profiles(self) -> dict[str, Any]:
        rows = sorted(json.loads(self._ask("rows")))
        # the newest row of each user counts; picked here, by code of its own
        found = {user: text for _, user, text in rows}
        return {user: json.loads(text) for user, text in found.items() if text is not None}

    def tidy(self, *words: str) -> None:
        call = [str(tools()), str(HERE / "iceberg_tidy.py"), *words]
        done = subprocess.run(
            call, env=self._environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            fail(f"iceberg_tidy.py ended with {done.returncode}: {done.stderr[-3000:]}")
        say(f"iceberg_tidy.py: {done.stdout.strip()}")

    def users(self) -> set[str]:
        return set(json.loads(self._ask("users in files")))


READER = """
import json, sys
import pyarrow.parquet as pq
from pyarrow import fs
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchTableError

def rows(table):
    found = table.scan().to_arrow().select(["kafka_offset", "user_id", "profile"])
    return [list(row.values()) for row in found.to_pylist()]

def users_in_files(table):
    storage, users = table.io.fs_by_scheme("s3", "interests"), set()
    for info in storage.get_file_info(fs.FileSelector("interests", recursive=True)):
        if info.path.endswith(".parquet"):
            found = pq.read_table(info.path, filesystem=storage, columns=["user_id"])
            users.update(found["user_id"].to_pylist())
    return sorted(users)

for question in sys.stdin:
    try:
        table = load_catalog("interests").load_table("interests.profiles")
        answer = rows(table) if question.strip() == "rows" else users_in_files(table)
    except NoSuchTableError:
        answer = []
    print(json.dumps(answer), flush=True)
"""
"""Answers with each row of the table, or with each user that any Parquet file of the bucket has,
whether the table names the file or not."""


def catalogue(database: str, storage: str) -> dict[str, str]:
    """Returns the environment in which pyiceberg finds the table."""
    settings = {
        "TYPE": "sql",
        "URI": f"postgresql+psycopg2://interests:{PASSWORD}@{database}/interests",
        "WAREHOUSE": "s3://interests/warehouse",
        "S3__ENDPOINT": storage,
        "S3__REGION": "eu-central-1",
        "S3__ACCESS_KEY_ID": "interests",
        "S3__SECRET_ACCESS_KEY": PASSWORD,
    }
    named = {f"PYICEBERG_CATALOG__INTERESTS__{name}": value for name, value in settings.items()}
    return {**os.environ, **named}


# The pipeline


def command(broker: str, *words: str) -> list[str]:
    """Returns a command of interest-stream."""
    return [sys.executable, "-m", "interest_stream", *words, "--broker", broker]


def published(broker: str) -> dict[str, Any]:
    """Returns the profile of each user as the topic says last; who is erased has none."""
    settings = Settings(broker=broker)
    found = {each.key.decode(): each.value for each in read(settings, settings.profiles_topic)}
    return {user: json.loads(value) for user, value in found.items() if value is not None}


def produce(pipeline: Pipeline, events: int, seed: int) -> None:
    """Sends events of simulated users, and waits until the worker has applied them."""
    words = ("produce", "--simulate", "--users", str(USERS), "--seed", str(seed), "--limit")
    subprocess.run(command(pipeline.url, *words, str(events)), check=True, capture_output=True)
    pipeline.wait_applied()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="connect-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        try:
            with ExitStack() as open_things:
                run(folder, open_things)
        except BaseException:
            for log in sorted(folder.glob("*.log")):
                say(f"{log.name} ends so:\n" + log.read_text(errors="replace")[-3000:])
            raise
    say("profiles land, change, and disappear with their users: all as the topic says")


def run(folder: Path, open_things: ExitStack) -> None:
    """Starts everything, and compares the sinks with the topic."""
    kafka_port, controller_port, database_port, storage_port, connect_port = free_ports(5)
    kafka = LocalKafka(folder / "kafka", kafka_port, controller_port, 512, short_lived=True)
    broker = f"127.0.0.1:{kafka_port}"
    say("fetching what is not in the cache yet")
    connect = Connect(folder, broker, connect_port)
    for sink in (InPostgres, InTable):
        connect.plug(sink.__name__, sink.jars)
    tools()
    say("starting Kafka, PostgreSQL and the object storage")
    kafka.start(PATIENCE_S)
    open_things.callback(kafka.kill)
    ask = open_things.enter_context(postgres(folder, database_port))
    storage = open_things.enter_context(object_storage(folder, storage_port))
    database = f"127.0.0.1:{database_port}"
    environment = catalogue(database, storage)
    reader = open_things.enter_context(answering([str(tools()), "-c", READER], environment))
    sinks = {
        InPostgres(ask): {"127.0.0.1:5432": database},
        InTable(environment, reader): {
            "127.0.0.1:5432": database,
            "127.0.0.1:19092": broker,
            '"60000"': '"2000"',
            # of a storage that is not Amazon's
            '"iceberg.catalog.client.region"': f'"iceberg.catalog.s3.endpoint": "{storage}", '
            '"iceberg.catalog.s3.path-style-access": "true", "iceberg.catalog.client.region"',
        },
    }
    subprocess.run(command(broker, "topics", "create", "--partitions", "4"), check=True)
    create_control_topic(broker)
    worker = command(broker, "worker", "--demo-model", "--commit-interval-s", "0.5")
    open_things.enter_context(started(worker, folder / "worker.log"))
    connectors = [sink.connector(own) for sink, own in sinks.items()]
    check(Pipeline(broker, Settings(broker=broker), folder), connect, connectors, list(sinks))


def create_control_topic(broker: str) -> None:
    """Creates the topic by which the tasks of Iceberg's connector agree, as its page says to."""
    topic = NewTopic("interest-profiles-iceberg", 1, 1)
    administer(Settings(broker=broker), lambda admin: admin.create_topics([topic]))


def check(
    pipeline: Pipeline, connect: Connect, connectors: list[dict[str, Any]], sinks: list[Sink]
) -> None:
    """Compares sinks and topic while users change, are erased, and Connect is killed."""

    def wait_for_all(what: str) -> None:
        for sink in sinks:
            wait_for(
                lambda sink=sink: sink.profiles() == published(pipeline.url), f"{sink.file}: {what}"
            )
            say(f"{sink.file}: {what}")

    produce(pipeline, 600, seed=0)
    with connect.runs(connectors) as process:
        wait_for_all("profiles have landed")
        user = next(sink for sink in sinks if isinstance(sink, InPostgres)).surest()
        erase = command(pipeline.url, "erase", "--user", user, "--wait", "300")
        subprocess.run(erase, check=True, capture_output=True)
        assert user not in published(pipeline.url)
        wait_for_all("an erased user has no profile")
        for sink in sinks:
            sink.tidy("--nulls-after-hours", "0")
            assert user not in sink.users(), (sink.file, user)
        wait_for_all("nothing names the erased user, and the others are there")
        with ThreadPoolExecutor() as pool:
            produced = pool.submit(produce, pipeline, 300, seed=1)
            while not produced.done():
                for sink in sinks:
                    sink.tidy()
            produced.result()
        wait_for_all("tidied while profiles came, nothing is missing")
        process.kill()  # what was read and not written yet is read again
        process.wait(60)
    produce(pipeline, 300, seed=2)
    expected = published(pipeline.url)
    assert all(sink.profiles() != expected for sink in sinks)
    with connect.runs(connectors):
        wait_for_all("killed and started again, nothing is missing")
    for sink in sinks:
        # nobody writes now, so a file that the killed Connect did not commit may go at once
        sink.tidy("--nulls-after-hours", "0", "--orphans-after-hours", "0")
        assert sink.users() == set(sink.profiles()) == set(expected), sink.file


if __name__ == "__main__":
    main()
