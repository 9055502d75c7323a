"""Compares interest-stream with its peers: the same events, job, model and machine.

    interest-stream bench compare [--repeats 5] [--quick] [--only NAME] [--resume] [--kill]

It prints a table of medians and spreads, and writes JSON and a chart. Runs are interleaved. Peers
run in an environment of their own (peers/requirements.txt), which sees the packages of this one, so
that PyTorch, aiokafka and Faust are the same for all. Peers are measured over a window.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import click

from stream.cli.bench_view import models_option
from stream.config import DEFAULT_BROKER, Settings
from stream.errors import Failure
from tests.benchmarks import report
from tests.benchmarks.bencher import Bencher
from tests.benchmarks.chart import bar_chart
from tests.benchmarks.forms import FORMS, Form, Task, plan
from tests.benchmarks.report import Run

HERE = Path(__file__).parent
QUICK_FORMS = ("aiokafka loop, our scorer", "limit")
MEASURED = ("stream", "models", "tests/benchmarks")
GUESS_S = 12.0
"""Seconds of a run of which nothing is known yet."""


@click.command()
@click.option("--broker", default=DEFAULT_BROKER, show_default=True)
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(1))
@click.option(
    "--many-repeats",
    default=2,
    show_default=True,
    type=click.IntRange(1),
    help="At 1,000,000 users.",
)
@click.option(
    "--events", type=click.IntRange(1_000), help="Events of a topic [default: by model and users]."
)
@click.option(
    "--window", default=5.0, show_default=True, help="Seconds that a peer is measured for, at most."
)
@click.option("--users", default="5000,1000000", show_default=True, help="Numbers of users.")
@models_option("null,real")
@click.option("--only", multiple=True, help="Forms whose name holds this; may be given again.")
@click.option(
    "--quick",
    is_flag=True,
    help="A short round of a few forms; warns if ratios have fallen, writes nothing.",
)
@click.option(
    "--kill",
    is_flag=True,
    help="Instead of rates: kill -9 each form, and count what is lost or doubled.",
)
@click.option(
    "--resume", is_flag=True, help="Keep the runs of this revision that are in --out already."
)
@click.option("--show", is_flag=True, help="Measure nothing: the tables of --out.")
@click.option("--markdown", is_flag=True, help="Print the tables as Markdown.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="JSON of all runs; the chart beside it as .svg."
)
@click.option(
    "--environment",
    type=click.Path(path_type=Path),
    default=HERE / ".environment",
    help="Of the peers.",
)
def main(
    broker: str,
    repeats: int,
    many_repeats: int,
    events: int | None,
    window: float,
    users: str,
    models: str,
    only: tuple[str, ...],
    quick: bool,
    kill: bool,
    resume: bool,
    show: bool,
    markdown: bool,
    out: Path | None,
    environment: Path,
) -> None:
    """Compare interest-stream with its peers on this machine."""
    # What needs no measuring.
    if (resume or show) and not out:
        raise click.UsageError(
            "--resume and --show need --out, the file that holds the runs made before"
        )
    if show and out:
        (report.show_markdown if markdown else report.show)(json.loads(out.read_text()))
        return
    if quick:
        repeats, events, window, users, out = (
            min(repeats, 2),
            events or 80_000,
            min(window, 4.0),
            "5000",
            None,
        )

    # The forms, and the environment of the foreign ones among them.
    forms = _forms(only, quick)
    counts = [int(part) for part in users.split(",")]
    foreign = any(form.script.startswith(("quix", "bytewax")) for form in forms)
    python = peers_python(environment) if foreign else sys.executable
    bencher = Bencher(Settings(broker=broker), python, window)
    if kill:
        kills = [run for count in counts for run in bencher.kills(forms, count, events)]
        report.show_kills(kills)
        _save(kills, out)
        return

    # The runs that are missing; what was measured before an interruption is kept.
    tasks = [
        task
        for count in counts
        for task in plan(forms, models.split(","), count, events, repeats, many_repeats)
    ]
    runs = sound_runs(out, tasks, _revision()) if resume and out else []
    try:
        _measure(bencher, tasks, runs, out)
    except KeyboardInterrupt:
        report.say(
            f"\nstopped with {len(runs)} of {len(tasks)} runs"
            + (f"; go on with --resume --out {out}" * bool(out))
        )
        raise SystemExit(1) from None
    (report.show_markdown if markdown else report.show)(runs)
    if out:
        out.with_suffix(".svg").write_text(bar_chart(report.grouped(runs)))
    if quick:
        report.warn_of_regressions(
            report.grouped(runs), json.loads((HERE / "ratios.json").read_text())
        )
    _report_failures(runs)


def _forms(only: tuple[str, ...], quick: bool) -> list[Form]:
    """Returns the forms that were named; ours is always among the quick ones."""
    only = only or (QUICK_FORMS if quick else ())
    forms = [form for form in FORMS if not only or any(part in form.name for part in only)]
    if not forms:
        raise click.UsageError(
            f"no form is named like {', '.join(only)}; they are: {', '.join(f.name for f in FORMS)}"
        )
    return [FORMS[0], *(form for form in forms if form.script)] if quick else forms


def _report_failures(runs: list[Run]) -> None:
    """Reports failed runs and ends with 1: their figures do not count."""
    failed = [run for run in runs if "failed" in run]
    for run in failed:
        report.say(
            f"failed: {run['form']}, {run['model']} model, {run['users']:,} users: "
            f"{run['failed'][-300:]}"
        )
    if failed:
        raise SystemExit(1)


def _measure(bencher: Bencher, tasks: list[Task], runs: list[Run], out: Path | None) -> None:
    """Runs what is missing; a run that fails is recorded, and the others go on."""
    done = {_identity(run) for run in runs}
    left = [task for task in tasks if (*task.kind, task.events, task.repeat) not in done]
    time_left, revision = TimeLeft(left), _revision()
    for users in dict.fromkeys(task.users for task in left):
        chosen = [task for task in left if task.users == users]
        with bencher.sources(chosen):
            for task in chosen:
                started = time.perf_counter()
                try:
                    figures = bencher.run(task)
                except Failure as error:
                    figures = {"events_per_s": 0.0, "failed": str(error)}
                run = {
                    **figures,
                    "form": task.form.name,
                    "model": task.model,
                    "users": task.users,
                    "events": task.events,
                    "repeat": task.repeat,
                    "revision": revision,
                }
                runs.append(run)
                _save(runs, out)
                time_left.report(task, time.perf_counter() - started, figures["events_per_s"])


class TimeLeft:
    """Writes a line a run, with the time that is left by what such runs took so far."""

    def __init__(self, tasks: list[Task]) -> None:
        self._left, self._total = list(tasks), len(tasks)
        self._took: dict[tuple[str, str, int], float] = {}
        self._started = time.perf_counter()

    def report(self, task: Task, seconds: float, rate: float) -> None:
        """Writes the line of a run that is through."""
        self._left.remove(task)
        self._took[task.kind] = seconds
        usual = sum(self._took.values()) / len(self._took)
        remaining = sum(self._took.get(each.kind, max(usual, GUESS_S)) for each in self._left)
        gone = time.perf_counter() - self._started
        report.say(
            f"[{self._total - len(self._left):3}/{self._total}] {task.model} model, "
            f"{task.users:>9,} users, {task.form.name:33} {rate:>10,.0f} events/s; "
            f"{gone / 60:.1f} min gone, about {remaining / 60:.0f} left"
        )


def _identity(run: Run) -> tuple[object, ...]:
    """Returns what tells a run from the others of a comparison."""
    return run["form"], run["model"], run["users"], run["events"], run["repeat"]


def sound_runs(out: Path, tasks: list[Task], revision: str) -> list[Run]:
    """Returns the runs made before that belong to this comparison and did not fail.

    revision: only those of this revision are kept.
    """
    if not out.exists():
        return []
    wanted = {(*task.kind, task.events, task.repeat) for task in tasks}
    found: list[Run] = json.loads(out.read_text())
    kept = [
        run
        for run in found
        if "failed" not in run
        and run.get("revision") == revision
        and run.get("events")
        and _identity(run) in wanted
    ]
    report.say(f"{len(kept)} of {len(found)} runs in {out} are kept")
    return kept


def _revision() -> str:
    """Returns the last commit of what is measured, and whether it has been changed since.

    Documents do not count.
    """
    parts = [["log", "-1", "--format=%h"], ["status", "--porcelain", "--untracked-files=no"]]
    commit, changes = (
        subprocess.run(
            ["git", *words, "--", *MEASURED],
            cwd=HERE.parents[1],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        for words in parts
    )
    return (commit or "unknown") + ("-changed" if changes else "")


def _save(runs: list[Run], out: Path | None) -> None:
    """Writes the runs as JSON, if a file is named."""
    if out:
        out.write_text(json.dumps(runs, indent=1))


def peers_python(environment: Path) -> str:
    """Returns the interpreter of the peers' environment, which is made when missing.

    What the environment lacks it takes from this one.
    """
    python = environment / "bin" / "python"
    if not python.exists():
        report.say(f"making {environment} (once)")
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        ours = next(path for path in sys.path if path.endswith("site-packages"))
        theirs = subprocess.run(
            [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        (Path(theirs) / "of_the_worker.pth").write_text(ours + "\n")
        required = str(HERE / "peers" / "requirements.txt")
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "-r", required],
            check=True,
        )
    return str(python.absolute())


if __name__ == "__main__":
    main()
