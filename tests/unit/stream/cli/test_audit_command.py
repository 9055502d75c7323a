"""Checks what `audit` says and how it ends: differences, none, or none so far."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from stream.audit import reader
from stream.audit.changelog import Changelog
from stream.audit.compare import compare
from stream.audit.dead_letters import compare_dead_letters
from stream.audit.event_rules import Limits
from stream.audit.replay import Replay
from stream.cli.audit_command import command


@pytest.mark.parametrize(
    ("clean", "not_committed", "code", "said"),
    [
        (True, 0, 0, "every event was applied exactly once"),
        (True, 1_234, 3, "STILL MOVING: every event was applied exactly once but 1,234"),
        (False, 0, 1, "DIFFERENCES FOUND"),
        (False, 1_234, 1, "DIFFERENCES FOUND"),
    ],
)
def test_the_verdict_has_a_code_of_its_own_while_events_flow(
    monkeypatch: pytest.MonkeyPatch, clean: bool, not_committed: int, code: int, said: str
) -> None:
    replay = Replay(Limits())
    report = compare(replay, Changelog(), {}, "clicks") | compare_dead_letters(replay, {}, {})
    report |= {"clean": clean, "not_committed": not_committed, "deleted_by_retention": 0}

    async def audit(*_: Any) -> dict[str, Any]:
        return report

    monkeypatch.setattr(reader, "audit", audit)
    for words in ([], ["--json"]):
        done = CliRunner().invoke(command, words)
        assert done.exit_code == code, done.output
        assert said in done.output or words
