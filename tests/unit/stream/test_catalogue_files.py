"""Catalogues and taxonomies from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.catalogue_files import read_catalogue, read_taxonomy
from stream.errors import DataError


def test_items_and_what_was_wrong_with_lines(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    lines = [
        '{"item_id": "a", "title": "Tent", "categories": ["Outdoor > Tents", "Sale"]}',
        '{"item_id": 7, "title": " ", "categories": "Books|Maps"}',
        '{"item_id": "a", "title": "Another"}',
        '{"title": "No id"}',
        "[1]",
        "{",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    found = read_catalogue([path])
    assert found.item_ids == ["a", "7"]
    assert found.titles == ["Tent", "7"]
    assert found.categories == [("Outdoor > Tents", "Sale"), ("Books", "Maps")]
    assert found.problems == {
        "title is missing: the item_id stands in": 1,
        "item_id is given twice: the first counts": 1,
        "item_id is missing": 1,
        "not a JSON object": 1,
        "not JSON": 1,
    }
    assert found.samples[1] == f"{path}:3: item_id is given twice: the first counts"


def test_a_file_without_items_shows_what_a_line_must_be(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text("item_id,title\na,Tent\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r'no item found \(.*items.csv:1: not JSON\); give JSON lines such as \{"item_id"'
    ):
        read_catalogue([path])


def test_taxonomies_are_a_name_a_line_or_a_column_of_a_table(tmp_path: Path) -> None:
    plain, table, one = tmp_path / "plain.txt", tmp_path / "table.tsv", tmp_path / "one.txt"
    plain.write_text("# interests\nOutdoor > Tents\nBooks\nBooks\n", encoding="utf-8")
    table.write_text("id\tpath\n1\tOutdoor\n2\tOutdoor > Tents\n", encoding="utf-8")
    one.write_text("Books\n", encoding="utf-8")
    assert read_taxonomy(plain) == ["Outdoor > Tents", "Books"]
    assert read_taxonomy(table) == ["Outdoor", "Outdoor > Tents"]
    with pytest.raises(DataError, match="holds 1 interests"):
        read_taxonomy(one)
