"""Holds the parts of a serving process, and what its routes share: answers, errors, parameters."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Any, Final, Protocol
from urllib.parse import unquote

import orjson
from fastapi import Depends, Path, Request
from fastapi.responses import Response

from stream.clients.user_ids import user_key
from stream.config import Settings
from stream.contracts.faults import BadEvent
from stream.contracts.times import parse_time
from stream.errors import UsageError
from stream.serving.clock import now_ms
from stream.serving.erasures import Erasures
from stream.serving.feed import Feed
from stream.serving.guard import Caller, DeniedError, Guard, Rates
from stream.serving.ingest import Ingest
from stream.serving.meters import Meters
from stream.serving.overview.parts import Overview
from stream.serving.queries import Segment
from stream.serving.store import DAY_MS, Reader, open_reader

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
RETRY_S: Final = 1

_SPAN: Final = re.compile(r"(\d{1,6})([dhm])")
_MOMENT: Final = re.compile(r"[0-9]{1,18}")
"""Unix milliseconds; SQLite's numbers have 63 bits."""

_UNITS_MS: Final = {"d": DAY_MS, "h": 3_600_000, "m": 60_000}


class Following(Protocol):
    """Offers how far the topics were read."""

    ready: bool
    history_ready: bool
    as_of_ms: int
    models: dict[str, str]

    def lag_ms(self, now_ms: int) -> int:
        """Returns how old an answer of now may be."""

    async def users_of(self, segment: Segment) -> int:
        """Returns how many users a segment has that no tally counts; raises TimeoutError."""

    def why_not_ready(self, now_ms: int) -> list[str]:
        """Returns what keeps this process from being asked."""


class Readers:
    """Lends connections that only read: one to the event loop, others to threads."""

    def __init__(self, path: pathlib.Path) -> None:
        """`path` is that of the file, which is there."""
        self._path = path
        self.of_loop = open_reader(path)
        self._idle: list[Reader] = []

    @contextmanager
    def borrowed(self) -> Iterator[Reader]:
        """Yields a connection that nobody else has meanwhile; as many are made as are needed."""
        try:
            db = self._idle.pop()
        except IndexError:
            db = open_reader(self._path, self.of_loop.finder)
        try:
            yield db
        finally:
            self._idle.append(db)

    def close(self) -> None:
        """Closes those that nobody has."""
        for each in (self.of_loop, *self._idle):
            each.close()


@dataclass(slots=True, kw_only=True)
class Serving:
    """Holds the parts of one serving process."""

    settings: Settings
    readers: Readers
    following: Following
    feed: Feed
    ingest: Ingest
    erasures: Erasures
    guard: Guard
    rates: Rates
    meters: Meters
    titles: Mapping[str, str]  # of items, from a model directory; empty: none is named
    pseudonym_key: bytes | None = None
    overview: Overview = field(default_factory=Overview)


class ProblemError(Exception):
    """Says why a request is not answered as asked, in words that quote nothing of it."""

    def __init__(self, status: int, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.more = status, detail, more


def problem(status: int, detail: str, **more: Any) -> Response:
    """Returns an error as RFC 9457 has it."""
    headers = (
        {"Retry-After": str(more.pop("retry_after_s", RETRY_S))} if status in (429, 503) else {}
    )
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="interest-stream"'
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return Response(orjson.dumps(body), status, headers, PROBLEM)


# What a route depends on is a coroutine though it waits for nothing: others go to a thread each.


async def serving_of(request: Request) -> Serving:
    """Returns the parts of the process that answers."""
    found: Serving = request.app.state.serving
    return found


Served = Annotated[Serving, Depends(serving_of)]


def needs(scope: str) -> Any:
    """Returns what refuses callers who may not ask for this."""

    async def check(request: Request) -> None:
        check_scope(request.state.caller, scope)

    return Depends(check)


def check_scope(caller: Caller, scope: str) -> None:
    """Refuses callers who may not ask for this."""
    if scope not in caller.scopes:
        raise DeniedError(HTTPStatus.FORBIDDEN, f"this needs a key with the scope {scope}")


async def check_ready(request: Request) -> None:
    """Refuses everybody until the profiles are read."""
    check_following(request.app.state.serving)


def check_following(serving: Serving) -> None:
    """Refuses everybody until the profiles are read."""
    if not serving.following.ready:
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "the profiles are being read; ask again")


async def key_of(
    request: Request,
    user_id: Annotated[str, Path(description="The user_id, percent-encoded (a slash is %2F).")],
) -> bytes:
    """Returns the key of the user in a path: the id, or its pseudonym."""
    return key_in(request.app.state.serving, user_id)


def key_in(serving: Serving, user_id: str) -> bytes:
    """Returns the key of a user whose id is percent-encoded; raises ProblemError."""
    try:
        return user_key(unquote(user_id, errors="strict"), serving.pseudonym_key)
    except (UsageError, UnicodeDecodeError):
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "the id is none that an event can have: 1 to 256 bytes of UTF-8 without control "
            "characters",
        ) from None


Key = Annotated[bytes, Depends(key_of)]


def age(serving: Serving) -> dict[str, int]:
    """Returns as of when the answer is."""
    following = serving.following
    return {"as_of": following.as_of_ms, "lag_ms": following.lag_ms(now_ms())}


def json_of(serving: Serving, **parts: Any) -> bytes:
    """Returns parts of an answer behind its age; `bytes` are JSON already, and stay as they are."""
    fields = [
        b"%b:%b" % (orjson.dumps(name), part if isinstance(part, bytes) else orjson.dumps(part))
        for name, part in {**age(serving), **parts}.items()
    ]
    return b"{%b}" % b",".join(fields)


def answer(serving: Serving, status: int = 200, /, **parts: Any) -> Response:
    """Returns parts of an answer behind its age, as `json_of` has them."""
    return Response(json_of(serving, **parts), status, media_type=JSON)


def since_of(text: str, now: int) -> int:
    """Returns the moment that `active_since` means, in Unix milliseconds; raises ProblemError."""
    if text == "all":
        return 0
    if found := _SPAN.fullmatch(text):
        return now - int(found[1]) * _UNITS_MS[found[2]]
    try:
        return int(text) if _MOMENT.fullmatch(text) else parse_time(text)
    except BadEvent:
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "active_since is a length of time such as 30d, 12h or 90m, a moment such as "
            "2026-11-25T10:00:00Z or Unix milliseconds, or all",
        ) from None
