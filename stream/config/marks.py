"""Says by which reading the events of a topic were understood, so that another one is noticed.

A worker writes the mark into the metadata of every offset that it commits (kafka/topic_identity.py)
and compares it at its start. A mapping is told by what it holds: comments, spaces and the name of
the file do not count.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from stream.config.settings import MAPPING, Settings

MOST_SAID: Final = 200
"""Characters; the metadata of an offset has room for 4,096 bytes."""

SHOWN: Final = 8
"""Digits of the digest of a mapping."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Holds a reading in words, and what tells it from every other one."""

    said: str
    digest: str


def mark_of(settings: Settings) -> Mark:
    """Returns the mark of how these settings read the events topic.

    The mapping is one that could be read when the settings were checked.
    """
    said: str = settings.event_format
    parts: list[Any] = [settings.event_format, sorted(settings.purposes)]
    if settings.event_format == MAPPING:
        path = Path(settings.mapping)
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        digest = _digest(table)
        said = f"mapping {path.name} ({digest[:SHOWN]})"
        parts.append(digest)
    if settings.purposes:
        said += f" with consent_purposes {settings.consent_purposes}"
    return Mark(said[:MOST_SAID], _digest(parts))


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
