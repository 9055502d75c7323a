"""Reads the files of a model directory and checks each by its hash; no torch, which takes seconds.

What is in them, and how they are written: models/model_directory.py.

Glossary: V items (row 0: unknown), C interests.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from models.contract import DEMO_MODEL
from models.errors import ModelDirectoryError
from models.llm import HOSTED
from models.text_block import TextBlock

Array = np.ndarray[Any, Any]

FORMAT: Final = 2
MEANING: Final = ("config.json", "vocabulary.json", "catalogue.jsonl", "weights.safetensors")
"""Files that say what a state or a score means; the fingerprint is of them."""
CELLS: Final = "cells.safetensors"
"""Says where the items of a large catalogue lie; who lacks it finds the same at each start."""
MAX_BYTES: Final = 4 << 30
"""A larger file is none of ours."""
AGAIN: Final = "copy the directory again, or train again"


@dataclass(frozen=True)
class Description:
    """Holds what a model directory says of itself; its weights are not read."""

    fingerprint: str
    titles: dict[str, str]  # by item_id
    interests: dict[str, tuple[str, ...]]  # by item_id
    report: dict[str, Any]  # empty if there is none


class CatalogueLine(msgspec.Struct):
    """Holds a line of catalogue.jsonl."""

    item_id: str
    title: str
    interests: list[int]


class Catalogue(NamedTuple):
    """Holds what catalogue.jsonl says, in row order; of a million items 100 MB."""

    items: TextBlock
    titles: TextBlock
    membership: Array  # bool [V + 1, C], row 0 empty: which interests an item belongs to


def checked_files(
    path: Path, wanted: Collection[str] = (*MEANING, *HOSTED), unread: Collection[str] = ()
) -> dict[str, bytes]:
    """Returns the manifest and the wanted files by name, each as the manifest says.

    Those of a language model, and the cells, are left out where there are none. unread: files that
    are checked as well, piece by piece, and not returned. Raises ModelDirectoryError, which names
    the file.
    """
    # the manifest says which files there are
    if not (path / "manifest.json").is_file():
        raise ModelDirectoryError(
            f"{path} is not a model directory: it has no manifest.json; "
            "make one with 'interest-stream train'"
        )
    files = {"manifest.json": (path / "manifest.json").read_bytes()}
    try:
        manifest = json.loads(files["manifest.json"])
        if manifest["format"] != FORMAT:
            raise ModelDirectoryError(
                f"{path} has format {manifest['format']}, this version reads {FORMAT}; train again"
            )
        hashes = dict(manifest["sha256"])
        int(manifest["fingerprint"], 16)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelDirectoryError(
            f"{path / 'manifest.json'} is damaged: {error}; {AGAIN}"
        ) from error
    # each of them has to be what it was when it was written
    optional = (*HOSTED, CELLS)
    for file in (each for each in wanted if each not in optional or each in hashes):
        place = path / file
        if file == CELLS and not place.exists():
            continue
        if not place.is_file() or place.is_symlink() or place.stat().st_size > MAX_BYTES:
            raise ModelDirectoryError(f"{place} is missing, a link, or too large; {AGAIN}")
        if file in unread:
            with place.open("rb") as opened:
                found = file_digest(opened, "sha256").hexdigest()
        else:
            files[file] = place.read_bytes()
            found = sha256(files[file]).hexdigest()
        if found != hashes.get(file):
            raise ModelDirectoryError(f"{place} is not what manifest.json says (sha256); {AGAIN}")
    return files


def read_catalogue(data: bytes, interests: int) -> Catalogue:
    """Returns what the bytes of catalogue.jsonl say, of a model of that many interests.

    Raises ValueError for a line that cannot be used.
    """
    items, titles, belongs = TextBlock(), TextBlock(), bytearray(interests)
    for line in _lines(data):
        row = bytearray(interests)
        for interest in line.interests:
            if not 0 <= interest < interests:
                raise ValueError(
                    f"{line.item_id} belongs to interest {interest}, of {interests} that there are"
                )
            row[interest] = 1
        items.append(line.item_id)
        titles.append(line.title)
        belongs += row
    return Catalogue(items, titles, np.frombuffer(belongs, bool).reshape(len(items) + 1, interests))


def read_titles(path: Path | None) -> tuple[dict[str, str], Path | None]:
    """Returns titles by item_id, and where the language model was in training, if there is one.

    path: a model directory; None: the demo model.
    """
    files = checked_files(path or DEMO_MODEL, ("catalogue.jsonl", HOSTED[0]))
    place = Path(json.loads(files[HOSTED[0]])["path"]) if HOSTED[0] in files else None
    return {line.item_id: line.title for line in _lines(files["catalogue.jsonl"])}, place


def described(path: Path | None) -> Description:
    """Returns what a model directory says of itself; None: the demo model.

    Raises ModelDirectoryError.
    """
    place = path or DEMO_MODEL
    files = checked_files(place, ("config.json", "catalogue.jsonl"))
    names = json.loads(files["config.json"])["interests"]
    catalogue = list(_lines(files["catalogue.jsonl"]))
    try:
        report = json.loads((place / "report.json").read_bytes())
    except (OSError, ValueError):  # it changes nothing that the model says
        report = {}
    return Description(
        fingerprint=json.loads(files["manifest.json"])["fingerprint"],
        titles={line.item_id: line.title for line in catalogue},
        interests={
            line.item_id: tuple(names[each] for each in line.interests) for line in catalogue
        },
        report=report if isinstance(report, dict) else {},
    )


def _lines(data: bytes) -> Iterator[CatalogueLine]:
    """Yields the lines of catalogue.jsonl, one at a time: all of them take five times its size."""
    decoder = msgspec.json.Decoder(CatalogueLine)
    for number, line in enumerate(io.BytesIO(data), start=1):
        if line.strip():
            try:
                yield decoder.decode(line)
            except msgspec.DecodeError as error:
                raise ValueError(f"line {number} of catalogue.jsonl: {error}") from error
