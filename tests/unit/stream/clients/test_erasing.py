"""Checks what an erasure says where Kafka answers one question and refuses the next."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError

from stream.clients import erasing
from stream.clients.erasing import Outcome, ask_workers
from stream.clients.holdings import Newest
from stream.clients.requests import Ask, Request
from stream.config import Settings
from stream.errors import TopicError
from stream.kafka.topic_rules import Found

TOPICS = {
    "clickstream": Found(1, 1, {"message.timestamp.type": "CreateTime", "retention.ms": "1000"})
}


class Consumer:
    """Is asked for nothing: what it would read is given."""

    async def stop(self) -> None: ...


def outcome_of(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Outcome:
    async def opened(settings: Settings) -> Consumer:
        return Consumer()

    async def partitions(*_: Any) -> list[int]:
        return [0]

    async def nothing(*_: Any) -> Newest:
        return Newest()

    async def topics(settings: Settings) -> Any:
        return SimpleNamespace(found=TOPICS)

    async def sent(settings: Settings, requests: list[Request], *_: Any) -> bool:
        for each in requests:
            each.offset, each.time_ms = 7, 1_767_225_600_000
        return True

    async def searched(*_: Any, **__: Any) -> None: ...

    for name, stub in {
        "open_consumer": opened,
        "partitions_of": partitions,
        "newest_states": nothing,
        "newest_profiles": nothing,
        "look_at_topics": topics,
        "send": sent,
        "search_log": searched,
        "Watch": Obeyed,
        **changes,
    }.items():
        monkeypatch.setattr(erasing, name, stub)
    ask = Ask("erase", "erase-1")
    how = {"wait_s": 1.0, "dry_run": False, "count": True}
    return asyncio.run(ask_workers(Settings(), ["alice"], ask, progress=lambda *_: None, **how))  # type: ignore[arg-type]


class Obeyed:
    """Stands for workers that obey at once."""

    def __init__(
        self, settings: Settings, consumer: Any, ask: Ask, requests: list[Request]
    ) -> None:
        self.requests = requests

    async def open(self, *_: Any) -> None: ...

    async def close(self) -> None: ...

    async def wait(self, *_: Any) -> bool:
        for each in self.requests:
            each.state = "done"
        return True


class Hidden(Obeyed):
    """Stands for a group whose offsets this client may not read."""

    async def wait(self, *_: Any) -> bool:
        raise GroupAuthorizationFailedError("interest-stream")


class Interrupted(Obeyed):
    """Stands for somebody who presses Ctrl-C while it waits."""

    async def wait(self, *_: Any) -> bool:
        raise asyncio.CancelledError


def test_it_is_told_that_the_moment_is_that_of_this_machines_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = outcome_of(monkeypatch)
    assert (found.state, found.why) == ("done", "")
    assert "clickstream has message.timestamp.type CreateTime" in found.warnings[0]
    assert [each.place.name for each in found.places] == [
        "state",
        "profile",
        "updates",
        "events",
        "dead letters",
    ]


def test_rights_that_are_missing_do_not_undo_what_was_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refused(*_: Any, **__: Any) -> None:
        raise TopicAuthorizationFailedError("interest-updates")

    async def unseen(settings: Settings) -> Any:
        raise TopicError("the settings of topic clickstream cannot be read")

    found = outcome_of(monkeypatch, search_log=refused, look_at_topics=unseen)
    assert (found.state, found.sent) == ("done", 1)
    assert "until when the rest lives is not known" in found.warnings[0]
    assert "interest-updates could not be searched (TopicAuthorization" in found.warnings[1]
    found = outcome_of(monkeypatch, Watch=Hidden)
    assert (found.state, found.sent) == ("waiting", 1)
    assert found.why.startswith("Kafka does not let this client see (GroupAuthorizationFailedError")


def test_ctrl_c_while_it_waits_leaves_the_request_in_the_topic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = outcome_of(monkeypatch, Watch=Interrupted)
    assert (found.interrupted, found.sent, found.state) == (True, 1, "waiting")
    assert len(found.places) == 2
