"""Follows the live feed of the HTTP service, over as many connections as it takes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Final

import aiohttp
import msgspec

from interest_stream.answers import Gap
from interest_stream.event_stream import EventStream, ServerEvent
from interest_stream.http_calls import AWAY, BROKEN, TOO_MANY, Call, Calls, broken, unreachable
from interest_stream.updates import Update, decode_update
from stream.errors import DataError, ServiceError

ROUTE: Final = "GET /v1/feed"


class _LeftOut(msgspec.Struct):
    """Reads how many updates the service has left out."""

    updates: int


async def follow(
    calls: Calls, query: Mapping[str, str], on_gap: Callable[[Gap], None]
) -> AsyncGenerator[Update]:
    """Yields updates for ever; `on_gap` is called where some are missing.

    After a broken connection it is called once the next one stands, so what is asked of the
    service then is at least as new as the updates that are missing. Raises ServiceError, DataError.
    """
    call = Call(method="GET", path="/v1/feed", route=ROUTE, query=query)
    waits, lost = calls.waits(), ""
    while True:
        stream = EventStream()
        try:
            async with calls.stream(call) as pieces:
                if lost:
                    on_gap(Gap(lost))
                async for piece in pieces:
                    waits = calls.waits()  # the connection serves: its end is a new beginning
                    for event in stream.take(piece):
                        if (update := _taken(event, on_gap)) is not None:
                            yield update
            failed = ServiceError(f"{ROUTE}: the service ended the feed")
        except (ServiceError, *BROKEN) as error:
            failed = _passing(error)
        asked_for_s = failed.retry_after_s or stream.retry_s
        if not waits.any_left(asked_for_s):
            raise failed
        lost = lost or (str(failed) if stream.begun else "")
        await waits.wait(asked_for_s)


def _passing(error: Exception) -> ServiceError:
    """Returns what to raise if it does not pass; raises at once what never will."""
    if isinstance(error, ServiceError):
        if error.status in (TOO_MANY, *AWAY):
            return error
        raise error
    if isinstance(error, aiohttp.ClientConnectorError):
        return unreachable(ROUTE, error)
    return broken(ROUTE, error)


def _taken(event: ServerEvent, on_gap: Callable[[Gap], None]) -> Update | None:
    """Returns the update in an event of the stream; None if it is another event."""
    if event.name == "update":
        return decode_update(event.data, f"an update of {ROUTE}")
    if event.name == "left-out":
        try:
            found = msgspec.json.decode(event.data, type=_LeftOut)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DataError(f"{ROUTE} says it left out updates, not how many: {error}") from None
        on_gap(Gap("this reader was too slow", found.updates))
    return None
