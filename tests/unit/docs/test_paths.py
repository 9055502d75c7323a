"""The maps name every room of the packages, and every file of the pipeline."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

import models
import stream
from stream import pipeline
from tests.support.pages import DOCS, ROOT, text_of

EVENT = text_of(DOCS / "understand/path-of-an-event.md")


def test_the_path_of_an_event_is_the_pipeline_file_by_file() -> None:
    table = "\n".join(re.findall(r"^\|.*\|$", EVENT, re.MULTILINE))
    named = set(re.findall(r"\]\(../../stream/pipeline/(\w+)\.py\)", table))
    files = {path.stem for path in (ROOT / "stream/pipeline").glob("*.py")} - {"__init__"}
    assert named == files


def test_the_files_are_met_in_the_order_in_which_the_room_says_to_read_them() -> None:
    rows = re.findall(r"^\| (\d+) \| \[(\w+)\.py\]", EVENT, re.MULTILINE)
    hops = [int(hop) for hop, _ in rows]
    assert hops == sorted(hops)
    assert set(hops) == set(range(1, 9))
    said = (pipeline.__doc__ or "").partition("Read the files in this order:")[2].partition(".")[0]
    assert list(dict.fromkeys(file for _, file in rows)) == re.findall(r"`(\w+)`", said)


@pytest.mark.parametrize("package", [stream, models], ids=lambda package: package.__name__)
def test_the_maps_of_a_package_name_its_rooms(package: ModuleType) -> None:
    folder = ROOT / package.__name__
    rooms = {path.parent.name for path in folder.glob("*/__init__.py")}
    drawn = set(re.findall(r"^ {4}(\w+)/", package.__doc__ or "", re.MULTILINE))
    architecture = text_of(DOCS / "understand/architecture.md")
    linked = set(re.findall(rf"\]\(../../{package.__name__}/(\w+)\)", architecture))
    assert drawn == rooms
    assert linked == rooms
