"""Every address that a browser or a probe may ask for."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from statusthing.errors import StoreError, UserMistake, with_cause
from statusthing.service import StatusThing

_log = logging.getLogger("statusthing.web")

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>StatusThing</title>
</head>
<body>
<h1>StatusThing</h1>
<p>This server is up. Items, their statuses and their notes are kept and read through its API:
gRPC, gRPC-Web, Connect and plain HTTP POST with JSON, all at this address.</p>
</body>
</html>
"""

_PAGE_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

_PROBE_HEADERS = {"cache-control": "no-store"}


def routes(st: StatusThing, ready: Callable[[], Awaitable[None]]) -> list[Route]:
    """Return the routes.

    Args:
        st: the service.
        ready: is awaited before anything reads the store.
    """

    async def front_page(_: Request) -> Response:
        return HTMLResponse(_PAGE, headers=_PAGE_HEADERS)

    async def healthz(_: Request) -> Response:
        """Tell that the process answers."""
        return JSONResponse({"status": "ok"}, headers=_PROBE_HEADERS)

    async def readyz(_: Request) -> Response:
        """Return whether the store answers too."""
        try:
            await ready()
            await st.revision()
        except (StoreError, UserMistake) as error:
            _log.error("not ready: %s", with_cause(error))
            answer = {"status": "unavailable", "reason": "the store does not answer"}
            return JSONResponse(answer, status_code=503, headers=_PROBE_HEADERS)
        return JSONResponse({"status": "ok"}, headers=_PROBE_HEADERS)

    return [Route("/", front_page), Route("/healthz", healthz), Route("/readyz", readyz)]
