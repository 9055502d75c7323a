"""No figure of README and of docs/measured is older than its row: tables are what the rows say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.measured import pages, readme, rows, tables
from tests.benchmarks.measured.figures import Figures
from tests.benchmarks.measured.studies import of_evaluation
from tests.benchmarks.measured.targets import TARGETS

ROOT = rows.ROOT
SUMMARY = "docs/measured/index.md"


@pytest.mark.parametrize("page", pages.PAGES)
def test_the_tables_of_a_page_are_what_the_rows_say(page: str) -> None:
    place = ROOT / page
    if place.exists():
        text = place.read_text(encoding="utf-8")
        assert pages.rendered(page, text) == text, "run: python -m tests.benchmarks.measured pages"


def test_every_figure_of_the_summary_is_in_its_table() -> None:
    text = pages.BLOCK.sub("", (ROOT / SUMMARY).read_text(encoding="utf-8"))
    assert "measured:begin" not in text
    assert re.findall(r"\d\.\d", text) == []


def test_every_figure_that_was_reached_is_the_rounded_figure_of_a_row() -> None:
    files = [json.loads(place.read_text()) for place in rows.ROWS.glob("*.json")]
    known = [number for file in files for number in numbers(file)]
    found = [(target.what, target.outcome(Figures())) for target in TARGETS]
    for what, outcome in found:
        if outcome is None or "seeds" in outcome.reached:  # a mean of several is in no row
            continue
        for shown in re.findall(r"\d\.\d{4}", f"{outcome.reached} {outcome.beside}"):
            assert any(f"{number:.4f}" == shown for number in known), (what, shown)


def test_every_target_and_page_of_the_table_exists() -> None:
    for target in TARGETS:
        assert (ROOT / "docs" / "measured" / target.page).exists(), target.page


@pytest.mark.parametrize("place", sorted(rows.ROWS.glob("*.json")), ids=lambda place: place.stem)
def test_rows_say_how_they_were_measured(place: Path) -> None:
    found = json.loads(place.read_text(encoding="utf-8"))
    assert found["command"].startswith("python -m tests.benchmarks.measured ")
    assert len({run["code"] for run in found["runs"]}) == 1
    for run in found["runs"]:
        assert run["rows"]
        assert run.keys() >= {"command", "commit", "code", "date", "machine"}
        assert not run["commit"].endswith("-changed"), "measured with code that has no commit"


def test_without_rows_a_table_says_that_nothing_was_measured(tmp_path: Path) -> None:
    for page in ("README.md", "README.zh-CN.md"):
        empty = "<!-- measured:begin -->\nold 0.999\n<!-- measured:end -->"
        text = pages.rendered(page, empty, tmp_path)
        assert "0.999" not in text
        missing = readme.ENGLISH if page == "README.md" else readme.CHINESE
        assert text.count(missing["none"]) >= 4
    for name in tables.TABLES:
        empty = f"<!-- measured:begin {name} -->\nold 0.999\n<!-- measured:end -->"
        text = pages.rendered("page", empty, tmp_path)
        assert "0.999" not in text
        assert tables.NOT_MEASURED in text.lower()


def test_a_target_is_met_only_if_every_seed_is_ahead_of_every_baseline(tmp_path: Path) -> None:
    append_study(tmp_path, seed=0, lead=(0.01, 0.03))
    answered = pages.rendered(SUMMARY, block("targets"), tmp_path)
    assert line_of(answered, "ML-100K").endswith("| met |")
    append_study(tmp_path, seed=1, lead=(-0.01, 0.02))
    answered = pages.rendered(SUMMARY, block("targets"), tmp_path)
    assert line_of(answered, "ML-100K").endswith("| **missed** |")
    assert "0.2500 / 0.1500 (2 seeds)" in answered


def test_a_seed_is_measured_once_and_other_code_replaces_the_runs(tmp_path: Path) -> None:
    append_study(tmp_path, seed=0, lead=(0.01, 0.03))
    assert rows.has_run("accuracy-ml-100k", 0, "a", tmp_path)
    assert not rows.has_run("accuracy-ml-100k", 0, "b", tmp_path)
    append_study(tmp_path, seed=1, lead=(0.01, 0.03), code="b")
    found = rows.load("accuracy-ml-100k", tmp_path)
    assert found is not None
    assert [run["seed"] for run in found["runs"]] == [1]


def test_a_comment_leaves_the_fingerprint_and_a_changed_line_does_not(tmp_path: Path) -> None:
    for package in rows.PACKAGES:
        (tmp_path / package).mkdir()
    module = tmp_path / "models" / "one.py"
    module.write_text(
        '"""Says a thing."""\n\ndef one() -> int:\n    """Returns one."""\n    return 1\n'
    )
    before = rows.fingerprint(tmp_path)
    module.write_text("# new\ndef one() -> int:\n    return 1  # the least\n")
    assert rows.fingerprint(tmp_path) == before
    module.write_text("def one() -> int:\n    return 2\n")
    assert rows.fingerprint(tmp_path) != before


def block(name: str) -> str:
    """Returns an empty table of a page."""
    return f"<!-- measured:begin {name} -->\n<!-- measured:end -->"


def line_of(text: str, start: str) -> str:
    """Returns the row of a table that begins with a link so named."""
    return next(line for line in text.splitlines() if line.startswith(f"| [{start}"))


def append_study(folder: Path, *, seed: int, lead: tuple[float, float], code: str = "a") -> None:
    """Writes a run of ML-100K in which the model leads its one baseline by this interval."""
    figures = {"HR@10": 0.25, "NDCG@10": 0.15, "HR@20": 0.3, "HR@50": 0.4, "MRR@20": 0.1}
    evaluation: dict[str, Any] = {
        "cases": 1,
        "users": 1,
        "candidates": 1,
        "items": [
            {"scorer": "model", **figures, "HR@10 interval": [0.2, 0.3]},
            {
                "scorer": "popularity",
                **dict.fromkeys(figures, 0.1),
                "HR@10 interval": [0.0, 0.2],
                "model minus this": {"HR@10": lead, "NDCG@10": lead},
            },
        ],
        "interests": {"table": []},
    }
    machine = {"processor": "a processor", "vector": "none known", "cores": 1}
    run = {"seed": seed, "code": code, "commit": "abc", "date": "2026-01-01", "machine": machine}
    rows.append("accuracy-ml-100k", "", "", {**run, **of_evaluation(evaluation)}, folder)


def numbers(found: Any) -> list[float]:
    """Returns every number of a JSON value."""
    if isinstance(found, dict):
        return [number for each in found.values() for number in numbers(each)]
    if isinstance(found, list):
        return [number for each in found for number in numbers(each)]
    return [found] if isinstance(found, int | float) else []
