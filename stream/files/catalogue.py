"""Reads catalogues, rows of item_id, title, categories, and taxonomies, a name a line.

A catalogue is JSON lines, a JSON array, a table of text, Parquet or Arrow. The names that data sets
give those fields are known (`asin`, `genres`), and so are objects as Python writes them, in single
quotes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any, Final

from stream.contracts.faults import BadEvent
from stream.errors import DataError
from stream.files.columnar import ColumnFile
from stream.files.columns import looks_like_data, plain_name, unread_columns
from stream.files.lines import MAX_LINE_BYTES, elements_of, is_array, lines_of, read_lines
from stream.files.opening import EmptyFileError, Source
from stream.files.places import File, find_files
from stream.files.rows import categories_in
from stream.files.shapes import MOVIELENS_MOVIES, shape_of
from stream.files.table import StrayQuote, decoded_lines, header_of, is_utf8, table_rows
from stream.files.values import (
    ONE_NAME,
    is_literal,
    looks_like_several,
    read_object,
    text_of,
    title_of,
)
from stream.formats.usual_names import SYNONYMS

SAMPLES: Final = 20
FIELDS: Final = ("item_id", "title", "categories")
_OTHER_NAMES: Final = {"item_id": ("id",), "title": (), "categories": ("class", "type")}
"""Names that mean a field in a catalogue alone; those of categories only in RecBole's .item."""

_PROPERTIES: Final = frozenset(("property", "value"))
"""Columns of a table that holds one property of an item in each row, as RetailRocket's does."""


@dataclass(slots=True)
class CatalogueFile:
    """Holds the items in the order of the files, and what was wrong with lines."""

    item_ids: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    categories: list[tuple[str, ...]] = field(default_factory=list)
    rows: int = 0  # lines, rows of a table or elements of an array
    problems: Counter[str] = field(default_factory=Counter)  # lines by problem
    samples: list[str] = field(default_factory=list)  # the first problems, with file and line
    assumed: Counter[str] = field(default_factory=Counter)  # lines by what had to be assumed
    unread: dict[str, None] = field(default_factory=dict)  # keys that look useful and are not read
    read_as: dict[str, None] = field(default_factory=dict)  # files of known shapes, and which

    @property
    def notes(self) -> list[str]:
        """Returns what had to be assumed, in sentences for a person."""
        notes = [f"{count} lines of the catalogue {what}" for what, count in self.assumed.items()]
        notes += self.read_as
        if self.unread:
            notes.append(f"keys of the catalogue that are not read: {', '.join(self.unread)}")
        return notes


def read_catalogue(paths: Sequence[File]) -> CatalogueFile:
    """Returns all items of some files; of an item given twice the first counts.

    Raises DataError if there is not one item.
    """
    reader = _Reader()
    for path in paths:
        these = find_files(path)
        for file in these.files:
            try:
                with Source(file) as source:
                    reader.read(source)
            except EmptyFileError:
                if not these.several:
                    raise
    found = reader.found
    if not found.item_ids:
        first = f" ({found.samples[0]})" if found.samples else ""
        raise DataError(
            f"{', '.join(map(str, paths))}: no item found{first}; give JSON lines such as "
            '{"item_id": "42", "title": "Blue tent", "categories": ["Outdoor > Tents"]}'
        )
    return found


def read_taxonomy(path: File, least: int = 2) -> list[str]:
    """Returns the names of interests in a file, a line each.

    Of a table (tab-separated with a header) it takes the column `path`, `name` or `interest`, else
    the last one. Raises DataError if there are fewer than `least`.
    """
    lines = [line.decode("utf-8", "replace").strip("\r\n") for _, line in read_lines(path)]
    # In a table an empty first cell keeps its place.
    lines = [line if "\t" in line else line.strip() for line in lines]
    if "\t" in lines[0]:
        header, place = _header(lines)
        lines = [
            cells[place].strip()
            for line in lines[header + 1 :]
            if len(cells := line.split("\t")) > place
        ]
    names = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if len(names) < least:
        raise DataError(f"{path}: holds {len(names)} interests; give one a line, at least {least}")
    return names


def _header(lines: list[str]) -> tuple[int, int]:
    """Returns the line of a table's header and the column of the names.

    A title line may stand before the header, as in the files of the IAB.
    """
    for number, line in enumerate(lines[:2]):
        names = [name.strip().lower() for name in line.split("\t")]
        place = next(
            (names.index(name) for name in ("path", "name", "interest") if name in names), None
        )
        if place is not None:
            return number, place
    return 0, len(lines[0].split("\t")) - 1


class _Reader:
    """Takes the items of one file after the other."""

    def __init__(self) -> None:
        self.found = CatalogueFile()
        self._known: set[str] = set()

    def read(self, source: Source) -> None:
        """Takes the items of a file, whatever form it has; raises DataError."""
        if source.columnar:
            self._read_columns(source)
            return
        lines = elements_of(source) if is_array(source) else lines_of(source)
        first = next(lines, None)
        if first is None:
            return
        if is_array(source) or first[1].lstrip()[:1] in (b"{", b"["):
            self._read_objects(source.file, chain([first], lines))
        else:
            self._read_table(source.file, first, lines)

    def _read_objects(self, file: File, lines: Iterator[tuple[int, bytes]]) -> None:
        for number, line in lines:
            if len(line) > MAX_LINE_BYTES:
                self._note(file, number, [f"longer than {MAX_LINE_BYTES} bytes"])
                continue
            try:
                row = read_object(line)
            except BadEvent as error:
                what = "not a JSON object" if error.reason == "not-object" else "not JSON"
                self._note(file, number, [what])
                continue
            if is_literal(line):
                self.found.assumed["are written as Python writes objects: read as JSON"] += 1
            columns, unread = _columns(tuple(row))
            self.found.unread.update(dict.fromkeys(unread))
            self._note(file, number, self._take(row, columns))

    def _read_columns(self, source: Source) -> None:
        """Takes the items of a Parquet or Arrow file, of which it reads the columns it needs."""
        table = ColumnFile(source)
        columns = self._columns_of(source.file, table.names)
        used = [name for name in table.names if name in columns.values()]
        for number, document in table.documents(used):
            try:
                row = read_object(document)
            except BadEvent as error:
                self._note(source.file, number, [str(error)])
                continue
            self._note(source.file, number, self._take(row, columns))

    def _read_table(
        self, file: File, first: tuple[int, bytes], lines: Iterator[tuple[int, bytes]]
    ) -> None:
        """Takes the items of a table of text."""
        names, delimiter = header_of(str(file), first[1])
        shape = shape_of(names, delimiter)
        if shape is not None and not shape.items:
            raise DataError(f"{file}: holds {shape.title}, and no catalogue; {shape.instead}")
        if shape is not None:
            columns: Mapping[str, str] = shape.items
            names = [str(place) for place in range(1, len(names) + 1)]
            lines = chain([first], lines)
            self.found.read_as[f"{file.name} is read as {shape.title}"] = None
        else:
            columns = self._columns_of(file, names)
        width = len(names)
        rows = table_rows(decoded_lines(lines), delimiter, width, lambda row: len(row) == width)
        for number, row in rows:
            if isinstance(row, StrayQuote):
                self._note(file, number, [str(row)])
                continue
            if len(row) != width:
                what = f"has {len(row)} columns where the header has {width}"
                self._note(file, number, [what])
                continue
            if not is_utf8(row):
                if shape is not MOVIELENS_MOVIES:
                    self._note(file, number, ["is not UTF-8; save the file as UTF-8"])
                    continue
                row = [_latin_1(cell) for cell in row]
                self.found.assumed["are not UTF-8: read as Latin-1, as MovieLens has it"] += 1
            self._note(file, number, self._take(dict(zip(names, row, strict=True)), columns))

    def _columns_of(self, file: File, names: Sequence[str]) -> dict[str, str]:
        """Returns {field: column} of a table; raises DataError if no column is the item."""
        listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        if {plain_name(name) for name in names} >= _PROPERTIES:
            raise DataError(
                f"{file}: holds a property of an item in each row (columns {listed}); write a row "
                "an item, with the columns item_id, title and categories"
            )
        columns, unread = _columns(tuple(names))
        if "item_id" not in columns:
            what = (
                "the first line looks like a row, not like a header"
                if looks_like_data(names)
                else "no column is recognised as item_id"
            )
            raise DataError(
                f"{file}: {what} ({listed}); give a header with item_id, title and categories"
            )
        self.found.unread.update(dict.fromkeys(unread))
        return columns

    def _note(self, file: File, number: int, problems: list[str]) -> None:
        """Counts a row, and what is wrong with it."""
        self.found.rows += 1
        for problem in problems:
            self.found.problems[problem] += 1
            if len(self.found.samples) < SAMPLES:
                self.found.samples.append(f"{file}:{number}: {problem}")

    def _take(self, row: Mapping[str, Any], columns: Mapping[str, str]) -> list[str]:
        """Adds the item of a row and returns what is wrong with it, empty if nothing is."""
        found = self.found
        try:
            item_id = text_of(row.get(columns.get("item_id", "")), "item_id")
        except BadEvent as error:
            return [str(error).split(";")[0] + "; write a text or a number"]
        if not item_id:
            return ["item_id is missing"]
        if item_id in self._known:
            return ["item_id is given twice: the first counts"]
        self._known.add(item_id)
        found.item_ids.append(item_id)
        return _describe(row, columns, found)


def _describe(
    row: Mapping[str, Any], columns: Mapping[str, str], found: CatalogueFile
) -> list[str]:
    """Adds the title and the categories of the newest item; returns what is wrong with them."""
    problems = []
    named = columns.get("categories", "")
    written = row.get(named)
    if inner := columns.get("subcategory"):
        written = [[name for name in (written, row.get(inner)) if name]]
    title, categories = "", None
    try:
        title = title_of(row.get(columns.get("title", "")), "title")
    except BadEvent:
        problems.append("title is no text: the item_id stands in")
    else:
        problems += [] if title else ["title is missing: the item_id stands in"]
    try:
        categories = categories_in(written, named)
    except BadEvent as error:
        problems.append(f"{error}: the item has none")
    found.titles.append(title or found.item_ids[-1])
    found.categories.append(tuple(categories or ()))
    if looks_like_several(categories or ()):
        found.assumed[ONE_NAME] += 1
    return problems


def _latin_1(cell: str) -> str:
    return cell.encode("utf-8", "surrogateescape").decode("latin-1")


@lru_cache(maxsize=1_000)
def _columns(names: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """Returns {field: key} of an object with these keys, and keys that look useful and are not."""
    plain = {plain_name(name): name for name in reversed(names)}
    found: dict[str, str] = {}
    for each in FIELDS:
        others = _OTHER_NAMES[each]
        if each == "categories":
            others = tuple(name for name in others if plain.get(name, "").endswith(":token_seq"))
        known = (each, *SYNONYMS[each], *others)
        name = next((plain[name] for name in known if name in plain), None)
        if name is not None:
            found[each] = name
    return found, unread_columns(names, found.values())
