"""The pages about statuses."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from statusthing.colors import canonical
from statusthing.errors import InvalidArgument, NotFound, RequestError
from statusthing.model import DEFAULT_COLOR, Status, StatusKind, StatusView
from statusthing.service.messages import (
    AddStatusRequest,
    DeleteStatusRequest,
    GetOverviewRequest,
    GetOverviewResponse,
    GetStatusRequest,
    ReplaceStatusRequest,
    StatusUse,
    UpdateStatusRequest,
)
from statusthing.web.admin.editing import (
    REFUSALS,
    Form,
    asking,
    blank,
    editing,
    expected_version,
    refused,
)
from statusthing.web.admin.frame import done, page
from statusthing.web.forms import read_form
from statusthing.web.headline import KINDS, kind_named
from statusthing.web.site import Site

_TAB = "statuses"

_NONE = "*"
"""Stands for no status; no record has such an id."""

_KINDS = [
    (kind.name.lower(), each.label)
    for kind, each in KINDS.items()
    if kind is not StatusKind.UNKNOWN
]


async def listing(site: Site, request: Request) -> Response:
    """List the statuses, with how many items have each."""
    uses = await _uses(site, request)
    colors = [use.status.color for use in uses]
    return page(
        site,
        request,
        "admin/statuses/list.html",
        tab=_TAB,
        uses=uses,
        kinds=KINDS,
        colors=colors,
    )


async def new(site: Site, request: Request) -> Response:
    """Show the form that adds a status."""
    return _new_page(site, request, blank(color=DEFAULT_COLOR.lower(), kind="up"))


async def add(site: Site, request: Request) -> Response:
    """Add a status."""
    typed = await read_form(request)
    try:
        await site.run(
            request,
            AddStatusRequest(
                name=typed.get("name", ""),
                description=typed.get("description", ""),
                color=typed.get("color", ""),
                kind=kind_named(typed.get("kind", "")) or 0,
                request_id=typed.get("request_id", ""),
            ),
        )
    except REFUSALS as error:
        return _new_page(site, request, refused(typed, error))
    return done(site, request, "status-added", to=_TAB)


def _new_page(site: Site, request: Request, form: Form) -> Response:
    return page(
        site,
        request,
        "admin/statuses/new.html",
        tab=_TAB,
        status=form.status,
        form=form,
        kinds=_KINDS,
    )


async def edit(site: Site, request: Request) -> Response:
    """Show the form that edits a status."""
    return await _edit_page(site, request)


async def save(site: Site, request: Request) -> Response:
    """Save a status that was edited."""
    typed = await read_form(request)
    try:
        await site.run(
            request,
            UpdateStatusRequest(
                status_id=request.path_params["id"],
                name=typed.get("name", ""),
                description=typed.get("description", ""),
                color=_color(typed),
                kind=kind_named(typed.get("kind", "")) or 0,
                update_mask=("name", "description", "color", "kind"),
                expected_version=expected_version(typed),
            ),
        )
    except REFUSALS as error:
        return await _edit_page(site, request, typed, error)
    return done(site, request, "status-saved", to=_TAB)


def _color(typed: Mapping[str, str]) -> str:
    """Return the colour as it was written, `red` say, unless another one was picked."""
    was, color = typed.get("written", ""), typed.get("color", "")
    return was if canonical(was) == canonical(color) else color


async def _edit_page(
    site: Site,
    request: Request,
    typed: Mapping[str, str] | None = None,
    error: RequestError | None = None,
) -> Response:
    found = await site.run(request, GetStatusRequest(status_id=request.path_params["id"]))
    status: StatusView = found.status
    now = {
        "name": status.name,
        "description": status.description,
        "color": canonical(status.color) or "",
        "kind": status.kind.name.lower(),
    }
    form = editing(now, status.version, typed, error)
    return page(
        site,
        request,
        "admin/statuses/edit.html",
        tab=_TAB,
        status=form.status,
        form=form,
        record=status,
        kinds=_KINDS,
        names=dict(_KINDS),
    )


async def ask_delete(site: Site, request: Request) -> Response:
    """Ask before a status is deleted, and what becomes of its items."""
    return await _delete_page(site, request)


async def delete(site: Site, request: Request) -> Response:
    """Delete a status; its items get the one that was chosen."""
    typed = await read_form(request)
    try:
        await site.run(request, _deletion(request.path_params["id"], typed))
    except REFUSALS as error:
        return await _delete_page(site, request, typed, error)
    return done(site, request, "status-deleted", to=_TAB)


def _deletion(id: str, typed: Mapping[str, str]) -> DeleteStatusRequest | ReplaceStatusRequest:
    """Return what the form asks for: it says what becomes of the items if there were any."""
    version = expected_version(typed)
    chosen = typed.get("replacement_id")
    if chosen is None:
        return DeleteStatusRequest(status_id=id, expected_version=version)
    if not chosen:
        raise InvalidArgument("replacement_id", "is required: choose what becomes of its items")
    other = "" if chosen == _NONE else chosen
    return ReplaceStatusRequest(status_id=id, replacement_id=other, expected_version=version)


async def _delete_page(
    site: Site,
    request: Request,
    typed: Mapping[str, str] | None = None,
    error: RequestError | None = None,
) -> Response:
    id = request.path_params["id"]
    uses = {use.status.id: use for use in await _uses(site, request)}
    if id not in uses:
        raise NotFound(Status.__name__, id)
    found = uses.pop(id)
    form = asking(found.status.version, typed, error)
    return page(
        site,
        request,
        "admin/statuses/delete.html",
        tab=_TAB,
        status=form.status,
        form=form,
        record=found.status,
        items=found.items,
        options=[
            ("", "Choose what they get"),
            *((other, use.status.name) for other, use in uses.items()),
            (_NONE, "No status"),
        ],
    )


async def _uses(site: Site, request: Request) -> tuple[StatusUse, ...]:
    overview: GetOverviewResponse = await site.run(request, GetOverviewRequest(page_size=1))
    return overview.statuses
