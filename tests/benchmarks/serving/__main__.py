"""Measures the service: starts, memory, requests beside updates, from event to answer, a segment.

    python -m tests.benchmarks.serving                     # 1,000,000 profiles, some ten minutes
    python -m tests.benchmarks.serving --profiles 20000 --segment 2000 --seconds 10   # a small look

It brings a Kafka of its own, fills it with profiles in the bytes of a worker's encoder, and starts
`interest-stream serve` as a process. In this order: a cold start, which reads everything; a warm
one, which goes on; requests at a rate beside updates at a rate, and how long an update takes until
it is answered; all pages of a segment under the same load; the same delay through a worker with the
demo model. Everything runs on this machine: broker, service, whoever asks and whoever sends.

With `--folder` what was done stays, and the next run goes on behind it:

    python -m tests.benchmarks.serving --folder F --only fill --only start    # some five minutes
    python -m tests.benchmarks.serving --folder F --only load --only walk     # some three
    python -m tests.benchmarks.serving --folder F --only worker               # one

The exit code is 1 if an answer was wrong or missing. How fast it was fails nothing.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from stream.broker.local_kafka import LocalKafka
from stream.broker.ports import free_ports
from tests.benchmarks.serving.measurement import PARTS, Measurement, Wanted
from tests.benchmarks.serving.population import PARTITIONS
from tests.benchmarks.serving.report import say
from tests.support import processes
from tests.support.pipelines import make_pipeline


@click.command(help=(__doc__ or "").splitlines()[0])
@click.option("--profiles", default=1_000_000, show_default=True, type=click.IntRange(100))
@click.option("--segment", default=100_000, show_default=True, help="Users of it, at first.")
@click.option("--requests-per-second", "requests_per_s", default=1_000.0, show_default=True)
@click.option("--updates-per-second", "updates_per_s", default=2_000.0, show_default=True)
@click.option("--seconds", default=40.0, show_default=True, help="Of load, without and with pages.")
@click.option("--warm/--no-warm", default=True, show_default=True, help="A second start.")
@click.option("--worker/--no-worker", default=True, show_default=True, help="The real way, too.")
@click.option("--only", multiple=True, type=click.Choice(PARTS), help="Parts, repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Of all files, kept; default: none."
)
def main(as_json: bool, folder: Path | None, only: tuple[str, ...], **given: Any) -> None:
    """Measures, prints, and ends with 1 where an answer was wrong."""
    wanted, begun = Wanted(**given, only=only), time.monotonic()
    with ExitStack() as stack:
        if folder is None:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory("-serving")))
        else:
            place = folder
            place.mkdir(parents=True, exist_ok=True)
        port, controller_port = free_ports(2)
        broker = LocalKafka(place / "kafka", port, controller_port)
        stack.callback(broker.stop if folder else broker.kill)
        say("starting a Kafka")
        broker.start(timeout_s=300)
        making = make_pipeline(broker.url, lambda name: name, place, PARTITIONS)
        pipeline = next(making)
        stack.callback(lambda: next(making, None))
        pipeline.spawn = processes.spawn_new
        broker_pid = broker.status().pid
        assert broker_pid is not None
        measurement = Measurement(wanted, pipeline, place, broker_pid)
        measurement.run()
    say(f"{time.monotonic() - begun:.0f} s in this run; done: {', '.join(measurement.report.done)}")
    if as_json:
        click.echo(json.dumps(measurement.report.rows))
    for each in measurement.report.wrong:
        say(f"WRONG: {each}")
    sys.exit(bool(measurement.report.wrong))


if __name__ == "__main__":
    main()
