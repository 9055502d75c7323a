"""Measures one service, part by part; what a part needs of an earlier one is in the folder."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import orjson

from tests.benchmarks.serving.open_loop import Client, Latencies, ask_at_rate, client_of
from tests.benchmarks.serving.population import Batch, Population
from tests.benchmarks.serving.processor import Used
from tests.benchmarks.serving.report import Report, say
from tests.benchmarks.serving.segments import Walk, walk
from tests.benchmarks.serving.service import Service
from tests.benchmarks.serving.updates import TICK_S, Updates, made, producer_of, send_all
from tests.support.pipelines import Pipeline

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

WARM_S: Final = 10.0
"""Of load before it is measured. A broker that has just started compiles its own code for some
seconds, and takes half of two cores for it."""

WORKER_S: Final = 30.0
WORKER_RATE: Final = 200.0
"""Events/s through the worker; one in ten is a user of its own who is asked for."""


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
    only: tuple[str, ...] = ()  # parts; none: all


PARTS: Final = ("fill", "start", "load", "walk", "worker")


class Measurement:
    """Measures one service over the topics of one pipeline."""

    def __init__(self, wanted: Wanted, pipeline: Pipeline, folder: Path, broker_pid: int) -> None:
        self._wanted, self._pipeline, self._settings = wanted, pipeline, pipeline.settings
        self._service = Service(folder / "data", pipeline.environment)
        self._population = Population(wanted.profiles, wanted.segment, self._settings.events_topic)
        self._kept = folder / "population.npz"
        self._broker_pid = broker_pid
        self.report = Report.of(folder)
        if "fill" in self.report.done:
            self._population.load(self._kept)

    def run(self) -> None:
        """Measures the parts that are wanted and not done, in their order."""
        wanted, condition = self._wanted, f"{self._wanted.profiles:,} profiles"
        work: dict[str, Callable[[], None]] = {
            "fill": self._fill,
            "start": self._start,
            "load": lambda: _run(self._load()),
            "walk": lambda: _run(self._walk()),
            "worker": lambda: _run(self._worker()),
        }
        try:
            for part in PARTS:
                if part in self.report.done or (wanted.only and part not in wanted.only):
                    continue
                if part == "worker" and not wanted.worker:
                    continue
                if part not in ("fill", "start") and not self._service.runs:
                    self._service.start()
                    self._service.wait_for_history()
                work[part]()
                if part not in ("fill", "start"):
                    highest = self._service.highest_memory_mb()
                    self.report.add(f"{condition}, {part}", "highest memory", "MB", highest)
                self._population.save(self._kept)
                self.report.end(part)
            self._told_of_memory(condition)
        finally:
            self._service.stop()

    def _told_of_memory(self, condition: str) -> None:
        """Adds the highest memory of all parts, once the last one is done."""
        figure, last = "highest memory of all", PARTS[-1 if self._wanted.worker else -2]
        rows = self.report.rows
        if last in self.report.done and not any(row["figure"] == figure for row in rows):
            found = [row["value"] for row in rows if row["figure"].startswith("highest memory")]
            self.report.add(condition, figure, "MB", max(found))
            self.report.end("all")

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
        """Asks at a rate beside updates at a rate; what the first seconds show is not kept."""
        wanted = self._wanted
        both, requests = self._updates_and_requests(WARM_S + wanted.seconds)
        warm = round(WARM_S / TICK_S)
        first, batches = both[:warm], both[warm:]
        async with client_of(self._service.port) as client:
            say(f"{self._condition}, {WARM_S:.0f} s that do not count")
            await self._beside(client, requests(client), Updates(self._settings, client).run(first))
            updates = Updates(self._settings, client)
            say(f"{self._condition}, {wanted.seconds:.0f} s")
            used = Used(self._service.pids() | {"broker": self._broker_pid, "load": os.getpid()})
            begun = time.perf_counter()
            found, _ = await self._beside(client, requests(client), updates.run(batches))
            took_s = time.perf_counter() - begun
            self._told_of_load(found, updates)
            self._told_of_processors(found, updates, used.since(), took_s)

    async def _walk(self) -> None:
        """Walks through the segment, page by page, under the same load."""
        report, before = self.report, self._population.member.copy()
        batches, requests = self._updates_and_requests(self._wanted.seconds)
        async with client_of(self._service.port) as client:
            updates = Updates(self._settings, client)
            say(f"{self._condition}, and all pages of the segment")
            walking = asyncio.create_task(_later(walk, client, self._population, before, updates))
            found, _ = await self._beside(client, requests(client), updates.run(batches))
            self._told_of_walk(await walking)
            report.check(not found.failed, f"{found.failed} requests failed beside the walk")
            await self._check_everybody(client)

    @property
    def _condition(self) -> str:
        wanted = self._wanted
        return (
            f"{wanted.requests_per_s:,.0f} requests/s beside {wanted.updates_per_s:,.0f} updates/s"
        )

    def _updates_and_requests(
        self, seconds: float
    ) -> tuple[list[Batch], Callable[[Client], Iterator[tuple[str, bytes]]]]:
        """Returns what is sent, made before the clock runs."""
        say(f"making the updates of {seconds:.0f} s")
        batches = made(self._population, self._wanted.updates_per_s, seconds, self._settings)
        drawn = list(itertools.islice(self._requests(), DRAWN))
        # a search for garbage among all that was made takes 0.2 s, and would count as the service's
        gc.collect()
        gc.freeze()

        def requests(client: Client) -> Iterator[tuple[str, bytes]]:
            return itertools.cycle([(kind, client.request(path)) for kind, path in drawn])

        return batches, requests

    async def _beside(
        self, client: Client, requests: Iterator[tuple[str, bytes]], work: Coroutine[Any, Any, Any]
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

    def _told_of_load(self, found: Latencies, updates: Updates) -> None:
        report, seconds, condition = self.report, found.all, self._condition
        report.add(condition, "requests answered", "requests", len(seconds))
        report.add_spread(condition, "any request", seconds)
        report.add(condition, "any request, longest", "ms", max(seconds) * 1000)
        for kind, share in MIX:
            if kind in found.by_kind:
                report.add_spread(condition, f"{kind} ({share:g} %)", found.by_kind[kind])
        report.add_spread(condition, "update to answer", updates.delays)
        report.check(not found.failed, f"{found.failed} requests failed")
        report.check(not updates.unseen, f"{updates.unseen} updates were never answered")

    def _told_of_processors(
        self, found: Latencies, updates: Updates, used: dict[str, float], took_s: float
    ) -> None:
        """Adds what each process has used, of a core and for each thing that it did."""
        report, condition = self.report, f"processor time, {self._condition}"
        for name, seconds in used.items():
            report.add(condition, f"{name}: of a core", "%", 100 * seconds / took_s)
        answered = len(found.all) + updates.asked
        sent = sum(len(batch.users) for _, batch in updates.sent)
        for name, count, what in (
            ("who answers", answered, "a request"),
            ("who follows", sent, "an update"),
            ("load", answered, "a request, updates and their checks included"),
        ):
            report.add(condition, f"{name}: {what}", "µs", used[name] / count * 1e6)
        report.add(condition, "requests that looked for an update", "requests", updates.asked)

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
