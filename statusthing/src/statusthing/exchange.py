"""One request and its answer, between Hypercorn's connection and the ASGI application."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from hypercorn.protocol.events import Body, EndBody, Request, Response, StreamClosed, Trailers
from hypercorn.utils import build_and_validate_headers, suppress_body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from hypercorn.asyncio.task_group import TaskGroup
    from hypercorn.protocol.events import Event as StreamEvent

    from statusthing.asgi import ASGIApp, Scope

_PIECE_BYTES = 64 * 1024
_HTTP_2 = "2"

_START, _BODY, _TRAILERS = "http.response.start", "http.response.body", "http.response.trailers"

_FAILED = 500
_FAILED_HEADERS = [(b"content-length", b"0"), (b"connection", b"close")]

_log = logging.getLogger("statusthing.server")


class Application:
    """The application that is served, and its calls in flight.

    Attributes:
        app: the application.
        calls: the tasks that carry them out.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.calls: set[asyncio.Task[Any]] = set()


class Exchange(ABC):
    """A request, and the answer that the application sends: the `receive` and `send` of ASGI.

    Stands in for a class of Hypercorn's, and is made and told of events like that. Hypercorn queues
    a message for each frame or chunk, however small. Here, what has come of the body meanwhile is
    handed over as one part. While the application works on it, it counts as a call in flight.
    https://github.com/pgjones/hypercorn/blob/0.18.0/src/hypercorn/protocol/http_stream.py

    Attributes:
        body: what the application has not taken.
        closed: whether it is over.
        idle: whether Hypercorn may close the connection meanwhile.
        stream_id: its number on its connection.
        tell: takes events for the connection.
    """

    idle = False

    def __init__(  # noqa: PLR0917 - as Hypercorn makes it
        self,
        application: Application,
        _config: object,
        _context: object,
        task_group: TaskGroup,
        ssl: bool,  # noqa: FBT001
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
        tell: Callable[[StreamEvent], Awaitable[None]],
        stream_id: int,
    ) -> None:
        self.body = bytearray()
        self.closed = False
        self.stream_id = stream_id
        self.tell = tell
        self._application = application
        self._task_group = task_group
        self._scheme = "https" if ssl else "http"
        self._client = client
        self._server = server
        self._news = asyncio.Event()
        self._complete = False  # the body has come to its end,
        self._told = False  # and the application knows
        self._request: Request
        self._turn = _START  # what the application has to send next
        self._has_body = True
        self._has_trailers = False

    async def handle(self, event: StreamEvent) -> None:
        """Take a part of the request, or the news that it is over."""
        if self.closed:
            return
        if isinstance(event, Request):
            self._request = event
            self._task_group.spawn(self._serve)
            return
        if isinstance(event, Body):
            self.body += event.data
        elif isinstance(event, EndBody):
            self._complete = True
        elif isinstance(event, StreamClosed):
            self.closed = True
        self._news.set()

    async def _serve(self) -> None:
        calls = self._application.calls
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        calls.add(task)
        try:
            await self.answer(self._scope())
        except Exception:  # noqa: BLE001 - whatever it was, the other calls go on
            _log.exception("the application failed")
        finally:
            calls.discard(task)
            if not self.closed:
                if self._turn == _START:
                    await self.tell(Response(self.stream_id, _FAILED_HEADERS, _FAILED))
                    await self.tell(EndBody(self.stream_id))
                await self.tell(StreamClosed(self.stream_id))

    def _scope(self) -> Scope:
        """See https://asgi.readthedocs.io/en/latest/specs/www.html#http-connection-scope."""
        request = self._request
        path, _, query = request.raw_path.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.1"},
            "http_version": request.http_version,
            "method": request.method,
            "scheme": self._scheme,
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": request.headers,
            "client": self._client,
            "server": self._server,
            "state": request.state.copy(),
            "extensions": {_TRAILERS: {}} if request.http_version == _HTTP_2 else {},
        }

    async def answer(self, scope: Scope) -> None:
        """Have the application answer."""
        await self._application.app(scope, self.receive, self.send)

    async def receive(self) -> Any:
        """Take the next part of the request; this is the application's `receive`."""
        while not (self.body or self.closed or self._complete > self._told):
            self._news.clear()
            await self._news.wait()
        if self.body or self._complete > self._told:
            body = bytes(self.body)
            self.body.clear()
            self._told = self._complete
            if body:
                await self.taken(len(body))
            return {"type": "http.request", "body": body, "more_body": not self._told}
        return {"type": "http.disconnect"}

    @abstractmethod
    async def taken(self, size: int) -> None:
        """Let the client send as much again as the application has just taken, in bytes."""

    async def send(self, message: Any) -> None:
        """Take the next part of the answer; this is the application's `send`.

        What follows the last part is ignored, as ASGI has it.

        Raises:
            RuntimeError: it is another part's turn.
        """
        part = message["type"]
        if not self._turn:
            return
        if part != self._turn:
            raise RuntimeError(f"the application sends {part} where {self._turn} is to follow")
        if part == _START:
            status = int(message["status"])
            headers = build_and_validate_headers(message.get("headers", ()))
            await self.tell(Response(self.stream_id, headers, status))
            self._turn = _BODY
            self._has_body = not suppress_body(self._request.method, status)
            self._has_trailers = message.get("trailers", False)
        elif part == _BODY:
            data = message.get("body")
            if data and self._has_body:
                await self.tell(Body(self.stream_id, bytes(data)))
            if not message.get("more_body"):
                if self._has_trailers:
                    self._turn = _TRAILERS
                else:
                    await self._end()
        else:
            if (b"te", b"trailers") in self._request.headers:
                headers = build_and_validate_headers(message["headers"])
                await self.tell(Trailers(self.stream_id, headers))
            if not message.get("more_trailers"):
                await self._end()

    async def _end(self) -> None:
        await self.tell(EndBody(self.stream_id))
        self._turn = ""
        await self.tell(StreamClosed(self.stream_id))


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut data into pieces of a size that is handed over at once."""
    for place in range(0, len(data), _PIECE_BYTES):
        yield data[place : place + _PIECE_BYTES]
