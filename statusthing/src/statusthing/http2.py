"""Hypercorn's HTTP/2 connection, patched for long-lived gRPC connections.

Hypercorn has no setting for the class of its HTTP/2 connections; `statusthing.server` puts this one
in its place. Each departure names its cause, and has a test in `tests/test_server.py` that fails
without it.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from h2.connection import ConnectionState
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Response, Trailers
from hypercorn.protocol.h2 import H2Protocol, StreamBuffer
from hyperframe.frame import GoAwayFrame

from statusthing import limits
from statusthing.asgi import WHOLE, Scope
from statusthing.exchange import Exchange, pieces
from statusthing.frames import FrameGuard

if TYPE_CHECKING:
    from h2.events import Event as H2Event
    from hypercorn.events import Event as ConnectionEvent
    from hypercorn.protocol.events import Event as StreamEvent

_LAST_STREAM = 2**31 - 1
_TABLE_BYTES = 4096
_PARTS = (Response, Body, EndBody, Trailers)  # of an answer
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_TARGET = re.compile(rb"/[!-~]*|\*")

_log = logging.getLogger("statusthing.server")


class Http2Exchange(Exchange):
    """A request over HTTP/2, whose client may send as much as the application takes."""

    _whole = False  # all of it has been handed over, except that this is its end

    @property
    def protocol(self) -> Http2Protocol:
        """The connection it came over."""
        return cast("Http2Protocol", cast("Any", self.tell).__self__)

    async def taken(self, size: int) -> None:
        """Open the window of the stream by what the application has taken."""
        await self.protocol.acknowledge(self.stream_id, size)

    async def answer(self, scope: Scope) -> None:
        """Have the application answer, once there is room for an answer."""
        if self.protocol.is_full:
            await self.protocol.room(self)
        if not self.closed:
            await super().answer(scope)

    async def receive(self) -> Any:
        """Take the next part of the request; its end is told once there is room for an answer.

        There may be none any more, because other calls that began before have been answered.
        """
        if self._whole:
            await self.protocol.room(self)
            self._whole = False
            if not self.closed:
                return {"type": "http.request", "body": b"", "more_body": False}
        message = await super().receive()
        if self.protocol.is_full and message.get("more_body") is False:
            self._whole = True
            return {**message, "more_body": True, WHOLE: True}
        return message


class Http2Protocol(H2Protocol):
    """Hypercorn's HTTP/2 connection, with what long-lived gRPC connections need.

    Times are in seconds of the loop's clock.

    Attributes:
        guard: watches the client's frames.
        cancelled: when calls were cancelled, oldest first.
        unread: how many bytes of each stream the application has not taken.
        unfinished: when the streams began whose client has not ended them, oldest first.
        sending: when the client last took something of the answers that wait for it, by stream.
        unsent: how many bytes the answers have, some of which wait for the client.
        sent: set when there may be room for another answer.
        held: whether something is held back in case that more comes.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.guard = FrameGuard(self.context.time())
        self.cancelled: deque[float] = deque()
        self.unread: dict[int, int] = {}
        self.unfinished: dict[int, float] = {}
        self.sending: dict[int, float] = {}
        self.unsent = 0
        self.sent = asyncio.Event()
        self.held = False

    async def initiate(
        self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None
    ) -> None:
        """Start, and count as idle until the first call.

        Hypercorn counts the HTTP/2 preface as a request, so an unused connection would never time
        out, nor close when the server stops.
        https://github.com/pgjones/hypercorn/blob/0.18.0/src/hypercorn/protocol/h11.py
        """
        await super().initiate(headers, settings)
        # h2 waits for the client to acknowledge it, and the client may never do that.
        self.connection.decoder.max_header_list_size = limits.HEADER_BYTES
        # One stream that the application does not read must not stop the others.
        window = limits.CALLS_OF_A_CONNECTION * limits.UNREAD_BYTES
        self.connection.increment_flow_control_window(window)
        await self._flush()
        if self.idle:
            await self.send(Updated(idle=True))

    async def handle(self, event: ConnectionEvent) -> None:
        """Take data from the client, or the news that the connection is closing."""
        if isinstance(event, RawData):
            if self.closed:
                return  # h2 would answer it, after our goodbye, with an error of protocol
            fault = self.guard.fault(event.data, self.context.time())
            if fault is not None:
                _log.warning("closed the connection of %s: %s", self.client, fault.name)
                await self.end(fault)
                return
        await super().handle(event)
        if self.closed:
            # An application that is answering would wait for ever for the sending task, which has
            # ended, and would keep the connection from being closed.
            for buffer in tuple(self.stream_buffers.values()):
                await buffer.close()
            self.sent.set()

    async def end(self, reason: ErrorCodes) -> None:
        """Close the connection of a client that misbehaves."""
        await self.say_goodbye(reason)
        await self.send(Closed())

    async def say_goodbye(self, reason: ErrorCodes) -> None:
        """Send GOAWAY, which tells the client which calls were not processed."""
        self.closed = True
        with suppress(ProtocolError):
            self.connection.close_connection(reason)
        await self._flush()

    async def refuse_further(self) -> None:
        """Tell the client to make its next calls elsewhere, those in flight go on.

        RFC 9113, section 6.8. h2 would take the connection for closed if it sent this itself.
        """
        goaway = GoAwayFrame(0, last_stream_id=_LAST_STREAM, error_code=ErrorCodes.NO_ERROR)
        await self.send(RawData(goaway.serialize()))

    async def _handle_events(self, events: list[H2Event]) -> None:
        for event in self._without_goodbyes(events):
            if self.closed:
                return
            if isinstance(event, RequestReceived) and self.context.terminated.is_set():
                # NO_ERROR, which Hypercorn sends here, reads as a broken server; REFUSED_STREAM
                # says that the call may be repeated elsewhere (RFC 9113, section 8.7).
                self._reset(event.stream_id, ErrorCodes.REFUSED_STREAM)
            elif isinstance(event, RequestReceived) and not _is_well_formed(event):
                # RFC 9113, section 8.1.1. Hypercorn ends the connection.
                self._reset(event.stream_id, ErrorCodes.PROTOCOL_ERROR)
            elif isinstance(event, DataReceived):
                await self.handle_data(event)
            elif isinstance(event, StreamReset):
                await self.handle_reset(event)
            else:
                if isinstance(event, RemoteSettingsChanged):
                    # hpack searches all of a table of whatever size the client names.
                    table = min(self.connection.encoder.header_table_size, _TABLE_BYTES)
                    self.connection.encoder.header_table_size = table
                elif isinstance(event, RequestReceived):
                    self.unfinished[event.stream_id] = self.context.time()
                elif isinstance(event, StreamEnded):
                    self.unfinished.pop(event.stream_id, None)
                await super()._handle_events([event])
        await self._flush()

    def _reset(self, stream_id: int, reason: ErrorCodes) -> None:
        with suppress(ProtocolError):  # the client has reset it meanwhile
            self.connection.reset_stream(stream_id, reason)

    def _without_goodbyes(self, events: list[H2Event]) -> list[H2Event]:
        """Drop GOAWAY: the client makes no more calls, but waits for the answers to earlier ones.

        RFC 9113, section 6.8. h2 and Hypercorn take the connection for closed.
        """
        kept = [event for event in events if not isinstance(event, ConnectionTerminated)]
        if len(kept) < len(events):
            self.connection.state_machine.state = ConnectionState.SERVER_OPEN
        return kept

    async def handle_data(self, event: DataReceived) -> None:
        """Hand a part of a body on; the client may send more when the application has taken it.

        Hypercorn lets it send more at once, so that a body that nobody takes fills the memory. And
        it looks up the stream of a call that was answered before its body arrived: the KeyError
        ends every call on the connection. https://github.com/pgjones/hypercorn/issues/329
        """
        stream = self.streams.get(event.stream_id)
        size = 0 if stream is None else len(event.data)
        self.connection.acknowledge_received_data(
            event.flow_controlled_length - size, event.stream_id
        )
        if stream is not None:
            self.unread[event.stream_id] = self.unread.get(event.stream_id, 0) + size
            await stream.handle(Body(stream_id=event.stream_id, data=event.data))

    async def acknowledge(self, stream_id: int, size: int) -> None:
        """Let the client send so many bytes more, unless the stream is over."""
        if stream_id in self.unread and not self.closed:
            self.unread[stream_id] -= size
            with suppress(ProtocolError):  # the connection is just ending
                self.connection.acknowledge_received_data(size, stream_id)
            await self._flush()

    @property
    def is_full(self) -> bool:
        """Whether the client has to take more of the answers that it asked for before.

        Without this, one that asks and does not read fills the memory with answers.
        """
        return self.unsent > limits.UNSENT_BYTES

    async def room(self, exchange: Http2Exchange) -> None:
        """Wait until the client has taken enough, or has given this request up."""
        while self.is_full and not (self.closed or exchange.closed):
            self.sent.clear()
            await self.sent.wait()

    async def _close_stream(self, stream_id: int) -> None:
        if self.unread.get(stream_id):
            await self.acknowledge(stream_id, self.unread[stream_id])
        self.unread.pop(stream_id, None)
        await super()._close_stream(stream_id)
        self.sent.set()  # it may be one that waits for room

    async def handle_reset(self, event: StreamReset) -> None:
        """End a cancelled call, and close the connection of a client that only cancels.

        https://www.cve.org/CVERecord?id=CVE-2023-44487
        """
        self.unfinished.pop(event.stream_id, None)
        if event.stream_id in self.streams:
            now = self.context.time()
            self.cancelled.append(now)
            full = len(self.cancelled) > limits.CANCELLED_CALLS
            if full and now - self.cancelled.popleft() < limits.CANCELLED_SECONDS:
                text = "closed the connection of %s: over %d calls cancelled within %d s"
                numbers = (limits.CANCELLED_CALLS, limits.CANCELLED_SECONDS)
                _log.warning(text, self.client, *numbers)
                await self.end(ErrorCodes.ENHANCE_YOUR_CALM)
                return
        await super()._handle_events([event])

    async def sweep(self, now: float) -> bool:
        """Cut off the calls whose client is too slow; return whether the connection is to end.

        Args:
            now: the loop's clock, in seconds.
        """
        overdue = [
            stream_id
            for since_when, seconds in (
                (self.unfinished, limits.UNFINISHED_SECONDS),
                (self.sending, limits.STALLED_SECONDS),
            )
            for stream_id, since in since_when.items()
            if now - since > seconds
        ]
        for stream_id in overdue:
            self.unfinished.pop(stream_id, None)
            self.sending.pop(stream_id, None)
            unread = self.unread.pop(stream_id, 0)
            with suppress(ProtocolError):  # it is just over
                self.connection.reset_stream(stream_id, ErrorCodes.CANCEL)
                self.connection.acknowledge_received_data(unread, stream_id)
            await self._close_stream(stream_id)
            await self._window_updated(stream_id)  # which makes the sending task see the end of it
        if overdue:
            self.task_group.spawn(self._flush)  # not awaited: the client may not be reading
        return False

    async def _priority_updated(self, event: PriorityUpdated) -> None:
        """Ignore it: RFC 9113, section 5.3.2, withdrew the scheme.

        A cycle of dependencies makes Hypercorn's tree of them grow without end.
        https://github.com/python-hyper/priority/blob/v2.0.0/src/priority/priority.py
        """

    async def stream_send(self, event: StreamEvent) -> None:
        """Send a part of an answer, if there still is somebody to send it to.

        What fits into the windows leaves at once, and the parts of an answer that follow each other
        leave together. Hypercorn has another task send them, each with a write of its own, which
        costs more than making the whole answer.
        """
        if self.closed:
            return  # Hypercorn would wait for the next request of a client that has left
        buffer = self.stream_buffers.get(event.stream_id)
        if buffer is None or not isinstance(event, _PARTS):
            await super().stream_send(event)
            return
        with suppress(ProtocolError):  # the stream is over
            if isinstance(event, Body) and len(event.data) > self._window(event.stream_id):
                await self._send_bit_by_bit(event, buffer)
            else:
                await self._send_at_once(event)

    async def _send_at_once(self, event: StreamEvent) -> None:
        """Send a part of an answer without another task; the last part ends the stream.

        After trailers, Hypercorn ends it once more. h2 takes that for a fault, so it answers what
        is still coming of the request with RST_STREAM(STREAM_CLOSED), and a gRPC client that reads
        this together with the trailers reports INTERNAL, whatever the trailers say. Here the rest
        of the request is read and dropped: RFC 9113, section 8.1, would have it stopped with
        RST_STREAM(NO_ERROR), but curl 7.88 then throws the answer away.
        https://github.com/pgjones/hypercorn/blob/0.18.0/src/hypercorn/protocol/h2.py
        """
        stream_id = event.stream_id
        self.guard.earn()
        if isinstance(event, Response):
            status = (b":status", b"%d" % event.status_code)
            more = self.config.response_headers("h2")
            self.connection.send_headers(stream_id, [status, *event.headers, *more])
        elif isinstance(event, Body):
            self.connection.send_data(stream_id, event.data)
        else:
            if isinstance(event, Trailers):
                self.connection.send_headers(stream_id, event.headers, end_stream=True)
            else:
                self.connection.end_stream(stream_id)
            del self.stream_buffers[stream_id]
            self.priority.remove_stream(stream_id)
            await self._flush()
            return
        self.held = True
        asyncio.get_running_loop().call_soon(self._flush_soon)

    async def _send_bit_by_bit(self, event: Body, buffer: StreamBuffer) -> None:
        """Send as much as the client takes, and wait with the rest.

        Hypercorn would take all of it into its buffer: it waits, if that is full, for an attempt to
        send, whether or not the client took anything.
        """
        self.unsent += len(event.data)
        try:
            for data in pieces(event.data):
                self.sending[event.stream_id] = self.context.time()
                await super().stream_send(Body(event.stream_id, data))
                await buffer.drain()
        finally:
            self.sending.pop(event.stream_id, None)
            self.unsent -= len(event.data)
            self.sent.set()

    def _window(self, stream_id: int) -> int:
        """Return how many bytes a stream may send in one frame now."""
        window = self.connection.local_flow_control_window(stream_id)
        return min(window, self.connection.max_outbound_frame_size)

    def _flush_soon(self) -> None:
        """Send what has waited for more to come, if that did not come."""
        if self.held and not self.closed:
            self.task_group.spawn(self._flush)

    async def _flush(self) -> None:
        self.held = False
        await super()._flush()

    async def _send_data(self, stream_id: int) -> None:
        """Send the next part of what a stream has to send."""
        self.guard.earn()
        buffer = self.stream_buffers[stream_id]
        waiting = len(buffer.buffer)
        # While this waits for the client the stream may end, and is forgotten then. Hypercorn looks
        # it up once more.
        with suppress(KeyError):
            await super()._send_data(stream_id)
        if len(buffer.buffer) < waiting and stream_id in self.sending:
            self.sending[stream_id] = self.context.time()


def _is_well_formed(request: RequestReceived) -> bool:
    """Return whether Hypercorn can read the method and the target of a request.

    It takes CONNECT for the wish to open a WebSocket, and there are none here.
    """
    pseudo = dict(request.headers or ())
    method = pseudo.get(b":method", b"")
    return bool(
        method.upper() != b"CONNECT"
        and _METHOD.fullmatch(method)
        and _TARGET.fullmatch(pseudo.get(b":path", b""))
    )
