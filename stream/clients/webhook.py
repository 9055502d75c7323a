"""Posts signed bodies to a URL until it has taken each: the far end of `tail --webhook`.

Tried again for ever is what may pass: no connection, no answer in time, 408, 425, 429 and every
5xx; the waits double up to a minute, with chance in them, and `Retry-After` is heeded. Any other
answer that is no success says that the receiver will never take it: that is an error, and nothing
is sent after it. A redirect is one of them: whom it names nobody has vouched for.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Final

import aiohttp

from stream.contracts.webhook import headers_of
from stream.errors import ServiceError

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 60.0
MOST_ASKED_S: Final = 3_600.0
"""A `Retry-After` beyond this is taken for this."""

ANSWER_S: Final = 30.0
TELL_S: Final = 60.0
"""While a receiver is away, that is said this often."""

MOST_ANSWER_BYTES: Final = 65_536
"""Of an answer, which is not looked at: longer ones cost their connection."""

PASSING: Final = (408, 425, 429)


class Webhook:
    """Holds the connection to a receiver; one body is on its way at a time."""

    def __init__(self, url: str, secrets: Sequence[bytes], tell: Callable[[str], None]) -> None:
        """`tell` is called when the receiver goes away and comes back."""
        self._url, self._secrets, self._tell = url, secrets, tell
        self._session: aiohttp.ClientSession | None = None
        self._trying = asyncio.Lock()
        self._told_s = 0.0  # when it was said that the receiver is away; 0: it is not

    async def __aenter__(self) -> Webhook:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ANSWER_S))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, name: str, body: bytes, unwanted: asyncio.Event) -> bool:
        """Returns True once the receiver has taken a body, False once it is `unwanted`.

        Raises ServiceError if the receiver refuses it.
        """
        pause_s, tries = FIRST_PAUSE_S, 0
        while not unwanted.is_set():
            async with self._trying:
                reason, asked_for_s = await self._try(name, body)
            tries += 1
            if not reason:
                self._say_back()
                return True
            wait_s = max(pause_s * random.uniform(0.5, 1.0), asked_for_s)
            self._say_away(f"{reason}; tried {tries} times, the next try is in {wait_s:.1f} s")
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            try:
                async with asyncio.timeout(wait_s):
                    await unwanted.wait()
            except TimeoutError:
                continue
        return False

    async def settled(self) -> None:
        """Waits until no body is on its way."""
        async with self._trying:
            pass

    async def _try(self, name: str, body: bytes) -> tuple[str, float]:
        """Returns "" if the receiver has taken a body, else why not and how long it asks to wait.

        Raises ServiceError if it never will.
        """
        assert self._session is not None
        headers = headers_of(name, int(time.time()), body, self._secrets)
        try:
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                await answer.content.read(MOST_ANSWER_BYTES)
                status, asked_for_s = answer.status, _asked_for_s(answer)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # the words of an error may hold the URL, which may hold a token
            return f"the receiver cannot be reached ({type(error).__name__})", 0.0
        if 200 <= status < 300:
            return "", 0.0
        if status in PASSING or status >= 500:
            return f"the receiver answered {status}", asked_for_s
        raise ServiceError(
            f"the receiver answered {status} to {name}: it will not take this; mend the receiver "
            "or the URL and start again, which sends it again. Nothing behind it was sent",
            status,
        )

    def _say_away(self, text: str) -> None:
        now_s = time.monotonic()
        if not self._told_s or now_s - self._told_s > TELL_S:
            self._told_s = now_s
            self._tell(text)

    def _say_back(self) -> None:
        if self._told_s:
            self._told_s = 0.0
            self._tell("the receiver takes updates again")


def _asked_for_s(answer: aiohttp.ClientResponse) -> float:
    told = answer.headers.get("Retry-After", "")
    return min(float(told), MOST_ASKED_S) if told.isascii() and told.isdecimal() else 0.0
