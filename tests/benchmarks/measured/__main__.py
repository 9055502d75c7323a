"""Measures what README and docs/measured tell, and writes it there: rows as JSON, tables from them.

    python -m tests.benchmarks.measured accuracy FOLDER  trains and asks models of data sets
    python -m tests.benchmarks.measured drift         how soon a changed interest is named
    python -m tests.benchmarks.measured explanations  whether events named as causes are causes
    python -m tests.benchmarks.measured demo          the demo, from start to summary
    python -m tests.benchmarks.measured speed         a worker beside other libraries
    python -m tests.benchmarks.measured kill          kill -9: events lost and doubled
    python -m tests.benchmarks.measured latency       from event to update
    python -m tests.benchmarks.measured recovery      cold starts with the states of many users
    python -m tests.benchmarks.measured joins         workers that come and go
    python -m tests.benchmarks.measured serving       the service with a million profiles
    python -m tests.benchmarks.measured catalogue     what a user costs as the catalogue grows
    python -m tests.benchmarks.measured pages         writes all tables from the rows
    python -m tests.benchmarks.measured status        what has been measured, of which code

Accuracy does not depend on what else a machine does, so it may run beside other work. Everything
that is a time wants a quiet machine. A call that is repeated goes on where it stopped, and measures
only what the present code lacks. Each has --help.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from stream.broker.local_kafka import LocalKafka
from stream.broker.ports import free_ports
from stream.cli.bench_view import models_option
from tests.benchmarks.measured import pages as page_tables
from tests.benchmarks.measured import rows
from tests.benchmarks.measured.rows import ROOT, Run
from tests.benchmarks.measured.studies import (
    STUDIES,
    CommandFailedError,
    Study,
    command_json,
    files_of,
    measure,
)

COMMAND: Final = "python -m tests.benchmarks.measured"
START_S: Final = 180.0
DRIFTING_USERS: Final = 300
EXPLAINED_USERS: Final = 500

# what a comparison runs by default: ours, and of each peer its documented and its best plain form
FORMS: Final = (
    "interest-stream",
    "Faust, an event at a time",
    "Faust, take",
    "Quix Streams, an event at a time",
    "Quix Streams, sink, our scorer",
    "Bytewax, an event at a time",
    "Bytewax, shard, our scorer",
)
KILLED_FORMS: Final = ("interest-stream", "Faust, an event at a time")

seeds_option = click.option(
    "--seed", "seeds", multiple=True, default=(0,), show_default=True, type=int, help="Repeat it."
)
environment_option = click.option(
    "--environment",
    type=click.Path(path_type=Path),
    help="Of the peers' libraries.  [default: made once, beside the benchmarks]",
)
repeats_option = click.option("--repeats", default=2, show_default=True, type=click.IntRange(1))


@click.group()
def main() -> None:
    """Measure what README and docs/measured tell, and write it there."""


@main.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--set",
    "names",
    multiple=True,
    type=click.Choice([study.name for study in STUDIES]),
    help="These alone; repeat it.  [default: all whose files are there]",
)
@seeds_option
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    default=ROOT / "runs" / "measured",
    help="Where models and reports stay, so that a call can go on.  [default: runs/measured]",
)
@click.option(
    "--at-once",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Trainings beside one another.",
)
def accuracy(
    folders: tuple[Path, ...],
    names: tuple[str, ...],
    seeds: tuple[int, ...],
    work: Path,
    at_once: int,
) -> None:
    """Train and ask a model of each data set in FOLDERS, with one thread each."""
    code = rows.fingerprint()
    wanted = [
        (study, seed) for seed in seeds for study in STUDIES if not names or study.name in names
    ]
    with ThreadPoolExecutor(at_once) as pool:
        tried = pool.map(lambda each: _measure_study(each[0], each[1], folders, work, code), wanted)
        failed = [study.name for (study, _), done in zip(wanted, tried, strict=True) if not done]
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}")


def _measure_study(study: Study, seed: int, folders: Sequence[Path], work: Path, code: str) -> bool:
    """Returns False if a command failed; writes the rows of a study if its files are there."""
    name = f"accuracy-{study.name}"
    files = files_of(study, folders)
    if files is None:
        _say(f"{study.name}: no folder has its files, left out")
        return True
    if rows.has_run(name, seed, code):
        _say(f"{study.name}, seed {seed}: measured already with this code")
        return True
    _say(f"{study.name}, seed {seed} ...")
    before = rows.conditions(code)  # the commit that is measured is that of the start
    try:
        run = measure(study, seed, files, work / code / f"{study.name}-{seed}")
    except CommandFailedError as error:
        _say(str(error))
        return False
    rows.append(
        name,
        f"{study.title}: next items and interests, the model beside its baselines.",
        f"{COMMAND} accuracy FOLDER --set {study.name} --seed {seed}",
        {**before, **run},
    )
    return True


@main.command()
@seeds_option
def drift(seeds: tuple[int, ...]) -> None:
    """Measure how many events it takes until the shipped demo model names a changed interest."""
    _of_seeds(
        "drift",
        "Events until a changed interest is named first; simulated users, the shipped demo model.",
        seeds,
        lambda seed: _drift_rows(
            command_json("evaluate", "--drift", str(DRIFTING_USERS), "--seed", str(seed))
        ),
        f"interest-stream evaluate --drift {DRIFTING_USERS} --seed",
    )


def _drift_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the rows of the model, the best counter and the filter at each level of noise."""
    kept = []
    for level in found["levels"]:
        trackers = {"model": level["model"], "knows the rates": level["knows the rates"]}
        if level["best"] is not None:
            trackers[level["best"]] = level["trackers"][level["best"]]
        kept += [{"name": name, "noise": level["noise"], **each} for name, each in trackers.items()]
    return kept


@main.command()
@seeds_option
def explanations(seeds: tuple[int, ...]) -> None:
    """Measure how far the first interest falls without the events that are named as its causes."""
    _of_seeds(
        "explanations",
        "Fall of the first interest's log-odds without the event named as cause; simulated users.",
        seeds,
        lambda seed: [
            command_json("evaluate", "--explanations", str(EXPLAINED_USERS), "--seed", str(seed))
        ],
        f"interest-stream evaluate --explanations {EXPLAINED_USERS} --seed",
    )


@main.command()
@seeds_option
@click.option("--for", "seconds", default=20, show_default=True, help="Seconds of events.")
def demo(seeds: tuple[int, ...], seconds: int) -> None:
    """Run the demo, and keep its summary. Wants a quiet machine."""
    _of_seeds(
        "demo",
        "The demo from start to summary: events sent and applied, latency, interests named right.",
        seeds,
        lambda seed: [command_json("demo", "--for", str(seconds), "--seed", str(seed))],
        f"interest-stream demo --for {seconds} --seed",
    )


def _of_seeds(
    name: str,
    about: str,
    seeds: Sequence[int],
    rows_of: Callable[[int], list[dict[str, Any]]],
    words: str,
) -> None:
    """Measures what this code lacks of these seeds, a run each."""
    code = rows.fingerprint()
    for seed in seeds:
        if rows.has_run(name, seed, code):
            _say(f"{name}, seed {seed}: measured already with this code")
            continue
        run = {**rows.conditions(code), "seed": seed, "command": f"{words} {seed}"}
        run["rows"] = rows_of(seed)
        rows.append(name, about, f"{COMMAND} {name} --seed {seed}", run)


@main.command()
@repeats_option
@click.option("--only", "forms", multiple=True, default=FORMS, help="Forms named like this.")
@models_option("real")
@click.option("--users", default="5000", show_default=True, help="Numbers of users.")
@environment_option
def speed(
    repeats: int, forms: tuple[str, ...], models: str, users: str, environment: Path | None
) -> None:
    """Drain a topic with a worker and with its peers, in turns. Wants a quiet machine."""
    words = ["compare", "--models", models, "--users", users, "--repeats", str(repeats)]
    _benched(
        "speed",
        "Events/s of one job, a worker beside its peers.",
        _only(words, forms),
        ["--environment", str(environment.absolute())] if environment else [],
    )


@main.command()
@click.option("--only", "forms", multiple=True, default=KILLED_FORMS, help="Forms named like this.")
@click.option("--users", default="5000", show_default=True, help="Numbers of users.")
def kill(forms: tuple[str, ...], users: str) -> None:
    """Kill each form with -9 in the middle, start it again, and count events lost and doubled."""
    words = _only(["compare", "--kill", "--users", users], forms)
    _benched("kill", "Events lost and doubled by a kill -9; null model.", words)


@main.command()
@repeats_option
def latency(repeats: int) -> None:
    """Measure the time from event to update, under load and idle. Wants a quiet machine."""
    words = ["conditions", "--only", "latency", "--repeats", str(repeats)]
    _benched("latency", "From event to update, open loop and idle; demo model.", words)


@main.command()
@repeats_option
@click.option("--users", default=1_000_000, show_default=True, type=click.IntRange(1))
def recovery(repeats: int, users: int) -> None:
    """Measure cold starts with the states of many users. Wants a quiet machine."""
    words = ["conditions", "--only", "recovery", "--users", str(users), "--repeats", str(repeats)]
    _benched("recovery", "Cold starts with the states of many users; null model.", words)


@main.command()
@repeats_option
def joins(repeats: int) -> None:
    """Measure how long partitions rest when workers come and go. Wants a quiet machine."""
    words = ["conditions", "--only", "joins", "--repeats", str(repeats)]
    _benched("joins", "How long partitions rest when workers come and go; demo model.", words)


@main.command()
def serving() -> None:
    """Measure the service: starts, memory, requests beside updates. Wants a quiet machine."""
    run = rows.conditions(rows.fingerprint())
    run["command"] = "python -m tests.benchmarks.serving --json"
    line = [sys.executable, *run["command"].split()[1:]]
    done = subprocess.run(line, stdout=subprocess.PIPE, cwd=ROOT, check=False)
    if done.returncode:
        raise click.ClickException("the service gave a wrong answer, or none; nothing was kept")
    run["rows"] = json.loads(done.stdout)
    about = "The service: starts, memory, requests beside updates, from event to answer, a segment."
    rows.append("serving", about, f"{COMMAND} serving", run)


@main.command()
@click.option(
    "--items",
    "sizes",
    multiple=True,
    default=(400, 1_000, 4_000, 10_000, 30_000, 100_000, 1_000_000),
    show_default=True,
    type=click.IntRange(100),
    help="Repeat it.",
)
def catalogue(sizes: tuple[int, ...]) -> None:
    """Measure what a user costs as the catalogue grows. Wants a quiet machine."""
    words = ["bench", "catalogue", *(each for size in sizes for each in ("--items", str(size)))]
    run = rows.conditions(rows.fingerprint())
    run["command"] = shlex.join(["interest-stream", *words])
    run["rows"] = command_json(*words)["rows"]
    about = "What a user costs as the catalogue grows; synthetic models, one thread."
    rows.append("catalogue", about, f"{COMMAND} catalogue", run)


def _only(words: list[str], forms: Sequence[str]) -> list[str]:
    return [*words, *(word for form in forms for word in ("--only", form))]


def _benched(name: str, about: str, words: list[str], more: Sequence[str] = ()) -> None:
    """Runs a command of `bench` on a broker of its own, and keeps the JSON that it wrote.

    more: options that say where things are, and are not kept.
    """
    run = rows.conditions(rows.fingerprint())
    run["command"] = shlex.join(["interest-stream", "bench", *words])
    with _own_broker() as (broker, folder):
        out = folder / "out.json"
        line = [sys.executable, "-m", "stream.cli", "bench", *words, *more]
        line += ["--broker", broker, "--out", str(out)]
        done = subprocess.run(line, stdout=sys.stderr, cwd=ROOT, check=False)
        if done.returncode:
            raise click.ClickException(f"bench {words[0]} ended with exit code {done.returncode}")
        run["rows"] = json.loads(out.read_text(encoding="utf-8"))
    rows.append(name, about, f"{COMMAND} {name}", run)


@contextmanager
def _own_broker() -> Iterator[tuple[str, Path]]:
    """A Kafka that nobody else uses, and a folder; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="measured-") as folder:
        port, controller_port = free_ports(2)
        broker = LocalKafka(Path(folder) / "kafka", port, controller_port)
        _say("starting a Kafka")
        try:
            broker.start(START_S)
            yield broker.url, Path(folder)
        finally:
            broker.stop()


@main.command()
def pages() -> None:
    """Write the tables of README and docs/measured from the rows."""
    for page in page_tables.PAGES:
        place = ROOT / page
        if place.exists():
            before = place.read_text(encoding="utf-8")
            after = page_tables.rendered(page, before)
            place.write_text(after, encoding="utf-8")
            _say(f"{page}: {'as it was' if after == before else 'written'}")


@main.command()
def status() -> None:
    """Say what has been measured, with how many runs, and whether of this code."""
    code = rows.fingerprint()
    for place in sorted(rows.ROWS.glob("*.json")):
        runs: list[Run] = json.loads(place.read_text(encoding="utf-8"))["runs"]
        commits = ", ".join(dict.fromkeys(run["commit"] for run in runs))
        same = "this code" if all(run["code"] == code for run in runs) else "other code"
        _say(f"{place.stem:40} {len(runs)} runs, {commits}, {same}")


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main()
