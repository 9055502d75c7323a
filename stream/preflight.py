"""What a worker refuses to start with, found before it joins the group (DESIGN.md section 5).

Two more refusals need the states themselves and are made after recovery: stream/table.py.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    KafkaConnectionError,
    NodeNotReadyError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.admin import DescribeGroupsRequest

from stream.config import Settings
from stream.errors import BrokerError, RefusalError, TopicError
from stream.kafka_client import client_options, quiet_aiokafka, start_client
from stream.replaying import places_of, read
from stream.topics import check_topics


@dataclass(frozen=True, slots=True)
class Ends:
    """First and next offset of a partition."""

    begin: int
    end: int


async def preflight(settings: Settings) -> int:
    """Check topics and changelog; the number of partitions of the source topic. Raises TopicError or RefusalError."""
    differences = await check_topics(settings)
    if differences:
        raise TopicError(
            "the topics are not as they must be:\n  "
            + "\n  ".join(str(each) for each in differences)
            + f"\ncreate missing ones with 'interest-stream topics create{' --live-popularity' if settings.live_popularity else ''}'; "
            "see 'interest-stream topics check'"
            + (
                f"; what {settings.sasl_username!r} is not allowed to Describe is missing for it"
                if settings.sasl_username
                else ""
            )
        )
    consumer = AIOKafkaConsumer(group_id=settings.app_id, enable_auto_commit=False, **client_options(settings))
    await start_client(consumer, settings)
    with quiet_aiokafka():
        try:
            # offsets before ends: other workers go on committing, and what they commit meanwhile must not seem to be beyond the end
            committed = {
                partition: await consumer.committed(TopicPartition(settings.source_topic, partition)) or 0
                for partition in sorted(await _partitions(consumer, settings.source_topic))
            }
            await _refuse_other_pipeline(consumer, settings)
            source = await _ends(consumer, settings.source_topic)
            changelog = await _ends(consumer, settings.changelog_topic)
        except (GroupAuthorizationFailedError, TopicAuthorizationFailedError) as error:
            raise BrokerError(
                f"{settings.sasl_username or 'this client'!r} is not allowed to read group {settings.app_id}, {settings.source_topic} or "
                f"{settings.changelog_topic} ({type(error).__name__}: {error}); see the table of rights in the runbook"
            ) from error
        finally:
            await consumer.stop()
    parked: dict[int, set[int]] = {}
    if any(committed.values()) and all(ends.begin == ends.end for ends in changelog.values()):
        parked = places_of(await read(settings), settings.source_topic)
    refuse(settings, source, changelog, committed, parked)
    return len(source)


async def _refuse_other_pipeline(consumer: AIOKafkaConsumer, settings: Settings) -> None:
    """Raise RefusalError if workers of the group read other topics: the group would deal the partitions of one changelog out to both.

    A group that is rebalancing does not tell what its members read, and a coordinator that moves is not asked again.
    """
    coordinator = consumer._coordinator
    with suppress(KafkaConnectionError, NodeNotReadyError, RequestTimedOutError, GroupCoordinatorNotAvailableError):
        await coordinator.ensure_coordinator_known()
        answer = await coordinator._send_req(DescribeGroupsRequest([settings.app_id]))
        ((code, _, _, _, _, members, *_),) = answer.groups
        if for_code(code) is GroupAuthorizationFailedError:
            raise GroupAuthorizationFailedError(settings.app_id)
        for _, client_id, host, metadata, _ in members:
            topics = ConsumerProtocol.METADATA.decode(metadata).subscription if metadata else []
            if topics and settings.source_topic not in topics:
                raise RefusalError(
                    f"a worker of group {settings.app_id} ({client_id} at {host}) reads {', '.join(sorted(topics))} and not "
                    f"{settings.source_topic}: two pipelines with one --app-id would mix their states. Start with an --app-id of its own"
                )


async def _ends(consumer: AIOKafkaConsumer, topic: str) -> dict[int, Ends]:
    partitions = [TopicPartition(topic, each) for each in sorted(await _partitions(consumer, topic))]
    begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    return {each.partition: Ends(begins[each], ends[each]) for each in partitions}


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client.force_metadata_update()
    found: set[int] | None = consumer.partitions_for_topic(topic)
    if not found:
        await consumer._client._wait_on_metadata(topic)
        found = consumer.partitions_for_topic(topic)
    if not found:
        raise TopicError(f"topic {topic} is missing; create it with 'interest-stream topics create'")
    return found


def refuse(
    settings: Settings,
    source: dict[int, Ends],
    changelog: dict[int, Ends],
    committed: dict[int, int],
    parked: dict[int, set[int]],
) -> None:
    """Raise RefusalError where going on would lose or double events. Pure.

    parked: by partition the offsets of its bad records, if the changelog is empty: without a good event there are no states.
    """
    if len(source) != len(changelog):
        raise RefusalError(
            f"{settings.source_topic} has {len(source)} partitions and its changelog {settings.changelog_topic} has {len(changelog)}: "
            "the count was changed after states were written, and users have moved. Start with a new --app-id (and topics created for it)"
        )
    consumed = {
        partition
        for partition, offset in committed.items()
        if sum(each < offset for each in parked.get(partition, ())) < offset
    }
    if consumed and all(changelog[each].begin == changelog[each].end for each in consumed):
        raise RefusalError(
            f"offsets of group {settings.app_id} are committed, but the changelog {settings.changelog_topic} is empty: states are "
            "gone, and their events would not be read again. Restore the changelog, or start with a new --app-id to rebuild all "
            "states from the topic"
        )
    for partition, offset in sorted(committed.items()):
        if offset > source[partition].end:
            raise RefusalError(
                f"group {settings.app_id} has committed offset {offset} of {settings.source_topic}[{partition}], which ends at "
                f"{source[partition].end}: the topic was deleted and created again. Start with a new --app-id"
            )
