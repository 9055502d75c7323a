"""Pages cannot go stale: their links, commands, targets of make and paths are the repository's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.command_lines import parses
from tests.support.pages import (
    DOCS,
    PAGES,
    ROOT,
    anchors,
    command_lines,
    name_of,
    text_of,
    without_blocks,
    words_of,
)

MOST_WORDS = 1_800
HISTORY = {ROOT / "CHANGELOG.md"}
"""Pages that may name what does not exist any more."""

PLACEHOLDER = re.compile(r".*\bNAME\b.*")
"""Names that a reader fills in."""

CODE = [
    path
    for folder in ("stream", "models", "interest_stream", "tests", "deploy", ".ci")
    for path in (ROOT / folder).rglob("*")
    if "tests/unit/docs" not in path.as_posix()
    and ".environment" not in path.parts  # the peers' libraries, where benchmarks ran
    and path.suffix in {".py", ".yml", ".yaml", ".sh", ".hex", ".md"}
]
every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


@every_page
def test_every_command_line_parses(page: Path) -> None:
    for line in command_lines(text_of(page)):
        parses(line)


@every_page
def test_every_target_of_make_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = re.findall(r"(?:^|`)make ([a-z][a-z-]+)(?=[`\s])", text_of(page), re.MULTILINE)
    assert set(named) <= targets


@every_page
def test_every_linked_file_and_section_exists(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)\s]+)\)", without_blocks(text_of(page)))
    for target in links:
        name, _, section = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        assert not section or section in anchors(text_of(linked)), target


@every_page
def test_links_between_pages_name_a_file(page: Path) -> None:
    """A folder has no page on the site; its README has."""
    if DOCS not in page.parents:
        return
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", without_blocks(text_of(page))):
        linked = (page.parent / target).resolve()
        assert not (linked.is_dir() and DOCS in linked.parents), target


@every_page
def test_every_path_named_in_the_text_exists(page: Path) -> None:
    if page in HISTORY or DOCS / "measured" in page.parents:
        return
    named = re.findall(
        r"(?<![\w./-])((?:stream|models|interest_stream|tests|docs|deploy)/[\w./-]*\w)",
        without_blocks(text_of(page)),
    )
    missing = {
        path for path in named if not ((ROOT / path).exists() or PLACEHOLDER.fullmatch(path))
    }
    assert not missing


@every_page
def test_every_row_of_a_table_has_the_cells_of_its_head(page: Path) -> None:
    for table in re.findall(r"(?:^\|.*\|$\n?)+", without_blocks(text_of(page)), re.MULTILINE):
        lines = table.splitlines()
        rows = [len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", line))) for line in lines]
        assert set(rows) == {rows[0]}, table
        assert re.fullmatch(r"\|(?:\s*:?-+:?\s*\|)+", lines[1]), table


@every_page
def test_no_page_is_too_long_to_be_read(page: Path) -> None:
    if page in HISTORY:
        return
    assert len(words_of(text_of(page))) <= MOST_WORDS


def test_pages_that_code_names_exist() -> None:
    missing = []
    for path in CODE:
        text = path.read_text(encoding="utf-8")
        named = set(re.findall(r"docs/[\w./-]+\.md", text))
        named |= set(re.findall(r"docs/understand/[\w./-]*\w", text))
        missing += [
            f"{name_of(path)}: {page}"
            for page in named
            if not ((ROOT / page).exists() or PLACEHOLDER.fullmatch(page))
        ]
    assert not missing


def test_nothing_cites_what_is_not_in_the_repository() -> None:
    forbidden = "DESIGN" + ".md"
    every = [*CODE, *PAGES]
    assert not [name_of(path) for path in every if forbidden in path.read_text(encoding="utf-8")]
