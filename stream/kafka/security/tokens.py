"""Gets the bearer tokens by which a client says who it is, and keeps each until most of it is used.

aiokafka asks a provider for a token whenever a connection authenticates. A worker has two event
loops in two threads, so a provider blocks, in a thread of its own, behind a lock. A new token is
asked for after four fifths of the old one's life; while its giver is away the old one serves on.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import quote_plus, urlencode
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

from stream.config import AWS_MSK_IAM, OAUTHBEARER, Settings
from stream.errors import SettingsError
from stream.plain_text import plain

log = logging.getLogger("interest_stream")

ANSWER_S: Final = 10.0
MOST_ANSWER_BYTES: Final = 1 << 20
RENEWED_AFTER: Final = 0.8
"""Of a token's life, as Kafka's own clients have it (sasl.login.refresh.window.factor)."""

PAUSE_S: Final = 5.0
"""Between tries to renew a token that still serves."""

ASSUMED_S: Final = 300.0
"""Life of a token of which its giver does not say how long it lives (RFC 6749, 5.1)."""


class TokenError(KafkaError):  # type: ignore[misc]  # aiokafka carries no types
    """Says that no token can be had; a client tries to connect again, as after any KafkaError."""

    def __str__(self) -> str:
        return str(self.args[0])  # aiokafka would put the name of the class before it


@dataclass(frozen=True, slots=True)
class Token:
    """Holds a token and the seconds, by this machine's clock, between which it is used."""

    text: str
    begins: float
    ends: float

    @property
    def renewed_at(self) -> float:
        """Returns when a new one is asked for."""
        return self.begins + (self.ends - self.begins) * RENEWED_AFTER


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka carries no types
    """Hands out one token to all connections until it is time for the next one."""

    def __init__(
        self, fetch: Callable[[], Token], extensions: dict[str, str], now: Any = time.time
    ) -> None:
        self._fetch, self._extensions, self._now = fetch, extensions, now
        self._lock = threading.Lock()
        self._held: Token | None = None
        self._not_before = 0.0  # of the next try

    async def token(self) -> str:
        """Returns a token that is valid now; raises TokenError."""
        return await asyncio.get_running_loop().run_in_executor(None, self._current)

    def extensions(self) -> dict[str, str]:
        """Returns what goes to the broker beside the token."""
        return self._extensions

    def _current(self) -> str:
        with self._lock:
            held, now = self._held, self._now()
            if held is None or now >= held.ends:
                self._held = held = self._fetch()
            elif now >= max(held.renewed_at, self._not_before):
                try:
                    self._held = held = self._fetch()
                except TokenError as error:
                    self._not_before = now + PAUSE_S
                    log.warning("%s; the token at hand serves for %.0f s", error, held.ends - now)
            return held.text


@lru_cache(maxsize=4)
def token_provider(settings: Settings) -> TokenProvider | None:
    """Returns what gives tokens to all clients with these settings, None if they need none."""
    if not settings.uses_sasl:
        return None
    if settings.sasl_mechanism == OAUTHBEARER:
        return TokenProvider(ClientCredentials(settings), settings.extensions)
    if settings.sasl_mechanism == AWS_MSK_IAM:
        return TokenProvider(SignedByAws(settings.aws_region), {})
    return None


class ClientCredentials:
    """Asks for a token with the id and the secret of a client (RFC 6749, 4.4)."""

    def __init__(self, settings: Settings) -> None:
        self._url, self._id = settings.oauth_token_url, settings.oauth_client_id
        # section 2.3.1: both are encoded as in a form before they are joined
        login = f"{quote_plus(self._id)}:{quote_plus(settings.oauth_client_secret)}"
        self._authorization = f"Basic {b64encode(login.encode()).decode()}"
        form = {"grant_type": "client_credentials"}
        form |= {"scope": settings.oauth_scope} if settings.oauth_scope else {}
        form |= {"audience": settings.oauth_audience} if settings.oauth_audience else {}
        self._form = urlencode(form).encode()
        self._opener = build_opener(HTTPSHandler(context=settings.oauth_tls_context()), _StayHere())

    def __call__(self) -> Token:
        """Returns a new token; raises TokenError, in which no secret stands."""
        headers = {"Authorization": self._authorization, "Accept": "application/json"}
        begins = time.time()
        try:
            with self._opener.open(
                Request(self._url, self._form, headers), timeout=ANSWER_S
            ) as answer:
                given = json.loads(answer.read(MOST_ANSWER_BYTES))
        except HTTPError as error:
            with error:
                raise TokenError(self._refused(error)) from None
        except (OSError, HTTPException, ValueError) as error:
            reason = plain(str(getattr(error, "reason", error)))
            raise TokenError(
                f"{self._url} gives no token ({reason}); check oauth_token_url, oauth_cafile and "
                "the network"
            ) from None
        if not isinstance(given, dict) or not isinstance(text := given.get("access_token"), str):
            raise TokenError(f"{self._url} answers without an access_token; check oauth_token_url")
        return Token(text, begins, begins + _seconds(given.get("expires_in")))

    def _refused(self, error: HTTPError) -> str:
        """Returns in words what the giver of tokens has against this client (RFC 6749, 5.2)."""
        try:
            told = json.loads(error.read(MOST_ANSWER_BYTES))
            words = [told[name] for name in ("error", "error_description") if told.get(name)]
        except (OSError, ValueError, AttributeError):
            words = []
        said = plain(": ".join(map(str, words))[:200])
        return (
            f"{self._url} gives oauth_client_id {self._id!r} no token (HTTP {error.code}"
            f"{', ' + said if said else ''}); check oauth_client_id, oauth_client_secret and "
            "oauth_scope"
        )


class _StayHere(HTTPRedirectHandler):
    """Follows no redirect: it would send the secret to another address."""

    def redirect_request(self, *_arguments: Any, **_options: Any) -> None:
        return None


def _seconds(told: Any) -> float:
    """Returns how long a token lives; some givers write the number as a text."""
    try:
        return max(1.0, float(told))
    except (TypeError, ValueError):
        return ASSUMED_S


class SignedByAws:
    """Signs a token with the AWS credentials of this process, for a cluster of Amazon MSK."""

    def __init__(self, region: str) -> None:
        try:
            from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
        except ImportError:
            raise SettingsError(
                "sasl_mechanism AWS_MSK_IAM needs Amazon's signer; install it with "
                "\"pip install 'interest-stream[msk]'\"",
                "sasl_mechanism",
            ) from None
        self._sign, self._region = MSKAuthTokenProvider.generate_auth_token, region

    def __call__(self) -> Token:
        """Returns a new token; raises TokenError."""
        begins = time.time()
        try:
            text, ends_ms = self._sign(self._region)
        except Exception as error:  # of botocore's many there is no common class
            raise TokenError(
                f"no AWS credentials sign a token for {self._region} ({type(error).__name__}: "
                f"{plain(str(error))}); check aws_region and the role or profile of this process"
            ) from None
        return Token(text, begins, ends_ms / 1000)
