"""The pages about items."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from statusthing.web.admin.frame import page
from statusthing.web.site import Site


async def listing(site: Site, request: Request) -> Response:
    """List the items."""
    return page(site, request, "admin/items/list.html", tab="admin")
