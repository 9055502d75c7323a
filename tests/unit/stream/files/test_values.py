"""Values of JSON, cells and Python literals become texts and categories, or are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contracts.faults import BadEvent
from stream.files.values import (
    at_path,
    categories_of,
    leaves,
    looks_like_several,
    python_literal,
    read_object,
    text_of,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab$"), inner, max_size=3),
    max_leaves=6,
)


@given(JSON)
def test_any_json_value_of_an_id_is_refused_or_a_scalar(value: Any) -> None:
    text = ""
    try:
        text = text_of(value, "user_id")
    except BadEvent as error:
        refused = str(error)
    else:
        refused = ""
        assert not isinstance(value, dict | list | bool)
        assert not isinstance(value, str) or text == value.strip()
    assert not refused or refused.startswith("user_id is ")


@given(JSON)
def test_no_category_is_what_python_prints_of_a_value(value: Any) -> None:
    try:
        names = categories_of(value) or []
    except BadEvent:
        return
    assert all(name.strip() == name and name for name in names)
    assert not any(name[:1] + name[-1:] in ("[]", "{}") for name in names)


def test_the_message_names_a_path_to_a_value_inside() -> None:
    with pytest.raises(BadEvent, match=r"--columns user_id=user\.\$oid"):
        text_of({"$oid": "65aa"}, "user_id", "user")
    with pytest.raises(BadEvent, match=r"--columns item_id=items\.0\.item_id"):
        text_of([{"item_id": "sku-1"}], "item_id", "items")
    with pytest.raises(BadEvent, match="true or false"):
        text_of(True, "item_id")


def test_numbers_are_ids_without_a_fraction_of_zero() -> None:
    assert [text_of(value, "item_id") for value in (17, 17.0, 12.5, " a ", None)] == [
        "17",
        "17",
        "12.5",
        "a",
        "",
    ]


@pytest.mark.parametrize(
    ("written", "names"),
    [
        (["Outdoor > Tents", " ", 7], ["Outdoor > Tents", "7"]),
        ("Books| Maps |", ["Books", "Maps"]),
        ("", None),
        (None, None),
        ([], None),
        ("Home > Lamps", ["Home > Lamps"]),
        ("TV >50 inch", ["TV >50 inch"]),
        ("['Action', 'Comedy']", ["Action", "Comedy"]),
        ('["Action", "Comedy"]', ["Action", "Comedy"]),
        ('[{"id": 1, "name": "Action"}, {"id": 2, "name": "Comedy"}]', ["Action", "Comedy"]),
        ("[{'id': 1, 'name': 'Action'}]", ["Action"]),
        ([{"id": 1, "name": "Action"}], ["Action"]),
        ({"id": 1, "name": "Action"}, ["Action"]),
        ([["Home", "Lamps"], ["Sale"]], ["Home > Lamps", "Sale"]),
        ("[['Home', 'Lamps']]", ["Home > Lamps"]),
        ("('Action', 'Comedy')", ["Action", "Comedy"]),
        ("[('Home', 'Lamps')]", ["Home > Lamps"]),
        ("['', 'Action', \"Rock 'n' Roll\"]", ["Action", "Rock 'n' Roll"]),
        ("nan", None),
        ("(no genres listed)", None),
        (["None", "Action"], ["Action"]),
        ("(A)|B", ["(A)", "B"]),
    ],
    ids=str,
)
def test_categories_in_their_usual_spellings(written: Any, names: list[str] | None) -> None:
    assert categories_of(written) == names


@pytest.mark.parametrize(
    "written",
    [
        "[Action, Comedy]",
        {"id": 3},
        [{"id": 3}],
        True,
        "{a}",
        "['Action' 'Comedy']",  # as NumPy prints, which Python reads as one name
        "['it''s']",
        "['Action'",
        '["Action", "Com',
        "['Action']|Comedy",
        ["['Action' 'Comedy']"],
        ["('Action'"],
    ],
)
def test_categories_that_cannot_be_read_are_refused_with_a_fix(written: Any) -> None:
    with pytest.raises(BadEvent, match=r"give|write"):
        categories_of(written)


@pytest.mark.parametrize(
    "name", ["A, B", "A;B", "A>B", "A >B", "A &gt; B", "A » B", "A / B", "A\tB"]
)
def test_a_name_that_may_be_several_is_told(name: str) -> None:
    assert categories_of(name) == [name]
    assert looks_like_several(["fine", name])
    assert not looks_like_several(["A > B", "TV & Video", "R/C cars", "size 3-4"])


def test_paths_lead_through_objects_lists_and_texts_of_json() -> None:
    event = {"user": {"$oid": "u"}, "items": [{"id": "i"}], "properties": json.dumps({"sku": "s"})}
    assert at_path(event, ("user", "$oid")) == "u"
    assert at_path(event, ("items", "0", "id")) == "i"
    assert at_path(event, ("items", "1", "id")) is None
    assert at_path(event, ("properties", "sku")) == "s"
    assert at_path(event, ("user", "x", "y")) is None
    assert [".".join(path) for path in leaves(event)] == [
        "user.$oid",
        "items.0.id",
        "properties.sku",
    ]


def test_objects_as_python_writes_them_are_read_and_nothing_is_run() -> None:
    found = read_object(b"{'asin': 'B00', 'title': \"Men's lamp\", 'sold': True, 'price': None}")
    assert found == {"asin": "B00", "title": "Men's lamp", "sold": True, "price": None}
    for text in ("__import__('os')", "{'a': open('x')}", "{'a': {1, 2}}", "[" * 500, "{1: 2}"):
        assert python_literal(text) is None
    with pytest.raises(BadEvent, match="not JSON"):
        read_object(b"{'a': ")
