"""Writes many JSON objects at once, column by column, with no Python object for any piece of them.

Most of an update is the same for every user, or one of a few names, so the texts of a thousand
updates are joined from prepared pieces. A column is U byte strings, one for each object; `repeat`
stands for a column whose pieces are all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any, Final

import numpy as np
import orjson

Array = np.ndarray[Any, Any]
Column = Iterable[bytes]

_TO_ESCAPE: Final = re.compile(rb'["\\\x00-\x1f]')


def json_text(value: Any) -> bytes:
    """Returns the JSON of one value."""
    return orjson.dumps(value)


def numbers(values: Array) -> list[bytes]:
    """Returns the JSON of each number, row by row."""
    if not values.size:
        return []
    flat = np.ascontiguousarray(values).ravel()
    return orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def rounded(values: Array, digits: int) -> Array:
    """Returns float64 values, so that 0.1 is written as 0.1; never a negative zero."""
    close: Array = np.round(values.astype(np.float64), digits) + 0.0
    return close


def quoted(texts: Sequence[bytes]) -> list[bytes]:
    """Returns the JSON strings of UTF-8 texts."""
    if _TO_ESCAPE.search(b"".join(texts)):
        return [json_text(text.decode()) for text in texts]
    return [b'"%b"' % text for text in texts]


def list_columns(present: Array, columns_of: Callable[[int], list[Column]]) -> list[Column]:
    """Returns the inside of a JSON list of objects, slot after slot, absent ones left out.

    present: bool [U, slots]; columns_of(slot): the columns of an object without its closing brace.
    """
    whole, later = bool(present.all()), present & (present.cumsum(1) > 1)
    columns: list[Column] = []
    for slot in range(present.shape[1]):
        pieces = columns_of(slot)
        if whole:
            columns += [repeat(b"," if slot else b""), *pieces, repeat(b"}")]
        else:
            there = present[:, slot].tolist()
            columns.append([b"," if comma else b"" for comma in later[:, slot].tolist()])
            columns += [_where(there, piece) for piece in (*pieces, repeat(b"}"))]
    return columns


def _where(there: list[bool], column: Column) -> list[bytes]:
    return [text if is_there else b"" for is_there, text in zip(there, column, strict=False)]
