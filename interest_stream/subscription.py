"""Reads what workers publish: the stream of updates, and the latest update of one user."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Unpack

from interest_stream.connection import Connection, settings_of
from interest_stream.updates import Update, decode_update
from stream.errors import BrokerError

if TYPE_CHECKING:
    from stream.clients.reader import UpdateReader
    from stream.config import Settings


def subscribe(
    *,
    user: str | None = None,
    from_beginning: bool = False,
    group: str | None = None,
    updates_topic: str | None = None,
    **connection: Unpack[Connection],
) -> Subscription:
    """Returns a subscription to interest updates: an asynchronous iterator that never ends.

        async with subscribe(broker="127.0.0.1:19092") as updates:
            async for update in updates:
                print(update.user_id, update.interests[0].interest)

    `user` keeps the updates of one user. `from_beginning` starts at the oldest update that Kafka
    still has, not now. With a `group`, several programs share the updates, and a program that
    starts again goes on where its group left off. A group may see an update twice (compare
    `update_id`) and misses none: an update counts as read when the next one is asked for.

    `connection` says how to reach Kafka: broker, security_protocol, sasl_mechanism and the other
    settings of interest_stream/connection.py. What is not given comes from the environment
    (INTEREST_STREAM_BROKER and so on), then from the file `config`, then from the defaults of the
    command line.

    Raises SettingsError here; reading raises BrokerError, TopicError and DataError.
    """
    return Subscription(
        settings_of(connection, updates_topic=updates_topic),
        user=user,
        from_beginning=from_beginning,
        group=group,
    )


class Subscription(AsyncIterator[Update]):
    """Yields interest updates as they come; made by `subscribe`.

    Entering it with `async with` connects and fixes the place where reading begins, and leaving it
    disconnects. Without `async with`, `async for` connects at the first update and disconnects when
    the loop is cancelled or fails; a loop that is left by `break` needs the `async with`.
    """

    def __init__(
        self, settings: Settings, *, user: str | None, from_beginning: bool, group: str | None
    ) -> None:
        from stream.clients.reader import UpdateReader

        self._topic = settings.updates_topic
        self._reader = UpdateReader(settings, user=user, from_beginning=from_beginning, group=group)
        self._updates = _updates(self._reader, self._topic)

    async def __aenter__(self) -> Subscription:
        """Connects and fixes where reading begins; raises BrokerError or TopicError."""
        async with _refusals(self._topic):
            await self._reader.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def __anext__(self) -> Update:
        """Waits for the next update; raises BrokerError, TopicError or DataError."""
        return await anext(self._updates)

    async def aclose(self) -> None:
        """Commits what a group has read, and disconnects."""
        await self._updates.aclose()
        await self._reader.close()


async def _updates(reader: UpdateReader, topic: str) -> AsyncGenerator[Update]:
    """Yields updates and closes the reader at the end.

    It knows the reader and not the subscription: a subscription that nobody holds any more is then
    freed at once, and asyncio closes this generator.
    """
    try:
        async with _refusals(topic):
            async for record in reader:
                where = f"the record at offset {record.offset} of {topic}[{record.partition}]"
                yield decode_update(record.value, where)
    finally:
        await reader.close()


async def profile(
    user_id: str, *, profiles_topic: str | None = None, **connection: Unpack[Connection]
) -> Update | None:
    """Returns the latest update of one user, None if there is none or the user was erased.

        latest = await profile("user-7", broker="kafka://127.0.0.1:19092")

    It reads the compacted topic of profiles, which takes seconds where millions of users are: for
    many users, subscribe with `from_beginning` and keep the updates. `connection` is as for
    `subscribe`. Raises SettingsError, BrokerError, TopicError, DataError.
    """
    from stream.clients.reader import latest_profile

    settings = settings_of(connection, profiles_topic=profiles_topic)
    async with _refusals(settings.profiles_topic):
        value = await latest_profile(settings, user_id)
    where = f"the profile of user {user_id!r} in {settings.profiles_topic}"
    return None if value is None else decode_update(value, where)


@asynccontextmanager
async def _refusals(topic: str) -> AsyncIterator[None]:
    """Turns an error of the Kafka client into one that says what was refused."""
    from aiokafka.errors import KafkaError

    try:
        yield
    except KafkaError as error:
        raise BrokerError(
            f"Kafka refused to read {topic} ({type(error).__name__}: {error}); "
            "check the broker and the rights of this client"
        ) from error
