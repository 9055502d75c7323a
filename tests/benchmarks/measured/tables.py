"""Makes the tables of docs/measured: each from its rows, as lines of Markdown.

A table whose rows are missing says that nothing was measured, and the command that would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from tests.benchmarks.measured.figures import Figures, Spread
from tests.benchmarks.measured.studies import STUDIES
from tests.benchmarks.measured.targets import TARGETS, rate

NOT_MEASURED: Final = "not measured with this code"
MEASURES: Final = ("HR@10", "NDCG@10", "Recall@20", "Recall@50", "MRR@20")
Row = Sequence[str]


def markdown(header: Row, rows: Sequence[Row]) -> list[str]:
    """Returns a table as lines of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def conditions(figures: Figures, *names: str) -> list[str]:
    """Returns a sentence that says of which code, when and on which machine rows were measured."""
    runs = [run for name in names for run in figures.runs(name)]
    if not runs:
        return []
    commits = ", ".join(dict.fromkeys(run["commit"] for run in runs))
    dates = " to ".join(dict.fromkeys((min(r["date"] for r in runs), max(r["date"] for r in runs))))
    machines = ", ".join(
        dict.fromkeys(
            f"{each['cores']} cores of an {each['processor']} with {each['vector']}"
            for each in (run["machine"] for run in runs)
        )
    )
    files = ", ".join(f"[{name}.json](rows/{name}.json)" for name in names if figures.runs(name))
    return ["", f"Code of {commits}, {dates}, {machines}; rows and commands: {files}."]


def _missing(command: str) -> list[str]:
    return [f"*{NOT_MEASURED[0].upper()}{NOT_MEASURED[1:]}*: `{command}`."]


def _targets(figures: Figures) -> list[str]:
    """Returns the table of the summary page, a line a target."""
    rows = []
    for target in TARGETS:
        found = target.outcome(figures)
        met = "" if found is None else "met" if found.met else "**missed**"
        cells = (NOT_MEASURED, "") if found is None else (found.reached, found.beside)
        rows.append((f"[{target.what}]({target.page})", target.wanted, *cells, met))
    return markdown(("what", "target", "reached", "beside it", ""), rows)


def _accuracy(name: str, way: str, figures: Figures) -> list[str]:
    """Returns a line a scorer of next items, the model first."""
    answers = figures.answers(name, way)
    if answers is None:
        return _missing(f"python -m tests.benchmarks.measured accuracy FOLDER --set {name}")
    by_rank = sorted(answers.baselines, key=lambda each: -answers.of(each, "HR@10").middle)
    rows: list[Row] = []
    for scorer in [*answers.models, *by_rank]:
        cells = [_of_seeds(answers.of(scorer, measure)) for measure in MEASURES]
        cells += [
            "" if scorer == "model" else _ends(answers.ahead(scorer, measure))
            for measure in ("HR@10", "NDCG@10")
        ]
        rows.append((f"**{scorer}**" if scorer == "model" else scorer, *cells))
    return [
        *markdown(("scorer", *MEASURES, "model minus this, HR@10", "NDCG@10"), rows),
        "",
        f"{answers.cases:,} cases; seeds: {answers.seeds}. Intervals: 95 %, paired, over users; of"
        " several seeds the outermost ends.",
        *conditions(figures, f"accuracy-{name}"),
    ]


def _interests(name: str, figures: Figures) -> list[str]:
    """Returns a line a tracker of interests, the model first."""
    answers = figures.answers(name)
    if answers is None:
        return _missing(f"python -m tests.benchmarks.measured accuracy FOLDER --set {name}")
    rows = [
        (
            f"**{scorer}**" if scorer == "model" else scorer,
            *(_of_seeds(answers.of_interests(scorer, each), 4) for each in ("NLL", "top-3", "ECE")),
        )
        for scorer in ("model", *answers.counters)
    ]
    return [
        *markdown(("", "NLL", "top-3", "ECE"), rows),
        *conditions(figures, f"accuracy-{name}"),
    ]


def _calibration(name: str, figures: Figures) -> list[str]:
    """Returns a line a seed: what published probabilities say, and what happens."""
    answers = figures.answers(name)
    if answers is None or not answers.reliability:
        return _missing(f"python -m tests.benchmarks.measured accuracy FOLDER --set {name}")
    rows = []
    for seed, found in answers.reliability:
        before = found.get("uncorrected")
        if before is not None:
            rows.append((str(seed), "before", *_reliable(before), ""))
        verdicts = ", ".join(each["verdict"] for each in found["targets"])
        rows.append((str(seed), "" if before is None else "after", *_reliable(found), verdicts))
    header = (
        "seed",
        "calibration",
        "cases",
        "first, said",
        "happened",
        "gap",
        "ECE (by chance)",
        "first five, ECE (by chance)",
        "targets",
    )
    trends = [
        (
            str(seed),
            each["trend"],
            f"{each['shown']:,}",
            f"{each['said']:+.4f}",
            f"{each['happened']:+.4f} ({_ends(each['happened interval'])})",
            "" if each["above"] is None else f"{_percent(each['above'])} of {each['followed']:,}",
        )
        for seed, found in answers.reliability
        for each in found["trends"]
    ]
    of_trends = ("seed", "trend", "shown", "said", "happened", "larger share of the next 5")
    return [
        *markdown(header, rows),
        "",
        *markdown(of_trends, trends),
        *conditions(figures, f"accuracy-{name}"),
    ]


def _reliable(found: dict[str, Any]) -> Row:
    """Returns the cells of what the first and the first five interests say, and what happens."""
    first, every = found["first"], found["first_five"]
    return (
        f"{first['cases']:,}",
        f"{first['said']:.4f}",
        f"{first['happened']:.4f}",
        f"{first['gap']:+.4f} ({_ends(first['gap interval'])})",
        *(f"{each['ECE']:.4f} ({each['ECE by chance'][0]:.4f})" for each in (first, every)),
    )


def _speed(figures: Figures) -> list[str]:
    """Returns a line a form: its events/s, and how many times as many ours are."""
    forms = dict.fromkeys(
        (row["form"], row["model"], row["users"])
        for run in figures.runs("speed")
        for row in run["rows"]
    )
    rows = []
    # a form is compared with ours of the same model and users; ours in other batches with none
    for form, model, users in forms:
        found, ours = (
            rate(figures, form, model, users),
            rate(figures, "interest-stream", model, users),
        )
        if found is None:
            continue
        times = (
            ""
            if ours is None or "interest-stream" in form
            else f"{ours.middle / found.middle:.3g}x"
        )
        memory = figures.spread("speed", "memory_mb", form=form, model=model, users=users)
        rows.append(
            (
                f"**{form}**" if "interest-stream" in form else form,
                "demo model" if model == "real" else "null model",
                f"{users:,}",
                f"{found.middle:,.0f} [{found.least:,.0f}, {found.most:,.0f}]",
                times,
                f"{memory.middle:,.0f} MB" if memory else "",
                str(found.runs),
            )
        )
    if not rows:
        return _missing("python -m tests.benchmarks.measured speed")
    header = ("form", "model", "users", "events/s", "ours is", "memory", "runs")
    return [*markdown(header, rows), *conditions(figures, "speed")]


def _kill(figures: Figures) -> list[str]:
    """Returns a line a form: what it lost and doubled when it was killed."""
    rows = [
        (
            row["form"],
            f"{row['users']:,}",
            f"{row['lost']:,}",
            f"{row['doubled']:,}",
            f"{row['users_wrong']:,}",
            f"{row['resumed_s']:.1f} s",
        )
        for run in figures.runs("kill")
        for row in run["rows"]
    ]
    if not rows:
        return _missing("python -m tests.benchmarks.measured kill")
    header = ("form", "users", "lost", "doubled", "users wrong", "first update after")
    return [*markdown(header, rows), *conditions(figures, "kill")]


def _of_conditions(name: str, figures: Figures) -> list[str]:
    """Returns a line a figure of `bench conditions`."""
    kinds = dict.fromkeys(
        (row["condition"], row["figure"], row["unit"])
        for run in figures.runs(name)
        for row in run["rows"]
    )
    rows = []
    for condition, figure, unit in kinds:
        found = figures.spread(name, "value", condition=condition, figure=figure)
        assert found is not None
        digits = 0 if found.middle >= 100 else 2
        cells = (f"{each:,.{digits}f} {unit}" for each in (found.middle, found.least, found.most))
        rows.append((condition, figure, *cells, str(found.runs)))
    if not rows:
        return _missing(f"python -m tests.benchmarks.measured {name}")
    header = ("condition", "figure", "median", "least", "most", "runs")
    return [*markdown(header, rows), *conditions(figures, name)]


def _demo(figures: Figures) -> list[str]:
    """Returns a line a seed of the demo."""
    rows = [
        (
            str(run["seed"]),
            f"{row['events_sent']:,} / {row['events_applied']:,}",
            f"{row['updates_seen']:,}",
            f"**{_percent(row['top_interest_is_truth'])}**",
            _percent(row["last_category_is_truth"]),
            _percent(row["most_popular_is_truth"]),
            f"{row['latency_p50_ms']:.0f} / {row['latency_p99_ms']:.0f} ms",
            f"{row['first_update_after_s']:.1f} s",
        )
        for run in figures.runs("demo")
        for row in run["rows"]
    ]
    if not rows:
        return _missing("python -m tests.benchmarks.measured demo")
    header = (
        "seed",
        "events sent / applied",
        "updates",
        "tracked top interest",
        "category of the last event",
        "most popular interest",
        "p50 / p99",
        "first update after",
    )
    return [*markdown(header, rows), *conditions(figures, "demo")]


def _drift(figures: Figures) -> list[str]:
    """Returns a line a tracker at each level of noise."""
    kinds = dict.fromkeys(
        (row["noise"], row["name"]) for run in figures.runs("drift") for row in run["rows"]
    )
    rows = []
    # the middle of the seeds; a quantile that no seed has is a switch that is never noticed
    for noise, name in kinds:
        of = partial(figures.spread, "drift", name=name, noise=noise)
        cells = [
            "never" if (found := of(each)) is None else f"{found.middle:g}"
            for each in ("median", "p90", "returning median", "returning p90")
        ]
        cells += [
            "" if (found := of(each)) is None else _percent(found.middle)
            for each in ("noticed", "right")
        ]
        false = of("false per 100")
        shown = "0 to 30 %" if noise is None else _percent(noise, 0)
        rows.append((shown, name, *cells, f"{false.middle:.1f}" if false else ""))
    if not rows:
        return _missing("python -m tests.benchmarks.measured drift")
    header = (
        "noise",
        "tracker",
        "median",
        "p90",
        "returning, median",
        "p90",
        "noticed",
        "named right",
        "false switches in 100 events",
    )
    return [*markdown(header, rows), *conditions(figures, "drift")]


def _explanations(figures: Figures) -> list[str]:
    """Returns a line an explanation, of the first seed."""
    runs = figures.runs("explanations")
    if not runs:
        return _missing("python -m tests.benchmarks.measured explanations")
    found = runs[0]["rows"][0]
    rows = [
        (
            row["explanation"],
            f"{row['fall']:.3f}",
            _ends(row["minus random"], 3),
            ""
            if row.get("published minus this") is None
            else _ends(row["published minus this"], 3),
        )
        for row in found["table"]
    ]
    header = ("event named first by", "fall", "minus a random one", "`because` minus this")
    return [*markdown(header, rows), *conditions(figures, "explanations")]


def _of_seeds(found: Spread, digits: int = 4) -> str:
    spread = f" [{found.least:.{digits}f}, {found.most:.{digits}f}]" if found.runs > 1 else ""
    return f"{found.middle:.{digits}f}{spread}"


def _percent(share: float, digits: int = 1) -> str:
    return f"{share * 100:.{digits}f} %"


def _ends(ends: Sequence[float], digits: int = 4) -> str:
    return f"{ends[0]:+.{digits}f} .. {ends[1]:+.{digits}f}"


def _catalogue(figures: Figures) -> list[str]:
    """Returns a line a size of the catalogue, of the newest run."""
    runs = figures.runs("catalogue")
    if not runs:
        return _missing("python -m tests.benchmarks.measured catalogue")
    rows = [
        (
            f"{row['items']:,}",
            f"{row['candidates']:,.0f}",
            f"{row['us_per_user']:,.0f}",
            f"{row['exact_us_per_user']:,.0f}",
            f"{row['recall_at_10']:.4f}",
            f"{row['load_s']:.1f}",
            f"{row['memory_mb']:,.0f}",
        )
        for row in runs[-1]["rows"]
    ]
    header = (
        "items",
        "scored of a user",
        "µs a user",
        "µs with all items scored",
        "of the exact first ten",
        "s to load",
        "MB",
    )
    return [*markdown(header, rows), *conditions(figures, "catalogue")]


TABLES: Final[dict[str, Callable[[Figures], list[str]]]] = {
    "targets": _targets,
    "speed": _speed,
    "kill": _kill,
    "latency": partial(_of_conditions, "latency"),
    "recovery": partial(_of_conditions, "recovery"),
    "joins": partial(_of_conditions, "joins"),
    "serving": partial(_of_conditions, "serving"),
    "catalogue": _catalogue,
    "demo": _demo,
    "drift": _drift,
    "explanations": _explanations,
    **{f"accuracy {study.name}": partial(_accuracy, study.name, "") for study in STUDIES},
    **{
        f"accuracy {study.name} live": partial(_accuracy, study.name, "live")
        for study in STUDIES
        if study.live
    },
    **{
        f"accuracy {study.name} {way.replace('_', ' ')}": partial(_accuracy, study.name, way)
        for study in STUDIES
        if study.new_items
        for way in ("new_items", "new_items_live")
    },
    **{f"interests {study.name}": partial(_interests, study.name) for study in STUDIES},
    **{f"calibration {study.name}": partial(_calibration, study.name) for study in STUDIES},
}
"""Each table by the name that markers give it."""
