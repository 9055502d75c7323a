"""The page in a real browser: found and read by everybody, and asking nobody else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from stream.serving.guard import SCOPES, Caller, KeyGuard, hash_of
from tests.support.browsers import NoBrowserError, chromium, running
from tests.support.page_service import HOSTILE, USERS, PageService, page_service
from tests.support.serving import record

pytestmark = pytest.mark.slow

PATIENCE_MS = 120_000
"""Nothing takes as long, on however busy a machine."""

expect.set_options(timeout=PATIENCE_MS)
VIEWS = ["now", "user", "user/user-00", "segments/camping", "live", "health"]
SHOWN = {
    "now": ".stream",
    "user": ".chips a",
    "user/user-00": ".lines",
    "segments/camping": "#members td",
    "live": "#live-interest option:nth-child(5)",
    "health": ".reliability",
}
"""What is there once a view is."""

DARK = {"now", "user/user-00", "health"}
"""Views that have every colour between them."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yields the browser that all tests share; in CI not having one is a failure."""
    try:
        program = chromium()
    except NoBrowserError as error:
        if os.environ.get("CI"):
            pytest.fail(f"no browser: {error}", pytrace=False)
        pytest.skip(f"NO BROWSER, so the page is not tested: {error}")
    with running(program) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageService]:
    """Yields the service that all tests share."""
    with page_service(tmp_path_factory.mktemp("page")) as found:
        yield found


@pytest.fixture
def page(browser: Browser, pages: PageService) -> Iterator[Page]:
    """Yields a page that asks no other host, and in which nothing goes wrong."""
    context = browser.new_context(base_url=pages.address, viewport={"width": 1200, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    opened = context.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda said: wrong.append(said.text) if is_wrong(said) else None)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    yield opened
    context.close()
    assert [url for url in asked if not url.startswith((pages.address, "blob:"))] == []
    assert wrong == []


def is_wrong(said: ConsoleMessage) -> bool:
    """Whether it is an error of the page; of an answer that is one, the page tells its reader."""
    return said.type == "error" and "Failed to load resource" not in said.text


def visit(page: Page, view: str) -> None:
    page.goto(f"/#/{view}")
    page.locator(SHOWN[view]).first.wait_for(state="attached")


def violations(page: Page, **options: object) -> list[str]:
    # of what holds, axe need not tell each place: that is most of its work
    found = Axe().run(page, options={"resultTypes": ["violations"], **options})
    return [
        f"{each['id']}: {node['html']}"
        for each in found.response["violations"]
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("view", VIEWS)
def test_everybody_can_read_a_view(page: Page, view: str) -> None:
    page.emulate_media(reduced_motion="reduce")
    visit(page, view)
    assert violations(page) == []
    if view in DARK:  # colours differ and nothing else
        page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        assert violations(page, runOnly=["color-contrast"]) == []
    # on a phone nothing has to be moved sideways but tables inside their frame
    page.set_viewport_size({"width": 360, "height": 740})
    page.locator(SHOWN[view]).first.wait_for(state="attached")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_user_is_found_with_the_keyboard_alone(page: Page) -> None:
    page.goto("/#/user")
    page.locator(".chips a").first.wait_for()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#user-title")).to_be_focused()
    for _ in range(2):  # back over the button of the search to its field
        page.keyboard.press("Shift+Tab")
    expect(page.locator("#user-id")).to_be_focused()
    page.keyboard.type("user-0")
    expect(page.locator("#users option")).to_have_count(10)
    page.keyboard.type("0")
    page.keyboard.press("Enter")
    expect(page.locator("#user-title")).to_have_text("user-00")
    expect(page.locator("#said")).to_contain_text("user-00: ")
    assert page.title().startswith("user-00")


def test_a_user_is_shown_with_reasons_titles_and_what_came_next(page: Page) -> None:
    visit(page, "user/user-00")
    expect(page.locator(".bars li")).to_have_count(5)
    expect(page.locator(".bars .was").first).to_contain_text("came true in")
    expect(page.locator(".causes")).to_contain_text("Camping stove")  # a title, not an id
    expect(page.locator(".causes")).to_contain_text("“a tent for <two>”")
    expect(page.locator(".outcomes li")).to_have_count(8)
    expect(page.locator(".score")).to_contain_text("touched the first interest")
    expect(page.locator(".truth")).to_contain_text("camping")  # of a simulation
    assert page.locator(".strip").count() >= 2
    page.goto("/#/user/user-01")
    expect(page.locator("#user-title")).to_have_text("user-01")
    expect(page.locator(".truth")).to_have_count(0)


def test_what_a_stranger_wrote_is_text(page: Page) -> None:
    page.goto(f"/#/user/{quote(HOSTILE, safe='')}")
    expect(page.locator("#user-title")).to_have_text(HOSTILE)
    assert page.evaluate("window.broken") is None
    page.goto("/#/user/nobody")
    expect(page.get_by_role("alert")).to_contain_text("nothing is known")
    page.goto("/#/segments/campin")
    expect(page.get_by_role("alert")).to_contain_text("camping")


def test_a_segment_is_filtered_and_exported(page: Page, pages: PageService) -> None:
    visit(page, "segments/camping")
    page.get_by_label("Probability from").select_option("30")
    query = "interest=camping&min_probability=0.3"
    count = pages.service.get(f"/v1/segments?{query}")["count"]
    assert 0 < count < USERS
    expect(page.locator("#size strong")).to_have_text(str(count))
    expect(page.locator("#members tbody tr")).to_have_count(count)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Export as CSV").click()
    whole = Path(saved.value.path()).read_bytes()
    assert whole == pages.service.client.get(f"/v1/segments?{query}&format=csv").content
    assert len(whole.splitlines()) == count + 1


def test_the_stream_graph_names_what_it_shows(page: Page) -> None:
    visit(page, "now")
    page.get_by_text("Week", exact=True).click()
    expect(page.locator("#stream svg")).to_have_attribute("aria-label", re.compile("the last week"))
    expect(page.locator("#stream .layer")).to_have_count(7)
    page.locator("#stream summary").click()
    expect(page.locator("#stream tbody tr")).to_have_count(7)
    page.locator("#stream .legend a").first.focus()
    expect(page.locator("#stream .layer.on")).to_have_count(1)


def test_updates_are_seen_as_they_come_until_they_are_paused(
    page: Page, pages: PageService
) -> None:
    visit(page, "live")
    wait_until_listened(page, pages)
    pages.publish(record("a newcomer", 1, {"jazz": 0.7}))
    expect(page.locator("#updates li").first).to_contain_text("a newcomer")
    page.get_by_role("button", name="Pause").click()
    pages.publish(record("nobody sees", 2))
    expect(page.locator("#passed")).to_have_text("1 update since")
    page.get_by_role("button", name="Pause").click()
    pages.publish(record("the next one", 3))
    expect(page.locator("#updates li").first).to_contain_text("the next one")
    expect(page.locator("#updates")).not_to_contain_text("nobody sees")


def wait_until_listened(page: Page, pages: PageService) -> None:
    for _ in range(PATIENCE_MS // 50):
        if len(pages.service.feed):
            return
        page.wait_for_timeout(50)
    pytest.fail("the page does not listen")


def test_a_key_is_asked_for_and_kept(page: Page, pages: PageService) -> None:
    serving, before = pages.service.serving, pages.service.serving.guard
    serving.guard = KeyGuard({hash_of("is_sesame"): Caller("page", frozenset(SCOPES))})
    try:
        page.goto("/#/health")
        page.get_by_label("API key").fill("is_sesame")
        page.get_by_role("button", name="Use it").click()
        expect(page.locator(".reliability")).to_be_visible()
        page.reload()
        expect(page.locator(".reliability")).to_be_visible()
    finally:
        serving.guard = before
