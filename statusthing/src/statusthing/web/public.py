"""The handlers of the public pages."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from statusthing.web.headline import kind_named
from statusthing.web.site import Site
from statusthing.web.urls import prefix_of

LONGEST = 200
"""How many characters of a text to look for count."""


async def front(site: Site, request: Request) -> Response:
    """Answer "is it up?"; with `q` or `kind`, show only some items."""
    prefix = prefix_of(request.scope)
    text = request.query_params.get("q", "").strip()[:LONGEST]
    kind = kind_named(request.query_params.get("kind", ""))
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
