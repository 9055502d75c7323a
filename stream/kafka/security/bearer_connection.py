"""Keeps connections with a bearer token alive, and tells when a broker refuses the token.

A broker with `connections.max.reauth.ms` gives a session no longer life than its token has, and
closes the connection at the first request behind it. Kafka's own clients authenticate again before
that, on the same connection (KIP-368); aiokafka 0.14 does not, and it takes a refused token for an
accepted one (docs/understand/upstream/sessions-of-bearer-tokens.md).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, Final

from aiokafka import conn
from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator
from aiokafka.errors import KafkaError, SaslAuthenticationFailed
from aiokafka.protocol.admin import SaslAuthenticateRequest, SaslHandShakeRequest

from stream.kafka.security.tokens import TokenError
from stream.plain_text import plain

log = logging.getLogger("interest_stream")

RENEWED_AFTER: Final = 0.85
"""Of a session's life: behind the moment at which the provider has a new token (tokens.py)."""

LEAST_S: Final = 1.5
"""Between two authentications of a connection; a broker refuses a second one within one second."""

PAUSE_S: Final = 5.0
"""Between tries while no token can be had."""


def use_bearer_connections() -> None:
    """Makes all clients of this process connect so, from the next connection on."""
    # aiokafka makes its connections by this name in one function, and has no setting for it
    conn.AIOKafkaConnection = BearerConnection


class HeedingAuthenticator(OAuthAuthenticator):  # type: ignore[misc]  # aiokafka carries no types
    """Sends the token, and reads what comes back."""

    async def step(self, payload: bytes | None) -> Any:
        """Returns what to send next, None at the end; raises SaslAuthenticationFailed."""
        # a broker that refuses a token answers with the reason, in JSON, and says "failed" only
        # after another message of the client (RFC 7628, 3.2.2)
        if payload:
            raise SaslAuthenticationFailed(plain(payload.decode(errors="replace")))
        return await super().step(payload)


class BearerConnection(AIOKafkaConnection):  # type: ignore[misc]  # aiokafka carries no types
    """Authenticates again on the same connection, before its session ends."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._session_ms = 0  # as the broker said last; 0: without an end
        self._renewal: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None
        # cleared between the two messages of an authentication: the broker takes no other then
        self._open = asyncio.Event()
        self._open.set()

    def authenticator_oauth(self) -> HeedingAuthenticator:
        return HeedingAuthenticator(
            sasl_oauth_token_provider=self._sasl_oauth_token_provider,
        )

    async def _do_sasl_handshake(self) -> None:
        await super()._do_sasl_handshake()
        if self._session_ms > 0:
            self._renew_in(max(LEAST_S, self._session_ms / 1000 * RENEWED_AFTER))

    def send(self, request: Any, expect_response: bool = True) -> Awaitable[Any]:
        """Sends a request at once, or after the authentication that is under way."""
        if isinstance(request, SaslAuthenticateRequest):
            return self._authenticate(super().send(request, expect_response))
        if isinstance(request, SaslHandShakeRequest) or self._open.is_set():
            answer: Awaitable[Any] = super().send(request, expect_response)
            return answer
        return self._send_later(request, expect_response)

    def close(self, reason: Any = None, exc: BaseException | None = None) -> Any:
        """Closes the connection; what waits to be sent fails, as what was sent does."""
        if self._renewal is not None:
            self._renewal.cancel()
        closed = super().close(reason, exc)
        self._open.set()
        return closed

    async def _authenticate(self, answer: Awaitable[Any]) -> Any:
        """Returns the answer, and keeps how long the session lives."""
        found = await answer
        # version 0 of the answer, of brokers before 2.2, has no such field
        self._session_ms = getattr(found, "session_lifetime_ms", 0)
        return found

    async def _send_later(self, request: Any, expect_response: bool) -> Any:
        await self._open.wait()
        return await super().send(request, expect_response)

    def _renew_in(self, seconds: float) -> None:
        self._renewal = asyncio.get_running_loop().call_later(seconds, self._start_renewal)

    def _start_renewal(self) -> None:
        if self.connected():
            self._renewing = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        # the token first: once the handshake is sent the broker waits for it, and for nothing else
        try:
            await self._sasl_oauth_token_provider.token()
        except TokenError as error:
            log.warning("%s; trying again, connections end when their session does", error)
            self._renew_in(PAUSE_S)
            return
        self._open.clear()
        try:
            await self._do_sasl_handshake()
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("%s:%s ends our session (%s); connecting anew", self.host, self.port, error)
            self.close(conn.CloseReason.AUTH_FAILURE, error)
        finally:
            self._open.set()
