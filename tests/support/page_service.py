"""Runs a service on a port over made profiles of some days, for tests that look at its page."""

from __future__ import annotations

import asyncio
import random
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import uvicorn
from anyio import to_thread

from stream.contracts.event import Event
from stream.serving.app import build_app
from stream.serving.overview.outcomes import Events
from stream.serving.overview.truth import Truth
from stream.serving.overview.workers import Look, Workers
from stream.serving.process import Server, address_of, listen
from stream.serving.updates import Source, number_of, read_update
from tests.support.serving import MODEL, NOW_MS, Record, Service, service, update

INTERESTS: Final = ("camping", "chess", "jazz", "baking", "film noir", "gardening", "astronomy")
USERS: Final = 30
HOSTILE: Final = '<img src=x onerror="window.broken=1">'
DAY_MS: Final = 86_400_000
STARTED_S: Final = 60


@dataclass
class PageService:
    """A service that answers on a port, and what tests do to it meanwhile."""

    service: Service
    address: str
    loop: asyncio.AbstractEventLoop

    def publish(self, made: Record) -> None:
        """Hands an update to whoever listens, as the follower does."""
        said = read_update(made.key, made.value)
        assert said is not None
        assert made.value is not None
        self.loop.call_soon_threadsafe(self.service.feed.publish, said, made.value)


class Topic(Events):
    """Stands for the topic of the events: what came next was an item that was said to be likely,
    or another one."""

    async def read(self, user_id: str, places: Sequence[Source]) -> dict[int, Event]:
        return {
            each.offset: Event(
                user_id=user_id,
                action="add_to_cart" if each.offset % 5 == 0 else "view",
                time=NOW_MS,
                item_id=f"item-{each.offset % 3:04d}",
            )
            for each in places
        }


def interests_of(chance: random.Random, first: str) -> dict[str, float]:
    """Five interests and their probabilities, best first."""
    others = chance.sample([each for each in INTERESTS if each != first], 4)
    left, found = chance.uniform(0.35, 0.8), {first: 0.0}
    found[first] = round(left, 3)
    for each in others:
        left = left * chance.uniform(0.15, 0.5)
        found[each] = round(left, 3)
    return found


def updates_of(user: str, number: int) -> list[Record]:
    """Two days of a user whose interest changes now and then."""
    chance = random.Random(f"page-{number}")
    first, found = chance.choice(INTERESTS), []
    for place in range(60):
        if chance.random() < 0.25:
            first = chance.choice(INTERESTS)
        time = NOW_MS - round(2 * DAY_MS * ((59 - place) / 60) ** 2) - 5_000
        chances = interests_of(chance, first)
        interests = [
            {
                "interest": name,
                "probability": share,
                "trend": chance.choice(["rising", "fading", "new", "steady"]),
                "change": round(chance.uniform(-0.3, 0.3), 3),
            }
            for name, share in chances.items()
        ]
        because = [
            {"item_id": "item-0002", "action": "view", "time": time, "weight": 0.6},
            {"query": "a tent for <two>", "action": "search", "time": time - 9_000, "weight": 0.2},
        ]
        made = update(user, number + USERS * place, events_seen=place + 1)
        made |= {"interests": interests, "because": because}
        made |= {"time": time, "published_at": time + 40}
        found.append(Record(user.encode(), orjson.dumps(made), time + 40))
    return found


def fill(made: Service, folder: Path) -> None:
    """Puts users with a past into a service, and everything else that a page can show."""
    overview = made.serving.overview
    overview.touches = {"item-0000": ("chess", "jazz"), "item-0001": ("camping",)}
    overview.events = Topic(made.serving.settings)
    names = [*(f"user-{number:02d}" for number in range(USERS - 1)), HOSTILE]
    pasts = [updates_of(name, number) for number, name in enumerate(names)]
    heard = sorted((each for past in pasts for each in past), key=offset_of)
    made.feed_with(*(past[-2] for past in pasts), updates=heard)
    made.store.apply([], [], {}, as_of_ms=NOW_MS - 60_000)
    made.feed_with(*(past[-1] for past in pasts))
    for each in heard:
        said = read_update(each.key, each.value)
        assert said is not None
        made.outcomes.take(number_of(each.key), said)

    bins = [
        {"probability": share / 10, "happened": share / 10.5, "count": 400 - 30 * share}
        for share in range(11)
    ]
    overview.calibration = {
        "fingerprint": MODEL["fingerprint"],
        "of": "first",
        "protocol": "leave-one-out",
        "cases": 2_000,
        "gap": 0.012,
        "gap_interval": [-0.004, 0.03],
        "error": 0.02,
        "bins": bins,
    }
    workers = overview.workers = Workers(made.serving.settings, lambda: NOW_MS)
    members = [
        {"client": f"interest-stream-{each}", "host": "10.0.0.7", "partitions": [each, each + 2]}
        for each in range(2)
    ]
    partitions = [{"partition": each, "offset": 900 + each, "lag": each} for each in range(4)]
    workers.last, workers.problem = Look(NOW_MS, "Stable", members, partitions), ""
    file = folder / "truth.jsonl"
    lines = [
        {"user_id": "user-00", "time": NOW_MS - at, "interest": name}
        for at, name in ((DAY_MS, "chess"), (DAY_MS // 3, "jazz"), (60_000, "camping"))
    ]
    file.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in lines))
    overview.truth = Truth(file)


def offset_of(made: Record) -> Any:
    """The offset of the event that an update is as of."""
    return orjson.loads(made.value or b"")["source"]["offset"]


@contextmanager
def page_service(
    folder: Path, filled: Callable[[Service, Path], None] = fill
) -> Iterator[PageService]:
    """Yields a service that answers on a free port until the end."""
    made = service(folder)
    filled(made, folder)
    made.followed.lag_ms = lambda now_ms: 400  # type: ignore[method-assign]
    listening = listen("127.0.0.1", 0)
    config = uvicorn.Config(build_app(made.serving), log_config=None, lifespan="off", ws="none")
    server, loop = Server(config), asyncio.new_event_loop()
    started = threading.Event()

    async def serve() -> None:
        # one thread for all routes that ask the file: it outlives a test, and others come with none
        to_thread.current_default_thread_limiter().total_tokens = 1
        loop.call_soon(started.set)
        await server.serve(sockets=[listening])

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    try:
        assert started.wait(STARTED_S)
        address = address_of(listening)
        with urllib.request.urlopen(f"{address}/v1/pulse", timeout=STARTED_S):
            pass  # the thread is there before a test begins
        yield PageService(made, address, loop)
    finally:
        made.feed.end()
        server.should_exit = True
        thread.join(STARTED_S)
        loop.close()
        listening.close()
        made.close()
