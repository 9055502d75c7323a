"""Finds what a worker refuses to start with, before it joins the group.

Two more refusals need the states themselves and are made after recovery: stream/worker/table.py.
The reasons are in docs/understand/delivery.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    KafkaConnectionError,
    NodeNotReadyError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
)

from stream.clients.dead_letter_replay import places_of, read
from stream.config import Settings
from stream.config.marks import Mark, mark_of
from stream.contracts.event import limits_of
from stream.contracts.state_record import CorruptRecordError, Record, decode_record, topic_code
from stream.errors import BrokerError, RefusalError, TopicError
from stream.formats.registry import source_format
from stream.kafka.client import quiet_aiokafka
from stream.kafka.consumer import (
    commits,
    current_partitions,
    last_record,
    open_consumer,
    record_at,
    subscriptions,
)
from stream.kafka.topic_identity import (
    Shape,
    followed,
    remembered,
    remembered_mark,
    replaced,
    shapes,
)
from stream.kafka.topic_rules import Difference
from stream.kafka.topics import check_topics
from stream.pipeline.decode import Decoder
from stream.schema_registry.schemas import schemas_of

log = logging.getLogger("interest_stream")

LOOKS: Final = 4
LOOK_S: Final = 0.5
"""Between looks at ends that seem to be before what is committed."""

PLAUSIBLE_MS: Final = 946_684_800_000
"""The year 2000: an earlier time of an event says nothing, its unit was not understood."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Holds the first and the next offset of a partition."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Committed:
    """Holds what the group has committed of the topics of a pipeline."""

    source: dict[int, int]  # the next offset, by partition; 0 if there is none
    changelog: dict[int, int]  # the same of those that were committed
    ids: dict[str, set[str]]  # of each topic: the ids that were written with the offsets
    marks: set[Mark]  # of how events were read


async def preflight(settings: Settings) -> int:
    """Checks topics and changelog, and returns how many partitions the source topic has.

    Raises TopicError, RefusalError, BrokerError.
    """
    if differences := await check_topics(settings):
        raise TopicError(_listed(differences, settings))
    consumer = await open_consumer(settings, group_id=settings.app_id)
    with quiet_aiokafka():
        try:
            # offsets before ends: other workers go on committing, and what they commit meanwhile
            # must not seem to be beyond the end
            committed = await _committed(consumer, settings)
            await _refuse_other_pipeline(consumer, settings)
            source = await _ends(consumer, settings.source_topic, committed.source)
            changelog = await _ends(consumer, settings.changelog_topic, committed.changelog)
            refuse_replaced(settings, committed.ids, await shapes(consumer, followed(settings)))
            if settings.source_topic not in committed.ids and len(source) == len(changelog):
                await _refuse_other_events(consumer, settings, sorted(source))
        except (GroupAuthorizationFailedError, TopicAuthorizationFailedError) as error:
            raise BrokerError(
                f"{settings.principal or 'this client'!r} is not allowed to read group "
                f"{settings.app_id}, {settings.source_topic} or {settings.changelog_topic} "
                f"({type(error).__name__}: {error}); see the table of rights in the runbook"
            ) from error
        finally:
            await consumer.stop()
    parked: dict[int, set[int]] = {}
    if any(
        offset and partition in changelog and _is_cut(changelog[partition])
        for partition, offset in committed.source.items()
    ):
        parked = places_of((await read(settings)).parked, settings.source_topic)
    refuse(settings, source, changelog, committed.source, parked, committed.changelog)
    if said := other_reading(settings, committed.marks, mark_of(settings)):
        log.warning("%s", said)
    return len(source)


def other_reading(settings: Settings, before: Iterable[Mark], now: Mark) -> str | None:
    """Returns what is to be said if events were read otherwise before; None: nothing is. Pure.

    It is no refusal: a mapping that is mended is the usual case, and states stay sound.
    """
    said = sorted(each.said for each in before if each.digest != now.digest)
    if not said:
        return None
    return (
        f"{settings.events_topic} was read as {', '.join(said)} until now, and is read as "
        f"{now.said} from here on: states keep what they were made of, and `audit` expects one "
        "reading of all. Start with a new --app-id to read everything anew"
    )


async def _committed(consumer: AIOKafkaConsumer, settings: Settings) -> Committed:
    """Returns the offsets of the group, and the ids of topics that were written with them."""
    topics = sorted({settings.source_topic, settings.events_topic, settings.changelog_topic})
    places = [each for topic in topics for each in await current_partitions(consumer, topic)]
    found = await commits(consumer, places)
    ids: dict[str, set[str]] = {}
    marks: set[Mark] = set()
    for commit in found.values():
        for topic, topic_id in remembered(commit.metadata).items():
            ids.setdefault(topic, set()).add(topic_id)
        if (mark := remembered_mark(commit.metadata)) is not None:
            marks.add(mark)

    def offsets(topic: str) -> dict[int, int]:
        return {
            each.partition: commit.offset for each, commit in found.items() if each.topic == topic
        }

    none = {each.partition: 0 for each in places if each.topic == settings.source_topic}
    source = none | offsets(settings.source_topic)
    return Committed(source, offsets(settings.changelog_topic), ids, marks)


def _listed(differences: list[Difference], settings: Settings) -> str:
    live = " --live-popularity" if settings.live_popularity else ""
    rights = ""
    if settings.principal:
        rights = f"; what {settings.principal!r} is not allowed to Describe is missing for it"
    return "\n".join(
        [
            "the topics are not as they must be:",
            *(f"  {each}" for each in differences),
            f"create missing ones with 'interest-stream topics create{live}'; "
            f"see 'interest-stream topics check'{rights}",
        ]
    )


async def _refuse_other_pipeline(consumer: AIOKafkaConsumer, settings: Settings) -> None:
    """Raises RefusalError if workers of the group read other topics.

    The group would deal the partitions of one changelog out to both. A group that is rebalancing
    does not say what its members read, and a coordinator that moves is not asked again.
    """
    with suppress(
        KafkaConnectionError,
        NodeNotReadyError,
        RequestTimedOutError,
        GroupCoordinatorNotAvailableError,
    ):
        for member, topics in await subscriptions(consumer, settings.app_id):
            if topics and settings.source_topic not in topics:
                raise RefusalError(
                    f"a worker of group {settings.app_id} ({member}) reads "
                    f"{', '.join(sorted(topics))} and not {settings.source_topic}: two pipelines "
                    "with one --app-id would mix their states. Start with an --app-id of its own"
                )


async def _ends(
    consumer: AIOKafkaConsumer, topic: str, committed: Mapping[int, int]
) -> dict[int, Ends]:
    """Returns where the partitions of a topic begin and end, after a second look if need be.

    A broker that leads a partition since a moment ago may not know all that was acknowledged.
    """
    partitions = await current_partitions(consumer, topic)
    for _ in range(LOOKS):
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        if all(committed.get(each.partition, 0) <= ends[each] for each in partitions):
            break
        await asyncio.sleep(LOOK_S)
    return {each.partition: Ends(begins[each], ends[each]) for each in partitions}


def refuse_replaced(
    settings: Settings, committed: Mapping[str, Iterable[str]], now: Mapping[str, Shape]
) -> None:
    """Raises RefusalError if a topic is not the one that the group's offsets were committed with.

    Pure. committed: of each topic the ids that were written with the offsets.
    """
    gone = {
        topic
        for topic, ids in committed.items()
        for topic_id in ids
        if topic in followed(settings) and replaced({topic: topic_id}, now)
    }
    if not gone:
        return
    group = settings.app_id
    forget = f"delete the offsets of the group (kafka-consumer-groups --delete --group {group})"
    anew = "Start with a new --app-id, or"
    if settings.source_topic in gone:
        topic, said = settings.source_topic, "new events would be taken for old ones"
        remedy = (
            f"{anew} delete the changelog {settings.changelog_topic} and {forget} to begin from "
            "empty states"
        )
    elif settings.changelog_topic in gone:
        topic, said = settings.changelog_topic, "it is the changelog, and states may be gone"
        remedy = (
            f"{anew}, if all of it was restored, {forget}: what its states lack is read again then"
        )
    elif settings.profiles_topic in gone:
        topic, said = settings.profiles_topic, "users have no profile until their next event"
        remedy = f"{anew} {forget} to go on without; states stay as they are"
    else:
        topic, said = settings.events_topic, "its offsets name other events now"
        remedy = f"{anew} {forget}: it is forwarded from its beginning, states stay as they are"
    raise RefusalError(
        f"{topic} was deleted and created again since group {group} committed its offsets: {said}. "
        f"{remedy}"
    )


async def _refuse_other_events(
    consumer: AIOKafkaConsumer, settings: Settings, partitions: list[int]
) -> None:
    """Raises RefusalError if the source does not hold the events that the states were made of.

    It asks the logs, because no commit tells: the offsets are gone, or the broker has no ids.
    """
    limits = limits_of(settings)
    event_format, topic = source_format(settings), settings.source_topic
    decoder, schemas = (
        Decoder(limits, event_format=event_format),
        schemas_of(event_format, settings),
    )
    for partition in partitions:
        changelog = TopicPartition(settings.changelog_topic, partition)
        newest, _ = await last_record(consumer, changelog, lambda each: bool(each.value))
        if newest is None:
            continue
        with suppress(CorruptRecordError):  # recovery will say so, and where
            state = decode_record(newest.value)
            if (state.header["topic"], state.header["partition"]) != (topic_code(topic), partition):
                continue
            offset = int(state.header["offset"])
            record = await record_at(consumer, TopicPartition(topic, partition), offset)
            if record is not None:
                await schemas.know([record])
            if record is None or is_event_of(newest.key, state, topic, record, decoder):
                continue
            raise RefusalError(
                f"{topic}[{partition}] has another event at offset {offset} than the states of "
                f"{settings.changelog_topic} were made of: it was deleted and created again, or "
                "was read by another --event-format or --mapping. "
                "Start with a new --app-id, or delete the changelog to begin from empty states"
            )
    await schemas.close()


def is_event_of(user: bytes, state: Record, topic: str, record: Any, decoder: Decoder) -> bool:
    """Returns whether a record can be the event or control that a state was last made of."""
    held_ms = int(state.header["time_ms"])
    batch = decoder.decode(topic, int(state.header["partition"]), [record])
    if batch.controls:
        broker_ms = int(state.header["broker_ms"])
        return batch.controls[0].user == user and batch.controls[0].broker_ms == broker_ms
    if set(batch.users) != {user}:
        return False
    return held_ms < PLAUSIBLE_MS or held_ms in batch.compact["time_ms"]


def _is_cut(changelog: Ends) -> bool:
    """Returns whether a partition of the changelog has lost records, which compaction never does.

    It is never empty either: a worker writes a record before it restores states.
    """
    return changelog.begin == changelog.end or changelog.begin > 0


def refuse(
    settings: Settings,
    source: dict[int, Ends],
    changelog: dict[int, Ends],
    committed: dict[int, int],
    parked: dict[int, set[int]],
    covered: Mapping[int, int] | None = None,
) -> None:
    """Raises RefusalError where going on would lose or double events.

    Pure. parked: by partition the offsets of its bad records, if the changelog has lost some:
    without a good event there are no states. covered: by partition the changelog's offset that was
    committed with the source's.
    """
    if len(source) != len(changelog):
        raise RefusalError(
            f"{settings.source_topic} has {len(source)} partitions and its changelog "
            f"{settings.changelog_topic} has {len(changelog)}: the count was changed after states "
            "were written, and users have moved. Start with a new --app-id (and topics created for "
            "it)"
        )
    for partition, offset in sorted(committed.items()):
        if offset > source[partition].end:
            raise RefusalError(
                f"group {settings.app_id} has committed offset {offset} of "
                f"{settings.source_topic}[{partition}], which ends at {source[partition].end}: the "
                "topic was deleted and created again. Start with a new --app-id"
            )
    consumed = {
        partition
        for partition, offset in committed.items()
        if sum(each < offset for each in parked.get(partition, ())) < offset
    }
    for partition in sorted(consumed):
        ends, past = changelog[partition], (covered or {}).get(partition, 0)
        if ends.begin == ends.end:
            lost = "is empty"
        elif ends.begin > 0:
            lost = f"begins at {ends.begin}, so its first records were deleted"
        elif past > ends.end:
            lost = f"ends at {ends.end}, and was written up to {past}"
        else:
            continue
        raise RefusalError(
            f"offsets of group {settings.app_id} are committed, but the changelog "
            f"{settings.changelog_topic}[{partition}] {lost}: states are gone, and their events "
            "would not be read again. Restore the changelog, or start with a new --app-id to "
            "rebuild all states from the topic"
        )
