"""The live view fits its terminal, whatever its size and script.

The tracker's figures are those of a run counted by hand.
"""

from __future__ import annotations

import html
import io
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from stream.demo.tracker import Tracker
from stream.demo.view import Scene, layout, plain_line, svg, workers_in_words
from stream.demo.workers import WorkerView

TITLES = {"item-1": "西湖龙井绿茶" * 4, "item-2": "Tent"}


def event(user: str, item: str) -> dict[str, Any]:
    return {"user_id": user, "action": "add_to_cart", "item_id": item}


def update(user: str, offset: int, seen: int, *interests: str) -> dict[str, Any]:
    return {
        "user_id": user,
        "source": {"offset": offset},
        "events_seen": seen,
        "interests": [{"interest": each, "probability": 0.5, "trend": "new"} for each in interests],
        "because": [{"action": "search", "query": "武侠小说 大全 " * 2 + "武侠小说"}],
    }


@pytest.fixture
def tracker() -> Tracker:
    """Eight users; user 0 sent three events, the last two of a new interest.

    The update after the second of them names it.
    """
    found = Tracker()
    for number in range(1, 8):
        found.event_sent(event(f"user-{number}", "item-2"), "Camping", "Camping", 0.0)
    for at, (item, truth, category) in enumerate(
        [
            ("item-2", "Camping", "Camping"),
            ("item-1", "中国茶", "中国茶"),
            ("item-1", "中国茶", "Jazz"),
        ]
    ):
        found.event_sent(event("user-0", item), truth, category, float(at))
        found.event_acknowledged("user-0", at, float(at), truth, category, at + 0.1)
    found.update_received(update("user-0", 0, 1, "Camping", "中国茶"), 0.2)
    found.update_received(update("user-0", 2, 3, "中国茶", "Camping"), 2.5)
    return found


def scene(tracker: Tracker) -> Scene:
    users = [f"user-{number}" for number in range(8)]
    return Scene(tracker, TITLES, users, [WorkerView("ready", 3), WorkerView("ready", 4)], 3.0, 3.0)


def drawn(tracker: Tracker, width: int, height: int) -> list[str]:
    console = Console(
        width=width, height=height, file=io.StringIO(), force_terminal=True, color_system=None
    )
    console.print(layout(scene(tracker), width, height))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text.splitlines()


@pytest.mark.parametrize("width", [30, 40, 61, 80, 81, 120, 200])
@pytest.mark.parametrize("height", [1, 5, 12, 15, 24, 40, 60])
def test_the_view_fits_its_terminal(tracker: Tracker, width: int, height: int) -> None:
    lines = drawn(tracker, width, height)
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width


def test_borders_stand_below_each_other_whatever_the_script(tracker: Tracker) -> None:
    lines = drawn(tracker, 80, 24)
    top = next(line for line in lines if line.startswith("╭─ user-0"))
    inside = lines[lines.index(top) + 1 :]
    inside = inside[: next(number for number, line in enumerate(inside) if line.startswith("╰"))]
    assert any("西湖" in line for line in inside)
    edges = {place for place, letter in enumerate(top) if letter == "╮"}
    for line in inside:
        assert {
            cell_len(line[:place]) for place, letter in enumerate(line) if letter == "│"
        } >= edges


def test_the_view_tells_truth_tracked_interest_and_why(tracker: Tracker) -> None:
    screen = "\n".join(drawn(tracker, 80, 24))
    for words in (
        "true  中国茶",
        " 2 events ✓",
        "50% +",
        "last  add_to_cart 西湖",
        "why   search",
        "2 workers ready",
    ):
        assert words in screen


def test_the_view_says_where_the_page_is(tracker: Tracker) -> None:
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(layout(replace(scene(tracker), page="http://127.0.0.1:8080"), 80, 24))
    assert "interest-stream demo  http://127.0.0.1:8080 " in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_tiny_terminal_shows_the_figures(tracker: Tracker) -> None:
    screen = "\n".join(drawn(tracker, 80, 5))
    assert "events/s" in screen
    assert "user-0" not in screen


def test_the_figures_are_those_of_the_run(tracker: Tracker) -> None:
    # updates at offsets 0 and 2: tracked right both times; last category at 0 only, Jazz at 2;
    # the truths are Camping and 中国茶, so naming either one always is right once
    accuracy = tracker.accuracy()
    assert (accuracy.tracked, accuracy.last_category, accuracy.most_popular) == (1.0, 0.5, 0.5)
    assert sorted(tracker.latencies_s) == pytest.approx([0.2, 0.5, 1.5])
    assert (tracker.sent, tracker.applied, tracker.complete()) == (10, 3, False)
    assert tracker.rates(3.0) == pytest.approx((10 / 3, 2 / 3))


def test_the_line_without_a_terminal_has_the_same_figures(tracker: Tracker) -> None:
    line = plain_line(scene(tracker))
    for words in ("10 sent", "3 applied", "lag     7", "true 100%", "2 workers ready"):
        assert words in line


def test_the_worker_that_is_not_ready_is_named() -> None:
    assert (
        workers_in_words([WorkerView("ready"), WorkerView("does not answer")])
        == "worker 2: does not answer"
    )


def test_the_picture_loads_nothing(tracker: Tracker) -> None:
    picture = svg(layout(scene(tracker), 100, 30), 100, 30, "make demo")
    place = picture.index("西湖龙井")
    drawn = picture[picture.rindex("<text", 0, place) : picture.index("<", place)]
    cells = float(drawn.partition('textLength="')[2].partition('"')[0]) / 12.2
    assert cells == pytest.approx(cell_len(html.unescape(drawn.rpartition(">")[2])))
    assert "url(http" not in picture.replace(" ", "")
    assert "@import" not in picture
