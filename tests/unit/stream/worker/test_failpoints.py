"""Failpoints kill workers on purpose, so they must be impossible by accident."""

from __future__ import annotations

import pytest

from stream.errors import SettingsError
from stream.worker.failpoints import FailpointError, from_environment


def test_without_configuration_nothing_happens() -> None:
    from_environment({})("computed")


def test_they_are_refused_outside_of_tests() -> None:
    with pytest.raises(SettingsError, match="INTEREST_STREAM_TEST=1"):
        from_environment({"INTEREST_STREAM_FAILPOINTS": "computed=raise"})


@pytest.mark.parametrize(
    "spec",
    ["nowhere=kill", "computed=explode", "computed", "computed=kill@often", "computed=sleep:long"],
)
def test_a_wrong_one_is_named(spec: str) -> None:
    with pytest.raises(SettingsError, match=spec.split("@")[0]):
        from_environment({"INTEREST_STREAM_FAILPOINTS": spec, "INTEREST_STREAM_TEST": "1"})


def test_it_acts_the_nth_time_only() -> None:
    reach = from_environment(
        {"INTEREST_STREAM_FAILPOINTS": "computed=raise@2", "INTEREST_STREAM_TEST": "1"}
    )
    reach("computed")
    with pytest.raises(FailpointError):
        reach("computed")
    reach("computed")


def test_a_sleep_ends_and_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    from_environment(
        {"INTEREST_STREAM_FAILPOINTS": "computed=sleep:0.01", "INTEREST_STREAM_TEST": "1"}
    )("computed")
    assert capfd.readouterr().err == "failpoint computed: sleep:0.01, reached 1 times\n"
