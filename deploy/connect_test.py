"""Runs deploy/connect for real: Apache Kafka, Kafka Connect from its jars, and PostgreSQL.

A worker of the demo model publishes profiles, the connector of deploy/connect/postgres.json brings
them into a table, an erased user disappears from it, and after Connect was killed nothing is
missing. Everything it starts is ended, and its files are removed.

    make connect-test

PostgreSQL is the one of this machine (Debian's package postgresql), run as nobody; without one, or
where the jars cannot be fetched, it says so and fails: nothing was tested then.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stream.broker.jars import default_cache_dir, java
from stream.broker.local_kafka import LocalKafka, java_environment
from stream.broker.ports import free_ports
from stream.config import Settings
from tests.support.pipelines import Pipeline
from tests.support.topics import read

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "deploy" / "connect"
RUNTIME = "org.apache.kafka.connect.cli.ConnectStandalone"
CONNECT = (
    "org.apache.kafka:connect-runtime:4.3.1+org.apache.kafka:connect-transforms:4.3.1"
    f"+org.apache.kafka:connect-json:4.3.1+org.slf4j:slf4j-simple:1.7.36@{RUNTIME}"
)
CONNECTOR = "io.debezium:debezium-connector-jdbc:3.4.0.Final@io.debezium.connector.jdbc.Module"
NOT_NEEDED = (
    *("jackson-annotations", "jackson-core", "jackson-databind", "slf4j"),
    *("mariadb-java-client", "mssql-jdbc", "mysql-connector-j", "ojdbc11"),
)
"""Jars of the connector that are left out.

Connect has Jackson itself, and a second one meets modules of the first (ServiceConfigurationError);
the others are drivers of databases that are not here.
"""

PASSWORD = "a-password-of-this-test"
PATIENCE_S = 400  # for a busy machine; what is seen ends a wait at once
USERS = 40
NAME = "interest-profiles-postgres"


def say(text: str) -> None:
    print(f"[connect-test] {text}", flush=True)  # noqa: T201


def fail(text: str) -> None:
    say(text)
    raise SystemExit(1)


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Returns the first true answer; ends the program if there is none for too long."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        if time.monotonic() > deadline:
            fail(f"not within {PATIENCE_S} s: {what}")
        time.sleep(0.5)
    return found


def jars_of(endpoint: str) -> list[Path]:
    """Returns the jars of Maven coordinates and of all that they need, from a cache."""
    from jgo.env import EnvironmentBuilder
    from jgo.maven import MavenContext

    cache = default_cache_dir().with_name("connect")
    context = MavenContext(repo_cache=cache / "repository", timeout=60)
    builder = EnvironmentBuilder(context, cache_dir=cache / "environments")
    folder = Path(builder.from_endpoint(endpoint).path)
    return sorted(jar for name in ("jars", "modules") for jar in (folder / name).glob("*.jar"))


@contextmanager
def started(words: Sequence[str], log: Path, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a process until the end of the block."""
    with log.open("ab") as out:
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, **more)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)


# PostgreSQL


def postgres_programs() -> Path:
    """Returns the folder of PostgreSQL's programs, the newest version of Debian's packages."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        fail("there is no PostgreSQL: apt-get install postgresql. Nothing was tested")
    return found[-1].parent


@contextmanager
def postgres(folder: Path, port: int) -> Iterator[Callable[[str], str]]:
    """Runs a PostgreSQL of its own; gives what answers a query as text."""
    programs, data = postgres_programs(), folder / "postgres"
    data.mkdir()
    # it refuses to run as root
    owner: dict[str, Any] = {}
    if os.geteuid() == 0:
        shutil.chown(data, "nobody")
        owner = {"user": "nobody", "cwd": data}
    secret = data / "password"
    secret.write_text(PASSWORD, encoding="ascii")
    init = [programs / "initdb", "-D", data / "db", "-U", "interests", "--pwfile", secret]
    subprocess.run(
        [*init, "-A", "scram-sha-256", "-E", "UTF8"], check=True, capture_output=True, **owner
    )
    words = [str(programs / "postgres"), "-D", str(data / "db"), "-p", str(port), "-k", str(data)]

    def ask(query: str, database: str = "interests") -> str:
        address = f"postgresql://interests:{PASSWORD}@127.0.0.1:{port}/{database}"
        command = [programs / "psql", address, "-At", "-v", "ON_ERROR_STOP=1", "-c", query]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    def serves() -> bool:
        try:
            return ask("SELECT 1", "postgres") == "1"
        except RuntimeError:
            return False

    with started(words, folder / "postgres.log", **owner):
        wait_for(serves, "PostgreSQL serves")
        ask("CREATE DATABASE interests", "postgres")
        ask((HERE / "postgres.sql").read_text(encoding="utf-8"))
        yield ask


# Kafka Connect


def connect_command(folder: Path, broker: str, port: int) -> list[str]:
    """Returns the command of a Connect worker with the settings of deploy/connect."""
    plugins = folder / "plugins" / "debezium-jdbc"
    plugins.mkdir(parents=True, exist_ok=True)
    for jar in jars_of(CONNECTOR):
        if not jar.name.startswith(NOT_NEEDED):
            (plugins / jar.name).symlink_to(jar)
    text = (HERE / "worker.properties").read_text(encoding="utf-8")
    for given, own in {
        "127.0.0.1:19092": broker,
        "127.0.0.1:8083": f"127.0.0.1:{port}",
        "/opt/connect/plugins": str(plugins.parent),
        "/tmp/connect.offsets": str(folder / "connect.offsets"),
    }.items():
        assert given in text, given
        text = text.replace(given, own)
    (folder / "worker.properties").write_text(text, encoding="utf-8")
    path = os.pathsep.join(map(str, jars_of(CONNECT)))
    return [str(java()), "-Xmx512m", "-cp", path, RUNTIME, str(folder / "worker.properties")]


def ask_connect(port: int, path: str, body: Any = None) -> Any:
    """Returns the answer of Connect's REST API, None where there is none."""
    content = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", content, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        if error.code >= 500 or body is None:
            return None
        fail(f"Connect refused {path}: {error.read().decode()[-2000:]}")
    except OSError:
        return None


def connector(postgres_port: int) -> dict[str, Any]:
    """Returns deploy/connect/postgres.json with the port of this test."""
    text = (HERE / "postgres.json").read_text(encoding="utf-8")
    assert "127.0.0.1:5432" in text
    found: dict[str, Any] = json.loads(text.replace("127.0.0.1:5432", f"127.0.0.1:{postgres_port}"))
    return found


def add_connector(port: int, asked: dict[str, Any]) -> None:
    """Adds the connector, once Connect serves, and waits until its task runs."""
    wait_for(lambda: ask_connect(port, "/") is not None, "Kafka Connect serves")
    wait_for(lambda: ask_connect(port, "/connectors", asked), "the connector is taken")

    def runs() -> bool:
        found = ask_connect(port, f"/connectors/{NAME}/status") or {"tasks": []}
        for task in found["tasks"]:
            if task["state"] == "FAILED":
                fail(f"the connector failed: {task['trace'][-3000:]}")
        return bool(found["tasks"]) and found["tasks"][0]["state"] == "RUNNING"

    wait_for(runs, "the connector runs")


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
        run(folder)
    say("profiles land, change, and disappear with their users: all as the topic says")


def run(folder: Path) -> None:
    """Starts everything, and compares the table with the topic."""
    kafka_port, controller_port, database_port, connect_port = free_ports(4)
    kafka = LocalKafka(folder / "kafka", kafka_port, controller_port, 512, short_lived=True)
    broker = f"127.0.0.1:{kafka_port}"
    environment = {**java_environment(), "INTERESTS_PASSWORD": PASSWORD}
    say("fetching jars, starting Kafka and PostgreSQL")
    connect = connect_command(folder, broker, connect_port)
    kafka.start(PATIENCE_S)
    try:
        with postgres(folder, database_port) as ask:
            subprocess.run(command(broker, "topics", "create", "--partitions", "4"), check=True)
            worker = command(broker, "worker", "--demo-model", "--commit-interval-s", "0.5")
            with started(worker, folder / "worker.log"):
                asked = connector(database_port)
                check(folder, broker, ask, (connect, environment, connect_port, asked))
    except BaseException:
        for log in ("connect.log", "worker.log", "postgres.log"):
            if (folder / log).exists():
                say(f"{log} ends so:\n" + (folder / log).read_text(errors="replace")[-3000:])
        raise
    finally:
        kafka.kill()


def check(folder: Path, broker: str, ask: Callable[[str], str], how: tuple[Any, ...]) -> None:
    """Compares the table with the topic while users change, are erased, and Connect is killed."""
    connect, environment, port, asked = how
    log, pipeline = folder / "connect.log", Pipeline(broker, Settings(broker=broker), folder)

    def equals() -> bool:
        """Whether each user has the row that the topic's last record says, and nobody else."""
        rows = ask("SELECT json_build_array(user_id, profile) FROM interest_profiles").splitlines()
        return dict(json.loads(row) for row in rows) == published(broker)

    produce(pipeline, 600, seed=0)
    with started(connect, log, env=environment) as process:
        add_connector(port, asked)
        wait_for(equals, "the table is as the topic")
        say(f"{ask('SELECT count(*) FROM interest_profiles')} profiles have landed")
        user = ask("SELECT user_id FROM interests ORDER BY probability DESC LIMIT 1")
        erase = command(broker, "erase", "--user", user, "--wait", "300")
        subprocess.run(erase, check=True, capture_output=True)
        assert user not in published(broker)
        wait_for(equals, "the erased user is gone from the table")
        assert ask(f"SELECT count(*) FROM interest_profiles WHERE user_id = '{user}'") == "0"
        say("an erased user has disappeared")
        process.kill()  # what was read and not written yet is read again
        process.wait(60)
    produce(pipeline, 400, seed=1)
    assert not equals()
    with started(connect, log, env=environment):
        add_connector(port, asked)
        wait_for(equals, "the table is as the topic after Connect was killed")
        say("killed and started again, nothing is missing")


if __name__ == "__main__":
    main()
