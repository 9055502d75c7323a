"""Starts what `make connect-test` needs: PostgreSQL, object storage and Kafka Connect.

Each is real but one: the object storage is moto's server, which answers as S3 does. The jars, and
the Python environment with moto and pyiceberg, come once into the user's cache; a download that was
broken off goes on at the next run. Nothing that is started here stays.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from stream.broker.jars import default_cache_dir, java
from stream.broker.local_kafka import java_environment

HERE = Path(__file__).resolve().parent / "connect"
RUNTIME = "org.apache.kafka.connect.cli.ConnectStandalone"
CONNECT = (
    "org.apache.kafka:connect-runtime:4.3.1+org.apache.kafka:connect-transforms:4.3.1"
    f"+org.apache.kafka:connect-json:4.3.1+org.slf4j:slf4j-simple:1.7.36@{RUNTIME}"
)
NOT_NEEDED = (
    *("jackson-annotations", "jackson-core", "jackson-databind", "slf4j"),
    *("mariadb-java-client", "mssql-jdbc", "mysql-connector-j", "ojdbc11"),
)
"""Jars of the connectors that are left out.

Connect has Jackson itself, and a second one meets modules of the first (ServiceConfigurationError);
the others are drivers of databases that are not here.
"""

TOOLS = ("moto[server]==5.2.5", "pyiceberg[pyarrow,sql-postgres]==0.12.0")
PASSWORD = "a-password-of-this-test"
PATIENCE_S = 400  # for a busy machine; what is seen ends a wait at once
CACHE = default_cache_dir().with_name("connect")


def say(text: str) -> None:
    print(f"[connect-test] {text}", flush=True)  # noqa: T201


def fail(text: str) -> NoReturn:
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


@contextmanager
def answering(words: Sequence[str], environment: dict[str, str]) -> Iterator[Callable[[str], str]]:
    """Runs a program that answers a line with a line; gives what asks it."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, env=environment, **pipes) as process:

        def ask(question: str) -> str:
            process.stdin.write(question + "\n")
            process.stdin.flush()
            answer: str = process.stdout.readline()
            return answer or fail(f"no answer to {question!r}")

        try:
            yield ask
        finally:
            process.kill()


# What is fetched


def jars_of(endpoint: str) -> list[Path]:
    """Returns the jars of Maven coordinates and of all that they need, from a cache."""
    from jgo.env import EnvironmentBuilder
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=CACHE / "repository", timeout=60)
    builder = EnvironmentBuilder(context, cache_dir=CACHE / "environments")
    folder = Path(builder.from_endpoint(endpoint).path)
    return sorted(jar for name in ("jars", "modules") for jar in (folder / name).glob("*.jar"))


def tools() -> Path:
    """Returns the Python of an environment that has TOOLS."""
    folder = CACHE / "python"
    python, made_of = folder / "bin" / "python", folder / "made-of"
    if not made_of.exists() or made_of.read_text(encoding="utf-8") != "\n".join(TOOLS):
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *TOOLS], check=True)
        made_of.write_text("\n".join(TOOLS), encoding="utf-8")
    return python


# Where profiles go


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


@contextmanager
def object_storage(folder: Path, port: int) -> Iterator[str]:
    """Runs moto's server with the bucket `interests`; gives its address."""
    address = f"http://127.0.0.1:{port}"
    words = [str(tools().with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]

    def has_bucket() -> bool:
        try:
            asked = urllib.request.Request(f"{address}/interests", method="PUT")
            with urllib.request.urlopen(asked, timeout=30):
                return True
        except OSError:
            return False

    with started(words, folder / "storage.log"):
        wait_for(has_bucket, "the object storage serves")
        yield address


# Kafka Connect


class Connect:
    """A worker with the settings of deploy/connect, and the connectors that were added to it."""

    def __init__(self, folder: Path, broker: str, port: int) -> None:
        self._folder, self._port, self._log = folder, port, folder / "connect.log"
        self._plugins = folder / "plugins"
        text = (HERE / "worker.properties").read_text(encoding="utf-8")
        for given, own in {
            "127.0.0.1:19092": broker,
            "127.0.0.1:8083": f"127.0.0.1:{port}",
            "/opt/connect/plugins": str(self._plugins),
            "/tmp/connect.offsets": str(folder / "connect.offsets"),
        }.items():
            assert given in text, given
            text = text.replace(given, own)
        (folder / "worker.properties").write_text(text, encoding="utf-8")

    def plug(self, name: str, endpoint: str) -> None:
        """Puts the jars of a connector into a folder of its own."""
        folder = self._plugins / name
        folder.mkdir(parents=True)
        for jar in jars_of(endpoint):
            if not jar.name.startswith(NOT_NEEDED):
                (folder / jar.name).symlink_to(jar)

    @contextmanager
    def runs(self, connectors: Sequence[dict[str, Any]]) -> Iterator[subprocess.Popen[bytes]]:
        """Runs the worker with connectors until the end of the block."""
        path = os.pathsep.join(map(str, jars_of(CONNECT)))
        settings = str(self._folder / "worker.properties")
        words = [str(java()), "-Xmx768m", "-cp", path, RUNTIME, settings]
        environment = {
            **java_environment(),
            "INTERESTS_PASSWORD": PASSWORD,
            "AWS_ACCESS_KEY_ID": "interests",
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
        }
        with started(words, self._log, env=environment) as process:
            wait_for(lambda: self._ask("/") is not None, "Kafka Connect serves")
            for asked in connectors:
                wait_for(
                    lambda asked=asked: self._ask("/connectors", asked), "a connector is taken"
                )
            for asked in connectors:
                name = asked["name"]
                wait_for(lambda name=name: self._is_running(name), f"the connector {name} runs")
            yield process

    def _is_running(self, name: str) -> bool:
        found = self._ask(f"/connectors/{name}/status") or {"tasks": []}
        for task in found["tasks"]:
            if task["state"] == "FAILED":
                fail(f"the connector {name} failed: {task['trace'][-3000:]}")
        return bool(found["tasks"]) and found["tasks"][0]["state"] == "RUNNING"

    def _ask(self, path: str, body: Any = None) -> Any:
        """Returns the answer of Connect's REST API, None where there is none."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", content, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            if error.code >= 500 or body is None:
                return None
            fail(f"Connect refused {path}: {error.read().decode()[-2000:]}")
        except OSError:
            return None
