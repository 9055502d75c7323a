"""The live view of the demo: some users, their true interest beside the tracked ones, and the figures below. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from stream.demo_workers import WorkerView
from stream.tracker import Seen, Tracker

ARROWS: Final = {"rising": ("↑", "green"), "fading": ("↓", "red"), "new": ("+", "yellow"), "steady": ("·", "dim")}
PANEL_WIDTH: Final = 38
PANEL_LINES: Final = (8, 10, 13)
"""Lines of a user, borders included: fewest, wanted, most."""
MOST_COLUMNS: Final = 4
HEADER_LINES: Final = 1
FOOTER_LINES: Final = 3
LABEL: Final = 16
ACTION: Final = 12


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to see at a moment."""

    tracker: Tracker
    titles: dict[str, str]
    users: Sequence[str]  # those worth watching, best first
    workers: Sequence[WorkerView]
    now: float
    elapsed_s: float


def layout(scene: Scene, width: int, height: int) -> RenderableType:
    """The whole screen. On a small one fewer users, on a tiny one the figures only."""
    body = height - HEADER_LINES - FOOTER_LINES
    if body < PANEL_LINES[0] or width < PANEL_WIDTH:
        return Group(*(_cut(line, width) for line in (*figures(scene), _header(scene, width))[: max(1, height)]))
    columns = max(1, min(MOST_COLUMNS, width // PANEL_WIDTH))
    rows = max(1, body // PANEL_LINES[1])
    lines = min(PANEL_LINES[2], body // rows)
    grid = Table.grid(expand=True, padding=0)
    for _ in range(columns):
        grid.add_column(ratio=1)
    shown = sorted(scene.users[: columns * rows])
    inner = width // columns - 4
    panels = [user_panel(name, scene.tracker.users.get(name, Seen()), scene.titles, inner, lines - 2) for name in shown]
    for start in range(0, len(panels), columns):
        grid.add_row(*panels[start : start + columns])
    space = [Text("")] * max(0, body - lines * -(-len(panels) // columns))
    return Group(_header(scene, width), grid, *space, *(_cut(line, width) for line in _footer(scene, width)))


def user_panel(name: str, seen: Seen, titles: dict[str, str], width: int, lines: int) -> Panel:
    """One user in `lines` lines of `width` cells: the truth, interests as bars, last events, why."""
    update = seen.update or {"interests": [], "because": []}
    causes, events, space = (2, 2, 1) if lines >= 10 else (1, 2, 0)
    bars = max(1, min(5, lines - 1 - causes - events - space))
    right = bool(update["interests"]) and update["interests"][0]["interest"] == seen.truth
    body = [_truth(seen, right, width)]
    body += _filled([_interest(each, seen.truth, width) for each in update["interests"]], bars) + [Text("")] * space
    body += _filled(_events(list(seen.events), "last", titles, width, events), events)
    body += _filled(_events(update["because"], "why", titles, width, causes), causes)
    return Panel(
        Group(*_filled(body, lines)), title=Text(name, "bold"), title_align="left", border_style="dim", padding=(0, 1)
    )


def _truth(seen: Seen, right: bool, width: int) -> Text:
    """What is true, since when, and whether it is tracked."""
    if not seen.truth:
        return Text("no event yet", "dim")
    mark = ("✓", "bold green") if right else ("…", "bold yellow")
    since = f"{seen.since:,} event{'s' if seen.since != 1 else ''} "
    text = Text.assemble(("true  ", "dim"), (seen.truth, "bold green" if right else "bold yellow"))
    gap = width - cell_len(text.plain) - len(since) - 1
    return _cut(text.append(" " * max(1, gap)).append(since, "dim").append(*mark), width)


def _interest(each: dict[str, Any], truth: str, width: int) -> Text:
    """Name, bar, probability, trend."""
    style = "green" if each["interest"] == truth else "blue"
    label = min(LABEL, width // 2)
    room = max(4, width - label - 8)
    filled = max(1, round(each["probability"] * room))
    text = Text().append(set_cell_size(each["interest"], label), "bold green" if each["interest"] == truth else "")
    text.append("━" * filled, style).append("─" * (room - filled), "bright_black")
    return text.append(f" {each['probability']:>4.0%} ").append(*ARROWS[each["trend"]])


def _events(events: Sequence[dict[str, Any]], head: str, titles: dict[str, str], width: int, most: int) -> list[Text]:
    """Lines of events, the first with a word before it."""
    lines = []
    for number, event in enumerate(events[:most]):
        text = Text().append(f"{head if number == 0 else '':<6}{event['action']:<{ACTION}}", "dim")
        text.append(_subject(event, titles))
        lines.append(_cut(text, width))
    return lines


def _filled(lines: list[Text], count: int) -> list[Text]:
    return (lines + [Text("")] * count)[:count]


def _subject(event: dict[str, Any], titles: dict[str, str]) -> str:
    if event.get("item_id"):
        return titles.get(event["item_id"], str(event["item_id"]))
    return f"“{event.get('query') or event.get('title') or ''}”"


def _cut(text: Text, width: int) -> Text:
    """No wider than `width` cells, whatever the script."""
    if cell_len(text.plain) > width:
        kept = len(chop_cells(text.plain, width - 1)[0]) if width > 1 else 0
        text = text[:kept].append("…", "dim")
    return text


def _header(scene: Scene, width: int) -> Text:
    seconds = int(scene.elapsed_s)
    clock = f"{seconds // 60}:{seconds % 60:02}"
    left = Text.assemble(("interest-stream demo", "bold"), (f"  {len(scene.tracker.users):,} simulated users", "dim"))
    right = f"{clock}  Ctrl-C ends"
    gap = width - cell_len(left.plain) - len(right)
    return _cut(left.append(" " * max(2, gap)).append(right, "dim"), width)


def _footer(scene: Scene, width: int) -> list[Text]:
    return [Text("─" * width, "bright_black"), *figures(scene)]


def figures(scene: Scene) -> list[Text]:
    """Two lines: how fast, and how right."""
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
    truth = Text().append(state, "green" if state.endswith("ready") else "bold yellow").append("   ")
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
    """`2 workers ready`, or what the first that is not says."""
    for number, each in enumerate(workers, 1):
        if not each.ready:
            return f"worker {number}: {each.state}" if len(workers) > 1 else f"worker: {each.state}"
    return "worker ready" if len(workers) == 1 else f"{len(workers)} workers ready"


def plain_line(scene: Scene) -> str:
    """The same figures as a line, without a terminal."""
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
