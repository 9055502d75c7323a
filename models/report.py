"""The report of a training or an evaluation as tables, for a terminal and for the page of report_page.py.

Pure: from the report (a JSON object) to text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

Row = Sequence[str]

SPARSE: Final = 10  # events an item


@dataclass(frozen=True)
class Table:
    """Rows of texts under a header; a column whose cells are numbers is set to the right."""

    title: str
    header: Row
    rows: Sequence[Row]
    note: str = ""


def preparation_tables(preparation: dict[str, Any]) -> list[Table]:
    """What was read, what was left out and why."""
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
        ("items of the catalogue, with events", f"{preparation['items']:,}", f"{preparation['items_with_events']:,}"),
    ]
    notes = [*preparation.get("notes", [])]
    if preparation["events_of_unknown_items"]:
        notes.append(
            f"{preparation['events_of_unknown_items']:,} events are about nothing in the catalogue: history, not to be predicted"
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


def result_tables(evaluation: dict[str, Any], *, wide: bool = True) -> list[Table]:
    """Next items and interests, the model and its baselines; not wide: what fits into 80 columns."""
    note = (
        f"{evaluation['description']}. {evaluation['cases']:,} cases of {evaluation['users']:,} users, "
        f"{evaluation['candidates']:,} candidates, seen items {evaluation['seen_items']}, ties {evaluation['ties']}."
    )
    shown = (
        ("HR@1", "HR@5", "HR@10", "HR@20", "HR@50", "NDCG@10", "MRR") if wide else ("HR@10", "HR@20", "NDCG@10", "MRR")
    )
    ranked: list[Row] = []
    for row in evaluation["items"]:
        difference = row.get("model minus this", {}).get("HR@10")
        cells = [f"{row[name]:.4f}" for name in shown]
        between = (_interval(row["HR@10 interval"]),) if wide else ()
        ranked.append((row["scorer"], *cells, *between, _signed(difference)))
    header = ("", *shown, *(("95 % of HR@10",) if wide else ()), "model minus this")
    tables = [Table("Next item", header, ranked, f"{note} Last column: HR@10, 95 % interval.")]
    history = evaluation["by_history"]
    names = list(history)
    rows = [
        (each["history"], f"{each['cases']:,}", *(f"{history[name][place]['HR@10']:.4f}" for name in names))
        for place, each in enumerate(history["model"])
    ]
    spread = ", ".join(f"{name} {value:.3f}" for name, value in evaluation["spread"].items())
    tables.append(
        Table("HR@10 by events before the case", ("events", "cases", *names), rows, f"The model's first ten: {spread}.")
    )
    over = evaluation.get("over_time")
    if over:
        rows = [
            (_moment(each["until_ms"]), f"{each['cases']:,}", *(f"{over[name][place]['HR@10']:.4f}" for name in over))
            for place, each in enumerate(over["model"])
        ]
        tables.append(Table("HR@10 over time", ("until", "cases", *over), rows))
    interests = evaluation["interests"]
    rows = [
        (
            row["scorer"],
            f"{row['NLL']:.4f}",
            f"{row['top-3']:.4f}",
            f"{row['ECE']:.4f}",
            _signed(row.get("this minus model", {}).get("NLL")),
        )
        for row in interests["table"]
    ]
    note = f"{interests['count']} interests: the probability that the next event touches each; NLL in nats, ECE over 15 bins."
    tables.append(
        Table("Interests of the next event", ("", "NLL", "top-3", "ECE", "NLL of this minus model"), rows, note)
    )
    return tables


def comparison_table(comparison: dict[str, Any]) -> Table:
    """Two models side by side, from models.compare."""
    first, second = (f"{each['name']} {each['version']}" for each in comparison["models"])
    rows = [
        (row["measure"], f"{row['first']:.4f}", f"{row['second']:.4f}", _signed(pair), _told_apart(pair))
        for row in comparison["measures"]
        for pair in [row["second minus first"]]
    ]
    note = (
        f"{comparison['description']}. {comparison['cases']:,} cases of {comparison['users']:,} users, "
        f"{comparison['candidates']:,} candidates, seen items {comparison['seen_items']}; intervals: 95 %, paired, over users."
    )
    return Table("Two models", ("", f"A: {first}", f"B: {second}", "B minus A", ""), rows, note)


def parts_table(parts: dict[str, Any]) -> Table:
    """Every scorer alone and the blend without one, from models.parts."""
    rows = []
    for row in parts["parts"]:
        pair = row.get("minus blend", {}).get("NDCG@10")
        figures = (f"{row[key]:.4f}" for key in ("HR@10", "NDCG@10"))
        rows.append((row["part"], *figures, _signed(pair), _told_apart(pair) if pair else ""))
    note = (
        f"{parts['description']}. {parts['cases']:,} cases of {parts['users']:,} users, seen items {parts['seen_items']}; blends "
        "are fitted to one half of the users and asked of the other; intervals: 95 %, paired, over users."
    )
    return Table("Parts of the model", ("", "HR@10", "NDCG@10", "NDCG@10 minus blend", ""), rows, note)


def drift_tables(drift: dict[str, Any]) -> list[Table]:
    """How fast a changed interest is named: the model beside all trackers, and beside the best of them at each level of noise."""
    whole = drift["levels"][0]
    note = (
        f"{drift['users']} simulated users with {drift['events_a_user']} events each, seed {drift['seed']}, "
        f"{whole['model']['switches']} switches; reaction in the user's own events, the first of the new interest counts 1. Marked: the "
        "fastest with no more false switches than the model."
    )
    rows = [_drift_row("model", whole["model"])]
    for name, found in whole["trackers"].items():
        rows.append(_drift_row(f"{name} *" if name == whole["best"] else name, found))
    rows.append(_drift_row("filter that knows the simulation's rates", whole["knows the rates"]))
    levels = []
    for level in drift["levels"]:
        noise = noise_of(drift, level)
        levels.append(_drift_row(f"{noise}: model", level["model"]))
        if level["best"] is not None:
            levels.append(_drift_row(f"{noise}: {level['best']}", level["trackers"][level["best"]]))
        levels.append(_drift_row(f"{noise}: filter that knows", level["knows the rates"]))
    return [
        Table("Changed interests", ("named after a switch", *_DRIFT_HEAD), rows, note),
        Table(
            "Changed interests, by noise",
            ("share of noise", *_DRIFT_HEAD),
            levels,
            "The model beside the marked tracker of each level.",
        ),
    ]


_DRIFT_HEAD: Final = ("median", "p90", "returning, median", "p90", "noticed", "right", "false per 100")


def noise_of(drift: dict[str, Any], level: dict[str, Any]) -> str:
    """Share of noise of a level, in words."""
    return f"0 to {drift['most_noise']:.0%}" if level["noise"] is None else f"{level['noise']:.0%}"


def _drift_row(name: str, found: dict[str, Any]) -> Row:
    keys = ("median", "p90", "returning median", "returning p90")
    events = ("never" if found[key] is None else f"{found[key]:.0f}" for key in keys)
    return (name, *events, *(f"{found[key]:.3f}" for key in ("noticed", "right")), f"{found['false per 100']:.2f}")


def explanations_table(found: dict[str, Any]) -> Table:
    """What removing the event that an explanation names first does to the first interest."""
    against = [key for key in found["table"][0] if "minus " in key]
    rows = [
        (row["explanation"], f"{row['named']:.3f}", f"{row['fall']:.3f}", *(_interval(row[key]) for key in against))
        for row in found["table"]
    ]
    three = found["three named"]
    note = (
        f"{found['users']} users, {found['events']} events, seed {found['seed']}; fall of the log-odds of the first interest when the "
        f"history is replayed without the event; a random event {found['random event']:.3f}. Without the three events named first "
        f"{three['fall']:.3f}, without three random ones {three['fall of random ones']:.3f}. Rank correlation of the published weights "
        f"with replaying {found['rank correlation with replaying']:.2f}, with those of randomised weights "
        f"{found['rank correlation with randomised weights']:.2f}."
    )
    return Table("Explanations", ("event named first by", "named", "fall", *against), rows, note)


def reasons(report: dict[str, Any]) -> list[str]:
    """Why a trained model may be behind a baseline, from what the training measured; empty if it is behind none."""
    behind = [
        line.split(" (")[0].removeprefix("The model is behind ")
        for line in report["evaluation"]["verdict"]
        if "is behind" in line
    ]
    found = []
    if "popularity, last 7 days" in behind:
        found.append(
            "Behind the last 7 days' popularity: it counts what all users did just before each case; a model knows the "
            "popularity of its training and one user's events. Where fashion moves this fast, give the workers live popularity "
            "('interest-stream popularity'; 'evaluate --live-popularity' measures what it brings), or train again often."
        )
    if set(behind) - {"popularity, last 7 days"}:
        preparation = report["preparation"]
        rate = preparation["events"] / max(preparation["items_with_events"], 1)
        rising = [
            stage
            for stage, curve in report["curves"].items()
            if len(curve) > 1
            and "ndcg@10" in curve[-1]
            and curve[-1]["ndcg@10"] >= max(each["ndcg@10"] for each in curve)
        ]
        if rising:
            found.append(
                f"Validation still rose when {' and '.join(rising)} ended: more epochs, or --effort normal, may help."
            )
        if rate < SPARSE:
            found.append(
                f"There are {rate:.1f} events an item to learn from; so few leave little beyond what neighbours say."
            )
    return found


def trials_table(trials: Sequence[dict[str, Any]]) -> Table:
    """What `--effort` tried, from models.choose; no rows if it tried nothing."""
    rows = [
        (
            each["setting"] if each["value"] is None else f"{each['setting']} {each['value']}",
            "not ended in its time" if each["ndcg@10"] is None else f"{each['ndcg@10']:.4f}",
            f"{each['seconds']:.0f}",
            "kept" if each["kept"] else "",
        )
        for each in trials
    ]
    note = "One setting after the other, the LSTM until it stops improving; NDCG@10 of each user's last training event."
    return Table("Settings tried on validation", ("", "NDCG@10", "seconds", ""), rows, note)


def blend_table(blend: dict[str, Any]) -> Table:
    """How much each scorer counts."""
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
    note = f"Fitted to the last training events of {blend['users']:,} users.{_ease_note(blend.get('ease_gain'))}"
    return Table("Weights of the blend", ("of", "scorer", "weight"), rows, note)


def _ease_note(gain: Sequence[float] | None) -> str:
    if gain is None:
        return ""
    decided = "kept" if gain[0] > 0 else "left out, since that may be chance and each pass would take longer"
    return f" EASE takes {gain[0]:+.3f} .. {gain[1]:+.3f} nats from the loss of users that it was not fitted to (95 %): {decided}."


def example_table(examples: Sequence[dict[str, Any]]) -> Table:
    """Users in words."""
    rows = [
        (
            "; ".join(each["history"]),
            "; ".join(f"{one['interest']} {one['probability']:.0%} {one['trend']}" for one in each["interests"]),
            "; ".join(each["because"]),
            "; ".join(each["items"]),
            f"{each['next']} ({', '.join(each['next_is_about']) or 'no interest'})",
        )
        for each in examples
    ]
    note = "Drawn at random among the cases with some history. Newest events first; the last column was hidden from the model."
    return Table("Users in words", ("did", "is interested in", "because of", "would see next", "came next"), rows, note)


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _interval(pair: Sequence[float]) -> str:
    return f"{pair[0]:.4f}..{pair[1]:.4f}"


def _told_apart(pair: Sequence[float]) -> str:
    return "differ" if pair[0] > 0 or pair[1] < 0 else "not told apart"


def _signed(pair: Sequence[float] | None) -> str:
    return "" if pair is None else f"{pair[0]:+.4f}..{pair[1]:+.4f}"
