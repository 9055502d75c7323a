"""Names what is trained for the tables of accuracy, and what is kept of each report.

A study is a data set and what is held out of it. Its model is trained by `interest-stream train`,
which reports it beside its baselines. Where fashions matter it is asked again with live popularity.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.measured.rows import ROOT, Run

MEASURES: Final = {
    "HR@10": "HR@10",
    "NDCG@10": "NDCG@10",
    "HR@20": "Recall@20",
    "HR@50": "Recall@50",
    "MRR@20": "MRR@20",
}
"""Measures that are kept and their names: where one item is right, a hit is its recall."""


class CommandFailedError(Exception):
    """A command of interest-stream that ended with another exit code than 0."""


@dataclass(frozen=True, slots=True)
class Study:
    """A data set and what is held out of it."""

    name: str
    data: str  # its folder
    title: str
    options: tuple[str, ...] = ()
    """Of `train` and `evaluate` alike."""
    train_options: tuple[str, ...] = ()
    live: bool = False
    """Whether it is also asked with live popularity."""
    new_items: bool = False
    """Whether its model is also asked for items that nobody had met in training."""


ALL_PAIRS: Final = ("--min-users", "1")
"""Published tables know no least number of users: what they are compared with has none either."""

STUDIES: Final = (
    Study("movietweetings", "movietweetings", "movietweetings, leave-one-out", live=True),
    Study(
        "beauty-hold-out",
        "beauty",
        "Beauty, leave-one-out as published tables count",
        ("--sequences", "--seen", "remove"),
        ("--hold-out-validation", *ALL_PAIRS),
    ),
    Study("retail", "retail", "retail, leave-one-out", live=True),
    Study(
        "wikispeedia",
        "wikispeedia",
        "wikispeedia, every position of held-out games",
        ("--protocol", "sessions", "--session-gap", "0"),
    ),
    Study(
        "movietweetings-time-split",
        "movietweetings",
        "movietweetings, time split",
        ("--protocol", "time-split"),
        live=True,
        new_items=True,
    ),
    Study("retail-time-split", "retail", "retail, time split", ("--protocol", "time-split")),
    Study(
        "beauty",
        "beauty",
        "Beauty, leave-one-out, validation events learned",
        ("--sequences", "--seen", "remove"),
        ALL_PAIRS,
    ),
    Study("ml-100k", "ml-100k", "ML-100K, leave-one-out", ("--seen", "remove")),
    Study("movielens-small", "movielens-small", "movielens-small, leave-one-out"),
    Study(
        "wikispeedia-all-pairs",
        "wikispeedia",
        "wikispeedia, with pairs that fewer than five users met",
        ("--protocol", "sessions", "--session-gap", "0"),
        ALL_PAIRS,
    ),
    Study(
        "ml-100k-all-pairs",
        "ml-100k",
        "ML-100K, with pairs that fewer than five users met",
        ("--seen", "remove"),
        ALL_PAIRS,
    ),
    Study(
        "beauty-five-users",
        "beauty",
        "Beauty as published tables count, without pairs that fewer than five users met",
        ("--sequences", "--seen", "remove"),
        ("--hold-out-validation",),
    ),
)
"""In the order in which they are worth most when time is short."""


def files_of(study: Study, folders: Sequence[Path]) -> list[str] | None:
    """Returns the options that name the files of a study, or None where no folder has them."""
    return next((files for folder in folders if (files := event_files(folder / study.data))), None)


def event_files(place: Path) -> list[str]:
    """Returns the options that name the files of a data set; none if it has no such files."""
    if (place / "sequences.txt.gz").exists():
        return ["--events", str(place / "sequences.txt.gz")]
    if (place / "events.tsv.gz").exists():
        events, items = place / "events.tsv.gz", place / "items.jsonl.gz"
        return ["--events", str(events), "--items", str(items)]
    return []


def measure(study: Study, seed: int, files: list[str], work: Path) -> Run:
    """Trains and asks a model; what an interrupted call had finished in `work` is not done again.

    Raises CommandFailedError.
    """
    work.mkdir(parents=True, exist_ok=True)
    model, more = work / "model", [*study.options, "--seed", str(seed)]
    trained = _kept(
        work / "train.json",
        ["train", *files, *more, *study.train_options, "--out", str(model)],
    )
    run: Run = {
        "seed": seed,
        "command": _in_words(["train", *study.options, *study.train_options, "--seed", str(seed)]),
        "minutes": round(trained["seconds"] / 60, 1),
        **of_evaluation(trained["evaluation"]),
    }
    asked = ["evaluate", "--model", str(model), *files[:2], *more]
    if study.live:
        run["live"] = of_evaluation(_kept(work / "live.json", [*asked, "--live-popularity"]))
    if study.new_items:
        asked[asked.index("--protocol") + 1] = "new-items"
        run["new_items"] = of_evaluation(_kept(work / "new.json", asked))
        run["new_items_live"] = of_evaluation(
            _kept(work / "new-live.json", [*asked, "--live-popularity"])
        )
    return run


def of_evaluation(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Returns what is kept of a report: a row a scorer, for next items and for interests."""
    rows = []
    for found in evaluation["items"]:
        row = {"name": found["scorer"]}
        row |= {shown: round(found[name], 5) for name, shown in MEASURES.items()}
        row["HR@10 interval"] = _rounded(found["HR@10 interval"])
        for measure_name, ends in found.get("model minus this", {}).items():
            row[f"model minus this, {measure_name}"] = _rounded(ends)
        rows.append(row)
    interests = []
    for found in evaluation["interests"]["table"]:
        row = {"name": found["scorer"]}
        row |= {name: round(found[name], 5) for name in ("NLL", "top-3", "ECE")}
        for measure_name, ends in found.get("this minus model", {}).items():
            row[f"this minus model, {measure_name}"] = _rounded(ends)
        interests.append(row)
    return {
        "cases": evaluation["cases"],
        "users": evaluation["users"],
        "candidates": evaluation["candidates"],
        "rows": rows,
        "interests": interests,
        **_reliability_of(evaluation["interests"]),
    }


def _reliability_of(interests: dict[str, Any]) -> dict[str, Any]:
    """Returns what is kept of how reliable published interests are; nothing of older reports."""
    found = interests.get("reliability")
    if found is None:
        return {}
    kept = _without_bins(found)
    if "uncorrected" in found:
        kept["uncorrected"] = _without_bins(found["uncorrected"])
    return {"reliability": {**found, **kept}}


def _without_bins(found: dict[str, Any]) -> dict[str, Any]:
    """Returns the figures of the first and of the first five interests."""
    return {
        name: {key: value for key, value in found[name].items() if key != "bins"}
        for name in ("first", "first_five")
    }


def command_json(*words: str) -> Any:
    """Returns what a command of interest-stream prints with --json.

    Raises CommandFailedError.
    """
    line = [sys.executable, "-m", "stream.cli", *words, "--json"]
    done = subprocess.run(line, stdout=subprocess.PIPE, cwd=ROOT, check=False)
    if done.returncode:
        raise CommandFailedError(f"{_in_words(words)} ended with exit code {done.returncode}")
    return json.loads(done.stdout)


def _kept(place: Path, words: list[str]) -> Any:
    """Returns what a command printed, of its file where it has one."""
    if not place.exists():
        found = json.dumps(command_json(*words))
        place.write_text(found, encoding="utf-8")
    return json.loads(place.read_text(encoding="utf-8"))


def _in_words(words: Sequence[str]) -> str:
    return " ".join(("interest-stream", *words))


def _rounded(ends: Sequence[float]) -> list[float]:
    return [round(end, 5) for end in ends]
