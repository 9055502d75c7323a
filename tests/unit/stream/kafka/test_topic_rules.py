"""Checks the declaration of the topics, and what counts as a difference from it."""

from __future__ import annotations

import pytest

from stream.config import Settings
from stream.kafka.topic_rules import (
    DAY_MS,
    HOUR_MS,
    Difference,
    Found,
    Topic,
    compare,
    declared,
)

SETTINGS = Settings(app_id="shop")
LIVE = Settings(app_id="shop", live_popularity=True)


def topic(name: str, replication: int = 1, settings: Settings = SETTINGS) -> Topic:
    return next(each for each in declared(settings, replication) if each.name == name)


def as_created(
    wanted: Topic, changed: dict[str, str] | None = None, partitions: int = 4, replication: int = 1
) -> Found:
    return Found(
        partitions,
        replication,
        {name: str(rule.value) for name, rule in wanted.rules.items()} | (changed or {}),
    )


def differences(
    name: str, changed: dict[str, str], replication: int = 1, partitions: int = 4
) -> list[Difference]:
    wanted = topic(name, replication)
    return list(
        compare(wanted, as_created(wanted, changed, partitions, replication), 4, replication)
    )


def test_every_topic_of_the_contract_is_declared_under_the_name_of_the_settings() -> None:
    assert [each.name for each in declared(SETTINGS, 1)] == [
        "clickstream",
        "interest-updates",
        "interest-profiles",
        "shop-user-state-changelog",
        "clickstream-dead-letters",
    ]


def test_rekey_adds_the_topic_that_is_keyed_by_user_and_makes_it_the_source() -> None:
    names = [each.name for each in declared(Settings(rekey=True, events_topic="hits"), 1)]
    assert names[:2] == ["hits-by-user", "hits"]


@pytest.mark.parametrize("replication", [1, 2, 3, 5])
def test_topics_created_as_declared_have_no_difference(replication: int) -> None:
    for wanted in declared(LIVE, replication):
        found = as_created(wanted, {}, wanted.partitions or 4, replication)
        assert list(compare(wanted, found, 4, replication)) == []


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("clickstream", "cleanup.policy", "compact"),
        ("interest-updates", "cleanup.policy", "compact,delete"),
        ("interest-profiles", "cleanup.policy", "delete"),
        ("shop-user-state-changelog", "cleanup.policy", "delete,compact"),
        ("shop-user-state-changelog", "max.message.bytes", "100000"),
        ("clickstream-dead-letters", "max.message.bytes", "1048588"),
    ],
)
def test_settings_that_lose_events_are_unsafe(name: str, setting: str, value: str) -> None:
    (found,) = differences(name, {setting: value})
    assert (found.topic, found.setting, found.found, found.unsafe) == (name, setting, value, True)


@pytest.mark.parametrize("name", ["clickstream", "interest-updates", "clickstream-dead-letters"])
def test_segments_that_keep_records_long_beyond_their_retention_are_told(name: str) -> None:
    (found,) = differences(name, {"segment.ms": "604800000"})
    assert (found.setting, found.wanted, found.unsafe) == (
        "segment.ms",
        "must be at most 172800000",
        False,
    )
    assert differences(name, {"segment.ms": "3600000"}) == []


def test_one_acknowledging_replica_of_three_is_unsafe() -> None:
    (found,) = differences("shop-user-state-changelog", {"min.insync.replicas": "1"}, replication=3)
    assert (found.wanted, found.unsafe) == ("must be at least 2", True)


def test_more_acknowledging_replicas_than_there_are_is_told() -> None:
    (found,) = differences("clickstream", {"min.insync.replicas": "2"})
    assert "nothing can be written" in str(found)


@pytest.mark.parametrize(
    "name", ["interest-updates", "interest-profiles", "shop-user-state-changelog"]
)
def test_partitions_of_what_the_worker_writes_must_equal_the_source(name: str) -> None:
    (found,) = differences(name, {}, partitions=8)
    assert (found.setting, found.found, found.unsafe) == ("partitions", "8", True)


def test_dead_letters_may_have_any_number_of_partitions() -> None:
    assert differences("clickstream-dead-letters", {}, partitions=1) == []


@pytest.mark.parametrize(
    ("value", "reported"), [("3600000", True), ("2419200000", False), ("-1", False)]
)
def test_retention_is_the_owners_choice_above_a_day_and_never_stops_a_worker(
    value: str, reported: bool
) -> None:
    found = differences("clickstream", {"retention.ms": value})
    assert [(each.setting, each.unsafe) for each in found] == (
        [("retention.ms", False)] if reported else []
    )


def test_erasure_without_a_bound_in_time_is_told() -> None:
    (found,) = differences("interest-profiles", {"max.compaction.lag.ms": "9223372036854775807"})
    assert (found.setting, found.unsafe) == ("max.compaction.lag.ms", False)


@pytest.mark.parametrize(
    ("name", "changed", "found"),
    [
        ("interest-updates", {"retention.ms": str(30 * DAY_MS)}, str(31 * DAY_MS)),
        ("interest-updates", {"retention.ms": "-1"}, "without end"),
        ("clickstream-dead-letters", {"retention.ms": str(40 * DAY_MS)}, str(41 * DAY_MS)),
        (
            "shop-user-state-changelog",
            {"delete.retention.ms": str(23 * DAY_MS)},
            str(30 * DAY_MS + 6 * HOUR_MS),
        ),
    ],
)
def test_what_outlives_an_erasure_too_long_is_told_and_stops_no_worker(
    name: str, changed: dict[str, str], found: str
) -> None:
    (each,) = differences(name, changed)
    assert (each.found, each.wanted, each.unsafe) == (
        found,
        f"must be at most {30 * DAY_MS}",
        False,
    )
    assert "segment.ms" in each.setting.split(" + ")
    assert differences("clickstream", {"retention.ms": "-1"}) == []  # its owner's own


def test_dead_letters_that_outlive_the_late_window_are_told() -> None:
    wanted = topic("clickstream-dead-letters", settings=Settings(late_window_days=14.5))
    (found,) = compare(wanted, as_created(wanted), 4, 1)
    assert (found.setting, found.unsafe) == ("retention.ms + segment.ms", False)
    assert "late_window_days" in str(found)


def test_segments_of_compacted_topics_are_closed_in_bounded_time() -> None:
    (found,) = differences("interest-profiles", {"segment.ms": str(3 * DAY_MS)})
    assert (found.setting, found.unsafe) == ("segment.ms", False)


def test_a_missing_topic_is_one_unsafe_difference_that_says_what_it_is_for() -> None:
    (found,) = compare(topic("interest-profiles"), None, 4, 1)
    assert (
        str(found) == "interest-profiles: topic is missing, must exist (latest update of each user)"
    )
    assert found.unsafe


def test_too_few_replicas_are_unsafe() -> None:
    wanted = topic("clickstream", 3)
    found = list(compare(wanted, as_created(wanted, {"min.insync.replicas": "1"}), 4, 3))
    assert [(each.setting, each.unsafe) for each in found] == [
        ("replication", True),
        ("min.insync.replicas", True),
    ]


def test_live_popularity_has_a_topic_of_one_partition_whatever_the_source_has() -> None:
    wanted = topic("item-popularity", settings=LIVE)
    assert [each.name for each in declared(LIVE, 1)] == [
        *(each.name for each in declared(SETTINGS, 1)),
        wanted.name,
    ]
    assert list(compare(wanted, as_created(wanted, partitions=1), 4, 1)) == []
    (found,) = compare(wanted, as_created(wanted, partitions=4), 4, 1)
    assert (found.setting, found.wanted, found.unsafe) == ("partitions", "must be 1", True)
    (found,) = compare(wanted, as_created(wanted, {"cleanup.policy": "delete"}, partitions=1), 4, 1)
    assert (found.setting, found.unsafe) == ("cleanup.policy", False)


@pytest.mark.parametrize("rekey", [False, True])
def test_users_expire_by_the_brokers_time_alone(rekey: bool) -> None:
    """A time that a producer may choose could end every state at once."""
    ttl = Settings(user_ttl_days=1, rekey=rekey)
    wanted = topic(ttl.source_topic, settings=ttl)
    stamped = {"message.timestamp.type": "CreateTime"}
    (found,) = compare(wanted, as_created(wanted, stamped), 4, 1)
    assert (found.setting, found.unsafe) == ("message.timestamp.type", True)
    assert "user_ttl_days" in found.why
    assert (
        list(compare(topic("clickstream"), as_created(topic("clickstream"), stamped), 4, 1)) == []
    )
