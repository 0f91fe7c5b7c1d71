"""The pages about items, notes, statuses and changes, as people use them without JavaScript."""

from __future__ import annotations

import html
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from tests.markup import html_errors
from tests.visitor import PASSWORD, Place, Visitor, awaited, place

from statusthing import ItemView, NoteView, Principal, Role, StatusKind, StatusView, open_store
from statusthing.errors import StoreUnavailable
from statusthing.memory import MemoryStore
from statusthing.store import Transaction
from statusthing.web.admin.frame import DONE

T = TypeVar("T")

_CELL = re.compile(r"<t[hd].*?</t[hd]>", re.DOTALL)

TEXT = "What <b>they</b> typed & meant"


class Board(NamedTuple):
    """A place where there is something to edit.

    Attributes:
        here: the place.
        ada: an admin who is signed in.
        item: has the status and the note.
        status: the item's.
        other: another status.
        note: the item's.
    """

    here: Place
    ada: Visitor
    item: ItemView
    status: StatusView
    other: StatusView
    note: NoteView

    def fill(self, path: str) -> str:
        """Return a path with the ids of the records in it."""
        return path.format(item=self.item.id, status=self.status.id, note=self.note.id)


@asynccontextmanager
async def board(role: Role = Role.ADMIN, prefix: str = "") -> AsyncIterator[Board]:
    """Open a place with an item."""
    async with place(prefix) as here, here.signed_in(await here.add("ada", role)) as ada:
        st = here.st
        status = await st.statuses.add(name="Fine", kind=StatusKind.UP, color="green")
        other = await st.statuses.add(name="Broken", kind=StatusKind.DOWN)
        item = await st.items.add(
            name="API",
            description="For programs.",
            initial_status_id=status.id,
            initial_note_text="All *good*.",
        )
        yield Board(here, ada, item, status, other, item.notes[0])


def said(answer: httpx.Response) -> str:
    """Return the text of a page, without its tags."""
    return html.unescape(re.sub(r"<[^>]+>", " ", answer.text))


def hidden(answer: httpx.Response, name: str) -> str:
    """Return what a page's form carries along."""
    found = re.search(
        rf'<input type="hidden" name="{re.escape(name)}" value="([^"]*)">', answer.text
    )
    assert found is not None
    return html.unescape(found[1])


def wrong(answer: httpx.Response, field: str) -> str:
    """Return what is said to be wrong with a field, by the element that the field names."""
    element = re.search(rf"<(?:input|textarea|select)[^>]* name=\"{field}\"[^>]*>", answer.text)
    assert element is not None
    assert 'aria-invalid="true"' in element[0]
    described = re.search(r'aria-describedby="([^"]*)"', element[0])
    assert described is not None
    assert f"{field}-problem" in described[1].split()
    problem = re.search(rf'<p class="error-text" id="{field}-problem">([^<]*)</p>', answer.text)
    assert problem is not None
    return html.unescape(problem[1])


READ = ["/admin", "/admin/statuses", "/admin/items/{item}/notes"]
"""What viewers see."""

EDIT = [
    "/admin/items/new",
    "/admin/items/{item}/edit",
    "/admin/items/{item}/delete",
    "/admin/items/{item}/update",
    "/admin/notes/{note}/edit",
    "/admin/notes/{note}/delete",
    "/admin/statuses/new",
    "/admin/statuses/{status}/edit",
    "/admin/statuses/{status}/delete",
]
"""What editors see, each a form that is sent to its own address."""

MANAGE = ["/admin/changes"]
"""What admins see."""

POST_ONLY = ["/admin/items/{item}/move"]


# Who may


@pytest.mark.parametrize("prefix", ["", "/x/y"])
@pytest.mark.parametrize("path", [*READ, *EDIT, *MANAGE])
@awaited
async def test_every_page_is_valid_and_kept_by_nobody(path: str, prefix: str) -> None:
    """It is HTML without errors, for people and not for search engines, under any prefix."""
    async with board(prefix=prefix) as b:
        answer = await b.ada.get(b.fill(path))

        links = re.findall(r'(?:href|action|formaction|src)="(/[^"]*)"', answer.text)
        assert answer.status_code == 200
        assert html_errors(answer.text) == []
        assert answer.headers["cache-control"] == "no-store"
        assert '<meta name="robots" content="noindex">' in answer.text
        assert "ada" in answer.text
        assert links
        assert [link for link in links if not link.startswith(f"{prefix}/")] == []


@pytest.mark.parametrize("path", [*READ, *EDIT, *MANAGE])
@awaited
async def test_who_is_not_signed_in_signs_in_first(path: str) -> None:
    """And comes back to the page after that; a form that is sent is refused."""
    async with board() as b, b.here.visitor() as nobody:
        answer = await nobody.get(b.fill(path))
        sent = await nobody.post(b.fill(path), name="x")

        location = urlsplit(answer.headers["location"])
        assert answer.status_code == 303
        assert location.path == "/admin/login"
        assert parse_qs(location.query) == {"next": [b.fill(path)]}
        assert sent.status_code in {401, 405}


@awaited
async def test_only_who_sent_a_form_is_told_how_to_keep_it() -> None:
    """Whoever only asks for a page is told to sign in, if they are not sent there."""
    async with board() as b, b.here.visitor(accept="*/*") as nobody:
        asked = said(await nobody.get("/admin"))
        sent = said(await nobody.post("/admin/items/new", name="x"))

        assert "Sign in, then open it again." in asked
        assert "what you typed" not in asked
        assert "To keep what you typed, sign in in another tab" in sent


@pytest.mark.parametrize(
    ("role", "allowed"),
    [(Role.VIEWER, READ), (Role.EDITOR, [*READ, *EDIT]), (Role.ADMIN, [*READ, *EDIT, *MANAGE])],
    ids=str,
)
@awaited
async def test_pages_are_for_roles(role: Role, allowed: list[str]) -> None:
    """Each sees what they may carry out, and the others are refused before the body is read."""
    async with board(role) as b:
        for path in (*READ, *EDIT, *MANAGE):
            answer = await b.ada.get(b.fill(path))
            assert (path, answer.status_code) == (path, 200 if path in allowed else 403)
        for path in (*EDIT, *POST_ONLY):
            answer = await b.ada.post(b.fill(path), expected_version="x")
            assert (path, answer.status_code == 403) == (path, role is Role.VIEWER)


@awaited
async def test_viewers_are_offered_nothing_that_they_may_not_do() -> None:
    """No form besides that to sign out, and no link to one."""
    async with board(Role.VIEWER) as b:
        for path in READ:
            answer = await b.ada.get(b.fill(path))

            assert re.findall(r'action="([^"]*)"', answer.text) == ["/admin/logout"]
            assert re.findall(r'href="[^"]*/(?:edit|delete|new|update|changes)"', answer.text) == []


@awaited
async def test_a_host_with_its_own_login_has_the_same_pages() -> None:
    """They say who it is, and signing out is the host's business."""

    async def identify(_: object) -> Principal:
        return Principal(name="grace", role=Role.EDITOR)

    async with place(identify=identify) as here, here.visitor() as grace:
        await grace.post("/admin/items/new", name="API")
        answer = await grace.get("/admin")

        assert answer.status_code == 200
        assert '<span class="who">grace</span>' in answer.text
        assert "Sign out" not in answer.text
        assert (await here.st.audit.list()).entries[0].actor == "grace"


# What is done


@pytest.mark.parametrize(
    ("path", "fields", "code"),
    [
        ("/admin/items/new", {"name": "Mail", "position": "3"}, "item-added"),
        (
            "/admin/items/{item}/edit",
            {"name": "Mail", "position": "7", "expected_version": "1"},
            "item-saved",
        ),
        ("/admin/items/{item}/delete", {"expected_version": "1"}, "item-deleted"),
        ("/admin/items/{item}/update", {"note_text": "News."}, "update-posted"),
        (
            "/admin/notes/{note}/edit",
            {"note_text": "News.", "expected_version": "1", "back": "/admin/items/{item}/notes"},
            "note-saved",
        ),
        ("/admin/notes/{note}/delete", {"expected_version": "1"}, "note-deleted"),
        (
            "/admin/statuses/new",
            {"name": "New", "kind": "down", "color": "#123456"},
            "status-added",
        ),
        (
            "/admin/statuses/{status}/edit",
            {"name": "New", "kind": "down", "color": "#123456", "expected_version": "1"},
            "status-saved",
        ),
        (
            "/admin/statuses/{status}/delete",
            {"expected_version": "1", "replacement_id": "*"},
            "status-deleted",
        ),
    ],
)
@awaited
async def test_a_form_does_what_it_says(path: str, fields: dict[str, str], code: str) -> None:
    """It is sent with POST, and the page after that says what was done and who did it."""
    async with board() as b:
        sent = {name: b.fill(text) for name, text in fields.items()}
        answer = await b.ada.post(b.fill(path), **sent)

        assert answer.status_code == 303
        assert answer.headers["cache-control"] == "no-store"
        following = await b.ada.http.get(answer.headers["location"])
        assert following.status_code == 200
        assert DONE[code] in following.text
        (entry, *_) = (await b.here.st.audit.list()).entries
        assert (entry.actor, entry.address) == ("ada", "192.0.2.1")
        assert entry.correlation_id


@awaited
async def test_an_item_is_added_at_the_end_with_all_that_was_typed() -> None:
    """With its status and first note."""
    async with board() as b:
        await b.here.st.items.update(b.item.id, position=4)
        form = await b.ada.get("/admin/items/new")
        await b.ada.post(
            "/admin/items/new",
            name="Mail",
            description="one\r\ntwo",
            status_id=b.other.id,
            initial_note_text="News.",
            position=hidden(form, "position"),
            request_id=hidden(form, "request_id"),
        )

        item = (await b.here.st.board()).items[-1]
        assert (item.name, item.description, item.position) == ("Mail", "one\ntwo", 4)
        assert item.status == b.other
        assert [note.text for note in item.notes] == ["News."]


@awaited
async def test_saving_what_was_shown_changes_nothing() -> None:
    """Not even the spelling of a colour, and nothing is logged."""
    async with board() as b:
        before = await b.here.st.revision()
        for path in ("/admin/items/{item}/edit", "/admin/statuses/{status}/edit"):
            form = await b.ada.get(b.fill(path))
            names = re.findall(r'name="was\.([a-z_]+)"', form.text)
            fields = {name: hidden(form, f"was.{name}") for name in names}
            written = {"written": hidden(form, "written")} if "color" in fields else {}
            answer = await b.ada.post(b.fill(path), expected_version="1", **written, **fields)
            assert answer.status_code == 303

        assert await b.here.st.revision() == before
        assert (await b.here.st.statuses.get(b.status.id)).color == "green"


@awaited
async def test_an_update_in_the_list_takes_one_form() -> None:
    """The list has a form for each item, with which a note and a status are posted together."""
    async with board() as b:
        page = await b.ada.get("/admin", q="api")
        assert f'action="/admin/items/{b.item.id}/update"' in page.text

        answer = await b.ada.post(
            f"/admin/items/{b.item.id}/update",
            status_id=b.other.id,
            note_text="Broken.",
            request_id=hidden(page, "request_id"),
            back=hidden(page, "back"),
        )

        item = await b.here.st.items.get(b.item.id)
        assert item.status == b.other
        assert item.notes[-1].text == "Broken."
        assert answer.headers["location"] == (f"/admin?q=api&done=update-posted#item-{b.item.id}")


@awaited
async def test_all_forms_of_the_list_can_be_sent_and_each_counts_once() -> None:
    """Although they carry the same key."""
    async with board() as b:
        mail = await b.here.st.items.add(name="Mail")
        page = await b.ada.get("/admin")
        key = hidden(page, "request_id")
        for item in (b.item, mail, mail):
            await b.ada.post(f"/admin/items/{item.id}/update", note_text="News.", request_id=key)
        other = await b.ada.post(
            f"/admin/items/{mail.id}/update", note_text="Something else.", request_id=key
        )
        again = await b.ada.post(
            f"/admin/items/{mail.id}/update",
            note_text="Something else.",
            request_id=hidden(other, "request_id"),
        )

        notes = [note.text for note in (await b.here.st.items.get(mail.id)).notes]
        assert (other.status_code, again.status_code) == (400, 303)
        assert "Something else." in other.text
        assert notes == ["News.", "Something else."]
        assert len((await b.here.st.items.get(b.item.id)).notes) == 2


@awaited
async def test_items_are_moved_with_buttons() -> None:
    """One up or down; a button that has become wrong meanwhile moves nothing."""
    async with board() as b:
        mail = await b.here.st.items.add(name="Mail")

        async def names() -> list[str]:
            return [item.name for item in (await b.here.st.board()).items]

        up = await b.ada.post(
            f"/admin/items/{mail.id}/move", before=b.item.id, back="/admin?page=1"
        )
        assert await names() == ["Mail", "API"]
        down = await b.ada.post(f"/admin/items/{mail.id}/move", after=b.item.id)
        assert await names() == ["API", "Mail"]
        await b.here.st.items.delete(b.item.id)
        lost = await b.ada.post(f"/admin/items/{mail.id}/move", before=b.item.id)

        assert up.headers["location"] == f"/admin?page=1&done=item-moved#item-{mail.id}"
        assert down.headers["location"] == f"/admin?done=item-moved#item-{mail.id}"
        assert "done=item-stayed" in lost.headers["location"]


@pytest.mark.parametrize(
    "back",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "\n/x",
        "",
    ],
)
@awaited
async def test_a_form_leads_nowhere_else(back: str) -> None:
    """What it carries along as the page to come back to is a page of this site, or ignored."""
    async with board() as b:
        answer = await b.ada.post(f"/admin/items/{b.item.id}/update", note_text="x", back=back)

        assert answer.headers["location"].startswith("/admin?done=update-posted")


@pytest.mark.parametrize("code", ["", "nothing", "<script>alert(1)</script>", "item-added "])
@awaited
async def test_an_address_cannot_make_a_page_say_something(code: str) -> None:
    """There is a fixed table of what was done."""
    async with board() as b:
        answer = await b.ada.get("/admin", done=code)

        assert "notice success" not in answer.text


# What goes along


@awaited
async def test_deleting_says_what_goes_along() -> None:
    """How many notes an item has, and how many items a status."""
    async with board() as b:
        item = await b.ada.get(f"/admin/items/{b.item.id}/delete")
        await b.here.st.notes.add(b.item.id, "another")
        more = await b.ada.get(f"/admin/items/{b.item.id}/delete")
        used = await b.ada.get(f"/admin/statuses/{b.status.id}/delete")
        unused = await b.ada.get(f"/admin/statuses/{b.other.id}/delete")
        note = await b.ada.get(f"/admin/notes/{b.note.id}/delete")

        assert "Its note goes with it." in said(item)
        assert "Its 2 notes go with it." in said(more)
        assert "1 item has it" in said(used)
        assert 'name="replacement_id"' in used.text
        assert "No item has it." in said(unused)
        assert 'name="replacement_id"' not in unused.text
        assert "<em>good</em>" in note.text


@awaited
async def test_the_items_of_a_status_are_moved_as_it_is_deleted() -> None:
    """To the one that was chosen."""
    async with board() as b:
        await b.ada.post(
            f"/admin/statuses/{b.status.id}/delete", expected_version="1", replacement_id=b.other.id
        )

        assert (await b.here.st.items.get(b.item.id)).status == b.other


@awaited
async def test_a_status_that_came_into_use_is_not_deleted() -> None:
    """The page asks once more, now with the choice."""
    async with board() as b:
        answer = await b.ada.post(f"/admin/statuses/{b.status.id}/delete", expected_version="1")

        assert answer.status_code == 409
        assert "It came into use meanwhile." in said(answer)
        assert 'name="replacement_id"' in answer.text
        assert html_errors(answer.text) == []


# What is wrong


@pytest.mark.parametrize(
    ("path", "fields", "status", "field", "problem"),
    [
        ("/admin/items/new", {"name": " "}, 400, "name", "Name is required and cannot be blank."),
        (
            "/admin/items/new",
            {"name": "API"},
            409,
            "name",
            "Name is taken already: choose another.",
        ),
        (
            "/admin/items/new",
            {"name": "Mail", "description": "x" * 2_001},
            400,
            "description",
            "Description has 2001 characters; 2000 are allowed.",
        ),
        (
            "/admin/items/new",
            {"name": "Mail", "status_id": "gone"},
            409,
            "status_id",
            "Status does not exist any more: choose another.",
        ),
        (
            "/admin/items/new",
            {"name": "Mail", "initial_note_text": " "},
            400,
            "initial_note_text",
            "First note is required and cannot be blank.",
        ),
        (
            "/admin/items/{item}/edit",
            {"name": "", "position": "0", "expected_version": "1"},
            400,
            "name",
            "Name is required and cannot be blank.",
        ),
        (
            "/admin/items/{item}/edit",
            {"name": "API", "position": "first", "expected_version": "1"},
            400,
            "position",
            "Position must be a whole number.",
        ),
        (
            "/admin/items/{item}/edit",
            {"name": "API", "position": "99999999999", "expected_version": "1"},
            400,
            "position",
            "Position must be a whole number from -2147483648 to 2147483647.",
        ),
        (
            "/admin/items/{item}/update",
            {"note_text": ""},
            400,
            "note_text",
            "Note is required unless another status is chosen.",
        ),
        (
            "/admin/items/{item}/update",
            {"note_text": "News.", "status_id": "gone"},
            409,
            "status_id",
            "Status does not exist any more: choose another.",
        ),
        (
            "/admin/notes/{note}/edit",
            {"note_text": "", "expected_version": "1"},
            400,
            "note_text",
            "Note is required and cannot be blank.",
        ),
        (
            "/admin/statuses/new",
            {"name": "Fine", "kind": "up", "color": "#00ff00"},
            409,
            "name",
            "Name is taken already: choose another.",
        ),
        (
            "/admin/statuses/new",
            {"name": "x", "kind": "", "color": "#00ff00"},
            400,
            "kind",
            "Kind is required and cannot be STATUS_KIND_UNKNOWN.",
        ),
        (
            "/admin/statuses/new",
            {"name": "x", "kind": "good", "color": "#00ff00"},
            400,
            "kind",
            "Kind is not a status kind.",
        ),
        (
            "/admin/statuses/new",
            {"name": "x", "kind": "up", "color": "red; }"},
            400,
            "color",
            "Colour must be #rgb, #rrggbb or a named CSS colour.",
        ),
        (
            "/admin/statuses/{status}/edit",
            {"name": "Broken", "kind": "up", "color": "#00ff00", "expected_version": "1"},
            409,
            "name",
            "Name is taken already: choose another.",
        ),
        (
            "/admin/statuses/{status}/delete",
            {"expected_version": "1", "replacement_id": "gone"},
            409,
            "replacement_id",
            "Move its items to does not exist any more: choose another.",
        ),
        (
            "/admin/statuses/{status}/delete",
            {"expected_version": "1", "replacement_id": ""},
            400,
            "replacement_id",
            "Move its items to is required: choose what becomes of its items.",
        ),
    ],
)
@awaited
async def test_what_is_wrong_stands_beside_its_field(
    path: str, fields: dict[str, str], status: int, field: str, problem: str
) -> None:
    """The form comes again with all that was typed, and nothing was changed."""
    async with board() as b:
        before = await b.here.st.revision()
        answer = await b.ada.post(b.fill(path), **fields)

        assert answer.status_code == status
        assert wrong(answer, field) == problem
        assert html_errors(answer.text) == []
        assert "Nothing was changed." in said(answer)
        for name in fields.keys() - {"status_id", "replacement_id", "kind"}:
            assert html.escape(fields[name]) in answer.text
        assert await b.here.st.revision() == before


@pytest.mark.parametrize("version", ["", "x", "1.5", "-1", "٣", "9" * 30])
@pytest.mark.parametrize("path", ["/admin/items/{item}/edit", "/admin/items/{item}/delete"])
@awaited
async def test_a_form_without_the_version_it_is_about_does_nothing(path: str, version: str) -> None:
    """Whoever made it up gets a sentence and no traceback."""
    async with board() as b:
        answer = await b.ada.post(
            b.fill(path), name="Other", position="0", expected_version=version
        )

        assert answer.status_code == 400
        assert "The form does not say what it was opened with: open it again." in said(answer)
        assert html_errors(answer.text) == []
        assert (await b.here.st.items.get(b.item.id)).name == "API"


@pytest.mark.parametrize("query", ["page=x", "kind=good", "page="])
@awaited
async def test_an_address_that_makes_no_sense_is_refused(query: str) -> None:
    """With a page that says so."""
    async with board() as b:
        answer = await b.ada.http.get(f"/admin?{query}")

        assert answer.status_code == 400
        assert html_errors(answer.text) == []


# What changed meanwhile


async def stale(b: Board, path: str, theirs: Mapping[str, str], yours: Mapping[str, str]) -> Any:
    """Open a form, have somebody else save it, and send what was typed."""
    form = await b.ada.get(b.fill(path))
    was = {name: hidden(form, name) for name in re.findall(r'name="(was\.[a-z_]+)"', form.text)}
    shown = {name.removeprefix("was."): text for name, text in was.items()}
    async with b.here.signed_in(await b.here.add("eve", Role.EDITOR)) as eve:
        sent = await eve.post(b.fill(path), **{**shown, **theirs}, expected_version="1")
        assert sent.status_code == 303
    return await b.ada.post(b.fill(path), **was, **{**shown, **yours}, expected_version="1")


def clashes(answer: httpx.Response) -> list[list[str]]:
    """Return the table of what changed meanwhile."""
    table = answer.text.partition("<tbody>")[2].partition("</tbody>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    return [
        [html.unescape(re.sub(r"<[^>]+>", "", cell)) for cell in _CELL.findall(row)] for row in rows
    ]


@awaited
async def test_a_stale_edit_says_what_changed_meanwhile() -> None:
    """Their change of another field is taken over; where both typed something, yours stays."""
    async with board() as b:
        answer = await stale(
            b,
            "/admin/items/{item}/edit",
            {"name": "API of theirs", "description": "Theirs.", "status_id": b.other.id},
            {"name": TEXT, "position": "9"},
        )

        assert answer.status_code == 409
        assert html_errors(answer.text) == []
        assert clashes(answer) == [
            ["Name", "API", "API of theirs", TEXT],
            ["Description", "For programs.", "Theirs.", "as it was"],
            ["Status", "Fine", "Broken", "as it was"],
        ]
        assert f'value="{html.escape(TEXT)}"' in answer.text
        assert ">\nTheirs.</textarea>" in answer.text
        assert f'<option value="{b.other.id}" selected>' in answer.text
        assert (await b.here.st.items.get(b.item.id)).name == "API of theirs"


@awaited
async def test_a_stale_edit_can_be_saved_on_top() -> None:
    """The form that came again is sent as it is."""
    async with board() as b:
        path = b.fill("/admin/items/{item}/edit")
        answer = await stale(b, path, {"description": "Theirs."}, {"name": "Mine"})

        done = await b.ada.post(
            path,
            name="Mine",
            description="Theirs.",
            status_id=b.status.id,
            position="0",
            expected_version=hidden(answer, "expected_version"),
        )

        item = await b.here.st.items.get(b.item.id)
        assert done.status_code == 303
        assert (item.name, item.description) == ("Mine", "Theirs.")


@pytest.mark.parametrize(
    ("path", "theirs", "yours", "expected"),
    [
        (
            "/admin/notes/{note}/edit",
            {"note_text": "Theirs.\nAnd more."},
            {"note_text": TEXT},
            [["Note", "All *good*.", "Theirs.\nAnd more.", TEXT]],
        ),
        (
            "/admin/statuses/{status}/edit",
            {"kind": "down", "description": "Theirs."},
            {"kind": "warning"},
            [["Description", "nothing", "Theirs.", "as it was"], ["Kind", "Up", "Down", "Warning"]],
        ),
        ("/admin/statuses/{status}/edit", {"name": "Same"}, {"name": "Same"}, []),
    ],
)
@awaited
async def test_every_form_that_edits_knows_when_it_is_stale(
    path: str, theirs: dict[str, str], yours: dict[str, str], expected: list[list[str]]
) -> None:
    """In words, and not by ids and codes."""
    async with board() as b:
        answer = await stale(b, path, theirs, yours)

        assert answer.status_code == 409
        assert clashes(answer) == expected
        assert html_errors(answer.text) == []


@pytest.mark.parametrize("path", ["/admin/items/{item}/delete", "/admin/notes/{note}/delete"])
@awaited
async def test_what_changed_meanwhile_is_looked_at_before_it_is_deleted(path: str) -> None:
    """The page asks once more, about what there is now."""
    async with board() as b:
        await b.here.st.items.update(b.item.id, description="Changed.")
        await b.here.st.notes.update(b.note.id, "Changed.")
        answer = await b.ada.post(b.fill(path), expected_version="1")
        done = await b.ada.post(b.fill(path), expected_version=hidden(answer, "expected_version"))

        assert (answer.status_code, done.status_code) == (409, 303)
        assert "Somebody else changed it meanwhile." in said(answer)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/admin/items/{item}/edit", {"description": TEXT, "position": "0"}),
        ("/admin/items/{item}/update", {"note_text": TEXT}),
        ("/admin/notes/{note}/edit", {"note_text": TEXT}),
        ("/admin/statuses/{status}/edit", {"description": TEXT, "kind": "up"}),
    ],
)
@awaited
async def test_what_was_deleted_meanwhile_leaves_what_was_typed(
    path: str, fields: dict[str, str]
) -> None:
    """It stands on the page that says so."""
    async with board() as b:
        await b.here.st.items.delete(b.item.id)
        await b.here.st.statuses.delete(b.status.id)
        answer = await b.ada.post(b.fill(path), name="x", expected_version="1", **fields)
        opened = await b.ada.get(b.fill(path))

        assert (answer.status_code, opened.status_code) == (404, 404)
        assert "This does not exist any more" in said(answer)
        assert html.escape(TEXT) in answer.text
        assert html_errors(answer.text) == []


class Away(MemoryStore):
    """A store that writes nothing while it is away, and reads nothing while it is gone."""

    is_away = False
    is_gone = False

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run a unit that reads, or refuse."""
        if self.is_gone:
            raise StoreUnavailable("the disk is gone")
        return await super().read(work)

    async def write(self, work: Callable[[Transaction], T], *, now: datetime) -> T:
        """Run a unit that may write, or refuse."""
        if self.is_away:
            raise StoreUnavailable("the disk is gone")
        return await super().write(work, now=now)


@pytest.mark.parametrize("path", ["/admin/items/new", "/admin/users/new", "/admin/settings"])
@awaited
async def test_browsers_may_keep_what_is_typed_for_who_goes_back(path: str) -> None:
    """They forget the fields of which a page says that nothing is to be completed."""
    async with board() as b:
        assert 'autocomplete="off"' not in (await b.ada.get(path)).text


@awaited
async def test_what_cannot_be_saved_now_is_not_lost() -> None:
    """While the store is away, the page says so and has what was typed."""
    store = Away()
    async with place(store=store) as here, here.signed_in(await here.add("ada")) as ada:
        item = await here.st.items.add(name="API")
        store.is_away = True
        answer = await ada.post(f"/admin/items/{item.id}/update", note_text=TEXT)
        store.is_away = False
        again = await ada.post(f"/admin/items/{item.id}/update", note_text=TEXT)

        assert (answer.status_code, again.status_code) == (503, 303)
        assert "Reload this page in a moment" in said(answer)
        assert html.escape(TEXT) in answer.text
        assert "the disk is gone" not in answer.text
        assert html_errors(answer.text) == []


@pytest.mark.parametrize("path", ["/admin", "/admin/changes", "/setup"])
@pytest.mark.parametrize("prefix", ["", "/x/y"])
@awaited
async def test_what_cannot_be_read_now_is_worth_another_try(path: str, prefix: str) -> None:
    """No page of its kind ever had an earlier state to show."""
    store = Away()
    async with place(prefix, store=store) as here, here.visitor() as ada:
        ada.http.cookies.set("statusthing_session", "whoever")
        store.is_gone = True
        answer = await ada.get(path)

        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "The data cannot be reached right now" in said(answer)
        assert "Reload this page in a moment." in said(answer)
        assert "state to show" not in said(answer)
        assert html_errors(answer.text) == []


# The lists


@awaited
async def test_an_empty_list_teaches() -> None:
    """It says what an item is, and where to begin; a viewer is not told to."""
    async with place() as here:
        for role, offered in ((Role.ADMIN, 2), (Role.VIEWER, 0)):
            async with here.signed_in(await here.add(role.name, role)) as someone:
                answer = await someone.get("/admin")

                assert "An item is a thing whose status you publish" in said(answer)
                assert answer.text.count('href="/admin/items/new"') == offered
                assert html_errors(answer.text) == []


@awaited
async def test_the_list_is_filtered() -> None:
    """By text, kind and status; the filter stays, and can be taken away."""
    async with board() as b:
        await b.here.st.items.add(name="Mail", initial_status_id=b.other.id)
        for query, shown, absent in (
            ("q=ai", "Mail", "API"),
            ("kind=up", "API", "Mail"),
            (f"status={b.other.id}", "Mail", "API"),
        ):
            answer = await b.ada.http.get(f"/admin?{query}")
            names = re.findall(r"<h2><a [^>]*>([^<]*)</a></h2>", answer.text)
            assert (names, absent in names) == ([shown], False)
            assert "Show all 2" in answer.text
        nothing = await b.ada.get("/admin", q="zzz")

        assert "None of the 2 items matches." in nothing.text


@awaited
async def test_the_list_has_pages_and_items_move_across_them() -> None:
    """A hundred items each; the first of a page moves before the last of the page before."""
    async with board() as b:
        for number in range(150):
            await b.here.st.items.add(name=f"item {number:03}")
        first, second = await b.ada.get("/admin"), await b.ada.get("/admin", page="2")

        def rows(answer: httpx.Response) -> list[str]:
            return re.findall(r'<li class="item" id="item-([^"]*)"', answer.text)

        assert (len(rows(first)), len(rows(second))) == (100, 51)
        assert 'rel="next" href="/admin?page=2"' in first.text
        assert 'rel="prev" href="/admin?page=1"' in second.text
        assert f'name="before" value="{rows(first)[-1]}"' in second.text
        assert f'name="after" value="{rows(second)[0]}"' in first.text
        assert hidden(second, "back") == "/admin?page=2"
        assert html_errors(second.text) == []


@awaited
async def test_the_list_shows_each_change_at_once() -> None:
    """Its rows are kept, and those that changed are made anew: for each role its own."""
    async with board() as b, b.here.signed_in(await b.here.add("eve", Role.VIEWER)) as eve:
        for text in ("One.", "Two."):
            await b.ada.get("/admin")
            await eve.get("/admin")
            await b.here.st.items.update(b.item.id, name=text)
            await b.here.st.statuses.update(b.status.id, name=f"Status {text}")
            for someone in (b.ada, eve):
                answer = await someone.get("/admin")
                assert f">{text}</a></h2>" in answer.text
                assert f"Status {text}</b>" in answer.text
        assert "/edit" in (await b.ada.get("/admin")).text
        assert "/edit" not in (await eve.get("/admin")).text


@awaited
async def test_notes_have_pages() -> None:
    """Newest first, each as readers see it."""
    async with board() as b:
        for number in range(25):
            await b.here.st.notes.add(b.item.id, f"note *{number}*")
        first = await b.ada.get(f"/admin/items/{b.item.id}/notes")
        older = re.search(r'rel="next" href="([^"]*)"', first.text)
        assert older is not None
        second = await b.ada.http.get(html.unescape(older[1]))

        assert re.findall(r"note <em>(\d+)</em>", first.text) == [str(n) for n in range(24, 4, -1)]
        assert re.findall(r"note <em>(\d+)</em>", second.text) == [str(n) for n in range(4, -1, -1)]
        assert "<em>good</em>" in second.text
        assert 'rel="first"' in second.text


def test_the_number_of_queries_does_not_depend_on_the_number_of_items(tmp_path: Path) -> None:
    """The list of ten items takes as many statements as that of a thousand."""
    counts = []
    for number in (10, 1_000):
        seen: list[str] = []
        connect = sqlite3.connect

        def traced(
            *arguments: Any, connect: Any = connect, seen: list[str] = seen, **options: Any
        ) -> Any:
            connection = connect(*arguments, **options)
            connection.set_trace_callback(seen.append)
            return connection

        @awaited
        async def count(number: int = number, seen: list[str] = seen) -> None:
            store = open_store(f"sqlite:///{tmp_path}/{number}.db")
            async with place(store=store) as here:
                up = await here.st.statuses.add(name="Fine", kind=StatusKind.UP)
                for each in range(number):
                    await here.st.items.add(
                        name=f"item {each}", initial_status_id=up.id, initial_note_text="a note"
                    )
                async with here.signed_in(await here.add("ada")) as ada:
                    await ada.get("/admin")
                    for path in ("/admin", "/admin?page=2&q=item", "/admin/statuses"):
                        seen.clear()
                        assert (await ada.http.get(path)).status_code == 200
                        counts.append(len([each for each in seen if each.startswith("SELECT")]))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sqlite3, "connect", traced)
            count()

    assert counts[:3] == counts[3:]
    assert max(counts) <= 5


# The changes


@awaited
async def test_changes_say_who_when_from_where_and_what() -> None:
    """From what to what, with names in place of ids, long texts shortened."""
    async with board() as b:
        await b.ada.post(
            f"/admin/items/{b.item.id}/update", status_id=b.other.id, note_text="x" * 500
        )
        page = await b.ada.get("/admin/changes")

        step = said(page).partition("Nobody can edit this.")[2]
        text = " ".join(step.split())[:700]
        assert text.startswith("1 Mar 2026, 12:00 UTC from 192.0.2.1 ada changed the item API")
        assert "Status Fine → Broken" in text
        assert "and added the note on API Text " + "x" * 300 + "…" in text
        assert b.item.id not in said(page)
        assert html_errors(page.text) == []


@awaited
async def test_changes_tell_of_passwords_that_were_refused() -> None:
    """Of those on accounts that exist, by name."""
    async with board() as b, b.here.visitor(address="192.0.2.9") as eve:
        for username in ("ada", "nobody"):
            await eve.post("/admin/login", username=username, password=TEXT)
        text = " ".join(said(await b.ada.get("/admin/changes")).split())

        assert "from 192.0.2.9 ada gave a password that was refused" in text
        assert "somebody unknown gave a password that was refused" in text
        assert "nobody" not in text.lower().replace("nobody can edit this", "")


@awaited
async def test_changes_tell_of_new_passwords() -> None:
    """The log has none, so there is nothing else that differs."""
    async with board() as b:
        await b.ada.post("/admin/profile", current_password=TEXT, new_password=TEXT)
        await b.ada.post("/admin/profile", current_password=PASSWORD, new_password=TEXT)
        text = " ".join(said(await b.ada.get("/admin/changes")).split())

        assert "ada set a new password for the user ada" in text
        assert "ada gave a password that was refused" in text
        assert "changed the user" not in text
        assert TEXT not in text


@awaited
async def test_changes_tell_what_says_something() -> None:
    """Instants as everywhere, and of what was added no zeros."""
    async with board() as b:
        await b.ada.post("/admin/tokens/new", name="monitor", role="editor", expires="7")
        page = await b.ada.get("/admin/changes")
        text = " ".join(said(page).split())

        assert "added the token monitor Role Editor" in text
        assert "Expires 8 Mar 2026, 12:00 UTC" in text
        assert "2026-03-08T12:00:00Z" not in text
        assert "Position" not in text
        assert html_errors(page.text) == []


@awaited
async def test_changes_have_pages() -> None:
    """Fifty entries each, newest first, to the very first one."""
    async with board() as b:
        for number in range(60):
            await b.here.st.notes.add(b.item.id, f"note {number}")
        seen, path = "", "/admin/changes"
        for _ in range(3):
            answer = await b.ada.http.get(path)
            assert html_errors(answer.text) == []
            seen += answer.text
            older = re.search(r'rel="next" href="([^"]*)"', answer.text)
            if older is None:
                break
            path = html.unescape(older[1])

        assert re.findall(r"note (\d+)</ins>", seen) == [str(n) for n in range(59, -1, -1)]
        assert (await b.ada.http.get("/admin/changes?before=x")).status_code == 400


@awaited
async def test_what_was_deleted_keeps_its_name_in_the_changes() -> None:
    """As far as the log knows it."""
    async with board() as b:
        await b.ada.post(
            f"/admin/statuses/{b.status.id}/delete", expected_version="1", replacement_id="*"
        )
        await b.ada.post(f"/admin/items/{b.item.id}/delete", expected_version="2")
        text = " ".join(said(await b.ada.get("/admin/changes")).split())

        assert "ada deleted the note on API Text All *good*. and deleted the item API" in text
        assert "ada changed the item API Status Fine and deleted the status Fine" in text


@awaited
async def test_a_note_is_in_the_changes_whatever_it_says() -> None:
    """Its item's name, say, or a word that elsewhere stands for nothing."""
    async with board() as b:
        for text in (b.item.name, "no"):
            await b.here.st.notes.add(b.item.id, text)
        page = (await b.ada.get("/admin/changes")).text

        assert f'<ins class="plain">{b.item.name}</ins>' in page
        assert '<ins class="plain">no</ins>' in page
