"""The Markdown pages of the repository, taken apart for the tests of tests/unit/docs."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.md")),
    *sorted(DOCS.rglob("*.md")),
]


def name_of(page: Path) -> str:
    """Returns the path of a page in the repository."""
    return page.relative_to(ROOT).as_posix()


def text_of(page: Path) -> str:
    """Returns the text of a page."""
    return page.read_text(encoding="utf-8")


def blocks_in(text: str, kind: str | None = None) -> list[str]:
    """Returns the fenced blocks of a text, or those of one language."""
    return [block for found, block in FENCED.findall(text) if kind is None or found == kind]


def blocks(page: str, kind: str) -> list[str]:
    """Returns the fenced blocks of one language on a page, which is named by its path."""
    return blocks_in(text_of(ROOT / page), kind)


def without_blocks(text: str) -> str:
    """Returns a text without its fenced blocks."""
    return FENCED.sub("", text)


def words_of(text: str) -> list[str]:
    """Returns the words of a text; marks that stand alone, such as bars of a table, are none."""
    return [word for word in text.split() if any(letter.isalnum() for letter in word)]


def command_lines(text: str) -> list[str]:
    """Returns what stands behind `interest-stream` in blocks and in code within a line."""
    lines = re.sub(
        r"\\\n\s*", "", "\n".join(blocks_in(text))
    )  # a command may go on on the next line
    found = re.findall(r"^interest-stream (.+)$", lines, re.MULTILINE)
    found += re.findall(r"`interest-stream ([^`\n]+)`", without_blocks(text))
    return [line for line in found if not set("<…{[") & set(line)]  # those stand for something


def anchors(text: str) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
