"""Catalogue files: JSON lines of item_id, title, categories; taxonomy files: one interest a line. Plain or gzipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from stream.errors import DataError
from stream.event_columns import categories_of
from stream.text_files import MAX_LINE_BYTES, read_lines

_decode: Final = msgspec.json.Decoder().decode
SAMPLES: Final = 20


@dataclass(slots=True)
class CatalogueFile:
    """Items in the order of the files, and what was wrong with lines."""

    item_ids: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    categories: list[tuple[str, ...]] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)  # what -> lines
    samples: list[str] = field(default_factory=list)  # the first problems, with file and line


def read_catalogue(paths: Sequence[Path]) -> CatalogueFile:
    """All items. Of an item given twice the first counts. Raises DataError if there is not one item."""
    found = CatalogueFile()
    known: set[str] = set()
    for path in paths:
        for number, line in read_lines(path):
            problem = _take(line, found, known)
            if problem:
                found.problems[problem] += 1
                if len(found.samples) < SAMPLES:
                    found.samples.append(f"{path}:{number}: {problem}")
    if not found.item_ids:
        first = f" ({found.samples[0]})" if found.samples else ""
        raise DataError(
            f"{', '.join(map(str, paths))}: no item found{first}; give JSON lines such as "
            '{"item_id": "42", "title": "Blue tent", "categories": ["Outdoor > Tents"]}'
        )
    return found


def read_taxonomy(path: Path, least: int = 2) -> list[str]:
    """Names of interests, a line each; of a table (tab-separated with a header) the column `path` or `name`, or the last."""
    lines = [line.decode("utf-8", "replace").strip("\r\n") for _, line in read_lines(path)]
    lines = [line.strip() if "\t" not in line else line for line in lines]  # an empty first cell keeps its place
    if "\t" in lines[0]:
        header, place = _header(lines)
        lines = [cells[place].strip() for line in lines[header + 1 :] if len(cells := line.split("\t")) > place]
    names = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if len(names) < least:
        raise DataError(f"{path}: holds {len(names)} interests; give one a line, at least {least}")
    return names


def _header(lines: list[str]) -> tuple[int, int]:
    """Line and column of the names in a table; a title line may stand before the header, as in IAB's files."""
    for number, line in enumerate(lines[:2]):
        names = [name.strip().lower() for name in line.split("\t")]
        place = next((names.index(name) for name in ("path", "name", "interest") if name in names), None)
        if place is not None:
            return number, place
    return 0, len(lines[0].split("\t")) - 1


def _take(line: bytes, found: CatalogueFile, known: set[str]) -> str:
    """Add the item of a line; what is wrong with it, or nothing."""
    if len(line) > MAX_LINE_BYTES:
        return f"longer than {MAX_LINE_BYTES} bytes"
    try:
        row: Any = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "not JSON"
    if not isinstance(row, dict):
        return "not a JSON object"
    item_id = _text(row.get("item_id"))
    if not item_id:
        return "item_id is missing"
    if item_id in known:
        return "item_id is given twice: the first counts"
    known.add(item_id)
    title = _text(row.get("title"))
    found.item_ids.append(item_id)
    found.titles.append(title or item_id)
    found.categories.append(tuple(categories_of(row.get("categories")) or ()))
    return "" if title else "title is missing: the item_id stands in"


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else "" if value is None else str(value)
