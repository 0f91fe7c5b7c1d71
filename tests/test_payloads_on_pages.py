"""Hostile texts in every field, on every page that shows them: text is what they stay.

Without a browser each page is parsed and compared with the same page of harmless texts. In Chromium
each is opened, and watched.
"""

from __future__ import annotations

import html
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

import httpx
import pytest
from markupsafe import escape
from playwright.sync_api import Page
from tests import hostile
from tests.accounts import counted
from tests.conftest import Server, serving
from tests.hostile import ONE_BY_ONE, TOGETHER, Ids, Text, harmless
from tests.markup import html_errors, injected
from tests.payloads import PAYLOADS
from tests.visitor import HTTP, Place, Visitor, awaited, place

from statusthing.colors import canonical
from statusthing.errors import InvalidArgument
from statusthing.web.forms import LABELS
from statusthing.web.public import LONGEST

ROOT = str(Path(__file__).parents[1])
COOKIE = "statusthing_session"

LISTS = {
    "/": "name",
    "/?kind=up": "name",
    "/items/{item}": "",  # notes are Markdown, and become another text
    "/admin": "name",
    "/admin?kind=up": "name",
    "/admin/items/{item}/notes": "",
    "/admin/items/{item}/edit": "name",  # all statuses, to choose from
    "/admin/statuses": "name",
    "/admin/statuses/{status}/delete": "name",
    "/admin/users": "name",
    "/admin/tokens": "name",
    "/admin/changes": "name",
    "/admin/profile": "",  # what cannot be printed is taken out
}
"""Where there is a record of each text, on one page or several, and which text is to be seen."""

SINGLE = (
    "/",
    "/items/{item}",
    "/items/nope",
    "/admin",
    "/admin/items/new",
    "/admin/items/{item}/edit",
    "/admin/items/{item}/delete",
    "/admin/items/{item}/update",
    "/admin/items/{item}/notes",
    "/admin/notes/{note}/edit",
    "/admin/notes/{note}/delete",
    "/admin/statuses",
    "/admin/statuses/{status}/edit",
    "/admin/statuses/{status}/delete",
    "/admin/users",
    "/admin/users/{user}/edit",
    "/admin/users/{user}/delete",
    "/admin/tokens/{token}/revoke",
    "/admin/settings",
    "/admin/profile",
    "/admin/nope",
)
"""Where one record is shown, and what there is around every page."""


class Sent(NamedTuple):
    """A form that is refused.

    Attributes:
        path: where it is sent to.
        fields: what is in it.
        status: of the page that it comes back on.
    """

    path: str
    fields: Mapping[str, str]
    status: int


def forms(text: Text) -> Iterator[Sent]:
    """Return forms with a text in every field, each refused for something else."""
    names = "name", "username", "first_name", "last_name", "title", "footer"
    every = dict.fromkeys(LABELS, text.lines) | dict.fromkeys(names, text.name)
    good = {"position": "0", "role": "viewer", "kind": "up", "color": "red"}
    good |= {"email_address": text.email, "avatar_url": text.url}
    theirs = {f"was.{name}": f"was {value}" for name, value in every.items()}
    mine = {name: f"mine {value}" for name, value in every.items()}
    conflict = mine | theirs | good | {"expected_version": "999", "status_id": ""}
    yield Sent("/admin/items/new", every, 400)
    yield Sent("/admin/items/{item}/edit", every | {"expected_version": "1"}, 400)
    yield Sent("/admin/items/{item}/edit", conflict, 409)
    yield Sent("/admin/items/{item}/delete", {"expected_version": "999"}, 409)
    yield Sent("/admin/items/{item}/update", every | {"back": text.lines}, 409)
    yield Sent("/admin/items/nope/edit", every | good | {"expected_version": "1"}, 404)
    yield Sent("/admin/notes/{note}/edit", conflict | {"back": text.lines}, 409)
    yield Sent("/admin/statuses/new", every | {"kind": ""}, 400)
    yield Sent("/admin/statuses/{status}/edit", conflict, 409)
    yield Sent("/admin/statuses/{status}/delete", {**every, "expected_version": "1"}, 409)
    yield Sent("/admin/users/new", every, 400)
    yield Sent("/admin/users/{user}/edit", conflict, 409)
    yield Sent("/admin/users/{user}/delete", {"expected_version": "999"}, 409)
    yield Sent("/admin/tokens/new", every, 400)
    yield Sent("/admin/settings", mine | theirs | {"expected_version": "999"}, 409)


def found_in(page: str, reference: str, where: str, texts: Iterable[str]) -> list[str]:
    """Return what sets a page with hostile texts apart, and which of them stand in it as typed."""
    differences = injected(page, reference, note_class="note")
    raw = [text for text in texts if text in page and html.escape(text) != text]
    return [f"{where}: {each}; as typed: {raw[:3]}" for each in differences]


@asynccontextmanager
async def filled(
    texts: list[Text], *, statuses: int | None = None
) -> AsyncIterator[tuple[Place, Visitor, Ids]]:
    """Open a place with a record of each kind for each text, and sign the first user in."""
    async with place() as here, here.visitor() as visitor:
        ids = await hostile.fill(here.st, texts, statuses=statuses)
        for text in texts:
            secret = await hostile.session(here.st, ids, text.lines)
        visitor.http.cookies.set(COOKIE, secret, "status.example", "/")
        yield here, visitor, ids


async def all_pages(visitor: Visitor, path: str) -> list[str]:
    """Return a page, and those that follow it."""
    pages = []
    while path:
        answer = await visitor.http.get(path)
        assert answer.status_code == 200, (path, answer.status_code)
        pages.append(answer.text)
        following = re.search(r'<a rel="next" href="([^"]*)"', answer.text)
        path = html.unescape(following[1]) if following else ""
    return pages


@pytest.mark.parametrize("path", LISTS)
@awaited
async def test_no_text_in_a_list_becomes_markup(path: str) -> None:
    """A record of each text, each in an element of its own."""
    numbered = [harmless(number) for number in range(len(ONE_BY_ONE))]
    # In the list of items, each row has all statuses to choose from.
    statuses = 20 if path.startswith("/admin?") or path == "/admin" else len(ONE_BY_ONE)
    async with (
        filled(ONE_BY_ONE, statuses=statuses) as (_, bad, ids),
        filled(numbered, statuses=statuses) as (_, good, others),
    ):
        pages = await all_pages(bad, path.format(**ids.of(0)))
        references = await all_pages(good, path.format(**others.of(0)))

    assert html_errors(references[0]) == []
    found = []
    for number, (page, reference) in enumerate(zip(pages, references, strict=True), 1):
        texts = (payload.text for payload in PAYLOADS)
        found += found_in(page, reference, f"{path}, page {number}", texts)
    assert found == []
    shown = html.unescape("".join(pages))
    missing = [text for text in ONE_BY_ONE if getattr(text, LISTS[path] or "name") not in shown]
    assert missing == [] or not LISTS[path]


@awaited
async def test_no_text_of_a_record_becomes_markup() -> None:
    """On the pages of one record, and in what is around every page."""
    async with filled([harmless(0)]) as (here, visitor, ids):
        known = await hostile.rewrite(here.st, ids, harmless(1))
        pages = [path.format(**known.of(0)) for path in SINGLE]
        references = [(await visitor.http.get(path)).text for path in pages]
        for reference in references:
            assert html_errors(reference) == []

        found = []
        for text in TOGETHER:
            known = await hostile.rewrite(here.st, known, text)
            for path, reference in zip(SINGLE, references, strict=True):
                page = (await visitor.http.get(path.format(**known.of(0)))).text
                assert escape(text.name) in page, (path, text)
                found += found_in(page, reference, path, [text.name, text.lines])
        assert found == []


@awaited
async def test_no_text_in_a_form_that_comes_back_becomes_markup() -> None:
    """With what was typed, with what is wrong with it, and with what others have changed."""
    async with filled([harmless(0)]) as (here, visitor, ids):
        known = await hostile.rewrite(here.st, ids, harmless(1))
        sent = [sent_as(each, known) for each in forms(harmless(1))]
        references = [await visitor.post(each.path, **each.fields) for each in sent]
        assert [page.status_code for page in references] == [each.status for each in sent]
        for reference in references:
            assert html_errors(reference.text) == []

        found = []
        for text in TOGETHER:
            known = await hostile.rewrite(here.st, known, text)
            for form, reference in zip(forms(text), references, strict=True):
                path, fields, status = sent_as(form, known)
                answer = await visitor.post(path, **fields)
                where = f"{form.path} sent, {status}"
                assert answer.status_code == status, (where, text)
                found += found_in(answer.text, reference.text, where, [text.name, text.lines])
        assert found == []


def sent_as(form: Sent, ids: Ids) -> Sent:
    """Return a form with the ids of the first records in its path."""
    return form._replace(path=form.path.format(**ids.of(0)))


@awaited
async def test_programs_get_every_text_as_it_is() -> None:
    """In `/status.json`, which is JSON whatever is in it, and nothing that a browser shows."""
    async with filled(ONE_BY_ONE) as (_, visitor, _ids):
        answer = await visitor.get("/status.json")

    items = answer.json()["items"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert [item["name"] for item in items] == [text.name for text in ONE_BY_ONE]
    assert [item["description"] for item in items] == [text.lines for text in ONE_BY_ONE]
    assert [item["notes"][0]["text"] for item in items[1:]] == [
        text.lines for text in ONE_BY_ONE[1:]
    ]


QUERIES = (
    "/?q={}",
    "/?kind={}",
    "/items/{}",
    "/items/{{item}}?before={}",
    "/nope/{}",
    "/nope?{}",
    "/admin?q={}",
    "/admin?kind={}",
    "/admin?status={}",
    "/admin?page={}",
    "/admin/settings?done={}",
    "/admin/items/{}/edit",
    "/admin/statuses/{}/delete",
    "/admin/changes?before={}",
    "/admin/users?after={}",
    "/admin/tokens?after={}",
    "/admin/items/{{item}}/notes?before={}",
)
"""Addresses with a text in them, for those who are signed in."""


@pytest.mark.parametrize("address", QUERIES)
@awaited
async def test_no_text_in_an_address_becomes_markup(address: str) -> None:
    """Whether it is looked for, or makes no sense."""
    records = [harmless(number) for number in range(14)]  # enough for the form of the filter
    async with filled(records) as (_, visitor, ids):

        async def opened(text: str) -> httpx.Response:
            path = address.format(quote(text[:LONGEST], safe="")).format(**ids.of(0))
            return await visitor.http.get(path)

        # With a slash in it, it may be the address of nothing at all.
        references = {"/" in text: await opened(text) for text in ("nothing", "no/thing")}
        assert "nothing" in references[False].text or "q=" not in address
        found = []
        for text in TOGETHER:
            page, reference = await opened(text.lines), references["/" in text.lines]
            assert page.status_code == reference.status_code, text
            found += found_in(page.text, reference.text, address, [text.lines])
        assert found == []


@awaited
async def test_no_address_leads_from_signing_in_to_another_site() -> None:
    """Whatever `next` is: before, in the form's field, and after, in the redirect."""
    async with filled([harmless(0)]) as (here, signed_in, _), here.visitor() as nobody:
        reference = await nobody.get("/admin/login", next="/admin/users")
        for payload in PAYLOADS:
            page = await nobody.get("/admin/login", next=payload.text)
            after = await signed_in.get("/admin/login", next=payload.text)
            leads = urlsplit(urljoin(f"{HTTP}/admin/login", after.headers["location"]))

            assert found_in(page.text, reference.text, "next", [payload.text]) == []
            assert f"{leads.scheme}://{leads.netloc}" == HTTP, payload


@awaited
async def test_no_name_that_fails_to_sign_in_becomes_markup() -> None:
    """It stands in the form again, and in the log of changes if it is a user's."""
    texts = [text.name for text in TOGETHER]
    others = [harmless(number).name for number in range(len(texts))]
    with counted(instant=True):
        async with (
            filled(TOGETHER[:20]) as (_, bad, _ids),
            filled([harmless(number) for number in range(20)]) as (_, good, _others),
        ):
            found = []
            for text, other in zip(texts, others, strict=True):
                page = await bad.post("/admin/login", username=text, password="wrong")
                reference = await good.post("/admin/login", username=other, password="wrong")
                assert page.status_code == reference.status_code in {401, 429}
                found += found_in(page.text, reference.text, "sign in", [text])
            page, reference = await bad.get("/admin/changes"), await good.get("/admin/changes")
            found += found_in(page.text, reference.text, "/admin/changes", texts)
    assert "gave a password that was refused" in page.text
    assert found == []


@awaited
async def test_no_text_in_the_form_of_the_first_admin_becomes_markup() -> None:
    """Every field comes back but the password; the link's secret may be any text in a form."""
    async with place() as here, here.visitor() as nobody:
        link = await here.st.setup_link() or ""
        token = link.partition("=")[2]

        async def sent(name: str) -> httpx.Response:
            fields = {"username": name, "email_address": f"x {name}", "password": name}
            return await nobody.post("/setup", token=token, **fields)

        reference, refused = await sent("harmless"), await nobody.get("/setup?token=harmless")
        assert (reference.status_code, refused.status_code) == (400, 403)
        for text in TOGETHER:
            answer = await sent(text.name)
            assert found_in(answer.text, reference.text, "/setup", [text.name]) == []
            page = await nobody.get("/setup", token=text.lines)
            assert found_in(page.text, refused.text, "/setup?token", [text.lines]) == []


@awaited
async def test_no_name_of_a_token_that_was_just_added_becomes_markup() -> None:
    """The page with its secret says what it is called."""
    async with filled([harmless(0)]) as (_, visitor, _ids):

        async def added(name: str) -> str:
            fields = {"name": name, "role": "viewer", "expires": "7"}
            answer = await visitor.post("/admin/tokens/new", **fields)
            assert answer.status_code == 200
            return answer.text

        reference = await added("harmless")
        for text in TOGETHER:
            page = await added(text.name)
            assert found_in(page, reference, "/admin/tokens/new", [text.name]) == []


@awaited
async def test_no_text_is_a_colour_or_an_address_of_another_site() -> None:
    """Colours, logos, links and pictures reach attributes and a stylesheet: rules stand before."""
    async with place() as here:
        st = here.st
        for payload in PAYLOADS:
            assert canonical(payload.text) is None, payload
            with pytest.raises(InvalidArgument):
                await st.settings.update(accent_color=payload.text)
            with pytest.raises(InvalidArgument):
                await st.settings.update(links=payload.text)
            outside = "https:", "http:", "//", "javascript:", "data:text", "vbscript:"
            if payload.text.lower().startswith(outside):
                with pytest.raises(InvalidArgument):
                    await st.settings.update(logo_url=payload.text)


# In Chromium

SHOWN = (
    "/",
    "/?kind=up",
    "/?q=alert",
    "/items/{item}",
    "/status.json",
    "/admin",
    "/admin?q=alert&page=2",
    "/admin/items/new",
    "/admin/items/{item}/notes",
    "/admin/statuses",
    "/admin/statuses/new",
    "/admin/users",
    "/admin/users/new",
    "/admin/tokens",
    "/admin/tokens/new",
    "/admin/changes",
    "/admin/settings",
    "/admin/profile",
    "/nope",
)
"""The pages with all texts, or with those around every page."""

LINKED = re.compile(r"/(items/[^/]+|admin/\w+/[^/]+/(edit|delete|update|notes|revoke))$")
"""The pages of one record."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with records of every text."""
    folder: Path = tmp_path_factory.mktemp("hostile")
    program = f"import sys; sys.path.insert(0, {ROOT!r}); from tests import hostile; hostile.main()"
    with serving(folder, sys.executable, "-c", program, token=None) as running:
        yield running


def opened(page: Page, path: str) -> None:
    """Open a page, on which no payload may have run."""
    page.goto(path)
    assert page.evaluate("window.__pwned") is None, path


def test_no_text_runs_in_a_browser(server: Server, open_page: Callable[..., Page]) -> None:
    """Every page with all texts, and those of one record for a text of each category."""
    # Which Chromium asks for where no page says what its icon is: in JSON.
    page = open_page(server.url, allowed=[r"status of 404 .*/favicon\.ico\)$"])
    page.context.add_cookies([{"name": COOKIE, "value": server.token, "url": server.url}])
    page.goto("/")
    first = page.locator("h3 a").first.evaluate("link => link.pathname.split('/').pop()")
    for path in SHOWN:
        opened(page, path.format(item=first))
    categories = [payload.category for payload in PAYLOADS]
    numbers = [categories.index(category) for category in dict.fromkeys(categories)]
    for path in ("/admin", "/admin/statuses", "/admin/users", "/admin/tokens"):
        page.goto(path)
        links = page.locator("main a").evaluate_all("all => all.map(a => a.pathname)")
        of_records = [link for link in links if LINKED.search(link)]
        for link in of_records[:4] + [of_records[n % len(of_records)] for n in numbers]:
            opened(page, link)
