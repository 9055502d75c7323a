"""Checks that errors of a group as a whole count like those of its partitions.

And that one broker of several may be away.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import NodeNotReadyError
from aiokafka.protocol.commit import OffsetFetchResponse_v3

from stream.broker.ports import free_ports
from stream.errors import BrokerError
from stream.kafka.client import ask_any, check_advertised, heed_group_errors

LOADING, NOT_COORDINATOR = 14, 16
PLACE = TopicPartition("events", 0)


def committed(*errors: int, heeding: bool) -> Any:
    """Returns the offset that a consumer reads for its group.

    Its coordinator answers with these errors, and then with offset 399.
    """
    answers = [OffsetFetchResponse_v3(0, [], error) for error in errors]
    answers.append(OffsetFetchResponse_v3(0, [("events", [(0, 399, "", 0)])], 0))
    coordinator = GroupCoordinator.__new__(GroupCoordinator)
    coordinator.group_id, coordinator._retry_backoff_ms = "group", 1

    async def known() -> None:
        """Does nothing: the coordinator is found, or found again."""

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
    """Fails once aiokafka looks at the error itself; then heed_group_errors can go."""
    assert committed(LOADING, heeding=False) is None


@pytest.mark.parametrize(
    ("away", "message"),
    [({1, 2}, ""), ({1, 2, 3}, "no Kafka broker answers any more.*they advertise one:9092")],
)
def test_a_request_to_any_broker_goes_to_one_that_answers(away: set[int], message: str) -> None:
    async def send(request: str, node_id: int | None = None) -> tuple[str, int | None]:
        if node_id in away:
            raise NodeNotReadyError
        return request, node_id

    known = [SimpleNamespace(nodeId=node, host="one", port=9092) for node in (1, 2, 3)]
    client = SimpleNamespace(
        hosts=[("one", 9092, None)], cluster=SimpleNamespace(brokers=lambda: known)
    )
    admin: Any = SimpleNamespace(_send_request=send, _client=client)
    ask_any(admin)
    with pytest.raises(BrokerError, match=message) if message else nullcontext():
        assert asyncio.run(admin._send_request("topics?")) == ("topics?", 3)


def of_brokers(*advertised: tuple[str, int], asked: str) -> Any:
    """A client that asked one address and was told these."""
    host, port = asked.split(":")
    brokers = [SimpleNamespace(host=host, port=port) for host, port in advertised]
    return SimpleNamespace(
        hosts=[(host, int(port), None)], cluster=SimpleNamespace(brokers=lambda: brokers)
    )


def test_an_advertised_address_that_cannot_be_reached_is_named() -> None:
    (closed,) = free_ports(1)
    client = of_brokers(("127.0.0.1", closed), ("no-such-host.invalid", 9), asked="127.0.0.1:1")
    with pytest.raises(BrokerError) as caught:
        asyncio.run(check_advertised(client))
    told = str(caught.value)
    assert told.startswith("the broker at 127.0.0.1:1 advertises ")
    assert f"127.0.0.1:{closed}, which cannot be reached from here (connection refused)" in told
    assert "no-such-host.invalid:9, which cannot be reached from here (" in told
    assert "advertised.listeners" in told


def test_one_advertised_address_that_can_be_reached_is_enough() -> None:
    (closed,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = of_brokers(("127.0.0.1", closed), ("127.0.0.1", port), asked="127.0.0.1:1")
        asyncio.run(check_advertised(client))


def test_an_address_that_was_asked_is_not_tried_again() -> None:
    asyncio.run(check_advertised(of_brokers(("127.0.0.1", 1), asked="127.0.0.1:1")))
    asyncio.run(check_advertised(of_brokers(asked="127.0.0.1:1")))
