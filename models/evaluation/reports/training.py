"""Lays out as tables of text how a model came about: data, trials, blend, and users in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from models.evaluation.reports.table import Table

SPARSE: Final = 10
"""Events an item, below which there is little to learn from."""


def preparation_tables(preparation: dict[str, Any]) -> list[Table]:
    """Returns what was read, what was left out and why."""
    # Lines that were no events, events that were left out, lines that were no items.
    dropped = [
        (each["reason"], f"{each['events']:,}", f"{each['users']:,}", each["keep_with"])
        for each in preparation["dropped"]
    ]
    bad = [
        (f"line without an event: {reason}", f"{count:,}", "", "mend the lines")
        for reason, count in preparation.get("bad_lines", {}).items()
    ]
    problems = [
        (f"catalogue line: {what}", f"{count:,}", "", "")
        for what, count in preparation.get("catalogue_problems", {}).items()
    ]
    size = [
        ("events", f"{preparation['events_read']:,}", f"{preparation['events']:,}"),
        ("users", f"{preparation['users_read']:,}", f"{preparation['users']:,}"),
        (
            "items of the catalogue, with events",
            f"{preparation['items']:,}",
            f"{preparation['items_with_events']:,}",
        ),
    ]

    # What a reader of the table has to know besides.
    notes = [*preparation.get("notes", [])]
    if preparation["events_of_unknown_items"]:
        notes.append(
            f"{preparation['events_of_unknown_items']:,} events are about nothing in the "
            "catalogue: history, not to be predicted"
        )
    if preparation["events_moved_by_time"]:
        notes.append("events were put in order of time within each user")
    found = preparation.get("interests")
    if found:
        notes.append(f"{found['count']} interests from {found['source']}")
    return [
        Table("Data", ("", "read", "used"), size, "; ".join(notes)),
        Table("Left out", ("reason", "events", "users", "to keep them"), bad + dropped + problems),
    ]


def reasons(report: dict[str, Any]) -> list[str]:
    """Returns what would make a trained model better, from what the training measured.

    It is whether a stage ended too early, and why the model may be behind a baseline.
    """
    behind = [
        line.split(" (")[0].removeprefix("The model is behind ")
        for line in report["evaluation"]["verdict"]
        if "is behind" in line
    ]
    found = []

    # A stage whose last epoch was its best had not come to its end.
    rising = [
        stage
        for stage, curve in report["curves"].items()
        if len(curve) > 1
        and "ndcg@10" in curve[-1]
        and curve[-1]["ndcg@10"] >= max(each["ndcg@10"] for each in curve)
    ]
    if rising:
        found.append(
            f"Validation still rose when {' and '.join(rising)} ended: more epochs may help "
            "(--epochs, or a larger --effort)."
        )

    # Recent popularity is known to a live counter, and not to a model that was trained once.
    if "popularity, last 7 days" in behind:
        found.append(
            "Behind the last 7 days' popularity: it counts what all users did just before each "
            "case; a model knows the popularity of its training and one user's events. Where "
            "fashion moves this fast, give the workers live popularity ('interest-stream "
            "popularity'; 'evaluate --live-popularity' measures what it brings), or train again "
            "often."
        )

    # Behind any other rule: too few events.
    if set(behind) - {"popularity, last 7 days"}:
        preparation = report["preparation"]
        rate = preparation["events"] / max(preparation["items_with_events"], 1)
        if rate < SPARSE:
            found.append(
                f"There are {rate:.1f} events an item to learn from; so few leave little beyond "
                "what neighbours say."
            )
        least = report.get("config", {}).get("min_users", 1)
        if least > 1:
            found.append(
                f"The tables hold no pair of items that fewer than {least} users met; where most "
                "pairs are rare that costs accuracy, and --min-users 1 keeps them."
            )
    return found


def calibration_words(report: dict[str, Any]) -> list[str]:
    """Returns in a line whether first interests are calibrated, on what, and what it changed.

    Nothing of a report that was written before there was a calibration.
    """
    found = report.get("calibration")
    if found is None:
        return []
    if "why" in found:
        return [f"First interests are not calibrated: {found['why']}."]
    before, after, happened = (
        f"{found[name]:.3f}" for name in ("said_before", "said_after", "happened")
    )
    asked = (
        f"{found['cases']:,} events of {found['users']:,} users that came after all that a "
        "rehearsal of the training had learned"
    )
    if found["kept"]:
        line = (
            f"First interests are calibrated on {asked}. Of users that it was not fitted to, the "
            f"first said {before} before and {after} after it, and {happened} of them happened."
        )
        if report.get("evaluation", {}).get("protocol") == "leave-one-out":
            line += (
                " A leave-one-out asks for last events instead, which may be of another kind than "
                "what a worker meets; --protocol time-split asks as a worker does."
            )
        return [line]
    return [
        f"First interests are not calibrated: of {asked}, the first said {before} and {happened} "
        "of them happened, and no correction helped users that it was not fitted to."
    ]


def trials_table(trials: Sequence[dict[str, Any]]) -> Table:
    """Returns what `--effort` tried, from models.training.trials; no rows if it tried nothing."""
    rows = [
        (
            each["setting"] if each["value"] is None else f"{each['setting']} {each['value']}",
            "not ended in its time" if each["ndcg@10"] is None else f"{each['ndcg@10']:.4f}",
            f"{each['seconds']:.0f}",
            "kept" if each["kept"] else "",
        )
        for each in trials
    ]
    note = (
        "One setting after the other, the LSTM until it stops improving; NDCG@10 of each user's "
        "last training event."
    )
    return Table("Settings tried on validation", ("", "NDCG@10", "seconds", ""), rows, note)


def blend_table(blend: dict[str, Any]) -> Table:
    """Returns how much each scorer counts: the weights of the blend."""
    parts = {
        f"{what}items, {length}": weights
        for what, key in (("", "item"), ("live popularity: ", "live_item"))
        for length, weights in blend.get(key, {}).items()
    }
    parts |= {
        what: blend[key]
        for what, key in (("interests", "interest"), ("live: interests", "live_interest"))
        if key in blend
    }
    rows = [
        (part, name.replace("_", " "), f"{weight:+.3f}")
        for part, weights in parts.items()
        for name, weight in weights.items()
    ]
    note = f"Fitted to the last training events of {blend['users']:,} users.{_gain_notes(blend)}"
    return Table("Weights of the blend", ("of", "scorer", "weight"), rows, note)


def _gain_notes(blend: Mapping[str, Any]) -> str:
    """Returns a sentence on each scorer that had to earn its cost, as far as a report tells."""
    from models.scorers.registry import SCORERS  # brings torch, which other tables need not

    notes = ""
    for scorer in SCORERS:
        gain = blend.get(f"{scorer.name}_gain")
        if gain is None:
            continue
        decided = (
            "kept"
            if gain[0] > scorer.worth
            else "left out, since that may be chance and each pass would take longer"
            if gain[0] <= 0
            else f"left out: less than {scorer.worth:g} is not worth a longer pass"
        )
        notes += (
            f" {scorer.label} takes {gain[0]:+.3f} .. {gain[1]:+.3f} nats from the loss of users "
            f"that it was not fitted to (95 %): {decided}."
        )
    return notes


def sample_cases_table(sample_cases: Sequence[dict[str, Any]]) -> Table:
    """Returns users in words, from models.evaluation.sample_cases."""
    rows = [
        (
            "; ".join(each["history"]),
            "; ".join(
                f"{one['interest']} {one['probability']:.0%} {one['trend']}"
                for one in each["interests"]
            ),
            "; ".join(each["because"]),
            "; ".join(each["items"]),
            f"{each['next']} ({', '.join(each['next_is_about']) or 'no interest'})",
        )
        for each in sample_cases
    ]
    note = (
        "Drawn at random among the cases with some history. Newest events first; the last column "
        "was hidden from the model."
    )
    return Table(
        "Users in words",
        ("did", "is interested in", "because of", "would see next", "came next"),
        rows,
        note,
    )
