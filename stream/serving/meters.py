"""Holds the closed list of metrics of a serving process, with the prefix `interest_stream_serve_`.

No id or other unbounded value is ever a label: a route is told by its template.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from stream.serving.following.messages import Progress

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Meters:
    """Holds one registry a process."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.labels: dict[str, tuple[str, ...]] = {}  # names of a metric's labels, by its name

        # requests
        self.requests = self._counter(
            "requests", "Requests by route, method and status.", "route", "method", "status"
        )
        self.seconds = self._histogram("request_seconds", "Request until its answer begins.")
        self.listeners = self._gauge("feed_listeners", "Who listens to the live feed now.")
        self.events = self._counter("events", "Events posted, by their verdict.", "verdict")

        self._answered: dict[tuple[str, str, int], Counter] = {}  # children of `requests`

        # what is read
        self.records = self._counter("records_read", "Records read, by topic.", "topic")
        self.foreign = self._counter("records_foreign", "Records that are no update: left out.")
        self.older = self._counter(
            "profiles_older", "Profiles that a newer one had overtaken: left out."
        )
        self.erased = self._counter("profiles_erased", "Nulls read: users who were erased.")
        self.lag = self._gauge(
            "lag_seconds", "Age of an answer: since the last end of the profiles that was reached."
        )

    def answered(self, route: str, method: str, status: int) -> None:
        """Counts a request; of its labels a parser and the routes know only so many."""
        labels = route, method, status
        if (counter := self._answered.get(labels)) is None:
            counter = self._answered[labels] = self.requests.labels(route, method, str(status))
        counter.inc()

    def take(self, progress: Progress) -> None:
        """Counts what was read since the follower last told."""
        self.records.labels("profiles").inc(progress.profiles)
        self.records.labels("updates").inc(progress.updates)
        self.foreign.inc(progress.foreign)
        self.older.inc(progress.older)
        self.erased.inc(progress.erased)

    def text(self) -> bytes:
        """Returns all metrics in Prometheus text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, doc: str, *labels: str) -> Counter:
        full = f"interest_stream_serve_{name}"
        self.labels[full] = labels
        return Counter(full, doc, labels, registry=self.registry)

    def _gauge(self, name: str, doc: str) -> Gauge:
        return Gauge(f"interest_stream_serve_{name}", doc, registry=self.registry)

    def _histogram(self, name: str, doc: str) -> Histogram:
        return Histogram(
            f"interest_stream_serve_{name}", doc, buckets=SECONDS, registry=self.registry
        )
