"""The closed list of metrics, in base units, prefix `interest_stream_`. No user id or other unbounded value is ever a label."""

from __future__ import annotations

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
SIZES: Final = (1, 10, 100, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)


class Metrics:
    """One registry a worker; made by `build_app`, never at import."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.events = self._counter("events", "Events by what became of them.", ["result"])
        self.updates = self._counter("updates_published", "Interest updates acknowledged by the broker.")
        self.withheld = self._counter("updates_withheld", "Interest updates not sent at once, by --publish.")
        self.dead_letters = self._counter("dead_letters", "Bad records by reason.", ["reason"])
        self.batches = self._counter("batches", "Batches committed to durable state.")
        self.rebalances = self._counter("rebalances", "Rebalances of the group seen.")
        self.end_to_end = self._histogram(
            "end_to_end_seconds", "Broker append to the update's acknowledgement.", SECONDS
        )
        self.batch_events = self._histogram("score_batch_events", "Events in a batch.", SIZES)
        self.batch_users = self._histogram("score_batch_users", "Users scored in a batch.", SIZES)
        self.compute = self._histogram("compute_seconds", "Decode, model and encode of a batch.", SECONDS)
        self.step = self._histogram("step_seconds", "LSTM steps of a batch.", SECONDS)
        self.score = self._histogram("score_seconds", "Language-model scoring of a batch.", SECONDS)
        self.lstm_only = self._counter("updates_lstm_only", "Updates that the scoring budget left to the LSTM alone.")
        self.score_level = self._gauge(
            "score_level", "Scoring budget: 0 full, 1 larger batches, 2 spaced, 3 most by the LSTM alone."
        )
        self.score_batches = self._counter("score_batches", "Batches by the level of the scoring budget.", ["level"])
        self.publish = self._histogram("publish_seconds", "Updates sent until state acknowledged.", SECONDS)
        self.lag = self._gauge("consumer_lag", "Events in the topic not yet applied.", ["topic", "partition"])
        self.inflight = self._gauge("inflight_batches", "Batches computed and not yet durable.")
        self.users = self._gauge("table_keys", "Users held.")
        self.state_bytes = self._gauge("state_bytes", "Memory allocated for user states.")
        self.recovery_seconds = self._gauge("table_recovery_seconds", "Length of the last recovery.")
        self.recovered = self._counter("table_recovered_records", "Changelog records read in recoveries.")
        self.rebuilt = self._counter("states_rebuilt", "States rebuilt from their recent events after a model change.")
        self.regressions = self._counter("state_regressions", "Changelog records older than one before: zombie writes.")
        self.popularity_as_of = self._gauge(
            "popularity_as_of_seconds", "Unix time of the popularity snapshot in use; 0: none."
        )
        self.model = Info("interest_stream_model", "The model in use.", registry=self.registry)

    def text(self) -> bytes:
        """All metrics in Prometheus text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, doc: str, labels: list[str] | None = None) -> Counter:
        return Counter(f"interest_stream_{name}", doc, labels or [], registry=self.registry)

    def _gauge(self, name: str, doc: str, labels: list[str] | None = None) -> Gauge:
        return Gauge(f"interest_stream_{name}", doc, labels or [], registry=self.registry)

    def _histogram(self, name: str, doc: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"interest_stream_{name}", doc, buckets=buckets, registry=self.registry)
