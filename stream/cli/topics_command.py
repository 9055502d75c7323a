"""`topics`: makes the pipeline's topics, or checks those that exist."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import click

from stream.cli import options
from stream.cli.commands import Group
from stream.config import Settings, from_environment
from stream.errors import TopicError

# which pipeline's topics are meant
_names = options.together(
    click.option(
        "--popularity-topic",
        metavar="NAME",
        help="Where the snapshots are.  [default: item-popularity]",
    ),
    click.option(
        "--live-popularity/--no-live-popularity",
        default=None,
        help="With the topic that --live-popularity of the worker reads.",
    ),
    click.option(
        "--rekey/--no-rekey",
        default=None,
        help="With the topic that --rekey of the worker forwards to.",
    ),
    *(
        click.option(f"--{name}-topic", metavar="NAME", help=f"{holds}.  [default: {default}]")
        for name, holds, default in (
            ("dead-letters", "Bad records", "clickstream-dead-letters"),
            ("profiles", "The latest update of each user", "interest-profiles"),
            ("updates", "Interest updates", "interest-updates"),
        )
    ),
    options.events_topic,
    click.option(
        "--app-id",
        default=None,
        metavar="NAME",
        help="Worker group, prefix of the changelog.  [default: interest-stream]",
    ),
    options.connection,
)


@click.group(cls=Group)
def command() -> None:
    """Create the topics of the pipeline with their settings, or check those that exist.

    \b
    Examples:
      interest-stream topics create --partitions 8
      interest-stream topics create --partitions 24 --broker kafka://host:9092
      interest-stream topics check --replication 3

    Exit codes: 0 all as it must be, 1 a topic differs or the broker refuses, 2 wrong use.
    """


@command.command()
@_names
@click.option(
    "--partitions",
    type=click.IntRange(1),
    default=None,
    show_default="those of an existing clickstream topic, else 4",
    help="Most workers that can share the load; not to be changed later.",
)
@click.option(
    "--replication",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Copies of each record; 3 in production.",
)
@options.as_json
@options.verbose
def create(partitions: int | None, replication: int, as_json: bool, **named: Any) -> None:
    """Create what is missing; topics that exist are left as they are, and checked.

    \b
    Example:
      interest-stream topics create --partitions 24 --replication 3

    Exit codes: 0 all exist as declared, 1 refused or a topic that existed differs, 2 wrong use.
    """
    from stream.kafka.topics import create_topics

    settings = from_environment(min_replication=replication, **named)
    made = asyncio.run(create_topics(settings, partitions, replication))
    _report(
        settings, {topic.name: "created" if fresh else "exists" for topic, fresh in made}, as_json
    )


@command.command()
@_names
@click.option(
    "--replication",
    type=click.IntRange(1),
    default=None,
    show_default="min_replication of the settings",
    help="Demand as many copies.",
)
@options.as_json
@options.verbose
def check(replication: int | None, as_json: bool, **named: Any) -> None:
    """Compare the topics with what they must be, name each difference, and say how long they keep.

    The last column is the longest time that a record can be read: Kafka deletes whole segments and
    compacts closed ones only, so it is longer than retention.ms. In a compacted topic the newest
    record of a key stays until another replaces it.

    \b
    Example:
      interest-stream topics check --replication 3

    Exit codes: 0 all as declared, 1 a difference or no broker, 2 wrong use.
    """
    _report(from_environment(min_replication=replication, **named), {}, as_json)


def _report(settings: Settings, done: dict[str, str], as_json: bool) -> None:
    """Prints every topic with its differences; raises TopicError when there is one."""
    from stream.kafka.topic_life import life_of
    from stream.kafka.topics import look_at_topics

    checked = asyncio.run(look_at_topics(settings))
    topics, differences = checked.topics, checked.differences
    lives = {name: life_of(found.settings) for name, found in checked.found.items()}
    if as_json:
        rows = [
            {
                "topic": topic.name,
                "purpose": topic.purpose,
                "done": done.get(topic.name),
                "life": lives[topic.name].as_json() if topic.name in lives else None,
                "differences": [
                    dataclasses.asdict(each) for each in differences if each.topic == topic.name
                ],
            }
            for topic in topics
        ]
        click.echo(json.dumps({"ok": not differences, "topics": rows}))
    else:
        _print_table(
            [
                (
                    topic.name,
                    topic.purpose,
                    done.get(topic.name, ""),
                    lives[topic.name].in_words() if topic.name in lives else "",
                )
                for topic in topics
            ],
            {each.topic for each in differences},
        )
    if differences:
        raise TopicError(
            f"{len(differences)} difference(s)\n" + "\n".join(f"  {each}" for each in differences)
        )


def _print_table(rows: list[tuple[str, str, str, str]], wrong: set[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("topic", no_wrap=True)
    for name in ("what it holds", "state", "readable for at most"):
        table.add_column(name)
    for name, purpose, done, life in rows:
        table.add_row(
            name,
            purpose,
            ", ".join(
                word for word in (done, "[red]differs[/]" if name in wrong else "ok") if word
            ),
            life,
        )
    Console(highlight=False, width=None).print(table)
