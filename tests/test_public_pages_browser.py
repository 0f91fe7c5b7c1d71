"""The public pages in Chromium: how they look, for whom, and that they follow what changes."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect
from tests.accessibility import LOOKED_AT, route_of, violations
from tests.browser import NARROW, WIDE, save_screenshots
from tests.command import statusthing
from tests.conftest import SERVE, Server, serving
from tests.markup import html_errors
from tests.public_site import PREFIX

from statusthing.web.routes import ROUTES

OpenPage = Callable[..., Page]

NO_PAGES = {"status", "events", "palette", "asset", "reloads", "healthz", "readyz"}
"""The routes that answer something else than HTML."""

ROOT = str(Path(__file__).parents[1])
PROGRAM = f"import sys; sys.path.insert(0, {ROOT!r}); from tests import public_site as s; s.main()"

NOTE = """The **database** is slow, see [the report](https://example.com/report).

- we look into it
- more at `10:00`

| region | state |
|:-------|------:|
| north  | slow  |
"""

GONE = r"net::ERR_|Failed to load resource"
"""What Chromium says of a server that is down."""


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Run a server that nothing is published at."""
    with serving(folder, sys.executable, "-c", PROGRAM, token=None) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that nothing is published at."""
    with running(tmp_path) as started:
        yield started


def away(server: Server) -> Path:
    """Return the file whose presence keeps the store away."""
    return server.log.with_name("away")


def lose_store(server: Server, page: Page) -> None:
    """Keep the store away, and wait until the server has seen it."""
    away(server).touch()
    page.evaluate(
        """async () => {
            const end = Date.now() + 10000;
            while (Date.now() < end) {
                const answer = await fetch("/");
                if ((await answer.text()).includes("data-stale")) return;
            }
            throw new Error("the server does not see that the store is away");
        }"""
    )


def call(server: Server, rpc: str, **fields: Any) -> dict[str, Any]:
    """Call the API, and return the answer."""
    with server.json() as client:
        return client.ok(rpc, **fields)


def add_item(server: Server, name: str, **fields: Any) -> str:
    """Add an item, and return its id."""
    return str(call(server, "AddItem", name=name, **fields)["item"]["id"])


def add_status(server: Server, name: str, kind: str, color: str) -> str:
    """Add a status, and return its id."""
    fields = {"name": name, "kind": f"STATUS_KIND_{kind}", "color": color}
    return str(call(server, "AddStatus", **fields)["status"]["id"])


def stock(server: Server, number: int) -> list[str]:
    """Publish items of every kind of status, with notes, and return their ids."""
    kinds = ("UP", "WARNING", "DOWN", "OBSERVING", "INVESTIGATING", "OFFLINE", "DECOMM")
    colors = ("#14833b", "gold", "#b42318", "navy", "#fa8", "black", "silver")
    statuses = [
        add_status(server, f"Our word for {kind.lower()}", kind, color)
        for kind, color in zip(kinds, colors, strict=True)
    ]
    return [
        add_item(
            server,
            f"Service {index} of the platform",
            description="What it does for our customers, in one sentence." if index % 2 else "",
            initial_status_id=statuses[index % len(statuses)],
            initial_note_text=NOTE if index % 3 == 0 else "",
        )
        for index in range(number)
    ]


# How they look


def wide(page: Page) -> int:
    """Return by how many pixels a page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


def check(page: Page, name: str) -> list[str]:
    """Keep pictures of a page, and return what is wrong with it."""
    save_screenshots(page, f"public-{name}")
    found = html_errors(page.request.get(page.url, headers={"accept": "text/html"}).text())
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        found += [f"{name}, {scheme}: {each}" for each in violations(page)]
    for width in (320, NARROW, WIDE):
        page.set_viewport_size({"width": width, "height": 900})
        found += [f"{name}: wider than {width} pixels"] if wide(page) > 0 else []
    page.emulate_media(color_scheme="light")
    return found


def test_every_page_looks_well_and_is_for_everybody(server: Server, open_page: OpenPage) -> None:
    """With nothing to show, with little and with much, found and not found, and last known."""
    page = open_page(server.url)
    been, found = set(), []

    def look(path: str, name: str) -> None:
        page.goto(path)
        nonlocal found
        found += check(page, name)
        been.add(route_of(page))

    look("/", "empty")
    ids = stock(server, 4)
    look("/", "few")
    look(f"/items/{ids[1]}", "item-without-notes")
    for number in range(25):
        call(server, "AddNote", item_id=ids[0], note_text=f"Update {number}: {NOTE}")
    look(f"/items/{ids[0]}", "item")
    page.get_by_role("link", name="Older notes").click()
    expect(page.get_by_role("link", name="Newest notes")).to_be_visible()
    found += check(page, "item-older")
    for number in range(30):
        add_item(server, f"Machine {number}")
    look("/", "many")
    look("/?q=service&kind=down", "filtered")
    look("/?q=nothing+like+it", "filtered-none")
    look(f"{PREFIX}/?q=service", "prefix")
    page.get_by_role("link", name="Service 0").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Service 0 of the platform")
    found += check(page, "prefix-item")
    look("/nope", "missing")
    look("/?kind=nope", "senseless")
    lose_store(server, page)
    for path, name in (("/", "last-known"), (f"/items/{ids[0]}", "item-last-known")):
        look(path, name)
        expect(page.get_by_text("Last known status.")).to_be_visible()

    assert found == []
    assert been - {""} == LOOKED_AT["the public pages"]


def test_a_page_that_knows_nothing_looks_well(tmp_path: Path, open_page: OpenPage) -> None:
    """After a start without the store."""
    (tmp_path / "away").touch()
    with running(tmp_path) as server:
        page = open_page(server.url)
        page.goto("/")
        expect(page.get_by_role("heading", level=1)).to_have_text(
            "The status is not known right now"
        )

        assert check(page, "unknown") == []
        page.close()


def test_a_page_is_whole_without_javascript(server: Server, open_page: OpenPage) -> None:
    """It says the same, and its filter is a form."""
    ids = stock(server, 30)
    page = open_page(server.url, javascript=False, width=NARROW)
    page.goto("/")

    expect(page.get_by_role("heading", level=1)).to_contain_text("down")
    expect(page.get_by_role("heading", level=3)).to_have_count(30)
    expect(page.locator("time").first).to_have_text(re.compile(r"^\d+ \w{3} \d{4}, \d\d:\d\d UTC$"))
    assert wide(page) <= 0
    save_screenshots(page, "public-without-javascript")
    page.get_by_label("Kind").select_option(label="Warning")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("heading", level=3)).to_have_count(5)
    page.get_by_role("heading", level=3).get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Service 1 of the platform")
    assert page.url.endswith(ids[1])


def test_a_page_can_be_printed(server: Server, open_page: OpenPage) -> None:
    """On white, whatever the reader prefers on the screen, without what nobody can press."""
    stock(server, 14)
    page = open_page(server.url, color_scheme="dark")
    page.goto("/")
    page.emulate_media(media="print")

    colors = page.evaluate(
        "['backgroundColor', 'color'].map(name => getComputedStyle(document.body)[name])"
    )
    assert colors == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
    expect(page.get_by_role("search")).to_be_hidden()
    expect(page.get_by_role("heading", level=3)).to_have_count(14)
    save_screenshots(page, "public-printed")
    assert violations(page) == []


def test_the_keyboard_is_enough(server: Server, open_page: OpenPage) -> None:
    """The first stop leads to the content; all that can be used is a stop, and each is to be seen.

    Their order is that of the page.
    """
    stock(server, 14)
    page = open_page(server.url, reduced_motion=True)  # where one goes, one is at once
    page.goto("/")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()

    page.reload()
    usable = "a[href], input:not([type=hidden]), select, button"
    number = page.locator(usable).count()
    stops = []
    for _ in range(number):
        page.keyboard.press("Tab")
        stops.append(
            page.evaluate(
                f"""() => {{
                    const now = document.activeElement, style = getComputedStyle(now);
                    const box = now.getBoundingClientRect();
                    const seen = box.height > 0 && box.bottom > 0 && box.top < innerHeight;
                    return [
                        [...document.querySelectorAll("{usable}")].indexOf(now),
                        seen && style.outlineStyle === "solid" && parseFloat(style.outlineWidth),
                    ];
                }}"""
            )
        )
    assert [index for index, _ in stops] == list(range(number))
    assert [width for _, width in stops] == [3] * number


# What changes


def test_an_open_page_follows(server: Server, open_page: OpenPage) -> None:
    """Without being loaded again; a changed headline is announced, and the favicon shows it."""
    up = add_status(server, "Fine", "UP", "green")
    down = add_status(server, "Outage", "DOWN", "red")
    api = add_item(server, "API", initial_status_id=up)
    page = open_page(server.url)
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Everything is up")
    page.evaluate("window.loaded = 'once'")
    live = page.locator("#announcer")
    expect(live).to_have_attribute("aria-live", "polite")
    expect(live).to_have_text("")

    page.get_by_role("link", name="API").focus()
    add_item(server, "Mail", initial_status_id=up)
    expect(page.get_by_role("heading", level=3)).to_have_text(["API", "Mail"])
    expect(page.get_by_role("link", name="API")).to_be_focused()
    expect(live).to_have_text("")  # the headline is the same
    call(server, "UpdateItem", item_id=api, status_id=down)
    expect(page.get_by_role("heading", level=1)).to_have_text("1 of 2 is down")
    expect(live).to_have_text("1 of 2 is down")
    expect(page).to_have_title("1 of 2 is down · Example")
    expect(page.locator("#favicon")).to_have_attribute("href", re.compile("icon-down"))
    # The colour of a status that was not there when the page was loaded.
    red = "getComputedStyle(document.querySelector('.badge')).backgroundColor === 'rgb(255, 0, 0)'"
    page.wait_for_function(red)
    assert page.evaluate("window.loaded") == "once"


def test_an_open_page_of_an_item_follows(server: Server, open_page: OpenPage) -> None:
    """New notes come to the top of it; when the item is deleted, the page says so."""
    api = add_item(server, "API")
    page = open_page(server.url)
    page.goto(f"{PREFIX}/items/{api}")
    page.evaluate("window.loaded = 'once'")
    call(server, "AddNote", item_id=api, note_text="**Better** now.")

    expect(page.locator(".note strong")).to_have_text("Better")
    assert page.evaluate("window.loaded") == "once"
    call(server, "DeleteItem", item_id=api)
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such page")


@pytest.mark.parametrize("reduced", [True, False])
def test_nothing_moves_for_who_prefers_that(
    server: Server, open_page: OpenPage, *, reduced: bool
) -> None:
    """What is new is marked with an animation, unless the reader wants none."""
    add_item(server, "API")
    page = open_page(server.url, reduced_motion=reduced)
    page.goto("/")
    page.evaluate(
        """() => {
            window.moved = 0;
            addEventListener("animationstart", () => { window.moved += 1; }, true);
        }"""
    )
    add_item(server, "Mail")
    expect(page.locator(".changed h3")).to_have_text("Mail")
    if reduced:
        assert page.evaluate("document.getAnimations().length") == 0
        assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    else:
        page.wait_for_function("window.moved > 0")


def test_a_page_in_the_background_rests(server: Server, open_page: OpenPage) -> None:
    """It asks for nothing while it is hidden, and catches up when it is seen again."""
    add_item(server, "API")
    page = open_page(server.url)
    other = page.context.new_page()
    for each in (page, other):
        with each.expect_response("**/events"):
            each.goto("/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    turn = """hidden => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(turn, arg=True)
    add_item(server, "Mail")
    expect(other.get_by_role("heading", level=3)).to_have_count(2)
    page.evaluate("0")
    assert asked == []
    expect(page.get_by_role("heading", level=3)).to_have_count(1)

    page.evaluate(turn, arg=False)
    expect(page.get_by_role("heading", level=3)).to_have_count(2)
    assert asked[:2] == ["/events", "/"]


def at_port(folder: Path, port: int) -> AbstractContextManager[Server]:
    """Run a server whose data stay, at a port."""
    token = (folder / "token").read_text()
    return serving(folder, *SERVE[:2], f"--addr=127.0.0.1:{port}", token=token)


def test_an_open_page_outlives_its_server(tmp_path: Path, open_page: OpenPage) -> None:
    """When it is there again, the page catches up by itself."""
    made = statusthing(tmp_path, "token", "create", "tests", "--role=editor")
    (tmp_path / "token").write_text(made.stdout.strip())
    with at_port(tmp_path, 0) as server:
        add_item(server, "API")
        page = open_page(server.url, allowed=[GONE])
        with page.expect_response("**/events"):
            page.goto("/")
        page.evaluate("window.loaded = 'once'")
        port = urlsplit(server.url).port
        assert port is not None
    with at_port(tmp_path, port) as server:
        add_item(server, "Mail")
        expect(page.get_by_role("heading", level=3)).to_have_text(["API", "Mail"], timeout=30_000)
        assert page.evaluate("window.loaded") == "once"
        page.close()


def test_an_open_page_says_that_it_is_not_live(server: Server, open_page: OpenPage) -> None:
    """Once, when it cannot connect again, and without moving anything; until it is live again."""
    stock(server, 14)
    page = open_page(server.url, allowed=[GONE])
    page.clock.install(time=0)
    page.clock.pause_at(1)
    page.route("**/events", lambda route: route.abort())
    with page.expect_event("requestfailed"):
        page.goto("/")
    offline = page.locator("#offline")
    page.evaluate(
        """() => {
            window.shown = 0;
            const count = () => { window.shown += 1; };
            new MutationObserver(count).observe(
                document.getElementById("offline").parentElement,
                { subtree: true, childList: true, characterData: true, attributes: true },
            );
        }"""
    )
    places = "[...document.querySelectorAll('main, h1, h3, footer')].map(each => each.offsetTop)"
    before = page.evaluate(places)
    expect(offline).to_be_hidden()  # a server that only begins anew is no news

    for _ in range(3):
        with page.expect_event("requestfailed"):
            page.clock.run_for(60_000)
    expect(offline).to_be_in_viewport(ratio=1)
    assert page.evaluate(places) == before
    assert page.evaluate("window.shown") == 1
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(page.locator("footer a").last).to_be_in_viewport(ratio=1)
    page.clock.resume()
    assert check(page, "offline") == []
    page.emulate_media(media="print")
    expect(offline).to_be_hidden()
    page.emulate_media(media="screen")

    page.unroute("**/events")
    with page.expect_response("**/events"):
        page.clock.run_for(120_000)
    expect(offline).to_be_hidden()


def test_a_page_that_was_stale_recovers(server: Server, open_page: OpenPage) -> None:
    """When the store is back, the notice goes by itself."""
    add_item(server, "API")
    page = open_page(server.url)
    page.goto("/")
    expect(page.get_by_text("Last known status.")).to_have_count(0)
    lose_store(server, page)
    page.reload()
    expect(page.get_by_text("Last known status.")).to_be_visible()
    away(server).unlink()
    expect(page.get_by_text("Last known status.")).to_be_hidden(timeout=30_000)
    expect(page.get_by_role("heading", level=3)).to_have_text("API")


# All of them


def test_every_page_is_looked_at() -> None:
    """Each route that answers with a page is in the row of a test with axe-core and pictures."""
    pages = {row.name for row in ROUTES if "GET" in row.methods} - NO_PAGES

    assert set().union(*LOOKED_AT.values()) == pages
