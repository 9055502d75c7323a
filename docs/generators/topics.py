"""Writes the page of the topics, from the rules that workers check them by."""

from __future__ import annotations

import dataclasses

from docs.generators.markdown import table
from stream.config import Settings
from stream.kafka.topic_life import life_of
from stream.kafka.topic_rules import declared


def topics_page() -> str:
    """Returns the page of the topics of a pipeline and the settings that they must have."""
    return f"""# Topics

What `interest-stream topics create` makes and `interest-stream topics check` compares, with three
replicas. A setting without a demand is only what a new topic gets. *Unsafe* means that a worker
refuses to start, because events could be lost or doubled. What the records hold is in
[Contracts](contracts.md) and, for tools, in [asyncapi.json](asyncapi.json); `topics check` says how
long a record can be read from the topics of a pipeline as they are.

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
