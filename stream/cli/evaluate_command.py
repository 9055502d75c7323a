"""`interest-stream evaluate`: a model, or what a worker predicted, against what happened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stream.cli import options
from stream.cli.data_options import data_options, prepare_config
from stream.errors import DataError, ModelError, UsageError

if TYPE_CHECKING:
    from models.predict import Hosting
    from models.predictor import Predictor
    from models.prepare import Dataset
    from models.protocols import Split

_FILE = click.Path(path_type=Path)


@click.command()
@click.option("--model", type=_FILE, default=None, help="Model directory.  [default: the demo model]")
@click.option("--events", multiple=True, type=_FILE, help="Behaviour events; repeat for several files.")
@click.option(
    "--compare", nargs=2, type=_FILE, default=None, metavar="A B", help="Two model directories, instead of --model."
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
    help="Whether the events named as causes are causes: replays without them, of users in --events, else simulated.",
)
@click.option(
    "--parts",
    is_flag=True,
    help="What each part of the model carries: every scorer alone, and the blend without one of them.",
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
    help="The model knows what all users did until the hour before each case, as a worker with --live-popularity does.",
)
@click.option("--html", "page", type=_FILE, default=None, help="Write a page with tables and charts there, too.")
@data_options
@click.option(
    "--most-cases", type=click.IntRange(1), default=20_000, show_default=True, help="More cases are sampled down."
)
@options.language_model
@options.device
@options.as_json
@options.verbose
def command(
    model: Path | None,
    compare: tuple[Path, Path] | None,
    predictions: Path | None,
    drift: int | None,
    explanations: int | None,
    parts: bool,
    page: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Measure a model directory, two of them, or the updates of a worker, against events.

    The model is asked for next items (full ranking) and for interests, beside baselines made from the same events.

    \b
    Examples:
      interest-stream evaluate --model model --events events.tsv.gz
      interest-stream evaluate --model model --events events.tsv.gz --json
      interest-stream evaluate --model model --events log.csv --live-popularity
      interest-stream evaluate --compare old new --events events.tsv.gz
      interest-stream evaluate --predictions updates.jsonl --events events.tsv.gz
      interest-stream evaluate --model model --events events.tsv.gz --parts
      interest-stream evaluate --events l.csv --protocol time-split --html p.html
      interest-stream evaluate --drift 300 --html drift.html
      interest-stream evaluate --explanations 500

    Exit codes: 0 measured, 1 a file cannot be used, 2 wrong use.
    """
    from models.errors import ModelDataError, ModelDirectoryError
    from models.predict import Hosting, load_predictor

    asked = {"--predictions": predictions, "--drift": drift, "--explanations": explanations, "--parts": parts}
    _check_question(asked, compare, model, bool(given["events"]))
    _check_extras(asked, compare, page, given["live_popularity"])
    try:
        hosting = Hosting(given["language_model"], given["device"])
        need = not (compare or predictions) or model
        predictor = load_predictor(model, given["threads"], hosting) if need else None
        if compare:
            named = hosting != Hosting()  # else both compute as in training
            report, show = _of_two(compare, given, hosting if named else None), _print_comparison
        elif predictions:
            report, show = _of_predictions(predictions, predictor, given), _print_predictions
        elif drift:
            report, show = _of_drift(predictor, drift, given["seed"]), _print_drift
        elif explanations:
            report, show = _of_explanations(predictor, explanations, given), _print_explanations
        elif parts:
            report, show = _of_parts(predictor, model, given), _print_parts
        else:
            report, show = _of_model(predictor, model, given), _print_model
    except ModelDirectoryError as error:
        raise ModelError(str(error)) from None
    except ModelDataError as error:
        raise DataError(str(error)) from None
    if page is not None:
        _write_page(page, report, drift is not None)
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False))
    else:
        show(report)


def _write_page(path: Path, report: dict[str, Any], of_drift: bool) -> None:
    from models.report_page import drift_page, evaluation_page

    text = drift_page("Changed interests", report) if of_drift else evaluation_page("Evaluation", report)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--html {path} cannot be written: {error.strerror}") from None


def _check_question(asked: dict[str, Any], compare: tuple[Path, Path] | None, model: Path | None, events: bool) -> None:
    """Raises UsageError unless one thing is asked, of events where it needs them."""
    chosen = [name for name, value in asked.items() if value]
    if compare and (model or chosen):
        raise UsageError("--compare names both models; leave out --model, " + ", ".join(asked))
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} are questions of their own; ask one at a time")
    if events == (chosen == ["--drift"]) and chosen != ["--explanations"]:
        raise UsageError(
            "name event files with --events, or simulated users with --drift or --explanations, one of them"
        )


def _check_extras(asked: dict[str, Any], compare: Any, page: Path | None, live: bool) -> None:
    """Raises UsageError where an option means nothing for what is asked."""
    others = bool(compare) or any(value for name, value in asked.items() if name != "--drift")
    if live and (others or asked["--drift"]):
        raise UsageError("--live-popularity goes with --model and --events alone")
    if page is not None and others:
        raise UsageError("--html shows an evaluation of a model, or --drift; leave it out here")


def _of_drift(predictor: Predictor | None, users: int, seed: int) -> dict[str, Any]:
    from stream.drifting import measure_drift

    assert predictor is not None
    return measure_drift(predictor, predictor.membership, users, seed)


def _of_explanations(predictor: Predictor | None, users: int, given: dict[str, Any]) -> dict[str, Any]:
    from stream.explaining import histories_of, measure_explanations, simulated_histories

    assert predictor is not None
    seed, real = given["seed"], bool(given["events"])
    histories = histories_of(_dataset(predictor, given), users, seed) if real else simulated_histories(users, seed)
    return measure_explanations(predictor, histories, seed)


def _of_parts(predictor: Predictor | None, model: Path | None, given: dict[str, Any]) -> dict[str, Any]:
    from models.parts import measure_parts
    from stream.cli.training_view import ProgressView

    assert predictor is not None
    dataset, cut = _asked(predictor, given)
    with ProgressView() as view:
        report = measure_parts(predictor, cut, seen=given["seen"], seed=given["seed"], progress=view)
    return {**report, "notes": _origin(model, dataset, given["protocol"])}


def _of_model(predictor: Predictor | None, model: Path | None, given: dict[str, Any]) -> dict[str, Any]:
    from models.evaluate import evaluate
    from stream.cli.training_view import ProgressView

    assert predictor is not None
    dataset, cut = _asked(predictor, given)
    with ProgressView() as view:
        live = given["live_popularity"]
        report = evaluate(predictor, cut, seen=given["seen"], seed=given["seed"], live=live, progress=view)
    report["preparation"] = dataset.report
    report["notes"] = _origin(model, dataset, given["protocol"])
    return report


def _of_two(places: tuple[Path, Path], given: dict[str, Any], hosting: Hosting | None) -> dict[str, Any]:
    from models.compare import compare
    from models.predict import load_predictor
    from stream.cli.training_view import ProgressView

    first, second = (load_predictor(each, given["threads"], hosting) for each in places)
    dataset, cut = _asked(first, given)
    with ProgressView() as view:
        report = compare(first, second, cut, seen=given["seen"], seed=given["seed"], progress=view)
    origins = zip("AB", places, strict=True)
    report["notes"] = [
        f"{name}: {note}" for name, path in origins for note in _origin(path, dataset, given["protocol"])
    ]
    return report


def _asked(predictor: Predictor, given: dict[str, Any]) -> tuple[Dataset, Split]:
    from models.protocols import split

    dataset = _dataset(predictor, given)
    protocol, seed, most = given["protocol"], given["seed"], given["most_cases"]
    return dataset, split(dataset, protocol, seed=seed, most_cases=most, session_gap_s=given["session_gap"])


def _dataset(predictor: Predictor, given: dict[str, Any]) -> Dataset:
    """The events seen through the catalogue and the interests of the model."""
    from models.prepare import Catalogue
    from stream.event_columns import parse_mapping
    from stream.training_inputs import Inputs, load_dataset, with_known_interests

    info = predictor.info
    inputs = Inputs(given["events"], (), parse_mapping(given["columns"]), given["sequences"])
    catalogue = Catalogue(list(info.items), list(info.titles), [()] * len(info.items))
    return with_known_interests(
        load_dataset(inputs, prepare_config(given), catalogue), info.interests, predictor.membership
    )


def _origin(model: Path | None, dataset: Dataset, protocol: str) -> list[str]:
    """Whether the answers asked for were hidden from the model when it was trained."""
    from stream.cli.train_command import fingerprint

    try:
        report = json.loads((model / "report.json").read_text(encoding="utf-8")) if model is not None else {}
    except (OSError, ValueError):
        report = {}
    if report.get("data") != fingerprint(dataset):
        return [
            "These are not the events that the model was trained on; baselines are made from them, the model is not."
        ]
    held_out = report.get("evaluation", {}).get("protocol")
    if held_out != protocol:
        return [
            f"The model was trained on these events holding out by {held_out}: it may have learned what is asked here."
        ]
    return ["The model was trained on these events without what is asked here."]


def _of_predictions(path: Path, predictor: Predictor | None, given: dict[str, Any]) -> dict[str, Any]:
    from models.followed import measure
    from stream.event_columns import parse_mapping
    from stream.event_files import EventFiles
    from stream.prediction_files import PredictionFile, read_logs

    events = EventFiles(given["events"], parse_mapping(given["columns"]), sequences=given["sequences"])
    logs = read_logs(events)
    updates = PredictionFile(path)
    report = measure(updates, logs, _interests_of(predictor), given["seed"])
    if not report["updates"]:
        raise UsageError(
            f"{path}: holds no interest update ({updates.first_bad}); write one with 'interest-stream tail --json'"
        )
    report["bad_lines"] = {**updates.bad, **events.bad}
    report["first_bad"] = updates.first_bad
    return report


def _interests_of(predictor: Predictor | None) -> dict[str, list[str]] | None:
    if predictor is None:
        return None
    names = predictor.info.interests
    return {
        item: [names[place] for place in row.nonzero()[0]]
        for item, row in zip(predictor.info.items, predictor.membership, strict=True)
    }


def _print_model(report: dict[str, Any]) -> None:
    from models.report import preparation_tables
    from stream.cli.training_view import print_results, print_tables

    print_tables(preparation_tables(report["preparation"]))
    print_results(report)
    for line in [*report["verdict"], *report["notes"]]:
        click.echo(line)


def _print_predictions(report: dict[str, Any]) -> None:
    for name, value in report.items():
        if name == "interests":
            for inner, figure in value.items():
                if inner != "calibration":
                    click.echo(
                        f"interests, {inner}: {figure:.4f}"
                        if isinstance(figure, float)
                        else f"interests, {inner}: {figure}"
                    )
        elif value not in ({}, ""):
            click.echo(
                f"{name.replace('_', ' ')}: {value:.4f}"
                if isinstance(value, float)
                else f"{name.replace('_', ' ')}: {value}"
            )


def _print_drift(report: dict[str, Any]) -> None:
    from models.report import drift_tables
    from stream.cli.training_view import print_tables

    print_tables(drift_tables(report))


def _print_explanations(report: dict[str, Any]) -> None:
    from models.report import explanations_table
    from stream.cli.training_view import print_tables

    print_tables([explanations_table(report)])


def _print_parts(report: dict[str, Any]) -> None:
    from models.report import parts_table
    from stream.cli.training_view import print_tables

    print_tables([parts_table(report)])
    for line in report["notes"]:
        click.echo(line)


def _print_comparison(report: dict[str, Any]) -> None:
    from models.report import comparison_table
    from stream.cli.training_view import print_tables

    print_tables([comparison_table(report)])
    for line in report["notes"]:
        click.echo(line)
