"""Runs the short tier of the fault campaign: workers killed at random and at every point.

They are real workers, and the points are those of a batch. The rest: make faults.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from stream.broker.local_kafka import LocalKafka
from tests.faults.campaign.__main__ import SCENARIOS, one
from tests.faults.campaign.clusters import cluster
from tests.faults.campaign.proxy import Proxy
from tests.faults.campaign.scenarios_kills import w1

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture(scope="module")
def campaign(
    forks: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LocalKafka, Proxy, Path]]:
    folder = tmp_path_factory.mktemp("campaign")
    with cluster(folder / "kafka") as (broker, proxy):
        yield broker, proxy, folder


@pytest.mark.parametrize(("scenario", "trials"), [("W1", 2), ("W4", 11)])
def test_kills_lose_and_double_nothing(
    campaign: tuple[LocalKafka, Proxy, Path],
    scenario: str,
    trials: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(SCENARIOS, "W1", partial(w1, kills=2))
    broker, proxy, folder = campaign
    result = one(scenario, 1, broker, proxy, folder, sits_out=False)
    assert result["violations"] == {}, result
    assert (result["effective"], result["void"]) == (trials, 0)


def test_a_fault_injector_that_does_nothing_makes_the_run_void(
    campaign: tuple[LocalKafka, Proxy, Path],
) -> None:
    broker, proxy, folder = campaign
    result = one("void", 1, broker, proxy, folder, "fault injector made a no-op")
    assert (result["effective"], result["void"]) == (0, 1)
