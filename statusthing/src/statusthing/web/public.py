"""The handlers of the public pages."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from statusthing.errors import InvalidArgument
from statusthing.model import StatusKind
from statusthing.web.site import Site
from statusthing.web.urls import prefix_of

LONGEST = 200
"""How many characters of a text to look for count."""


async def front(site: Site, request: Request) -> Response:
    """Answer "is it up?"; with `q` or `kind`, show only some items."""
    prefix = prefix_of(request.scope)
    text = request.query_params.get("q", "").strip()[:LONGEST]
    kind = _kind(request.query_params.get("kind", ""))
    if text or kind:
        return await site.pages.filtered(prefix, text, kind)
    return await site.pages.front(prefix)


async def item(site: Site, request: Request) -> Response:
    """Show an item with all its notes, page by page."""
    item_id = request.path_params["id"]
    before = request.query_params.get("before", "")
    return await site.pages.item(prefix_of(request.scope), item_id, before)


async def status(site: Site, _: Request) -> Response:
    """Say what the front page says, in JSON."""
    return await site.pages.status()


def _kind(name: str) -> StatusKind | None:
    """Read a kind as the form writes it: its name in lower case."""
    if not name:
        return None
    try:
        return StatusKind[name.upper()]
    except KeyError:
        raise InvalidArgument("kind", "is not a status kind") from None
