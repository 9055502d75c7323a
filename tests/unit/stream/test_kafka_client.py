"""What the group says about itself as a whole is heard, beside what it says of partitions; one broker of several may be away."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import NodeNotReadyError
from aiokafka.protocol.commit import OffsetFetchResponse_v3

from stream.errors import BrokerError
from stream.kafka_client import ask_any, heed_group_errors

LOADING, NOT_COORDINATOR = 14, 16
PLACE = TopicPartition("events", 0)


def committed(*errors: int, heeding: bool) -> Any:
    """What a consumer is told when its coordinator answers with these errors, and then with offset 399."""
    answers = [OffsetFetchResponse_v3(0, [], error) for error in errors]
    answers.append(OffsetFetchResponse_v3(0, [("events", [(0, 399, "", 0)])], 0))
    coordinator = GroupCoordinator.__new__(GroupCoordinator)
    coordinator.group_id, coordinator._retry_backoff_ms = "group", 1

    async def known() -> None:
        """Found, or found again."""

    async def answer(request: object) -> OffsetFetchResponse_v3:
        return answers.pop(0)

    coordinator.ensure_coordinator_known, coordinator._send_req = known, answer
    coordinator.coordinator_dead = lambda: None
    if heeding:
        heed_group_errors(SimpleNamespace(_coordinator=coordinator))
    return asyncio.run(coordinator.fetch_committed_offsets([PLACE])).get(PLACE)


@pytest.mark.parametrize("error", [LOADING, NOT_COORDINATOR])
def test_offsets_of_a_group_that_is_loading_are_asked_for_again(error: int) -> None:
    assert committed(error, error, heeding=True).offset == 399


def test_the_library_still_takes_it_for_an_empty_group() -> None:
    """If this fails, aiokafka looks at the error itself: heed_group_errors can go."""
    assert committed(LOADING, heeding=False) is None


@pytest.mark.parametrize(("away", "told"), [({1, 2}, ""), ({1, 2, 3}, "no Kafka broker answers any more")])
def test_a_question_for_any_broker_goes_to_one_that_answers(away: set[int], told: str) -> None:
    async def send(request: str, node_id: int | None = None) -> tuple[str, int | None]:
        if node_id in away:
            raise NodeNotReadyError
        return request, node_id

    known = [SimpleNamespace(nodeId=node) for node in (1, 2, 3)]
    admin: Any = SimpleNamespace(
        _send_request=send, _client=SimpleNamespace(cluster=SimpleNamespace(brokers=lambda: known))
    )
    ask_any(admin)
    with pytest.raises(BrokerError, match=told) if told else nullcontext():
        assert asyncio.run(admin._send_request("topics?")) == ("topics?", 3)
