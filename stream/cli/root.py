"""Finds sub-commands by name, and turns errors into a message and an exit code."""

from __future__ import annotations

import importlib
import io
import signal
import sys
import traceback

import click

from models.errors import DeviceError, LostRankError, ModelDataError, ModelDirectoryError
from stream.cli.commands import Group, with_plain_numbers
from stream.errors import InterestStreamError
from stream.plain_text import plain_lines

COMMANDS = {
    "demo": "Everything on this machine: watch simulated users' interests.",
    "broker": "Run Apache Kafka on this machine: start, stop, status, logs.",
    "topics": "Create the topics, or check their settings.",
    "train": "Train a model directory from behaviour events and a catalogue.",
    "evaluate": "Measure a model directory against events and baselines.",
    "rank": "Score histories from a file, by the worker's own code.",
    "match": "Map the catalogue of a model onto phrases or a taxonomy.",
    "mapping": "Say how records of another shape are read, and try it.",
    "worker": "Consume events, keep each user's state, publish interest updates.",
    "serve": "Answer over HTTP what users are interested in; take events.",
    "popularity": "Count what all users met lately, for workers that score with it.",
    "health": "Ask the worker of this host or container whether it is ready.",
    "produce": "Replay a file, or simulated users, onto the clickstream.",
    "tail": "Subscribe to interest updates and print them.",
    "inspect": "Show what is held about one user.",
    "erase": "Forget a user, or a file of users.",
    "unsuppress": "Take events of a suppressed user again.",
    "forget": "Forget what a user did with one item, or searched once.",
    "export": "Write all that is held about a user into one file.",
    "pseudonym": "Say by which pseudonym a user is known.",
    "dead-letters": "Show the bad records that were parked; send them again.",
    "audit": "Check that every event was applied exactly once.",
    "bench": "Measure throughput and latency on a fresh topic.",
}


OF_MODELS = ModelDataError | ModelDirectoryError | DeviceError | LostRankError
"""Errors of the package models whose text says what to do."""


class Commands(Group):
    """Finds a sub-command as `command` in stream.cli.<name>_command, when it is called.

    Importing all of them would make --help slow.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(
            f"stream.cli.{name.replace('-', '_')}_command"
        ).command
        return with_plain_numbers(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="interest-stream")
def group() -> None:
    """Live user interests from a Kafka clickstream.

    \b
    Examples:
      interest-stream demo
      interest-stream worker --model DIR --broker host:9092
      interest-stream tail --json

    Exit codes: 0 done, 1 failed (the message says what to do), 2 wrong use.
    """


def _accept_any_script() -> None:
    """Makes output escape what the terminal cannot show: titles are in any script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _in_words(error: Exception) -> str:
    """Returns what to say of an error."""
    if isinstance(error, InterestStreamError | OF_MODELS):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        place = "" if error.filename is None else f"{error.filename}: "
        return f"{place}{error.strerror[:1].lower()}{error.strerror[1:]}"
    if type(error).__module__.startswith("aiokafka"):
        return (
            f"Kafka answered with an error ({type(error).__name__}: {error}); "
            "check the broker, the topics and the rights of this client"
        )
    return f"unexpected {type(error).__name__}: {error} (run again with -v for a traceback)"


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and ends the process with its exit code.

    The errors of both packages become one line; a traceback is shown with -v only.
    """
    words = sys.argv[1:] if arguments is None else arguments
    _accept_any_script()
    verbose = any(word in ("-v", "--verbose") for word in words)
    # click raises what it would print itself, so that all that can happen is answered below
    try:
        code = group.main(args=words, prog_name="interest-stream", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if verbose:
            traceback.print_exc()
        click.echo(plain_lines(f"interest-stream: {_in_words(error)}"), err=True)
        sys.exit(getattr(error, "exit_code", 1))
    sys.exit(code if isinstance(code, int) else 0)  # click returns the code of ctx.exit() here


def program() -> None:
    """Runs the command line as what this process is for, with the words of sys.argv.

    Once the command is done a Ctrl-C ends the process as it ends any program. Python's own handler
    would print a traceback from the midst of its shutdown.
    """
    try:
        main()
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
