"""An HTTP/2 connection whose client stops reading at the very moment that matters.

The kernel takes in so much that no real client can choose this moment, so here the server's side of
a connection sends to a client in this process.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import h2.connection
import h2.events
import pytest
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.events import Closed, RawData
from hypercorn.typing import ConnectionState

from statusthing import limits, server
from statusthing.exchange import Application
from statusthing.http2 import Http2Exchange, Http2Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hypercorn.events import Event

SECONDS = 10.0  # the bound of everything that is waited for
BODY = bytes(40_000)
"""More than Hypercorn keeps in a buffer: the answer ends when all of it is on its way."""

RESPONSE = h2.events.ResponseReceived


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Answer without a look at the request; `/wait` gets none, and `/large` a megabyte."""
    if scope["path"] == "/wait":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    body = bytes(2**20) if scope["path"] == "/large" else BODY
    await send({"type": "http.response.body", "body": body})


class Context(WorkerContext):
    """What Hypercorn's connections share, with a clock of the test's own."""

    now = 0.0

    def time(self) -> float:  # type: ignore[override]
        """Return the time in seconds."""
        return self.now


class Connection:
    """Both ends of a connection.

    Attributes:
        context: has the clock.
        reading: whether the client reads; while it does not, everybody who sends to it waits.
        stops_at: after how many bytes of answers the client stops reading.
        received: the events that the client has seen.
    """

    def __init__(self, tasks: TaskGroup) -> None:
        self.reading = asyncio.Event()
        self.reading.set()
        self.stops_at = 2**31
        self.received: list[h2.events.Event] = []
        self.context = Context(max_requests=None)
        self._lock = asyncio.Lock()
        self._client = h2.connection.H2Connection()
        self._client.initiate_connection()
        self._client.increment_flow_control_window(10 * len(BODY))
        self.protocol = Http2Protocol(
            Application(answer),
            server.configuration(),
            self.context,
            tasks,
            ConnectionState({}),
            False,  # noqa: FBT003
            ("127.0.0.1", 1),
            ("127.0.0.1", 2),
            self._send,
        )

    async def _send(self, event: Event) -> None:
        """Do as a socket does: write, and wait until the client has read enough."""
        if isinstance(event, RawData):
            async with self._lock:
                self.received += self._client.receive_data(event.data)
                if self.size() >= self.stops_at:
                    self.reading.clear()
                    self.stops_at = 2**31
                await self.reading.wait()

    def size(self) -> int:
        """How many bytes of answers have come."""
        parts = (event for event in self.received if isinstance(event, h2.events.DataReceived))
        return sum(len(part.data) for part in parts)

    def has(self, kind: type[h2.events.Event], stream: int) -> bool:
        """Whether the client has seen an event of a stream."""
        return any(
            isinstance(event, kind) and getattr(event, "stream_id", None) == stream
            for event in self.received
        )

    async def take(self, stream: int, size: int) -> None:
        """Have the client take so many bytes more of an answer, and wait for some of them."""
        before = self.size()
        for each in (stream, None):
            self._client.increment_flow_control_window(size, each)
        await self.protocol.handle(RawData(self._client.data_to_send()))
        await until(lambda: self.size() > before)

    async def ask(self, stream: int, path: str, body: bytes | None = None) -> None:
        """Have the client make a request, which it does not end if it has a body."""
        pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", path)]
        self._client.send_headers(stream, pseudo, end_stream=body is None)
        if body is not None:
            self._client.send_data(stream, body)
        await self.protocol.handle(RawData(self._client.data_to_send()))


@pytest.fixture(autouse=True)
def _exchanges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Hypercorn use our requests, as the server does."""
    monkeypatch.setattr("hypercorn.protocol.h2.HTTPStream", Http2Exchange)


@asynccontextmanager
async def connected() -> AsyncIterator[Connection]:
    """A connection; what goes wrong in it comes out at the end."""
    async with asyncio.timeout(SECONDS), TaskGroup(asyncio.get_running_loop()) as tasks:
        connection = Connection(tasks)
        await connection.protocol.initiate()
        yield connection
        connection.reading.set()
        await connection.protocol.handle(Closed())


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; `connected` has the bound."""
    while not condition():  # noqa: ASYNC110 - there is nothing to be told by
        await asyncio.sleep(0)


def test_an_answer_may_end_while_its_last_bytes_wait() -> None:
    """The end of an answer can overtake the task that still sends it; the connection goes on."""

    async def use() -> None:
        async with connected() as connection:
            connection.stops_at = len(BODY)
            await connection.ask(1, "/")
            await until(lambda: connection.size() == len(BODY))
            await until(lambda: not connection.protocol.stream_buffers)
            connection.reading.set()
            await until(lambda: connection.has(h2.events.StreamEnded, 1))
            await connection.ask(3, "/")
            await until(lambda: connection.has(h2.events.StreamEnded, 3))

    asyncio.run(use())


def test_the_sweep_waits_for_no_client() -> None:
    """Cutting off a call ends at once, even if its client reads nothing, and is told later."""

    async def use() -> None:
        async with connected() as connection:
            await connection.ask(1, "/wait", b"half of it")
            connection.reading.clear()
            await connection.protocol.sweep(limits.UNFINISHED_SECONDS + 1)
            connection.reading.set()
            await until(lambda: connection.has(h2.events.StreamReset, 1))

    asyncio.run(use())


def test_a_client_that_takes_no_answers_gets_no_more_of_them() -> None:
    """Of a hundred calls at once only as many are carried out as their answers may wait."""

    async def use() -> None:
        async with connected() as connection:
            streams = range(1, 2 * limits.CALLS_OF_A_CONNECTION, 2)
            for stream in streams:
                await connection.ask(stream, "/large")
            for _ in range(1_000):  # far more turns than all of them would need
                await asyncio.sleep(0)
            answered = [each for each in streams if connection.has(RESPONSE, each)]
            await connection.take(answered[0], 2**20)
            await until(lambda: connection.has(RESPONSE, answered[-1] + 2))

            assert len(answered) == limits.UNSENT_BYTES // 2**20 + 1

    asyncio.run(use())


def test_a_slow_client_is_waited_for_until_it_takes_nothing() -> None:
    """Each part of an answer that its client takes gives it the same time again."""

    async def use() -> None:
        async with connected() as connection:
            await connection.ask(1, "/large")
            await until(lambda: connection.size() > 0)
            for _ in range(3):
                connection.context.now += limits.STALLED_SECONDS
                await connection.protocol.sweep(connection.context.now)
                await connection.take(1, 1)
            assert not connection.has(h2.events.StreamReset, 1)
            await connection.protocol.sweep(connection.context.now + limits.STALLED_SECONDS + 1)
            await until(lambda: connection.has(h2.events.StreamReset, 1))

    asyncio.run(use())
