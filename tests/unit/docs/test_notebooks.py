"""Notebooks of docs/ are committed clean, and their links hold; tests/kafka runs their cells."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.notebooks import cells_of
from tests.support.pages import DOCS, name_of, text_of

NOTEBOOKS = sorted(DOCS.rglob("*.ipynb"))
every_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name_of)


@every_notebook
def test_a_notebook_holds_nothing_that_a_run_has_left(notebook: Path) -> None:
    cells = cells_of(notebook)
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in cells}) == len(cells)
    assert json.loads(text_of(notebook))["nbformat"] == 4


@every_notebook
def test_a_notebook_links_to_what_there_is(notebook: Path) -> None:
    texts = [cell["source"] for cell in cells_of(notebook) if cell["cell_type"] == "markdown"]
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", "\n".join(texts))
    assert links
    assert all((notebook.parent / link).exists() for link in links)
