"""Turns what JSON, cells and Python literals hold into texts and categories, or says why not.

An object or a list is never printed into a text: it is refused with the path to the value inside
it, or read by that path. Nothing here reads a file.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec

from stream.contracts.faults import BadEvent, fault_of

MOST_LITERAL: Final = 65_536
"""Characters of a Python literal; Python's own reader takes much memory for each."""

MAX_DEPTH: Final = 16
"""Lists and objects inside each other, in values that are looked into."""

PATHS: Final = 30
"""Paths of an object that are named."""

_NAMES: Final = ("name", "title", "label", "category", "value")
"""Keys under which an object says what a category is called."""

NOTHING: Final = frozenset(("nan", "none", "null", "n/a", "\\n", "undefined", "nil"))
"""What programs write, in small letters, where there is no value."""

_NO_CATEGORY: Final = NOTHING | {"(no genres listed)"}  # MovieLens writes the last

ONE_NAME: Final = (
    "have a category that looks like several and is read as one name: | separates names, "
    '" > " levels, and nothing else does'
)
_SEPARATED: Final = re.compile(r";|, |[»›→\\\t\n]|->|::|&gt;|[^ >]>|>[^ >]|\S / \S")
"""What stands between names, or levels, in other people's categories, and may stand in one."""

_BEGINS_A_LIST: Final = re.compile(r"""[\[({]\s*['"\[({]""")
"""How a list or an object begins that was written into a text, whole or not."""

_NEXT_TO_EACH_OTHER: Final = re.compile(r"""['"]\s*['"]""")
"""Where two strings may stand side by side, which Python reads as one."""

_decode: Final = msgspec.json.Decoder().decode


def read_object(line: bytes) -> dict[str, Any]:
    """Returns the object of a line of JSON, or of a Python literal (single quotes); BadEvent."""
    try:
        found = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        found = python_literal(line.decode("utf-8", "replace")) if is_literal(line) else None
        if found is None:
            raise fault_of(line, error) from None
    if not isinstance(found, dict):
        raise BadEvent("not-object", "the line is no JSON object")
    return found


def is_literal(line: bytes) -> bool:
    """Returns whether a line begins as a Python dictionary does, with a key in single quotes."""
    return line.lstrip()[:1] == b"{" and line.lstrip()[1:].lstrip()[:1] == b"'"


def python_literal(text: str) -> Any:
    """Returns the lists, dictionaries and scalars that a short Python literal says, else None."""
    if len(text) > MOST_LITERAL:
        return None
    try:
        found = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if not _is_plain(found, 0) or _joins_strings(text.strip()):
        return None
    return _with_lists(found)


def parsed(text: str) -> Any:
    """Returns the object or list that a text holds as JSON or as a Python literal, else None."""
    text = text.strip()
    if text[:1] + text[-1:] not in ("{}", "[]", "()"):
        return None
    try:
        found = _decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        found = python_literal(text)
    return found if isinstance(found, dict | list) else None


def text_of(value: Any, field: str, column: str = "") -> str:
    """Returns the text of a scalar, empty for none.

    Raises BadEvent for an object, a list, and a text that holds one: it names field and fix.
    """
    if isinstance(value, str):
        inner = parsed(value) if value[:1] in ("{", "[") else None
        if inner is None:
            return value.strip()
        value = inner
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**64:
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, int):
        what = "true or false" if isinstance(value, bool) else "a number of over 64 bits"
        raise BadEvent("wrong-type", f"{field} is {what}; write it as a text")
    what = "an object" if isinstance(value, Mapping) else "a list"
    path = ".".join(next(leaves(value), ("PATH",)))
    raise BadEvent(
        "wrong-type",
        f"{field} is {what}; name the value inside it, such as "
        f"--columns {field}={column or field}.{path}",
    )


def title_of(value: Any, field: str, column: str = "") -> str:
    """Returns the text of a title or a query: brackets may stand in it, objects may not."""
    return value.strip() if isinstance(value, str) else text_of(value, field, column)


def at_path(value: Any, path: Sequence[str]) -> Any:
    """Returns what lies at a path through objects, lists (by number) and texts of JSON, or None."""
    for name in path:
        if isinstance(value, str):
            value = parsed(value)
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def leaves(value: Any, depth: int = 0) -> Iterator[tuple[str, ...]]:
    """Yields the paths to the scalars in an object or list; of a list only the first element."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        value = parsed(value) or value
    inside: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        inside = [(str(name), each) for name, each in value.items()]
    elif isinstance(value, list):
        inside = [("0", each) for each in value[:1]]
    if depth < MAX_DEPTH:
        for name, each in inside:
            if isinstance(each, str | Mapping | list):
                found = list(leaves(each, depth + 1))
                yield from ((name, *path) for path in found or [()])
            else:
                yield (name,)


def categories_of(value: Any) -> list[str] | None:
    """Returns the categories in any of their usual spellings, None if there are none.

    A list; a text that separates them by `|`; a list or object as a text, in JSON or as Python
    writes it; objects with a name. A list inside the list is one path, its general level first, and
    "a > b" with spaces is one, too. What programs write for no value (nan, null) is none. Raises
    BadEvent for anything else.
    """
    return _categories(value, 0) or None


def categories_of_tokens(value: Any) -> list[str] | None:
    """Returns the categories of a cell in which spaces separate them, as RecBole has it.

    Its converters also write quoted names, a list, or commas: then spaces belong to the names.
    Raises BadEvent.
    """
    if not isinstance(value, str):
        return categories_of(value)
    text = value.strip()
    if text[:1] in ("'", '"'):
        return categories_of(parsed(f"[{text}]") or text)
    if text[:1] in ("[", "{", "(") or "|" in text:
        return categories_of(text)
    return categories_of(text.split(", ") if ", " in text else text.split())


def categories_of_codes(value: Any) -> list[str] | None:
    """Returns the category of a cell that is a path with dots, such as electronics.smartphone."""
    return categories_of(value.replace(".", " > ") if isinstance(value, str) else value)


def looks_like_several(categories: Iterable[str]) -> bool:
    """Returns whether a name may have been meant as several, which is told with ONE_NAME."""
    return any(map(_SEPARATED.search, categories))


def _categories(value: Any, depth: int) -> list[str]:
    if depth > MAX_DEPTH:
        raise BadEvent("wrong-type", "categories: lists nest too deep; give a list of names")
    if value is None:
        return []
    if isinstance(value, str):
        text = value.strip()
        if text[:1] + text[-1:] in ("{}", "[]") or _BEGINS_A_LIST.match(text):
            inner = parsed(text)
            if inner is None:
                raise BadEvent(
                    "wrong-type",
                    "categories look like a list or an object and are neither JSON nor Python; "
                    'write ["one", "another"], or one|another',
                )
            return _categories(inner, depth + 1)
        return [name for each in text.split("|") for name in _named(each)]
    if isinstance(value, list):
        return [name for each in value for name in _element(each, depth + 1)]
    if isinstance(value, Mapping):
        name = next((value[key] for key in _NAMES if value.get(key)), None)
        if not isinstance(name, str):
            raise BadEvent(
                "wrong-type",
                "categories hold an object without a name; give names, or objects with a name",
            )
        return _named(name)
    if isinstance(value, bool):
        raise BadEvent("wrong-type", "categories are true or false; give a list of names")
    return [text_of(value, "categories")]


def _element(value: Any, depth: int) -> list[str]:
    """Returns the names that an element of a list stands for; a list in a list is one path."""
    if isinstance(value, list):
        levels = [name for each in value for name in _element(each, depth + 1)]
        return [" > ".join(levels)] if levels else []
    if isinstance(value, str) and value.strip()[:1] not in ("{", "[", "("):
        return _named(value)
    return _categories(value, depth)


def _named(text: str) -> list[str]:
    """Returns the name that a text is, none where it is what programs write for no value."""
    name = text.strip()
    return [name] if name and name.lower() not in _NO_CATEGORY else []


def _joins_strings(literal: str) -> bool:
    """Returns whether two strings stand side by side in a Python literal, as NumPy writes lists.

    Python joins them: ['Action' 'Comedy'] would be one category.
    """
    if not _NEXT_TO_EACH_OTHER.search(literal):
        return False
    kinds = [each.type for each in tokenize.generate_tokens(io.StringIO(literal).readline)]
    kinds = [kind for kind in kinds if kind != tokenize.NL]
    return any(one == other == tokenize.STRING for one, other in pairwise(kinds))


def _with_lists(value: Any) -> Any:
    """Returns a value with its tuples as lists."""
    if isinstance(value, dict):
        return {name: _with_lists(each) for name, each in value.items()}
    return [_with_lists(each) for each in value] if isinstance(value, list | tuple) else value


def _is_plain(value: Any, depth: int) -> bool:
    """Returns whether a value holds what JSON could say, and not too deep."""
    if depth > MAX_DEPTH:
        return False
    if isinstance(value, dict):
        return all(
            isinstance(name, str) and _is_plain(each, depth + 1) for name, each in value.items()
        )
    if isinstance(value, list | tuple):
        return all(_is_plain(each, depth + 1) for each in value)
    return value is None or isinstance(value, str | int | float)
