"""Measures the service: starts, memory, requests beside updates, from event to answer, a segment.

    python -m tests.benchmarks.serving                     # 1,000,000 profiles, some seven minutes
    python -m tests.benchmarks.serving --profiles 20000 --segment 2000 --seconds 10   # a small look

It brings a Kafka of its own, fills it with profiles in the bytes of a worker's encoder, and starts
`interest-stream serve` as a process. In this order: a cold start, which reads everything; a warm
one, which goes on; requests at a rate beside updates at a rate, and how long an update takes until
it is answered; all pages of a segment under the same load; the same delay through a worker with the
demo model. Everything runs on this machine: broker, service, whoever asks and whoever sends.
The exit code is 1 if an answer was wrong or missing. How fast it was fails nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
import orjson

from stream.broker.local_kafka import LocalKafka
from stream.broker.ports import free_ports
from tests.benchmarks.serving.open_loop import Client, Latencies, ask_at_rate, client_of, percentile
from tests.benchmarks.serving.population import PARTITIONS, Population
from tests.benchmarks.serving.segments import Walk, walk
from tests.benchmarks.serving.service import Service
from tests.benchmarks.serving.updates import Updates, made, producer_of, send_all
from tests.support import processes
from tests.support.pipelines import Pipeline, make_pipeline

MIX: Final = (
    ("profile", 75.0),
    ("items", 10.0),
    ("history", 9.0),
    ("ids by prefix", 2.0),
    ("segment", 2.5),
    ("segment, least probability", 0.5),
    ("interests", 0.5),
    ("status", 0.5),
)
"""Of 100 requests. Users are drawn evenly, so no cache helps; interests likewise."""

DRAWN: Final = 100_000
"""Requests that are drawn before the clock runs, and asked in turns."""

WORKER_S: Final = 30.0
WORKER_RATE: Final = 200.0
"""Events/s through the worker; one in ten is a user of its own who is asked for."""

Row = dict[str, Any]


@dataclass
class Report:
    """Holds the figures, as rows, and what was wrong."""

    rows: list[Row] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, condition: str, figure: str, unit: str, value: float) -> None:
        """Takes a figure and says it."""
        self.rows.append({"condition": condition, "figure": figure, "unit": unit, "value": value})
        say(f"  {figure}: {value:,.2f} {unit}")

    def add_spread(self, condition: str, what: str, seconds: list[float]) -> None:
        """Takes the middle and the end of latencies."""
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            self.add(condition, f"{what}, {name}", "ms", percentile(seconds, share) * 1000)

    def check(self, holds: bool, what: str) -> None:
        """Notes what was wrong."""
        if not holds:
            self.wrong.append(what)
            say(f"  WRONG: {what}")


def say(text: str) -> None:
    """Writes to standard error, so that the rows can be redirected."""
    click.echo(text, err=True)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Holds what is to be measured."""

    profiles: int
    segment: int
    requests_per_s: float
    updates_per_s: float
    seconds: float
    warm: bool
    worker: bool


class Measurement:
    """Measures one service over the topics of one pipeline."""

    def __init__(self, wanted: Wanted, pipeline: Pipeline, folder: Path) -> None:
        self._wanted, self._pipeline, self._settings = wanted, pipeline, pipeline.settings
        self._service = Service(folder / "data", pipeline.environment)
        self._population = Population(wanted.profiles, wanted.segment, self._settings.events_topic)
        self.report = Report()

    def run(self) -> None:
        """Measures everything that is wanted, in an order in which one thing needs the other."""
        self._fill()
        try:
            self._start()
            _run(self._load())
            if self._wanted.worker:
                _run(self._worker())
            condition = f"{self._wanted.profiles:,} profiles"
            self.report.add(
                condition, "highest memory of all", "MB", self._service.highest_memory_mb()
            )
        finally:
            self._service.stop()

    def _fill(self) -> None:
        population, begun = self._population, time.monotonic()
        say(f"producing {population.users:,} profiles")
        batches = population.all(self._settings)
        _run(send_all(self._settings, _told(batches, population)))
        say(
            f"  {population.bytes / population.records:,.0f} bytes each on average, "
            f"{time.monotonic() - begun:.0f} s"
        )

    def _start(self) -> None:
        report, service = self.report, self._service
        condition = f"{self._wanted.profiles:,} profiles"
        say("cold start")
        report.add(condition, "cold start until ready", "s", service.start())
        report.add(condition, "highest memory of a cold start", "MB", service.highest_memory_mb())
        report.add(condition, "processor time of it", "s", service.cpu_s())
        users = service.ask("/v1/status")[1]["users"]
        report.check(users == self._wanted.profiles, f"{users:,} users after the cold start")
        say("reading the updates, for histories")
        begun = time.monotonic()
        service.wait_for_history()
        report.add(condition, "then until histories are complete", "s", time.monotonic() - begun)
        report.add(condition, "file, with a history entry each", "MB", service.file_mb())
        if self._wanted.warm:
            say("warm start")
            service.stop()
            report.add(condition, "warm start until ready", "s", service.start())
            service.wait_for_history()

    async def _load(self) -> None:
        """Asks at a rate beside updates at a rate, and walks through the segment meanwhile."""
        wanted, report, before = self._wanted, self.report, self._population.member.copy()
        say(f"making the updates of {2 * wanted.seconds:.0f} s")
        batches = made(self._population, wanted.updates_per_s, 2 * wanted.seconds, self._settings)
        half = len(batches) // 2
        requests = itertools.cycle(list(itertools.islice(self._requests(), DRAWN)))
        condition = (
            f"{wanted.requests_per_s:,.0f} requests/s beside {wanted.updates_per_s:,.0f} updates/s"
        )
        async with client_of(self._service.port) as client:
            updates = Updates(self._settings, client)
            say(f"{condition}, {wanted.seconds:.0f} s")
            used = self._service.cpu_s()
            found, _ = await self._beside(client, requests, updates.run(batches[:half]))
            used = self._service.cpu_s() - used
            self._told_of_load(condition, found, updates, used / wanted.seconds)
            say("the same, and all pages of the segment")
            walking = asyncio.create_task(_later(walk, client, self._population, before, updates))
            found, _ = await self._beside(client, requests, updates.run(batches[half:]))
            self._told_of_walk(await walking)
            report.check(not found.failed, f"{found.failed} requests failed beside the walk")
            await self._check_everybody(client)

    async def _beside(
        self, client: Client, requests: Iterator[tuple[str, str]], work: Coroutine[Any, Any, Any]
    ) -> tuple[Latencies, Any]:
        """Asks at the rate as long as some work goes on."""
        over = asyncio.Event()
        asking = asyncio.create_task(
            ask_at_rate(client, requests, self._wanted.requests_per_s, over)
        )
        try:
            done = await work
        finally:
            over.set()
        return await asking, done

    def _told_of_load(
        self, condition: str, found: Latencies, updates: Updates, cores: float
    ) -> None:
        report, seconds = self.report, found.all
        report.add(condition, "requests answered", "requests", len(seconds))
        report.add_spread(condition, "any request", seconds)
        report.add(condition, "any request, longest", "ms", max(seconds) * 1000)
        for kind, share in MIX:
            if kind in found.by_kind:
                report.add_spread(condition, f"{kind} ({share:g} %)", found.by_kind[kind])
        report.add_spread(condition, "update to answer", updates.delays)
        report.add(condition, "cores that the service used", "cores", cores)
        report.check(not found.failed, f"{found.failed} requests failed")
        report.check(not updates.unseen, f"{updates.unseen} updates were never answered")

    def _told_of_walk(self, found: Walk) -> None:
        report = self.report
        condition = f"segment of {self._wanted.segment:,} under this load"
        report.add(condition, "first page of 1,000", "ms", found.first_page_s * 1000)
        report.add(condition, "slowest page", "ms", found.slowest_page_s * 1000)
        report.add(condition, f"all {found.pages} pages", "s", found.all_pages_s)
        report.add(condition, "count of the first page", "users", found.count)
        report.add(condition, "users shown", "users", found.shown)
        report.add(condition, "users shown twice", "users", found.twice)
        report.add(condition, "users whose profile changed meanwhile", "users", found.touched)
        report.add(condition, "others shown or left out wrongly", "users", found.wrong)
        report.check(found.holds, f"the segment's pages do not hold together: {found}")

    async def _check_everybody(self, client: Client) -> None:
        """Compares counts with what was sent, once all of it is read."""
        population, report = self._population, self.report
        path = f"/v1/segments?interest={quote(population.segment_name)}&limit=1"
        expected = int(population.member.sum())
        for _ in range(100):
            count = orjson.loads((await client.get(path))[1])["count"]
            if count == expected:
                break
            await asyncio.sleep(0.1)
        report.check(count == expected, f"the segment has {count}, and {expected} were sent")
        found = orjson.loads((await client.get("/v1/interests?active_since=all"))[1])["interests"]
        sums = sum(each["users"] for each in found)
        report.check(sums == 5 * population.users, f"all interests have {sums} users together")

    async def _worker(self) -> None:
        """Sends events, which a worker turns into updates, and asks until they are answered."""
        say("starting a worker with the demo model")
        self._pipeline.start()
        condition = f"through a worker, {WORKER_RATE:.0f} events/s and nothing beside"
        random_, items = random.Random(3), self._population.items
        async with client_of(self._service.port) as client, producer_of(self._settings) as producer:
            updates = Updates(self._settings, client)
            say(f"{condition}, {WORKER_S:.0f} s")
            started = time.perf_counter()
            for number in range(int(WORKER_RATE * WORKER_S)):
                due = started + number / WORKER_RATE
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                probed = number % 10 == 0
                user = f"probe-{number}" if probed else f"visitor-{random_.randrange(5_000)}"
                event = {
                    "user_id": user,
                    "action": "view",
                    "time": int(time.time() * 1000),
                    "item_id": random_.choice(items),
                }
                sent = await producer.send(
                    self._settings.events_topic, orjson.dumps(event), key=user.encode()
                )
                if probed:
                    sent.add_done_callback(partial(_probe, updates, user, due))
            await producer.flush()
            await updates.wait()
        self.report.add_spread(condition, "event to answer", updates.delays)
        self.report.check(not updates.unseen, f"{updates.unseen} events were never answered")

    def _requests(self) -> Iterator[tuple[str, str]]:
        """Yields kinds and paths of requests, in the proportions of the mix."""
        random_, population = random.Random(4), self._population
        kinds, shares = zip(*MIX, strict=True)
        interests = [quote(each) for each in population.interests]
        while True:
            (kind,) = random_.choices(kinds, shares)
            user = f"user-{random_.randrange(population.users):07d}"
            interest = random_.choice(interests)
            paths = {
                "profile": f"/v1/users/{user}",
                "items": f"/v1/users/{user}/items",
                "history": f"/v1/users/{user}/history",
                "ids by prefix": f"/v1/users?prefix={user[:-1]}",
                "segment": f"/v1/segments?interest={interest}",
                "segment, least probability": f"/v1/segments?interest={interest}"
                "&min_probability=0.3",
                "interests": "/v1/interests",
                "status": "/v1/status",
            }
            yield kind, paths[kind]


def _probe(updates: Updates, user: str, due: float, sent: asyncio.Future[Any]) -> None:
    """Asks for a user, once Kafka has said where their event is."""
    place = sent.result()
    updates.probe(f"/v1/users/{user}", place.partition, place.offset, due)


async def _later(work: Any, *arguments: Any) -> Any:
    """Does the work once the load has begun to flow."""
    await asyncio.sleep(2.0)
    return await work(*arguments)


def _told(batches: Iterator[Any], population: Population) -> Iterator[Any]:
    """Says now and then how far it is."""
    said = time.monotonic()
    for batch in batches:
        if time.monotonic() - said > 5:
            said = time.monotonic()
            say(f"  {population.records:,} made")
        yield batch


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """Runs work in the fastest loop that is installed; who measures should take little."""
    with suppress(ImportError):
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    return asyncio.run(work)


@click.command(help=(__doc__ or "").splitlines()[0])
@click.option("--profiles", default=1_000_000, show_default=True, type=click.IntRange(100))
@click.option("--segment", default=100_000, show_default=True, help="Users of it, at first.")
@click.option("--requests-per-second", "requests_per_s", default=1_000.0, show_default=True)
@click.option("--updates-per-second", "updates_per_s", default=2_000.0, show_default=True)
@click.option("--seconds", default=40.0, show_default=True, help="Of load, without and with pages.")
@click.option("--warm/--no-warm", default=True, show_default=True, help="A second start.")
@click.option("--worker/--no-worker", default=True, show_default=True, help="The real way, too.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows.")
@click.option("--folder", type=click.Path(path_type=Path), help="Of all files; they are removed.")
def main(as_json: bool, folder: Path | None, **given: Any) -> None:
    """Measures, prints, and ends with 1 where an answer was wrong."""
    wanted, begun = Wanted(**given), time.monotonic()
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory("-serving", dir=folder)))
        port, controller_port = free_ports(2)
        broker = LocalKafka(place / "kafka", port, controller_port)
        stack.callback(broker.kill)
        say("starting a Kafka")
        broker.start(timeout_s=300)
        making = make_pipeline(broker.url, lambda name: name, place, PARTITIONS)
        pipeline = next(making)
        stack.callback(lambda: next(making, None))
        pipeline.spawn = processes.spawn_new
        measurement = Measurement(wanted, pipeline, place)
        measurement.run()
    say(f"{time.monotonic() - begun:.0f} s in all")
    if as_json:
        click.echo(json.dumps(measurement.report.rows))
    for each in measurement.report.wrong:
        say(f"WRONG: {each}")
    sys.exit(bool(measurement.report.wrong))


if __name__ == "__main__":
    main()
