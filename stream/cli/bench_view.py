"""Holds what `bench` and its sub-commands share: an option, progress, figures, which broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from stream.config import DEFAULT_BROKER, Settings

if TYPE_CHECKING:
    from stream.bench.rate import BenchResult


def models_option(default: str) -> Callable[[Any], Any]:
    """Returns the option that says which models are served."""
    return click.option(
        "--models",
        type=click.Choice(("null", "real", "null,real")),
        default=default,
        show_default=True,
        help="Models that are served.",
    )


def announce(text: str) -> None:
    """Prints what is being done, on standard error."""
    click.echo(text, err=True)


def is_named(context: click.Context, settings: Settings) -> bool:
    """Returns whether somebody named the broker, so that no other will do."""
    by_option = context.get_parameter_source("broker") is not ParameterSource.DEFAULT
    return by_option or settings.broker != DEFAULT_BROKER


def readable(result: BenchResult) -> str:
    """Returns the figures in words; those of the latency only if it was measured."""
    lines = [
        f"{result.events_per_s:,} events/s and {result.updates_per_s:,} updates/s "
        f"over {result.seconds} s ({result.events:,} events, {result.users:,} users, "
        f"{result.events_per_batch:,} events a batch, "
        f"model '{result.model}' busy {result.model_share:.0%})",
        f"start to first durable batch {result.start_s} s; audit {result.audit}",
    ]
    if result.latency_events:
        lines.append(
            f"event to update at {result.latency_rate:,.0f} events/s, open loop: "
            f"p50 {result.latency_p50_ms} ms, p99 {result.latency_p99_ms} ms "
            f"({result.latency_events:,} events)"
        )
    return "\n".join(lines)
