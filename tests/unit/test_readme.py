"""README cannot go stale: its commands, targets, files, samples and snippets are those of the repository."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from stream.cli.root import COMMANDS
from tests.command_lines import parses
from tests.contracts import faults, schema

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = FENCED.findall(README)


def command_lines(page: Path) -> list[str]:
    """What stands behind `interest-stream` in code blocks and in code within a line."""
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(block for _, block in FENCED.findall(text))
    found = re.findall(r"^interest-stream (.+)$", blocks, re.MULTILINE)
    return found + re.findall(r"`interest-stream ([^`\n]+)`", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_line_of_a_page_parses(page: Path) -> None:
    for line in command_lines(page):
        if not set("<…{") & set(line):  # stands for something
            parses(line)


def test_the_readme_has_commands() -> None:
    assert len(command_lines(ROOT / "README.md")) > 8


def test_the_table_of_commands_is_complete() -> None:
    table = README[README.index("| command | does |") :].split("\n\n")[0]
    named = {
        word for cell in re.findall(r"^\| (.+?) \|", table, re.MULTILINE) for word in re.findall(r"`([\w-]+)", cell)
    }
    assert named == COMMANDS.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_target_of_make_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]+)(?=[`\s])", text, re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_linked_file_and_section_exists(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, section = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        if section:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert section in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}, target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_row_of_a_table_has_the_cells_of_its_head(page: Path) -> None:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    for table in re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE):
        rows = [len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", line))) for line in table.splitlines()]
        assert set(rows) == {rows[0]}, table
        assert re.fullmatch(r"\|(?:\s*:?-+:?\s*\|)+", table.splitlines()[1]), table


def test_the_snippets_of_python_compile() -> None:
    snippets = [text for kind, text in BLOCKS if kind == "python"]
    assert snippets
    for text in snippets:
        ast.parse(text)


def test_the_sample_update_is_as_the_schema_says_but_shortened() -> None:
    (text,) = (text for kind, text in BLOCKS if kind == "json")
    update = json.loads(text)
    assert update.keys() <= schema("update-1")["properties"].keys()
    assert all("is a required property" in fault for fault in faults("update-1", update))


def test_the_contract_section_names_the_required_fields() -> None:
    section = README[README.index("## The contracts") :].split("## What")[0]
    for field in [*schema("event-1")["required"], "item_id", "title", "query", "event_id"]:
        assert f"`{field}`" in section
