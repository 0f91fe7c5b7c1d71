"""The admin pages in Chromium, with JavaScript and without: what people do, and how it looks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Locator, Page, Route, expect
from tests.accessibility import LOOKED_AT, route_of, violations
from tests.browser import save_screenshots
from tests.conftest import SERVE, Server, serving
from tests.visitor import PASSWORD

OpenPage = Callable[..., Page]

STALE = 3  # how often the store is away when a page is asked for

HEADER = 100  # pixels

NOTE = "The **database** is slow.\n\n- we look into it\n- more at `10:00`"


class Site(NamedTuple):
    """A server that nobody has used yet.

    Attributes:
        server: it.
        link: its file with the link to make the first admin.
    """

    server: Server
    link: Path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A fresh server."""
    link = tmp_path / "link"
    store = f"--store=sqlite:///{tmp_path}/statusthing.db"
    with serving(tmp_path, *SERVE, store, f"--setup-file={link}") as server:
        yield Site(server, link)


def set_up(page: Page, site: Site) -> None:
    """Make the first admin with the link."""
    url = next(word for word in site.link.read_text().split() if "/setup?" in word)
    page.goto(url)
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Items")


def add_status(page: Page, name: str, kind: str) -> None:
    """Add a status."""
    page.get_by_role("link", name="Statuses", exact=True).first.click()
    page.get_by_role("link", name="Add a status").first.click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Kind").select_option(label=kind)
    page.get_by_role("button", name="Add the status").click()
    expect(page.get_by_role("status").first).to_have_text("The status was added.")


def add_item(page: Page, name: str, status: str) -> None:
    """Add an item."""
    page.get_by_role("link", name="Items", exact=True).first.click()
    page.get_by_role("link", name=re.compile("^Add ")).first.click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Status").select_option(label=status)
    page.get_by_role("button", name="Add the item").click()
    expect(page.get_by_role("status").first).to_have_text("The item was added.")


def row(page: Page, name: str) -> Locator:
    """Return the row of an item in the list."""
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name))


def post_in_two_clicks(page: Page, *, javascript: bool) -> None:
    """Say that Mail is broken: two clicks, and what is typed between them."""
    mail = row(page, "Mail")
    mail.get_by_text("Post an update").click()
    if javascript:
        expect(mail.get_by_label("Status")).to_be_focused()
    mail.get_by_label("Status").select_option(label="Outage")
    mail.get_by_label("Note").fill(NOTE)
    mail.get_by_role("button", name="Post").click()
    expect(page.get_by_role("status").first).to_have_text("The update was posted.")
    expect(row(page, "Mail").get_by_text("Outage").first).to_be_visible()


def edit_at_once(page: Page) -> None:
    """Have Mail edited in two windows at the same time, and see to it that nothing is lost."""
    other = page.context.new_page()
    for each in (page, other):
        each.goto("/admin")
        each.get_by_role("link", name="Edit Mail").click()
    other.get_by_label("Name").fill("E-mail")
    other.get_by_label("Description").fill("For customers.")
    other.get_by_role("button", name="Save").click()
    expect(other.get_by_role("status").first).to_have_text("The item was saved.")
    page.get_by_label("Name").fill("Mails")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("Somebody else saved this")
    expect(page.get_by_role("row", name="Name")).to_contain_text("E-mail")
    expect(page.get_by_label("Name")).to_have_value("Mails")
    expect(page.get_by_label("Description")).to_have_value("For customers.")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Mails")).to_be_visible()


def delete(page: Page) -> None:
    """Delete an item with its note, and a status that another item has."""
    page.get_by_role("link", name="Delete Mails").click()
    expect(page.get_by_text("Its note goes with it.")).to_be_visible()
    page.get_by_role("button", name="Delete the item").click()
    expect(page.get_by_role("heading", level=2)).to_have_text(["API"])
    page.get_by_role("link", name="Statuses", exact=True).click()
    page.get_by_role("link", name="Delete Fine").click()
    page.get_by_label("Move its items to").select_option(label="Outage")
    page.get_by_role("button", name="Delete the status").click()
    expect(page.get_by_role("link", name="1 item")).to_be_visible()
    page.get_by_role("link", name="Changes").click()
    expect(page.get_by_text("deleted the status Fine")).to_be_visible()


def sign_out(page: Page) -> None:
    """Sign out, after which nothing is to be seen."""
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.goto("/admin")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


# The server comes before the pages, so that it outlives them.
@pytest.mark.parametrize("javascript", [True, False], ids=["with", "without"])
def test_a_page_is_run_from_the_first_day_on(
    site: Site, open_page: OpenPage, *, javascript: bool
) -> None:
    """Set up, sign out and in, add, post in two clicks, edit, delete: what is done every day."""
    page = open_page(site.server.url, javascript=javascript)
    set_up(page, site)
    assert not site.link.exists()
    sign_out(page)
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Items")
    add_status(page, "Fine", "Up")
    add_status(page, "Outage", "Down")
    add_item(page, "API", "Fine")
    add_item(page, "Mail", "Fine")

    # An open public page, which JavaScript keeps fresh.
    public = page.context.new_page()
    public.goto("/")
    expect(public.get_by_role("heading", level=1)).to_contain_text("up")
    post_in_two_clicks(page, javascript=javascript)
    assert javascript is not ("done=" in page.url)
    if not javascript:
        public.reload()
    expect(public.get_by_role("heading", level=1)).to_contain_text("down")
    expect(public.locator(".note strong")).to_have_text("database")

    page.get_by_role("button", name="Move Mail up").click()
    expect(page.get_by_role("heading", level=2)).to_have_text(["Mail", "API"])
    edit_at_once(page)
    delete(page)
    sign_out(page)


PAGES = {
    "items": ("/admin", []),
    "items-open": ("/admin", ["li.item:nth-child(2) summary"]),
    "item-new": ("/admin/items/new", []),
    "item-edit": ("/admin", ["text=Edit API"]),
    "item-delete": ("/admin", ["text=Delete API"]),
    "item-update": ("/admin", ["h2 >> text=API", "text=Post an update"]),
    "notes": ("/admin", ["h2 >> text=API"]),
    "note-edit": ("/admin", ["h2 >> text=API", "text=Edit note 1"]),
    "note-delete": ("/admin", ["h2 >> text=API", "text=Delete note 1"]),
    "statuses": ("/admin/statuses", []),
    "status-new": ("/admin/statuses/new", []),
    "status-edit": ("/admin/statuses", ["text=Edit Fine"]),
    "status-delete": ("/admin/statuses", ["text=Delete Fine"]),
    "changes": ("/admin/changes", []),
    "item-refused": ("/admin/items/new", ["text=Add the item"]),
}
"""Where a page is, and what to press there."""


def test_every_page_looks_well_and_is_for_everybody(site: Site, open_page: OpenPage) -> None:
    """None breaks a rule of accessibility, light or dark, and none is wider than the screen."""
    page = open_page(site.server.url)
    set_up(page, site)
    found = check(page, "items-none")
    add_status(page, "Fine", "Up")
    add_status(page, "Outage", "Down")
    for name in ("API", "A customer portal with quite a long name", "Mail"):
        add_item(page, name, "Fine")
    api = row(page, "API")
    api.get_by_text("Post an update").click()
    api.get_by_label("Note").fill(NOTE)
    api.get_by_role("button", name="Post").click()
    expect(page.get_by_role("status").first).to_have_text("The update was posted.")
    found += check(page, "items-done")
    been = set()
    for name, (path, presses) in PAGES.items():
        page.goto(path)
        if name == "item-refused":
            page.locator("form.card").evaluate("form => { form.noValidate = true; }")
        for press in presses:
            page.locator(press).first.click()
        page.wait_for_load_state()
        found += check(page, name)
        been.add(route_of(page))

    page.goto("/admin")
    page.get_by_role("link", name="Edit API").click()
    other = page.context.new_page()
    other.goto(page.url)
    other.get_by_label("Description").fill("For programs.")
    other.get_by_role("button", name="Save").click()
    expect(other.get_by_role("status").first).to_have_text("The item was saved.")
    page.get_by_label("Name").fill("The API")
    page.get_by_label("Description").fill("For programs of all kinds.")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("Somebody else saved this")
    found += check(page, "item-conflict")

    assert found == []
    assert been == LOOKED_AT["what is published"]


def check(page: Page, name: str) -> list[str]:
    """Keep pictures of a page, and return what is wrong with it."""
    save_screenshots(page, f"admin-{name}")
    size = page.viewport_size
    assert size is not None
    # On a narrow screen, where a table has no header.
    unlabelled = page.locator(".stack td:not([data-label], .actions)").all_inner_texts()
    found = [f"{name}: no label for {text!r}" for text in unlabelled]
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        found += [f"{name}, {scheme}: {each}" for each in violations(page)]
    for width in (320, size["width"]):
        page.set_viewport_size({"width": width, "height": size["height"]})
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        found += [f"{name}: wider than {width} pixels by {wide}"] if wide > 0 else []
    page.set_viewport_size(size)
    page.emulate_media(color_scheme="light")
    return found


TITLE = "The status of the services of the department of transport"


@pytest.mark.parametrize("title", ["Status", TITLE])
def test_the_header_is_two_rows(site: Site, open_page: OpenPage, title: str) -> None:
    """The title and the navigation have one each, on every screen, and one sees where one is."""
    page = open_page(site.server.url)
    set_up(page, site)
    page.goto("/admin/settings")
    page.get_by_label("Title").fill(title)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").first).to_be_visible()
    for width in (1280, 768, 390, 360):
        page.set_viewport_size({"width": width, "height": 900})
        page.reload()
        current = page.get_by_role("link", name="Settings", exact=True)
        expect(current).to_be_in_viewport(ratio=1)
        tops = page.locator(".nav > li").evaluate_all("all => all.map(each => each.offsetTop)")
        assert len(set(tops)) == 1
        brand, nav, top = (
            page.locator(name).bounding_box() for name in (".brand", ".nav", "header")
        )
        assert brand is not None
        assert nav is not None
        assert top is not None
        assert brand["y"] + brand["height"] <= nav["y"]
        assert top["height"] <= HEADER


def test_a_page_that_is_only_the_last_known_asks_again(site: Site, open_page: OpenPage) -> None:
    """No event tells it that the store is back, where nothing has changed meanwhile."""
    asked = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        html = route.fetch().text()
        if len(asked) <= STALE:
            html = html.replace(' id="live"', ' id="live" data-stale')
        route.fulfill(body=html, content_type="text/html")

    page = open_page(site.server.url)
    page.clock.install()
    page.route(f"{site.server.url}/", answer)
    page.goto("/")
    live = page.locator("#live")
    for _ in range(STALE):
        expect(live).to_have_attribute("data-stale", "")
        with page.expect_request(f"{site.server.url}/"):
            page.clock.run_for(12_000)

    expect(live).not_to_have_attribute("data-stale", "")
    assert len(asked) == STALE + 1
