"""Finds which column of other people's tables, or key of their objects, is which field.

A column is found by the name that --columns gives it, else by the contract's name, else by another
usual name. --columns may name a path into an object (`user.$oid`), the place of a column in a table
without a header (`user_id=1`), or nothing (`title=`: no column is the title). Nothing here reads a
file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from stream.errors import DataError, UsageError
from stream.files.values import PATHS, at_path, leaves
from stream.formats.usual_names import SYNONYMS

REVIEW_TEXTS: Final = (
    "text",
    "review",
    "review_text",
    "reviewtext",
    "review_body",
    "verified_purchase",
    "helpful_vote",
    "helpful",
)
"""Columns beside a rating by which a table is one of reviews, whose `title` is the review's."""

_TYPED: Final = re.compile(r":(token|token_seq|float|float_seq)$")
"""The types that RecBole writes behind the names of columns."""

_USEFUL: Final = re.compile(
    r"(^|_)(id|uid|user|visitor|customer|item|product|sku|session|time|timestamp|ts|date|day|at"
    r"|action|event|behaviou?r|type|genres?|category|categories|tags?|class|topics?|keywords?"
    r"|department|taxonomy|label|clicked|is_click)(_|$)"
)
"""Names of columns that look like ids, times, actions or categories: told when not read.

Where a label or `clicked` is 0 the row is something shown that nobody clicked."""

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def parse_mapping(text: str | None) -> dict[str, str]:
    """Reads `user_id=visitor,item_id=sku` as {field: column}; an empty column means "none".

    Raises UsageError naming the pair that cannot be read.
    """
    mapping: dict[str, str] = {}
    for pair in filter(None, (text or "").split(",")):
        field, equals, column = (word.strip() for word in pair.partition("="))
        field = next(
            (name for name, others in SYNONYMS.items() if field == name or field in others), ""
        )
        if not (field and equals) or (field == "user_id" and not column):
            raise UsageError(
                f"--columns: {pair.strip()!r} is not FIELD=COLUMN "
                f"with one of the fields {', '.join(SYNONYMS)}; "
                "write for example --columns user_id=visitor,item_id=sku "
                "(user_id=user.$oid for a value inside an object, user_id=1 for a place in a table "
                "without a header, title= for no column)"
            )
        mapping[field] = column
    return mapping


def match_columns(
    names: Sequence[str],
    mapping: Mapping[str, str],
    file: str,
    example: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Returns {field: column of this file}, where a column may be a path.

    `example` is an object with these names. Raises DataError that lists the columns found and how
    to map them.
    """
    plain = {plain_name(name): name for name in reversed(names)}
    found: dict[str, str] = {}
    for field, others in SYNONYMS.items():
        if field in mapping:
            column = mapping[field]
            if column and path_of(column, names) is None:
                raise DataError(
                    f"{file}: --columns says {field}={column}, "
                    f"but its columns are {_listed(names, example)}; name one of those"
                )
            if column:
                found[field] = column
            continue
        named = next((plain[name] for name in (field, *others) if name in plain), None)
        if named is not None and named not in mapping.values():
            found[field] = named
    if "title" not in mapping and is_review(names, found):
        found.pop("title", None)
    missing = [] if "user_id" in found else ["user_id"]
    if not found.keys() & {"item_id", "title", "query"}:
        missing.append("item_id")
    if missing:
        raise DataError(
            f"{file}: no column is recognised as {' or as '.join(missing)}; "
            f"its columns are {_listed(names, example)}. Say which is which with "
            f"--columns {','.join(f'{field}=COLUMN' for field in missing)}"
        )
    return found


def path_of(column: str, names: Sequence[str]) -> tuple[str, ...] | None:
    """Returns the column that --columns names and the path inside it, None if there is none.

    A name with dots in it comes first, then the longest one that the path begins with.
    """
    plain = {plain_name(name): name for name in reversed(names)}
    words = column.split(".")
    for end in range(len(words), 0, -1):
        begin = ".".join(words[:end])
        name = begin if begin in names else plain.get(plain_name(begin))
        if name is not None:
            return (name, *words[end:])
    return None


def is_review(names: Sequence[str], found: Mapping[str, str]) -> bool:
    """Returns whether a table is one of reviews: its `title` is no item's, so it is not read."""
    plain = {plain_name(name) for name in names}
    return (
        plain_name(found.get("title", "")) == "title"
        and bool(plain & {"rating", "stars", "overall", "star_rating"})
        and bool(plain & set(REVIEW_TEXTS))
    )


def unread_columns(names: Iterable[str], used: Iterable[str]) -> list[str]:
    """Returns the columns that look like ids, times, actions or categories and are not read."""
    used = set(used)
    return [
        name
        for name in names
        if name not in used and _USEFUL.search(plain_name(_CAMEL.sub("_", name)))
    ]


def looks_like_data(cells: Sequence[str]) -> bool:
    """Returns whether the first line of a table is no header: a number or time stands in it.

    One known name of a column makes it a header.
    """
    known = {name for field, others in SYNONYMS.items() for name in (field, *others)}
    return not any(plain_name(cell) in known for cell in cells) and any(
        _NUMBER.fullmatch(cell.strip()) or _DAY.match(cell.strip()) for cell in cells
    )


def by_place(mapping: Mapping[str, str], names: Sequence[str]) -> bool:
    """Returns whether --columns names columns by their place: 1, 2, ..., which are no names."""
    columns = [column for column in mapping.values() if column]
    places = bool(columns) and all(column.isdecimal() for column in columns)
    return places and (looks_like_data(names) or not set(columns) & set(names))


def plain_name(name: str) -> str:
    """Returns a column's name in small letters, with underscores, without the type behind it."""
    return _TYPED.sub("", name.strip().lower()).replace(" ", "_").replace("-", "_")


def path_values(row: Mapping[str, Any], paths: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Returns {field: value} of a row, by the path of each field."""
    return {
        field: row.get(path[0]) if len(path) == 1 else at_path(row, path)
        for field, path in paths.items()
    }


def _listed(names: Sequence[str], example: Mapping[str, Any] | None = None) -> str:
    """Returns the names of columns for a message; of an object the paths to what lies inside."""
    if example is not None:
        names = [".".join(path) for path in islice(leaves(example), PATHS + 1)]
    return ", ".join(names[:PATHS]) + (", ..." if len(names) > PATHS else "")
