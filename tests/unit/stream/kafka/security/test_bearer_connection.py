"""A connection authenticates again before its session ends, and nothing is sent in between."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed
from aiokafka.protocol.admin import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse_v1,
    SaslHandShakeRequest,
    SaslHandShakeResponse_v1,
)

from stream.kafka.security.bearer_connection import (
    LEAST_S,
    RENEWED_AFTER,
    BearerConnection,
    HeedingAuthenticator,
)
from stream.kafka.security.tokens import TokenError

REFUSED = b'{"status":"invalid_token"}'


class Provider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka carries no types
    away = False

    async def token(self) -> str:
        if self.away:
            raise TokenError("nobody gives tokens")
        return "token"


class Wire:
    """Stands where aiokafka writes to the socket, and answers as a broker."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, session_ms: int = 10_000) -> None:
        self.sent: list[str] = []
        self.session_ms, self.refusal = session_ms, b""
        self.answering = asyncio.Event()
        self.answering.set()
        self.closed: list[Any] = []
        monkeypatch.setattr(AIOKafkaConnection, "send", lambda _, request, __=True: self(request))
        monkeypatch.setattr(
            AIOKafkaConnection, "close", lambda _, reason=None, exc=None: self.closed.append(exc)
        )

    def __call__(self, request: Any) -> Any:
        self.sent.append(type(request).__name__)
        return self._answer(request)

    async def _answer(self, request: Any) -> Any:
        await self.answering.wait()
        if isinstance(request, SaslHandShakeRequest):
            return SaslHandShakeResponse_v1(0, ["OAUTHBEARER"])
        if isinstance(request, SaslAuthenticateRequest):
            return SaslAuthenticateResponse_v1(0, None, self.refusal, self.session_ms)
        if self.closed:
            raise KafkaConnectionError("closed")
        return "answered"


def connection() -> BearerConnection:
    return BearerConnection(
        "broker",
        9093,
        security_protocol="SASL_SSL",
        sasl_mechanism="OAUTHBEARER",
        sasl_oauth_token_provider=Provider(),
    )


def test_a_session_is_renewed_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        for session_ms, seconds in ((10_000, 10 * RENEWED_AFTER), (1_000, LEAST_S), (0, None)):
            Wire(monkeypatch, session_ms)
            made, now = connection(), loop.time()
            await made._do_sasl_handshake()
            due = made._renewal
            assert (due is None) == (seconds is None)
            if due is not None and seconds is not None:
                assert due.when() - now == pytest.approx(seconds, abs=0.5)
                due.cancel()

    asyncio.run(body())


def test_requests_wait_while_a_connection_authenticates(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        wire, made = Wire(monkeypatch), connection()
        assert await made.send("before") == "answered"
        wire.answering.clear()
        renewal = asyncio.create_task(made._renew())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting = [asyncio.ensure_future(made.send(number)) for number in (1, 2.0)]
        await asyncio.sleep(0)
        assert wire.sent == ["str", "SaslHandShakeRequest"]
        wire.answering.set()
        assert await asyncio.gather(renewal, *waiting) == [None, "answered", "answered"]
        assert wire.sent[2:] == ["SaslAuthenticateRequest", "int", "float"]
        made.close()

    asyncio.run(body())


def test_while_no_token_can_be_had_the_session_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        wire, made = Wire(monkeypatch), connection()
        made._sasl_oauth_token_provider.away = True
        with caplog.at_level(logging.WARNING, "interest_stream"):
            await made._renew()
        assert not wire.sent
        assert not wire.closed
        assert made._renewal is not None, "and is asked for again"
        assert await made.send("request") == "answered"
        made.close()

    asyncio.run(body())
    assert "nobody gives tokens" in caplog.text


def test_a_session_that_is_refused_ends_and_what_waits_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body() -> None:
        wire, made = Wire(monkeypatch), connection()
        wire.refusal = REFUSED
        wire.answering.clear()
        renewal = asyncio.create_task(made._renew())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(made.send("request"))
        wire.answering.set()
        await renewal
        assert isinstance(wire.closed[0], SaslAuthenticationFailed)
        with pytest.raises(KafkaConnectionError):
            await waiting

    asyncio.run(body())


def test_a_refused_token_is_an_error_and_the_library_still_takes_it_for_none() -> None:
    """Its last line fails once aiokafka reads the answer; then HeedingAuthenticator can go."""

    async def body(kind: type[OAuthAuthenticator]) -> Any:
        authenticator = kind(sasl_oauth_token_provider=Provider())
        first, _ = await authenticator.step(None)
        assert first == b"n,,\x01auth=Bearer token\x01\x01"
        return await authenticator.step(REFUSED)

    with pytest.raises(SaslAuthenticationFailed, match="invalid_token"):
        asyncio.run(body(HeedingAuthenticator))
    assert asyncio.run(body(OAuthAuthenticator)) is None
