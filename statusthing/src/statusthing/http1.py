"""Hypercorn's HTTP/1.1 connection, patched for requests that are refused, endless or too slow.

Hypercorn has no setting for the classes of its connections and requests; `statusthing.server` puts
these in their place. Each departure names its cause, and has a test that fails without it.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

import h11
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Body, Request, Response, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H2ProtocolAssumedError, H11Protocol
from hypercorn.typing import H11SendableEvent

from statusthing import limits
from statusthing.asgi import Scope, Send
from statusthing.exchange import Exchange, pieces

_SOON_SECONDS = 0.1
_VERSIONS = frozenset({"1.0", "1.1"})
_PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
_URL = re.compile(rb"https?://([^/?#]*)(/.*)?", re.IGNORECASE)
_FRAMING = frozenset({b"connection", b"content-length", b"transfer-encoding"})
_LINES = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+\0 [\t\x20-\x7e\x80-\xff]*\r\n)*")
"""Headers, RFC 9110, section 5, with NUL in place of the colon, which a name might have inside."""
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]+)(?::[0-9]*)?")
"""A host with or without a port, RFC 3986, section 3.2; no comma, so that it is not a list."""


class Http1Exchange(Exchange):
    """A request over HTTP/1.1, which is read to its end before its answer ends.

    A client that has sent all of it when the answer begins, or soon after, keeps its connection.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._room: asyncio.Event | None = None
        self._whole = False

    async def handle(self, event: StreamEvent) -> None:
        """Take a part of the request; the reading of the connection waits meanwhile."""
        await super().handle(event)
        if isinstance(event, Body):
            if len(self.body) > limits.UNREAD_BYTES and not self.closed:
                self._room = asyncio.Event()
                await self._room.wait()
        elif isinstance(event, StreamClosed) and self._room is not None:
            self._room.set()

    async def taken(self, size: int) -> None:
        """Let the reading go on."""
        if self._room is not None:
            self._room.set()

    async def receive(self) -> Any:
        """Take the next part of the request."""
        message = await super().receive()
        self._whole = not message.get("more_body")
        return message

    async def answer(self, scope: Scope) -> None:
        """Have the application answer, unless the head of the request is not to be had."""
        fault = _fault(scope)
        if fault is None:
            await super().answer(scope)
        else:
            await _refuse(self.send, *fault)

    async def send(self, message: Any) -> None:
        """Take the next part of the answer, and drop what is still to come of the request."""
        if self._whole:
            await super().send(message)
            return
        if message["type"] == "http.response.start":
            await self._drop_the_rest(_SOON_SECONDS)
            if not self._whole:
                headers = [*message.get("headers", ()), (b"connection", b"close")]
                message = {**message, "headers": headers}
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            await super().send({**message, "more_body": True})
            await self._drop_the_rest(limits.DROPPED_SECONDS)
            message = {"type": "http.response.body"}
        await super().send(message)

    async def _drop_the_rest(self, seconds: float) -> None:
        """Drop what is still to come of the body, for so long at most.

        An application may answer, mostly to refuse, before the body is there. Hypercorn then closes
        the connection without saying so, and closing with bytes unread makes the kernel reset it,
        which takes the answer away from a client that is still sending (RFC 9112, section 9.6).
        https://github.com/pgjones/hypercorn/blob/0.18.0/src/hypercorn/protocol/h11.py
        """
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._whole and size < limits.DROPPED_BYTES:
                    size += len((await self.receive()).get("body", b""))


class Http1Protocol(H11Protocol):
    """Hypercorn's HTTP/1.1 connection, which knows when a client is too slow."""

    stream: Any
    _arriving: tuple[object, float] | None = None
    _held = b""

    async def handle(self, event: Event) -> None:
        """Take data from the client, or the news that the connection is closing.

        h11 takes a length that is said twice for one, which RFC 9110, section 8.6, leaves to us.
        """
        if isinstance(event, RawData) and self.connection.their_state is h11.IDLE:
            head, _, _ = (self.connection.trailing_data[0] + event.data).partition(b"\r\n\r\n")
            if head.lower().count(b"\ncontent-length:") > 1:
                await self._send_error_response(400)
                await self.send(Closed())
                return
        await super().handle(event)

    async def stream_send(self, event: StreamEvent) -> None:
        """Send a part of an answer: a long one bit by bit, so that few copies of it are made."""
        if isinstance(event, Response):
            await self._send_head(event)
        elif isinstance(event, Body):
            for data in pieces(event.data):
                await self._send_h11_event(h11.Data(data=data))
        else:
            await super().stream_send(event)

    async def _send_head(self, response: Response) -> None:
        """Send the head of an answer, of whose headers h11 sees those that the connection needs.

        It looks at each by itself, which takes a tenth of what a small request takes in all. Those
        that are malformed it gets to see too, to refuse them.
        """
        headers = [*response.headers, *self.config.response_headers("h11")]
        framing = [pair for pair in headers if pair[0].lower() in _FRAMING]
        others = [pair for pair in headers if pair[0].lower() not in _FRAMING]
        lines = b"".join([b"%b\0 %b\r\n" % pair for pair in others])
        if lines.count(b"\n") > len(others) or not _LINES.fullmatch(lines):
            framing, lines = headers, b""
        await self._send_h11_event(h11.Response(status_code=response.status_code, headers=framing))
        if self._held:
            self._held = self._held.removesuffix(b"\r\n") + lines.replace(b"\0", b":") + b"\r\n"

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        """Send the head of an answer together with what follows, if that follows at once.

        Hypercorn sends them one by one, and a write costs more than making the whole answer.
        """
        try:
            self._held += self.connection.send(event) or b""
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
        if isinstance(event, h11.Response):
            asyncio.get_running_loop().call_soon(self._send_soon)
        else:
            await self._send_held()

    def _send_soon(self) -> None:
        if self._held:
            self.task_group.spawn(self._send_held)

    async def _send_held(self) -> None:
        data, self._held = self._held, b""
        if data:
            await self.send(RawData(data))

    async def _create_stream(self, request: h11.Request) -> None:
        # Hypercorn looks whether it is a WebSocket that is wanted. There are none here, and RFC
        # 9110, section 7.8, lets a server ignore the wish.
        self.stream = Http1Exchange(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                method=request.method.decode().upper(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1

    async def _check_protocol(self, event: h11.Request) -> None:
        # Hypercorn also upgrades to HTTP/2 on `Upgrade: h2c`, a mechanism that RFC 9113, section
        # 3.1, withdrew; and malformed settings in it would end the connection with a traceback.
        if (event.method, event.target, event.http_version) == (b"PRI", b"*", b"2.0"):
            raise H2ProtocolAssumedError(_PREFACE + self.connection.trailing_data[0])

    async def sweep(self, now: float) -> bool:
        """Return whether a request has been arriving for too long, so that this is to end.

        To be asked every now and then: the time counts from when the request was first seen
        incomplete.

        Args:
            now: the loop's clock, in seconds.
        """
        patience = self._patience()
        part = (self.keep_alive_requests, patience)
        if self._arriving is None or self._arriving[0] != part:
            self._arriving = part, now
        return patience is not None and now - self._arriving[1] > patience

    def _patience(self) -> float | None:
        """For how many seconds what is arriving may arrive; None if nothing is."""
        state = self.connection.their_state
        if state is h11.SEND_BODY:
            return limits.UNFINISHED_SECONDS
        if state is h11.IDLE and self.connection.trailing_data[0]:
            return limits.HEADER_SECONDS
        if state is h11.DONE and self.connection.trailing_data[0]:
            # A request waits behind another, and reading with it: its client may have left.
            return limits.UNFINISHED_SECONDS
        return None


def _fault(scope: Scope) -> tuple[int, bytes] | None:
    """Return the status and the text with which to refuse a request, if its head is faulty.

    h11 leaves these to us. A URL as target becomes a path, and its authority takes the place of
    `Host`, RFC 9112, section 3.2.2.
    """
    if scope["http_version"] not in _VERSIONS:
        return 505, b"only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here\n"
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers and (
        b"content-length" in headers or scope["http_version"] == "1.0"
    ):
        return 400, b"the length of the body is ambiguous: see RFC 9112, section 6\n"
    size = len(scope["raw_path"]) + len(scope["query_string"])
    for name, value in scope["headers"]:
        size += len(name) + len(value) + len(b": \r\n")
    if size > limits.HEADER_BYTES:
        return 431, b"the request line and the headers are too long\n"
    host = headers.get(b"host")
    if not scope["raw_path"].startswith(b"/") and scope["raw_path"] != b"*":
        match = _URL.fullmatch(scope["raw_path"])
        if match is None:
            return 400, b"the target of the request must be a path, or an http URL\n"
        host, path = match[1], match[2] or b"/"
        others = [(name, value) for name, value in scope["headers"] if name != b"host"]
        scope["headers"] = [(b"host", host), *others]
        scope["raw_path"], scope["path"] = path, unquote(path.decode("ascii"))
    if host is not None and not _HOST.fullmatch(host):
        return 400, b"the header Host is malformed\n"
    return None


async def _refuse(send: Send, status: int, text: bytes) -> None:
    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", b"%d" % len(text)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
