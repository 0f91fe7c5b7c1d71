"""Serving an ASGI application with Hypercorn: HTTP/1.1, and HTTP/2 without TLS, on one port.

`run` binds first, then starts the application's lifespan, then accepts connections, and on SIGINT
or SIGTERM lets the calls in flight finish before the application shuts down. One process, one
event loop.

The configuration of Hypercorn, the limits, and the work-arounds for faults of Hypercorn 0.18 are
here; those for HTTP/2 are in `statusthing.http2`. Each names its cause, and `tests/test_server.py`
has a test for each that fails without it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import signal
import socket
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

import hypercorn.protocol
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Event, Updated

from statusthing.asgi import ASGIApp
from statusthing.errors import StatusThingError, UserMistake
from statusthing.http2 import Http2Protocol

if sys.platform != "win32":
    import resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable


GRACE_SECONDS = 7.0
"""How long calls in flight may go on once the server has been told to stop.

With the two waits of CUT_SECONDS that may follow, below the 10 s after which containers are
usually killed.
"""

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

BACKLOG = 128
"""How many connections the kernel holds until they are accepted."""

CONNECTIONS = 4096
"""How many connections may be open; a further one is closed at once.

Fewer where the process may not open so many files: asyncio, told by the kernel that there are no
more, tries again without a pause and logs each time.
"""

SPARE_FILES = 64
"""Files kept for everything but connections."""

UNREAD_BYTES = 32 * 1024 * 1024
"""How many bytes of an unread body are discarded so that the client can read the answer."""

UNREAD_SECONDS = 2.0
"""The longest time spent on that."""


_log = logging.getLogger(__name__)

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_PORTS = range(65_536)

_REASONS = {
    errno.EACCES: "ports below 1024 need special rights; take a higher one",
    errno.EADDRINUSE: "another program is using it; stop that one or take another port",
    errno.EADDRNOTAVAIL: "it is not an address of this machine",
}


def run(app: ASGIApp, *, addr: str, on_start: Callable[[str], None]) -> None:
    """Serve `app` until SIGINT or SIGTERM, then finish the calls in flight and return.

    To be called from the main thread. After the first signal both are ignored,
    so that a second cannot interrupt the shutdown.

    Args:
        app: an ASGI application. An exception from its lifespan propagates unchanged; if
            startup fails, nothing is served.
        addr: `HOST:PORT`, `[IPv6]:PORT`; port 0 takes a free one.
        on_start: called once, with a URL such as `http://127.0.0.1:9000`, when it answers.

    Raises:
        UserMistake: `addr` is malformed, or nothing can listen there. The application has not been
            started.
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
        raise UserMistake(text) from error
    # IPv4 first: "localhost" is then what most people mean by it, whatever the resolver prefers.
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    try:
        # Sets SO_REUSEADDR where that is harmless, so that a restart need not wait, and listens at
        # once: two servers that only bind could both think that the port is theirs.
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0) or os.strerror(error.errno or 0)
        text = f"cannot listen on {addr}: {reason}"
        raise UserMistake(text) from error
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
    config.errorlog = _log
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
    # `statusthing.http2.Http2Protocol.handle_reset` stands in.
    config.keep_alive_max_requests = 2**31
    # With a bound, a call whose application does not read its body stops the reading of the whole
    # connection: `put` waits in the task that reads for all streams. 0 is no bound; applications
    # limit what they accept.
    # https://github.com/pgjones/hypercorn/blob/0.18.0/src/hypercorn/asyncio/task_group.py
    config.max_app_queue_size = 0
    return config


async def _serve(
    app: ASGIApp, listener: socket.socket, stop: asyncio.Event, on_start: Callable[[str], None]
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
    connections: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
    # Those that are refused hold a file each until they are closed, some rounds of the loop later.
    most = min(CONNECTIONS, max(_raise_file_limit() - SPARE_FILES - 4 * BACKLOG, SPARE_FILES))
    calls: set[asyncio.Task[Any]] = set()
    asgi = ASGIWrapper(_tracked(app, calls))

    async with _lifespan(app) as state:

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(connections) >= most:
                writer.transport.abort()
                return
            task = _current_task()
            connections[task] = writer
            if len(connections) == most:
                _log.warning("%d connections are open: further ones are closed at once", most)
            try:
                await _Connection(asgi, loop, config, context, state, reader, writer)
            except asyncio.CancelledError:
                pass  # by the end of `_serve`; asyncio logs a connection that ends so as a fault
            except Exception:  # noqa: BLE001 - whatever it was, the other connections go on
                _log.exception("a connection failed")
            finally:
                del connections[task]

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
        await _ended(calls, GRACE_SECONDS)
        for task in calls:
            task.cancel()
        await _ended(connections, CUT_SECONDS)
        for task, writer in connections.items():
            writer.transport.abort()
            task.cancel()
        await _ended(connections, CUT_SECONDS)


def _tracked(app: ASGIApp, calls: set[asyncio.Task[Any]]) -> Any:
    """Wrap an application so that `calls` has the tasks of its requests, read to their end."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["http_version"].startswith("1"):
            request = _Http1Request(receive, send)
            receive, send = request.receive, request.send
        task = _current_task()
        calls.add(task)
        try:
            await app(scope, receive, send)
        finally:
            calls.discard(task)

    return call


class _Connection(TCPServer):
    """Hypercorn's connection, which ends when its client has left.

    Hypercorn waits for the idle timer even then, and keeps the socket open meanwhile.
    https://github.com/pgjones/hypercorn/blob/0.18.0/src/hypercorn/asyncio/tcp_server.py
    """

    left = False

    async def _read_data(self) -> None:
        await super()._read_data()
        self.left = True
        await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        """Take what the protocol has for the client, or news of the connection."""
        if not (self.left and isinstance(event, Updated)):  # which would start the timer again
            await super().protocol_send(event)


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


def _current_task() -> asyncio.Task[Any]:
    return cast("asyncio.Task[Any]", asyncio.current_task())


def _raise_file_limit() -> int:
    """Let the process open as many files as it may, and return that number."""
    if sys.platform == "win32":
        return sys.maxsize
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS has a lower limit that it does not tell
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


async def _ended(tasks: Iterable[asyncio.Task[Any]], seconds: float) -> None:
    """Wait until all `tasks` have ended, but no longer than `seconds`."""
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)


@asynccontextmanager
async def _lifespan(app: ASGIApp) -> AsyncIterator[dict[str, Any]]:
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
