"""Writes the page of the metrics, from the registries of a worker and of `serve`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from docs.generators.markdown import Row, table
from stream.metrics import Metrics
from stream.serving.meters import Meters

SAMPLE_SUFFIX: Final = {"counter": "_total", "info": "_info"}
"""What Prometheus' text form adds to the name of a family; histograms have several samples."""

METRIC: Final = ("metric", "kind", "labels", "counts or measures")
INFO_LABELS: Final = ("fingerprint", "name", "version")


def metrics_page() -> str:
    """Returns the table of what a worker exports."""
    return f"""# Metrics

Each worker serves them at `/metrics` in Prometheus' text form, beside `/livez` and `/readyz`. No
label ever holds a user. Rules that alert on them are in
[deploy/prometheus/alerts.yml](../../deploy/prometheus/alerts.yml), a dashboard is
[deploy/grafana/interest-stream.json](../../deploy/grafana/interest-stream.json), and the
[runbook](../operate/runbook.md) says what to do.

{table(METRIC, metric_rows(Metrics()))}

## Of serve

[`interest-stream serve`](../operate/serve.md) has metrics of its own, at `/metrics` too. A route is
named by its template.

{table(METRIC, metric_rows(Meters()))}"""


def metric_rows(metrics: Metrics | Meters) -> Iterator[Row]:
    """Yields each metric with its kind, labels and meaning."""
    for family in metrics.registry.collect():
        name = family.name + SAMPLE_SUFFIX.get(family.type, "")
        labels = INFO_LABELS if family.type == "info" else metrics.labels.get(family.name, ())
        yield f"`{name}`", family.type, ", ".join(labels), family.documentation
