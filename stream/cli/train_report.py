"""Carries out `train`: from files of events to a model directory and the report in it.

`given` holds the options of the command by name. The first function is the order of the steps.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from models.contract import Hosting
from models.data.interests import InterestConfig
from models.data.known_events import FILE as KNOWN_EVENTS
from models.data.known_events import KnownEvents
from models.data.splits import without_validation
from models.errors import ModelDirectoryError
from models.evaluation import (
    describe_sample_cases,
    evaluate_model,
    preparation_tables,
    to_html,
)
from models.llm.base_model import load
from models.model_directory import copy_small, fingerprint_of
from models.predict import load_predictor
from models.serving.predictor import Predictor
from models.training import (
    Budget,
    DistilledTraining,
    HostedConfig,
    effort_of,
    exact_softmax,
    joined,
    run_trials,
    settings_for,
    train_hosted,
    train_model,
    train_private,
)
from stream.cli.data_options import format_as_asked, prepare_config, split_as_asked
from stream.cli.training_view import (
    ProgressView,
    print_private_training,
    print_samples,
    print_tables,
    print_training,
)
from stream.errors import DataError
from stream.files.columns import parse_mapping
from stream.files.users import read_users
from stream.offline.dataset import (
    Inputs,
    fingerprint,
    load_dataset,
    simulated_dataset,
    with_found_interests,
)

if TYPE_CHECKING:
    from models.data.prepare import Dataset
    from models.data.splits import Split
    from models.llm.base_model import BaseModel
    from models.training import Ranks, TrainConfig
    from stream.cli.torchrun import Place


def train(out: Path, given: dict[str, Any], as_json: bool, place: Place) -> dict[str, Any]:
    """Trains, measures and writes the model directory; returns its report.

    place: of this process, the first of a training.
    """
    with joined(*place, given["device"]) as ranks:
        return _whole(out, given, as_json, ranks)


def _whole(out: Path, given: dict[str, Any], as_json: bool, ranks: Ranks) -> dict[str, Any]:
    """Does what `train` does, with the other processes of the training."""
    # What is wrong with the user's own models should be known before anything takes long.
    base = _language_model(given)
    teacher = load(given["encode_with"], device=given["device"]) if given["encode_with"] else None
    cut = _cut(given)
    dataset = cut.whole
    if not as_json:
        print_tables(preparation_tables(dataset.report))
        print_samples(dataset.report)
    config, reasons = _settings(out, cut, given)
    if not as_json:
        click.echo(f"Settings: {'; '.join(reasons)}.\n")
    if given["dp_epsilon"] is not None:
        return _with_budget(out, cut, config, given, as_json)
    with ProgressView() as view:
        # The small model first: trained here, or taken over from --start-from.
        report = _started(out, given["start_from"], dataset)
        if report is None:
            settings = config, reasons
            effort = given["effort"]
            config, report = _trained(out, cut, effort, settings, teacher, view, ranks)
        # Then the user's language model on top of it.
        if base is not None:
            started = time.perf_counter()
            report["language_model"] = _hosted(base, out, cut, given, view)
            # what --start-from took is not of this training
            small = 0.0 if given["start_from"] else report["seconds"]
            report["seconds"] = round(small + time.perf_counter() - started, 1)
        report |= _measured(out, cut, given, view)
    if given["no_examples"] or given["exclude_users"]:
        # bad lines are quoted, and whose they are cannot be known
        report["preparation"] = {**report["preparation"], "bad_line_samples": []}
    report["data"] = fingerprint(dataset)
    if given["hold_out_users"]:
        report["held_out_users"] = {"share": given["hold_out_users"], "seed": given["seed"]}
    _write_report(out, report, config)
    KnownEvents.of(cut.train).write(out, fingerprint_of(out))
    # checkpoints are several times the model's size
    shutil.rmtree(out / ".training", ignore_errors=True)
    if not as_json:
        print_training(out, report)
    return report


def _with_budget(
    out: Path, cut: Split, config: TrainConfig, given: dict[str, Any], as_json: bool
) -> dict[str, Any]:
    """Trains with a privacy budget; returns the report.

    The directory keeps of it what the budget is of: no accuracy, no count of users or events.
    """
    started = time.perf_counter()
    with ProgressView() as view:
        budget = Budget(given["dp_epsilon"], given["dp_delta"], given["dp_lstm_share"])
        stored = train_private(cut.train, out, config, budget, view)
        report = stored | _measured(out, cut, {**given, "no_examples": True}, view)
    if given["hold_out_users"]:
        stored["held_out_users"] = {"share": given["hold_out_users"], "seed": given["seed"]}
    (out / "report.json").write_text(json.dumps(stored, ensure_ascii=False, indent=1), "utf-8")
    for name in ("report.html", KNOWN_EVENTS):  # of a training without a budget
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / ".training", ignore_errors=True)
    report["preparation"] = cut.whole.report
    report["seconds"] = round(time.perf_counter() - started, 1)
    if not as_json:
        print_private_training(out, report)
    return report


def _cut(given: dict[str, Any]) -> Split:
    """Returns the events of files or of a simulation, cut, with items and interests to learn."""
    config = prepare_config(given, given["unknown_items"])
    private = given["dp_epsilon"] is not None
    if private:
        # whether robots are looked for at all depends on everybody's times; bounds do their part
        config = replace(config, max_events_per_day=0)
    if given["simulate"]:
        dataset = simulated_dataset(given["simulate"], given["seed"], config)
    else:
        inputs = Inputs(
            given["events"],
            given["items"],
            parse_mapping(given["columns"]),
            given["sequences"],
            excluded=read_users(given["exclude_users"]) if given["exclude_users"] else (),
            least_users=given["min_users"],
            tests=given["tests"],
            event_format=format_as_asked(given),
            held_out=(given["hold_out_users"], given["seed"]),
        )
        with ProgressView() as view:
            dataset = load_dataset(inputs, config, progress=view)
    dataset = with_found_interests(
        dataset,
        InterestConfig(given["most_interests"], least_users=given["min_users"]),
        given["interests"],
        given["seed"],
        by_catalogue=private,
    )
    return split_as_asked(dataset, given)


def _language_model(given: dict[str, Any]) -> BaseModel | None:
    """Loads the user's language model, if one is named.

    Before anything is trained: what is wrong with it should be known at once.
    """
    if given["language_model"] is None:
        return None
    base = load(
        given["language_model"], device=given["device"], layers=given["language_model_layers"] or 0
    )
    if not base.causal:
        raise ModelDirectoryError(
            f"{given['language_model']} is a sentence encoder; use it with --encode-with"
        )
    return base


def _settings(out: Path, cut: Split, given: dict[str, Any]) -> tuple[TrainConfig, list[str]]:
    """Returns the settings of the small model's training, and the reasons for them in words."""
    config, reasons = settings_for(
        given["effort"], cut.train, seed=given["seed"], model=given["name"] or out.name
    )
    config = replace(
        config,
        seen=given["seen"],
        threads=given["threads"],
        learn_validation=not given["hold_out_validation"],
        hide_ids=given["hide_ids"],
        min_users=given["min_users"],
    )
    if given["seen"] == "remove":
        reasons.append("asked without the items of the history, which a worker never leaves out")
    if given["epochs"] is not None:
        most = given["epochs"]
        attention = most if config.attention_epochs else 0
        config = replace(config, lstm_epochs=most, bridge_epochs=most, attention_epochs=attention)
    return config, reasons


def _started(out: Path, start: Path | None, dataset: Dataset) -> dict[str, Any] | None:
    """Returns the report of a finished model directory, which is copied to `out`."""
    if start is None:
        return None
    report = copy_small(start, out)
    if report.get("data") != fingerprint(dataset):
        raise DataError(
            f"--start-from {start} was trained on other events; give the same, or leave the option "
            "away"
        )
    return report


def _trained(
    out: Path,
    cut: Split,
    effort_name: str,
    settings: tuple[TrainConfig, list[str]],
    teacher: BaseModel | None,
    view: Any,
    ranks: Ranks,
) -> tuple[TrainConfig, dict[str, Any]]:
    """Trains the small model; returns the settings that it got in the end, and its report."""
    effort, (config, reasons) = effort_of(effort_name), settings
    config = replace(config, all_events=cut.protocol != "leave-one-out")
    trials: list[dict[str, Any]] = []
    if effort.alternatives:
        config, trials = run_trials(cut.train, out, effort, config, view, ranks=ranks)
    exact = exact_softmax(effort, cut.train, config)
    if exact != config:
        reasons.append("full softmax after the trials: the budget has room for it")
    minutes = effort.minutes - effort.trial_minutes
    if teacher is None:
        report = train_model(cut.train, out, exact, view, minutes, ranks)
    else:
        report = DistilledTraining(cut.train, out, exact, view, teacher, ranks).run(minutes)
    reasons += [
        f"dropout {each['dropout']}: the blend loses {each['blend_loss']:.3f} nats on validation"
        + ", kept" * each["kept"]
        for each in report["dropouts"]
    ]
    report["settings"] = {"reasons": reasons, "trials": trials}
    return replace(exact, dropout=report["config"]["dropout"]), report


def _hosted(
    base: BaseModel, out: Path, cut: Split, given: dict[str, Any], view: Any
) -> dict[str, Any]:
    """Trains the bridge to the user's language model; returns its report."""
    config = HostedConfig(
        seed=given["seed"],
        lora_rank=8 if given["lora"] else 0,
        min_users=given["min_users"],
    )
    if given["epochs"] is not None:
        config = replace(config, epochs=given["epochs"])
    small = load_predictor(out, given["threads"])
    assert isinstance(small, Predictor)
    return train_hosted(cut.train, small, base, out, config, view)


def _measured(out: Path, cut: Split, given: dict[str, Any], view: Any) -> dict[str, Any]:
    """Returns the evaluation on the test events, and some users in words."""
    hosting = Hosting(device=given["device"]) if given["device"] != "cpu" else None
    predictor = load_predictor(out, given["threads"], hosting)
    # baselines know what the model could learn, not more
    learned = without_validation(cut) if given["hold_out_validation"] else cut
    evaluation = evaluate_model(
        predictor, learned, seen=given["seen"], seed=given["seed"], progress=view
    )
    examples: list[dict[str, Any]] = []
    if not given["no_examples"]:
        examples = describe_sample_cases(
            predictor, cut, seed=given["seed"], least_users=given["min_users"]
        )
    return {"evaluation": evaluation, "examples": examples}


def _write_report(out: Path, report: dict[str, Any], config: TrainConfig) -> None:
    """Writes the report as JSON and as a page into the model directory."""
    report.setdefault("config", asdict(config))
    (out / "report.json").write_text(
        json.dumps(report, ensure_ascii=False, indent=1), encoding="utf-8"
    )
    (out / "report.html").write_text(
        to_html(f"Training report of {config.name}", report), encoding="utf-8"
    )
