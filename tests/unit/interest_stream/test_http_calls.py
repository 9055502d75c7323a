"""Requests to a service: what is sent again, for how long, and what an error says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from interest_stream import http_calls
from interest_stream.http_calls import Call, Calls, Endpoint, Reply
from stream.broker.ports import free_ports
from stream.errors import ServiceError, SettingsError
from tests.support.scripted_server import answer, scripted

KEY = "is_secret"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_calls, "FIRST_PAUSE_S", 0.001)


async def ask(url: str, retry_for_s: float = 60, **more: Any) -> Reply:
    call = Call(method="POST", path="/v1/x%2Fy", route="POST /v1/x", **more)
    calls = Calls(Endpoint(url=url, key=KEY, retry_for_s=retry_for_s))
    calls.open()
    try:
        return await calls.ask(call)
    finally:
        await calls.close()


@pytest.mark.parametrize("first", [b"", answer(503), answer(502), answer(429)])
def test_what_is_away_is_asked_again(first: bytes) -> None:
    async def program() -> None:
        async with scripted(first, first, answer(200, '"at last"')) as server:
            reply = await ask(server.url + "/base/", query={"a": "b +&"}, body=b"[1]")
            assert (reply.status, reply.body) == (200, b'"at last"')
            assert len(server.asked) == 3
            head, _, body = server.asked[-1].partition(b"\r\n\r\n")
            assert head.startswith(b"POST /base/v1/x%2Fy?a=b+%2B%26 HTTP/1.1\r\n")
            assert f"Authorization: Bearer {KEY}".encode() in head
            assert body == b"[1]"

    asyncio.run(program())


def test_what_would_count_twice_is_sent_again_only_if_it_was_not_looked_at() -> None:
    async def program() -> None:
        async with scripted(b"", answer(200)) as server:
            with pytest.raises(ServiceError, match="may have taken the request or not") as caught:
                await ask(server.url, repeatable=False)
            assert caught.value.status == 0
            assert len(server.asked) == 1
        async with scripted(answer(503), answer(200)) as server:
            assert (await ask(server.url, repeatable=False)).status == 503
        async with scripted(answer(429), answer(200)) as server:
            assert (await ask(server.url, repeatable=False)).status == 200

    asyncio.run(program())


def test_it_waits_as_long_as_it_is_asked_to_and_no_longer_than_it_may() -> None:
    async def program() -> None:
        loop = asyncio.get_running_loop()
        async with scripted(answer(503, "{}", "Retry-After: 1"), answer(200)) as server:
            begin_s = loop.time()
            assert (await ask(server.url)).status == 200
            assert loop.time() - begin_s >= 1
        async with scripted(answer(503, "{}", "Retry-After: 61")) as server:
            assert (await ask(server.url)).retry_after_s == 61
            assert len(server.asked) == 1
        async with scripted(answer(503)) as server:
            assert (await ask(server.url, retry_for_s=0.05)).status == 503
            assert len(server.asked) > 1
        (port,) = free_ports(1)
        with pytest.raises(ServiceError, match=r"cannot be reached.*is it running there") as caught:
            await ask(f"http://127.0.0.1:{port}", retry_for_s=0.05)
        assert caught.value.status == 0

    asyncio.run(program())


def test_a_redirect_is_not_followed_with_the_key() -> None:
    async def program() -> None:
        async with scripted(answer(302, "", "Location: http://127.0.0.1:1/")) as server:
            error = (await ask(server.url)).error()
            assert error.status == 302
            assert "leads elsewhere" in str(error)

    asyncio.run(program())


def test_an_error_says_what_the_answer_said() -> None:
    body = b'{"detail": "no profile names this interest", "near": ["Camping"], "status": 422}'
    error = Reply(422, body, None, "GET /v1/segments").error()
    expected = 'GET /v1/segments: no profile names this interest ({"near": ["Camping"]})'
    assert str(error) == expected
    assert (error.status, error.problem["near"]) == (422, ["Camping"])
    foreign = Reply(404, b"<html>", None, "GET /v1/status").error()
    assert "status 404, and not a word of interest-stream" in str(foreign)
    assert Reply(500, b"[1]", None, "GET /v1/status").error().problem == {}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"url": "127.0.0.1:8080"}, "url"),
        ({"url": "ftp://host"}, "url"),
        ({"url": "http://host:port"}, "url"),
        ({"url": "http://user:secret@host"}, "url"),
        ({"url": "http://host/?a=b"}, "url"),
        ({"url": "http://host", "key": ""}, "key"),
        ({"url": "http://host", "key": "one\nsecret"}, "key"),
        ({"url": "http://host", "key": "sécret"}, "key"),
        ({"url": "http://host", "timeout_s": 0}, "timeout_s"),
        ({"url": "http://host", "retry_for_s": -1}, "retry_for_s"),
    ],
)
def test_what_cannot_work_is_named(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named) as caught:
        Endpoint(**wrong)
    assert "secret" not in str(caught.value)
    assert caught.value.setting == named


def test_a_file_of_authorities_is_read_at_the_start(tmp_path: Any) -> None:
    async def program() -> None:
        with pytest.raises(SettingsError, match=r"cafile .*missing.pem"):
            Calls(Endpoint(url="https://host", cafile=str(tmp_path / "missing.pem"))).open()
        with pytest.raises(ServiceError, match="closed"):
            await Calls(Endpoint(url="https://host")).ask(
                Call(method="GET", path="/", route="GET /")
            )

    asyncio.run(program())


def test_nothing_shows_the_key() -> None:
    assert KEY not in repr(Endpoint(url="http://host", key=KEY))
