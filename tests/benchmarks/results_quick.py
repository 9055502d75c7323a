"""The small rows of docs/results.md again: quick trainings beside their baselines, with live popularity where there are times, and drift
of the shipped model.

    make results-quick DATA=FOLDER       (or: python -m tests.benchmarks.results_quick FOLDER)

FOLDER holds a folder for each data set below with events.tsv.gz and items.jsonl.gz, or sequences.txt.gz. A set that is not there
is left out and named. Progress of two trainings at once goes to standard error, Markdown to standard output at the end; the models stay
in a temporary folder that is named there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from models.report import Table, drift_tables

SETS: Final[dict[str, tuple[str, ...]]] = {
    "retail": (),  # the longest first
    "beauty": ("--sequences", "--seen", "remove"),
    "movietweetings": (),
}
AT_ONCE: Final = 2
"""Trainings, of one thread each."""
DRIFTING_USERS: Final = 300


def main(folder: Path) -> int:
    """Exit code 0 if every set that is there could be measured."""
    models = Path(tempfile.mkdtemp(prefix="results-quick-"))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        rows = {name: pool.submit(_rows, name, folder, models / name) for name in SETS}
        texts = {name: each.result() for name, each in rows.items()}
    drift = _json("evaluate", "--drift", str(DRIFTING_USERS), "--json")
    texts["drift"] = None if drift is None else "\n\n".join(["### drift", *map(_markdown, drift_tables(drift))])
    for text in texts.values():
        _say(f"\n{text or ''}")
    failed = [name for name, text in texts.items() if text is None]
    _say(f"\nModels and reports: {models}" + (f"\nNot measured: {', '.join(failed)}" if failed else ""))
    return int(bool(failed))


def _rows(name: str, folder: Path, out: Path) -> str | None:
    """The tables of a data set; None if a command failed."""
    files, more = _files(folder / name), SETS[name]
    if not files:
        return f"{name}: not in {folder}, left out"
    report = _json("train", *files, *more, "--out", str(out), "--json")
    if report is None:
        return None
    text = f"### {name}, trained in {report['seconds'] / 60:.1f} minutes\n\n{_against_baselines(report['evaluation'])}"
    if "--sequences" in more:  # no times
        return text
    live = _json("evaluate", "--model", str(out), *files[:2], *more, "--live-popularity", "--json")
    return None if live is None else f"{text}\n\n### {name}, with live popularity\n\n{_against_baselines(live)}"


def _files(folder: Path) -> list[str]:
    if (folder / "sequences.txt.gz").exists():
        return ["--events", str(folder / "sequences.txt.gz")]
    if (folder / "events.tsv.gz").exists():
        return ["--events", str(folder / "events.tsv.gz"), "--items", str(folder / "items.jsonl.gz")]
    return []


def _json(*words: str) -> dict[str, Any] | None:
    """What a command of interest-stream prints; its progress goes to standard error. None if it failed."""
    done = subprocess.run([sys.executable, "-m", "stream.cli", *words], stdout=subprocess.PIPE, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def _against_baselines(evaluation: dict[str, Any]) -> str:
    rows = []
    for row in evaluation["items"]:
        difference: Sequence[float] | None = row.get("model minus this", {}).get("HR@10")
        between = "" if difference is None else f"{difference[0]:+.4f} .. {difference[1]:+.4f}"
        rows.append((row["scorer"], f"{row['HR@10']:.4f}", f"{row['NDCG@10']:.4f}", between))
    note = f"{evaluation['cases']:,} cases. {evaluation['description']}."
    return _markdown(Table("", ("scorer", "HR@10", "NDCG@10", "model minus this, HR@10"), rows, note))


def _markdown(table: Table) -> str:
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    return "\n".join([*(f"| {' | '.join(cells)} |" for cells in lines), "", table.note])


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("name the folder of the data sets: make results-quick DATA=FOLDER")
    sys.exit(main(Path(sys.argv[1])))
