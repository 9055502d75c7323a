"""Reads interests in words, for `--zero-shot`.

They stand in a text file, a phrase a line, or in the mapping that `interest-stream match` wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from stream.errors import DataError
from stream.files.catalogue import read_taxonomy
from stream.files.lines import read_lines

Array = np.ndarray[Any, Any]

MOST = 2_000
"""Phrases; every user is scored for all of them."""


class Mapping(msgspec.Struct):
    """Holds a line of a mapping: a phrase and the items that belong to it."""

    interest: str
    items: list[str]


def read_phrases(path: Path, items: Sequence[str]) -> tuple[list[str], Array | None]:
    """Returns the P phrases of a file, and which of the V items belong to them, bool [V, P].

    The latter is None when the file holds phrases only. Raises DataError.
    """
    first = next((line for _, line in read_lines(path) if line.strip()), b"")
    if not first.lstrip().startswith(b"{"):
        names, belongs = read_taxonomy(path, least=1), None
    else:
        names, belongs = _read_mapping(path, items)
    if len(names) > MOST:
        raise DataError(f"{path}: holds {len(names)} phrases; at most {MOST} are scored")
    return names, belongs


def _read_mapping(path: Path, items: Sequence[str]) -> tuple[list[str], Array]:
    """Returns phrases and bool [V, P] of a mapping, without items that the model does not know."""
    place = {item_id: number for number, item_id in enumerate(items)}
    decode = msgspec.json.Decoder(Mapping).decode
    names: list[str] = []
    columns: list[Array] = []
    for number, line in read_lines(path):
        try:
            mapping = decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise DataError(f"{path}:{number}: not a line of interest and items: {error}") from None
        column = np.zeros(len(items), bool)
        column[[place[item_id] for item_id in mapping.items if item_id in place]] = True
        names.append(mapping.interest)
        columns.append(column)
    if not any(column.any() for column in columns):
        raise DataError(
            f"{path}: none of its items is in the model's catalogue; make it again with this model"
        )
    return names, np.stack(columns, axis=1)
