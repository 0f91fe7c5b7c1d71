"""Server-sent events: an open page learns that there is something new, and fetches it.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from statusthing import limits
from statusthing.access import ANONYMOUS, permitted
from statusthing.asgi import STOPPING
from statusthing.errors import RequestError, StoreError
from statusthing.web.answers import SECURITY, UNKEPT
from statusthing.web.devmode import edits
from statusthing.web.failures import Missing
from statusthing.web.site import Site

KEEP_ALIVE_SECONDS = 15.0
"""After how long without an event a comment is sent, so that nobody between gives up."""

PAUSE_SECONDS = 1.0
"""The least time between two events of a stream, however much changes."""

_HEADERS = {"cache-control": UNKEPT, "x-accel-buffering": "no", **SECURITY}

_COMMENT = b":\n\n"


async def events(site: Site, request: Request) -> Response:
    """Send the public revision: the present one at once, and every newer one as it comes.

    It carries nothing else, so that whoever may not see a page learns nothing of it; and ends
    before the next one for who may not see the page any more. Beyond `limits.EVENT_STREAMS`, a
    client is told to come back later.
    """

    async def revisions() -> AsyncIterator[bytes]:
        sent = -1
        await site.live.look()
        while True:
            changed, revision = site.live.changed, site.live.revision
            if revision in (sent, -1):
                await changed.wait()
                continue
            if not await _may_listen(site, request):
                return
            yield b"id: %d\ndata: %d\n\n" % (revision, revision)
            sent = revision
            await asyncio.sleep(PAUSE_SECONDS)

    site.live.watch()
    return _stream(site, revisions())


async def _may_listen(site: Site, request: Request) -> bool:
    """Return whether whoever listens may see the page now: a stream outlives many a session."""
    if permitted(ANONYMOUS, "ViewPage", site.st.access):
        return True
    try:
        principal = await site.callers.of_page(request.scope)
    except (RequestError, StoreError):
        return False
    return permitted(principal, "ViewPage", site.st.access)


async def reloads(site: Site, _: Request) -> Response:
    """Tell an open page that a template or an asset was edited; in devmode only."""
    if not site.renderer.reloads:
        raise Missing
    return _stream(site, edits())


def _stream(site: Site, events: AsyncIterator[bytes]) -> Response:
    if site.streams >= limits.EVENT_STREAMS:
        headers = {**_HEADERS, "retry-after": "30"}
        return PlainTextResponse("too many pages are listening\n", 503, headers)
    return _Stream(site, events)


class _Stream(Response):
    """An answer that goes on until its events do not, its client leaves or the server stops."""

    def __init__(self, site: Site, events: AsyncIterator[bytes]) -> None:
        super().__init__(headers=_HEADERS, media_type="text/event-stream")
        del self.headers["content-length"]
        self._site = site
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._site.streams += 1
        try:
            await self._serve(scope, receive, send)
        finally:
            self._site.streams -= 1

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = self.raw_headers
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        ends: set[asyncio.Task[Any]] = {asyncio.ensure_future(_left(receive))}
        stopping: asyncio.Event | None = scope.get("state", {}).get(STOPPING)
        if stopping is not None:
            ends.add(asyncio.ensure_future(stopping.wait()))
        following: asyncio.Task[Any] = asyncio.ensure_future(anext(self._events, None))
        try:
            await send(_part(b"retry: 3000\n\n"))
            while True:
                done, _ = await asyncio.wait(
                    {following, *ends},
                    timeout=KEEP_ALIVE_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if done & ends:
                    break
                if not done:
                    await send(_part(_COMMENT))
                    continue
                event = following.result()
                if event is None:
                    break
                await send(_part(event))
                following = asyncio.ensure_future(anext(self._events, None))
            await send({"type": "http.response.body", "body": b""})
        finally:
            for task in (following, *ends):
                task.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _part(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}
