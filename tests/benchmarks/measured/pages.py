"""Writes the tables of README and docs/measured from the rows, and nothing else of these pages.

A table stands between `<!-- measured:begin NAME -->` and `<!-- measured:end -->`. NAME says which;
the markers of README have none. A table whose rows are missing says so, instead of keeping an older
figure.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tests.benchmarks.measured.figures import Figures
from tests.benchmarks.measured.readme import readme
from tests.benchmarks.measured.rows import ROOT, ROWS
from tests.benchmarks.measured.tables import TABLES

BLOCK: Final = re.compile(
    r"(<!-- measured:begin ?([\w -]*?) ?-->\n)(.*?)(<!-- measured:end -->)", re.DOTALL
)
PAGES: Final = (
    "README.md",
    "README.zh-CN.md",
    *sorted(
        place.relative_to(ROOT).as_posix() for place in (ROOT / "docs" / "measured").glob("*.md")
    ),
)


def rendered(page: str, text: str, folder: Path = ROWS) -> str:
    """Returns the page with each of its tables written anew.

    Raises KeyError for a table that nobody knows.
    """
    figures = Figures(folder)

    def block(found: re.Match[str]) -> str:
        name = found[2].strip()
        lines = readme(page, figures) if not name else TABLES[name](figures)
        return found[1] + "\n".join(lines) + "\n" + found[4]

    return BLOCK.sub(block, text)
