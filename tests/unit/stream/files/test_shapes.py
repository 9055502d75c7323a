"""Files of public data sets are read as their owners describe them, by what is in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stream.contracts.event import Event
from stream.errors import DataError
from stream.files.catalogue import CatalogueFile, read_catalogue
from stream.files.events import EventFiles

LINE = tuple[str, str, str | None, int]


def read(folder: Path, text: str | bytes, name: str = "events") -> tuple[list[LINE], EventFiles]:
    events, files = read_events(folder, text, name)
    return [(each.user_id, each.action, each.item_id, int(each.time)) for each in events], files


def read_events(
    folder: Path, text: str | bytes, name: str = "events"
) -> tuple[list[Event], EventFiles]:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    files = EventFiles([path])
    events = [event for chunk in files for event in chunk]
    assert files.rows == len(events) + files.bad.total() + files.dropped.total()
    return events, files


def catalogue(folder: Path, text: str | bytes, name: str = "items") -> CatalogueFile:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_catalogue([path])


# MovieLens

RATINGS = "1::1193::5::978300760\n1::661::3.5::978302109\n2::1193::5::none\n"
MOVIES = (
    "1::Toy Story (1995)::Animation|Children's|Comedy\n"
    "73::Misérables, Les (1995)::Drama|Musical\n"
    '3::"Other": a title::(no genres listed)\n'
)


def test_ratings_of_movielens(tmp_path: Path) -> None:
    events, files = read_events(tmp_path, RATINGS, "ratings.dat")
    assert [(each.user_id, each.item_id, each.value, each.time) for each in events] == [
        ("1", "1193", 5.0, 978300760000),
        ("1", "661", 3.5, 978302109000),
    ]
    assert (files.rows, files.bad) == (3, {"bad-time": 1})
    assert files.notes[-1] == ("ratings.dat: read as MovieLens ratings (user, item, rating, time)")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"], ids=["10M", "1M"])
def test_movies_of_movielens(tmp_path: Path, encoding: str) -> None:
    found = catalogue(tmp_path, MOVIES.encode(encoding), "movies.dat")
    assert found.item_ids == ["1", "73", "3"]
    assert found.titles == ["Toy Story (1995)", "Misérables, Les (1995)", '"Other": a title']
    assert found.categories == [("Animation", "Children's", "Comedy"), ("Drama", "Musical"), ()]
    assert found.problems == {}
    assert any("Latin-1" in note for note in found.notes) == (encoding == "latin-1")
    assert found.notes[-1] == "movies.dat is read as MovieLens movies (item, title, genres)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MOVIES, r"events: holds MovieLens movies .*; the events are ratings\.dat"),
        ("1::F::1::10::48067\n", "holds MovieLens users or tags, and no events"),
        ("15::4973::excellent!::1215184630\n", "holds MovieLens users or tags, and no events"),
    ],
)
def test_other_files_of_movielens_are_no_events(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


# MIND

BEHAVIORS = (
    "1\tU13740\t11/11/2019 9:05:58 AM\tN55189 N42782\tN55689-1 N35729-0\n"
    "2\tU91836\t11/12/2019 6:11:30 PM\t\tN20678-0 N39317-1 N58114-1\n"
    "3\tU73700\t11/14/2019 12:00:01 AM\tN10732\tN50014-0\n"
    "4\tU1\t14.11.2019 12:00\tN1\tN50014-1\n"
    "5\tU2\t11/14/2019 7:01:48 AM\tN1\n"
)
NEWS = (
    "N55528\tlifestyle\tlifestyleroyals\tThe Brands Queen Elizabeth Swears By\tShop the notebooks"
    "\thttps://assets.msn.com/labs/mind/AAGH0ET.html\t[{}]\t[]\n"
    'N19639\thealth\tweightloss\t50 "Worst" Habits\tThese\thttps://assets.msn.com/x\t[]\t[]\n'
)


def test_clicks_of_mind(tmp_path: Path) -> None:
    events, files = read(tmp_path, BEHAVIORS, "behaviors.tsv")
    assert events == [
        ("U13740", "click", "N55689", 1573463158000),
        ("U91836", "click", "N39317", 1573582290000),
        ("U91836", "click", "N58114", 1573582290000),
    ]
    assert files.rows == 8
    assert files.dropped == {"items that were shown and not clicked": 3}
    assert files.bad == {"bad-time": 1, "wrong-columns": 1}
    assert files.told == [
        "8 rows read: 3 gave an event, 2 did not, 3 were left out on purpose",
        "3 rows are items that were shown and not clicked: left out",
        "3 times have no zone: read as UTC",
        "behaviors.tsv: read as MIND behaviors (an event for each item that was clicked); the "
        "histories of earlier clicks are not read: they have no times",
    ]


def test_what_minds_test_file_does_not_say_is_told(tmp_path: Path) -> None:
    events, files = read(tmp_path, "1\tU1\t11/11/2019 9:05:58 AM\tN1\tN2 N3\n")
    assert events == []
    assert list(files.dropped.values()) == [2]


def test_news_of_mind(tmp_path: Path) -> None:
    found = catalogue(tmp_path, NEWS, "news.tsv")
    assert found.item_ids == ["N55528", "N19639"]
    assert found.titles == ["The Brands Queen Elizabeth Swears By", '50 "Worst" Habits']
    assert found.categories == [("lifestyle > lifestyleroyals",), ("health > weightloss",)]
    with pytest.raises(DataError, match=r"holds MIND news .* the events are behaviors\.tsv"):
        read(tmp_path, NEWS)
    with pytest.raises(DataError, match=r"holds MIND behaviors .* the catalogue is news\.tsv"):
        catalogue(tmp_path, BEHAVIORS)


# RecBole

INTER = (
    "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "196\t242\t3.0\t881250949.0\n186\t302\t3\t891717742\n22\t377\t1\t\n"
)


def test_interactions_of_recbole(tmp_path: Path) -> None:
    path = tmp_path / "ml-100k.inter"
    path.write_text(INTER, encoding="utf-8")
    from stream.files.events import limits_of_files

    files = EventFiles([path], limits=limits_of_files(1_795_000_000_000, recorded=True))
    events = [event for chunk in files for event in chunk]
    assert [(each.user_id, each.item_id, each.value, each.time) for each in events[:2]] == [
        ("196", "242", 3.0, 881250949000),
        ("186", "302", 3.0, 891717742000),
    ]
    assert (files.rows, files.untimed, files.bad) == (3, 1, {})


@pytest.mark.parametrize(
    ("header", "cell", "categories"),
    [
        ("class:token_seq", "Animation Children's Comedy", ("Animation", "Children's", "Comedy")),
        ("genre:token_seq", "Drama", ("Drama",)),
        ("categories:token_seq", "'Beauty', 'Hair Care'", ("Beauty", "Hair Care")),
        ("categories:token_seq", "['Beauty', 'Hair Care']", ("Beauty", "Hair Care")),
        ("categories:token_seq", "Food, Coffee & Tea", ("Food", "Coffee & Tea")),
        ("categories:token_seq", "Food|Coffee & Tea", ("Food", "Coffee & Tea")),
        ("categories:token_seq", "", ()),
        ("categories:token", "Hair Care", ("Hair Care",)),
    ],
)
def test_items_of_recbole(
    tmp_path: Path, header: str, cell: str, categories: tuple[str, ...]
) -> None:
    text = f"item_id:token\tmovie_title:token_seq\trelease_year:token\t{header}\n7\tToy Story\t1995"
    found = catalogue(tmp_path, f"{text}\t{cell}\n", "ml-1m.item")
    assert (found.item_ids, found.titles) == (["7"], ["Toy Story"])
    assert found.categories == [categories]
    assert found.problems == {}


def test_other_files_of_recbole_are_no_events(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column is recognised as item_id"):
        read(tmp_path, "user_id:token\tage:token\n1\t24\n", "ml-100k.user")
    with pytest.raises(DataError, match="no column is recognised as user_id"):
        read(tmp_path, "head_id:token\trelation_id:token\ttail_id:token\nm\tr\tn\n", "ml-1m.kg")


def test_what_a_benchmark_file_of_recbole_leaves_unread_is_told(tmp_path: Path) -> None:
    text = "user_id:token\titem_id_list:token_seq\titem_id:token\tlabel:float\n1\t2 3\t4\t0.0\n"
    _, files = read(tmp_path, text, "Beauty.train.inter")
    assert "columns not read: item_id_list:token_seq, label:float" in files.notes[-1]


# Amazon reviews

REVIEW_2014: dict[str, Any] = {
    "reviewerID": "A2SUAM1J3GNN3B",
    "asin": "0000013714",
    "reviewerName": "J. McDonald",
    "helpful": [2, 3],
    "reviewText": "I bought this for my husband",
    "overall": 5.0,
    "summary": "Heavenly Highway Hymns",
    "unixReviewTime": 1252800000,
    "reviewTime": "09 13, 2009",
}
REVIEW_2023: dict[str, Any] = {
    "rating": 4.0,
    "title": "Great product",
    "text": "works",
    "images": [],
    "asin": "B00YQ6X8EO",
    "parent_asin": "B07G9GWFSM",
    "user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ",
    "timestamp": 1588687728923,
    "helpful_vote": 0,
    "verified_purchase": True,
}


def test_reviews_of_amazon(tmp_path: Path) -> None:
    (old,), files = read_events(tmp_path, json.dumps(REVIEW_2014) + "\n")
    assert (old.user_id, old.item_id, old.value, old.time, old.title) == (
        "A2SUAM1J3GNN3B",
        "0000013714",
        5.0,
        1252800000000,
        None,
    )
    assert files.bad == {}
    (new,), files = read_events(tmp_path, json.dumps(REVIEW_2023) + "\n")
    assert (new.user_id, new.item_id, new.value, new.time, new.title) == (
        "AGKHLEW2SOWHNMFQIJGBECAF7INQ",
        "B07G9GWFSM",  # by which the catalogue goes
        4.0,
        1588687728923,
        None,
    )
    assert any("item_id is read from parent_asin" in note for note in files.notes)


def test_catalogues_of_amazon(tmp_path: Path) -> None:
    found = catalogue(
        tmp_path,
        "{'asin': '0000013714', 'title': 'Hymns', 'categories': [['Books', 'Music']]}\n"
        '{"parent_asin": "B07G9GWFSM", "title": "Brush", "main_category": "All Beauty", '
        '"categories": ["Beauty", "Hair Care"], "details": {"UPC": "1"}}\n'
        '{"asin": "B1", "title": "Oil", "category": ["Beauty"]}\n',
    )
    assert found.item_ids == ["0000013714", "B07G9GWFSM", "B1"]
    assert found.categories == [("Books > Music",), ("Beauty", "Hair Care"), ("Beauty",)]


# Shops

REES46 = (
    "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
    "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d7\n"
    "2019-10-01 00:00:01 UTC,cart,3900821,2053013552326770905,appliances.environment.water_heater,"
    "aqua,33.20,554748717,9333\n"
    "2019-10-01 00:00:02 UTC,remove_from_cart,3900821,2053013552326770905,electronics,,1,5547,93\n"
    "2019-10-01 00:00:03 UTC,purchase,3900821,2053013552326770905,,,33.20,,9333\n"
)


def test_events_of_rees46(tmp_path: Path) -> None:
    events, files = read_events(tmp_path, REES46, "2019-Oct.csv")
    assert [(each.user_id, each.action, each.item_id, each.time) for each in events] == [
        ("541312140", "view", "44600062", 1569888000000),
        ("554748717", "cart", "3900821", 1569888001000),
        ("5547", "remove_from_cart", "3900821", 1569888002000),
    ]
    assert [each.categories for each in events] == [
        None,
        ["appliances > environment > water_heater"],
        ["electronics"],
    ]
    assert (events[0].session_id, events[0].value) == ("72d7", 35.79)
    assert (files.rows, files.bad) == (4, {"missing-field": 1})
    assert files.notes == [
        "2019-Oct.csv: columns not read: category_id (--columns FIELD=COLUMN reads one)"
    ]


def test_events_of_retailrocket(tmp_path: Path) -> None:
    events, files = read(
        tmp_path,
        "timestamp,visitorid,event,itemid,transactionid\n"
        "1433221332117,257597,view,355908,\n"
        "1433222276276,599528,addtocart,248676,\n"
        "1433223236124,111016,transaction,318965,4000\n",
        "events.csv",
    )
    assert events == [
        ("257597", "view", "355908", 1433221332117),
        ("599528", "addtocart", "248676", 1433222276276),
        ("111016", "transaction", "318965", 1433223236124),
    ]
    assert (files.bad, files.notes) == ({}, [])
    with pytest.raises(DataError, match="no column is recognised as user_id"):
        read(tmp_path, "timestamp,itemid,property,value\n1435460400000,460429,categoryid,1338\n")
