"""The pages for those who are signed in."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from statusthing.web.site import Site


async def home(site: Site, request: Request) -> Response:
    """Say who is signed in."""
    return site.page(request, "admin/home.html")
