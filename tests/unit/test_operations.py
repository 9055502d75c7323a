"""Dashboard, alert rules, manifests and runbook name what really exists."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Counter, Gauge, Histogram, Info

from stream import errors
from stream.cli.root import COMMANDS
from stream.config import PREFIX, Settings
from stream.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
RUNBOOK = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
ALERTS = (ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8")
DASHBOARD = json.loads((ROOT / "deploy/grafana/interest-stream.json").read_text(encoding="utf-8"))
SAMPLES: dict[Any, tuple[str, ...]] = {
    Counter: ("_total",),
    Gauge: ("",),
    Info: ("_info",),
    Histogram: ("_bucket", "_sum", "_count"),
}
ALERT_QUERIES = re.findall(r"^ +expr: (.+)$", ALERTS, re.MULTILINE)
PANEL_QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
INFO_LABELS = {"name", "version", "fingerprint"}
OF_PROMETHEUS = {"le", "instance", "job"}


def families() -> list[Any]:
    return [each for name, each in vars(Metrics()).items() if name != "registry"]


def exported() -> dict[str, set[str]]:
    """Names in Prometheus' text, each with its labels."""
    names = {}
    for each in families():
        labels = INFO_LABELS if isinstance(each, Info) else set(each._labelnames)
        names.update({each._name + suffix: labels for suffix in SAMPLES[type(each)]})
    return names


def table() -> str:
    """The runbook's table of metrics."""
    rows = []
    for each in families():
        name = each._name + (SAMPLES[type(each)][0] if not isinstance(each, Histogram) else "")
        labels = ", ".join(sorted(INFO_LABELS) if isinstance(each, Info) else each._labelnames)
        rows.append(f"| `{name}` | {each._type} | {labels} | {each._documentation} |")
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize("query", ALERT_QUERIES + PANEL_QUERIES)
def test_every_query_names_metrics_and_labels_that_are_exported(query: str) -> None:
    names = set(re.findall(r"interest_stream_\w+", query))
    known = exported()
    assert names
    assert not names - known.keys()
    used = {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
    used |= set(re.findall(r"[{,]\s*(\w+)\s*[=!]", query))
    assert not used - set().union(*(known[name] for name in names)) - OF_PROMETHEUS


def test_all_queries_were_found() -> None:
    assert len(ALERT_QUERIES) == ALERTS.count("- alert:") > 0
    assert len(PANEL_QUERIES) >= len(DASHBOARD["panels"]) > 0
    legends = [target["legendFormat"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    shown = {label for legend in legends for label in re.findall(r"{{(\w+)}}", legend)}
    assert shown <= set().union(*exported().values()) | OF_PROMETHEUS


def test_a_query_of_a_metric_that_does_not_exist_would_be_found() -> None:
    with pytest.raises(AssertionError):
        test_every_query_names_metrics_and_labels_that_are_exported("rate(interest_stream_events[5m])")
    with pytest.raises(AssertionError):
        test_every_query_names_metrics_and_labels_that_are_exported("sum by (user) (interest_stream_consumer_lag)")


def test_the_runbook_lists_the_metrics_as_they_are() -> None:
    assert table() in RUNBOOK, "put this table into docs/runbook.md:\n" + table()


def test_every_alert_leads_to_a_heading_of_the_runbook() -> None:
    headings = {line[3:].lower().replace(" ", "-") for line in RUNBOOK.splitlines() if line.startswith("## ")}
    targets = re.findall(r"runbook: docs/runbook\.md#(\S+)", ALERTS)
    assert len(targets) == len(ALERT_QUERIES)
    assert set(targets) <= headings


def test_the_runbook_names_every_error_that_ends_a_worker() -> None:
    names = {name for name, kind in vars(errors).items() if isinstance(kind, type) and kind.__base__ is errors.Failure}
    of_other_commands = {"DataError"}
    assert {name for name in names - of_other_commands if name not in RUNBOOK} == set()


@pytest.mark.parametrize(
    "name",
    [
        "docker-compose.yml",
        "deploy/kubernetes/worker.yaml",
        "deploy/kubernetes/popularity.yaml",
        "deploy/Dockerfile",
    ],
)
def test_settings_and_commands_of_the_manifests_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    ours = {PREFIX + each.name.upper() for each in fields(Settings)}
    ours |= {f"{PREFIX}SASL_PASSWORD_FILE", f"{PREFIX}IMAGE"}  # the image's name is a variable of the compose file only
    assert set(re.findall(rf"{PREFIX}[A-Z_]+", text)) <= ours
    commands = set(re.findall(r"(?:command|args): \[([a-z]+)", text)) | set(re.findall(r'^CMD \["(\w+)"', text, re.M))
    assert commands
    assert commands <= COMMANDS.keys()
