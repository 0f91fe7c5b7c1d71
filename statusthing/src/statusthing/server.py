"""Serving an ASGI application with Hypercorn: HTTP/1.1, and HTTP/2 without TLS, on one port.

`run` binds first, then starts the application's lifespan, then accepts connections, and on SIGINT
or SIGTERM lets the calls in flight finish before the application shuts down. One process, one
event loop.

Everything this project has to say about Hypercorn is in this module: the configuration, the limits,
and the work-arounds for what in Hypercorn 0.18 gets in the way of gRPC. Each names its cause, and
`tests/test_server.py` has a test for each that fails without it.
"""

from __future__ import annotations

import asyncio
import errno
import importlib.metadata
import logging
import os
import re
import signal
import socket
from collections import deque
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

import hypercorn.protocol
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamReset
from h2.exceptions import ProtocolError
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed
from hypercorn.protocol.events import Trailers
from hypercorn.protocol.h2 import H2Protocol, StreamBuffer

from statusthing.errors import StatusThingError, UserMistake

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from h2.events import Event as H2Event
    from hypercorn.events import Event as ConnectionEvent
    from hypercorn.protocol.events import Event as StreamEvent

    App = Callable[[Any, Any, Any], Awaitable[None]]

GRACE_SECONDS = 10.0
"""How long calls in flight may go on once the server has been told to stop."""

CUT_SECONDS = 1.0
"""How long the answers to calls that were cut off after that may take to leave."""

IDLE_SECONDS = 75.0
"""After how long a connection without a call is closed, and one that never finishes its headers.

Longer than the 60 s for which reverse proxies usually keep a connection: the side that reuses a
connection should be the one that closes it, or a request meets a connection that is just closing.
"""

HEADER_BYTES = 16 * 1024
"""The most that the request line and all headers of a request may take."""

CALLS_AT_ONCE = 100
"""How many calls may be in flight on one HTTP/2 connection; clients queue the others."""

BACKLOG = 512
"""How many connections the kernel holds until they are accepted."""

UNREAD_BYTES = 32 * 1024 * 1024
"""How much of a body that nobody reads is taken in, so that the client gets to read the answer."""

UNREAD_SECONDS = 2.0
"""For how long that is done."""

CANCELLED_CALLS = 200
"""More cancelled calls than this on one HTTP/2 connection within `CANCELLED_SECONDS` close it."""

CANCELLED_SECONDS = 10.0

# Hypercorn versions known to end a connection on DATA for a call that has been answered.
LATE_DATA_FAULT = frozenset({"0.18.0"})

_logger = logging.getLogger(__name__)

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_PORTS = range(65_536)

_REASONS = {
    errno.EACCES: "ports below 1024 need special rights; take a higher one",
    errno.EADDRINUSE: "another program is using it; stop that one or take another port",
    errno.EADDRNOTAVAIL: "it is not an address of this machine",
}


class AddressUnavailable(UserMistake):
    """The address to listen on is taken, forbidden, or not one of this machine."""


def run(app: App, *, addr: str, on_start: Callable[[str], None]) -> None:
    """Serve `app` until SIGINT or SIGTERM, then finish the calls in flight and return.

    To be called from the main thread. From the first of the two signals on both are ignored, so
    that another one does not interrupt a process that is on its way out.

    Args:
        app: an ASGI application. An exception from its lifespan startup or shutdown comes out of
            here as it is; there is no serving without lifespan after a failed startup.
        addr: `HOST:PORT`, `[IPv6]:PORT`; port 0 takes a free one.
        on_start: called once, with a URL such as `http://127.0.0.1:9000`, when it answers.

    Raises:
        UserMistake: `addr` is malformed.
        AddressUnavailable: nothing can listen at `addr`. The application has not been started.
        StatusThingError: the application reported a failed lifespan without raising anything.
    """
    with listen(addr) as listener, asyncio.Runner() as runner:
        loop = runner.get_loop()
        stop = asyncio.Event()

        def on_signal(*_: object) -> None:
            for number in _STOP_SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            with suppress(RuntimeError):  # the loop is closed: the process is about to exit
                loop.call_soon_threadsafe(stop.set)

        before = {number: signal.signal(number, on_signal) for number in _STOP_SIGNALS}
        try:
            runner.run(_serve(app, listener, stop, on_start))
        except BaseException:
            for number, handler in before.items():
                signal.signal(number, handler)
            raise


def host_and_port(addr: str) -> tuple[str, int]:
    """Take `HOST:PORT` or `[IPv6]:PORT` apart, or raise UserMistake."""
    match = re.fullmatch(r"(?:\[([^\s\[\]]+)\]|([^\s\[\]:]+)):([0-9]{1,5})", addr)
    if match is None or int(match[3]) not in _PORTS:
        text = f"the address must be HOST:PORT, such as 127.0.0.1:9000 or [::1]:9000, not {addr!r}"
        raise UserMistake(text)
    return match[1] or match[2], int(match[3])


def listen(addr: str) -> socket.socket:
    """A socket that listens at `addr`; the errors are those of `run`."""
    name, number = host_and_port(addr)
    try:
        found = socket.getaddrinfo(name, number, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        text = f"cannot listen on {addr}: no such host is known"
        raise AddressUnavailable(text) from error
    # IPv4 first: "localhost" is then what most people mean by it, whatever the resolver prefers.
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    try:
        # Sets SO_REUSEADDR where that is harmless, so that a restart need not wait, and listens at
        # once: two servers that only bind could both think that the port is theirs.
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0) or os.strerror(error.errno or 0)
        text = f"cannot listen on {addr}: {reason}"
        raise AddressUnavailable(text) from error
    # Accepted connections inherit it. asyncio sets it only on sockets that name their protocol, and
    # without it an answer in two writes waits for the client's delayed acknowledgement, 40 ms.
    # https://github.com/python/cpython/blob/3.11/Lib/asyncio/base_events.py
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def configuration() -> Config:
    """Hypercorn's settings, those that differ from its own or that we rely on.

    Its timeouts for startup, shutdown and grace belong to its own serving loop, which is not used.
    """
    config = Config()
    config.accesslog = None  # the application logs its requests itself
    config.errorlog = _logger
    config.include_server_header = False
    config.include_date_header = True
    config.keep_alive_timeout = IDLE_SECONDS
    config.h11_max_incomplete_size = HEADER_BYTES
    config.h2_max_header_list_size = HEADER_BYTES
    config.h2_max_concurrent_streams = CALLS_AT_ONCE
    # A limit on silence would also cut clients that wait for an answer or listen to a stream.
    config.read_timeout = None
    # After this many requests Hypercorn closes an HTTP/2 connection under the calls in flight.
    # It is meant against rapid resets, https://github.com/pgjones/hypercorn/issues/146, for which
    # `Http2Protocol.handle_reset` stands in.
    config.keep_alive_max_requests = 2**31
    # With a bound, a call whose application does not read its body stops the reading of the whole
    # connection: `put` waits in the task that reads for all streams. 0 is no bound; applications
    # limit what they accept.
    # https://github.com/pgjones/hypercorn/blob/0.18.0/src/hypercorn/asyncio/task_group.py
    config.max_app_queue_size = 0
    return config


async def _serve(
    app: App, listener: socket.socket, stop: asyncio.Event, on_start: Callable[[str], None]
) -> None:
    """Serve until `stop`.

    Hypercorn's own loop is not used: it goes on without lifespan after an exception in it, stops
    waiting for other connections once one has failed, and from Python 3.12 on waits without end for
    calls in flight.
    https://github.com/pgjones/hypercorn/blob/0.18.0/src/hypercorn/asyncio/run.py
    """
    # Hypercorn names this class in one place and has no setting for it.
    hypercorn.protocol.H2Protocol = Http2Protocol  # type: ignore[attr-defined]
    loop = asyncio.get_running_loop()
    config = configuration()
    context = WorkerContext(max_requests=None)
    connections: set[asyncio.Task[Any]] = set()
    calls: set[asyncio.Task[Any]] = set()

    async def call(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["http_version"].startswith("1"):
            request = _Http1Request(receive, send)
            receive, send = request.receive, request.send
        with _listed(calls):
            await app(scope, receive, send)

    async with _lifespan(app) as state:

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with _listed(connections):
                try:
                    await TCPServer(ASGIWrapper(call), loop, config, context, state, reader, writer)
                except Exception:
                    _logger.exception("a connection failed")

        server = await asyncio.start_server(connected, sock=listener, backlog=BACKLOG)
        host, port = listener.getsockname()[:2]
        try:
            on_start(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
            await stop.wait()
        finally:
            # Let the connections that have just been accepted arrive among `connections`: their
            # transport, protocol and task each take a round of the loop. Python 3.13.0 prints a
            # traceback for a server that is closed before the first of these.
            with suppress(NotImplementedError):  # Windows accepts in another way
                loop.remove_reader(listener)
            for _ in range(3):
                await asyncio.sleep(0)
            server.close()
        await context.terminated.set()
        await _ended(connections, GRACE_SECONDS)
        for task in calls:
            task.cancel()
        await _ended(connections, CUT_SECONDS)


class _Http1Request:
    """A request over HTTP/1, which is read to its end before its answer begins.

    An application may answer, mostly to refuse, before the body is there. Hypercorn then closes the
    connection without saying so, and closing with bytes unread makes the kernel reset it, which
    takes the answer away from a client that is still sending (RFC 9112, section 9.6).
    https://github.com/pgjones/hypercorn/blob/0.18.0/src/hypercorn/protocol/h11.py
    """

    def __init__(self, receive: Any, send: Any) -> None:
        self._receive = receive
        self._send = send
        self._read = False

    async def receive(self) -> Any:
        message = await self._receive()
        self._read = not message.get("more_body")
        return message

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start" and not self._read:
            await self._drop_the_rest()
            if not self._read:
                message = {
                    **message,
                    "headers": [*message.get("headers", ()), (b"connection", b"close")],
                }
        await self._send(message)

    async def _drop_the_rest(self) -> None:
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(UNREAD_SECONDS):
                while not self._read and size < UNREAD_BYTES:
                    size += len((await self.receive()).get("body", b""))


@contextmanager
def _listed(tasks: set[asyncio.Task[Any]]) -> Iterator[None]:
    """Keep the current task in `tasks` for a while."""
    task = cast("asyncio.Task[Any]", asyncio.current_task())
    tasks.add(task)
    try:
        yield
    finally:
        tasks.discard(task)


async def _ended(tasks: set[asyncio.Task[Any]], seconds: float) -> None:
    """Wait until all `tasks` have ended, but no longer than `seconds`."""
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)


@asynccontextmanager
async def _lifespan(app: App) -> AsyncIterator[dict[str, Any]]:
    """Start `app`, hand out the state it shares with its requests, shut it down.

    https://asgi.readthedocs.io/en/latest/specs/lifespan.html
    """
    state: dict[str, Any] = {}
    requests: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    replies: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}

    async def live() -> None:
        try:
            await app(scope, requests.get, replies.put)
        finally:
            replies.put_nowait({"type": "ended"})

    async def ask(phase: str) -> None:
        requests.put_nowait({"type": f"lifespan.{phase}"})
        reply = await replies.get()
        if reply["type"] != f"lifespan.{phase}.complete":
            await task  # an application that says it failed may raise the reason right after
        if reply["type"] == f"lifespan.{phase}.failed":
            raise StatusThingError(reply.get("message") or f"the application's {phase} failed")

    task = asyncio.create_task(live())
    await ask("startup")
    try:
        yield state
    finally:
        if not task.done():
            await ask("shutdown")
        await task


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

    async def handle(self, event: ConnectionEvent) -> None:
        """Take data from the client, or the news that the connection is closing."""
        if isinstance(event, Closed) and not self.closed:
            await self.say_goodbye(ErrorCodes.NO_ERROR)
        await super().handle(event)
        if self.closed:
            # An application that is answering would wait for ever for the sending task, which has
            # ended, and would keep the connection from being closed.
            for buffer in tuple(self.stream_buffers.values()):
                await buffer.close()

    async def say_goodbye(self, reason: ErrorCodes) -> None:
        """Send GOAWAY, from which a client sees which of its calls nobody looked at."""
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
                _logger.warning(text, self.client, CANCELLED_CALLS, CANCELLED_SECONDS)
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
