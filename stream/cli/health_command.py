"""`health`: asks the worker of this host or container whether it is ready."""

from __future__ import annotations

import json
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import urlopen

import click

from stream.cli import options
from stream.config import from_environment
from stream.errors import Failure

FIRST_PORT = 6066


@click.command()
@click.option("--web-host", help="Its address.  [default: 127.0.0.1]")
@click.option("--web-port", type=click.IntRange(0, 65535), help="Its port.  [default: 6066]")
@click.option("--timeout", default=4.0, show_default=True, help="Seconds to wait for the answer.")
@options.config
def command(web_host: str | None, web_port: int | None, timeout: float, config: str | None) -> None:
    """Ask the worker of this host or container whether it is ready; for a container's health check.

    \b
    Examples:
      interest-stream health
      interest-stream health --web-port 6067

    Exit codes: 0 ready, 1 not ready (the reasons are printed) or no worker answers, 2 wrong use.
    """
    settings = from_environment(config, web_host=web_host, web_port=web_port)
    host = "127.0.0.1" if settings.web_host in ("0.0.0.0", "") else settings.web_host
    url = f"http://{host}:{settings.web_port or FIRST_PORT}/readyz"
    try:
        with urlopen(url, timeout=timeout) as answer:
            answer.read()
    except HTTPError as error:
        raise Failure("not ready: " + _reasons(error)) from None
    except (OSError, HTTPException) as error:
        raise Failure(
            f"no worker answers on {url}: {error}; is it running, and on that port?"
        ) from None
    click.echo("ready")


def _reasons(error: HTTPError) -> str:
    try:
        return "; ".join(json.loads(error.read())["reasons"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"
