"""Draws the demo: some users, their true interest beside the tracked ones, and figures. Pure.

In a terminal of any size, as a line of text, or as an SVG that loads nothing from elsewhere.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from stream.demo.tracker import Seen, Tracker
from stream.demo.workers import WorkerView
from stream.plain_text import plain

ARROWS: Final = {
    "rising": ("↑", "green"),
    "fading": ("↓", "red"),
    "new": ("+", "yellow"),
    "steady": ("·", "dim"),
}
PANEL_WIDTH: Final = 38
PANEL_LINES: Final = (8, 10, 13)
"""Lines of a user, borders included: fewest, wanted, most."""
MOST_COLUMNS: Final = 4
HEADER_LINES: Final = 1
FOOTER_LINES: Final = 3
LABEL: Final = 16
ACTION: Final = 12


def _colours(names: str) -> list[tuple[int, int, int]]:
    """Returns red, green and blue of each six-digit name."""
    return [(each[0], each[1], each[2]) for each in map(bytes.fromhex, names.split())]


THEME: Final = TerminalTheme(
    (24, 26, 31),
    (214, 218, 224),
    _colours("181a1f e06c75 7fc77b e5c06c 61a0dc c678dd 56b6c2 abb2bf"),
    _colours("4e5461 e06c75 98d894 f0d082 78b4f0 d28ce6 64c8d2 ffffff"),
)
FONT_FILES: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
DRAWN_TEXT: Final = re.compile(r'textLength="[\d.]+"([^>]*)>([^<]*)</text>')
CELL: Final = 12.2  # of rich's SVG: 20 units high, times the aspect ratio below


@dataclass(frozen=True, slots=True)
class Scene:
    """Holds what there is to see at a moment."""

    tracker: Tracker
    titles: dict[str, str]
    users: Sequence[str]  # those worth watching, best first
    workers: Sequence[WorkerView]
    now: float
    elapsed_s: float
    page: str = ""  # its address; empty: there is none, or none yet


def layout(scene: Scene, width: int, height: int) -> RenderableType:
    """Returns the whole screen: on a small one fewer users, on a tiny one the figures only."""
    body = height - HEADER_LINES - FOOTER_LINES
    if body < PANEL_LINES[0] or width < PANEL_WIDTH:
        return Group(
            *(
                _cut(line, width)
                for line in (*figures(scene), _header(scene, width))[: max(1, height)]
            )
        )
    columns = max(1, min(MOST_COLUMNS, width // PANEL_WIDTH))
    rows = max(1, body // PANEL_LINES[1])
    lines = min(PANEL_LINES[2], body // rows)
    grid = Table.grid(expand=True, padding=0)
    for _ in range(columns):
        grid.add_column(ratio=1)
    shown = sorted(scene.users[: columns * rows])
    inner = width // columns - 4
    panels = [
        user_panel(name, scene.tracker.users.get(name, Seen()), scene.titles, inner, lines - 2)
        for name in shown
    ]
    for start in range(0, len(panels), columns):
        grid.add_row(*panels[start : start + columns])
    space = [Text("")] * max(0, body - lines * -(-len(panels) // columns))
    return Group(
        _header(scene, width), grid, *space, *(_cut(line, width) for line in _footer(scene, width))
    )


def user_panel(name: str, seen: Seen, titles: dict[str, str], width: int, lines: int) -> Panel:
    """Returns one user in `lines` lines of `width` cells.

    The truth, interests as bars, last events, and why.
    """
    update = seen.update or {"interests": [], "because": []}
    causes, events, space = (2, 2, 1) if lines >= 10 else (1, 2, 0)
    bars = max(1, min(5, lines - 1 - causes - events - space))
    right = bool(update["interests"]) and update["interests"][0]["interest"] == seen.truth
    body = [_truth(seen, right, width)]
    body += (
        _filled([_interest(each, seen.truth, width) for each in update["interests"]], bars)
        + [Text("")] * space
    )
    body += _filled(_events(list(seen.events), "last", titles, width, events), events)
    body += _filled(_events(update["because"], "why", titles, width, causes), causes)
    return Panel(
        Group(*_filled(body, lines)),
        title=Text(plain(name), "bold"),
        title_align="left",
        border_style="dim",
        padding=(0, 1),
    )


def _truth(seen: Seen, right: bool, width: int) -> Text:
    """Returns a line: what is true, since when, and whether it is tracked."""
    if not seen.truth:
        return Text("no event yet", "dim")
    mark = ("✓", "bold green") if right else ("…", "bold yellow")
    since = f"{seen.since:,} event{'s' if seen.since != 1 else ''} "
    text = Text.assemble(
        ("true  ", "dim"), (plain(seen.truth), "bold green" if right else "bold yellow")
    )
    gap = width - cell_len(text.plain) - len(since) - 1
    return _cut(text.append(" " * max(1, gap)).append(since, "dim").append(*mark), width)


def _interest(each: dict[str, Any], truth: str, width: int) -> Text:
    """Returns a line of an interest: name, bar, probability, trend."""
    style = "green" if each["interest"] == truth else "blue"
    label = min(LABEL, width // 2)
    room = max(4, width - label - 8)
    filled = max(1, round(each["probability"] * room))
    text = Text().append(
        set_cell_size(plain(each["interest"]), label),
        "bold green" if each["interest"] == truth else "",
    )
    text.append("━" * filled, style).append("─" * (room - filled), "bright_black")
    return text.append(f" {each['probability']:>4.0%} ").append(*ARROWS[each["trend"]])


def _events(
    events: Sequence[dict[str, Any]], head: str, titles: dict[str, str], width: int, most: int
) -> list[Text]:
    """Returns lines of events, the first with a word before it."""
    lines = []
    for number, event in enumerate(events[:most]):
        text = Text().append(
            f"{head if number == 0 else '':<6}{plain(event['action']):<{ACTION}}", "dim"
        )
        text.append(plain(_subject(event, titles)))
        lines.append(_cut(text, width))
    return lines


def _filled(lines: list[Text], count: int) -> list[Text]:
    return (lines + [Text("")] * count)[:count]


def _subject(event: dict[str, Any], titles: dict[str, str]) -> str:
    if event.get("item_id"):
        return titles.get(event["item_id"], str(event["item_id"]))
    return f"“{event.get('query') or event.get('title') or ''}”"


def _cut(text: Text, width: int) -> Text:
    """Returns the text no wider than `width` cells, whatever the script."""
    if cell_len(text.plain) > width:
        kept = len(chop_cells(text.plain, width - 1)[0]) if width > 1 else 0
        text = text[:kept].append("…", "dim")
    return text


def _header(scene: Scene, width: int) -> Text:
    seconds = int(scene.elapsed_s)
    clock = f"{seconds // 60}:{seconds % 60:02}"
    about = scene.page or f"{len(scene.tracker.users):,} simulated users"
    left = Text.assemble(("interest-stream demo", "bold"), (f"  {about}", "dim"))
    right = f"{clock}  Ctrl-C ends"
    gap = width - cell_len(left.plain) - len(right)
    return _cut(left.append(" " * max(2, gap)).append(right, "dim"), width)


def _footer(scene: Scene, width: int) -> list[Text]:
    return [Text("─" * width, "bright_black"), *figures(scene)]


def figures(scene: Scene) -> list[Text]:
    """Returns two lines: how fast, and how right."""
    tracker, accuracy = scene.tracker, scene.tracker.accuracy()
    events_s, updates_s = tracker.rates(scene.now)
    p50, p99 = tracker.latency_ms(0.5, 5_000), tracker.latency_ms(0.99, 5_000)
    speed = _pairs(
        ("events/s", f"{events_s:,.0f}"),
        ("updates/s", f"{updates_s:,.0f}"),
        ("lag", f"{sum(each.lag for each in scene.workers):,}"),
        ("latency p50", f"{p50:,.0f} ms"),
        ("p99", f"{p99:,.0f} ms"),
    )
    state = workers_in_words(scene.workers)
    truth = (
        Text().append(state, "green" if state.endswith("ready") else "bold yellow").append("   ")
    )
    truth.append_text(
        _pairs(
            ("tracked is true", f"{accuracy.tracked:.0%}"),
            ("last category", f"{accuracy.last_category:.0%}"),
            ("most popular", f"{accuracy.most_popular:.0%}"),
        )
    )
    return [speed, truth]


def _pairs(*pairs: tuple[str, str]) -> Text:
    text = Text()
    for name, value in pairs:
        text.append("   " if text else "").append(f"{name} ", "dim").append(value, "bold")
    return text


def workers_in_words(workers: Sequence[WorkerView]) -> str:
    """Returns `2 workers ready`, or the state of the first that is not."""
    for number, each in enumerate(workers, 1):
        if not each.ready:
            return f"worker {number}: {each.state}" if len(workers) > 1 else f"worker: {each.state}"
    return "worker ready" if len(workers) == 1 else f"{len(workers)} workers ready"


def plain_line(scene: Scene) -> str:
    """Returns the same figures as a line, for where there is no terminal."""
    tracker = scene.tracker
    events_s, updates_s = tracker.rates(scene.now)
    parts = [
        f"{scene.elapsed_s:4.0f} s",
        f"{tracker.sent:7,} sent",
        f"{tracker.applied:7,} applied",
        f"{events_s:6,.0f} events/s",
        f"{updates_s:6,.0f} updates/s",
        f"lag {sum(each.lag for each in scene.workers):5,}",
        f"p50 {tracker.latency_ms(0.5, 5_000):5.0f} ms",
        f"p99 {tracker.latency_ms(0.99, 5_000):5.0f} ms",
        f"true {tracker.accuracy().tracked:4.0%}",
        workers_in_words(scene.workers),
    ]
    return "  ".join(parts)


def svg(screen: RenderableType, width: int, height: int, title: str) -> str:
    """Draws one screen of `width` x `height` cells as an SVG."""
    console = Console(
        record=True,
        width=width,
        height=height,
        file=io.StringIO(),
        force_terminal=True,
        no_color=False,
    )
    console.print(screen)
    drawn = console.export_svg(title=title, theme=THEME, unique_id="demo", font_aspect_ratio=0.61)
    drawn = FONT_FILES.sub("", drawn).replace("Fira Code", "ui-monospace")
    return re.sub(r"[ \t]+$", "", DRAWN_TEXT.sub(_in_cells, drawn), flags=re.MULTILINE)


def _in_cells(text: re.Match[str]) -> str:
    """Corrects the width of a text: rich counts its letters, and a Chinese one takes two cells."""
    cells = cell_len(html.unescape(text[2]))
    return f'textLength="{cells * CELL:g}"{text[1]}>{text[2]}</text>'
