"""`serve`: answers over HTTP what users are interested in, and takes events."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from stream.cli import options
from stream.config import from_environment
from stream.errors import UsageError

if TYPE_CHECKING:
    from stream.serving.process import Known

ENVIRONMENT: Final = "INTEREST_STREAM_SERVE_"
Command = Callable[..., Any]
NEEDED: Final = ("fastapi", "uvicorn", "uvloop", "httptools")


def _option(name: str, **about: Any) -> Callable[[Command], Command]:
    """Returns an option that can be given in the environment, too."""
    variable = ENVIRONMENT + name.removeprefix("--").replace("-", "_").upper()
    return click.option(name, envvar=variable, **about)


@click.command()
@_option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@_option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="Its port; 0: any free one.",
)
@_option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of the SQLite file.  [default: ~/.local/share/interest-stream/serve]",
)
@_option(
    "--api-keys",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Who may ask what: a line for each key, made by --new-key.",
)
@_option(
    "--behind-proxy",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A secret that the proxy sends as X-Interest-Stream-Proxy; it names users.",
)
@_option(
    "--rate-limit",
    default=2_000.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Requests a second of one key or user.",
)
@_option(
    "--model",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Model directory: titles and interests of items, and how far to trust it.",
)
@click.option("--demo-model", is_flag=True, help="The same of the simulated shop.")
@click.option(
    "--simulated-truth",
    type=click.Path(path_type=Path, dir_okay=False),
    hidden=True,  # `demo` alone has such a file
)
@_option(
    "--body-mapping",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Mapping that reads events in with format=mapping, where workers read the contract.",
)
@click.option(
    "--new-key",
    metavar="NAME:SCOPE,...",
    help="Print a new key and its line for the file, and end: profile, segment, erase, events.",
)
@click.option(
    "--control-key-file",
    metavar="FILE",
    help="The key that signs erasures, if workers demand one.",
)
@options.where_users_are
@options.verbose
def command(new_key: str | None, **given: Any) -> None:
    """Answer over HTTP what users are interested in, show it on a page, take events.

    Reads the profiles into a file of its own, so no worker waits for a request. Start as many
    as you like, each with its own --data. Without keys it listens on loopback only. The page is at
    /, the description of all routes at /openapi.json.

    \b
    Examples:
      interest-stream serve
      interest-stream serve --port 9000 --model DIR --broker kafka://host:9092
      interest-stream serve --new-key shop:profile,events
      interest-stream serve --host 0.0.0.0 --api-keys keys.txt

    Exit codes: 0 ended by SIGTERM or Ctrl-C, 1 no broker, topic or port, 2 wrong use.
    """
    _ensure_installed()
    from stream.serving.guard import guard_of
    from stream.serving.guard import new_key as make_key

    if new_key is not None:
        key, line = make_key(new_key)
        click.echo(f"{key}\n\nTell it whoever is to ask; it is shown this once. For the file:\n")
        click.echo(line)
        return
    own = {name: given.pop(name) for name in ("host", "port", "api_keys", "behind_proxy")}
    guard = guard_of(own["host"], own["api_keys"], own["behind_proxy"])
    rate_limit, data = given.pop("rate_limit"), given.pop("data")
    body_mapping = given.pop("body_mapping")
    model, demo_model = given.pop("model"), given.pop("demo_model")
    truth = given.pop("simulated_truth")
    settings = from_environment(**given)
    settings.control_key()
    known = _known(model, demo_model)

    from stream import logs
    from stream.serving.process import ServeOptions, run

    logs.configure(bool(click.get_current_context().find_root().meta.get("verbose")))
    asked = ServeOptions(
        host=own["host"],
        port=own["port"],
        data=data or _default_folder(),
        guard=guard,
        rate_limit=rate_limit,
        model=known,
        truth=truth,
        body_mapping=str(body_mapping or ""),
    )
    run(settings, asked)


def _ensure_installed() -> None:
    """Raises UsageError that names the extra, if its packages are not there."""
    if any(importlib.util.find_spec(each) is None for each in NEEDED):
        raise UsageError(
            "this command needs FastAPI, uvicorn, uvloop and httptools, and one is not installed; "
            "install them with pip install 'interest-stream[serve]'"
        )


def _known(model: Path | None, demo_model: bool) -> Known:
    """Returns what a model directory says; without one nothing.

    Raises ModelDirectoryError, UsageError.
    """
    from stream.serving.process import Known

    if model is None and not demo_model:
        return Known()
    options.ensure_one_model(model, demo_model)
    from models.model_files import described
    from stream.serving.overview.calibration import calibration_of

    found = described(model)
    calibration = calibration_of(found.fingerprint, found.report)
    return Known(titles=found.titles, touches=found.interests, calibration=calibration)


def _default_folder() -> Path:
    """Returns where the file is unless somebody says otherwise."""
    from stream.broker.local_kafka import default_data_dir

    return default_data_dir().with_name("serve")
