"""Serving an ASGI application with Hypercorn: HTTP/1.1 and HTTP/2 on one port.

`run` binds first, then starts the application's lifespan, then accepts connections, and on SIGINT
or SIGTERM lets the calls in flight finish before the application shuts down. One process, one
event loop.

The configuration of Hypercorn and the work-arounds for faults of Hypercorn 0.18 are here; those for
one version of HTTP are in `statusthing.http1` and `statusthing.http2`. Each names its cause, and
`tests/test_server.py` has a test for each that fails without it. The limits are in
`statusthing.limits`.
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
from h2.errors import ErrorCodes
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated

from statusthing import limits
from statusthing.asgi import STOPPING, ASGIApp
from statusthing.errors import StatusThingError, UserMistake
from statusthing.exchange import Application
from statusthing.http1 import Http1Exchange, Http1Protocol
from statusthing.http2 import Http2Exchange, Http2Protocol

if sys.platform != "win32":
    import resource

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable

_SWEEP_SECONDS = 1.0
_PAUSE_SECONDS = 1.0  # until the next attempt, when no connection can be accepted
_READ_BYTES = 8 * 1024
_FULL_SECONDS = 60.0  # between two log lines that say that there are too many connections
_SPARE_FILES = 64  # kept for everything but connections

_log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_PORTS = range(65_536)

_REASONS = {
    errno.EACCES: "ports below 1024 need special rights; take a higher one",
    errno.EADDRINUSE: "another program is using it; stop that one or take another port",
    errno.EADDRNOTAVAIL: "it is not an address of this machine",
}


def run(
    app: ASGIApp,
    *,
    addr: str,
    on_start: Callable[[str], None],
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve `app` until SIGINT or SIGTERM, then finish the calls in flight and return.

    To be called from the main thread. Further signals change
    nothing, so that none can interrupt the shutdown.

    Args:
        app: an ASGI application. An exception from its lifespan propagates unchanged; if
            startup fails, nothing is served.
        addr: `HOST:PORT`, `[IPv6]:PORT`; port 0 takes a free one.
        on_start: called once, with a URL such as `http://127.0.0.1:9000`, when it answers.
        tls: see `statusthing.tls.tls_context`; without it there is no encryption.

    Raises:
        UserMistake: `addr` is malformed, or nothing can listen there. The application has not been
            started.
        StatusThingError: the application reported a failed lifespan without raising anything.
    """
    with listen(addr) as listener:
        run_on(listener, app, on_start=lambda: on_start(url_of(listener, tls)), tls=tls)


def run_on(
    listener: socket.socket,
    app: ASGIApp,
    *,
    on_start: Callable[[], None],
    tls: ssl.SSLContext | None,
) -> None:
    """Do as `run`, with a socket from `listen`, which other processes may share."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        stop = asyncio.Event()

        def on_signal(*_: object) -> None:
            with suppress(RuntimeError):  # the loop is closed: the process is about to exit
                loop.call_soon_threadsafe(stop.set)

        before = {number: signal.signal(number, on_signal) for number in STOP_SIGNALS}
        try:
            runner.run(_serve(app, listener, stop, on_start, tls))
            ignore_stop_signals()
        except BaseException:
            for number, handler in before.items():
                signal.signal(number, handler)
            raise


def ignore_stop_signals() -> None:
    """Let no signal interrupt the end of the process, whose handlers Python takes away first."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def url_of(listener: socket.socket, tls: ssl.SSLContext | None) -> str:
    """Return the URL at which a listening socket is reached."""
    host, port = listener.getsockname()[:2]
    scheme = "http" if tls is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


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
        listener = socket.create_server(address[:2], family=family, backlog=limits.BACKLOG)
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
    config.keep_alive_timeout = limits.IDLE_SECONDS
    config.h11_max_incomplete_size = limits.HEADER_BYTES
    config.h2_max_header_list_size = limits.HEADER_BYTES
    config.h2_max_concurrent_streams = limits.CALLS_OF_A_CONNECTION
    # After this many requests Hypercorn closes an HTTP/2 connection under the calls in flight.
    # It is meant against rapid resets, https://github.com/pgjones/hypercorn/issues/146, for which
    # `statusthing.http2.Http2Protocol.handle_reset` stands in.
    config.keep_alive_max_requests = 2**31
    # With a bound, a call whose application does not read its body stops the reading of the whole
    # connection: `put` waits in the task that reads for all streams. 0 is no bound; the exchanges
    # bound what waits for the application.
    # https://github.com/pgjones/hypercorn/blob/0.18.0/src/hypercorn/asyncio/task_group.py
    config.max_app_queue_size = 0
    return config


_Connections = dict[asyncio.Task[Any], "_Connection | None"]
"""The connections by what serves them; None stands for one whose TLS handshake is not over."""


async def _serve(
    app: ASGIApp,
    listener: socket.socket,
    stop: asyncio.Event,
    on_start: Callable[[], None],
    tls: ssl.SSLContext | None,
) -> None:
    """Serve until `stop`.

    Hypercorn's own loop is not used: it goes on without lifespan after an exception in it, stops
    waiting for other connections once one has failed, and from Python 3.12 on waits without end for
    calls in flight.
    https://github.com/pgjones/hypercorn/blob/0.18.0/src/hypercorn/asyncio/run.py
    """
    _replace_classes()
    loop = asyncio.get_running_loop()
    config = configuration()
    context = WorkerContext(max_requests=None)
    connections: _Connections = {}
    most = min(limits.CONNECTIONS, max(_raise_file_limit() - _SPARE_FILES, _SPARE_FILES))
    application = Application(app)

    async with _lifespan(app) as state:
        state[STOPPING] = stop

        async def serve(client: socket.socket) -> None:
            task = cast("asyncio.Task[Any]", asyncio.current_task())
            try:
                reader, writer = await _streams(client, tls)
                connection = _Connection(application, loop, config, context, state, reader, writer)
                connections[task] = connection
                await connection
            except OSError:
                pass  # the client has left, or does not speak TLS
            except Exception:  # noqa: BLE001 - whatever it was, the other connections go on
                _log.exception("a connection failed")

        accepting = asyncio.create_task(_accept(listener, serve, connections, most))
        sweeping = asyncio.create_task(_sweep(connections))
        try:
            on_start()
            await stop.wait()
        finally:
            # asyncio logs a fault if a connection comes just when accepting is cancelled.
            with suppress(NotImplementedError):  # Windows accepts in another way
                loop.remove_reader(listener)
            accepting.cancel()
            await asyncio.wait([accepting])
            listener.close()
        await context.terminated.set()
        await _finish(application.calls, connections)
        sweeping.cancel()


async def _accept(
    listener: socket.socket,
    serve: Callable[[socket.socket], Coroutine[Any, Any, None]],
    connections: _Connections,
    most: int,
) -> None:
    """Accept connections and serve them; any above `most` is closed at once.

    asyncio has a server for this, but that tells of a TLS connection only after the handshake. And
    one connection at a time is accepted here, so that processes that share the socket share them.
    """
    loop = asyncio.get_running_loop()
    listener.settimeout(0)
    said = -_FULL_SECONDS
    while True:
        try:
            client, _ = await loop.sock_accept(listener)
        except OSError:  # mostly because the process, or the machine, has too many files open
            _log.exception("no connection can be accepted")
            await asyncio.sleep(_PAUSE_SECONDS)
            continue
        if len(connections) == most:
            client.close()
        else:
            task = asyncio.create_task(serve(client))
            connections[task] = None
            task.add_done_callback(connections.pop)
            if len(connections) == most and loop.time() - said > _FULL_SECONDS:
                said = loop.time()
                _log.warning("%d connections are open: further ones are closed at once", most)
        await asyncio.sleep(0)


async def _streams(
    client: socket.socket, tls: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Do the TLS handshake, if any, and return what the client is read from and written to."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    transport, protocol = await loop.connect_accepted_socket(
        lambda: asyncio.StreamReaderProtocol(reader, loop=loop),
        client,
        ssl=tls,
        ssl_handshake_timeout=None if tls is None else limits.HANDSHAKE_SECONDS,
        ssl_shutdown_timeout=None if tls is None else limits.CUT_SECONDS,
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def _replace_classes() -> None:
    """Have Hypercorn use our classes, which it names in one place each, without a setting."""
    hypercorn.protocol.H11Protocol = Http1Protocol  # type: ignore[attr-defined]
    hypercorn.protocol.H2Protocol = Http2Protocol  # type: ignore[attr-defined]
    hypercorn.protocol.h11.HTTPStream = Http1Exchange  # type: ignore[attr-defined,assignment]
    hypercorn.protocol.h2.HTTPStream = Http2Exchange  # type: ignore[attr-defined,assignment]


async def _finish(calls: set[asyncio.Task[Any]], connections: _Connections) -> None:
    """Let the calls in flight end, then cut off those that do not."""
    for task, connection in connections.items():
        if connection is None:
            task.cancel()
        else:
            connection.refuse_further()
    await _ended(calls, limits.GRACE_SECONDS)
    for task in calls:
        task.cancel()
    await _ended(connections, limits.CUT_SECONDS)
    for task, connection in connections.items():
        if connection is not None:
            connection.writer.transport.abort()
        task.cancel()
    await _ended(connections, limits.CUT_SECONDS)


async def _sweep(connections: _Connections) -> None:
    """Look time and again for clients that are too slow, which costs the others nothing."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        for connection in [each for each in connections.values() if each is not None]:
            try:
                await connection.sweep(loop.time())
            except Exception:  # noqa: BLE001 - whatever it was, the other connections go on
                _log.exception("a slow connection could not be ended")


class _Connection(TCPServer):
    """Hypercorn's connection, which ends when its client has left, or takes nothing any more.

    Hypercorn waits for the idle timer when a client has left, and keeps the socket open meanwhile.
    https://github.com/pgjones/hypercorn/blob/0.18.0/src/hypercorn/asyncio/tcp_server.py
    """

    left = False
    stuck: tuple[int, float] = (0, 0.0)  # bytes that wait for the client, and since when

    @property
    def _http(self) -> Http1Protocol | Http2Protocol | None:
        """What speaks HTTP; None for a client that had left before it was found out who it is."""
        protocol = getattr(self, "protocol", None)
        return None if protocol is None else protocol.protocol

    async def _read_data(self) -> None:
        """Hand over what the client sends, a little at a time: the others get their turn between.

        Hypercorn goes on as long as there is something to read. From a client that sends tiny
        frames or chunks that is seconds of work at once.
        """
        with suppress(OSError):
            while data := await self.reader.read(_READ_BYTES):
                await self.protocol.handle(RawData(data))
                if len(data) == _READ_BYTES:
                    await asyncio.sleep(0)
        await self.protocol.handle(Closed())
        self.left = True
        await self.idle_task.stop()

    async def _initiate_server_close(self) -> None:
        """Close a connection that is idle; over HTTP/2 the client is told."""
        if isinstance(self._http, Http2Protocol):
            await self._http.say_goodbye(ErrorCodes.NO_ERROR)
        await super()._initiate_server_close()

    async def protocol_send(self, event: Event) -> None:
        """Take what the protocol has for the client, or news of the connection."""
        if isinstance(event, Updated) and self.left:
            return  # it would start the timer again
        if isinstance(event, RawData) and self.writer.transport.is_closing():
            return  # asyncio logs each attempt
        await super().protocol_send(event)

    async def sweep(self, now: float) -> None:
        """End what is too slow; `now` is in seconds of the loop's clock."""
        waiting = self.writer.transport.get_write_buffer_size()
        if not waiting or waiting != self.stuck[0]:
            self.stuck = (waiting, now)
        protocol = self._http
        if protocol is None:
            return
        if await protocol.sweep(now) or now - self.stuck[1] > limits.STALLED_SECONDS:
            self.writer.transport.abort()
            await protocol.handle(Closed())  # reading may wait for the application

    def refuse_further(self) -> None:
        """Tell the client to make its next calls elsewhere, where HTTP has a word for that."""
        protocol = self._http
        if isinstance(protocol, Http2Protocol) and not protocol.idle:
            with suppress(RuntimeError):  # the connection is just ending
                # Not awaited: the client may not be reading.
                self._task_group.spawn(protocol.refuse_further)


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
