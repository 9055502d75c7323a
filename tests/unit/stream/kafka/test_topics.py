"""Creates topics on a broker that shows a new topic late.

What one broker does by chance happens here for certain.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from stream.config import Settings
from stream.errors import TopicError
from stream.kafka.topics import TOPIC_EXISTS, create_topics

SETTINGS = Settings(app_id="shop")


class LateBroker:
    """Answers as an admin client does.

    The clickstream topic exists with five partitions and is not listed at first.
    """

    def __init__(self) -> None:
        self.topics = {"clickstream": 5}
        self._listings = 0

    async def describe_topics(self) -> list[dict[str, Any]]:
        self._listings += 1
        return [
            {"topic": name, "partitions": [{"error_code": 0, "replicas": [1]}] * count}
            for name, count in self.topics.items()
            if self._listings > 1
        ]

    async def describe_configs(self, resources: list[Any]) -> list[Any]:
        return [SimpleNamespace(resources=[(0, "", 2, each.name, []) for each in resources])]

    async def create_topics(self, topics: list[Any], timeout_ms: int) -> Any:
        errors = []
        for topic in topics:
            errors.append((topic.name, TOPIC_EXISTS if topic.name in self.topics else 0, ""))
            self.topics.setdefault(topic.name, topic.num_partitions)
        return SimpleNamespace(topic_errors=errors)


def create(
    broker: LateBroker, partitions: int | None = None, settings: Settings = SETTINGS
) -> list[tuple[str, bool]]:
    admin: Any = broker
    made = asyncio.run(create_topics(settings, partitions, admin=admin))
    return [(topic.name, created) for topic, created in made]


def test_a_source_topic_that_is_seen_late_still_gives_the_partition_count() -> None:
    broker = LateBroker()
    made = create(broker)
    assert set(broker.topics.values()) == {5}
    assert len(broker.topics) == len(made) == 5
    assert [name for name, created in made if not created] == ["clickstream"]


def test_another_count_than_that_of_a_source_topic_seen_late_is_refused() -> None:
    broker = LateBroker()
    with pytest.raises(TopicError, match="exists with 5 partitions, 4 were asked for"):
        create(broker, 4)
    assert broker.topics == {"clickstream": 5}


class LaggingCluster(LateBroker):
    """Sends every second request to a broker that knows no topics and no settings yet."""

    def __init__(self) -> None:
        super().__init__()
        self._described = 0

    async def describe_topics(self) -> list[dict[str, Any]]:
        listed = await super().describe_topics()
        return listed if self._listings % 2 == 0 else []

    async def describe_configs(self, resources: list[Any]) -> list[Any]:
        self._described += 1
        known = self._described % 2 == 0
        found: list[Any] = [(0 if known else 3, "", 2, each.name, []) for each in resources]
        return [SimpleNamespace(resources=found)]


def test_a_cluster_whose_brokers_learn_of_a_topic_one_after_the_other_has_them_in_the_end() -> None:
    cluster = LaggingCluster()
    assert len(create(cluster)) == 5
    assert set(cluster.topics.values()) == {5}


def test_a_topic_with_a_count_of_its_own_gets_it() -> None:
    broker = LateBroker()
    create(broker, settings=Settings(app_id="shop", live_popularity=True))
    assert broker.topics.pop("item-popularity") == 1
    assert set(broker.topics.values()) == {5}
