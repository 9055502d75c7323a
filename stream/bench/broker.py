"""Finds the broker that a benchmark runs on, or starts one for as long as the benchmark takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from stream.broker.cleanup import Cleanup, run_in_loop
from stream.broker.local_kafka import serves, temporary_kafka
from stream.config import Settings
from stream.kafka.client import check_reachable

START_S: Final = 180.0
Result = TypeVar("Result")


def on_a_broker(
    settings: Settings,
    named: bool,
    announce: Callable[[str], None],
    measure: Callable[[Settings], Result],
) -> Result:
    """Calls `measure` with the settings of a broker that serves, and returns what it returns.

    `named`: the user has named the broker, so no other will do. Otherwise one is started in a
    temporary folder where none serves at the default address, and ended with all that it holds,
    also after Ctrl-C. Raises BrokerError when the named one does not answer or none can be started.
    """
    cleanup = Cleanup()

    def body() -> Result:
        if named or serves(settings.bootstrap[0]):
            run_in_loop(check_reachable(settings.bootstrap))
            return measure(settings)
        announce(f"no Kafka serves at {settings.broker}: starting one for this benchmark alone")
        kafka = temporary_kafka(cleanup, cleanup.temporary_folder("bench-kafka"), short_lived=False)
        kafka.start(START_S)
        return measure(replace(settings, broker=kafka.url))

    return cleanup.run(body)
