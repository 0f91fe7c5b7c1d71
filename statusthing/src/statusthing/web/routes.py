"""Every address that a browser or a probe may ask for, in one table.

To add a page: a row here, a handler `async def handler(site, request) -> Response`, and a template
that extends `layout.html`. Handlers and templates write URLs by the name of a row, see
`statusthing.web.urls`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from statusthing.asgi import ASGIApp, Receive, Scope, Send
from statusthing.web import events, files, probes, public
from statusthing.web.failures import Missing, failed
from statusthing.web.site import Site

Handler = Callable[[Site, Request], Awaitable[Response]]

_READ = ("GET", "HEAD")


class Row(NamedTuple):
    """One address.

    Attributes:
        name: what URLs are built by.
        path: below the prefix, with parameters as `{name}`.
        methods: of HTTP.
        handler: answers.
        operation: whose row in `statusthing.access.PERMISSIONS` guards it; empty for what anybody
            may have in any case.
    """

    name: str
    path: str
    methods: tuple[str, ...]
    handler: Handler
    operation: str


ROUTES = (
    Row("front", "/", _READ, public.front, "ViewPage"),
    Row("item", "/items/{id}", _READ, public.item, "ViewPage"),
    Row("status", "/status.json", _READ, public.status, "ViewPage"),
    Row("events", "/events", _READ, events.events, "ViewPage"),
    Row("palette", "/palette.css", _READ, files.palette, ""),
    Row("asset", "/static/{name}", _READ, files.asset, ""),
    Row("reloads", "/devmode/reloads", _READ, events.reloads, ""),
    Row("healthz", "/healthz", _READ, probes.healthz, ""),
    Row("readyz", "/readyz", _READ, probes.readyz, ""),
)

PATHS = {row.name: row.path for row in ROUTES}


def routes(site: Site) -> list[Route]:
    """Return the routes of a site."""
    return [
        Route(row.path, _endpoint(site, row), name=row.name, methods=list(row.methods))
        for row in ROUTES
    ]


def _endpoint(site: Site, row: Row) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return await row.handler(site, request)
        except Exception as error:  # noqa: BLE001 - each becomes a page
            return failed(site, request, error)

    return endpoint


def or_missing(site: Site, otherwise: ASGIApp) -> ASGIApp:
    """Return what answers where there is no route.

    Args:
        site: whose page about it a browser gets.
        otherwise: answers everybody else.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in _READ and _wants_html(scope):
            response: Any = failed(site, Request(scope), Missing())
            await response(scope, receive, send)
        else:
            await otherwise(scope, receive, send)

    return answer


def _wants_html(scope: Scope) -> bool:
    """Tell whether it is a browser that opens a page: other clients do not name HTML."""
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])
