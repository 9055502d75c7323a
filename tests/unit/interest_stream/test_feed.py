"""The feed: broken connections are made again, and what is missing is told."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import orjson
import pytest

from interest_stream import Service, http_calls
from interest_stream.answers import Gap
from stream.errors import DataError, ServiceError
from stream.serving.updates import read_update
from tests.support.scripted_server import answer, scripted, stream
from tests.support.serving import Service as Served
from tests.support.serving import on_a_port, service, update
from tests.support.waiting import until

RETRY = "retry: 1\n\n"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_calls, "FIRST_PAUSE_S", 0.001)


def event(user: str, offset: int) -> str:
    return f"event: update\nid: {offset}\ndata: {orjson.dumps(update(user, offset)).decode()}\n\n"


def test_after_a_break_it_goes_on_and_says_that_something_may_be_missing() -> None:
    async def program() -> None:
        gaps: list[Gap] = []
        answers = (
            stream(RETRY, event("anna", 1), event("berta", 2)[:40]),
            b"",
            answer(503),
            stream(RETRY, 'event: left-out\ndata: {"updates":3}\n\n', event("anna", 9)),
            stream(RETRY, event("anna", 10)),
        )
        async with scripted(*answers) as server, Service(server.url) as asked:
            async with aclosing(asked.feed(on_gap=gaps.append)) as feed:
                found = [(await anext(feed)).source.offset for _ in range(3)]
            assert found == [1, 9, 10]
            assert [each.updates for each in gaps] == [None, 3, None]
            assert "connection broke" in gaps[0].reason

    asyncio.run(program())


def test_a_gap_that_nobody_wants_to_know_stands_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def program() -> None:
        answers = stream(RETRY, event("anna", 1)), stream(RETRY, event("anna", 2))
        async with (
            scripted(*answers) as server,
            Service(server.url) as asked,
            aclosing(asked.feed()) as feed,
        ):
            assert [(await anext(feed)).source.offset for _ in range(2)] == [1, 2]

    asyncio.run(program())
    assert "left out an unknown number of updates" in caplog.text


def test_it_ends_with_a_reason() -> None:
    async def program() -> None:
        denied = answer(401, '{"detail": "an API key is needed"}')
        async with scripted(denied) as server, Service(server.url) as asked:
            with pytest.raises(ServiceError, match="an API key is needed") as caught:
                await anext(asked.feed())
            assert caught.value.status == 401
            assert len(server.asked) == 1
        async with scripted(answer(503)) as server, Service(server.url, retry_for_s=0.05) as asked:
            with pytest.raises(ServiceError, match="status 503"):
                await anext(asked.feed())
            assert len(server.asked) > 1
        for told in ("event: update\ndata: 5\n\n", "event: left-out\ndata: many\n\n"):
            async with scripted(stream(told)) as server, Service(server.url) as asked:
                with pytest.raises(DataError, match="GET /v1/feed"):
                    await anext(asked.feed())

    asyncio.run(program())


def test_of_the_real_service_it_takes_what_is_wanted(tmp_path: Path) -> None:
    async def program(served: Served) -> None:
        async with on_a_port(served.client.app) as url, Service(url) as asked:
            feed = asked.feed(user="anna", interest="books")
            async with aclosing(feed):
                first = asyncio.create_task(anext(feed))
                await until(lambda: len(served.feed))
                for number, user in enumerate(("berta", "anna")):
                    value = orjson.dumps(update(user, number))
                    published = read_update(user.encode(), value)
                    assert published is not None
                    served.feed.publish(published, value)
                found = await first
            assert (found.user_id, found.source.offset) == ("anna", 1)
            served.feed.end()

    served = service(tmp_path)
    try:
        asyncio.run(program(served))
    finally:
        served.close()
