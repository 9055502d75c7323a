"""Measures what `evaluate` is asked for; each question has a function that returns its report.

`given` holds the options of the command by name. What needs PyTorch is imported where it is used:
the updates of a worker are measured without it.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream.cli.data_options import format_as_asked, prepare_config, split_as_asked
from stream.cli.training_view import ProgressView
from stream.errors import DataError, UsageError

if TYPE_CHECKING:
    from models.contract import Hosting
    from models.data.known_events import KnownEvents
    from models.data.prepare import Dataset
    from models.data.splits import Split
    from models.serving.predictor import Predictor


def of_model(
    predictor: Predictor | None, model: Path | None, given: dict[str, Any]
) -> dict[str, Any]:
    """Returns the evaluation of a model and its baselines on the cases of some events."""
    from models.data.splits import without_validation
    from models.evaluation import evaluate_model
    from stream.offline.dataset import fingerprint

    assert predictor is not None
    dataset, cut = _asked(predictor, given)
    # baselines know what the model could learn, not more
    trained = _report_of(model)
    held_out = trained.get("config", {}).get("learn_validation") is False
    learned = cut
    if held_out and trained.get("data") == fingerprint(dataset):
        learned = without_validation(cut)
    with ProgressView() as view:
        live = given["live_popularity"]
        report = evaluate_model(
            predictor, learned, seen=given["seen"], seed=given["seed"], live=live, progress=view
        )
    report["preparation"] = dataset.report
    known, report["notes"] = _origin(model, predictor, dataset, cut)
    report["asked_known_to_training"] = known
    if known:
        report["verdict"] = []  # what was learned by heart beats nothing
    return report


def of_two(
    places: tuple[Path, Path], given: dict[str, Any], hosting: Hosting | None
) -> dict[str, Any]:
    """Returns two models side by side on the same cases."""
    from models.evaluation import compare_models
    from models.predict import load_predictor

    first, second = (load_predictor(each, given["threads"], hosting) for each in places)
    dataset, cut = _asked(first, given)
    with ProgressView() as view:
        report = compare_models(
            first, second, cut, seen=given["seen"], seed=given["seed"], progress=view
        )
    origins = [
        _origin(path, model, dataset, cut)
        for path, model in zip(places, (first, second), strict=True)
    ]
    report["asked_known_to_training"] = [known for known, _ in origins]
    report["notes"] = [
        f"{name}: {note}" for name, (_, notes) in zip("AB", origins, strict=True) for note in notes
    ] + dataset.report["notes"]
    report["preparation"] = dataset.report
    return report


def of_parts(
    predictor: Predictor | None, model: Path | None, given: dict[str, Any]
) -> dict[str, Any]:
    """Returns every scorer of a model alone, and its blend without one of them."""
    from models.evaluation import measure_ablation

    assert predictor is not None
    dataset, cut = _asked(predictor, given)
    with ProgressView() as view:
        report = measure_ablation(
            predictor, cut, seen=given["seen"], seed=given["seed"], progress=view
        )
    known, notes = _origin(model, predictor, dataset, cut)
    told = {"asked_known_to_training": known, "preparation": dataset.report}
    return {**report, "notes": [*notes, *dataset.report["notes"]], **told}


def of_membership(
    predictor: Predictor | None, model: Path | None, given: dict[str, Any]
) -> dict[str, Any]:
    """Returns how well losses tell the users of a training from those whom it held out.

    Raises UsageError for a model that held nobody out, DataError where the events are others.
    """
    import numpy as np

    from models.data.known_events import read_known_events
    from models.data.splits import held_out
    from models.evaluation import measure_membership

    assert predictor is not None
    trained = _report_of(model)
    drawn = trained.get("held_out_users")
    if not drawn:
        raise UsageError(
            "the model held no user out, so there is nobody to compare with; train one with "
            "'train --hold-out-users 0.5' and the same options, and measure that"
        )
    if given["protocol"] != "leave-one-out" and given["cut"] is None:
        raise UsageError(
            "--membership needs the cut of the training, which depends on the users; give --cut to "
            "both, or train with leave-one-out"
        )
    dataset, cut = _asked(predictor, {**given, "most_cases": 1})
    learned = cut.train
    members = ~held_out(learned.users, drawn["share"], drawn["seed"])
    # the attack means something only for the events that the model was trained on
    known = read_known_events(model, predictor.info.fingerprint) if model else None
    owner = np.repeat(members, np.diff(learned.user_start))
    counts = (
        [known.count(learned, np.flatnonzero(each)) for each in (owner, ~owner)] if known else []
    )
    if None not in counts and counts and (counts[0] < owner.sum() / 2 or counts[1]):
        raise DataError(
            f"the model learned {counts[0]} of {owner.sum()} events of those whom it should have "
            f"learned, and {counts[1]} of the others; give the events and options of its training"
        )
    with ProgressView() as view:
        whole = predictor.with_all_items()  # a candidate is none by chance: losses need every item
        report = measure_membership(whole, learned, members, seed=given["seed"], progress=view)
    report["share_held_out"] = drawn["share"]
    report["privacy"] = trained.get("privacy")
    report["notes"] = _of_known_events(known)
    report["preparation"] = dataset.report
    return report


def _of_known_events(known: KnownEvents | None) -> list[str]:
    """Returns in words what needs no attack at all."""
    if known is None:
        return []
    return [
        "known-events.safetensors in the directory says of any event whether it was learned: "
        "delete it before giving the model away."
    ]


def of_drift(predictor: Predictor | None, users: int, seed: int) -> dict[str, Any]:
    """Returns how soon a model of the simulation names a changed interest of new users."""
    from stream.offline.drift import measure_drift

    assert predictor is not None
    return measure_drift(predictor, predictor.membership, users, seed)


def of_explanations(
    predictor: Predictor | None, users: int, given: dict[str, Any]
) -> dict[str, Any]:
    """Returns whether the events that a model names as causes are causes."""
    from stream.offline.explanations import histories_of, measure_explanations, simulated_histories

    assert predictor is not None
    seed = given["seed"]
    if not given["events"]:
        return measure_explanations(predictor, simulated_histories(users, seed), seed)
    dataset = _dataset(predictor, given)
    report = measure_explanations(predictor, histories_of(dataset, users, seed), seed)
    return {**report, "preparation": dataset.report}


def of_predictions(
    path: Path, predictor: Predictor | None, given: dict[str, Any]
) -> dict[str, Any]:
    """Returns how the updates of a worker, in a file, compare with what happened."""
    from models.evaluation import measure_predictions
    from stream.files.columns import parse_mapping
    from stream.files.events import EventFiles, limits_of_files
    from stream.files.predictions import PredictionFile, read_logs

    events = EventFiles(
        given["events"],
        parse_mapping(given["columns"]),
        limits=limits_of_files(int(time.time() * 1000), recorded=True),
        sequences=given["sequences"],
        event_format=format_as_asked(given),
    )
    logs = read_logs(events)
    updates = PredictionFile(path)
    report = measure_predictions(updates, logs, _interests_of(predictor), given["seed"])
    if not report["updates"]:
        raise UsageError(
            f"{path}: holds no interest update ({updates.first_bad}); write one with "
            "'interest-stream tail --json'"
        )
    report["rows_read"] = events.rows
    report["bad_lines"] = {**updates.bad, **events.bad}
    report["notes"] = "; ".join(events.told)
    report["first_bad"] = updates.first_bad
    return report


def _asked(predictor: Predictor, given: dict[str, Any]) -> tuple[Dataset, Split]:
    """Returns the events as a data set, and their split into histories and cases."""
    dataset = _dataset(predictor, given)
    return dataset, split_as_asked(dataset, given)


def _dataset(predictor: Predictor, given: dict[str, Any]) -> Dataset:
    """Returns the events seen through the catalogue and the interests of the model."""
    from models.data.prepare import Catalogue
    from stream.files.columns import parse_mapping
    from stream.offline.dataset import Inputs, load_dataset, with_known_interests

    info = predictor.info
    columns = parse_mapping(given["columns"])
    inputs = Inputs(
        given["events"],
        (),
        columns,
        given["sequences"],
        tests=given["tests"],
        event_format=format_as_asked(given),
    )
    catalogue = Catalogue(list(info.items), list(info.titles), [()] * len(info.items))
    with ProgressView() as view:
        dataset = load_dataset(inputs, prepare_config(given), catalogue, view)
    return with_known_interests(dataset, info.interests, predictor.membership)


def _origin(
    model: Path | None, predictor: Predictor, dataset: Dataset, cut: Split
) -> tuple[int | None, list[str]]:
    """Returns how many of the asked events training knew, and what that means, in words.

    None: it cannot be known.
    """
    from models.data.known_events import read_known_events
    from stream.offline.dataset import fingerprint

    # The same last events were held out: what is asked was hidden, whatever looks like it.
    report = _report_of(model)
    if report.get("data") == fingerprint(dataset):
        held_out = report.get("evaluation", {}).get("protocol")
        if held_out == cut.protocol == "leave-one-out":
            return 0, ["The model was trained on these events without what is asked here."]
        origin = f"The model was trained on these events holding out by {held_out}"
    else:
        origin = (
            "These are not the events that the model was trained on; baselines are made from them, "
            "the model is not"
        )

    # Else each asked event is looked up among those that training learned.
    stored = None if model is None else read_known_events(model, predictor.info.fingerprint)
    known = None if stored is None else stored.count(dataset, cut.cases.position)
    if known is None:
        return None, [
            f"{origin}. Whether it learned what is asked here cannot be known: the model directory "
            "does not say which events it was trained on, so read the figures with care."
        ]
    if not known:
        return 0, [f"{origin}. It learned none of the {len(cut.cases):,} events that are asked."]
    return known, [
        f"{origin}.",
        f"{known:,} of the {len(cut.cases):,} events that are asked were learned in training: the "
        "figures tell what the model remembers and are NO RESULT. Ask for events after the "
        "training, or evaluate with the events and the protocol of the training.",
    ]


def _report_of(model: Path | None) -> dict[str, Any]:
    """Returns the report in a model directory; empty if there is none."""
    try:
        found: dict[str, Any] = (
            json.loads((model / "report.json").read_text(encoding="utf-8"))
            if model is not None
            else {}
        )
    except (OSError, ValueError):
        found = {}
    return found


def _interests_of(predictor: Predictor | None) -> dict[str, list[str]] | None:
    """Returns the names of each item's interests, if there is a model."""
    if predictor is None:
        return None
    names = predictor.info.interests
    return {
        item: [names[place] for place in row.nonzero()[0]]
        for item, row in zip(predictor.info.items, predictor.membership, strict=True)
    }
