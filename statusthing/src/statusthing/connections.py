"""The connections of the server: accepted, counted, read from, ended when their client is too slow.

Work-arounds for faults of Hypercorn 0.18 name their cause, as in `statusthing.server`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from h2.errors import ErrorCodes
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed, Event, RawData, Updated

from statusthing import limits
from statusthing.http1 import Http1Protocol
from statusthing.http2 import Http2Protocol

if sys.platform != "win32":
    import resource

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine

_FULL_SECONDS = 60.0  # between two log lines that say that there are too many connections
_PAUSE_SECONDS = 1.0  # until the next attempt, when no connection can be accepted
_SPARE_FILES = 64  # kept for everything but connections
_SWEEP_SECONDS = 1.0
_READ_BYTES = 8 * 1024

_log = logging.getLogger("statusthing.server")


class _IdleClock:
    """Knows since when a connection is idle, in seconds of the loop's clock; None if it is not.

    Stands in for a task of Hypercorn's that waits for the end of that time. It would be made anew
    and cancelled for every request, which takes a tenth of what a small one takes in all.
    https://github.com/pgjones/hypercorn/blob/0.18.0/src/hypercorn/asyncio/worker_context.py
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.since: float | None = None

    async def restart(self, *_: object) -> None:
        """Begin to be idle, which is no use once the server is to stop."""
        self.since = self._connection.loop.time()
        if self._connection.context.terminated.is_set():
            self._connection.end_idle()

    async def stop(self) -> None:
        """Be idle no longer."""
        self.since = None


class Connection(TCPServer):
    """Hypercorn's connection, which ends when its client has left, or takes nothing any more.

    Hypercorn waits for the idle timer when a client has left, and keeps the socket open meanwhile.
    https://github.com/pgjones/hypercorn/blob/0.18.0/src/hypercorn/asyncio/tcp_server.py
    """

    left = False
    stuck: tuple[int, float] = (0, 0.0)  # bytes that wait for the client, and since when

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.idle_task: Any = _IdleClock(self)

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
        if isinstance(event, Updated):
            if not event.idle:
                await self.idle_task.stop()
            elif not self.left:
                await self.idle_task.restart()
            return
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
        since = self.idle_task.since
        if since is not None and now - since > limits.IDLE_SECONDS:
            self.end_idle()
        if await protocol.sweep(now) or now - self.stuck[1] > limits.STALLED_SECONDS:
            self.writer.transport.abort()
            await protocol.handle(Closed())  # reading may wait for the application

    def refuse_further(self) -> None:
        """End if idle, or else tell the client to make its next calls elsewhere, if HTTP can."""
        if self.idle_task.since is not None:
            self.end_idle()
        elif isinstance(self._http, Http2Protocol):
            self._spawn(self._http.refuse_further)

    def end_idle(self) -> None:
        """End, while no call is in flight."""
        self.idle_task.since = None
        self._spawn(self._initiate_server_close)

    def _spawn(self, call: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something that is not to be waited for, because the client may not be reading."""
        work = call()
        try:
            self._task_group.spawn(lambda: work)
        except RuntimeError:  # the connection is just ending
            work.close()


Connections = dict[asyncio.Task[Any], "Connection | None"]
"""The connections by what serves them; None stands for one whose TLS handshake is not over."""


async def accept(
    listener: socket.socket,
    serve: Callable[[socket.socket], Coroutine[Any, Any, None]],
    connections: Connections,
) -> None:
    """Accept connections and serve them; if there are too many, a further one is closed at once.

    asyncio has a server for this, but that tells of a TLS connection only after the handshake. And
    one connection at a time is accepted here, so that processes that share the socket share them.
    """
    loop = asyncio.get_running_loop()
    listener.settimeout(0)
    most = min(limits.CONNECTIONS, max(_raise_file_limit() - _SPARE_FILES, _SPARE_FILES))
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


async def streams(
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


async def sweep(connections: Connections) -> None:
    """Look time and again for clients that are too slow, which costs the others nothing."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        for connection in [each for each in connections.values() if each is not None]:
            try:
                await connection.sweep(loop.time())
            except Exception:  # noqa: BLE001 - whatever it was, the other connections go on
                _log.exception("a slow connection could not be ended")


def _raise_file_limit() -> int:
    """Let the process open as many files as it may, and return that number."""
    if sys.platform == "win32":
        return sys.maxsize
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS has a lower limit that it does not tell
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
