"""`evaluate`: measures a model, or what a worker predicted, against what happened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from stream.cli import options
from stream.cli.data_options import check_split, data_options, seen_option
from stream.errors import UsageError
from stream.plain_text import plain

_FILE = click.Path(path_type=Path)


@click.command()
@options.model
@click.option("--events", multiple=True, type=options.FILES, help=options.EVENTS)
@click.option(
    "--compare",
    nargs=2,
    type=_FILE,
    default=None,
    metavar="A B",
    help="Two model directories, instead of --model.",
)
@click.option(
    "--drift",
    type=click.IntRange(1),
    default=None,
    metavar="USERS",
    help="How fast a model of the simulation notices a changed interest, on this many new users.",
)
@click.option(
    "--explanations",
    type=click.IntRange(2),
    default=None,
    metavar="USERS",
    help=(
        "Whether the events named as causes are causes: replays without them, of users in "
        "--events, else simulated."
    ),
)
@click.option(
    "--parts",
    is_flag=True,
    help=(
        "What each part of the model carries: every scorer alone, and the blend without one of "
        "them."
    ),
)
@click.option(
    "--membership",
    is_flag=True,
    help=(
        "Whether losses tell which users a model was trained on: an attack on a model of 'train "
        "--hold-out-users'."
    ),
)
@click.option(
    "--predictions",
    type=_FILE,
    default=None,
    help="Updates of a worker (tail --json) to hold against the events instead.",
)
@click.option(
    "--live-popularity",
    is_flag=True,
    help=(
        "The model knows what all users did until the hour before each case, as a worker with "
        "--live-popularity does."
    ),
)
@click.option(
    "--html",
    "page",
    type=_FILE,
    default=None,
    help="Write a page with tables and charts there, too.",
)
@data_options
@seen_option()
@click.option(
    "--most-cases",
    type=click.IntRange(1),
    default=20_000,
    show_default=True,
    help="More cases are sampled down.",
)
@options.language_model
@options.device
@options.as_json
@options.verbose
def command(
    model: Path | None,
    demo_model: bool,
    compare: tuple[Path, Path] | None,
    predictions: Path | None,
    drift: int | None,
    explanations: int | None,
    parts: bool,
    membership: bool,
    page: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Measure a model directory, two of them, or the updates of a worker, against events.

    The model is asked for next items (full ranking) and for interests, beside baselines made from
    the same events.

    \b
    Examples:
      interest-stream evaluate --model model --events events.tsv.gz
      interest-stream evaluate --model model --events events.tsv.gz --json
      interest-stream evaluate --model model --events log.csv --live-popularity
      interest-stream evaluate --compare old new --events events.tsv.gz
      interest-stream evaluate --predictions updates.jsonl --events events.tsv.gz
      interest-stream evaluate --model model --events events.tsv.gz --parts
      interest-stream evaluate --model half --events events.tsv.gz --membership
      interest-stream evaluate --model model --events train.csv --test test.csv
      interest-stream evaluate --model model --events l.csv --html page.html
      interest-stream evaluate --drift 300 --html drift.html
      interest-stream evaluate --explanations 500

    Exit codes: 0 measured, 1 a file cannot be used, 2 wrong use.
    """
    from models.contract import Hosting
    from models.predict import load_predictor
    from stream.cli import evaluate_report as reports
    from stream.cli import evaluate_view as view

    # one question at a time: which one, and what it needs
    asked = {
        "--predictions": predictions,
        "--drift": drift,
        "--explanations": explanations,
        "--parts": parts,
        "--membership": membership,
    }
    _check_question(asked, compare, bool(model or demo_model), bool(given["events"]))
    _check_extras(asked, compare, page, given)
    # of simulated users the demo model needs no name; predictions need no model, only its catalogue
    if model or demo_model or (given["events"] and not (compare or predictions)):
        options.ensure_one_model(model, demo_model)
    hosting = Hosting(given["language_model"], given["device"])
    need = not (compare or predictions) or model or demo_model
    predictor = load_predictor(model, given["threads"], hosting) if need else None

    # each question has its report, and a way to print it
    if compare:
        hosted = hosting != Hosting()  # else both compute as in training
        report = reports.of_two(compare, given, hosting if hosted else None)
        show = view.print_comparison
    elif predictions:
        report = reports.of_predictions(predictions, predictor, given)
        show = view.print_predictions
    elif drift:
        report = reports.of_drift(predictor, drift, given["seed"])
        show = view.print_drift
    elif explanations:
        report = reports.of_explanations(predictor, explanations, given)
        show = view.print_explanations
    elif parts:
        report = reports.of_parts(predictor, model, given)
        show = view.print_parts
    elif membership:
        report = reports.of_membership(predictor, model, given)
        show = view.print_membership
    else:
        report = reports.of_model(predictor, model, given)
        show = view.print_model

    # as a page, as JSON or as tables
    if page is not None:
        view.write_page(page, report, drift is not None)
    if as_json:
        click.echo(plain(json.dumps(report, ensure_ascii=False)))
    else:
        show(report)


def _check_question(
    asked: dict[str, Any], compare: tuple[Path, Path] | None, model: bool, events: bool
) -> None:
    """Raises UsageError unless one thing is asked, of events where it needs them."""
    chosen = [name for name, value in asked.items() if value]
    if compare and (model or chosen):
        raise UsageError("--compare names both models; leave out --model, " + ", ".join(asked))
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} are questions of their own; ask one at a time")
    if events == (chosen == ["--drift"]) and chosen != ["--explanations"]:
        raise UsageError(
            "name event files with --events, or simulated users with --drift or --explanations, "
            "one of them"
        )


def _check_extras(
    asked: dict[str, Any], compare: Any, page: Path | None, given: dict[str, Any]
) -> None:
    """Raises UsageError where an option means nothing for what is asked."""
    unlike = any(asked[name] for name in ("--predictions", "--drift", "--explanations"))
    check_split(given)
    if given["tests"] and (not given["events"] or unlike):
        raise UsageError("--test goes with --events, to measure a model, two of them, or --parts")
    others = bool(compare) or any(value for name, value in asked.items() if name != "--drift")
    if given["live_popularity"] and (others or asked["--drift"]):
        raise UsageError("--live-popularity goes with --model and --events alone")
    if page is not None and others:
        raise UsageError("--html shows an evaluation of a model, or --drift; leave it out here")
