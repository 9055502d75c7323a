"""Draws the pictures of docs/operate/page: the page of `serve`, in a real browser.

    python -m docs.screenshots

Users are simulated, seven days of them, and every update is the demo model's own. No Kafka takes
part. Seed, clock, time zone and fonts are fixed, so the pictures change when the page does: they
are the same for the same Chromium. One is brought if there is none (tests/support/browsers.py).
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import msgspec
import orjson
from playwright.sync_api import Browser, Page

from interest_stream import Model
from models.model_files import described
from stream.contracts.event import Event
from stream.demo.truth import TruthFile
from stream.serving.overview.calibration import calibration_of
from stream.serving.overview.outcomes import Events
from stream.serving.overview.truth import Truth
from stream.serving.overview.workers import Look, Workers
from stream.serving.updates import Source, number_of, read_update
from stream.simulation.population import Population
from tests.support.browsers import chromium, running
from tests.support.page_service import PageService, page_service
from tests.support.serving import Record, Service

OUT: Final = Path(__file__).parent / "operate" / "page"
NOW_MS: Final = 1_795_014_000_000  # 2026-11-18 15:00 UTC
USERS: Final = 60
DAYS: Final = 7
LATE: Final = 1_000
"""Events of the last hour, and of the days before it."""
EARLY: Final = 2_600
BATCH: Final = 50
READ: Final = 24
"""Events of a user that an update is made from here."""
WATCHED: Final = "user-00007"
PICTURES: Final = (  # name, view, colours, width, height
    ("now", "now", "light", 1200, 900),
    ("user", f"user/{WATCHED}", "light", 1200, 1220),
    ("user-dark", f"user/{WATCHED}", "dark", 1200, 1220),
    ("segments", "segments/World%20History", "light", 1200, 860),
    ("health-dark", "health", "dark", 1200, 900),
    ("phone", f"user/{WATCHED}", "dark", 390, 844),
    ("phone-now", "now", "light", 390, 844),
)
READY: Final = {"now": ".stream", "user": ".lines", "segments": "#members td", "health": ".bin"}

LATEST: Final = list[Record]()
"""The updates that the live feed shows."""


class Shop(Events):
    """Stands for the topic of the events: gives those that were simulated."""

    def __init__(self, service: Service, events: dict[int, dict[str, Any]]) -> None:
        super().__init__(service.serving.settings)
        self._all = events

    async def read(self, user_id: str, places: Sequence[Source]) -> dict[int, Event]:
        """Returns the events at these offsets."""
        names = Event.__struct_fields__
        return {
            each.offset: Event(**{k: v for k, v in self._all[each.offset].items() if k in names})
            for each in places
        }


def times() -> list[int]:
    """Returns when events happen: busier by day than by night, and one hour in full."""
    chance = random.Random("screenshots")
    start, found = NOW_MS - DAYS * 86_400_000, list[int]()
    while len(found) < EARLY:
        at = chance.randrange(start, NOW_MS - 3_600_000)
        hour = at / 3_600_000 % 24
        if chance.random() < 0.55 - 0.45 * math.cos((hour - 3) * math.pi / 12):
            found.append(at)
    found += [chance.randrange(NOW_MS - 3_600_000, NOW_MS - 2_000) for _ in range(LATE)]
    return sorted(found)


def simulated(truth: TruthFile) -> tuple[list[Record], dict[int, dict[str, Any]]]:
    """Returns the updates of simulated users, and the events they are as of, by offset."""
    population = Population(USERS, seed=3)
    past: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    events, histories, seen = {}, [], []
    for offset, at in enumerate(times()):
        each = population.next_event(at)
        user = each.event["user_id"]
        truth.note(user, each.interest, at)
        past[user].append(each.event)
        events[offset] = each.event
        histories.append(past[user][-READ:])
        seen.append(len(past[user]))
    model = Model.load(demo=True)
    records = []
    for offset, (update, count) in enumerate(zip(model.rank(histories), seen, strict=True)):
        made = as_json(update)
        place = {"topic": "clickstream", "partition": offset % 4, "offset": offset}
        made |= {
            "source": place,
            "update_id": f"clickstream-{offset % 4}-{offset}",
            "events_seen": count,
            "published_at": made["time"] + 20,
        }
        user = made["user_id"]
        records.append(Record(user.encode(), orjson.dumps(made), made["time"] + 20))
    return records, events


def as_json(update: Any) -> dict[str, Any]:
    """Returns an update of the Python API as the JSON that workers publish."""
    found: dict[str, Any] = msgspec.to_builtins(update)
    found["because"] = [
        {name: each[name] for name in each if each[name] is not None} for each in found["because"]
    ]
    return {name: each for name, each in found.items() if each is not None}


def fill(made: Service, folder: Path) -> None:
    """Feeds a service with the simulation, as a follower would."""
    truth = TruthFile(folder / "truth.jsonl")
    records, events = simulated(truth)
    truth.close()
    overview, model = made.serving.overview, described(None)
    overview.truth = Truth(truth.path)
    overview.events = Shop(made, events)
    overview.touches = model.interests
    overview.calibration = calibration_of(model.fingerprint, model.report)
    made.serving.titles = model.titles
    LATEST.extend(records[-10:])
    made.store.apply([], [], {}, as_of_ms=NOW_MS - DAYS * 86_400_000)
    for start in range(0, len(records), BATCH):
        some = records[start : start + BATCH]
        made.feed_with(*some, updates=some)
    for each in records:
        update = read_update(each.key, each.value)
        assert update is not None
        made.outcomes.take(number_of(each.key), update)
    workers = overview.workers = Workers(made.serving.settings, lambda: NOW_MS)
    members = [
        {"client": f"interest-stream-{name}", "host": host, "partitions": partitions}
        for name, host, partitions in (("a", "10.0.0.11", [0, 2]), ("b", "10.0.0.12", [1, 3]))
    ]
    lags = [(0, 2_104, 3), (1, 2_099, 0), (2, 2_101, 1), (3, 2_096, 0)]
    partitions = [{"partition": p, "offset": at, "lag": lag} for p, at, lag in lags]
    workers.last, workers.problem = Look(NOW_MS - 1_000, "Stable", members, partitions), ""


def show_latest(page: Page, served: PageService) -> None:
    """Hands the last updates to a page that listens."""
    while not len(served.service.feed):
        page.wait_for_timeout(50)
    for each in LATEST:
        served.publish(each)
    page.locator(f".feed li:nth-child({len(LATEST)})").wait_for(state="attached")


def draw(browser: Browser, served: PageService) -> None:
    """Writes each picture."""
    OUT.mkdir(exist_ok=True)
    for name, view, colours, width, height in PICTURES:
        context = browser.new_context(
            base_url=served.address,
            viewport={"width": width, "height": height},
            color_scheme=colours,  # type: ignore[arg-type]
            locale="en-GB",
            timezone_id="UTC",
            reduced_motion="reduce",
        )
        page = context.new_page()
        page.clock.set_fixed_time(datetime.fromtimestamp(NOW_MS / 1000, UTC))
        page.goto(f"/#/{view}")
        page.locator(READY[view.partition("/")[0]]).first.wait_for()
        if view == "now":
            show_latest(page, served)
        path = OUT / f"{name}.png"
        page.screenshot(path=path)
        sys.stdout.write(f"{path.relative_to(OUT.parents[2])}: {path.stat().st_size // 1000} kB\n")
        context.close()


def main() -> None:
    """Draws everything."""
    with (
        tempfile.TemporaryDirectory() as folder,
        patch("time.time", lambda: NOW_MS / 1000),
        page_service(Path(folder), fill) as served,
        running(chromium()) as browser,
    ):
        draw(browser, served)


if __name__ == "__main__":
    main()
