"""`interest-stream train`: from files to a model directory and an honest report."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stream.cli import options
from stream.cli.data_options import data_options, prepare_config
from stream.errors import DataError, Failure, ModelError, UsageError

if TYPE_CHECKING:
    from models.llm.base_model import BaseModel
    from models.prepare import Dataset
    from models.protocols import Split
    from models.train import TrainConfig

Paths = tuple[Path, ...]
_FILE = click.Path(path_type=Path)


@click.command()
@click.option("--events", multiple=True, type=_FILE, help="Behaviour events; repeat for several files.")
@click.option("--items", multiple=True, type=_FILE, help="Catalogue: JSON lines of item_id, title, categories.")
@click.option(
    "--simulate",
    type=click.IntRange(10),
    default=None,
    metavar="USERS",
    help="Train on a simulated population instead.",
)
@click.option("--out", required=True, type=_FILE, help="Model directory to write.")
@click.option(
    "--interests", type=_FILE, default=None, help="Taxonomy: one interest a line.  [default: from the catalogue]"
)
@click.option("--most-interests", type=click.IntRange(2, 1000), default=64, show_default=True, help="Interests kept.")
@click.option(
    "--unknown-items",
    type=click.Choice(["keep", "drop", "add"]),
    default="keep",
    show_default=True,
    help="Events about items that the catalogue lacks: keep as history, drop, or add the items.",
)
@data_options
@click.option(
    "--effort",
    type=click.Choice(["quick", "normal", "thorough"]),
    default="quick",
    show_default=True,
    help="Minutes, under an hour, hours.",
)
@click.option(
    "--epochs", type=click.IntRange(1), default=None, help="Most epochs of each neural stage, instead of the effort's."
)
@click.option(
    "--hold-out-validation",
    is_flag=True,
    help="Pick by the validation events, but never learn them: the protocol of published tables. Less accurate.",
)
@click.option(
    "--hide-ids",
    type=click.FloatRange(0, 0.9),
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Share of events of which training shows the title alone: for streams with items that the catalogue lacks.",
)
@click.option(
    "--encode-with",
    type=_FILE,
    default=None,
    metavar="PATH",
    help="A sentence encoder or language model that teaches the small text model the catalogue's texts; not needed later.",
)
@click.option(
    "--language-model",
    type=_FILE,
    default=None,
    metavar="PATH",
    help="A causal language model of your own for the scoring step: a Hugging Face directory with safetensors, or a GGUF file.",
)
@click.option(
    "--language-model-layers",
    type=click.IntRange(1),
    default=None,
    metavar="N",
    help="Use its first N layers only: cheaper in proportion.  [default: all]",
)
@click.option("--lora", is_flag=True, help="With --language-model: train LoRA on it after the bridge.")
@click.option(
    "--start-from",
    type=_FILE,
    default=None,
    metavar="DIR",
    help="With --language-model: take this trained model directory instead of training the small model.",
)
@options.device
@click.option("--name", default=None, help="Name of the model in its updates.  [default: that of the directory]")
@click.option("--restart", is_flag=True, help="Forget an interrupted training of this directory.")
@options.as_json
@options.verbose
def command(out: Path, as_json: bool, restart: bool, **given: Any) -> None:
    """Train a model directory from behaviour events and a catalogue, and report it against its baselines.

    The last event of each user is held out and asked for at the end. Interrupted with Ctrl-C, the same call goes on.

    \b
    Examples:
      interest-stream train --events events.tsv.gz --items items.jsonl --out model
      interest-stream train --events log.csv --items shop.jsonl --out model \\
          --columns user_id=visitor,item_id=sku --effort normal
      interest-stream train --events day1.jsonl --events day2.jsonl \\
          --items items.jsonl --interests taxonomy.txt --out model
      interest-stream train --events log.jsonl --items items.jsonl --out large \\
          --language-model ~/models/SmolLM2-135M --start-from model

    Exit codes: 0 trained, 1 the data cannot be used, 2 wrong use, 130 interrupted and saved.
    """
    from models.errors import ModelDataError, ModelDirectoryError

    if bool(given["events"]) == bool(given["simulate"]):
        raise UsageError("name event files with --events, or a population with --simulate, one of them")
    if (given["lora"] or given["start_from"] or given["language_model_layers"]) and not given["language_model"]:
        raise UsageError("--lora, --start-from and --language-model-layers go with --language-model PATH")
    if given["encode_with"] and given["start_from"]:
        raise UsageError("--encode-with teaches the small model, which --start-from takes as it is; give one of them")
    _prepare_out(out, restart)
    try:
        report = _train(out, given, as_json)
    except ModelDataError as error:
        raise DataError(str(error)) from None
    except ModelDirectoryError as error:
        raise ModelError(str(error)) from None
    except KeyboardInterrupt:
        click.echo(
            f"\nStopped; what is done is kept in {out / '.training'}. The same command goes on from there.", err=True
        )
        raise click.exceptions.Exit(130) from None
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False))


def _train(out: Path, given: dict[str, Any], as_json: bool) -> dict[str, Any]:
    from models.choose import choose
    from models.effort import effort_of, exact_softmax, settings_for
    from models.llm.base_model import load
    from models.llm.taught import TaughtTraining
    from models.protocols import split
    from models.report import preparation_tables
    from models.train import train
    from stream.cli.training_view import ProgressView, print_tables

    base = _language_model(given)
    teacher = load(given["encode_with"], device=given["device"]) if given["encode_with"] else None
    dataset = _dataset(given)
    if not as_json:
        print_tables(preparation_tables(dataset.report))
        _say_samples(dataset.report)
    cut = split(dataset, given["protocol"], seed=given["seed"], session_gap_s=given["session_gap"])
    effort = effort_of(given["effort"])
    config, reasons = settings_for(given["effort"], cut.train, seed=given["seed"], model=given["name"] or out.name)
    config = replace(
        config,
        seen=given["seen"],
        threads=given["threads"],
        learn_validation=not given["hold_out_validation"],
        hide_ids=given["hide_ids"],
    )
    if given["epochs"] is not None:
        config = replace(config, lstm_epochs=given["epochs"], bridge_epochs=given["epochs"])
    if not as_json:
        click.echo(f"Settings: {'; '.join(reasons)}.\n")
    with ProgressView() as view:
        report = _started(out, given["start_from"], dataset)
        if report is None:
            config, trials = choose(cut.train, out, effort, config, view) if effort.alternatives else (config, [])
            chosen, config = config, exact_softmax(effort, cut.train, config)
            if config != chosen:
                reasons.append("full softmax after the trials: the budget has room for it")
            minutes = effort.minutes - effort.trial_minutes
            if teacher is None:
                report = train(cut.train, out, config, view, minutes)
            else:
                report = TaughtTraining(cut.train, out, config, view, teacher).run(minutes)
            report["settings"] = {"reasons": reasons, "trials": trials}
        if base is not None:
            started = time.perf_counter()
            report["language_model"] = _hosted(base, out, cut, given, view)
            small = 0.0 if given["start_from"] else report["seconds"]  # what --start-from took is not of this training
            report["seconds"] = round(small + time.perf_counter() - started, 1)
        report |= _measured(out, cut, given, view)
    report["data"] = fingerprint(dataset)
    _write_report(out, report, config)
    shutil.rmtree(out / ".training", ignore_errors=True)  # checkpoints are several times the model's size
    if not as_json:
        _print_results(out, report)
    return report


def _language_model(given: dict[str, Any]) -> BaseModel | None:
    """Loaded before anything is trained: what is wrong with it should be said at once."""
    if given["language_model"] is None:
        return None
    from models.errors import ModelDirectoryError
    from models.llm.base_model import load

    base = load(given["language_model"], device=given["device"], layers=given["language_model_layers"] or 0)
    if not base.causal:
        raise ModelDirectoryError(f"{given['language_model']} is a sentence encoder; use it with --encode-with")
    return base


def _started(out: Path, start: Path | None, dataset: Dataset) -> dict[str, Any] | None:
    """The report of a finished model directory, copied to `out` with it."""
    if start is None:
        return None
    from models.model_directory import copy_small

    report = copy_small(start, out)
    if report.get("data") != fingerprint(dataset):
        raise DataError(f"--start-from {start} was trained on other events; give the same, or leave the option away")
    return report


def _hosted(base: BaseModel, out: Path, cut: Split, given: dict[str, Any], view: Any) -> dict[str, Any]:
    from models.llm.training import HostedConfig, train_hosted
    from models.predict import load_predictor
    from models.predictor import Predictor

    config = HostedConfig(seed=given["seed"], lora_rank=8 if given["lora"] else 0)
    if given["epochs"] is not None:
        config = replace(config, epochs=given["epochs"])
    small = load_predictor(out, given["threads"])
    assert isinstance(small, Predictor)
    return train_hosted(cut.train, small, base, out, config, view)


def _dataset(given: dict[str, Any]) -> Dataset:
    from models.interests import InterestConfig
    from stream.event_columns import parse_mapping
    from stream.training_inputs import Inputs, load_dataset, simulated_dataset, with_found_interests

    config = prepare_config(given, given["unknown_items"])
    if given["simulate"]:
        dataset = simulated_dataset(given["simulate"], given["seed"], config)
    else:
        inputs = Inputs(given["events"], given["items"], parse_mapping(given["columns"]), given["sequences"])
        dataset = load_dataset(inputs, config)
    return with_found_interests(dataset, InterestConfig(given["most_interests"]), given["interests"], given["seed"])


def _measured(out: Path, cut: Split, given: dict[str, Any], view: Any) -> dict[str, Any]:
    from models.evaluate import evaluate
    from models.examples import examples
    from models.predict import Hosting, load_predictor

    hosting = Hosting(device=given["device"]) if given["device"] != "cpu" else None
    predictor = load_predictor(out, given["threads"], hosting)
    evaluation = evaluate(predictor, cut, seen=given["seen"], seed=given["seed"], progress=view)
    return {"evaluation": evaluation, "examples": examples(predictor, cut, seed=given["seed"])}


def fingerprint(dataset: Dataset) -> str:
    """Names the prepared events, so that `evaluate` can say whether a model was trained on them."""
    from hashlib import sha256

    return sha256(dataset.events.tobytes()).hexdigest()[:16]


def _prepare_out(out: Path, restart: bool) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; name a directory")
    if out.is_dir() and any(out.iterdir()) and not ((out / "manifest.json").exists() or (out / ".training").exists()):
        raise UsageError(f"--out {out} holds other files; name a new directory, or one of an earlier training")
    if restart and (out / ".training").exists():
        shutil.rmtree(out / ".training")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"--out {out} cannot be made: {error.strerror}") from None


def _write_report(out: Path, report: dict[str, Any], config: TrainConfig) -> None:
    from models.report_page import to_html

    report.setdefault("config", asdict(config))
    (out / "report.json").write_text(json.dumps(report, ensure_ascii=False, indent=1), encoding="utf-8")
    (out / "report.html").write_text(to_html(f"Training report of {config.name}", report), encoding="utf-8")


def _say_samples(preparation: dict[str, Any]) -> None:
    for line in [*preparation.get("bad_line_samples", []), *preparation.get("catalogue_problem_samples", [])]:
        click.echo(f"  {line}", err=True)


def _print_results(out: Path, report: dict[str, Any]) -> None:
    from models.report import reasons, trials_table
    from stream.cli.training_view import print_results, print_tables

    print_tables([trials_table(report.get("settings", {}).get("trials", []))])
    print_results(report["evaluation"])
    for line in [*report["evaluation"]["verdict"], *reasons(report)]:
        click.echo(line)
    click.echo(f"\nTrained in {report['seconds']:.0f} s. Model: {out}. Report: {out / 'report.html'}")
