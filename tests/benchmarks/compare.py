"""interest-stream beside stock Faust: the same events, model and machine, runs interleaved; medians and ranges.

    python tests/benchmarks/compare.py --broker kafka://127.0.0.1:19092 [--repeats 3] [--json]

Stock Faust is measured over a window, because it would need minutes for the whole backlog.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import click
from aiokafka import AIOKafkaConsumer, TopicPartition
from rich.console import Console
from rich.table import Table

from models.predict import load_predictor
from stream import bench
from stream.config import DEFAULT_BROKER, Settings
from stream.topics import create_topics

WINDOW_S = 20.0


def stock_faust(settings: Settings, events: int, users: int) -> float:
    """Events/s of stock Faust, from its first published update on, over WINDOW_S."""
    settings = bench.fresh_settings(settings)
    items = load_predictor(None).info.items
    asyncio.run(create_topics(settings, 4, 1))
    asyncio.run(bench.produce_backlog(settings, events, users, items))
    script = Path(__file__).with_name("stock_faust.py")
    names = (settings.broker, settings.app_id, settings.events_topic, settings.updates_topic)
    process = subprocess.Popen([sys.executable, str(script), *names, "worker", "--without-web", "-l", "warn"])
    try:
        return asyncio.run(_rate(settings, process))
    finally:
        process.kill()
        process.wait()
        asyncio.run(bench.remove_topics(settings))


async def _rate(settings: Settings, process: subprocess.Popen[bytes]) -> float:
    async with AIOKafkaConsumer(bootstrap_servers=settings.bootstrap) as consumer:
        partitions = [TopicPartition(settings.updates_topic, each) for each in range(4)]

        async def published() -> int:
            assert process.poll() is None, "stock Faust ended"
            return int(sum((await consumer.end_offsets(partitions)).values()))

        while (first := await published()) == 0:  # noqa: ASYNC110 another process changes it
            await asyncio.sleep(0.1)
        started = time.perf_counter()
        await asyncio.sleep(WINDOW_S)
        return (await published() - first) / (time.perf_counter() - started)


@click.command()
@click.option("--broker", default=DEFAULT_BROKER)
@click.option("--events", default=400_000)
@click.option("--users", default=5_000)
@click.option("--repeats", default=3)
@click.option("--json", "as_json", is_flag=True)
def main(broker: str, events: int, users: int, repeats: int, as_json: bool) -> None:
    """Run both, interleaved."""
    settings, items = Settings(broker=broker), load_predictor(None).info.items
    ours: list[float] = []
    null: list[float] = []
    stock: list[float] = []
    for _ in range(repeats):
        for arguments, results in (([], ours), (["--null-model"], null)):
            result = bench.run_bench(
                settings, events=events, users=users, items=items, arguments=arguments, rate=0, seconds=0, say=_quiet
            )
            results.append(float(result.events_per_s))
        stock.append(stock_faust(settings, 100_000, users))
    rows = {
        "interest-stream, demo model": ours,
        "interest-stream, null model": null,
        "stock Faust, an event at a time, demo model": stock,
    }
    if as_json:
        click.echo(json.dumps(rows))
        return
    base = statistics.median(stock)
    table = Table("events/s", "median", "least", "most", "x stock Faust")
    for name, values in rows.items():
        median = statistics.median(values)
        table.add_row(name, f"{median:,.0f}", f"{min(values):,.0f}", f"{max(values):,.0f}", f"{median / base:.1f}")
    Console().print(table)


def _quiet(_text: str) -> None:
    """The comparison prints its own table."""


if __name__ == "__main__":
    main()
