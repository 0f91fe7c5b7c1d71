"""The pages about items: the list, where updates are posted, and the forms."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from statusthing.errors import NotFound, RequestError
from statusthing.model import ItemView
from statusthing.service.messages import (
    AddItemRequest,
    CountNotesRequest,
    DeleteItemRequest,
    GetItemRequest,
    GetOverviewRequest,
    GetOverviewResponse,
    MoveItemRequest,
    PostUpdateRequest,
    UpdateItemRequest,
)
from statusthing.web.admin.editing import (
    REFUSALS,
    Form,
    asking,
    blank,
    editing,
    expected_version,
    refused,
    whole,
)
from statusthing.web.admin.frame import done, page
from statusthing.web.forms import read_form
from statusthing.web.headline import KINDS, kind_named
from statusthing.web.pages import MANY
from statusthing.web.public import LONGEST
from statusthing.web.site import Site

PAGE = 100
"""How many items a page of the list has."""

_TAB = "admin"


async def listing(site: Site, request: Request) -> Response:
    """List the items, all or some, in their order."""
    given = request.query_params
    text = given.get("q", "").strip()[:LONGEST]
    kind = kind_named(given.get("kind", ""))
    status_id = given.get("status", "")
    overview: GetOverviewResponse = await site.run(
        request,
        GetOverviewRequest(
            text=text,
            kind=kind,
            status_id=status_id,
            page=whole("page", given.get("page", "1")),
            page_size=PAGE,
        ),
    )
    filters = {"q": text, "kind": given.get("kind", ""), "status": status_id}
    is_filtered = any(filters.values())
    if overview.page > 1:
        filters["page"] = str(overview.page)
    return page(
        site,
        request,
        "admin/items/list.html",
        tab=_TAB,
        overview=overview,
        filters=filters,
        filtered=is_filtered,
        many=overview.total > MANY,
        kinds=KINDS,
        colors=[item.status.color for item in overview.items if item.status],
        request_id=secrets.token_hex(8),
    )


async def new(site: Site, request: Request) -> Response:
    """Show the form that adds an item."""
    return await _new_page(site, request, blank())


async def add(site: Site, request: Request) -> Response:
    """Add an item, at the end of the list."""
    typed = await read_form(request)
    try:
        await site.run(
            request,
            AddItemRequest(
                name=typed.get("name", ""),
                description=typed.get("description", ""),
                initial_status_id=typed.get("status_id", ""),
                initial_note_text=typed.get("initial_note_text", ""),
                position=whole("position", typed.get("position", "0")),
                request_id=typed.get("request_id", ""),
            ),
        )
    except REFUSALS as error:
        return await _new_page(site, request, refused(typed, error))
    return done(site, request, "item-added", to=_TAB)


async def _new_page(site: Site, request: Request, form: Form) -> Response:
    overview = await _statuses(site, request)
    return page(
        site,
        request,
        "admin/items/new.html",
        tab=_TAB,
        status=form.status,
        form=form,
        options=_options(overview, "No status"),
        position=overview.last_position,
    )


async def edit(site: Site, request: Request) -> Response:
    """Show the form that edits an item."""
    return await _edit_page(site, request)


async def save(site: Site, request: Request) -> Response:
    """Save an item that was edited."""
    typed = await read_form(request)
    try:
        await site.run(
            request,
            UpdateItemRequest(
                item_id=request.path_params["id"],
                name=typed.get("name", ""),
                description=typed.get("description", ""),
                status_id=typed.get("status_id", ""),
                position=whole("position", typed.get("position", "")),
                update_mask=("name", "description", "status_id", "position"),
                expected_version=expected_version(typed),
            ),
        )
    except REFUSALS as error:
        return await _edit_page(site, request, typed, error)
    return done(site, request, "item-saved", to=_TAB, fragment=_row(request))


async def _edit_page(
    site: Site,
    request: Request,
    typed: Mapping[str, str] | None = None,
    error: RequestError | None = None,
) -> Response:
    item = await _item(site, request)
    options = _options(await _statuses(site, request), "No status")
    now = {
        "name": item.name,
        "description": item.description,
        "status_id": item.status.id if item.status else "",
        "position": str(item.position),
    }
    form = editing(now, item.version, typed, error)
    return page(
        site,
        request,
        "admin/items/edit.html",
        tab=_TAB,
        status=form.status,
        form=form,
        item=item,
        options=options,
        names=dict(options),
    )


async def ask_delete(site: Site, request: Request) -> Response:
    """Ask before an item is deleted, and its notes with it."""
    return await _delete_page(site, request)


async def delete(site: Site, request: Request) -> Response:
    """Delete an item."""
    typed = await read_form(request)
    id = request.path_params["id"]
    try:
        await site.run(
            request, DeleteItemRequest(item_id=id, expected_version=expected_version(typed))
        )
    except REFUSALS as error:
        return await _delete_page(site, request, typed, error)
    return done(site, request, "item-deleted", to=_TAB)


async def _delete_page(
    site: Site,
    request: Request,
    typed: Mapping[str, str] | None = None,
    error: RequestError | None = None,
) -> Response:
    item = await _item(site, request)
    notes = await site.run(request, CountNotesRequest(item_id=item.id))
    form = asking(item.version, typed, error)
    return page(
        site,
        request,
        "admin/items/delete.html",
        tab=_TAB,
        status=form.status,
        form=form,
        item=item,
        notes=notes.count,
    )


async def new_update(site: Site, request: Request) -> Response:
    """Show the form that says what is new about an item."""
    return await _update_page(site, request, blank())


async def post_update(site: Site, request: Request) -> Response:
    """Add a note to an item, and give it another status, in one step."""
    typed = await read_form(request)
    try:
        await site.run(
            request,
            PostUpdateRequest(
                item_id=request.path_params["id"],
                status_id=typed.get("status_id", ""),
                note_text=typed.get("note_text", ""),
                request_id=typed.get("request_id", ""),
            ),
        )
    except REFUSALS as error:
        return await _update_page(site, request, refused(typed, error))
    back = typed.get("back", "")
    return done(site, request, "update-posted", to=_TAB, back=back, fragment=_row(request))


async def _update_page(site: Site, request: Request, form: Form) -> Response:
    item = await _item(site, request)
    return page(
        site,
        request,
        "admin/items/update.html",
        tab=_TAB,
        status=form.status,
        form=form,
        item=item,
        options=_options(await _statuses(site, request), "Leave it as it is"),
        back=form.values.get("back", ""),
    )


async def move(site: Site, request: Request) -> Response:
    """Move an item before another one, or after it: the form has the other's id, as either."""
    typed = await read_form(request)
    code = "item-moved"
    try:
        await site.run(
            request,
            MoveItemRequest(
                item_id=request.path_params["id"],
                other_id=typed.get("before", "") or typed.get("after", ""),
                after="after" in typed,
            ),
        )
    except NotFound:
        code = "item-stayed"
    back = typed.get("back", "")
    return done(site, request, code, to=_TAB, back=back, fragment=_row(request))


async def _item(site: Site, request: Request) -> ItemView:
    found = await site.run(request, GetItemRequest(item_id=request.path_params["id"]))
    item: ItemView = found.item
    return item


async def _statuses(site: Site, request: Request) -> GetOverviewResponse:
    overview: GetOverviewResponse = await site.run(request, GetOverviewRequest(page_size=1))
    return overview


def _options(overview: GetOverviewResponse, nothing: str) -> list[tuple[str, str]]:
    """Return the statuses to choose from, after one that stands for nothing."""
    return [("", nothing), *((use.status.id, use.status.name) for use in overview.statuses)]


def _row(request: Request) -> str:
    """Return the id of an item's element in the list."""
    return f"item-{request.path_params['id']}"
