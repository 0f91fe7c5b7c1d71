"""Serving an ASGI application with Hypercorn: HTTP/1.1 and HTTP/2 on one port.

`run` binds first, then starts the application's lifespan, then accepts connections, and on SIGINT
or SIGTERM lets the calls in flight finish before the application shuts down. One process, one
event loop.

The configuration of Hypercorn and work-arounds for faults of Hypercorn 0.18 are here; those for
connections are in `statusthing.connections`, and those for one version of HTTP in
`statusthing.http1` and `statusthing.http2`. Each names its cause, and `tests/test_server.py` has a
test for each that fails without it. The limits are in `statusthing.limits`.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import re
import signal
import socket
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import hypercorn.protocol
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

from statusthing import limits
from statusthing.asgi import STOPPING, ASGIApp
from statusthing.connections import Connection, Connections, accept, streams, sweep
from statusthing.errors import StatusThingError, UserMistake
from statusthing.exchange import Application
from statusthing.http1 import Http1Protocol
from statusthing.http2 import Http2Exchange, Http2Protocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

_log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_PORTS = range(65_536)

_GARBAGE = 2_000
"""After how many new objects Python looks for cycles among them, which calls do not leave.

By default, after 700, that takes 2 % of the time of all calls.
"""

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
        often, *rest = gc.get_threshold()
        gc.set_threshold(max(often, _GARBAGE), *rest)
        try:
            runner.run(_serve(app, listener, stop, on_start, tls))
            ignore_stop_signals()
        except BaseException:
            for number, handler in before.items():
                signal.signal(number, handler)
            raise
        finally:
            gc.set_threshold(often, *rest)


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


class _Config(Config):
    """Hypercorn's settings; it puts the date into words for each answer, we do once in a second."""

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        """Return the headers that every answer has."""
        return self._at(int(time.time()), protocol)

    @lru_cache(maxsize=2)  # noqa: B019 - there is one configuration
    def _at(self, _: int, protocol: str) -> list[tuple[bytes, bytes]]:
        return super().response_headers(protocol)


def configuration() -> Config:
    """Hypercorn's settings, those that differ from its own or that we rely on.

    Its timeouts for startup, shutdown and grace belong to its own serving loop, which is not used.
    """
    config = _Config()
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
    return config


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
    connections: Connections = {}
    application = Application(app)

    async with _lifespan(app) as state:
        state[STOPPING] = stop

        async def serve(client: socket.socket) -> None:
            task = cast("asyncio.Task[Any]", asyncio.current_task())
            try:
                reader, writer = await streams(client, tls)
                connection = Connection(application, loop, config, context, state, reader, writer)
                connections[task] = connection
                await connection
            except OSError:
                pass  # the client has left, or does not speak TLS
            except Exception:  # noqa: BLE001 - whatever it was, the other connections go on
                _log.exception("a connection failed")

        accepting = asyncio.create_task(accept(listener, serve, connections))
        sweeping = asyncio.create_task(sweep(connections))
        try:
            with _kept_from_collection():
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


@contextmanager
def _kept_from_collection() -> Iterator[None]:
    """Have Python look for cycles among new objects only.

    What is there by now stays, and looking through it takes tens of milliseconds, in which no call
    is answered. A program that has frozen objects itself goes on as it was.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _replace_classes() -> None:
    """Have Hypercorn use our classes, which it names in one place each, without a setting."""
    hypercorn.protocol.H11Protocol = Http1Protocol  # type: ignore[attr-defined]
    hypercorn.protocol.H2Protocol = Http2Protocol  # type: ignore[attr-defined,assignment]
    hypercorn.protocol.h2.HTTPStream = Http2Exchange  # type: ignore[attr-defined,assignment]


async def _finish(calls: set[asyncio.Task[Any]], connections: Connections) -> None:
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
