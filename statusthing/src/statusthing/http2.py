"""Hypercorn's HTTP/2 connection, patched for long-lived gRPC connections.

Hypercorn has no setting for the class of its HTTP/2 connections; `statusthing.server` puts this one
in its place. Each departure names its cause, and has a test in `tests/test_server.py` that fails
without it.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections import deque
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakSet

from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamReset
from h2.exceptions import ProtocolError
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import Trailers
from hypercorn.protocol.h2 import H2Protocol, StreamBuffer

if TYPE_CHECKING:
    from h2.events import Event as H2Event
    from hypercorn.events import Event as ConnectionEvent
    from hypercorn.protocol.events import Event as StreamEvent

CANCELLED_CALLS = 200
"""More cancelled calls than this on one HTTP/2 connection within `CANCELLED_SECONDS` close it."""

CANCELLED_SECONDS = 10.0

# Hypercorn versions known to end a connection on DATA for a call that has been answered.
LATE_DATA_FAULT = frozenset({"0.18.0"})

_log = logging.getLogger("statusthing.server")


class Http2Protocol(H2Protocol):
    """Hypercorn's HTTP/2 connection, with what long-lived gRPC connections need."""

    drops_late_data = importlib.metadata.version("hypercorn") in LATE_DATA_FAULT

    @cached_property
    def cancelled(self) -> deque[float]:
        """When calls were cancelled, in seconds of the loop's clock, oldest first."""
        return deque()

    @cached_property
    def ended(self) -> WeakSet[StreamBuffer]:
        """The buffers of the streams that trailers have ended."""
        return WeakSet()

    async def initiate(
        self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None
    ) -> None:
        """Start, and count as idle until the first call.

        Hypercorn counts the HTTP/2 preface as a request, so an unused connection would never time
        out, nor close when the server stops.
        https://github.com/pgjones/hypercorn/blob/0.18.0/src/hypercorn/protocol/h11.py
        """
        await super().initiate(headers, settings)
        if self.idle:
            await self.send(Updated(idle=True))

    async def handle(self, event: ConnectionEvent) -> None:
        """Take data from the client, or the news that the connection is closing."""
        if self.closed and isinstance(event, RawData):
            return  # h2 would answer it, after our goodbye, with an error of protocol
        if isinstance(event, Closed) and not self.closed:
            await self.say_goodbye(ErrorCodes.NO_ERROR)
        await super().handle(event)
        if self.closed:
            # An application that is answering would wait for ever for the sending task, which has
            # ended, and would keep the connection from being closed.
            for buffer in tuple(self.stream_buffers.values()):
                await buffer.close()

    async def say_goodbye(self, reason: ErrorCodes) -> None:
        """Send GOAWAY, which tells the client which calls were not processed."""
        self.closed = True
        with suppress(ProtocolError):
            self.connection.close_connection(reason)
        await self._flush()

    async def _handle_events(self, events: list[H2Event]) -> None:
        for event in events:
            if self.closed:
                return
            if isinstance(event, RequestReceived) and self.context.terminated.is_set():
                # NO_ERROR, which Hypercorn sends here, reads as a broken server; REFUSED_STREAM
                # says that the call may be repeated elsewhere (RFC 9113, section 8.7).
                self.connection.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
            elif (
                self.drops_late_data
                and isinstance(event, DataReceived)
                and event.stream_id not in self.streams
            ):
                # The call was answered before its body arrived. Hypercorn looks its stream up all
                # the same, and the KeyError ends every call on the connection.
                # https://github.com/pgjones/hypercorn/issues/329
                size = event.flow_controlled_length
                self.connection.acknowledge_received_data(size, event.stream_id)
            elif isinstance(event, StreamReset):
                await self.handle_reset(event)
            else:
                await super()._handle_events([event])
        await self._flush()

    async def handle_reset(self, event: StreamReset) -> None:
        """End a cancelled call, and close the connection of a client that only cancels.

        https://www.cve.org/CVERecord?id=CVE-2023-44487
        """
        if event.stream_id in self.streams:
            now = self.context.time()
            self.cancelled.append(now)
            full = len(self.cancelled) > CANCELLED_CALLS
            if full and now - self.cancelled.popleft() < CANCELLED_SECONDS:
                text = "closed the connection of %s: over %d calls cancelled within %d s"
                _log.warning(text, self.client, CANCELLED_CALLS, CANCELLED_SECONDS)
                await self.say_goodbye(ErrorCodes.ENHANCE_YOUR_CALM)
                await self.send(Closed())
                return
        await super()._handle_events([event])

    async def stream_send(self, event: StreamEvent) -> None:
        """Send a part of an answer, if there still is somebody to send it to."""
        if self.closed:
            return  # Hypercorn would wait for the next request of a client that has left
        await super().stream_send(event)
        if isinstance(event, Trailers) and event.stream_id in self.stream_buffers:
            self.ended.add(self.stream_buffers[event.stream_id])

    async def _send_data(self, stream_id: int) -> None:
        """Send what a stream has to send, and end it unless its trailers have done that.

        Hypercorn ends it twice. h2 takes that for a fault, so it answers what is still coming of
        the request with RST_STREAM(STREAM_CLOSED), and a gRPC client that reads this together with
        the trailers reports INTERNAL, whatever the trailers say. Here the rest of the request is
        read and dropped: RFC 9113, section 8.1, would have it stopped with RST_STREAM(NO_ERROR),
        but curl 7.88 then throws the answer away.
        https://github.com/pgjones/hypercorn/blob/0.18.0/src/hypercorn/protocol/h2.py
        """
        buffer = self.stream_buffers.get(stream_id)
        if buffer is not None and buffer in self.ended and buffer.complete:
            del self.stream_buffers[stream_id]
            self.priority.remove_stream(stream_id)
        else:
            await super()._send_data(stream_id)
