"""Lays out the evaluation of a model and its baselines as tables of text."""

from __future__ import annotations

from typing import Any

from models.evaluation.reports.table import Row, Table, interval, moment, signed


def result_tables(evaluation: dict[str, Any], *, wide: bool = True) -> list[Table]:
    """Returns the tables of an evaluation; not wide: only what fits into 80 columns.

    They are next items and interests of the model and its baselines, next items by the length of
    the history, over time where that was measured, and how reliable published interests are.
    """
    # Next items: a row a scorer.
    note = (
        f"{evaluation['description']}. {evaluation['cases']:,} cases of "
        f"{evaluation['users']:,} users, {evaluation['candidates']:,} candidates, "
        f"seen items {evaluation['seen_items']}, ties {evaluation['ties']}."
    )
    # tables of sessions in the literature cut MRR at 20
    reciprocal = "MRR@20" if evaluation["protocol"] == "sessions" else "MRR"
    shown = (
        ("HR@1", "HR@5", "HR@10", "HR@20", "HR@50", "NDCG@10", reciprocal)
        if wide
        else ("HR@10", "HR@20", "NDCG@10", reciprocal)
    )
    ranked: list[Row] = []
    for row in evaluation["items"]:
        difference = row.get("model minus this", {}).get("HR@10")
        cells = [f"{row[name]:.4f}" for name in shown]
        between = (interval(row["HR@10 interval"]),) if wide else ()
        ranked.append((row["scorer"], *cells, *between, signed(difference)))
    header = ("", *shown, *(("95 % of HR@10",) if wide else ()), "model minus this")
    tables = [Table("Next item", header, ranked, f"{note} Last column: HR@10, 95 % interval.")]

    # The same by the number of events before a case.
    history = evaluation["by_history"]
    names = list(history)
    rows = [
        (
            each["history"],
            f"{each['cases']:,}",
            *(f"{history[name][place]['HR@10']:.4f}" for name in names),
        )
        for place, each in enumerate(history["model"])
    ]
    spread = ", ".join(f"{name} {value:.3f}" for name, value in evaluation["spread"].items())
    tables.append(
        Table(
            "HR@10 by events before the case",
            ("events", "cases", *names),
            rows,
            f"The model's first ten: {spread}.",
        )
    )

    # The same in windows of time, of protocols that cut at a moment.
    over = evaluation.get("over_time")
    if over:
        rows = [
            (
                moment(each["until_ms"]),
                f"{each['cases']:,}",
                *(f"{over[name][place]['HR@10']:.4f}" for name in over),
            )
            for place, each in enumerate(over["model"])
        ]
        tables.append(Table("HR@10 over time", ("until", "cases", *over), rows))

    # The interests that the next event touches.
    interests = evaluation["interests"]
    rows = [
        (
            row["scorer"],
            f"{row['NLL']:.4f}",
            f"{row['top-3']:.4f}",
            f"{row['ECE']:.4f}",
            signed(row.get("this minus model", {}).get("NLL")),
        )
        for row in interests["table"]
    ]
    note = (
        f"{interests['count']} interests: the probability that the next event touches each; "
        "NLL in nats, ECE over 15 bins."
    )
    tables.append(
        Table(
            "Interests of the next event",
            ("", "NLL", "top-3", "ECE", "NLL of this minus model"),
            rows,
            note,
        )
    )
    return tables + reliability_tables(interests)


def reliability_tables(interests: dict[str, Any]) -> list[Table]:
    """Returns whether published probabilities, and their trends, mean what they say.

    A report that was written before this was measured has no such tables.
    """
    found = interests.get("reliability")
    if found is None:
        return []

    # What is said and what happens: of the first interest, of the first five, of parts of the first
    rows: list[Row] = []
    for name, each in (("first", found["first"]), ("first five", found["first_five"])):
        chance = "{:.4f}, {:.4f}".format(*each["ECE by chance"])
        rows.append((name, *_gap(each), f"{each['ECE']:.4f}", chance))
    for name, each in found.get("uncorrected", {}).items():
        chance = "{:.4f}, {:.4f}".format(*each["ECE by chance"])
        name = f"{name.replace('_', ' ')}, before calibration"
        rows.append((name, *_gap(each), f"{each['ECE']:.4f}", chance))
    parts = [(f"first, {each['history']} events before", each) for each in found["by_history"]]
    parts += [(f"first, last event {each['age']} ago", each) for each in found["by_age"]]
    rows += [(name, *_gap(each), "", "") for name, each in parts]
    note = "; ".join(
        f"{each['what']} {each['reached']:.4f}, target {each['target']}: {each['verdict']}"
        for each in found["targets"]
    )
    note += (
        ". ECE over 15 bins of equally many; by chance: mean and 95 % quantile if each "
        "probability were right."
    )
    head: Row = ("interest", "cases", "said", "happened", "gap", "95 %", "ECE", "ECE by chance")
    tables = [Table("What published probabilities say, and what happens", head, rows, note)]

    # The same of the trends.
    rows = [
        (
            each["trend"],
            f"{each['shown']:,}",
            f"{each['said']:+.4f}",
            f"{each['happened']:+.4f}",
            signed(each["happened interval"]),
            f"{each['followed']:,}",
            "" if each["above"] is None else f"{each['above']:.4f}",
        )
        for each in found["trends"]
    ]
    note = (
        "Of the first five. Said: the mean of change; happened: the next event less the slower "
        "average. Above: of those with 5 more events, how often a larger share of these touches "
        "the interest than the slower average says."
    )
    head = ("trend", "shown", "said", "happened", "95 %", "with 5 more events", "above")
    return [*tables, Table("What trends say, and what happens", head, rows, note)]


def _gap(each: dict[str, Any]) -> Row:
    """Returns the cells of what was said, what happened, and the gap between."""
    return (
        f"{each['cases']:,}",
        f"{each['said']:.4f}",
        f"{each['happened']:.4f}",
        f"{each['gap']:+.4f}",
        signed(each["gap interval"]),
    )
