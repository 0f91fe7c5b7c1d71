"""The pages about the notes of an item."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from statusthing.errors import RequestError
from statusthing.model import NoteView
from statusthing.service.messages import DeleteNoteRequest, GetNoteRequest, UpdateNoteRequest
from statusthing.web.admin.editing import REFUSALS, asking, editing, expected_version
from statusthing.web.admin.frame import done, page
from statusthing.web.forms import read_form
from statusthing.web.headline import KINDS
from statusthing.web.markdown import to_html
from statusthing.web.site import Site

_TAB = "admin"


async def listing(site: Site, request: Request) -> Response:
    """Show the notes of an item, newest first, page by page."""
    before = request.query_params.get("before", "")
    await site.ready()
    found = await site.st.item_notes(request.path_params["id"], before=before)
    item = found.item
    return page(
        site,
        request,
        "admin/notes/list.html",
        tab=_TAB,
        item=item,
        notes=[(note, to_html(note.text)) for note in found.notes],
        older=found.older,
        before=before,
        kinds=KINDS,
        colors=[item.status.color] if item.status else [],
    )


async def edit(site: Site, request: Request) -> Response:
    """Show the form that edits a note."""
    return await _edit_page(site, request)


async def save(site: Site, request: Request) -> Response:
    """Save a note that was edited."""
    typed = await read_form(request)
    try:
        await site.run(
            request,
            UpdateNoteRequest(
                note_id=request.path_params["id"],
                note_text=typed.get("note_text", ""),
                expected_version=expected_version(typed),
            ),
        )
    except REFUSALS as error:
        return await _edit_page(site, request, typed, error)
    return done(site, request, "note-saved", to=_TAB, back=typed.get("back", ""))


async def _edit_page(
    site: Site,
    request: Request,
    typed: Mapping[str, str] | None = None,
    error: RequestError | None = None,
) -> Response:
    note = await _note(site, request)
    form = editing({"note_text": note.text}, note.version, typed, error)
    return page(
        site, request, "admin/notes/edit.html", tab=_TAB, status=form.status, form=form, note=note
    )


async def ask_delete(site: Site, request: Request) -> Response:
    """Ask before a note is deleted."""
    return await _delete_page(site, request)


async def delete(site: Site, request: Request) -> Response:
    """Delete a note."""
    typed = await read_form(request)
    id = request.path_params["id"]
    try:
        await site.run(
            request, DeleteNoteRequest(note_id=id, expected_version=expected_version(typed))
        )
    except REFUSALS as error:
        return await _delete_page(site, request, typed, error)
    return done(site, request, "note-deleted", to=_TAB, back=typed.get("back", ""))


async def _delete_page(
    site: Site,
    request: Request,
    typed: Mapping[str, str] | None = None,
    error: RequestError | None = None,
) -> Response:
    note = await _note(site, request)
    form = asking(note.version, typed, error)
    return page(
        site,
        request,
        "admin/notes/delete.html",
        tab=_TAB,
        status=form.status,
        form=form,
        note=note,
        html=to_html(note.text),
    )


async def _note(site: Site, request: Request) -> NoteView:
    found = await site.run(request, GetNoteRequest(note_id=request.path_params["id"]))
    note: NoteView = found.note
    return note
