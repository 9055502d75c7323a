"""Measures what a person waits for on the page of `serve`, in a real browser.

    python -m tests.benchmarks.page                     100,000 users
    python -m tests.benchmarks.page --users 1000000     a million: minutes to fill

Search: from Enter to the profile with its bars. Explain: from Enter to reasons, history and what
came next. Export: from the click to the whole file of a segment on disk. Each several times, worst
and median; the target of each is one second. The service has no Kafka here: it answers from the
file, as always.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page

from tests.support.browsers import chromium, running
from tests.support.page_service import fill, page_service
from tests.support.serving import Service, record

TARGET_S: Final = 1.0
BATCH: Final = 2_000
INTERESTS: Final = 20


def many(made: Service, folder: Path, users: int) -> None:
    """Fills a service with users of the tests, and as many others as are asked for."""
    fill(made, folder)
    for start in range(0, users, BATCH):
        some = [
            record(
                f"many-{number:07d}",
                number,
                {f"interest {(number + step) % INTERESTS}": 0.5 / (step + 1) for step in range(5)},
            )
            for number in range(start, min(users, start + BATCH))
        ]
        made.feed_with(*some)


def timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def search(page: Page, user: str) -> None:
    page.locator("#user-id").fill(user)
    page.locator("#user-id").press("Enter")
    page.locator("#user-title", has_text=user).wait_for()
    page.locator(".bars li").first.wait_for()


def explain(page: Page, user: str) -> None:
    search(page, user)
    page.locator(".causes li").first.wait_for()
    page.locator(".lines").wait_for()
    page.locator(".outcomes li").first.wait_for()


def export(page: Page, out: Path) -> None:
    with page.expect_download() as saved:
        page.get_by_role("button", name="Export as CSV").click()
    saved.value.save_as(out)


def measure(page: Page, folder: Path, repeats: int) -> dict[str, Any]:
    """Returns the seconds of each action, and how many users the exported segment has."""
    page.goto("/#/user")
    page.locator(".chips a").first.wait_for()
    seconds: dict[str, list[float]] = {"search": [], "explain": [], "export": []}
    for number in range(repeats):
        found = partial(search, page, f"many-{number * 37:07d}")
        seconds["search"].append(timed(found))
        seconds["explain"].append(timed(partial(explain, page, f"user-{number % 29:02d}")))
    page.goto("/#/segments/interest%207")
    page.locator("#members td").first.wait_for()
    out = folder / "segment.csv"
    for _ in range(repeats):
        seconds["export"].append(timed(partial(export, page, out)))
    with out.open(encoding="utf-8") as file:
        exported = sum(1 for _ in file) - 1
    figures = {
        name: {"median_s": round(statistics.median(each), 3), "worst_s": round(max(each), 3)}
        for name, each in seconds.items()
    }
    return {"exported_users": exported, **figures}


def main() -> int:
    """Prints the figures as JSON; the exit code is 1 where a worst one misses its target."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        filled = partial(many, users=asked.users)
        with page_service(folder, filled) as served, running(chromium()) as browser:
            context = browser.new_context(base_url=served.address)
            figures = measure(context.new_page(), folder, asked.repeats)
            context.close()
    worst = max(figures[each]["worst_s"] for each in ("search", "explain", "export"))
    figures = {"users": asked.users, "target_s": TARGET_S, "met": worst < TARGET_S, **figures}
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    return int(worst >= TARGET_S)


if __name__ == "__main__":
    sys.exit(main())
