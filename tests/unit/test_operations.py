"""Dashboard, alert rules, manifests and runbook name what really exists."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from docs.generators.metrics import INFO_LABELS
from stream import errors
from stream.cli.root import COMMANDS
from stream.config import PREFIX, Settings
from stream.metrics import Metrics
from tests.support.pages import anchors

ROOT = Path(__file__).resolve().parents[2]
RUNBOOK = (ROOT / "docs/operate/runbook.md").read_text(encoding="utf-8")
ALERTS = (ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8")
DASHBOARD = json.loads((ROOT / "deploy/grafana/interest-stream.json").read_text(encoding="utf-8"))
SAMPLES = {
    "counter": ("_total",),
    "gauge": ("",),
    "info": ("_info",),
    "histogram": ("_bucket", "_sum", "_count"),
}
ALERT_QUERIES = re.findall(r"^ +expr: (.+)$", ALERTS, re.MULTILINE)
PANEL_QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
OF_PROMETHEUS = {"le", "instance", "job"}


def exported() -> dict[str, set[str]]:
    """Returns the names in Prometheus' text, each with its labels."""
    metrics = Metrics()
    names = {}
    for family in metrics.registry.collect():
        labels = INFO_LABELS if family.type == "info" else metrics.labels.get(family.name, ())
        names.update({family.name + suffix: set(labels) for suffix in SAMPLES[family.type]})
    return names


@pytest.mark.parametrize("query", ALERT_QUERIES + PANEL_QUERIES)
def test_every_query_names_metrics_and_labels_that_are_exported(query: str) -> None:
    names = set(re.findall(r"interest_stream_\w+", query))
    known = exported()
    assert names
    assert not names - known.keys()
    used = {
        label.strip()
        for group in re.findall(r"by \(([^)]*)\)", query)
        for label in group.split(",")
    }
    used |= set(re.findall(r"[{,]\s*(\w+)\s*[=!]", query))
    assert not used - set().union(*(known[name] for name in names)) - OF_PROMETHEUS


def test_all_queries_were_found() -> None:
    assert len(ALERT_QUERIES) == ALERTS.count("- alert:") > 0
    assert len(PANEL_QUERIES) >= len(DASHBOARD["panels"]) > 0
    legends = [
        target["legendFormat"] for panel in DASHBOARD["panels"] for target in panel["targets"]
    ]
    shown = {label for legend in legends for label in re.findall(r"{{(\w+)}}", legend)}
    assert shown <= set().union(*exported().values()) | OF_PROMETHEUS


def test_a_query_of_a_metric_that_does_not_exist_would_be_found() -> None:
    with pytest.raises(AssertionError):
        test_every_query_names_metrics_and_labels_that_are_exported(
            "rate(interest_stream_events[5m])"
        )
    with pytest.raises(AssertionError):
        test_every_query_names_metrics_and_labels_that_are_exported(
            "sum by (user) (interest_stream_consumer_lag)"
        )


def test_every_alert_leads_to_a_heading_of_the_runbook() -> None:
    targets = re.findall(r"runbook: docs/operate/runbook\.md#(\S+)", ALERTS)
    assert len(targets) == len(ALERT_QUERIES)
    assert set(targets) <= anchors(RUNBOOK)


def test_the_messages_name_every_error_that_ends_a_worker() -> None:
    page = (ROOT / "docs/operate/messages.md").read_text(encoding="utf-8")
    names = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and kind.__base__ is errors.Failure
    }
    of_other_commands = {"DataError", "ServiceError"}
    assert {name for name in names - of_other_commands if name not in page} == set()


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
    ours |= {
        f"{PREFIX}SASL_PASSWORD_FILE",
        f"{PREFIX}IMAGE",
    }  # the image's name is a variable of the compose file only
    assert set(re.findall(rf"{PREFIX}[A-Z_]+", text)) <= ours
    commands = set(re.findall(r"(?:command|args): \[([a-z]+)", text)) | set(
        re.findall(r'^CMD \["(\w+)"', text, re.M)
    )
    assert commands
    assert commands <= COMMANDS.keys()
