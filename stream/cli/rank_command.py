"""`rank`: scores histories of a file by the worker's own code."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream.cli import options
from stream.errors import DataError
from stream.plain_text import plain

if TYPE_CHECKING:
    from stream.offline.rank import History


@click.command()
@options.model
@click.option(
    "--histories",
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help='JSON lines {"user_id": ..., "events": [...]}, oldest event first; plain or gzipped; '
    "- for standard input.",
)
@click.option(
    "--interests",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Interests in an answer.",
)
@click.option(
    "--items", type=click.IntRange(0), default=5, show_default=True, help="Next items in an answer."
)
@click.option(
    "--because",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    help="Past events named as causes.",
)
@click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of the model."
)
@click.option(
    "--zero-shot",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE",
    help=(
        "Phrases, one a line, or what `match` wrote: scored beside the trained interests, without "
        "training."
    ),
)
@options.language_model
@options.device
@click.option(
    "--precision",
    envvar="INTEREST_STREAM_PRECISION",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default=None,
    help=(
        "Of the language model, as for `worker`; float32 agrees best between batches of different "
        "sizes.  [default: the faster]"
    ),
)
@options.verbose
def command(
    model: Path | None,
    demo_model: bool,
    histories: Path,
    interests: int,
    items: int,
    because: int,
    threads: int,
    zero_shot: Path | None,
    language_model: Path | None,
    device: str,
    precision: str | None,
) -> None:
    """Score histories offline: one interest update as JSON a line, in the order of the input.

    Bad lines are reported with their number on standard error; all good ones are answered.

    \b
    Examples:
      interest-stream rank --model DIR --histories users.jsonl > updates.jsonl
      gunzip -c users.jsonl.gz | interest-stream rank --model DIR --histories -

    \b
    A line of users.jsonl:
      {"user_id": "u1", "events": [
        {"action": "search", "time": 1764000000000, "query": "tent"}]}

    Exit codes: 0 every line answered, 1 some line was bad or a file cannot be used, 2 wrong use.
    """
    options.ensure_one_model(model, demo_model)
    from models.contract import Hosting
    from models.predict import load_predictor
    from stream.contracts.update import UpdateSize
    from stream.files.phrases import read_phrases
    from stream.offline.rank import rank_histories
    from stream.pipeline.scoring import Scoring

    predictor = load_predictor(model, threads, Hosting(language_model, device, precision or ""))
    if zero_shot is not None:
        predictor.score_phrases(*read_phrases(zero_shot, predictor.info.items))
    scoring = Scoring(predictor, UpdateSize(interests, items, because))
    reader = _Reader()
    out = click.get_binary_stream("stdout")
    answered = 0
    for history, answer in rank_histories(
        reader.histories(histories), scoring, int(time.time() * 1000)
    ):
        if isinstance(answer, str):
            reader.reject(history.line, answer)
            continue
        out.write(answer + b"\n")
        answered += 1
    out.flush()
    if reader.bad:
        raise DataError(
            f"{reader.bad} of {reader.bad + answered} lines were bad; the {answered} others are "
            "answered"
        )


class _Reader:
    """Reads histories, says which lines are bad, and counts them."""

    def __init__(self) -> None:
        self.bad = 0
        self._name = ""

    def histories(self, path: Path) -> Iterator[History]:
        """Yields the histories of a file, or of standard input, whose lines are good."""
        from stream.contracts.event import Limits
        from stream.contracts.faults import BadEvent
        from stream.files.lines import MAX_LINE_BYTES, read_lines, read_stream
        from stream.offline.rank import parse_history

        self._name = "standard input" if str(path) == "-" else str(path)
        lines = (
            read_stream(click.get_binary_stream("stdin"), self._name)
            if str(path) == "-"
            else read_lines(path)
        )
        for number, line in lines:
            if len(line) > MAX_LINE_BYTES:
                self.reject(number, f"the line has more than {MAX_LINE_BYTES} bytes")
                continue
            try:
                yield parse_history(line, number, Limits())
            except BadEvent as error:
                self.reject(number, str(error))

    def reject(self, number: int, message: str) -> None:
        """Says what is wrong with a line, and counts it."""
        self.bad += 1
        click.echo(plain(f"{self._name}:{number}: {message}"), err=True)
