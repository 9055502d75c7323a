"""Holds the closed list of metrics, in base units and with the prefix `interest_stream_`.

No user id or other unbounded value is ever a label.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)

SECONDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    300,
)
SIZES: Final = (1, 10, 100, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)


class Measured(Protocol):
    """Offers what is measured of the outcome of one batch."""

    applied: int
    replayed: int
    repeated: int
    erased: int
    suppressed: int
    lstm_only: int
    level: int
    step_seconds: float
    score_seconds: float
    users: list[bytes]
    rejects: list[Any]
    controls: list[str]


class Metrics:
    """Holds one registry a worker.

    It is made by `build_app`, never at import.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.labels: dict[str, tuple[str, ...]] = {}  # names of a metric's labels, by its name

        # what became of events and batches
        self.events = self._counter("events", "Events by what became of them.", ["result"])
        self.unknown_items = self._counter(
            "events_unknown_item", "Events about items that the model does not know."
        )
        self.other_actions = self._counter(
            "events_other_action", "Events whose action is not listed, which count as other."
        )
        self.dropped = self._counter(
            "events_dropped", "Events that their format leaves out on purpose.", ["reason"]
        )
        self.updates = self._counter(
            "updates_published", "Interest updates acknowledged by the broker."
        )
        self.withheld = self._counter(
            "updates_withheld", "Interest updates not sent at once, by --publish."
        )
        self.dead_letters = self._counter("dead_letters", "Bad records by reason.", ["reason"])
        self.controls = self._counter(
            "controls", "Requests about users' data that were carried out.", ["control"]
        )
        self.batches = self._counter("batches", "Batches committed to durable state.")
        self.rebalances = self._counter("rebalances", "Rebalances of the group seen.")

        # how long things take, and how large they are
        self.end_to_end = self._histogram(
            "end_to_end_seconds", "Broker append to the update's acknowledgement.", SECONDS
        )
        self.batch_events = self._histogram("score_batch_events", "Events in a batch.", SIZES)
        self.batch_users = self._histogram("score_batch_users", "Users scored in a batch.", SIZES)
        self.compute = self._histogram(
            "compute_seconds", "Decode, model and encode of a batch.", SECONDS
        )
        self.step = self._histogram("step_seconds", "LSTM steps of a batch.", SECONDS)
        self.score = self._histogram("score_seconds", "Language-model scoring of a batch.", SECONDS)

        # what the scoring budget does
        self.lstm_only = self._counter(
            "updates_lstm_only", "Updates that the scoring budget left to the LSTM alone."
        )
        self.score_level = self._gauge(
            "score_level",
            "Scoring budget: 0 full, 1 larger batches, 2 spaced, 3 most by the LSTM alone.",
        )
        self.score_batches = self._counter(
            "score_batches", "Batches by the level of the scoring budget.", ["level"]
        )

        # publishing, lag and what waits
        self.publish = self._histogram(
            "publish_seconds", "Updates sent until state acknowledged.", SECONDS
        )
        self.lag = self._gauge(
            "consumer_lag", "Events in the topic not yet applied.", ["topic", "partition"]
        )
        self.inflight = self._gauge("inflight_batches", "Batches computed and not yet durable.")

        # the states, and how they came back
        self.users = self._gauge("table_keys", "Users held.")
        self.state_bytes = self._gauge("state_bytes", "Memory allocated for user states.")
        self.recovery_seconds = self._gauge(
            "table_recovery_seconds", "Length of the last recovery."
        )
        self.recovered = self._counter(
            "table_recovered_records", "Changelog records read in recoveries."
        )
        self.rebuilt = self._counter(
            "states_rebuilt", "States rebuilt from their recent events after a model change."
        )
        self.regressions = self._counter(
            "state_regressions", "Changelog records older than one before: zombie writes."
        )

        # what the scores rest on
        self.popularity_as_of = self._gauge(
            "popularity_as_of_seconds", "Unix time of the popularity snapshot in use; 0: none."
        )
        self.model = Info("interest_stream_model", "The model in use.", registry=self.registry)

    def observe_outcomes(self, outcomes: Sequence[Measured], levels: Sequence[str]) -> None:
        """Records what became of the events of one job, a batch of each of some partitions.

        levels: the names of the scoring budget's levels.
        """
        self.batches.inc()
        for outcome in outcomes:
            self.events.labels("applied").inc(outcome.applied)
            self.events.labels("replayed").inc(outcome.replayed)
            self.events.labels("repeated").inc(outcome.repeated)
            if outcome.erased or outcome.suppressed or outcome.controls:
                self.events.labels("erased").inc(outcome.erased)
                self.events.labels("suppressed").inc(outcome.suppressed)
                for control in outcome.controls:
                    self.controls.labels(control).inc()
            self.events.labels("invalid").inc(len(outcome.rejects))
            for reject in outcome.rejects:
                self.dead_letters.labels(reject.reason).inc()
            self.lstm_only.inc(outcome.lstm_only)
        self.batch_events.observe(sum(outcome.applied for outcome in outcomes))
        self.batch_users.observe(sum(len(outcome.users) for outcome in outcomes))
        self.step.observe(sum(outcome.step_seconds for outcome in outcomes))
        self.score.observe(sum(outcome.score_seconds for outcome in outcomes))
        level = max(outcome.level for outcome in outcomes)
        self.score_level.set(level)
        self.score_batches.labels(levels[level]).inc()

    def text(self) -> bytes:
        """Returns all metrics in Prometheus text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, doc: str, labels: list[str] | None = None) -> Counter:
        self.labels[f"interest_stream_{name}"] = tuple(labels or ())
        return Counter(f"interest_stream_{name}", doc, labels or [], registry=self.registry)

    def _gauge(self, name: str, doc: str, labels: list[str] | None = None) -> Gauge:
        self.labels[f"interest_stream_{name}"] = tuple(labels or ())
        return Gauge(f"interest_stream_{name}", doc, labels or [], registry=self.registry)

    def _histogram(self, name: str, doc: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"interest_stream_{name}", doc, buckets=buckets, registry=self.registry)


def read_figures(text: str) -> dict[str, Any]:
    """Reads what the demo and the benchmarks show of a worker from the text of its metrics."""
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    number = {name: float(value) for name, value in values.items()}
    model = re.search(r'interest_stream_model_info\{.*?name="([^"]*)"', text)
    return {
        "applied": number.get('interest_stream_events_total{result="applied"}', 0.0),
        "updates": number.get("interest_stream_updates_published_total", 0.0),
        "batches": max(1.0, number.get("interest_stream_batches_total", 0.0)),
        "step": number.get("interest_stream_step_seconds_sum", 0.0),
        "score": number.get("interest_stream_score_seconds_sum", 0.0),
        "lag": sum(
            value
            for name, value in number.items()
            if name.startswith("interest_stream_consumer_lag")
        ),
        "users": number.get("interest_stream_table_keys", 0.0),
        "state_bytes": number.get("interest_stream_state_bytes", 0.0),
        "recovery_s": number.get("interest_stream_table_recovery_seconds", 0.0),
        "model": model.group(1) if model else "",
    }
