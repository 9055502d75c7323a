"""Sees to it that the schemas of a batch are known before its records are read.

A registry that cannot be asked is asked again until it answers, and whoever waits is told why. An
id that it does not know is asked for a few times more: a registry of several servers knows a new
schema a moment later on some. Then its records are bad ones, for a while, and it is asked anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Iterable
from typing import Any, Final, Protocol

from stream.config.connection import ConnectionSettings
from stream.errors import RegistryError
from stream.formats.event_format import EventFormat
from stream.formats.framed.frame import RegisteredSchema
from stream.formats.framed.readers import FramedFormat
from stream.plain_text import told
from stream.schema_registry.client import RegistryClient

log = logging.getLogger("interest_stream")

PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0)
"""Between attempts while the registry cannot be asked; the last for ever."""

UNKNOWN_PAUSES_S: Final = (0.2, 0.3, 0.5)
"""Between questions for an id that the registry does not know, before it counts as unknown."""

UNKNOWN_S: Final = 60.0
"""How long an unknown id counts as unknown before it is asked for again."""

TELL_S: Final = 60.0
"""Between two lines of the log about a registry that cannot be asked."""

LOOK_S: Final = 0.1
"""Between looks whether the records are still wanted."""


class Learner(Protocol):
    """Reads values by their schemas, and knows which it lacks."""

    def missing(self, records: Iterable[Any]) -> set[int]:
        """Returns the schema ids that records name and that are not known."""

    def learn(self, schema_id: int, schema: RegisteredSchema | None) -> None:
        """Notes what an id stands for; None: the registry has no such schema."""

    def forget(self, schema_id: int) -> None:
        """Lets an id be asked for again."""


class AnySchemas(Protocol):
    """Sees to schemas, or has none to see to."""

    trouble: str  # why it waits for the registry now, empty while it does not

    async def close(self) -> None:
        """Closes the connections to the registry."""

    async def know(
        self, records: Collection[Any], wanted: Callable[[], bool] = lambda: True
    ) -> bool:
        """Returns true once the schemas of records are known, false if nobody wants them."""


class Schemas:
    """Fetches for one reader of values what it lacks; it belongs to one event loop."""

    def __init__(self, settings: ConnectionSettings, learner: Learner) -> None:
        """Connects to nothing yet; raises SettingsError where the extra is not installed."""
        self._client = RegistryClient(settings)
        self._learner = learner
        self._unknown: dict[int, float] = {}  # until when an id counts as unknown
        self._told_at = -TELL_S
        self.trouble = ""  # why it waits for the registry now, for whoever asks

    async def close(self) -> None:
        """Closes the connections to the registry."""
        await self._client.close()

    async def know(
        self, records: Collection[Any], wanted: Callable[[], bool] = lambda: True
    ) -> bool:
        """Returns true once the schemas of records are known, false if nobody wants them any more.

        It waits while the registry cannot be asked, however long.
        """
        if self._unknown:
            self._ask_again()
        attempts = 0
        while missing := self._learner.missing(records):
            asking = self._attempt(missing, PAUSES_S[min(attempts, len(PAUSES_S) - 1)])
            attempts += 1
            if not await _while_wanted(asking, wanted):
                self.trouble = ""
                return False
        if self.trouble:
            log.warning("the schema registry answers again")
            self.trouble, self._told_at = "", -TELL_S
        return True

    async def _attempt(self, ids: Collection[int], pause_s: float) -> None:
        """Asks for schemas; if the registry cannot be asked, says so and waits."""
        try:
            await self._fetch(ids)
        except RegistryError as error:
            self._tell(error)
            await asyncio.sleep(pause_s)

    async def _fetch(self, ids: Collection[int]) -> None:
        """Asks for schemas, once, and for those that are unknown a few times more.

        Raises RegistryError.
        """
        left = sorted(ids)
        for pause_s in (*UNKNOWN_PAUSES_S, None):
            unknown = []
            for schema_id in left:
                schema = await self._client.fetch(schema_id)
                if schema is None:
                    unknown.append(schema_id)
                else:
                    self._learner.learn(schema_id, schema)
                    log.info("schema %d is %s", schema_id, schema.kind)
            left = unknown
            if not left:
                return
            if pause_s is not None:
                await asyncio.sleep(pause_s)
        for schema_id in left:
            log.error("the schema registry has no schema %d: its records are bad", schema_id)
            self._learner.learn(schema_id, None)
            self._unknown[schema_id] = time.monotonic() + UNKNOWN_S

    def _ask_again(self) -> None:
        now = time.monotonic()
        for schema_id, until in list(self._unknown.items()):
            if now >= until:
                del self._unknown[schema_id]
                self._learner.forget(schema_id)

    def _tell(self, error: RegistryError) -> None:
        self.trouble = told(error)
        if time.monotonic() >= self._told_at + TELL_S:
            self._told_at = time.monotonic()
            log.error("%s; waiting for it, nothing is skipped", self.trouble)


class NoSchemas:
    """Stands where values have no frames: there is nothing to wait for."""

    trouble = ""

    async def close(self) -> None:
        """Does nothing."""

    async def know(
        self, records: Collection[Any], wanted: Callable[[], bool] = lambda: True
    ) -> bool:
        """Returns true."""
        return True


def schemas_of(event_format: EventFormat | None, settings: ConnectionSettings) -> AnySchemas:
    """Returns what fetches the schemas that a format's values name.

    Raises SettingsError where the extra is not installed.
    """
    if isinstance(event_format, FramedFormat):
        return Schemas(settings, event_format.readers)
    return NoSchemas()


async def _while_wanted(asking: Coroutine[Any, Any, None], wanted: Callable[[], bool]) -> bool:
    """Returns true when something has ended, false when it was given up: nobody wants it."""
    task = asyncio.ensure_future(asking)
    try:
        while not (await asyncio.wait({task}, timeout=LOOK_S))[0]:
            if not wanted():
                return False
        task.result()
        return True
    finally:
        task.cancel()
