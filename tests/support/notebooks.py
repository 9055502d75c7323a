"""Runs the cells of a notebook in their order, as Jupyter does, without Jupyter."""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path
from typing import Any


def cells_of(path: Path) -> list[dict[str, Any]]:
    """Returns the cells of a notebook, the lines of each as one text."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [{**each, "source": "".join(each["source"])} for each in notebook["cells"]]


async def run_cells(path: Path, **parameters: Any) -> dict[str, Any]:
    """Runs the cells of code, the first one with other parameters; returns what they named.

    A cell may await, as in Jupyter, whose cells run within an event loop too.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(each for each in cells_of(path) if each["cell_type"] == "code"):
        code = compile(
            cell["source"], f"cell {number}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
        running = eval(code, names)
        if inspect.iscoroutine(running):
            await running
        if number == 0:
            names |= parameters
    return names
