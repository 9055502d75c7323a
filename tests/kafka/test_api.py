"""The Python API against a real Kafka and a worker: what is sent comes back as updates."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from interest_stream import (
    BadEvent,
    DataError,
    Event,
    Place,
    Producer,
    TopicError,
    Update,
    profile,
    subscribe,
)
from stream.broker.local_kafka import DEFAULT_PORT
from tests.support.pipelines import PATIENCE_S, Pipeline, make_pipeline, wait_until
from tests.support.programs import finished, running, shown_on

pytestmark = pytest.mark.kafka

ADDRESS = f"kafka://127.0.0.1:{DEFAULT_PORT}"


@pytest.fixture
def pipeline(kafka: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """A pipeline whose broker and topics stand in the environment, where the API finds them."""
    for pipeline in make_pipeline(kafka.url, kafka.unique, tmp_path):
        for name, value in pipeline.environment.items():
            if name.startswith("INTEREST_STREAM_"):
                monkeypatch.setenv(name, value)
        yield pipeline


def run(program: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(program, PATIENCE_S))


def view(user: str, number: int) -> Event:
    return Event(user, "view", int(time.time() * 1000), item_id=f"item-{number}")


async def first(updates: AsyncIterator[Update], count: int) -> list[Update]:
    return [await anext(updates) for _ in range(count)]


def test_what_is_sent_comes_back(pipeline: Pipeline) -> None:
    """Also: a bad event is not sent, one user is singled out, the profile is the last update."""
    pipeline.start("--null-model")

    async def program() -> None:
        async with (
            Producer() as producer,
            subscribe() as updates,
            subscribe(user="u2", from_beginning=True) as of_one,
        ):
            places = [await producer.send(view("u1", 1)), await producer.send(view("u2", 2))]
            found = {each.user_id: each for each in await first(updates, 2)}
            assert [found[user].source for user in ("u1", "u2")] == places
            assert found["u1"].model.name == "null"
            assert found["u1"].interests[0].probability == 0.5

            with pytest.raises(BadEvent, match="time is missing"):
                await producer.send({"user_id": "u1", "action": "view", "item_id": "a"})
            with pytest.raises(BadEvent, match=r"events\[1\]: item_id, title and query"):
                await producer.send_all([view("u1", 3), Event("u1", "view", 5)])

            more = await producer.send_all(view("u2", number) for number in range(3, 6))
            assert [each.offset for each in more] == sorted(each.offset for each in more)
            seen = await first(of_one, 1)
            while seen[-1].source.offset < more[-1].offset:
                seen += await first(of_one, 1)
            assert {each.user_id for each in seen} == {"u2"}
            assert seen[-1].events_seen == 4
            latest.append(seen[-1])

    async def look_up() -> None:
        assert [await profile("u2")] == latest
        assert await profile("nobody") is None

    latest: list[Update] = []
    run(program())
    pipeline.wait_applied()
    run(look_up())


def test_a_group_shares_the_updates_and_goes_on_where_it_left_off(pipeline: Pipeline) -> None:
    """The last update that was handed out may come again; none is missed."""
    worker = pipeline.start("--null-model")

    async def sent() -> None:
        async with Producer() as producer:
            for number in range(20):
                await producer.send(view(f"u{number}", number))

    run(sent())
    pipeline.wait_applied()
    assert worker.stop() == 0
    group = pipeline.settings.app_id + "-readers"

    async def read(count: int) -> list[str]:
        async with subscribe(group=group, from_beginning=True) as updates:
            return [each.user_id for each in await first(updates, count)]

    async def program() -> None:
        before = await read(8)
        after = await read(13)  # the eighth is read again: nobody asked for a ninth
        assert len(set(before)) == 8
        assert {*before, *after} == {f"u{number}" for number in range(20)}
        assert before[-1] in after
        assert not {*before[:-1]} & {*after}

    run(program())


def test_a_plain_loop_disconnects_when_it_is_cancelled(pipeline: Pipeline) -> None:
    """A client that stays connected is a warning, which fails a test."""

    async def program() -> None:
        async def loop() -> None:
            async for _ in subscribe():
                pass

        task = asyncio.create_task(loop())
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    run(program())


def test_what_is_missing_or_no_update_is_named(pipeline: Pipeline) -> None:
    async def program() -> None:
        with pytest.raises(TopicError, match="no-such-topic does not exist"):
            async with subscribe(updates_topic="no-such-topic"):
                pass
        with pytest.raises(TopicError, match="no-such-topic does not exist"):
            async with Producer(events_topic="no-such-topic"):
                pass
        async with Producer() as producer:
            place = await producer.send(view("u", 1))
        assert place == Place(pipeline.settings.events_topic, place.partition, 0)
        async with subscribe(updates_topic=place.topic, from_beginning=True) as events:
            with pytest.raises(DataError, match=rf"offset 0 of {place.topic}\[{place.partition}\]"):
                await anext(events)

    run(program())


def test_the_programs_of_the_page_run(pipeline: Pipeline, tmp_path: Path) -> None:
    """Each as it stands on docs/start/python.md, but for the address of the broker."""
    sends, subscribes, looks_up = shown_on("docs/start/python.md", ADDRESS, pipeline.url)
    pipeline.start()
    printed = finished(sends).splitlines()
    assert printed[0].startswith(f"in {pipeline.settings.events_topic}[")
    assert printed[1] == "not sent: item_id, title and query are all missing; send at least one"
    pipeline.wait_applied()
    log = tmp_path / "subscriber.log"
    with running(subscribes, log):
        wait_until(lambda: "user-7: Camping" in log.read_text(), "an update is printed")
    assert finished(looks_up).startswith("6 events, likely next: item-")


def test_the_program_of_the_readme_runs(pipeline: Pipeline, tmp_path: Path) -> None:
    """It begins now, so events are sent until it has joined its group and sees an update."""
    (subscribes,) = shown_on("README.md", ADDRESS, pipeline.url)
    pipeline.start("--null-model")
    log = tmp_path / "subscriber.log"

    async def send() -> None:
        async with Producer() as producer:
            await producer.send(view("user-7", 1))

    def is_printed() -> bool:
        run(send())
        return "user-7 interest-0 0.5 steady" in log.read_text()

    with running(subscribes, log):
        wait_until(is_printed, "an update is printed", interval_s=0.5)
