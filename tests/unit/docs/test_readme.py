"""The two READMEs say the same, and what they show is what the repository has."""

from __future__ import annotations

import ast
import json
import re

import pytest

from tests.support.contracts import faults, schema
from tests.support.pages import FENCED, ROOT, blocks_in, command_lines, text_of

ENGLISH = text_of(ROOT / "README.md")
CHINESE = text_of(ROOT / "README.zh-CN.md")
MEASURED = re.compile(r"<!-- measured:begin -->\n(.*?)<!-- measured:end -->", re.DOTALL)
PARTS = ["## Two commands", "## Your own data", "## Subscribe", "## What is promised"]


def without_remarks(block: str) -> list[str]:
    """Returns the lines of a block of commands; remarks are in the language of their README."""
    return [re.sub(r"\s*#.*", "", line) for line in block.splitlines()]


def code_blocks(readme: str) -> list[tuple[str, object]]:
    """Returns the blocks of a README in what has to be equal in every language."""
    return [
        (kind, block if kind else without_remarks(block)) for kind, block in FENCED.findall(readme)
    ]


def links(readme: str) -> set[str]:
    """Returns the files that a README links to, the other README left out."""
    found = re.findall(r"\]\((?!https?:)([^)#\s]+)", MEASURED.sub("", readme))
    return {each for each in found if not each.startswith("README")}


def test_it_is_read_in_five_minutes() -> None:
    assert 600 <= len(ENGLISH.split()) <= 800


def test_it_has_the_parts_that_a_reader_looks_for() -> None:
    assert [part for part in PARTS if part not in ENGLISH] == []
    assert MEASURED.search(ENGLISH)
    assert "docs/demo.svg" in ENGLISH
    assert "(LICENSE)" in ENGLISH


def test_it_has_commands() -> None:
    assert len(command_lines(ENGLISH)) > 6


def test_the_chinese_readme_has_the_same_commands_and_code() -> None:
    assert code_blocks(CHINESE) == code_blocks(ENGLISH)


def test_the_chinese_readme_has_the_same_parts_and_links() -> None:
    assert len(re.findall(r"^## ", CHINESE, re.M)) == len(re.findall(r"^## ", ENGLISH, re.M))
    assert links(CHINESE) == links(ENGLISH)


@pytest.mark.parametrize("text", blocks_in(ENGLISH, "python"))
def test_the_python_compiles(text: str) -> None:
    ast.parse(text)


def test_the_sample_update_is_as_the_schema_says_but_shortened() -> None:
    (text,) = blocks_in(ENGLISH, "json")
    update = json.loads(text)
    assert update.keys() <= schema("update-1")["properties"].keys()
    assert all("is a required property" in fault for fault in faults("update-1", update))


def test_it_names_the_required_fields_of_an_event() -> None:
    for field in [*schema("event-1")["required"], "item_id", "title", "query"]:
        assert f"`{field}`" in ENGLISH
        assert f"`{field}`" in CHINESE
