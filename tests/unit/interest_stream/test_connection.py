"""How Kafka is reached comes from the arguments, then from the environment, then from defaults."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from pathlib import Path

import pytest

from interest_stream import BrokerError, Producer, PublishError, SettingsError, profile, subscribe
from interest_stream.connection import Connection, settings_of
from stream.broker.ports import free_ports
from stream.config import ConnectionSettings

NOBODY = "kafka://127.0.0.1"


def test_arguments_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTEREST_STREAM_BROKER", "kafka://elsewhere:9092")
    monkeypatch.setenv("INTEREST_STREAM_EVENTS_TOPIC", "clicks")
    assert settings_of({}, events_topic=None).bootstrap == ["elsewhere:9092"]
    found = settings_of({"broker": "kafka://here:9092"}, events_topic="views")
    assert (found.bootstrap, found.events_topic) == (["here:9092"], "views")
    assert settings_of({}).events_topic == "clicks"


def test_a_wrong_setting_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match="write host:port"):
        subscribe(broker="here")
    with pytest.raises(SettingsError, match="brokers is no option of a connection; use one of"):
        Producer(brokers="kafka://here:9092")  # type: ignore[call-arg]  # what a type checker says
    with pytest.raises(SettingsError, match="sends the password in the clear"):
        Producer(security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN")


def test_a_program_may_give_every_setting_of_a_connection_or_a_file_of_them(tmp_path: Path) -> None:
    given = {each.name for each in fields(ConnectionSettings)} | {"config"}
    assert set(Connection.__annotations__) == given
    file = tmp_path / "shop.toml"
    file.write_text('broker = "kafka-1:9092,kafka-2:9092"')
    found = settings_of({"config": str(file)}, events_topic="views")
    assert found.bootstrap == ["kafka-1:9092", "kafka-2:9092"]


def test_a_broker_that_is_away_is_named() -> None:
    broker = f"{NOBODY}:{free_ports(1)[0]}"

    async def sent() -> None:
        async with Producer(broker=broker):
            pass

    async def read() -> None:
        async for _ in subscribe(broker=broker):
            pass

    async def looked_up() -> None:
        await profile("user-7", broker=broker)

    for program in (sent, read, looked_up):
        with pytest.raises(BrokerError, match="no Kafka broker answers"):
            asyncio.run(program())


def test_a_producer_sends_only_while_it_is_open() -> None:
    producer = Producer()
    event = {"user_id": "u", "action": "view", "time": 1_767_225_600_000, "item_id": "a"}
    with pytest.raises(PublishError, match="send within 'async with Producer"):
        asyncio.run(producer.send(event))
