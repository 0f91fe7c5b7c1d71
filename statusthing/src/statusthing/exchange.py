"""One request and its answer, as the server sees them, over either version of HTTP."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, cast

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.protocol.events import Body, EndBody
from hypercorn.protocol.http_stream import HTTPStream

from statusthing.asgi import Receive, Scope, Send

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hypercorn.protocol.events import Event as StreamEvent
    from hypercorn.typing import ASGIFramework


class Application(ASGIWrapper):
    """The application that is served, and its calls in flight.

    Attributes:
        calls: the tasks that carry them out.
    """

    def __init__(self, app: ASGIFramework) -> None:
        super().__init__(app)
        self.calls: set[asyncio.Task[Any]] = set()


_PIECE_BYTES = 64 * 1024
_PART = {"type": "http.request"}


class Exchange(HTTPStream):
    """Hypercorn's request, which knows what the application has taken of its body.

    What has come of the body meanwhile is handed over as one part: Hypercorn queues a message for
    each frame or chunk, however small. While the application works on it, it counts as a call in
    flight.

    Attributes:
        body: what the application has not taken.
    """

    def __init__(self, application: Application, *others: Any) -> None:
        super().__init__(self._call, *others)
        self.body = bytearray()
        self._application = application
        self._ended = False
        self._next: Receive

    async def handle(self, event: StreamEvent) -> None:
        """Take a part of the request."""
        if not isinstance(event, (Body, EndBody)):
            await super().handle(event)
        elif not self.closed:
            queued = bool(self.body)
            if isinstance(event, Body):
                self.body += event.data
            else:
                self._ended = True
            if not queued and (self.body or self._ended):
                await self.app_put(_PART)  # type: ignore[arg-type]

    async def _call(
        self, scope: Any, receive: Any, send: Any, sync_spawn: Any, call_soon: Any
    ) -> None:
        self._next = receive
        calls = self._application.calls
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        calls.add(task)
        try:
            await self.answer(scope, send)
        finally:
            calls.discard(task)

    async def answer(self, scope: Scope, send: Send) -> None:
        """Have the application answer."""
        await self._application.app(scope, self.receive, send)  # type: ignore[arg-type]

    async def receive(self) -> Any:
        """Take the next part of the request; this is the application's `receive`."""
        message = await self._next()
        if message is not _PART:
            return message
        body = bytes(self.body)
        self.body.clear()
        if body:
            await self.taken(len(body))
        return {"type": "http.request", "body": body, "more_body": not self._ended}

    @abstractmethod
    async def taken(self, size: int) -> None:
        """Let the client send as much again as the application has just taken, in bytes."""


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut data into pieces of a size that is handed over at once."""
    for place in range(0, len(data), _PIECE_BYTES):
        yield data[place : place + _PIECE_BYTES]
