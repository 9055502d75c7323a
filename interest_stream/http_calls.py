"""Sends requests to the HTTP service, again where that is safe, and says why one was refused.

Sent again is what was too often (429), not ready or away (502, 503, 504), and what found nobody
listening, until `retry_for_s` have passed; `Retry-After` says how long to wait, else the waits
double, with chance in them, so that many clients do not come back at once. A request that would
count twice if it came twice is sent again only where the service cannot have taken it.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from yarl import URL

from stream.errors import ServiceError, SettingsError

FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 10.0
TOO_MANY: Final = 429
"""The request was not looked at."""

AWAY: Final = (502, 503, 504)
"""The service, or the proxy before it, cannot answer now; it may have taken the request."""

BROKEN: Final = (aiohttp.ClientError, TimeoutError, ConnectionError)
"""What aiohttp raises for a connection that broke, with ClientConnectorError for none at all."""

SILENCE_S: Final = 60.0
"""A feed that says nothing for so long has lost its service, which speaks every 15 seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Says where a service is, who asks, and how patiently."""

    url: str
    key: str | None = field(default=None, repr=False)
    cafile: str | None = None
    timeout_s: float = 30.0
    retry_for_s: float = 60.0

    def __post_init__(self) -> None:
        try:
            found = URL(self.url)
        except ValueError:
            found = URL()
        if found.scheme not in ("http", "https") or not found.host or found.query_string:
            raise SettingsError(
                "url is no address of a service; give one as http://127.0.0.1:8080", "url"
            )
        if found.user is not None:
            raise SettingsError("url holds a name or a password; give an API key as key", "url")
        if self.key is not None and (not self.key or not self.key.isascii() or _breaks(self.key)):
            raise SettingsError(
                "key is no API key; give one line as `serve --new-key` prints it", "key"
            )
        if self.timeout_s <= 0:
            raise SettingsError("timeout_s is a number of seconds above 0", "timeout_s")
        if self.retry_for_s < 0:
            raise SettingsError("retry_for_s is a number of seconds, 0 at least", "retry_for_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Holds a request; the path is percent-encoded already."""

    method: str
    path: str
    route: str  # how an error names it: paths hold ids
    query: Mapping[str, str] | None = None
    body: bytes | None = None
    repeatable: bool = True  # coming twice, it does what it does once


@dataclass(frozen=True, slots=True)
class Reply:
    """Holds an answer."""

    status: int
    body: bytes
    retry_after_s: float | None
    route: str

    def error(self) -> ServiceError:
        """Returns what to raise for a status that was not hoped for."""
        told = problem_of(self.body)
        reason = told.get("detail") or f"status {self.status}, and not a word of interest-stream"
        if 300 <= self.status < 400:
            reason = "the address leads elsewhere; give the one that it leads to"
        more = {name: each for name, each in told.items() if name in ("near", "parameters")}
        shown = f" ({json.dumps(more, ensure_ascii=False)})" if more else ""
        message = f"{self.route}: {reason}{shown}"
        return ServiceError(message, self.status, told, self.retry_after_s)


class Calls:
    """Holds the connections to a service."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Prepares connections; the first request makes one. Raises SettingsError."""
        endpoint = self._endpoint
        headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        connector = aiohttp.TCPConnector(ssl=_trust(endpoint.cafile))
        self._session = aiohttp.ClientSession(headers=headers, connector=connector)

    async def close(self) -> None:
        """Ends all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def ask(self, call: Call) -> Reply:
        """Returns the answer, be it a refusal; raises ServiceError if there is none."""
        waits = self.waits()
        while True:
            asked_for_s = None
            try:
                reply = await self._once(call)
                asked_for_s = reply.retry_after_s
                again = reply.status == TOO_MANY or (reply.status in AWAY and call.repeatable)
                if not again or not waits.any_left(asked_for_s):
                    return reply
            except aiohttp.ClientConnectorError as error:
                hopeless = isinstance(error, aiohttp.ClientConnectorCertificateError)
                if hopeless or not waits.any_left():
                    raise unreachable(call.route, error) from None
            except BROKEN as error:
                if not call.repeatable or not waits.any_left():
                    raise broken(call.route, error) from None
            await waits.wait(asked_for_s)

    def waits(self) -> Waits:
        """Returns the waits of one request, which begin now."""
        return Waits(self._endpoint.retry_for_s)

    async def _once(self, call: Call) -> Reply:
        async with self._request(call, self._timeout(self._endpoint.timeout_s)) as answer:
            body = await answer.read()
            return Reply(answer.status, body, _retry_after(answer), call.route)

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[AsyncIterator[bytes]]:
        """Gives the pieces of an answer as they come.

        Raises ServiceError for a refusal, and for a connection that breaks what aiohttp raises.
        """
        async with self._request(call, self._timeout(SILENCE_S)) as answer:
            if answer.status != 200:
                body = await answer.read()
                raise Reply(answer.status, body, _retry_after(answer), call.route).error()
            yield answer.content.iter_any()

    def _timeout(self, read_s: float) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(None, sock_connect=self._endpoint.timeout_s, sock_read=read_s)

    def _request(self, call: Call, timeout: aiohttp.ClientTimeout) -> Any:
        """Returns a request that is not sent yet; no redirect is followed: it would get the key."""
        if self._session is None:
            raise ServiceError("the service is closed; ask within 'async with Service(...)'")
        url = URL(self._endpoint.url.rstrip("/") + call.path, encoded=True)
        if call.query:
            url = url.with_query(call.query)
        headers = {"Content-Type": "application/json"} if call.body is not None else None
        return self._session.request(
            call.method,
            url,
            data=call.body,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
        )


class Waits:
    """Measures the time between tries."""

    def __init__(self, for_s: float) -> None:
        self._pause_s = FIRST_PAUSE_S
        self._end_s = asyncio.get_running_loop().time() + for_s

    def any_left(self, asked_for_s: float | None = None) -> bool:
        """Returns whether there is time for another try."""
        return asyncio.get_running_loop().time() + (asked_for_s or 0.0) < self._end_s

    async def wait(self, asked_for_s: float | None = None) -> None:
        """Waits until the next try: at least as long as was asked for."""
        pause_s = (asked_for_s or 0.0) + self._pause_s * random.uniform(0.5, 1.0)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        await asyncio.sleep(pause_s)


def problem_of(body: bytes) -> dict[str, Any]:
    """Returns the members of an error as RFC 9457 has it, none for another text."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _retry_after(answer: aiohttp.ClientResponse) -> float | None:
    """Returns the seconds that an answer asks to wait; a date, which proxies may send, is none."""
    told = answer.headers.get("Retry-After", "")
    return float(told) if told.isascii() and told.isdecimal() else None


def _trust(cafile: str | None) -> ssl.SSLContext | bool:
    """Returns whom to trust: the authorities of a file, or those of the system."""
    if cafile is None:
        return True
    try:
        return ssl.create_default_context(cafile=cafile)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"cafile {cafile} cannot be read as certificates ({error}); name a PEM file", "cafile"
        ) from None


def unreachable(route: str, error: Exception) -> ServiceError:
    """Returns what to raise where nobody listens."""
    return ServiceError(f"{route}: the service cannot be reached ({error}); is it running there?")


def broken(route: str, error: Exception) -> ServiceError:
    """Returns what to raise where a connection broke."""
    kind = type(error).__name__
    return ServiceError(
        f"{route}: the connection broke before the answer ({kind}: {error}); the service may have "
        "taken the request or not"
    )


def _breaks(key: str) -> bool:
    return any(each.isspace() or not each.isprintable() for each in key)
