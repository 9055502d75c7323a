"""A page a run, and a table of the whole campaign."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.faults.campaign import reached
from tests.faults.planted import BUGS, ERASURE_BUGS

MUST_CATCH = {name: codes for name, (_, codes) in {**BUGS, **ERASURE_BUGS}.items()}
COLUMNS = (
    "scenario",
    "runs",
    "trials",
    "effective",
    "void",
    "violations",
    "events",
    "users",
    "recovery p50",
    "p95",
    "max",
)


def page(result: dict[str, Any]) -> str:
    """What happened in one run."""
    lines = [
        f"# {result['scenario']}, seed {result['seed']}",
        "",
        f"Again: `{result['command']}`",
        "",
    ]
    state = "no violation" if not result["violations"] else f"VIOLATIONS: {result['violations']}"
    lines += [
        f"{state}. {result['effective']} effective faults, {result['void']} void. "
        f"{result['seconds']:.0f} s.",
        "",
    ]
    for fault in result["faults"]:
        recovery = "" if fault["recovery_s"] is None else f", recovered in {fault['recovery_s']} s"
        lines.append(
            f"- {fault['what']}{'' if fault['effective'] else ' (VOID)'}{recovery}; {fault['note']}"
        )
    lines += [
        "",
        *(
            f"- {code}: {sentence}"
            for code, found in result["examples"].items()
            for sentence in found
        ),
    ]
    if result["error"]:
        lines += ["", "```", result["error"], "```"]
    names: tuple[str, ...] = (
        "events",
        "users",
        "invalid",
        "filtered",
        "sent_ok",
        "sent_unknown",
        "states",
        "updates",
        "updates_repeated",
    )
    names += (
        "replay_cuts",
        "longest_wait_s",
        "self_fences",
        "workers",
        "worst_difference",
        "load_average",
    )
    lines += [
        "",
        "| figure | |",
        "|---|---|",
        *(f"| {name} | {result.get(name, '')} |" for name in names),
    ]
    lines += [
        f"| reached: {name} | {times} |"
        for name, times in result.get("reached", {}).items()
        if times
    ]
    if "slopes" in result:
        lines += ["", *_growth(result)]
    return "\n".join(lines) + "\n"


def _growth(result: dict[str, Any]) -> list[str]:
    """What the longest-lived worker of a soak used, and how that grew."""
    told = (
        f"{result['soak_hours']} hours, {result['quiet']} quiet turns, "
        f"{result['lives']} lives of workers; of {result['worker']}:"
    )
    lines = [
        told,
        "",
        "| | first | last | most | an hour | 95 % | samples |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, each in result["slopes"].items():
        figures = (
            each["first"],
            each["last"],
            each["most"],
            each["per_hour"],
            f"± {each['half_width']}",
            each["samples"],
        )
        lines.append(f"| {kind} | " + " | ".join(map(str, figures)) + " |")
    return lines


def summary(results: list[dict[str, Any]]) -> str:
    """Returns the page of the campaign so far.

    A line a scenario, what may be claimed of it all, and which planted bugs were caught.
    """
    sound = [each for each in results if not each["planted"]]
    bugs = [each for each in results if each["planted"]]
    parts = [table(sound) + "\n" + claim(sound) + "\n" + reached.table(sound)] if sound else []
    return "\n".join([*parts, planted(bugs)] if bugs else parts)


def write_into(page: Path, results: list[dict[str, Any]]) -> None:
    """Put the summary between the marks of a page."""
    text = page.read_text(encoding="utf-8")
    head, mark, rest = text.partition("<!-- table -->\n")
    _, end, tail = rest.partition("<!-- end -->")
    if not (mark and end):
        raise ValueError(
            f"{page} has no lines '<!-- table -->' and '<!-- end -->'; add them where the table is "
            "wanted"
        )
    page.write_text(f"{head}{mark}{summary(results)}{end}{tail}", encoding="utf-8")


def claim(results: list[dict[str, Any]]) -> str:
    """Returns one sentence about what was lost.

    It has a bound on the rate of loss only without violations (zero in N trials: at most about 3 /
    N, 95 %).
    """
    effective, void = (sum(each[key] for each in results) for key in ("effective", "void"))
    violations = sum(sum(each["violations"].values()) for each in results)
    hours = sum(each["seconds"] for each in results) / 3600
    events = sum(each.get("events", 0) for each in results)
    kinds = len(
        {fault["what"] for each in results for fault in each["faults"] if fault["effective"]}
    )
    bound = (
        f" (95 %: at most {300 / effective:.1f} % of such faults)"
        if effective and not violations
        else ""
    )
    return (
        f"{events:,} events, {effective} effective faults of {kinds} kinds in {hours:.1f} hours, "
        f"{void} void, "
        f"{violations} violations{bound}.\n"
    )


def planted(results: list[dict[str, Any]]) -> str:
    """Which checks each planted bug turned red, and after how long."""
    lines = ["| bug | must be caught by | turned red | run |", "|---|---|---|---|"]
    for each in results:
        wanted, missed = MUST_CATCH[each["planted"]], "" if caught(each) else ": NOT CAUGHT"
        lines.append(
            f"| {each['planted']} | {' '.join(wanted)} | {' '.join(sorted(_red(each)))}{missed} | "
            f"{each['seconds']:.0f} s |"
        )
    return "\n".join(lines) + "\n"


def failed(results: list[dict[str, Any]]) -> bool:
    """Whether a run had a violation, or a planted bug was not caught."""
    return any(
        not caught(each) if each["planted"] else bool(each["violations"]) for each in results
    )


def caught(result: dict[str, Any]) -> bool:
    """Whether a run with a planted bug turned one of the checks red that must catch it."""
    return bool(_red(result) & set(MUST_CATCH[result["planted"]]))


def _red(result: dict[str, Any]) -> set[str]:
    return {*result["violations"], *(["void"] if result["void"] else [])} - {"RUN"}


def table(results: list[dict[str, Any]]) -> str:
    """A line a scenario."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        groups[result["scenario"]].append(result)
    rows = [_row(name, group) for name, group in groups.items()]
    rows.append(_row("all", results))
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def _row(name: str, group: list[dict[str, Any]]) -> list[str]:
    recoveries = sorted(second for each in group for second in each.get("recoveries_s", ()))

    def total(key: str) -> str:
        return f"{sum(each.get(key, 0) for each in group):,}"

    violations = sum(sum(each["violations"].values()) for each in group)
    quantiles = [_quantile(recoveries, share) for share in (0.5, 0.95, 1.0)]
    counts = [total(key) for key in ("trials", "effective", "void")]
    return [
        name,
        str(len(group)),
        *counts,
        str(violations),
        total("events"),
        total("users"),
        *quantiles,
    ]


def _quantile(values: list[float], share: float) -> str:
    return f"{values[min(len(values) - 1, int(share * len(values)))]:.1f} s" if values else "-"


def read(path: Path) -> list[dict[str, Any]]:
    """Results so far."""
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if path.exists()
        else []
    )
