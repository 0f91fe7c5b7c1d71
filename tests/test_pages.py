"""The public pages: what they show, to whom it is legible, and that nothing in them is executed."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import html5lib
import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from statusthing import StatusKind, build_app, limits
from statusthing.access import PERMISSIONS
from statusthing.colors import LEGIBLE, NAMED, canonical, contrast, legible, text_on
from statusthing.errors import InvalidArgument
from statusthing.memory import MemoryStore
from statusthing.web import assets, renderer, templates
from statusthing.web.headline import KINDS, Headline, Level, headline
from statusthing.web.markdown import to_html
from statusthing.web.routes import ROUTES
from statusthing.web.settings import PageSettings
from statusthing.web.stylesheet import DARK, LIGHT, MOST, colors_of, stylesheet

SVG = "{http://www.w3.org/2000/svg}"
BASE = "http://127.0.0.1"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

Act = Callable[[Any, httpx.AsyncClient], Awaitable[Any]]


def use(act: Act, app: Any = None, *, host: Any = None, **options: Any) -> Any:
    """Do something with an application and a client of it."""
    app = app or build_app(MemoryStore(), **options)

    async def main() -> Any:
        transport = httpx.ASGITransport(host or app, raise_app_exceptions=False)
        async with app, httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            return await act(app.st, client)

    return asyncio.run(main())


def parsed(html: str) -> Element:
    """Parse a page, which has to be valid HTML."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    document: Element = parser.parse(html)
    return document


def texts(page: Element, path: str) -> list[str]:
    """Return the text of each element at a path, its white space made plain."""
    return [" ".join("".join(found.itertext()).split()) for found in page.iterfind(path)]


async def front(client: httpx.AsyncClient, path: str = "/") -> Element:
    """Return a page as it was parsed."""
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return parsed(answer.text)


# The front page


def test_an_item_is_shown_with_its_status_and_its_newest_notes() -> None:
    """Name, description, status, kind in words and as an icon, and three notes, newest first."""

    async def act(st: Any, client: httpx.AsyncClient) -> Element:
        status = await st.statuses.add(name="All good", kind=StatusKind.UP, color="teal")
        item = await st.items.add(name="API", description="For all", initial_status_id=status.id)
        for number in range(5):
            await st.notes.add(item.id, f"note {number}")
        return await front(client)

    page = use(act)

    assert texts(page, ".//h3") == ["API"]
    assert texts(page, ".//*[@class='plain about']") == ["For all"]
    assert texts(page, ".//*[@class='state up']") == ["Up All good"]
    drawn = page.iterfind(f".//*[@class='state up']//{SVG}use")
    assert [each.get("href") for each in drawn] == ["#check"]
    assert texts(page, ".//*[@class='note']") == ["note 4", "note 3", "note 2"]


def test_items_come_by_position_and_then_by_age() -> None:
    """The lowest position is first; of two with the same, the older one."""

    async def act(st: Any, client: httpx.AsyncClient) -> Element:
        for name, position in (("c", 2), ("d", 2), ("b", 1), ("a", -1)):
            await st.items.add(name=name, position=position)
        return await front(client)

    assert texts(use(act), ".//h3") == ["a", "b", "c", "d"]


def test_times_are_absolute() -> None:
    """A page that is kept cannot say how long ago something was: the script adds that."""

    async def act(st: Any, client: httpx.AsyncClient) -> Element:
        await st.items.add(name="API", initial_note_text="a note")
        return await front(client)

    page = use(act, clock=lambda: START)
    times = list(page.iterfind(".//time"))

    assert {time.get("datetime") for time in times} == {"2026-03-01T12:00:00Z"}
    assert {time.text for time in times} == {"1 Mar 2026, 12:00 UTC"}


def test_an_empty_page_says_what_will_be_there() -> None:
    """Without items, the page says so."""

    async def act(_: Any, client: httpx.AsyncClient) -> Element:
        return await front(client)

    assert texts(use(act), ".//h1") == ["Nothing is published here yet"]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("?q=ITEM+1", ["item 1", "item 10", "item 11", "item 12"]),
        ("?q=special", ["item 3"]),
        ("?kind=down", ["item 0", "item 1"]),
        ("?kind=down&q=1", ["item 1"]),
        ("?q=nothing+like+it", []),
        ("?utm_source=x", [f"item {number}" for number in range(13)]),
    ],
)
def test_many_items_can_be_filtered(query: str, shown: list[str]) -> None:
    """By text in name and description, and by kind, in a form that needs no script."""

    async def act(st: Any, client: httpx.AsyncClient) -> Element:
        down = await st.statuses.add(name="broken", kind=StatusKind.DOWN)
        for number in range(13):
            await st.items.add(
                name=f"item {number}",
                description="a special one" if number == 3 else "",
                initial_status_id=down.id if number < 2 else "",
            )
        return await front(client, f"/{query}")

    page = use(act)

    assert texts(page, ".//h3") == shown
    assert texts(page, ".//form//option") == ["All kinds", "Down", "No status"]
    assert texts(page, ".//h1") == ["Everything is down"]  # the headline is about everything


def test_few_items_have_no_filter() -> None:
    """A form over twelve items would only be in the way."""

    async def act(st: Any, client: httpx.AsyncClient) -> Element:
        for number in range(12):
            await st.items.add(name=f"item {number}")
        return await front(client)

    assert texts(use(act), ".//form") == []


def test_an_unknown_kind_is_refused() -> None:
    """The page about it is HTML, whatever the client is."""

    async def act(_: Any, client: httpx.AsyncClient) -> httpx.Response:
        return await client.get("/?kind=nope")

    answer = use(act)

    assert answer.status_code == 400
    assert texts(parsed(answer.text), ".//h1") == ["This address makes no sense"]


# The page of an item


def test_all_notes_of_an_item_are_there_page_by_page() -> None:
    """The links lead from the newest notes to the oldest, and none is left out."""

    async def act(st: Any, client: httpx.AsyncClient) -> list[str]:
        item = await st.items.add(name="API")
        for number in range(45):
            await st.notes.add(item.id, f"note {number}")
        found, path = [], f"/items/{item.id}"
        while path:
            page = await front(client, path)
            found += texts(page, ".//*[@class='note']")
            path = next((a.get("href") or "" for a in page.iterfind(".//a[@rel='next']")), "")
        return found

    assert use(act) == [f"note {number}" for number in reversed(range(45))]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/items/nope", 404),
        ("/items/%00", 404),
        ("/items/{id}?before=x", 400),
        ("/items/{id}?before=999999999999999999.x", 400),
        ("/items/{id}?before=1.x", 200),
        ("/nope", 404),
        ("/static/nope.0123456789ab.css", 404),
        ("/static/..%2fapp.0123456789ab.py", 404),
        ("/palette.css?accent=red", 404),
        ("/devmode/reloads", 404),
    ],
)
def test_what_is_not_there_has_a_page_for_browsers(path: str, status: int) -> None:
    """It is whole, says what happened, and is kept by nobody."""

    async def act(st: Any, client: httpx.AsyncClient) -> httpx.Response:
        item = await st.items.add(name="API")
        accept = {"accept": "text/html,*/*;q=0.8"}
        return await client.get(path.replace("{id}", item.id), headers=accept)

    answer = use(act)

    assert answer.status_code == status
    assert len(texts(parsed(answer.text), ".//h1")) == 1
    assert (answer.headers["cache-control"] == "no-store") == (status != 200)


def test_other_clients_get_the_error_of_the_api() -> None:
    """An unknown path is JSON for whoever does not ask for HTML."""

    async def act(_: Any, client: httpx.AsyncClient) -> httpx.Response:
        return await client.get("/nope")

    assert use(act).json()["code"] == "unimplemented"


# For programs


def test_programs_read_the_same() -> None:
    """`/status.json` has the headline, the items in order and the public revision, for any page."""

    async def act(st: Any, client: httpx.AsyncClient) -> httpx.Response:
        status = await st.statuses.add(name="broken", kind=StatusKind.DOWN)
        await st.items.add(name="b", position=2)
        await st.items.add(name="a", initial_status_id=status.id, initial_note_text="**n**")
        return await client.get("/status.json")

    answer = use(act)
    body = answer.json()

    assert answer.headers["access-control-allow-origin"] == "*"
    assert [item["name"] for item in body["items"]] == ["a", "b"]
    assert body["items"][0]["notes"][0]["text"] == "**n**"
    assert body["headline"] == {
        "text": "Everything is down",
        "level": "down",
        "detail": "1 down, 1 no status",
    }
    assert (body["revision"], body["stale"], body["known"]) == (3, False, None)


# The headline


@pytest.mark.parametrize(
    ("kinds", "text", "level"),
    [
        ({}, "Nothing is published here yet", Level.NEUTRAL),
        ({StatusKind.UP: 2, StatusKind.ONLINE: 1}, "Everything is up", Level.UP),
        ({StatusKind.UP: 2, StatusKind.DECOMM: 1}, "Everything is up", Level.UP),
        ({StatusKind.UP: 2, StatusKind.DOWN: 1}, "1 of 3 is down", Level.DOWN),
        ({StatusKind.UP: 1, StatusKind.DOWN: 2}, "2 of 3 are down", Level.DOWN),
        ({StatusKind.WARNING: 1, StatusKind.DOWN: 1}, "1 of 2 is down", Level.DOWN),
        ({StatusKind.WARNING: 3}, "Everything has a warning", Level.TROUBLE),
        ({StatusKind.OBSERVING: 1, StatusKind.UP: 1}, "1 of 2 is being observed", Level.WATCHED),
        ({StatusKind.UNKNOWN: 2}, "Everything has no status", Level.NEUTRAL),
    ],
)
def test_the_worst_kind_in_force_decides(
    kinds: dict[StatusKind, int], text: str, level: Level
) -> None:
    """The headline is about the worst kind, and kinds that say nothing do not count."""
    found = headline(kinds)

    assert (found.text, found.level) == (text, level)


def test_every_kind_has_a_row() -> None:
    """A new kind fails the test until the table says how bad it is; its icon exists."""
    icons = (templates.FOLDER / "icons.html").read_text()

    assert set(KINDS) == set(StatusKind)
    assert all(f'<symbol id="{kind.icon}"' in icons for kind in KINDS.values())
    assert all((assets.FOLDER / f"icon-{level.value}.svg").is_file() for level in Level)


def test_the_rule_can_be_another() -> None:
    """A function given to `build_app` gets the kinds in force, and its headline is shown."""
    seen = []

    def rule(kinds: Any) -> Headline:
        seen.append(dict(kinds))
        return Headline(text="<b>Ask us</b>", level=Level.TROUBLE)

    async def act(st: Any, client: httpx.AsyncClient) -> Element:
        await st.items.add(name="API")
        return await front(client)

    page = use(act, headline=rule)

    assert texts(page, ".//h1") == ["<b>Ask us</b>"]
    assert seen[0] == {StatusKind.UNKNOWN: 1}


def test_the_favicon_shows_the_state() -> None:
    """Its URL names the level and its content, and leads to an image."""

    async def act(st: Any, client: httpx.AsyncClient) -> httpx.Response:
        status = await st.statuses.add(name="broken", kind=StatusKind.DOWN)
        await st.items.add(name="API", initial_status_id=status.id)
        [icon] = (await front(client)).iterfind(".//link[@id='favicon']")
        assert re.fullmatch(r"/static/icon-down\.[0-9a-f]{12}\.svg", icon.get("href") or "")
        return await client.get(icon.get("href") or "")

    answer = use(act)

    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


# Markdown


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a *b* **c** `d` ~~e~~", "<p>a <em>b</em> <strong>c</strong> <code>d</code> <s>e</s></p>"),
        ("# Title", "<p><strong>Title</strong></p>"),
        ("![a cat](https://example.com/cat.png)", "<p>a cat</p>"),
        (
            "[x](https://example.com)",
            '<p><a href="https://example.com" rel="nofollow noopener noreferrer">x</a></p>',
        ),
        ("[x](ftp://example.com)", '<p><a rel="nofollow noopener noreferrer">x</a></p>'),
        ("<b>x</b>", "<p>&lt;b&gt;x&lt;/b&gt;</p>"),
        ("3. a\n4. b", '<ol start="3">\n<li>a</li>\n<li>b</li>\n</ol>'),
    ],
)
def test_notes_are_markdown(text: str, html: str) -> None:
    """CommonMark, with no HTML of its own, no images and no headings."""
    assert to_html(text).strip() == html


@pytest.mark.parametrize(
    "text",
    ["![" * 5000, "[" * 5000 + "]" * 5000, "\n".join(["a|" * 1600, "-|" * 1600, *"a" * 1700])],
    ids=["images", "brackets", "table"],
)
def test_no_note_holds_everybody_up(text: str) -> None:
    """What takes the square of its length otherwise keeps its signs, and nothing of it is lost."""
    began = time.process_time()
    html = to_html(text)

    assert time.process_time() < began + 0.5
    assert html.count("[") == text.count("[")
    assert html.count("|") == text.count("|")


def test_links_and_tables_of_a_usual_size_are_there() -> None:
    """A hundred links and a table of a hundred rows are no burden."""
    links = " ".join(f"[{number}](https://example.com/{number})" for number in range(100))
    rows = "\n".join(f"| {number} | {'x | ' * 8}" for number in range(100))
    html = to_html(f"{links}\n\n| a {'| b ' * 8}|\n{'|---' * 9}|\n{rows}")

    assert html.count("<a ") == 100
    assert html.count("<tr>") == 101


# Colours


def test_every_status_colour_is_served_and_legible() -> None:
    """The page's stylesheet has the class of each badge, with text that can be read on it."""

    async def act(st: Any, client: httpx.AsyncClient) -> tuple[str, Element]:
        for number, color in enumerate(("Navy", "#FD0", "#5DFC0A")):
            status = await st.statuses.add(name=color, kind=StatusKind.UP, color=color)
            await st.items.add(name=f"item {number}", initial_status_id=status.id)
        page = await front(client)
        [link] = page.iterfind(".//link[@id='palette']")
        answer = await client.get(link.get("href") or "")
        assert answer.headers["cache-control"].endswith("immutable")
        return answer.text, page

    css, page = use(act)
    classes = [badge.get("class") for badge in page.iterfind(".//b")]

    assert classes == ["badge c-000080", "badge c-ffdd00", "badge c-5dfc0a"]
    assert ".c-000080{background:#000080;color:#ffffff}" in css
    assert ".c-ffdd00{background:#ffdd00;color:#000000}" in css


@pytest.mark.parametrize("color", [*NAMED.values(), "#777777", "#767676", "#808080", "#123456"])
def test_text_is_legible_on_and_in_every_colour(color: str) -> None:
    """Contrast is that of WCAG's AA, on a badge and for links in the light and in the dark."""
    assert contrast(text_on(color), color) >= LEGIBLE
    assert all(contrast(legible(color, behind), behind) >= LEGIBLE for behind in (LIGHT, DARK))


@pytest.mark.parametrize(
    ("accent", "colors"),
    [
        ("red", ""),
        ("", ""),
        ("00000g", ""),
        ("000000", "}"),
        ("000000", "ffffff-"),
        ("000000", "ffffff-000000;}body{display:none"),
        ("000000", "ffffff\n"),
        ("000000", "-".join(["ffffff"] * (MOST + 1))),
    ],
)
def test_a_stylesheet_has_nothing_but_colours(accent: str, colors: str) -> None:
    """What is not a colour is refused, and never repeated."""
    assert stylesheet(accent, colors) is None


def test_the_colours_of_a_stylesheet_are_bounded() -> None:
    """There is a most of different colours, each counts once, and the order is fixed."""
    colors = [f"#{number:06x}" for number in range(MOST + 50)]

    assert colors_of(["#fff", "white", "#000"]) == "000000-ffffff"
    assert stylesheet("000000", colors_of(colors)) is not None
    assert canonical("#zzz") is None


# Settings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", " "),
        ("accent_color", "url(x)"),
        ("logo_url", "https://elsewhere.example/logo.png"),
        ("logo_url", "//elsewhere.example/logo.png"),
        ("logo_url", "javascript:alert(1)"),
        ("logo_url", "data:text/html,x"),
        ("links", "no url"),
        ("links", "x javascript:alert(1)"),
    ],
)
def test_settings_that_cannot_work_are_refused(field: str, value: str) -> None:
    """The refusal names the field."""
    with pytest.raises(InvalidArgument) as refused:
        PageSettings(**{field: value})

    assert refused.value.field == field


def test_settings_are_shown() -> None:
    """Title, description, logo, accent, links and footer are on the page."""
    settings = PageSettings(
        title="Ours",
        description="All about it",
        logo_url="/logo.svg",
        accent_color="crimson",
        links="Help me https://example.com/help\n\nWrite mailto:a@example.com\n",
        footer="The end",
    )

    async def act(_: Any, client: httpx.AsyncClient) -> Element:
        return await front(client)

    page = use(act, settings=settings)

    assert texts(page, ".//*[@class='brand']") == ["Ours"]
    assert [image.get("src") for image in page.iterfind(".//img")] == ["/logo.svg"]
    assert texts(page, ".//*[@class='links']//a") == ["Help me", "Write"]
    assert texts(page, ".//footer//p")[0] == "The end"
    [link] = page.iterfind(".//link[@id='palette']")
    assert "accent=dc143c" in (link.get("href") or "")


# The whole


def links_of(page: Element) -> Iterator[str]:
    """Return every URL in a page."""
    for element in page.iter():
        for name in ("href", "src", "action", "data-events"):
            value = element.get(name)
            if value and not value.startswith("#"):
                yield value


def test_every_link_works_under_a_prefix() -> None:
    """Mounted at /x/y, every URL of every page begins with it and leads somewhere."""
    app = build_app(MemoryStore())
    host = Starlette(routes=[Mount("/x/y", app)])

    async def act(st: Any, client: httpx.AsyncClient) -> set[str]:
        for number in range(13):
            item = await st.items.add(name=f"item {number}")
        for number in range(25):
            await st.notes.add(item.id, f"note {number}")
        seen: set[str] = set()
        wanted = {"/x/y/"}
        while wanted:
            path = wanted.pop()
            seen.add(path)
            assert path.startswith("/x/y/"), path
            if path.endswith("/events"):
                continue
            answer = await client.get(path)
            assert answer.status_code == 200, path
            if answer.headers["content-type"].startswith("text/html"):
                wanted |= set(links_of(parsed(answer.text))) - seen
        return seen

    assert len(use(act, app, host=host)) >= 20


def test_a_page_has_landmarks_and_headings_in_order() -> None:
    """One main, one h1, no level left out, a language, and a way past the header."""

    async def act(st: Any, client: httpx.AsyncClient) -> list[Element]:
        item = await st.items.add(name="API", initial_note_text="# One\n\n### Three")
        return [await front(client), await front(client, f"/items/{item.id}")]

    for page in use(act):
        levels = [int(e.tag[1]) for e in page.iter() if re.fullmatch("h[1-6]", str(e.tag))]

        assert page.get("lang") == "en"
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        assert [len(list(page.iterfind(f".//{tag}"))) for tag in ("main", "header", "footer")] == [
            1
        ] * 3
        assert [a.get("href") for a in page.iterfind(".//a[@class='skip']")] == ["#main"]


def test_our_own_files_are_small() -> None:
    """One stylesheet below 25 KB, one script below 10 KB, and no code in a template."""
    sources = "".join(path.read_text() for path in templates.FOLDER.rglob("*.html"))

    assert (assets.FOLDER / "site.css").stat().st_size < 25_000
    assert (assets.FOLDER / "site.js").stat().st_size < 10_000
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! defer src=)", sources)


def test_a_thousand_items_are_valid_and_not_too_large() -> None:
    """The page at 1 000 items, each with a status and two notes, is below 1.2 MB."""

    async def act(st: Any, client: httpx.AsyncClient) -> str:
        status = await st.statuses.add(name="Operational", kind=StatusKind.UP)
        for number in range(1_000):
            item = await st.items.add(
                name=f"Service {number}",
                description="What people depend on, in a sentence that is long enough.",
                initial_status_id=status.id,
                initial_note_text="Answers are slower than usual. We are looking into it.",
            )
            await st.notes.add(item.id, "The cause is found, and removed. We keep watching.")
        return (await client.get("/")).text

    html = use(act)

    assert len(html.encode()) < 1_200_000
    assert len(texts(parsed(html), ".//h3")) == 1_000


# Devmode


def test_a_template_that_fails_says_where_in_devmode_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The page names file, line and message to who edits it, and an id to everybody else."""
    for source in templates.FOLDER.rglob("*.html"):
        copy = tmp_path / source.relative_to(templates.FOLDER)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(source.read_bytes())
    monkeypatch.setattr(templates, "FOLDER", tmp_path)
    monkeypatch.setattr(renderer, "FOLDER", tmp_path)
    piece = tmp_path / "public" / "front.html"
    piece.write_text(piece.read_text() + "{% block foot %}{% endblock %}")

    async def act(_: Any, client: httpx.AsyncClient) -> httpx.Response:
        return await client.get("/")

    shown, hidden = use(act, devmode=True), use(act)

    assert (shown.status_code, hidden.status_code) == (500, 500)
    assert re.search(r"front\.html:\d+", shown.text)
    assert "front.html" not in hidden.text
    assert re.search(r"[0-9a-f]{16}", hidden.text)


def test_pages_follow_edits_in_devmode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A template and an asset that were edited are there at the next request."""
    for name, folder in (("templates", templates.FOLDER), ("static", assets.FOLDER)):
        for source in folder.rglob("*.*"):
            copy = tmp_path / name / source.relative_to(folder)
            copy.parent.mkdir(exist_ok=True, parents=True)
            copy.write_bytes(source.read_bytes())
    monkeypatch.setattr(templates, "FOLDER", tmp_path / "templates")
    monkeypatch.setattr(renderer, "FOLDER", tmp_path / "templates")
    monkeypatch.setattr(assets, "FOLDER", tmp_path / "static")

    async def act(_: Any, client: httpx.AsyncClient) -> tuple[str, str, str]:
        before = (await client.get("/")).text
        layout = tmp_path / "templates" / "layout.html"
        layout.write_text(layout.read_text().replace("Skip to the content", "Skip all this now"))
        (tmp_path / "static" / "site.css").write_text("body { color: red }")
        after = (await client.get("/")).text
        sheet = re.search(r"/static/site\.\w+\.css", after)
        assert sheet is not None
        return before, after, (await client.get(sheet[0])).text

    before, after, css = use(act, devmode=True)

    assert "Skip all this now" not in before
    assert "Skip all this now" in after
    assert css == "body { color: red }"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/", "GET, HEAD"),
        ("PUT", "/items/x", "GET, HEAD"),
        ("DELETE", "/healthz", "GET, HEAD"),
        ("OPTIONS", "/readyz", "GET, HEAD"),
        ("PATCH", "/setup", "GET, HEAD, POST"),
        ("PUT", "/admin/login", "GET, HEAD, POST"),
        ("GET", "/admin/logout", "POST"),
    ],
)
def test_another_method_is_refused_with_those_that_there_are(
    method: str, path: str, allowed: str
) -> None:
    """Programs get the API's error object, and browsers a page."""

    async def act(_: Any, client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        html = {"accept": "text/html"}
        return await client.request(method, path), await client.request(method, path, headers=html)

    program, browser = use(act)

    assert (program.status_code, browser.status_code) == (405, 405)
    assert program.headers["allow"] == browser.headers["allow"] == allowed
    assert program.json() == {"code": "unimplemented", "message": f"This address takes {allowed}."}
    assert browser.headers["content-type"] == "text/html; charset=utf-8"


def test_a_form_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends half of one is told so, instead of being cut off."""
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.01)

    async def half() -> AsyncIterator[bytes]:
        yield b"username="
        await asyncio.Event().wait()

    async def act(_: Any, client: httpx.AsyncClient) -> httpx.Response:
        form = {"content-type": "application/x-www-form-urlencoded"}
        return await client.post("/admin/login", content=half(), headers=form)

    assert use(act).status_code == 408


def test_every_row_names_what_guards_it() -> None:
    """Each row has a name of its own, and an operation that there is."""
    assert len({row.name for row in ROUTES}) == len(ROUTES)
    assert {row.operation for row in ROUTES} <= set(PERMISSIONS)
