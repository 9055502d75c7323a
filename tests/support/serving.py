"""Makes records of profiles and updates, and a service over a store that was fed with them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from fastapi.testclient import TestClient
from starlette.types import ASGIApp

from stream.config import Settings
from stream.serving import queries
from stream.serving.app import build_app
from stream.serving.bodies import Incoming
from stream.serving.context import Readers, Serving
from stream.serving.erasures import Erasures, Sent
from stream.serving.feed import Feed
from stream.serving.guard import Guard, OpenGuard, Rates
from stream.serving.ingest import Ingest, Verdict
from stream.serving.meters import Meters
from stream.serving.overview.outcomes import Outcomes
from stream.serving.overview.parts import Overview
from stream.serving.process import Server, address_of, listen
from stream.serving.queries import Segment
from stream.serving.store import Store

NOW_MS = int(time.time() * 1000)
PROFILES, UPDATES = "interest-profiles", "interest-updates"
MODEL = {"name": "demo", "version": "1", "fingerprint": "9f1c5a0e77d2b413"}

Interests = dict[str, float]


@dataclass(frozen=True)
class Record:
    """A record as the consumer gives it."""

    key: bytes
    value: bytes | None
    timestamp: int = NOW_MS


def update(
    user: str, offset: int, interests: Interests | None = None, **more: Any
) -> dict[str, Any]:
    """An update of a user, as of the event at an offset of partition 0."""
    interests = interests or {"camping": 0.6, "books": 0.2}
    source = {"topic": "clickstream", "partition": 0, "offset": offset}
    fields: dict[str, Any] = {
        "schema": "interest-update/1",
        "update_id": f"clickstream-0-{offset}-{MODEL['fingerprint']}",
        "user_id": user,
        "time": NOW_MS - 1_000,
        "published_at": NOW_MS,
        "source": source,
        "model": MODEL,
        "events_seen": offset + 1,
        "interests": [
            {"interest": name, "probability": chance, "trend": "rising", "change": 0.1}
            for name, chance in interests.items()
        ],
        "items": [{"item_id": "item-0001", "score": 2.5}],
        "because": [{"item_id": "item-0002", "action": "view", "time": NOW_MS, "weight": 0.5}],
    }
    return fields | more


def record(
    user: str,
    offset: int,
    interests: Interests | None = None,
    timestamp: int = NOW_MS,
    **more: Any,
) -> Record:
    """A record with such an update."""
    value = orjson.dumps(update(user, offset, interests, **more))
    return Record(user.encode(), value, timestamp)


def null(user: str, timestamp: int = NOW_MS) -> Record:
    """The record of a user who was erased."""
    return Record(user.encode(), None, timestamp)


@dataclass
class Followed:
    """Stands for a follower that has read everything into a file."""

    store: Store
    ready: bool = True
    history_ready: bool = True
    as_of_ms: int = NOW_MS
    models: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def lag_ms(self, now_ms: int) -> int:
        return max(0, now_ms - self.as_of_ms)

    async def users_of(self, segment: Segment) -> int:
        with closing(self.store.reader()) as db:
            return queries.users_of(db, segment, self.store.count)

    def why_not_ready(self, now_ms: int) -> list[str]:
        return self.reasons if self.ready else ["the profiles are being read"]


class Taking(Ingest):
    """Stands for Kafka: every event is acknowledged, unless it is to fail."""

    def __init__(self, settings: Settings, meters: Meters, body_mapping: str = "") -> None:
        super().__init__(settings, meters, body_mapping)
        self.sent: list[Incoming] = []
        self.tried = 0
        self.fails = False

    async def send(self, record: Incoming) -> Verdict:
        self.tried += 1
        if self.fails:
            return Verdict("failed", message="Kafka is away")
        self.sent.append(record)
        return Verdict("taken", 0, len(self.sent) - 1)


class Asking(Erasures):
    """Stands for workers: notes what is asked, and says of it what the test wants."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, lambda _: 0)
        self.asked: list[tuple[str, bytes, int | None]] = []
        self.answer = ("waiting", "workers are at offset 3 of partition 0")

    async def ask(self, control: str, key: bytes, partition: int | None) -> Sent:
        self.asked.append((control, key, partition))
        return Sent(f"{control}-20261130T030000Z-00112233", partition or 0, 7, NOW_MS)

    async def state(self, sent: Sent) -> tuple[str, str]:
        return self.answer


@dataclass
class Service:
    """A service in memory, and its parts."""

    client: TestClient
    store: Store
    followed: Followed
    feed: Feed
    ingest: Taking
    erasures: Asking
    serving: Serving
    outcomes: Outcomes

    def feed_with(self, *profiles: Record, updates: Sequence[Record] = ()) -> None:
        """Takes records as if they had been read."""
        changes = self.store.apply(profiles, updates, {(PROFILES, 0): len(profiles)})
        self.followed.models |= changes.models

    def get(self, path: str, status: int = 200, **more: Any) -> Any:
        """The JSON of an answer with that status."""
        answer = self.client.get(path, **more)
        assert answer.status_code == status, answer.text
        return answer.json()

    def close(self) -> None:
        self.serving.readers.close()
        self.store.close()


def service(
    folder: Path,
    guard: Guard | None = None,
    rate: float = 1e6,
    body_mapping: str = "",
    **settings: Any,
) -> Service:
    """Returns a service over an empty store, without a broker."""
    chosen = Settings(**settings)
    store, meters, feed = Store(folder), Meters(), Feed()
    followed = Followed(store)
    ingest, erasures = Taking(chosen, meters, body_mapping), Asking(chosen)
    outcomes = Outcomes()
    serving = Serving(
        settings=chosen,
        readers=Readers(store.path),
        following=followed,
        feed=feed,
        ingest=ingest,
        erasures=erasures,
        guard=guard or OpenGuard(),
        rates=Rates(rate),
        meters=meters,
        titles={"item-0001": "Tent for two", "item-0002": "Camping stove"},
        pseudonym_key=chosen.pseudonym_key(),
        overview=Overview(outcomes=outcomes),
    )
    client = TestClient(build_app(serving), base_url="http://localhost")
    return Service(client, store, followed, feed, ingest, erasures, serving, outcomes)


@asynccontextmanager
async def on_a_port(app: ASGIApp) -> AsyncIterator[str]:
    """Serves an application in this event loop, by the server that `serve` has; gives its URL."""
    listening = listen("127.0.0.1", 0)
    config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none")
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield address_of(listening)
    finally:
        server.should_exit = True
        await serving
        listening.close()
