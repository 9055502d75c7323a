"""`match`: finds the items of a catalogue that belong to interests in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from stream.cli import options
from stream.plain_text import plain

if TYPE_CHECKING:
    from models.serving.predictor import Predictor

SHOWN = 3


@click.command()
@options.model
@click.option(
    "--phrases",
    required=True,
    type=click.Path(path_type=Path),
    help="Interests in words, one a line; or a taxonomy as a table with a column path or name.",
)
@click.option(
    "--encode-with",
    type=click.Path(path_type=Path),
    default=None,
    metavar="PATH",
    help=(
        "A sentence encoder or language model that compares the texts.  [default: the model's own]"
    ),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="File to write.  [default: standard output]",
)
@options.language_model
@options.verbose
def command(
    model: Path | None,
    demo_model: bool,
    phrases: Path,
    encode_with: Path | None,
    out: Path | None,
    language_model: Path | None,
) -> None:
    """Map the items of a model's catalogue onto phrases or a taxonomy, by likeness of their texts.

    The result, JSON lines {"interest": ..., "items": [...]}, can be read, mended by hand, and given
    to worker --zero-shot.

    \b
    Examples:
      interest-stream match --model DIR --phrases interests.txt
      interest-stream match --model DIR --phrases taxonomy.tsv --out map.jsonl \\
          --encode-with ~/models/all-MiniLM-L6-v2
      interest-stream worker --model DIR --zero-shot map.jsonl

    Exit codes: 0 mapped, 1 a file cannot be used, 2 wrong use.
    """
    options.ensure_one_model(model, demo_model)
    from models.contract import Hosting
    from models.predict import load_predictor
    from stream.files.catalogue import read_taxonomy

    names = read_taxonomy(phrases, least=1)
    predictor = load_predictor(model, hosting=Hosting(language_model))
    belongs = _belongs(predictor, names, encode_with)
    info = predictor.info
    lines = []
    for name, column in zip(names, belongs.T, strict=True):
        places = np.flatnonzero(column).tolist()
        lines.append(
            json.dumps(
                {"interest": name, "items": [info.items[place] for place in places]},
                ensure_ascii=False,
            )
        )
        titles = ", ".join(info.titles[place] for place in places[:SHOWN])
        shown = f"{name}: {len(places)} items{': ' + titles if titles else ''}"
        click.echo(plain(shown), err=True)
    text = "\n".join(lines) + "\n"
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
    covered = int(belongs.any(1).sum())
    click.echo(
        f"{covered} of {len(info.items)} items belong to at least one of {len(names)} interests",
        err=True,
    )


def _belongs(predictor: Predictor, names: list[str], encode_with: Path | None) -> Any:
    from models.serving.zero_shot import match

    if encode_with is None:
        return match(predictor.network.text[1:], predictor.encode_texts(names))
    from models.llm.base_model import load
    from models.llm.predictor import catalogue_texts
    from models.llm.texts import encode

    base, info = load(encode_with), predictor.info
    texts = catalogue_texts(list(info.titles), list(info.interests), predictor.membership)
    return match(encode(base, texts), encode(base, names))
