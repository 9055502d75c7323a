"""Lays out studies of a model as tables of text.

They are: two models compared, an ablation, how soon it notices changed interests (drift), and
whether the events that it names as causes are causes (explanations).
"""

from __future__ import annotations

from typing import Any, Final

from models.evaluation.reports.table import Row, Table, interval, signed, verdict_on

_DRIFT_HEAD: Final = (
    "median",
    "p90",
    "returning, median",
    "p90",
    "noticed",
    "right",
    "false per 100",
)


def comparison_table(comparison: dict[str, Any]) -> Table:
    """Returns two models side by side, from models.evaluation.compare."""
    first, second = (f"{each['name']} {each['version']}" for each in comparison["models"])
    rows = [
        (
            row["measure"],
            f"{row['first']:.4f}",
            f"{row['second']:.4f}",
            signed(pair),
            verdict_on(pair),
        )
        for row in comparison["measures"]
        for pair in [row["second minus first"]]
    ]
    note = (
        f"{comparison['description']}. {comparison['cases']:,} cases of "
        f"{comparison['users']:,} users, {comparison['candidates']:,} candidates, "
        f"seen items {comparison['seen_items']}; intervals: 95 %, paired, over users."
        f"{_left_out(comparison['left_out'])}"
    )
    return Table("Two models", ("", f"A: {first}", f"B: {second}", "B minus A", ""), rows, note)


def membership_table(report: dict[str, Any]) -> Table:
    """Returns how well losses tell who was trained on, from models.evaluation.membership."""
    rows = [
        (
            f"threshold on the {name}",
            f"{each['auc']:.4f}",
            "{:.4f} .. {:.4f}".format(*each["auc interval"]),
            f"{each['found_at_1_in_100']:.4f}",
        )
        for name, each in report["attacks"].items()
    ]
    note = (
        f"{report['members']:,} users who were learned and {report['held_out']:,} who were held "
        f"out, {report['places']:,} places of their histories; mean loss "
        f"{report['loss']['members']:.3f} and {report['loss']['held_out']:.3f} nats. AUC 0.5 tells "
        "nothing; intervals: 95 %, over users."
    )
    head = ("", "AUC", "interval", "members found at 1 % false alarms")
    return Table("Who was trained on?", head, rows, note)


def _left_out(left_out: dict[str, Any]) -> str:
    """Returns what two models of different catalogues were not compared on, in words."""
    of_a, of_b = left_out["items_of_one_model"]
    if not (of_a or of_b):
        return ""
    return (
        f" Only A knows {of_a:,} items, only B {of_b:,}: these are no candidates, and "
        f"{left_out['cases']:,} cases about them are left out."
    )


def ablation_table(ablation: dict[str, Any]) -> Table:
    """Returns every scorer alone and the blend without one, from models.evaluation.ablation."""
    rows = []
    for row in ablation["parts"]:
        pair = row.get("minus blend", {}).get("NDCG@10")
        figures = (f"{row[key]:.4f}" for key in ("HR@10", "NDCG@10"))
        rows.append((row["part"], *figures, signed(pair), verdict_on(pair) if pair else ""))
    note = (
        f"{ablation['description']}. {ablation['cases']:,} cases of {ablation['users']:,} users, "
        f"seen items {ablation['seen_items']}; blends are fitted to one half of the users and "
        "asked of the other; intervals: 95 %, paired, over users."
    )
    return Table(
        "Parts of the model", ("", "HR@10", "NDCG@10", "NDCG@10 minus blend", ""), rows, note
    )


def drift_tables(drift: dict[str, Any]) -> list[Table]:
    """Returns how fast a changed interest is named, by the model and by the trackers.

    The first table has all trackers, the second the best of them at each level of noise.
    """
    whole = drift["levels"][0]
    note = (
        f"{drift['users']} simulated users with {drift['events_a_user']} events each, "
        f"seed {drift['seed']}, {whole['model']['switches']} switches; reaction in the user's own "
        "events, the first of the new interest counts 1. Marked: the fastest with no more false "
        "switches than the model."
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


def noise_of(drift: dict[str, Any], level: dict[str, Any]) -> str:
    """Returns the share of noise of a level, in words."""
    return f"0 to {drift['most_noise']:.0%}" if level["noise"] is None else f"{level['noise']:.0%}"


def _drift_row(name: str, found: dict[str, Any]) -> Row:
    """Returns the row of a tracker, or of the model; found: the summary of its drift."""
    keys = ("median", "p90", "returning median", "returning p90")
    events = ("never" if found[key] is None else f"{found[key]:.0f}" for key in keys)
    return (
        name,
        *events,
        *(f"{found[key]:.3f}" for key in ("noticed", "right")),
        f"{found['false per 100']:.2f}",
    )


def explanations_table(found: dict[str, Any]) -> Table:
    """Returns what removing the event that an explanation names first does to an interest."""
    against = [key for key in found["table"][0] if "minus " in key]
    rows = [
        (
            row["explanation"],
            f"{row['named']:.3f}",
            f"{row['fall']:.3f}",
            *(interval(row[key]) for key in against),
        )
        for row in found["table"]
    ]
    three = found["three named"]
    note = (
        f"{found['users']} users, {found['events']} events, seed {found['seed']}; fall of the "
        "log-odds of the first interest when the history is replayed without the event; a random "
        f"event {found['random event']:.3f}. Without the three events named first "
        f"{three['fall']:.3f}, without three random ones {three['fall of random ones']:.3f}. "
        "Rank correlation of the published weights with replaying "
        f"{found['rank correlation with replaying']:.2f}, with those of randomised weights "
        f"{found['rank correlation with randomised weights']:.2f}."
    )
    return Table("Explanations", ("event named first by", "named", "fall", *against), rows, note)
