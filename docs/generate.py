"""Writes the pages of docs/reference from the code that they describe.

    python -m docs.generate            write the pages that have changed
    python -m docs.generate --check    name the pages that are stale, and exit with 1

Commands are read from the command line itself, settings from `stream.config`, contracts from the
schemas and the topic rules, metrics from a worker's registry, errors from `stream.errors`. A test
fails when a committed page is stale, so nobody edits these pages by hand.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import click

from stream import errors
from stream.cli.root import COMMANDS, group
from stream.config import SECRETS, Settings
from stream.config.fields import variable_of
from stream.contracts import faults
from stream.kafka.topic_life import life_of
from stream.kafka.topic_rules import declared
from stream.metrics import Metrics
from stream.serving.meters import Meters

DOCS: Final = Path(__file__).resolve().parent
REFERENCE: Final = DOCS / "reference"
GENERATED: Final = "<!-- Written by `python -m docs.generate` from the code. Do not edit. -->"
SAMPLE_SUFFIX: Final = {"counter": "_total", "info": "_info"}
"""What Prometheus' text form adds to the name of a family; histograms have several samples."""

METRIC: Final = ("metric", "kind", "labels", "counts or measures")
INFO_LABELS: Final = ("fingerprint", "name", "version")
SCHEMAS: Final = {
    "event-1": ("Event", "events-valid.jsonl", "events-invalid.jsonl"),
    "control-1": ("Request about a user", "controls-valid.jsonl", "controls-invalid.jsonl"),
    "update-1": ("Interest update", "updates-valid.jsonl", "updates-invalid.jsonl"),
    "profile-1": ("Interest profile", "", ""),
    "webhook-1": ("Body of a webhook", "webhooks-valid.jsonl", ""),
    "dead-letter-1": ("Headers of a dead letter", "", ""),
}
"""Schemas of the package: the heading of each, and its golden samples under tests/golden."""

Row = tuple[str, ...]


def main(words: list[str] | None = None) -> int:
    """Writes stale pages, or only names them with --check; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="name stale pages, write nothing")
    check = parser.parse_args(words).check
    stale = stale_pages()
    for path, text in stale.items():
        sys.stdout.write(f"{'stale' if check else 'written'}: {path.relative_to(DOCS.parent)}\n")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for path in leftovers():
        sys.stdout.write(f"of no command any more, delete it: {path.relative_to(DOCS.parent)}\n")
    return int(check and bool(stale or leftovers()))


def stale_pages() -> dict[Path, str]:
    """Returns the pages whose committed text differs from what the code says, with that text."""
    return {
        path: text
        for path, text in pages().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }


def leftovers() -> list[Path]:
    """Returns pages of commands that do not exist any more."""
    return sorted(set((REFERENCE / "commands").glob("*.md")) - pages().keys())


def pages() -> dict[Path, str]:
    """Returns the text of every generated page by its path."""
    written = {
        "commands/README.md": commands_page(),
        "settings.md": settings_page(),
        "contracts.md": contracts_page(),
        "topics.md": topics_page(),
        "metrics.md": metrics_page(),
        "exit-codes.md": exit_codes_page(),
    }
    written |= {f"commands/{name}.md": command_page(name) for name in COMMANDS}
    return {REFERENCE / name: f"{GENERATED}\n\n{text.rstrip()}\n" for name, text in written.items()}


# Commands


def commands_page() -> str:
    """Returns the table of all commands, each with a link to its page."""
    rows = [(f"[`{name}`]({name}.md)", does) for name, does in COMMANDS.items()]
    return f"""# Commands

Every command is a word after `interest-stream`. Each has `--help` with the text of its page here.
Exit codes are the same everywhere: 0 done, 1 failed and the message says what to do, 2 wrong use;
[Exit codes](../exit-codes.md) has the whole table.

{table(("command", "does"), rows)}"""


def command_page(name: str) -> str:
    """Returns the page of one command with its sub-commands."""
    return "\n\n".join(
        command_section(command, words)
        for words, command in sub_commands(command_of(name), (name,))
    )


def command_of(name: str) -> click.Command:
    """Returns a command of the command line by its name."""
    found = group.get_command(click.Context(group), name)
    assert found is not None
    return found


def sub_commands(
    command: click.Command, words: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yields a command and all below it, with the words that call each."""
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from sub_commands(found, (*words, name))


def command_section(command: click.Command, words: tuple[str, ...]) -> str:
    """Returns what a command does, its examples, exit codes and options."""
    call = " ".join(words)
    context = click.Context(command, info_name=f"interest-stream {call}")
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"{'#' * len(words)} {call}", f"```\ninterest-stream {call} {usage}\n```"]
    parts += help_parts(command)
    records = [each.get_help_record(context) for each in command.get_params(context)]
    options = [record for record in records if record and "--help" not in record[0]]
    if options:
        rows = [(f"`{without_pipes(option)}`", does) for option, does in options]
        parts.append(table(("option", "does"), rows))
    return "\n\n".join(parts)


def help_parts(command: click.Command) -> Iterator[str]:
    """Yields the paragraphs of a help text as Markdown; examples become blocks of code."""
    text = inspect.cleandoc(command.help or "").replace("\f", "")
    for part in re.split(r"\n\s*\n", text):
        if part.startswith("\b\n"):
            head, *lines = part.removeprefix("\b\n").splitlines()
            block = inspect.cleandoc("\n" + "\n".join(lines))
            yield f"{head}\n\n```\n{block}\n```"
        else:
            yield as_text(" ".join(part.split()))


def exit_codes_of(command: click.Command) -> str:
    """Returns the sentence of a help text that lists exit codes; empty when there is none."""
    found = re.search(r"Exit codes: (.+?)(?:\n\s*\n|\Z)", command.help or "", re.DOTALL)
    return " ".join(found[1].split()).removesuffix(".") if found else ""


def without_pipes(option: str) -> str:
    """Returns a list of choices written without the bar that would end a cell of a table."""
    return re.sub(r"\[([\w-]+(?:\|[\w-]+)+)\]", lambda found: found[1].replace("|", " or "), option)


# Settings


def settings_page() -> str:
    """Returns the table of a worker's settings."""
    rows = [
        (
            f"`{each.name}`",
            f"`{variable_of(each.name)}`",
            f"`{str(each.default).lower() if isinstance(each.default, bool) else each.default}`"
            if each.default != ""
            else "",
            each.metadata["doc"],
        )
        for each in dataclasses.fields(Settings)
    ]
    secrets = " and ".join(f"`{name}`" for name in sorted(SECRETS))
    return f"""# Settings

A setting comes from the first of these places that gives it.

1. The command line. The option is the name with hyphens: `max_batch_events` is
   `--max-batch-events`. {secrets} have none, because everybody on a machine can
   read the command line of a process. `kafka_options` are given one by one:
   `--kafka-option client.rack=zone-a`.
2. The environment, by the variable of the table.
3. A folder of secrets, if `INTEREST_STREAM_SECRETS_DIR` names one: a file a setting, named as the
   setting. Other files in it are let be.
4. A TOML file, if `--config FILE` or `INTEREST_STREAM_CONFIG` names one: a key a setting, and a
   table `[kafka_options]`.
5. The defaults of the table.

A variable that begins with `INTEREST_STREAM_`, or a key of the file, that is no setting ends the
command with exit code 2 and the nearest name. So does a value that cannot work.
`interest-stream worker --show-settings` prints what is in force, and marks what is not the default.

{table(("setting", "variable", "default", "does"), rows)}"""


# Contracts


def contracts_page() -> str:
    """Returns the page of what clusters store and other programs read."""
    sections = "\n\n".join(schema_section(name) for name in SCHEMAS)
    reasons = table(("reason", "when"), reason_rows())
    return f"""# Contracts

What other programs write and read, and what a cluster stores. A change of any of it needs a new
version and a golden sample. The JSON Schemas are in
[stream/contracts/schemas](../../stream/contracts/schemas), golden samples in
[tests/golden](../../tests/golden). The binary state record of a user is described in
[decision 0003](../understand/decisions/0003-state-record.md); its golden samples are
[state-2.hex](../../tests/golden/state-2.hex), the marker of an erased user
[state-2-marker.hex](../../tests/golden/state-2-marker.hex), and of version 1
[state-1.hex](../../tests/golden/state-1.hex). What the topics themselves must be like is on the
page [Topics](topics.md).

{sections}

### Reasons

Why an event became a dead letter. The list is closed and only grows.

{reasons}"""


def schema_section(name: str) -> str:
    """Returns one schema as a heading, its description, links, and a table of its fields."""
    heading, valid, invalid = SCHEMAS[name]
    schema = json.loads(
        files("stream").joinpath(f"contracts/schemas/{name}.json").read_text(encoding="utf-8")
    )
    links = [f"[{name}.json](../../stream/contracts/schemas/{name}.json)"]
    links += [f"[{sample}](../../tests/golden/{sample})" for sample in (valid, invalid) if sample]
    rows = list(field_rows(schema))
    fields = [table(("field", "required", "type", "meaning"), rows)] if rows else []
    text = as_text(schema["description"])
    return "\n\n".join([f"## {heading}", text, f"Files: {', '.join(links)}.", *fields])


def field_rows(schema: dict[str, Any], prefix: str = "") -> Iterator[Row]:
    """Yields a row for each field, nested ones with their path."""
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        path = prefix + name
        yield (
            f"`{path}`",
            "yes" if name in required else "",
            type_of(field),
            field.get("description", ""),
        )
        yield from field_rows(field, f"{path}.")
        yield from field_rows(field.get("items", {}), f"{path}[].")


def type_of(field: dict[str, Any]) -> str:
    """Returns the type of a field of a schema in words."""
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return (
            "one of the [reasons](#reasons)"
            if len(field["enum"]) > 5
            else ", ".join(f"`{each}`" for each in field["enum"])
        )
    if "anyOf" in field:
        return " or ".join(type_of(each) for each in field["anyOf"])
    kinds = field.get("type", "any")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "array" in kinds:
        kinds = [f"array of {field['items'].get('type', 'any')}s", *kinds[1:]]
    return " or ".join(kinds)


def reason_rows() -> Iterator[Row]:
    """Yields each reason for a dead letter with the remark that stands beside it in the code."""
    remarks = dict(
        re.findall(r'^\s+"([\w-]+)",\s+# (.+)$', inspect.getsource(faults), re.MULTILINE)
    )
    for reason in faults.REASONS:
        yield f"`{reason}`", remarks.get(reason, "")


# Topics


def topics_page() -> str:
    """Returns the page of the topics of a pipeline and the settings that they must have."""
    return f"""# Topics

What `interest-stream topics create` makes and `interest-stream topics check` compares, with three
replicas. A setting without a demand is only what a new topic gets. *Unsafe* means that a worker
refuses to start, because events could be lost or doubled. What the records hold is in
[Contracts](contracts.md); `topics check` says how long a record can be read from the topics of a
pipeline as they are.

{topic_sections()}"""


def topic_sections() -> str:
    """Returns a heading and a table of settings for each topic of a pipeline."""
    sections = []
    for topic in declared(dataclasses.replace(Settings(), live_popularity=True), replication=3):
        partitions = topic.partitions or ("as the source topic" if topic.owned else "as you like")
        rows = [
            (
                f"`{name}`",
                f"`{rule.value}`",
                rule.wanted() if rule.must else "",
                "unsafe" if rule.unsafe else "",
                rule.why,
            )
            for name, rule in topic.rules.items()
        ]
        head = ("setting", "created with", "demanded", "otherwise", "why")
        life = life_of({name: str(rule.value) for name, rule in topic.rules.items()})
        text = (
            f"{topic.purpose[0].upper()}{topic.purpose[1:]}. Partitions: {partitions}. "
            f"As created, a record can be read for at most: {life.in_words()}."
        )
        sections.append(f"## `{topic.name}`\n\n{text}\n\n{table(head, rows)}")
    return "\n\n".join(sections)


# Metrics


def metrics_page() -> str:
    """Returns the table of what a worker exports."""
    return f"""# Metrics

Each worker serves them at `/metrics` in Prometheus' text form, beside `/livez` and `/readyz`. No
label ever holds a user. Rules that alert on them are in
[deploy/prometheus/alerts.yml](../../deploy/prometheus/alerts.yml), a dashboard is
[deploy/grafana/interest-stream.json](../../deploy/grafana/interest-stream.json), and the
[runbook](../operate/runbook.md) says what to do.

{table(METRIC, metric_rows(Metrics()))}

## Of serve

[`interest-stream serve`](../operate/serve.md) has metrics of its own, at `/metrics` too. A route is
named by its template.

{table(METRIC, metric_rows(Meters()))}"""


def metric_rows(metrics: Metrics | Meters) -> Iterator[Row]:
    """Yields each metric with its kind, labels and meaning."""
    for family in metrics.registry.collect():
        name = family.name + SAMPLE_SUFFIX.get(family.type, "")
        labels = INFO_LABELS if family.type == "info" else metrics.labels.get(family.name, ())
        yield f"`{name}`", family.type, ", ".join(labels), family.documentation


# Exit codes


def exit_codes_page() -> str:
    """Returns the exit codes of all commands, and the errors behind them."""
    shared = table(
        ("exit code", "means"),
        [
            ("0", "done"),
            ("1", "failed; the message says what happened and what to do"),
            ("2", "wrong use: an option, a setting or a file; nothing was done"),
            ("130", "ended by Ctrl-C; a training is saved and the same call goes on"),
            ("137", "killed from outside, for example for lack of memory"),
        ],
    )
    rows = [
        (f"`{' '.join(words)}`", exit_codes_of(command))
        for name in COMMANDS
        for words, command in sub_commands(command_of(name), (name,))
        if exit_codes_of(command)
    ]
    return f"""# Exit codes

{shared}

What a supervisor should do with those of a worker is in the [runbook](../operate/runbook.md).

## By command

{table(("command", "exit codes"), rows)}

## Errors

Every error that the project raises on purpose is a class of
[stream/errors.py](../../stream/errors.py), sorted by what the caller should do. The last line of a
failed command is the message of one of them; an error that is none of them is reported as
*unexpected*, with exit code 1.

{table(("error", "is a", "exit code", "when"), error_rows())}"""


def error_rows() -> Iterator[Row]:
    """Yields each error class with its parent, exit code and meaning."""
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.InterestStreamError):
            parent = kind.__base__
            assert parent is not None
            is_a = "" if parent is Exception else f"`{parent.__name__}`"
            meaning = first_line(kind).removeprefix("Says that ")
            yield f"`{name}`", is_a, str(kind.exit_code), meaning[0].upper() + meaning[1:]


def first_line(documented: object) -> str:
    """Returns the first paragraph of a docstring on one line."""
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


# Markdown


def table(head: Row, rows: Any) -> str:
    """Returns a Markdown table whose cells hold neither line breaks nor bare bars."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell(each) for each in line)} |" for line in lines)


def cell(text: object) -> str:
    """Returns a text that cannot end its cell, with bare addresses and placeholders as code."""
    return as_text(" ".join(str(text).split())).replace("|", "\\|")


def as_text(text: str) -> str:
    """Returns prose in which what looks like a tag is written as code."""
    return re.sub(r"(?<!`)(\w*<[\w ]+>[\w-]*)(?!`)", r"`\1`", text)


if __name__ == "__main__":
    sys.exit(main())
