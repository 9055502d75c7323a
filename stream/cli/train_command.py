"""`train`: makes a model directory and an honest report from files of events."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

import click
from safetensors import SafetensorError

from models.errors import LostRankError
from stream.broker.processes import interrupts_held
from stream.cli import options
from stream.cli.data_options import check_split, data_options, seen_option
from stream.cli.torchrun import Place, check_shared, place_of
from stream.errors import Failure, UsageError
from stream.plain_text import plain

_FILE = click.Path(path_type=Path)


@click.command()
@click.option("--events", multiple=True, type=options.FILES, help=options.EVENTS)
@click.option(
    "--items",
    multiple=True,
    type=options.FILES,
    help="Catalogue with item_id, title, categories: JSON lines, CSV, Parquet.",
)
@click.option(
    "--simulate",
    type=click.IntRange(10),
    default=None,
    metavar="USERS",
    help="Train on a simulated population instead.",
)
@click.option("--out", required=True, type=_FILE, help="Model directory to write.")
@click.option(
    "--interests",
    type=_FILE,
    default=None,
    help="Taxonomy: one interest a line.  [default: from the catalogue]",
)
@click.option(
    "--most-interests",
    type=click.IntRange(2, 1000),
    default=64,
    show_default=True,
    help="Interests kept.",
)
@click.option(
    "--unknown-items",
    type=click.Choice(["keep", "drop", "add"]),
    default="keep",
    show_default=True,
    help="Events about items that the catalogue lacks: keep as history, drop, or add the items.",
)
@data_options
@seen_option(hidden=True)
@click.option(
    "--effort",
    type=click.Choice(["quick", "normal", "thorough"]),
    default="quick",
    show_default=True,
    help="Minutes, under an hour, hours.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    default=None,
    help="Most epochs of each neural stage, instead of the effort's.",
)
@click.option(
    "--hold-out-validation",
    is_flag=True,
    help=(
        "Pick by the validation events, but never learn them: the protocol of published tables. "
        "Less accurate."
    ),
)
@click.option(
    "--hide-ids",
    type=click.FloatRange(0, 0.9),
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help=(
        "Share of events of which training shows the title alone: for streams with items that the "
        "catalogue lacks."
    ),
)
@click.option(
    "--encode-with",
    type=_FILE,
    default=None,
    metavar="PATH",
    help=(
        "A sentence encoder or language model that teaches the small text model the catalogue's "
        "texts; not needed later."
    ),
)
@click.option(
    "--language-model",
    type=_FILE,
    default=None,
    metavar="PATH",
    help=(
        "A causal language model of your own for the scoring step: a Hugging Face directory with "
        "safetensors, or a GGUF file."
    ),
)
@click.option(
    "--language-model-layers",
    type=click.IntRange(1),
    default=None,
    metavar="N",
    help="Use its first N layers only: cheaper in proportion.  [default: all]",
)
@click.option(
    "--lora", is_flag=True, help="With --language-model: train LoRA on it after the bridge."
)
@click.option(
    "--start-from",
    type=_FILE,
    default=None,
    metavar="DIR",
    help=(
        "With --language-model: take this trained model directory instead of training the small "
        "model."
    ),
)
@click.option(
    "--min-users",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    metavar="N",
    help=(
        "What fewer users did is stored in no readable part of the model: words of searches, pairs "
        "of items, interests, examples of the report."
    ),
)
@click.option(
    "--no-examples", is_flag=True, help="The report quotes no history and no bad line of a file."
)
@click.option(
    "--exclude-users",
    type=_FILE,
    default=None,
    metavar="FILE",
    help="Users who are left out before anything is counted: a file of user ids, one a line.",
)
@click.option(
    "--hold-out-users",
    type=click.FloatRange(0, 0.9),
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help=(
        "Share of the users, drawn by --seed, of whom nothing is learned, so that 'evaluate "
        "--membership' has somebody to compare with."
    ),
)
@click.option(
    "--dp-epsilon",
    type=click.FloatRange(0, 100, min_open=True),
    default=None,
    metavar="E",
    help=(
        "Differential privacy of whole users: counts and weights of the blend with noise, networks "
        "untrained or trained with noise, and a report without figures. Needs --items.  "
        "[default: none]"
    ),
)
@click.option(
    "--dp-delta",
    type=click.FloatRange(0, 1e-3, min_open=True, max_open=True),
    default=1e-6,
    show_default=True,
    metavar="D",
    help="With --dp-epsilon: the chance that is left out; less than one in the number of users.",
)
@click.option(
    "--dp-lstm-share",
    type=click.FloatRange(0, 0.9),
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help=(
        "With --dp-epsilon: how much of the tables' budget the LSTM gets; 0 leaves it untrained. "
        "Choose it without looking at the events."
    ),
)
@options.device_of("What the small model is trained on, and a language model of your own runs on.")
@click.option(
    "--name",
    default=None,
    help="Name of the model in its updates.  [default: that of the directory]",
)
@click.option("--restart", is_flag=True, help="Forget an interrupted training of this directory.")
@options.as_json
@options.verbose
def command(out: Path, as_json: bool, restart: bool, **given: Any) -> None:
    """Train a model directory from behaviour events and a catalogue.

    The report compares it with its baselines: the last event of each user is held out and asked for
    at the end. Interrupted with Ctrl-C, the same call goes on. Started with torchrun, several
    processes, on a GPU each or on CPUs, share the steps of the small model.

    \b
    Examples:
      interest-stream train --events events.tsv.gz --items items.jsonl --out model
      interest-stream train --events log.csv --items shop.jsonl --out model \\
          --columns user_id=visitor,item_id=sku --effort normal
      interest-stream train --events day1.jsonl --events day2.jsonl \\
          --items items.jsonl --interests taxonomy.txt --out model
      interest-stream train --events log.jsonl --items items.jsonl --out large \\
          --language-model ~/models/SmolLM2-135M --start-from model
      torchrun --standalone --nproc-per-node 2 -m interest_stream train \\
          --device cuda --events events.tsv.gz --items items.jsonl --out model

    Exit codes: 0 trained, 1 the data cannot be used, 2 wrong use, 130 interrupted and saved.
    """
    _check_options(given)
    place = place_of(os.environ)
    if place.size > 1:
        check_shared(given)
    if place.rank:
        _follow(place, given["device"])
        return
    # what cannot be written is known before anything is learned
    _prepare_out(out, restart)
    try:
        with interrupts_held():  # PyTorch aborts where an import of it is interrupted
            from stream.cli.train_report import train  # takes seconds, so not for --help

        report = train(out, given, as_json, place)
    except KeyboardInterrupt:
        click.echo(f"\nStopped; {_kept(out, given)}.", err=True)
        raise click.exceptions.Exit(130) from None
    except LostRankError as error:
        raise Failure(f"{error}; {_kept(out, given)}") from error
    except (OSError, SafetensorError) as error:
        reason = _unwritable(error)
        if reason is None:
            raise
        raise Failure(
            f"--out {out} cannot be written: {reason}; make room there, or name another; "
            f"{_kept(out, given)}"
        ) from error
    if as_json:
        click.echo(plain(json.dumps(report, ensure_ascii=False)))


def _follow(place: Place, device: str) -> None:
    """Computes the part of a process that is not the first; it prints nothing.

    Ctrl-C is for the first one, whose end is the end of this one too.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from models.training import follow, joined

    try:
        with joined(*place, device) as ranks:
            follow(ranks)
    except LostRankError:
        raise click.exceptions.Exit(1) from None


def _check_options(given: dict[str, Any]) -> None:
    """Raises UsageError if options do not go together, before anything is read."""
    if bool(given["events"]) == bool(given["simulate"]):
        raise UsageError(
            "name event files with --events, or a population with --simulate, one of them"
        )
    if (given["exclude_users"] or given["hold_out_users"]) and given["simulate"]:
        raise UsageError(
            "--exclude-users and --hold-out-users leave out users of --events; a simulation has "
            "none of them"
        )
    check_split(given)
    if given["tests"] and given["simulate"]:
        raise UsageError("--test goes with --events; the simulation makes its own events")
    if (given["lora"] or given["start_from"] or given["language_model_layers"]) and not given[
        "language_model"
    ]:
        raise UsageError(
            "--lora, --start-from and --language-model-layers go with --language-model PATH"
        )
    if given["encode_with"] and given["start_from"]:
        raise UsageError(
            "--encode-with teaches the small model, which --start-from takes as it is; give one of "
            "them"
        )
    if given["dp_epsilon"] is not None:
        _check_private(given)
    elif given["dp_lstm_share"]:
        raise UsageError("--dp-lstm-share divides a privacy budget; give --dp-epsilon too")


def _check_private(given: dict[str, Any]) -> None:
    """Raises UsageError where an option would read users past the privacy budget."""
    if not (given["items"] or given["simulate"]) or given["unknown_items"] == "add":
        raise UsageError(
            "--dp-epsilon takes the catalogue as public: give it with --items, and no "
            "--unknown-items add"
        )
    others = [
        f"--{name.replace('_', '-')}"
        for name in ("language_model", "encode_with", "start_from", "hold_out_validation")
        if given[name]
    ]
    if given["effort"] != "quick":
        others.append(f"--effort {given['effort']}")
    if given["device"] != "cpu":
        others.append(f"--device {given['device']}")
    if others:
        raise UsageError(f"--dp-epsilon has no account of {', '.join(others)}; leave it out")
    if given["protocol"] != "leave-one-out" and given["cut"] is None:
        raise UsageError(
            "--dp-epsilon: a cut at nine tenths of the events depends on everybody; give --cut"
        )


def _kept(out: Path, given: dict[str, Any]) -> str:
    """Returns what is left of a training that did not come to its end, and what the next one does.

    Noisy sums on disk could be met again by a second call, which would spend the budget twice.
    """
    if given["dp_epsilon"] is not None:
        return (
            "of a training with a privacy budget nothing is kept and nothing was released. The "
            "same command begins anew"
        )
    return f"what is done is kept in {out / '.training'}. The same command goes on from there"


def _unwritable(error: Exception) -> str | None:
    """Returns why a disk took nothing more, None if the error is of another kind."""
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
        return error.strerror if full else None
    # safetensors writes by itself, and gives the system's reason in words
    return str(error) if "I/O error" in str(error) else None


def _prepare_out(out: Path, restart: bool) -> None:
    """Makes the model directory. Raises UsageError where it is in use for something else."""
    try:
        if out.exists() and not out.is_dir():
            raise UsageError(f"--out {out} is a file; name a directory")
        # a volume of its own may come with a folder of its file system
        held = {each.name for each in out.iterdir()} - {"lost+found"} if out.is_dir() else set()
        if held and not held & {"manifest.json", ".training"}:
            raise UsageError(
                f"--out {out} holds other files; name a new directory, or one of an earlier "
                "training"
            )
        if restart and ".training" in held:
            shutil.rmtree(out / ".training")
        out.mkdir(parents=True, exist_ok=True)
        # what cannot be written is found now, and not after the whole training
        with tempfile.NamedTemporaryFile(dir=out, prefix=".training-"):
            pass
    except OSError as error:
        raise Failure(f"--out {out} cannot be written: {error.strerror}; name another") from None
