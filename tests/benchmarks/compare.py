"""interest-stream beside its peers: the same events, job, model and machine, runs interleaved; medians and spreads.

    interest-stream bench compare [--repeats 5] [--quick] [--only NAME] [--kill]

Peers run in an environment of their own (peers/requirements.txt), which sees the packages of this one, so that PyTorch, aiokafka and
Faust are the same for all. Slow forms are measured over a window. Results are printed, and written as JSON and as a chart.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from rich.console import Console
from rich.table import Table

from models.predict import load_predictor
from stream import bench
from stream.config import DEFAULT_BROKER, Settings
from stream.kafka_client import client_options
from stream.topics import create_topics
from tests.benchmarks.chart import bar_chart
from tests.benchmarks.forms import FORMS, Form, command

HERE = Path(__file__).parent
PEERS = HERE / "peers"
LIMIT_S = 150.0
MANY_USERS = 100_000
Run = dict[str, Any]


@click.command()
@click.option("--broker", default=DEFAULT_BROKER, show_default=True)
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(1))
@click.option("--events", default=400_000, show_default=True, type=click.IntRange(1_000), help="Events of the topic.")
@click.option("--window", default=8.0, show_default=True, help="Seconds that a slow form is measured for.")
@click.option("--users", default="5000,1000000", show_default=True, help="Numbers of users, a topic each.")
@click.option("--models", default="null,real", show_default=True)
@click.option("--only", multiple=True, help="Forms whose name holds this; may be given again.")
@click.option("--quick", is_flag=True, help="One short round of a few forms, and a warning if ratios have fallen.")
@click.option(
    "--kill", is_flag=True, help="Instead of rates: kill -9 each form once, and count what is lost or doubled."
)
@click.option("--out", type=click.Path(path_type=Path), help="JSON of all runs; the chart beside it as .svg.")
@click.option("--environment", type=click.Path(path_type=Path), default=HERE / ".environment", help="Of the peers.")
def main(
    broker: str,
    repeats: int,
    events: int,
    window: float,
    users: str,
    models: str,
    only: tuple[str, ...],
    quick: bool,
    kill: bool,
    out: Path | None,
    environment: Path,
) -> None:
    """Compare interest-stream with its peers on this machine."""
    if quick:
        repeats, events, window, users = 1, min(events, 60_000), 4.0, "5000"
        only = only or ("interest-stream", "aiokafka", "limit")
    forms = [form for form in FORMS if not only or any(part in form.name for part in only)]
    bencher = Bencher(Settings(broker=broker), peers_python(environment), events, window)
    counts = [int(part) for part in users.split(",")]
    if kill:
        runs = [run for count in counts for run in bencher.kills(forms, count)]
        show_kills(runs)
    else:
        runs = []
        for count in counts:
            for run in bencher.rates(forms, models.split(","), count, repeats):
                runs.append(run)
                _save(runs, out)
        show(runs)
    _save(runs, out)
    if out and not kill:
        out.with_suffix(".svg").write_text(bar_chart(grouped(runs)))
    if quick:
        warn_of_regressions(grouped(runs))


def _save(runs: list[Run], out: Path | None) -> None:
    if out:
        out.write_text(json.dumps(runs, indent=1))


def peers_python(environment: Path) -> str:
    """The interpreter of the peers' environment, made when missing; what it lacks it takes from this one."""
    python = environment / "bin" / "python"
    if not python.exists():
        _print(f"making {environment} (once)")
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        ours = next(path for path in sys.path if path.endswith("site-packages"))
        theirs = subprocess.run(
            [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        (Path(theirs) / "of_the_worker.pth").write_text(ours + "\n")
        install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(PEERS / "requirements.txt")]
        subprocess.run(install, check=True)
    return str(python.absolute())


class Bencher:
    """Runs forms on topics that nobody else uses."""

    def __init__(self, settings: Settings, python: str, events: int, window: float) -> None:
        self._settings, self._python, self._events, self._window = settings, python, events, window
        self._items = load_predictor(None).info.items
        self._topic = ""

    @contextmanager
    def source(self, users: int) -> Iterator[None]:
        """A topic with the events of so many users, for all forms."""
        self._topic = f"compare-{secrets.token_hex(4)}-{users}"
        _print(f"producing {self._events} events of {users} users")
        self._create(self._topic)
        settings = replace(self._settings, events_topic=self._topic)
        asyncio.run(bench.produce_backlog(settings, self._events, users, self._items))
        try:
            yield
        finally:
            self._delete([self._topic])

    def rates(self, forms: list[Form], models: list[str], users: int, repeats: int) -> Iterator[Run]:
        """All runs on one topic, interleaved."""
        with self.source(users):
            for repeat in range(repeats):
                for model in models:
                    for form in forms:
                        if users > MANY_USERS and form.slow:
                            continue
                        run = {
                            "form": form.name,
                            "model": model,
                            "users": users,
                            "repeat": repeat,
                            **self.run(form, model),
                        }
                        _print(f"{model:5} {users:>9,} users  {form.name:34} {run['events_per_s']:>10,.0f} events/s")
                        yield run

    def kills(self, forms: list[Form], users: int) -> list[Run]:
        """A kill -9 of each form."""
        with self.source(users):
            return [self.kill(form, users) for form in forms if not form.limit]

    def run(self, form: Form, model: str) -> Run:
        """One run of a form: events/s and what goes with it."""
        return self._worker(form, model) if not form.script else self._peer(form, model)

    def _worker(self, form: Form, model: str) -> Run:
        settings = replace(bench.fresh_settings(self._settings), events_topic=self._topic)
        asyncio.run(create_topics(settings, 4, 1))
        arguments = ["--max-batch-events", str(form.batch), *(["--null-model"] if model == "null" else [])]
        try:
            with bench.running_worker(settings, arguments) as worker:
                figures = worker.drain(self._events)
            bench.audit(settings)
        finally:
            self._delete(
                [settings.updates_topic, settings.profiles_topic, settings.dead_letters_topic, settings.changelog_topic]
            )
        return figures

    def _peer(self, form: Form, model: str) -> Run:
        with self._started(form, model) as (process, log, _), suppress(subprocess.TimeoutExpired):
            process.wait(LIMIT_S)
        lines = [line for line in log.read_text(errors="replace").splitlines() if "RATE {" in line]
        if not lines:
            return {"events_per_s": 0.0, "failed": log.read_text(errors="replace")[-500:]}
        rate: Run = json.loads(lines[-1][lines[-1].index("{") :])
        return rate

    @contextmanager
    def _started(
        self, form: Form, model: str, again: dict[str, str] | None = None
    ) -> Iterator[tuple[subprocess.Popen[bytes], Path, dict[str, str]]]:
        job = again or {"JOB_GROUP": (group := f"peer-{secrets.token_hex(4)}"), "JOB_UPDATES": f"{group}-updates"}
        job |= {"JOB_CHANGELOG": f"{job['JOB_GROUP']}-changelog"}
        profiles = f"{job['JOB_UPDATES']}-profiles"
        if again is None:
            self._create(job["JOB_UPDATES"], job["JOB_CHANGELOG"], profiles)
            job["JOB_FOLDER"] = tempfile.mkdtemp(prefix="interest-stream-peer-")
        log = Path(job["JOB_FOLDER"] + ".log")
        environment = {
            **os.environ,
            **job,
            "PYTHONPATH": os.pathsep.join((str(HERE.parents[1]), str(PEERS))),
            "JOB_BROKER": self._settings.bootstrap[0],
            "JOB_SOURCE": self._topic,
            "JOB_EVENTS": str(self._events if again is None and model != "kill" else 1 << 60),
            "JOB_SECONDS": str(self._window if form.slow else 60.0) if model != "kill" else "1e9",
            "JOB_MODEL": "null" if model == "kill" else model,
            "JOB_SCORER": form.scorer,
            "JOB_FORM": form.form,
            "JOB_BATCH": str(form.batch),
        }
        with log.open("ab") as out:
            line = ["bash", "-c", command(form, self._python)]
            process = subprocess.Popen(line, env=environment, cwd=PEERS, stdout=out, stderr=out, start_new_session=True)
        try:
            yield process, log, job
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def kill(self, form: Form, users: int) -> Run:
        """Kill -9 in the middle, start again, let it finish; events that each user's last update has too few or too many."""
        if form.script:
            with self._started(form, "kill") as (_, _, job):
                self._until_published(job["JOB_UPDATES"])
            with self._started(form, "kill", job):
                resumed = self._until_quiet(job["JOB_UPDATES"])
            updates = job["JOB_UPDATES"]
        else:
            settings = replace(bench.fresh_settings(self._settings), events_topic=self._topic)
            asyncio.run(create_topics(settings, 4, 1))
            arguments = [
                "--null-model",
                "--max-batch-events",
                str(form.batch),
                "--session-timeout-s",
                "6",
                "--heartbeat-s",
                "1",
            ]
            with bench.running_worker(settings, arguments) as worker:
                self._until_published(settings.updates_topic)
                worker.kill()
            with bench.running_worker(settings, arguments):
                resumed = self._until_quiet(settings.updates_topic)
            updates = settings.updates_topic
        seen: dict[bytes, int] = {}
        for key, value in asyncio.run(self._read(updates)):
            seen[key] = orjson.loads(value)["events_seen"]
        true: dict[bytes, int] = {}
        for key, _ in asyncio.run(self._read(self._topic)):
            true[key] = true.get(key, 0) + 1
        difference = [seen.get(user, 0) - count for user, count in true.items()]
        run = {
            "form": form.name,
            "users": users,
            "lost": -sum(each for each in difference if each < 0),
            "doubled": sum(each for each in difference if each > 0),
            "users_wrong": sum(each != 0 for each in difference),
            "resumed_s": round(resumed, 1),
        }
        _print(json.dumps(run))
        return run

    def _until_published(self, topic: str) -> None:
        while not asyncio.run(self._ends(topic)):
            time.sleep(0.05)
        time.sleep(1.5)

    def _until_quiet(self, topic: str) -> float:
        """Wait until a form that was started again publishes nothing more; seconds until it published first."""
        started = last_change = time.perf_counter()
        before, resumed = asyncio.run(self._ends(topic)), 0.0
        while time.perf_counter() - last_change < (8.0 if resumed else 40.0):
            time.sleep(0.2)
            now = asyncio.run(self._ends(topic))
            if now != before:
                before, last_change = now, time.perf_counter()
                resumed = resumed or last_change - started
        return resumed

    async def _ends(self, topic: str) -> int:
        async with AIOKafkaConsumer(**client_options(self._settings)) as consumer:
            return sum((await consumer.end_offsets([TopicPartition(topic, each) for each in range(4)])).values())

    async def _read(self, topic: str) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        async with AIOKafkaConsumer(auto_offset_reset="earliest", **client_options(self._settings)) as consumer:
            partitions = [TopicPartition(topic, each) for each in range(4)]
            ends = await consumer.end_offsets(partitions)
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            while any([await consumer.position(each) < ends[each] for each in partitions]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += [(record.key, record.value) for record in records]
        return found

    def _create(self, *topics: str) -> None:
        async def create() -> None:
            admin = AIOKafkaAdminClient(**client_options(self._settings))
            await admin.start()
            await admin.create_topics([NewTopic(topic, 4, 1) for topic in topics])
            await admin.close()

        asyncio.run(create())

    def _delete(self, topics: list[str]) -> None:
        async def delete() -> None:
            admin = AIOKafkaAdminClient(**client_options(self._settings))
            await admin.start()
            await admin.delete_topics(topics)
            await admin.close()

        asyncio.run(delete())


def grouped(runs: list[Run]) -> dict[tuple[str, int], dict[str, list[float]]]:
    """Events/s of all repeats: {(model, users): {form: rates}}."""
    groups: dict[tuple[str, int], dict[str, list[float]]] = {}
    for run in runs:
        groups.setdefault((run["model"], run["users"]), {}).setdefault(run["form"], []).append(run["events_per_s"])
    return groups


def show(runs: list[Run]) -> None:
    """One table a model and number of users."""
    for (model, users), forms in grouped(runs).items():
        ours = statistics.median(forms.get("interest-stream", [float("nan")]))
        table = Table("form", "events/s", "least", "most", "ours is", title=f"{model} model, {users:,} users")
        for name, rates in forms.items():
            median = statistics.median(rates)
            ratio = f"{ours / median:.2f}x" if median else "failed"
            table.add_row(name, f"{median:,.0f}", f"{min(rates):,.0f}", f"{max(rates):,.0f}", ratio)
        Console().print(table)


def show_kills(runs: list[Run]) -> None:
    """What each form lost and doubled."""
    table = Table(
        "form", "events lost", "events doubled", "users wrong", "first update after, s", title="kill -9, started again"
    )
    for run in runs:
        table.add_row(run["form"], *(f"{run[name]:,}" for name in ("lost", "doubled", "users_wrong", "resumed_s")))
    Console().print(table)


def warn_of_regressions(groups: dict[tuple[str, int], dict[str, list[float]]]) -> None:
    """Compare ratios, not times, with recorded ones; a fifth less is a warning."""
    recorded = json.loads((HERE / "ratios.json").read_text())
    for (model, users), forms in groups.items():
        rates = {name: statistics.median(values) for name, values in forms.items()}
        for name, before in recorded.get(f"{model} {users}", {}).items():
            if rates.get(name):
                ratio = rates["interest-stream"] / rates[name]
                word = "WARNING: fell" if ratio < 0.8 * before else "ok"
                _print(f"{model} model, against {name!r}: {ratio:.2f}, recorded {before:.2f}: {word}")


def _print(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main()
