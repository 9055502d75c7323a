"""The live view of the demo: some users, true interest beside the tracked ones, and the figures below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from stream.tracker import Seen, Tracker

ARROWS: Final = {"rising": ("↑", "green"), "fading": ("↓", "red"), "new": ("✦", "yellow"), "steady": ("·", "dim")}
PANEL_LINES: Final = 11
FOOTER_LINES: Final = 4


@dataclass(frozen=True, slots=True)
class WorkerView:
    """What the demo sees of the workers."""

    state: str
    lag: int


def layout(
    tracker: Tracker,
    titles: dict[str, str],
    workers: list[WorkerView],
    now: float,
    elapsed_s: float,
    width: int,
    height: int,
) -> RenderableType:
    """The whole screen."""
    columns = 3 if width >= 120 else 2 if width >= 76 else 1
    rows = max(1, (height - FOOTER_LINES) // PANEL_LINES)
    grid = Table.grid(expand=True, padding=0)
    for _ in range(columns):
        grid.add_column(ratio=1)
    shown = _watched(tracker, columns * rows)
    panels = [user_panel(name, seen, titles, width // columns - 4) for name, seen in shown]
    for start in range(0, len(panels), columns):
        grid.add_row(*panels[start : start + columns])
    return Group(grid, footer(tracker, workers, now, elapsed_s))


def _watched(tracker: Tracker, count: int) -> list[tuple[str, Seen]]:
    """The most active users; those that are watched already stay where they are."""
    busy = sorted(tracker.users.items(), key=lambda pair: (-pair[1].sent, pair[0]))[:count]
    return sorted(busy)


def user_panel(name: str, seen: Seen, titles: dict[str, str], width: int) -> Panel:
    """One user: interests as bars, last events, why."""
    update = seen.update or {"interests": [], "because": []}
    lines = [_interest(each, seen.truth, width) for each in update["interests"][:4]]
    lines += [Text("") for _ in range(4 - len(lines))]
    lines.append(Text("last events", "dim"))
    for event in list(seen.events)[:2]:
        lines.append(_cut(Text(f"  {event['action']:<12}{_subject(event, titles)}"), width))
    lines += [Text("") for _ in range(7 - len(lines))]
    lines.append(Text("because", "dim"))
    causes = [f"{each['action']} {_subject(each, titles)}" for each in update["because"][:1]]
    lines.append(_cut(Text("  " + (causes[0] if causes else "-")), width))
    right = bool(update["interests"]) and update["interests"][0]["interest"] == seen.truth
    title = Text.assemble(
        (name, "bold"), "  true interest now: ", (seen.truth, "bold green" if right else "bold yellow")
    )
    return Panel(Group(*lines), title=title, title_align="left", border_style="green" if right else "yellow")


def _interest(each: dict[str, Any], truth: str, width: int) -> Text:
    label = set_cell_size(each["interest"], 17)
    arrow, style = ARROWS[each["trend"]]
    room = max(6, width - 17 - 9)
    bar = "█" * round(each["probability"] * room)
    is_true = each["interest"] == truth
    text = Text.assemble(
        (label, "bold green" if is_true else ""), " ", (arrow, style), f" {each['probability']:>4.0%} "
    )
    text.append(bar, "green" if is_true else "blue")
    return text


def _subject(event: dict[str, Any], titles: dict[str, str]) -> str:
    if event.get("query"):
        return f"“{event['query']}”"
    item_id = event.get("item_id")
    return titles.get(item_id, item_id) if item_id else str(event.get("title", "?"))


def _cut(text: Text, width: int) -> Text:
    if cell_len(text.plain) > width:
        text.truncate(width, overflow="ellipsis")
    return text


def footer(tracker: Tracker, workers: list[WorkerView], now: float, elapsed_s: float) -> Panel:
    """The figures."""
    events_s, updates_s = tracker.rates(now)
    right, by_last = tracker.accuracy()
    states = ", ".join(each.state for each in workers) or "starting"
    first = (
        f"{events_s:,.0f} events/s   {updates_s:,.0f} updates/s   lag {sum(each.lag for each in workers):,}   "
        f"event to update p50 {tracker.latency_ms(0.5, 5_000):.0f} ms p99 {tracker.latency_ms(0.99, 5_000):.0f} ms"
    )
    second = (
        f"{len(tracker.users):,} users, {tracker.sent:,} events in {elapsed_s:.0f} s   top interest is the truth {right:.0%} "
        f"(last category {by_last:.0%})   worker {states}   Ctrl-C ends"
    )
    return Panel(Group(Text(first, no_wrap=True, overflow="ellipsis"), Text(second, no_wrap=True, overflow="ellipsis")))


def plain_line(tracker: Tracker, workers: list[WorkerView], now: float, elapsed_s: float) -> str:
    """The same figures as a line, without a terminal."""
    events_s, updates_s = tracker.rates(now)
    right, _ = tracker.accuracy()
    parts = [
        f"{elapsed_s:5.0f} s",
        f"{tracker.sent:7,} sent",
        f"{tracker.applied:7,} applied",
        f"{events_s:6,.0f} events/s",
        f"{updates_s:6,.0f} updates/s",
        f"lag {sum(each.lag for each in workers):5,}",
        f"p50 {tracker.latency_ms(0.5, 5_000):5.0f} ms",
        f"p99 {tracker.latency_ms(0.99, 5_000):5.0f} ms",
        f"truth {right:4.0%}",
        f"worker {', '.join(each.state for each in workers) or 'starting'}",
    ]
    return "  ".join(parts)
