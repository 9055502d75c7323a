"""The client of the HTTP service, against the service itself over a store without a broker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from interest_stream import (
    BadEvent,
    DataError,
    Event,
    Service,
    ServiceError,
    http_calls,
)
from interest_stream import service as module
from interest_stream.answers import Verdict
from interest_stream.service import Chosen
from stream.serving.guard import Caller, KeyGuard, hash_of
from tests.support.scripted_server import answer, scripted
from tests.support.serving import NOW_MS, null, on_a_port, record, service
from tests.support.serving import Service as Served
from tests.support.waiting import until

KEY = "is_secret"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A service over an empty store."""
    monkeypatch.setattr(http_calls, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "FIRST_POLL_S", 0.001)
    found = service(tmp_path)
    yield found
    found.close()


def run(served: Served, program: Callable[[Service], Awaitable[None]], /, **options: Any) -> None:
    """Runs a program that asks this service."""

    async def asking() -> None:
        async with on_a_port(served.client.app) as url, Service(url, **options) as asked:
            await program(asked)

    asyncio.run(asking())


def event(user: str = "anna", **more: Any) -> dict[str, Any]:
    return {"user_id": user, "action": "view", "time": NOW_MS, "item_id": "tent", **more}


@pytest.mark.parametrize("user", ["anna", "a/b ü?%2F", "..", "."])
def test_of_a_user_it_says_all_there_is(served: Served, user: str) -> None:
    first = record(user, 7)
    served.feed_with(first, updates=[first])

    async def program(asked: Service) -> None:
        assert await asked.users(user[:1]) == [user]
        profile = await asked.profile(user)
        assert profile is not None
        assert profile.update.user_id == user
        assert profile.update.source.offset == 7
        assert profile.update.interests[0].interest == "camping"
        assert profile.titles["item-0001"] == "Tent for two"
        assert profile.as_of == NOW_MS
        items = await asked.items(user)
        assert items is not None
        assert [(each.item_id, each.title) for each in items.items] == [
            ("item-0001", "Tent for two")
        ]
        assert items.source == profile.update.source
        history = await asked.history(user)
        assert history is not None
        assert history.complete
        assert history.changes[-1].interests[0].interest == "camping"
        served.feed_with(null(user))
        assert await asked.profile(user) is None
        assert await asked.items(user) is None
        assert await asked.history(user) is None

    run(served, program)


def test_a_segment_comes_page_by_page_and_whole(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 7)
    chances = {f"user-{number}": number / 100 for number in range(1, 31)}
    served.feed_with(
        *(
            record(user, number, {"camping": 0.5, "books": chance})
            for number, (user, chance) in enumerate(chances.items())
        )
    )

    async def program(asked: Service) -> None:
        members = [each async for each in asked.segment("books")]
        assert {each.user_id: each.probability for each in members} == chances
        assert len(members) == 30
        assert {(each.rank, each.trend) for each in members} == {(2, "rising")}
        likely: Chosen = {
            "min_probability": 0.25,
            "max_rank": 2,
            "trend": "rising",
            "active_since": "1d",
        }
        page = await asked.segment_page("books", limit=2, **likely)
        assert (page.count, len(page.users), page.interest) == (6, 2, "books")
        assert page.cursor
        rest = await asked.segment_page("books", limit=9, cursor=page.cursor, **likely)
        assert rest.cursor is None
        assert len({each.user_id for each in (*page.users, *rest.users)}) == 6
        found = await asked.interests(active_since="all")
        assert [(each.interest, each.users) for each in found.interests] == [
            ("books", 30),
            ("camping", 30),
        ]
        assert found.interests[0].trends["rising"] == 30
        with pytest.raises(ServiceError, match="no profile names this interest") as caught:
            await anext(asked.segment("bucks"))
        assert caught.value.status == 422
        assert caught.value.problem["near"] == ["books"]
        status = await asked.status()
        assert (status.ready, status.users, status.listeners) == (True, 30, 0)

    run(served, program)


def test_every_event_gets_its_verdict(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_EVENTS", 2)

    async def program(asked: Service) -> None:
        assert await asked.send(event()) == Verdict(0, "taken", 0, 0)
        of_class = Event("berta", "view", NOW_MS, item_id="tent", event_id="1")
        found = await asked.send_all([event(), {}, of_class, event(), of_class])
        assert [each.index for each in found] == [0, 1, 2, 3, 4]
        verdicts = ["taken", "refused", "taken", "taken", "repeated"]
        assert [each.verdict for each in found] == verdicts
        assert found[1].reason == "missing-field"
        assert found[1].message
        assert (await asked.send({})).verdict == "refused"
        assert await asked.send_all([]) == []
        with pytest.raises(BadEvent, match="cannot be written as JSON"):
            await asked.send({"user_id": object()})

    run(served, program)
    assert [each.key for each in served.ingest.sent] == [b"anna", b"anna", b"berta", b"anna"]


def test_while_kafka_is_away_an_event_is_sent_again_if_it_counts_once(served: Served) -> None:
    served.ingest.fails = True

    async def program(asked: Service) -> None:
        assert (await asked.send(event())).verdict == "failed"
        sending = asyncio.create_task(asked.send(event(event_id="1")))
        await until(lambda: served.ingest.tried >= 3)
        served.ingest.fails = False
        assert (await sending).verdict == "taken"

    run(served, program)


def test_a_service_that_goes_away_leaves_no_event_without_a_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_EVENTS", 2)
    taken = '{"verdicts": [{"index": 0, "verdict": "taken"}, {"index": 1, "verdict": "taken"}]}'

    async def program() -> None:
        async with scripted(answer(200, taken), b"") as server, Service(server.url) as asked:
            found = await asked.send_all([event() for _ in range(5)])
            assert [each.verdict for each in found] == ["taken"] * 2 + ["failed"] * 3
            assert [each.index for each in found] == [0, 1, 2, 3, 4]
            assert "taken the request or not" in str(found[-1].message)
            assert len(server.asked) == 2
            with pytest.raises(ServiceError, match="POST /v1/events: the connection broke"):
                await asked.send(event())

    asyncio.run(program())


def test_one_request_has_an_end(monkeypatch: pytest.MonkeyPatch, served: Served) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 300)

    async def program(asked: Service) -> None:
        events = [event(title="a" * size) for size in (10, 200, 10, 400, 10)]
        assert [each.verdict for each in await asked.send_all(events)] == ["taken"] * 5

    run(served, program)
    assert [len(each.value) > 300 for each in served.ingest.sent] == [0, 0, 0, 1, 0]


def test_an_erasure_is_waited_for(served: Served) -> None:
    async def program(asked: Service) -> None:
        erasure = await asked.erase("a/b", suppress=True)
        assert erasure.state == "waiting"
        assert "a/b" not in erasure.name
        assert (await asked.erasure(erasure.name)).why == "workers are at offset 3 of partition 0"
        waiting = asyncio.create_task(asked.erased(erasure))
        await asyncio.sleep(0)
        served.erasures.answer = ("done", "")
        assert (await waiting).state == "done"
        served.erasures.answer = ("refused", "it is not signed")
        refused = await asked.erased(await asked.erase("anna"))
        assert (refused.state, refused.why) == ("refused", "it is not signed")
        with pytest.raises(ServiceError, match="no erasure has this name"):
            await asked.erasure("nothing")

    run(served, program)
    assert [each[:2] for each in served.erasures.asked] == [
        ("suppress", b"a/b"),
        ("erase", b"anna"),
    ]


def test_a_key_opens_what_it_is_for(tmp_path: Path) -> None:
    callers = {hash_of(KEY): Caller("shop", frozenset(["profile"]))}
    served = service(tmp_path, KeyGuard(callers))
    served.feed_with(record("anna", 7))

    async def with_key(asked: Service) -> None:
        assert await asked.profile("anna")
        assert await asked.profile("berta") is None
        with pytest.raises(ServiceError, match="a key with the scope erase") as caught:
            await asked.erase("anna")
        assert caught.value.status == 403

    async def without(asked: Service) -> None:
        with pytest.raises(ServiceError, match="an API key is needed") as caught:
            await asked.profile("anna")
        assert caught.value.status == 401

    try:
        run(served, with_key, key=KEY)
        run(served, without)
    finally:
        served.close()


def test_it_waits_until_the_service_is_ready(served: Served) -> None:
    served.feed_with(record("anna", 7))
    served.followed.ready = False

    async def program(asked: Service) -> None:
        asking = asyncio.create_task(asked.profile("anna"))
        await until(lambda: b'status="503"' in served.serving.meters.text())
        served.followed.ready = True
        assert await asking

    run(served, program)


def test_another_server_is_no_user_of_whom_nothing_is_known() -> None:
    async def program() -> None:
        async with scripted(answer(404, "<html>")) as server, Service(server.url) as asked:
            with pytest.raises(ServiceError, match="status 404, and not a word"):
                await asked.profile("anna")
        for body in ("{}", "<html>", '{"profile": 5, "titles": {}, "as_of": 1, "lag_ms": 1}'):
            async with scripted(answer(200, body)) as server, Service(server.url) as asked:
                with pytest.raises(DataError, match=r"GET /v1/users/\{id\}"):
                    await asked.profile("anna")

    asyncio.run(program())
