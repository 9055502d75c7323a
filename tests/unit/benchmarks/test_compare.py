"""Checks the comparison of pipelines, without measuring anything.

It is about what runs, what is kept of an interrupted one, and when it warns.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks import compare, report
from tests.benchmarks.forms import FORMS, plan

TASKS = list(plan(FORMS, ["null", "real"], 5_000, None, repeats=2, many_repeats=1))


def _run(form: str, rate: float, **more: object) -> dict[str, object]:
    return {
        "form": form,
        "model": "null",
        "users": 5_000,
        "events": 400_000,
        "repeat": 0,
        "events_per_s": rate,
        **more,
    }


def test_repeats_of_a_form_are_far_apart() -> None:
    places = [place for place, task in enumerate(TASKS) if task.kind == TASKS[0].kind]
    assert len(places) == 2
    assert places[1] == len(TASKS) // 2


def test_many_users_only_for_forms_that_keep_their_state() -> None:
    many = list(plan(FORMS, ["null"], 1_000_000, None, repeats=5, many_repeats=2))
    assert {task.repeat for task in many} == {0, 1}
    assert all(task.form.keeps and not task.form.slow and not task.form.limit for task in many)


def test_resuming_keeps_sound_runs_of_this_revision_only(tmp_path: Path) -> None:
    out = tmp_path / "runs.json"
    runs = [
        _run("interest-stream", 1.0, revision="here"),
        _run("Faust, take", 1.0, revision="elsewhere"),
        _run("Bytewax, shard", 0.0, revision="here", failed="no rate"),
        _run("aiokafka loop", 1.0, revision="here", repeat=7),
    ]
    out.write_text(json.dumps(runs))
    assert compare.sound_runs(out, TASKS, "here") == runs[:1]


@pytest.mark.parametrize(("rate", "word"), [(100.0, "ok"), (70.0, "WARNING")])
def test_a_ratio_that_has_fallen_is_a_warning(
    rate: float, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = report.grouped([_run("interest-stream", rate), _run("aiokafka loop", 50.0)])
    report.warn_of_regressions(groups, {"null 5000": {"aiokafka loop": 2.0}})
    assert word in capsys.readouterr().err


def test_tables_hold_median_and_spread(capsys: pytest.CaptureFixture[str]) -> None:
    rates = [_run("interest-stream", rate) for rate in (300.0, 100.0, 200.0)]
    report.show_markdown(
        [*rates, _run("aiokafka loop", 100.0), _run("Faust, take", 0.0, failed="no rate")]
    )
    out = capsys.readouterr().out
    assert "| **interest-stream** | 200 | 100 | 300 | 3 |" in out
    assert "2.00x" in out
    assert "Faust" not in out
