"""The handlers of what pages refer to: our assets, and the colours of the site."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from statusthing.web.answers import IMMUTABLE, Kept, compress
from statusthing.web.failures import Missing
from statusthing.web.site import Site
from statusthing.web.stylesheet import stylesheet


async def asset(site: Site, request: Request) -> Response:
    """Answer with a file of `static/`."""
    found = site.renderer.assets.get(request.path_params["name"])
    if found is None:
        raise Missing
    return found


async def palette(_: Site, request: Request) -> Response:
    """Answer with the stylesheet of the colours that the URL names."""
    query = request.query_params
    text = stylesheet(query.get("accent", ""), query.get("c", ""))
    if text is None:
        raise Missing
    body = text.encode()
    return Kept(
        body,
        content_type="text/css; charset=utf-8",
        cache_control=IMMUTABLE,
        compressed=compress(body),
    )
