"""What a campaign's exit code and table of planted bugs say."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.campaign.report import failed, planted


def result(bug: str = "", void: int = 0, **violations: int) -> dict[str, Any]:
    return {"planted": bug, "violations": violations, "void": void, "seconds": 3.0}


@pytest.mark.parametrize(
    ("results", "wrong"),
    [
        ([result()], False),
        ([result(T1=2)], True),
        ([result("recovery from offset+1", T1=2)], False),
        ([result("recovery from offset+1")], True),  # nothing turned red
        ([result("recovery from offset+1", U3=1, RUN=1)], True),  # something did, and not what must
        ([result("fault injector made a no-op", void=3)], False),
        ([result("recovery from offset+1", T1=2), result(H1=1)], True),
    ],
)
def test_a_violation_and_a_bug_that_was_not_caught_fail_the_campaign(
    results: list[dict[str, Any]], wrong: bool
) -> None:
    assert failed(results) is wrong


def test_the_table_says_what_was_not_caught() -> None:
    table = planted(
        [result("dead letter truncated", D2=4), result("no dedupe on replay", U1=1, RUN=1)]
    )
    assert "| dead letter truncated | D2 | D2 | 3 s |" in table
    assert "| no dedupe on replay | T1 | U1: NOT CAUGHT | 3 s |" in table
