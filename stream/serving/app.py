"""Builds the web application: what every request passes, and what an error looks like.

A request passes in this order: who asks (`guard`), how often, the route and what it needs. The
answer gets the headers that keep it out of caches. Logs, metrics and errors name the template of a
route, never the path or what an error quotes: ids stand in paths.
"""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream.plain_text import told
from stream.serving import operating, reading, writing
from stream.serving.context import JSON, ProblemError, Serving, problem
from stream.serving.guard import Caller, DeniedError
from stream.serving.lookups import USERS, looked_up, lookup_of
from stream.serving.overview import routes as overview

log = logging.getLogger("interest_stream")

FAILED: Final = "this service has failed; its log says where"
GUARDED: Final = "/v1/"
"""What is behind the guard; the rest tells nothing of a user."""

JSON_TYPE: Final = (b"content-type", JSON.encode())
HEADERS: Final = tuple(
    (name.lower().encode(), value.encode())
    for name, value in {
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Content-Security-Policy": (
            "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
        ),
    }.items()
)
DESCRIPTION: Final = """\
What each user is interested in now, and who is interested in what. `as_of` is the moment (Unix
milliseconds) up to which everything that workers had published is in an answer, `lag_ms` how long
ago that was. Errors are `application/problem+json` (RFC 9457)."""


class Passage:
    """Lets a request in or not, completes its answer, and tells it to log and metrics."""

    def __init__(self, app: ASGIApp, serving: Serving) -> None:
        self._app, self._serving = app, serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def complete(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name for name, _ in message["headers"]}
                message["headers"] += [each for each in HEADERS if each[0] not in given]
                self._serving.meters.seconds.observe(time.perf_counter() - started)
            await send(message)

        try:
            await self._answer(scope, receive, complete)
        except DeniedError as error:
            await _denied(error)(scope, receive, complete)
        except ProblemError as error:
            await problem(error.status, error.detail, **error.more)(scope, receive, complete)
        except Exception as error:
            # nothing of the error goes out, and of it only class and place into the log
            log.error("%s %s failed: %s", scope["method"], route_of(scope), told(error))
            if not status:
                await problem(500, FAILED)(scope, receive, complete)
        finally:
            route = route_of(scope)
            self._serving.meters.answered(route, scope["method"], status)
            if log.isEnabledFor(logging.DEBUG):
                took_ms = (time.perf_counter() - started) * 1000
                log.debug("%s %s %s %.1f ms", scope["method"], route, status, took_ms)

    async def _answer(self, scope: Scope, receive: Receive, complete: Send) -> None:
        """Answers who may ask; raises DeniedError, and what routes raise."""
        if (found := lookup_of(scope)) is None:
            _keep_ids_whole(scope)
            if scope["path"].startswith(GUARDED):
                scope.setdefault("state", {})["caller"] = self._admit(scope)
            await self._app(scope, receive, complete)
            return
        lookup, user_id = found
        caller = self._admit(scope)
        scope["route"] = lookup  # nobody who is denied is told of by it, as with other routes
        body = looked_up(self._serving, caller, lookup, user_id)
        length = (b"content-length", b"%d" % len(body))
        await complete(
            {"type": "http.response.start", "status": 200, "headers": [length, JSON_TYPE]}
        )
        await complete({"type": "http.response.body", "body": body})

    def _admit(self, scope: Scope) -> Caller:
        """Returns who asks; raises DeniedError."""
        # the first of a name counts, as everywhere
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in reversed(scope["headers"])
        }
        caller = self._serving.guard.caller(headers)
        self._serving.rates.take(caller.name, time.monotonic())
        return caller


def build_app(serving: Serving) -> ASGIApp:
    """Returns the application over these parts; it starts and ends nothing itself.

    The passage is around the framework and not one of its middlewares: what answers without the
    framework should not pass through it either.
    """
    app = FastAPI(
        title="interest-stream",
        version=version("interest-stream"),
        description=DESCRIPTION,
        docs_url=None,  # both pages load scripts of another host
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.serving = serving
    for router in (
        reading.router,
        writing.router,
        operating.router,
        overview.router,
    ):
        app.include_router(router)
    app.add_exception_handler(DeniedError, _answer_denied)
    app.add_exception_handler(ProblemError, _answer_problem)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_failure)
    return Passage(app, serving)


def route_of(scope: Scope) -> str:
    """Returns the template of the route of a request, `unknown` if none was found."""
    return str(getattr(scope.get("route"), "path", "unknown"))


def _keep_ids_whole(scope: Scope) -> None:
    """Leaves an id in a path as it was sent: it may hold a slash, which would end it."""
    raw: bytes = scope.get("raw_path") or b""
    if raw.startswith(USERS):
        scope["path"] = raw.partition(b"?")[0].decode("latin-1")


def _denied(error: DeniedError) -> Response:
    more = {} if error.retry_after_s is None else {"retry_after_s": error.retry_after_s}
    return problem(error.status, error.detail, **more)


async def _answer_denied(_request: Request, error: Any) -> Response:
    return _denied(error)


async def _answer_problem(_request: Request, error: Any) -> Response:
    return problem(error.status, error.detail, **error.more)


async def _answer_invalid(_request: Request, error: Any) -> Response:
    """Says which parameter is wrong and why; what was given is left out, it may be an id."""
    wrong = [
        {"parameter": ".".join(map(str, each["loc"][1:])), "why": each["msg"]}
        for each in error.errors()
    ]
    detail = "parameters are wrong or missing: see /openapi.json"
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, parameters=wrong)


async def _answer_failure(_request: Request, _error: Any) -> Response:
    """Says nothing of the error, which goes on to the passage, and to the log."""
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, FAILED)


async def _answer_http(_request: Request, error: Any) -> Response:
    return problem(error.status_code, "there is no such route; see /openapi.json")
