"""Makes tables and prose of Markdown that nothing in them can break."""

from __future__ import annotations

import re
from typing import Any

Row = tuple[str, ...]


def table(head: Row, rows: Any) -> str:
    """Returns a Markdown table whose cells hold neither line breaks nor bare bars."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell(each) for each in line)} |" for line in lines)


def cell(text: object) -> str:
    """Returns a text that cannot end its cell, with bare addresses and placeholders as code."""
    return as_text(" ".join(str(text).split())).replace("|", "\\|")


def as_text(text: str) -> str:
    """Returns prose in which what looks like a tag is written as code."""
    return re.sub(r"(?<!`)(\w*<[\w ]+>[\w-]*)(?!`)", r"`\1`", text)
