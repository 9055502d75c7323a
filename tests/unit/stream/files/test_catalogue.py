"""Catalogues and taxonomies from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.errors import DataError
from stream.files.catalogue import read_catalogue, read_taxonomy
from stream.files.values import ONE_NAME


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
    path = tmp_path / "items.jsonl"
    path.write_text("{item_id,title\na,Tent\n", encoding="utf-8")
    with pytest.raises(
        DataError,
        match=r'no item found \(.*items.jsonl:1: not JSON\); give JSON lines such as \{"item_id"',
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


def test_catalogues_as_other_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / "items"
    path.write_text(
        "{'asin': 'B1', 'title': \"Men's lamp\", 'categories': [['Home', 'Lamps']]}\n"
        '{"movieId": 2, "title": "Rope", "genres": "Drama|Crime", "tags": "x"}\n'
        '{"item_id": {"$oid": "65bb"}, "title": "No id"}\n'
        '{"item_id": "c", "title": {"en": "Tent"}, "categories": [{"id": 3}]}\n'
        '{"item_id": "d", "title": "Box", "categories": "Home, Garden"}\n',
        encoding="utf-8",
    )
    found = read_catalogue([path])
    assert found.item_ids == ["B1", "2", "c", "d"]
    assert found.titles == ["Men's lamp", "Rope", "c", "Box"]
    assert found.categories == [("Home > Lamps",), ("Drama", "Crime"), (), ("Home, Garden",)]
    assert [problem.split(";")[0] for problem in found.problems] == [
        "item_id is an object",
        "title is no text: the item_id stands in",
        "categories hold an object without a name",
    ]
    assert found.notes == [
        "1 lines of the catalogue are written as Python writes objects: read as JSON",
        f"1 lines of the catalogue {ONE_NAME}",
        "keys of the catalogue that are not read: tags",
    ]


def test_a_catalogue_may_be_a_json_array(tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_text('[{"item_id": "a", "title": "Tent"},\n {"item_id": "b"}]', encoding="utf-8")
    found = read_catalogue([path])
    assert (found.item_ids, found.samples) == (
        ["a", "b"],
        [f"{path}:2: title is missing: the item_id stands in"],
    )


@pytest.mark.parametrize(
    "text",
    [
        'item_id,title,categories\na,"Tent, green",Outdoor > Tents > Small\nb,Map,Books|Maps\n',
        "sku;name;category\na;Tent, green;[\"Outdoor > Tents > Small\"]\nb;Map;['Books','Maps']\n",
        'product_id\titem_title\tgenres\na\tTent, green\t"[""Outdoor > Tents > Small""]"\n'
        "b\tMap\tBooks|Maps\n",
    ],
    ids=["commas", "semicolons", "tabs, as pandas quotes"],
)
def test_a_catalogue_may_be_a_table(tmp_path: Path, text: str) -> None:
    path = tmp_path / "items"
    path.write_text(text, encoding="utf-8")
    found = read_catalogue([path])
    assert found.item_ids == ["a", "b"]
    assert found.titles == ["Tent, green", "Map"]
    assert found.categories == [("Outdoor > Tents > Small",), ("Books", "Maps")]
    assert (found.rows, found.problems) == (2, {})


def test_rows_of_a_table_are_items_and_told_problems(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_bytes(
        b'item_id,title,department\na,Tent,x\na,Other,x\n,None,x\nb,Map\nc,\xff,x\nd,"Open,x\n'
    )
    found = read_catalogue([path])
    assert found.item_ids == ["a"]
    assert [problem[:25] for problem in found.problems] == [
        "item_id is given twice: t",
        "item_id is missing",
        "has 2 columns where the h",
        "is not UTF-8; save the fi",
        "a quote opens a cell and ",
    ]
    assert found.rows == len(found.item_ids) + sum(found.problems.values()) == 6
    assert found.notes == ["keys of the catalogue that are not read: department"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thing,name\na,b\n", r"no column is recognised as item_id \(thing, name\)"),
        ("1,Tent,x\n2,Map,x\n", "the first line looks like a row, not like a header"),
        (
            "timestamp,itemid,property,value\n1435460400000,460429,categoryid,1338\n",
            "holds a property of an item in each row",
        ),
        ("1::1193::5::978300760\n", r"holds MovieLens ratings .*; the catalogue is movies\.dat"),
        ("1::F::1::10::48067\n", "holds MovieLens users or tags, and no catalogue"),
    ],
)
def test_tables_that_are_no_catalogue(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "items"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_catalogue([path])


def test_an_empty_part_of_a_catalogue_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "part-0.csv").touch()
    (tmp_path / "part-1.csv").write_text("id,title\na,Tent\n", encoding="utf-8")
    assert read_catalogue([tmp_path]).item_ids == ["a"]
    with pytest.raises(DataError, match="is empty"):
        read_catalogue([tmp_path / "part-0.csv"])
