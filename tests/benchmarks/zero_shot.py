"""Compares interests in words with trained ones.

    python -m tests.benchmarks.zero_shot hold-out --items items.jsonl.gz --out without.jsonl
    interest-stream train --events events.tsv.gz --items without.jsonl --out without
    interest-stream train --events events.tsv.gz --items items.jsonl.gz --out trained
    python -m tests.benchmarks.zero_shot measure --events events.tsv.gz --items items.jsonl.gz \
        --without without --trained trained

Categories are held out of a catalogue, then given back as phrases; the last command prints a table
of both ways to score them. Held out is every fourth category by name that has a hundred items or
more. A case is the last event of a user; it happened when the item of that event has the category
in the whole catalogue. Items are matched by their texts without the category's name.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from models.data.prepare import Catalogue, PrepareConfig, catalogue_rows
from models.data.replay import replay
from models.data.splits import Split, split
from models.evaluation import metrics
from models.predict import load_predictor
from models.serving.predictor import Predictor
from models.serving.zero_shot import match
from stream.files.catalogue import read_catalogue
from stream.offline.dataset import Inputs, load_dataset, with_known_interests

Array = np.ndarray[Any, Any]

FEWEST: Final = 100
EVERY: Final = 4

_FILE = click.Path(path_type=Path)


@click.group()
def main() -> None:
    """Runs one of the two commands; see the docstring of the file."""


@main.command()
@click.option("--items", type=_FILE, required=True)
@click.option("--out", type=_FILE, required=True)
def hold_out(items: Path, out: Path) -> None:
    """Writes the catalogue without the held-out categories."""
    file = read_catalogue([items])
    away = held_out(file.categories)
    lines = [
        {
            "item_id": item,
            "title": title,
            "categories": [name for name in names if name not in away],
        }
        for item, title, names in zip(file.item_ids, file.titles, file.categories, strict=True)
    ]
    out.write_text(
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8"
    )
    click.echo(f"held out: {', '.join(away)}")


@main.command()
@click.option("--events", type=_FILE, required=True, multiple=True)
@click.option("--items", type=_FILE, required=True)
@click.option("--without", type=_FILE, required=True, help="Model trained without the categories.")
@click.option("--trained", type=_FILE, required=True, help="Model trained with them.")
@click.option(
    "--encode-with",
    type=_FILE,
    default=None,
    help="Encoder that matches items, instead of the model's own.",
)
@click.option("--min-events", type=int, default=2)
def measure(
    events: tuple[Path, ...],
    items: Path,
    without: Path,
    trained: Path,
    encode_with: Path | None,
    min_events: int,
) -> None:
    """Prints a table of scores against what happened."""
    model, full = load_predictor(without), load_predictor(trained)
    file = read_catalogue([items])
    names = held_out(file.categories)
    categories = dict(zip(file.item_ids, file.categories, strict=True))
    truth = np.array([[name in categories[item] for name in names] for item in model.info.items])
    cut = split(_dataset(model, events, min_events), "leave-one-out", seed=0)
    happened = truth[cut.cases.target]
    found = _matched(model, names, encode_with)
    own = found[cut.cases.target]
    for place, name in enumerate(names):
        right = int((found[:, place] & truth[:, place]).sum())
        click.echo(
            f"{name}: {found[:, place].sum()} matched, {right} of them rightly, "
            f"of {truth[:, place].sum()}"
        )
    said = {
        "zero-shot, matched": _phrases(model, names, found, cut),
        "zero-shot, its items known": _phrases(model, names, truth, cut),
        "trained": _trained(full, names, cut),
    }
    rows = catalogue_rows(cut.train.events["key"], cut.train.item_ids)
    said["base rate"] = np.broadcast_to(truth[rows[rows > 0] - 1].mean(0), happened.shape)
    for label, probability in said.items():
        _print(label, probability, happened)
    _print("matched, against its own items", said["zero-shot, matched"], own)
    click.echo(f"{len(cut.cases)} cases; happened: {happened.mean(0).round(3).tolist()}")


def held_out(categories: list[tuple[str, ...]]) -> list[str]:
    """Returns every fourth category with a hundred items or more."""
    count = Counter(name for names in categories for name in names)
    return sorted(name for name, items in count.items() if items >= FEWEST)[EVERY - 1 :: EVERY]


def _dataset(model: Predictor, events: tuple[Path, ...], min_events: int) -> Any:
    """Returns the data set of the files, seen through a model's catalogue."""
    info = model.info
    catalogue = Catalogue(list(info.items), list(info.titles), [()] * len(info.items))
    dataset = load_dataset(Inputs(events), PrepareConfig(min_events=min_events), catalogue)
    return with_known_interests(dataset, info.interests, model.membership)


def _matched(model: Predictor, names: list[str], encode_with: Path | None) -> Array:
    """Returns which items match each phrase."""
    if encode_with is None:
        return match(model.network.text[1:], model.encode_texts(names))
    from models.llm.base_model import load
    from models.llm.predictor import catalogue_texts
    from models.llm.texts import encode

    texts = catalogue_texts(list(model.info.titles), list(model.info.interests), model.membership)
    base = load(encode_with)
    return match(encode(base, texts), encode(base, names))


def _phrases(model: Predictor, names: list[str], belongs: Array, cut: Split) -> Array:
    """Returns the scores of phrases."""
    model.score_phrases(names, belongs)
    found = np.empty((len(cut.cases), len(names)))
    for places, state, recent in replay(model, model.info.state_size, cut.whole, cut.cases, 512):
        found[places] = model.score(state, recent, interests=1, items=1, because=0).phrases
    return found


def _trained(model: Predictor, names: list[str], cut: Split) -> Array:
    """Returns the scores of trained interests."""
    columns = [model.info.interests.index(name) for name in names]
    found = np.empty((len(cut.cases), len(names)))
    for places, state, recent in replay(model, model.info.state_size, cut.whole, cut.cases, 512):
        found[places] = model.interest_probabilities(state, recent)[:, columns]
    return found


def _print(label: str, probability: Array, happened: Array) -> None:
    """Prints a row of the table."""
    measured = metrics.interests(probability, happened)
    areas = [_area(said, did) for said, did in zip(probability.T, happened.T, strict=True)]
    click.echo(
        f"{label}: NLL {measured['NLL']:.4f}, ECE {measured['ECE']:.4f}, AUC {np.mean(areas):.3f}"
    )


def _area(said: Array, did: Array) -> float:
    """Returns the area under the ROC curve; ties count half.

    It is the chance that a case where it happened was given more than one where it did not.
    """
    yes, no = said[did], np.sort(said[~did])
    if not len(yes) or not len(no):
        return float("nan")
    below = np.searchsorted(no, yes, "left") + np.searchsorted(no, yes, "right")
    return float(below.mean() / 2 / len(no))


if __name__ == "__main__":
    main()
