"""Posting to a receiver: what is tried again, for how long, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from stream.clients import webhook as module
from stream.clients.webhook import Webhook
from stream.errors import ServiceError
from tests.support.scripted_server import Scripted, answer, scripted
from tests.support.waiting import until

SECRETS = [b"a" * 24]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.01)


def run(program: Callable[[Webhook, Scripted, list[str]], Awaitable[None]], *said: bytes) -> None:
    """Runs a program with a webhook to a receiver that answers so."""

    async def sending() -> None:
        told: list[str] = []
        async with (
            scripted(*said) as server,
            Webhook(f"{server.url}/in?token=secret", SECRETS, told.append) as webhook,
        ):
            await program(webhook, server, told)
            assert not any("secret" in each for each in told)

    asyncio.run(sending())


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_what_may_pass_is_tried_again_until_it_has(status: int) -> None:
    async def program(webhook: Webhook, server: Scripted, told: list[str]) -> None:
        assert await webhook.send("a-0-1-2", b"[1]", asyncio.Event())
        assert len(server.asked) == 4
        assert {each.partition(b"\r\n\r\n")[2] for each in server.asked} == {b"[1]"}
        assert all(b"webhook-id: a-0-1-2" in each for each in server.asked)
        assert all(b"webhook-signature: v1," in each for each in server.asked)
        assert f"the receiver answered {status}; tried 1 times" in told[0]
        assert told[1:] == ["the receiver takes updates again"]

    run(program, answer(status), b"", answer(status), answer(204, ""))


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410, 413, 422])
def test_what_is_refused_ends_it(status: int) -> None:
    async def program(webhook: Webhook, server: Scripted, told: list[str]) -> None:
        with pytest.raises(ServiceError, match=f"answered {status} to a-0-1-2") as caught:
            await webhook.send("a-0-1-2", b"[]", asyncio.Event())
        assert "secret" not in str(caught.value)
        assert len(server.asked) == 1
        assert not told

    run(program, answer(status, "", "Location: http://127.0.0.1:1/"))


def test_the_wait_is_as_long_as_was_asked_for_and_ends_when_nobody_wants_it() -> None:
    async def program(webhook: Webhook, server: Scripted, told: list[str]) -> None:
        unwanted = asyncio.Event()
        sending = asyncio.create_task(webhook.send("a-0-1-2", b"[]", unwanted))
        await until(lambda: told)
        assert "next try is in 3600.0 s" in told[0]
        await webhook.settled()
        unwanted.set()
        assert await sending is False
        assert await webhook.send("a-0-3-4", b"[]", unwanted) is False
        assert len(server.asked) == 1

    run(program, answer(503, "", "Retry-After: 99999"))
