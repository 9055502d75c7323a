"""Asks the HTTP service: users, segments, the live feed, events in, erasures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, TypedDict, Unpack
from urllib.parse import quote

from interest_stream import answers
from interest_stream.answers import (
    Erasure,
    Gap,
    History,
    Interests,
    Member,
    NextItems,
    Profile,
    SegmentPage,
    Status,
    Trend,
    Verdict,
)
from interest_stream.events import event_json
from interest_stream.feed import follow
from interest_stream.http_calls import Call, Calls, Endpoint, problem_of
from interest_stream.updates import Update
from stream.contracts.event import Event
from stream.errors import DataError, ServiceError

log = logging.getLogger("interest_stream")

MOST_EVENTS: Final = 1_000
MOST_BYTES: Final = 4_000_000
"""Of one request; the service takes little more."""

PAGE: Final = 1_000
"""Members of a segment that one request brings."""

FIRST_POLL_S, LONGEST_POLL_S = 0.25, 5.0
"""How often an erasure is asked for: workers need a second, or are away for longer."""


class Chosen(TypedDict, total=False):
    """Narrows a segment. What is not given narrows nothing, but for `active_since`."""

    min_probability: float
    max_rank: int  # of the interest among those of a user: 1 is the first
    trend: Trend
    active_since: str  # of users' last events: 30d (without it), 12h, a moment, or all


class Service:
    """Asks `interest-stream serve` over HTTP, without a Kafka client.

        async with Service("http://127.0.0.1:8080") as service:
            found = await service.profile("user-7")
            async for member in service.segment("Camping", min_probability=0.3):
                print(member.user_id, member.probability)

    What is asked too often, or while the service is not ready or away, is asked again until
    `retry_for_s` have passed. After that, and for a refusal, ServiceError says why.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        cafile: str | None = None,
        timeout_s: float = 30.0,
        retry_for_s: float = 60.0,
    ) -> None:
        """`key` is an API key, as `serve --new-key` prints it; `cafile` names whom to trust.

        `timeout_s` is the longest silence of an answer. Raises SettingsError.
        """
        self._calls = Calls(
            Endpoint(url=url, key=key, cafile=cafile, timeout_s=timeout_s, retry_for_s=retry_for_s)
        )

    async def __aenter__(self) -> Service:
        """Prepares connections; whether somebody answers shows the first request."""
        self._calls.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends all connections."""
        await self._calls.close()

    async def profile(self, user_id: str) -> Profile | None:
        """Returns the newest update of a user, None if nothing is known of the user.

        Raises ServiceError, DataError, as all of these methods do.
        """
        body = await self._of_user(user_id)
        return None if body is None else answers.read_profile(body, "GET /v1/users/{id}")

    async def items(self, user_id: str) -> NextItems | None:
        """Returns the likely next items of a user, with titles; None as for `profile`."""
        body = await self._of_user(user_id, "/items")
        return None if body is None else answers.read(NextItems, body, "GET /v1/users/{id}/items")

    async def history(self, user_id: str) -> History | None:
        """Returns how the first three interests of a user have changed; None as for `profile`."""
        body = await self._of_user(user_id, "/history")
        return None if body is None else answers.read(History, body, "GET /v1/users/{id}/history")

    async def users(self, prefix: str = "", limit: int = 10) -> list[str]:
        """Returns the first ids, 100 at most, that begin like this."""
        body = await self._get("/v1/users", {"prefix": prefix, "limit": str(limit)})
        return answers.read_users(body, "GET /v1/users")

    async def interests(self, active_since: str = "30d") -> Interests:
        """Returns every interest with its users, of those with an event since then."""
        body = await self._get("/v1/interests", {"active_since": active_since})
        return answers.read(Interests, body, "GET /v1/interests")

    async def segment(self, interest: str, **chosen: Unpack[Chosen]) -> AsyncIterator[Member]:
        """Yields the users with an interest, page by page.

        While profiles change nobody comes twice; who joins or leaves meanwhile may be missed or be
        there still. Raises ServiceError; of an interest that no profile names, its
        `problem["near"]` holds near ones.
        """
        cursor: str | None = ""
        while cursor is not None:
            page = await self.segment_page(interest, limit=PAGE, cursor=cursor, **chosen)
            cursor = page.cursor
            for member in page.users:
                yield member

    async def segment_page(
        self, interest: str, *, limit: int = 100, cursor: str = "", **chosen: Unpack[Chosen]
    ) -> SegmentPage:
        """Returns a page of a segment, 1,000 users at most, with the size of the whole of it.

        `cursor` is that of the page before; it holds on every instance and after a restart.
        """
        query = {"interest": interest, "limit": str(limit), "cursor": cursor}
        query |= {name: str(each) for name, each in chosen.items()}
        return answers.read(SegmentPage, await self._get("/v1/segments", query), "GET /v1/segments")

    async def status(self) -> Status:
        """Returns what is served, by which models, and what is behind."""
        return answers.read(Status, await self._get("/v1/status"), "GET /v1/status")

    async def send(self, event: Event | Mapping[str, Any]) -> Verdict:
        """Sends an event and returns what became of it, once Kafka has it.

        With an `event_id` it is sent again where an answer is missing, and counts once. Without one
        a broken connection is a ServiceError: the event may have been taken or not. Raises BadEvent
        for what JSON cannot say, before anything is sent.
        """
        (verdict,) = await self.send_all([event])
        return verdict

    async def send_all(self, events: Iterable[Event | Mapping[str, Any]]) -> list[Verdict]:
        """Sends events, 1,000 at a time in their order, and returns what became of each.

        Raises as `send` does if the first request had no answer. If a later one had none, the
        verdict of its events, and of all that follow, is `failed`, with the reason.
        """
        written = [_Written(event_json(each), _has_id(each)) for each in events]
        judged: list[Verdict] = []
        for batch in _batches(written):
            try:
                judged += await self._post(batch, len(judged))
            except (ServiceError, DataError) as error:
                if not judged:
                    raise
                left = range(len(judged), len(written))
                judged += [Verdict(each, "failed", message=str(error)) for each in left]
                break
        return judged

    def feed(
        self,
        *,
        user: str | None = None,
        interest: str | None = None,
        on_gap: Callable[[Gap], None] | None = None,
    ) -> AsyncGenerator[Update]:
        """Yields each update from now on, of one user or with one interest if asked, for ever.

        A connection that breaks is made again. What was published meanwhile is not in the feed, nor
        what this reader was too slow for: `on_gap` is told of both, else the log is. Who must miss
        none subscribes to the topic (`subscribe`). Raises ServiceError if the service refuses, or
        was away for `retry_for_s`.
        """
        wanted = {"user": user, "interest": interest}
        query = {name: each for name, each in wanted.items() if each is not None}
        return follow(self._calls, query, on_gap or _log_gap)

    async def erase(self, user_id: str, *, suppress: bool = False) -> Erasure:
        """Asks workers to erase a user, and returns once Kafka has the request.

        With `suppress` later events of the user are dropped, too. Sent twice it does no harm.
        """
        route, query = "DELETE /v1/users/{id}", {"suppress": "true"} if suppress else None
        call = Call(method="DELETE", path=_path_of(user_id), route=route, query=query)
        return answers.read_erasure(await self._ask(call), route)

    async def erasure(self, name: str) -> Erasure:
        """Returns how far an erasure is; `name` is that of an `Erasure`."""
        route = "GET /v1/erasures/{name}"
        call = Call(method="GET", path=f"/v1/erasures/{quote(name, safe='')}", route=route)
        return answers.read_erasure(await self._ask(call), route, name)

    async def erased(self, asked: Erasure) -> Erasure:
        """Returns an erasure once it is `done`, or `refused` and why; waits as long as it takes.

        While workers are away it waits: give `asyncio.timeout` an end, and ask again later.
        """
        poll_s = FIRST_POLL_S
        while asked.state == "waiting":
            await asyncio.sleep(poll_s)
            poll_s = min(2 * poll_s, LONGEST_POLL_S)
            asked = await self.erasure(asked.name)
        return asked

    async def _of_user(self, user_id: str, part: str = "") -> bytes | None:
        """Returns what is answered of a user, None if nothing is known of the user."""
        path, route = _path_of(user_id) + part, "GET /v1/users/{id}" + part
        reply = await self._calls.ask(Call(method="GET", path=path, route=route))
        # any server has a 404; that of the service says of what nothing is known
        if reply.status == 404 and problem_of(reply.body).get("unknown") == "user":
            return None
        if reply.status != 200:
            raise reply.error()
        return reply.body

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        return await self._ask(Call(method="GET", path=path, route=f"GET {path}", query=query))

    async def _ask(self, call: Call) -> bytes:
        reply = await self._calls.ask(call)
        if reply.status not in (200, 202):
            raise reply.error()
        return reply.body

    async def _post(self, batch: Sequence[_Written], begin: int) -> list[Verdict]:
        """Sends events in one request; their verdicts are counted from `begin`."""
        call = Call(
            method="POST",
            path="/v1/events",
            route="POST /v1/events",
            query={"format": "contract"},  # whatever the workers read: that is said, then
            body=b"[%b]" % b",".join(each.value for each in batch),
            repeatable=all(each.has_id for each in batch),
        )
        reply = await self._calls.ask(call)
        if "verdicts" not in problem_of(reply.body):
            raise reply.error()
        return answers.read_verdicts(reply.body, call.route, begin)


@dataclass(frozen=True, slots=True)
class _Written:
    """Holds an event as JSON."""

    value: bytes
    has_id: bool  # with an event_id it counts once, however often it comes


def _has_id(event: Event | Mapping[str, Any]) -> bool:
    given = event.event_id if isinstance(event, Event) else event.get("event_id")
    return given is not None


def _batches(events: Iterable[_Written]) -> Iterator[list[_Written]]:
    """Yields events in their order, as many as one request may have."""
    batch: list[_Written] = []
    size = 0
    for event in events:
        if batch and (len(batch) == MOST_EVENTS or size + len(event.value) > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += len(event.value) + 1
    if batch:
        yield batch


def _path_of(user_id: str) -> str:
    """Returns the path of a user; dots alone would mean another folder to a proxy."""
    quoted = quote(user_id, safe="", errors="surrogatepass")
    return f"/v1/users/{quoted.replace('.', '%2E') if set(user_id) == {'.'} else quoted}"


def _log_gap(gap: Gap) -> None:
    count = "an unknown number of" if gap.updates is None else gap.updates
    log.warning("the feed has left out %s updates: %s", count, gap.reason)
