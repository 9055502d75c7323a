"""Counts the states that a campaign must have been in before its silence means anything.

They are those of section 4 of the plan. They are counted from trials, logs and evidence that a run
has anyway. Logs repeat themselves less often than what they report happens, so counts from them are
lower bounds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from tests.faults.oracle import updates
from tests.faults.oracle.history import History

KILLS: Final = {
    "killed with a write not acknowledged": (
        r"kill at (updates_sent|dead_letters_sent|states_sent)\b"
    ),
    "killed between memory and changelog": (
        r"kill at (computed|before_updates|updates_sent|after_updates|states_sent)\b"
    ),
    "recovery interrupted": r"kill at (assigned|restoring)\b",
    "compaction pass": r"compaction$",
}
"""By what an effective trial is called."""

LINES: Final = {
    "self-fence": r"not ours any more",
    "breaker of dead letters": r"bad records in a row",
    "write sent again, its acknowledgement lost": (
        r"Got error produce response.*(KafkaConnectionError|RequestTimedOut)"
    ),
    "too few replicas in sync": r"NotEnoughReplicas",
    "fetch out of range": r"deleted by retention",
}
"""By what a worker says."""

NEVER: Final = "model reloaded"
"""A worker keeps the model it began with, so this cannot be reached."""

NAMES: Final = (
    "offset replayed and skipped",
    "update repeated",
    "rebalance during a batch",
    "dead letter written",
    *KILLS,
    *LINES,
    NEVER,
)


def counts(
    history: History, effective: Sequence[str], evidence: Iterable[dict[str, Any]]
) -> dict[str, int]:
    """Of one run; effective: what its effective trials are called."""
    notes = list(evidence)
    found = {
        "offset replayed and skipped": sum(each.get("replayed", 0) for each in notes),
        "update repeated": updates.figures(history)["updates_repeated"],
        "rebalance during a batch": sum(
            each.get("inflight_at_revocation", 0) > 0 for each in notes
        ),
        "dead letter written": len(history.letters),
    }
    found |= {
        name: sum(re.match(each, what) is not None for what in effective)
        for name, each in KILLS.items()
    }
    lines = [line for log in history.logs.values() for line in log.splitlines()]
    return found | {
        name: sum(re.search(each, line) is not None for line in lines)
        for name, each in LINES.items()
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """Over all runs; what was never reached is marked."""
    told = [each["reached"] for each in results if "reached" in each]
    lines = [
        f"| reached, in {len(told)} of {len(results)} runs that counted it | times |",
        "|---|---|",
    ]
    for name in NAMES:
        times = sum(each.get(name, 0) for each in told)
        why = " (a worker keeps its model)" if name == NEVER else ""
        lines.append(f"| {name} | {f'{times:,}' if times else f'NEVER{why}'} |")
    return "\n".join(lines) + "\n"
