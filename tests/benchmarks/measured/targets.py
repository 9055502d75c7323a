"""The targets that the project has set itself, and what the rows say of each.

A target whose rows are missing has no outcome. Published figures, which nobody measured here, stand
in the text of their target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.benchmarks.measured.figures import Answers, Figures, Spread


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was reached."""

    reached: str
    beside: str
    met: bool


@dataclass(frozen=True, slots=True)
class Target:
    """One line of the table."""

    what: str
    wanted: str
    page: str  # of docs/measured
    outcome: Callable[[Figures], Outcome | None]


def pair(answers: Answers, scorer: str, *measures: str) -> str:
    """Returns measures of a scorer as tables have them, with four digits."""
    return " / ".join(f"{answers.of(scorer, measure).middle:.4f}" for measure in measures)


def with_seeds(answers: Answers) -> str:
    """Returns how many seeds a mean is of, in words."""
    return f"{answers.seeds} seed{'s' * (answers.seeds > 1)}"


def _next_items(
    study: str, way: str = "", least: tuple[float, float] | None = None, *measures: str
) -> Callable[[Figures], Outcome | None]:
    """Compares a model with its baselines, or with `least`, of HR@10 and NDCG@10, if given."""
    shown = measures or ("HR@10", "NDCG@10")

    def outcome(figures: Figures) -> Outcome | None:
        answers = figures.answers(study, way)
        if answers is None:
            return None
        best = answers.best_baseline(shown[0])
        if least is None:
            met = answers.is_ahead_of_all()
        else:
            met = all(
                answers.of("model", measure).middle >= bound
                for measure, bound in zip(shown, least, strict=True)
            )
        return Outcome(
            f"{pair(answers, 'model', *shown)} ({with_seeds(answers)})",
            f"{best}: {pair(answers, best, *shown)}",
            met,
        )

    return outcome


def _interests(study: str) -> Callable[[Figures], Outcome | None]:
    """Compares interests with all counters by NLL and top-3; the ECE has to be at most 0.02."""

    def outcome(figures: Figures) -> Outcome | None:
        answers = figures.answers(study)
        if answers is None:
            return None
        by_loss = min(answers.counters, key=lambda name: answers.of_interests(name, "NLL").middle)
        by_top = max(answers.counters, key=lambda name: answers.of_interests(name, "top-3").middle)
        loss, top, error = (
            answers.of_interests("model", name).middle for name in ("NLL", "top-3", "ECE")
        )
        their_loss = answers.of_interests(by_loss, "NLL").middle
        their_top = answers.of_interests(by_top, "top-3").middle
        return Outcome(
            f"NLL {loss:.4f}, top-3 {top:.4f}, ECE {error:.4f} ({with_seeds(answers)})",
            f"NLL {their_loss:.4f} ({by_loss}), top-3 {their_top:.4f} ({by_top})",
            loss < their_loss and top > their_top and error <= 0.02,
        )

    return outcome


def _new_items(figures: Figures) -> Outcome | None:
    answers = figures.answers("movietweetings-time-split", "new_items_live")
    if answers is None:
        return None
    mine = answers.of("model", "Recall@50").middle
    best = answers.best_baseline("Recall@50")
    titles = next((name for name in answers.baselines if "title" in name), best)
    theirs = answers.of(titles, "Recall@50").middle
    return Outcome(
        f"{mine:.4f} with live popularity ({with_seeds(answers)})",
        f"{titles}: {theirs:.4f}",
        mine > theirs,
    )


def _drift(figures: Figures) -> Outcome | None:
    mine = figures.spread("drift", "median", name="model", noise=None)
    rows = [row for run in figures.runs("drift") for row in run["rows"] if row["noise"] is None]
    counter = next(
        (row["name"] for row in rows if row["name"] not in ("model", "knows the rates")), None
    )
    if mine is None or counter is None:
        return None
    theirs = figures.spread("drift", "median", name=counter, noise=None)
    assert theirs is not None
    return Outcome(
        f"median {mine.middle:g} events",
        f"{counter}: {theirs.middle:g}",
        mine.middle <= theirs.middle / 2,
    )


def rate(figures: Figures, form: str, model: str = "real", users: int = 5_000) -> Spread | None:
    """Returns the events/s of a form."""
    return figures.spread("speed", "events_per_s", form=form, model=model, users=users)


def _times(form: str, wanted: float, model: str = "real") -> Callable[[Figures], Outcome | None]:
    """Compares the rate of a worker with that of another form, both in batches of 4,096."""

    def outcome(figures: Figures) -> Outcome | None:
        ours, theirs = rate(figures, "interest-stream", model), rate(figures, form, model)
        if ours is None or theirs is None:
            return None
        times = ours.middle / theirs.middle
        return Outcome(
            f"{times:.3g}x: {ours.middle:,.0f} events/s",
            f"{theirs.middle:,.0f} events/s",
            times >= wanted,
        )

    return outcome


def _at_most(
    file: str, ending: str, bound: float, unit: str, digits: int = 1
) -> Callable[[Figures], Outcome | None]:
    """Compares the median of a figure of `bench conditions` with the most that it may be."""

    def outcome(figures: Figures) -> Outcome | None:
        found = figures.named(file, ending)
        if found is None:
            return None
        shown = (
            f"{found.middle:.{digits}f}{unit} ({found.least:.{digits}f} to {found.most:.{digits}f})"
        )
        return Outcome(shown, "", found.middle <= bound)

    return outcome


def _killed(figures: Figures) -> Outcome | None:
    lost, doubled = (
        figures.spread("kill", name, form="interest-stream") for name in ("lost", "doubled")
    )
    if lost is None or doubled is None:
        return None
    stock = "Faust, an event at a time"
    theirs = [figures.spread("kill", name, form=stock) for name in ("lost", "doubled")]
    beside = " lost, ".join(f"{each.most:,.0f}" for each in theirs if each)
    return Outcome(
        f"{lost.most:,.0f} lost, {doubled.most:,.0f} doubled",
        f"stock Faust: {beside} doubled" if all(theirs) else "",
        lost.most == doubled.most == 0,
    )


def _demo_start(figures: Figures) -> Outcome | None:
    first = figures.spread("demo", "first_update_after_s")
    if first is None:
        return None
    return Outcome(f"{first.middle:.1f} s", "", first.most < 20)


ALL: Final = "ahead of all baselines"

TARGETS: Final = (
    Target("kill -9 in the middle", "0 lost, 0 doubled", "recovery.md", _killed),
    Target(
        "Beauty as published tables count, HR@10 / NDCG@10",
        "0.102 / 0.062 (published: BSARec 0.1002 / 0.0610)",
        "beauty.md",
        _next_items("beauty-hold-out", "", (0.102, 0.062)),
    ),
    Target(
        "Beauty, validation events learned too, which no published table does",
        "0.100 / 0.061",
        "beauty.md",
        _next_items("beauty", "", (0.100, 0.061)),
    ),
    Target("ML-100K, leave-one-out", ALL, "ml-100k.md", _next_items("ml-100k")),
    Target(
        "movietweetings, leave-one-out, live popularity",
        ALL,
        "movietweetings.md",
        _next_items("movietweetings", "live"),
    ),
    Target(
        "movietweetings, leave-one-out, popularity of the training",
        ALL,
        "movietweetings.md",
        _next_items("movietweetings"),
    ),
    Target(
        "movietweetings, time split, live popularity",
        ALL,
        "movietweetings.md",
        _next_items("movietweetings-time-split", "live"),
    ),
    Target("retail, leave-one-out", ALL, "retail.md", _next_items("retail")),
    Target("retail, time split", ALL, "retail.md", _next_items("retail-time-split")),
    Target(
        "wikispeedia, Recall@20 / MRR@20",
        ALL,
        "wikispeedia.md",
        _next_items("wikispeedia", "", None, "Recall@20", "MRR@20"),
    ),
    Target(
        "items new since the training, Recall@50",
        "above nearest titles",
        "new-items.md",
        _new_items,
    ),
    *(
        Target(
            f"interests, {study}",
            "NLL and top-3 ahead of all counters, ECE at most 0.02",
            "interests.md",
            _interests(study),
        )
        for study in ("movietweetings", "wikispeedia", "movielens-small")
    ),
    Target(
        "drift, events until a switch is named",
        "half of the best counter's",
        "drift.md",
        _drift,
    ),
    Target(
        "speed, of Faust as documented", "30x", "speed.md", _times("Faust, an event at a time", 30)
    ),
    Target(
        "speed, of Quix Streams as documented",
        "30x",
        "speed.md",
        _times("Quix Streams, an event at a time", 30),
    ),
    Target(
        "speed, of Bytewax as documented",
        "30x",
        "speed.md",
        _times("Bytewax, an event at a time", 30),
    ),
    Target("speed, of Faust's best", "15x", "speed.md", _times("Faust, take", 15)),
    Target(
        "speed, of Quix Streams' best, given our scorer",
        "ahead",
        "speed.md",
        _times("Quix Streams, sink, our scorer", 1),
    ),
    Target(
        "speed, of Bytewax' best, given our scorer",
        "ahead",
        "speed.md",
        _times("Bytewax, shard, our scorer", 1),
    ),
    Target(
        "one event on an idle topic, p50",
        "under 30 ms",
        "latency.md",
        _at_most("latency", "p50 of one event on an idle topic", 30, " ms"),
    ),
    Target(
        "at half of the sustainable rate, p50",
        "under 30 ms",
        "latency.md",
        _at_most("latency", "p50 at half of it", 30, " ms", 0),
    ),
    Target(
        "at half of the sustainable rate, p99",
        "under 100 ms",
        "latency.md",
        _at_most("latency", "p99 at half of it", 100, " ms", 0),
    ),
    Target(
        "cold start with 1,000,000 users",
        "under 10 s",
        "recovery.md",
        _at_most("recovery", "start of the process to the first update", 10, " s"),
    ),
    Target(
        "highest memory in recovery, of the state",
        "at most 1.5x",
        "recovery.md",
        _at_most("recovery", "highest memory, of the state", 1.5, "x", 2),
    ),
    *(
        Target(
            f"serving again after the group settled, {words}",
            "under 3 s",
            "recovery.md",
            _at_most("joins", f"{figure}: after the group settled", 3, " s", 2),
        )
        for words, figure in (
            ("a worker joins", "joins"),
            ("one of two is stopped", "stopped"),
            ("one of two is killed", "killed"),
            ("one with an instance id is restarted", "restarted"),
        )
    ),
    *(
        Target(
            f"serving 1,000,000 profiles, {what}",
            wanted,
            "serving.md",
            _at_most("serving", figure, bound, unit, digits),
        )
        for what, wanted, figure, bound, unit, digits in (
            ("cold start", "under 120 s", "cold start until ready", 120, " s", 1),
            ("warm start", "under 5 s", "warm start until ready", 5, " s", 1),
            ("file", "under 4 GB", "file, with a history entry each", 4_000, " MB", 0),
            ("highest memory", "under 1 GB", "highest memory of all", 1_000, " MB", 0),
            (
                "1,000 requests/s beside 2,000 updates/s, p99",
                "under 20 ms",
                "any request, p99",
                20,
                " ms",
                1,
            ),
            (
                "update to answer under this load, p99",
                "under 500 ms",
                "update to answer, p99",
                500,
                " ms",
                0,
            ),
            (
                "first page of a segment of 100,000",
                "under 1 s",
                "first page of 1,000",
                1_000,
                " ms",
                0,
            ),
        )
    ),
    Target("the demo's first update", "under 20 s after its start", "demo.md", _demo_start),
)
