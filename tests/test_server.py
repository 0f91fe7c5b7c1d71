"""The server against real clients on 127.0.0.1: gRPC, bare HTTP/2, HTTP/1.1.

When run as a program, this file serves one of the applications below, so that each test has its own
process to signal.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import grpc
import h2.connection
import h2.events
import psutil
import pytest
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.server import ConnectASGIApplication, Endpoint
from google.protobuf.wrappers_pb2 import BytesValue
from h2.errors import ErrorCodes
from hypercorn.protocol.h2 import H2Protocol
from starlette.applications import Starlette

from statusthing import limits, server
from statusthing.errors import StatusThingError, UserMistake
from statusthing.http2 import Http2Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

SECONDS = 10.0  # the bound of everything that is waited for
WINDOW = 2**16 - 1  # of a connection, until its client gives more
SIZES = {"/flood": 2**20, "/spill": WINDOW + 1_000}
"""How large the answers are that are larger than others."""
OVERSIZE = BytesValue(value=bytes(5 * 2**20)).SerializeToString()


class ConnectEcho(ConnectASGIApplication[Any]):
    """A stock Connect service at `/connect.Echo/Echo`, with the default limit of 4 MiB."""

    path = "/connect.Echo"

    def __init__(self) -> None:
        method = MethodInfo(
            name="Echo",
            service_name="connect.Echo",
            input=BytesValue,
            output=BytesValue,
            idempotency_level=IdempotencyLevel.UNKNOWN,
            stream_type=StreamType.UNARY,
        )

        async def echo(request: BytesValue, _: object) -> BytesValue:
            return request

        endpoint = Endpoint.unary(method=method, function=echo)
        super().__init__(service=None, endpoints=lambda _: {"/connect.Echo/Echo": endpoint})


def say(line: str) -> None:
    """Tell the test something."""
    print(line, flush=True)  # noqa: T201


class Application:
    """Answers as a gRPC service, by path; `/hold` answers once the process gets SIGUSR1."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.paths: dict[str, Callable[[Any], Awaitable[bytes | None]]] = {
            "/echo": self.read,
            "/flood": self.read,
            "/hold": self.hold,
            "/pause": self.pause,
            "/raise": self.fail,
            "/refuse": self.refuse,
            "/refuse-aloud": self.refuse_aloud,
            "/release": self.release,
            "/spill": self.refuse,
            "/wait": self.wait,
        }

    async def read(self, receive: Any) -> bytes:
        """Read the body."""
        while (await receive()).get("more_body"):
            pass
        return b"0"

    async def hold(self, _: object) -> bytes:
        """Leave the body unread until released."""
        say("holding")
        await self.released.wait()
        return b"0"

    async def pause(self, _: object) -> bytes:
        """Stop the whole process, until it gets SIGCONT."""
        signal.raise_signal(signal.SIGSTOP)
        return b"0"

    async def fail(self, _: object) -> bytes:
        """Have a defect."""
        raise LookupError

    async def refuse(self, _: object) -> bytes:
        """Answer at once."""
        return b"16"

    async def refuse_aloud(self, _: object) -> bytes:
        """Answer at once, and say so."""
        say("refusing")
        return b"16"

    async def release(self, _: object) -> bytes:
        """Let `hold` answer."""
        self.released.set()
        return b"0"

    async def wait(self, receive: Any) -> None:
        """Give no answer; end when the client is gone."""
        while (await receive())["type"] != "http.disconnect":
            pass

    async def lifespan(self, receive: Any, send: Any) -> None:
        """Start, and say so when asked to close."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.released.set)
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        say("closed")
        await send({"type": "lifespan.shutdown.complete"})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The ASGI application."""
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
            return
        status = await self.paths[scope["path"]](receive)
        if status is None:
            return
        headers = [(b"content-type", b"application/grpc")]
        trailers = scope["http_version"] == "2"
        await send(
            {"type": "http.response.start", "status": 200, "headers": headers, "trailers": trailers}
        )
        body = bytes(SIZES.get(scope["path"], 5))
        await send({"type": "http.response.body", "body": body})
        if trailers:
            await send({"type": "http.response.trailers", "headers": [(b"grpc-status", status)]})


def main(change: str) -> None:
    """Serve one of the applications, with a change to the server."""
    app: Any = ConnectEcho() if change == "connect" else Application()
    addr = "[::1]:0" if change == "ipv6" else "127.0.0.1:0"
    if change == "late data fault":
        Http2Protocol._handle_events = H2Protocol._handle_events  # type: ignore[method-assign]  # noqa: SLF001
    elif change == "short grace":
        limits.GRACE_SECONDS = 0.1
    elif change == "long grace":
        limits.GRACE_SECONDS = 60.0
    elif change == "few connections":
        limits.CONNECTIONS = 5
    elif change == "short patience":
        limits.DROPPED_SECONDS = 0.1
    logging.basicConfig(format="%(name)s: %(message)s")
    server.run(app, addr=addr, on_start=say)


@pytest.fixture
def signal_handlers() -> Iterator[None]:
    """Puts back the handlers that `server.run` leaves behind."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


class Running:
    """A server process, and gRPC calls to it."""

    def __init__(self, change: str) -> None:
        program = [sys.executable, __file__, change]
        self.process = subprocess.Popen(
            program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.output = self.process.stdout
        self.address = self.output.readline().strip().removeprefix("http://")
        self.port = int(self.address.rpartition(":")[2])

    def end(self) -> tuple[int, str, str]:
        """Wait for the end: the exit code, the rest of what was printed, what was logged."""
        output, errors = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, output, errors

    def stop(self) -> tuple[int, str, str]:
        """Ask the process to end, and wait for it."""
        self.process.terminate()
        return self.end()

    @contextmanager
    def channel(self) -> Iterator[Callable[..., Any]]:
        """One connection: a function that starts a call and returns its future."""
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self.address, options=options) as channel:
            yield lambda path, body=b"": channel.unary_unary(path, bytes, bytes).future(
                body, timeout=SECONDS
            )


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Starts servers, and stops those that the test did not stop."""
    started: list[Running] = []

    def run(change: str = "") -> Running:
        started.append(Running(change))
        return started[-1]

    yield run
    for running in started:
        if running.process.returncode is None:
            running.process.kill()
            running.end()


class Http2:
    """A client that sends exactly the frames it is told to."""

    def __init__(self, running: Running) -> None:
        self.socket = socket.create_connection(("127.0.0.1", running.port), timeout=SECONDS)
        self.connection = h2.connection.H2Connection()
        self.connection.initiate_connection()
        self.authority = running.address
        self.flush()

    def open(
        self, path: str, *, end: bool = False, te: str = "trailers", method: str = "POST"
    ) -> int:
        """Begin a request; it leaves with the next flush."""
        stream = self.connection.get_next_available_stream_id()
        headers = [
            (":method", method),
            (":scheme", "http"),
            (":authority", self.authority),
            (":path", path),
            *([("te", te)] if te else []),
        ]
        self.connection.send_headers(stream, headers, end_stream=end)
        return stream

    def flush(self) -> None:
        """Send what has been put together, in one piece."""
        self.socket.sendall(self.connection.data_to_send())

    def events(self) -> Iterator[h2.events.Event]:
        """What the server sends, until it closes the connection."""
        with suppress(ConnectionError):  # acknowledging what came before the server closed
            while data := self.socket.recv(2**16):
                yield from self.connection.receive_data(data)
                self.flush()

    def ended(self, stream: int) -> bool:
        """Wait for the end of an answer; false if the server closed the connection first."""
        for event in self.events():
            if isinstance(event, h2.events.StreamEnded) and event.stream_id == stream:
                return True
        return False


@pytest.fixture
def http2() -> Iterator[Callable[[Running], Http2]]:
    """Connects clients, and closes them."""
    clients: list[Http2] = []

    def connect(running: Running) -> Http2:
        clients.append(Http2(running))
        return clients[-1]

    yield connect
    for client in clients:
        client.socket.close()


def codes(calls: list[Any]) -> Counter[grpc.StatusCode]:
    """Wait for calls, and count their status codes."""
    return Counter(call.code() for call in calls)


# gRPC on long-lived connections


@pytest.mark.parametrize("te", ["trailers", ""])
def test_trailers_are_for_those_who_want_them(
    start: Callable[..., Running], http2: Callable[[Running], Http2], te: str
) -> None:
    """A client that does not say that it takes trailers gets none (RFC 9110, section 6.5.1)."""
    client = http2(start())
    stream = client.open("/echo", end=True, te=te)
    client.flush()
    seen = []
    for event in client.events():
        seen.append(type(event))
        if isinstance(event, h2.events.StreamEnded) and event.stream_id == stream:
            break

    assert (h2.events.TrailersReceived in seen) is bool(te)


def test_there_are_no_websockets(
    start: Callable[..., Running], http2: Callable[[Running], Http2]
) -> None:
    """CONNECT is refused, even as Hypercorn reads it and nobody should write it; nothing is logged.

    https://github.com/pgjones/hypercorn/blob/0.18.0/src/hypercorn/protocol/h2.py
    """
    running = start()
    client = http2(running)
    client.connection.config.validate_outbound_headers = False
    client.connection.config.normalize_outbound_headers = False
    refused = client.open("/echo", end=True, method="connect")
    other = client.open("/echo", end=True)
    client.flush()

    resets = []
    for event in client.events():
        if isinstance(event, h2.events.StreamReset):
            resets.append(event.stream_id)
        if isinstance(event, h2.events.StreamEnded) and event.stream_id == other:
            break
    assert resets == [refused]
    assert running.stop() == (0, "closed\n", "")


def test_a_connection_serves_more_than_a_thousand_calls(start: Callable[..., Running]) -> None:
    """No call fails because of how many calls its connection has served."""
    with start().channel() as call:
        calls = [call("/echo", b"x") for _ in range(1_500)]

        assert codes(calls) == {grpc.StatusCode.OK: 1_500}


def test_a_refused_body_leaves_the_neighbours_alone(
    start: Callable[..., Running], http2: Callable[[Running], Http2]
) -> None:
    """A body that arrives after its call was answered is dropped; other calls go on."""
    client = http2(start())

    assert late_body_is_survived(client)


def test_hypercorn_still_has_the_late_data_fault(
    start: Callable[..., Running], http2: Callable[[Running], Http2]
) -> None:
    """Fails once Hypercorn drops late bodies itself: then remove our own handling."""
    client = http2(start("late data fault"))

    assert not late_body_is_survived(client)


def late_body_is_survived(client: Http2) -> bool:
    """Send the body of a request that has been answered, then make one more call."""
    refused = client.open("/refuse")
    client.flush()
    assert client.ended(refused)
    client.connection.send_data(refused, b"x", end_stream=True)
    last = client.open("/echo", end=True)
    client.flush()
    return client.ended(last)


def test_refused_calls_do_not_harm_others(start: Callable[..., Running]) -> None:
    """Among refused calls with bodies of several frames, every other call is answered."""
    with start().channel() as call:
        refused = [call("/refuse", bytes(60_000)) for _ in range(100)]
        good = [call("/echo", bytes(60_000)) for _ in range(100)]

        assert codes(good) == {grpc.StatusCode.OK: 100}
        assert codes(refused) == {grpc.StatusCode.UNAUTHENTICATED: 100}


def test_an_unread_body_does_not_block_other_calls(
    start: Callable[..., Running], http2: Callable[[Running], Http2]
) -> None:
    """While an application leaves a body of many frames unread, other calls are served."""
    client = http2(start())
    unread = client.open("/hold")
    for _ in range(100):
        client.connection.send_data(unread, b"x")
    client.open("/release", end=True)
    client.flush()

    assert client.ended(unread)


def test_an_oversize_message_is_always_resource_exhausted(start: Callable[..., Running]) -> None:
    """A client learns why its message was refused, however the answer and the body overlap."""
    with start("connect").channel() as call, ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda _: call("/connect.Echo/Echo", OVERSIZE).code(), range(80))

        assert Counter(found) == {grpc.StatusCode.RESOURCE_EXHAUSTED: 80}


def test_an_early_answer_lets_the_request_end(
    start: Callable[..., Running], http2: Callable[[Running], Http2]
) -> None:
    """The rest of a request that has been answered is dropped without an error."""
    client = http2(start())
    answered = client.open("/refuse")
    client.flush()
    assert client.ended(answered)
    client.connection.send_data(answered, b"x")  # its end would hide a reset
    client.open("/echo", end=True)
    client.flush()

    kinds = (h2.events.StreamReset, h2.events.StreamEnded)
    following = next(event for event in client.events() if isinstance(event, kinds))

    assert isinstance(following, h2.events.StreamEnded)


def test_an_early_answer_that_waits_lets_the_request_end(
    start: Callable[..., Running], http2: Callable[[Running], Http2]
) -> None:
    """The same holds if the trailers of the answer have to wait until the client takes its body."""
    client = http2(start())
    answered = client.open("/spill")
    client.flush()
    size = 0
    for event in client.events():
        size += len(event.data) if isinstance(event, h2.events.DataReceived) else 0
        if size == WINDOW:
            break
    for _ in range(2):  # the trailers wait by the time that the server has read the second
        client.connection.ping(bytes(8))
        client.flush()
        next(event for event in client.events() if isinstance(event, h2.events.PingAckReceived))
    for stream in (answered, None):
        client.connection.increment_flow_control_window(WINDOW, stream)
    client.flush()
    assert client.ended(answered)
    client.connection.send_data(answered, b"x")
    client.open("/echo", end=True)
    client.flush()

    kinds = (h2.events.StreamReset, h2.events.StreamEnded)
    following = next(event for event in client.events() if isinstance(event, kinds))

    assert isinstance(following, h2.events.StreamEnded)


# Cancelled calls


def test_a_client_that_only_cancels_is_cut_off(
    start: Callable[..., Running], http2: Callable[[Running], Http2]
) -> None:
    """One cancelled call over the limit closes the connection."""
    client = http2(start())
    for _ in range(limits.CANCELLED_CALLS + 1):
        client.connection.reset_stream(client.open("/wait"), ErrorCodes.CANCEL)
    client.flush()

    events = list(client.events())

    assert isinstance(events[-1], h2.events.ConnectionTerminated)
    assert events[-1].error_code == ErrorCodes.ENHANCE_YOUR_CALM


def test_a_client_may_cancel_up_to_the_limit(
    start: Callable[..., Running], http2: Callable[[Running], Http2]
) -> None:
    """Cancelling as many calls as are allowed leaves the connection open."""
    client = http2(start())
    for _ in range(limits.CANCELLED_CALLS):
        client.connection.reset_stream(client.open("/wait"), ErrorCodes.CANCEL)
    last = client.open("/echo", end=True)
    client.flush()

    assert client.ended(last)


# Clients that leave


def test_a_connection_ends_when_its_client_has_left(
    start: Callable[..., Running], http2: Callable[[Running], Http2]
) -> None:
    """An answer that comes after its client has left does not keep the connection open."""
    running = start()
    client = http2(running)
    client.open("/hold", end=True)
    client.flush()
    assert running.output.readline() == "holding\n"
    client.socket.shutdown(socket.SHUT_WR)
    running.process.send_signal(signal.SIGUSR1)

    assert is_closed(client)


def test_a_connection_ends_when_its_client_leaves_within_an_answer(
    start: Callable[..., Running], http2: Callable[[Running], Http2]
) -> None:
    """An answer that is waiting for its client to take more does not keep the connection open."""
    client = http2(start())
    client.open("/flood", end=True)
    client.flush()
    next(event for event in client.events() if isinstance(event, h2.events.DataReceived))
    client.socket.shutdown(socket.SHUT_WR)

    assert is_closed(client)


def is_closed(client: Http2) -> bool:
    """Whether the server closes the connection within the time that a receive may take."""
    while client.socket.recv(2**16):
        pass
    return True


# HTTP/1.1


def test_http1_connections_are_kept(start: Callable[..., Running]) -> None:
    """Two requests share a connection, and the answer does not name the server's software."""
    connection = http.client.HTTPConnection(start().address, timeout=SECONDS)
    with closing(connection):
        connection.request("POST", "/echo", b"x" * 100_000)
        first = connection.getresponse()
        first.read()
        used = connection.sock
        connection.request("POST", "/echo", b"x")
        second = connection.getresponse()

        assert connection.sock is used
        assert (first.status, second.status) == (200, 200)
        assert second.getheader("server") is None
        assert second.getheader("date") is not None


def test_a_connection_outlives_an_answer_that_came_first(start: Callable[..., Running]) -> None:
    """A body that comes after the answer is dropped, and the next request is served."""
    running = start()
    with closing(http.client.HTTPConnection("127.0.0.1", running.port, SECONDS)) as connection:
        connection.putrequest("POST", "/refuse-aloud")
        connection.putheader("content-length", "2")
        connection.endheaders()
        said = running.output.readline()
        connection.send(b"{}")
        first = connection.getresponse()
        first.read()
        used = connection.sock
        connection.request("POST", "/echo", b"{}")

        assert said == "refusing\n"
        assert first.headers["connection"] is None
        assert connection.getresponse().status == 200
        assert connection.sock is used


def test_who_is_still_sending_gets_the_answer(start: Callable[..., Running]) -> None:
    """A client that sends far more than is read does not lose its answer to a reset."""
    running = start()
    with closing(http.client.HTTPConnection("127.0.0.1", running.port, SECONDS)) as connection:
        connection.request("POST", "/refuse", bytes(20 * 2**20))

        assert connection.getresponse().status == 200


def test_a_body_that_does_not_come_ends_the_connection(start: Callable[..., Running]) -> None:
    """The answer is sent anyway, and says that the connection closes."""
    running = start("short patience")
    with closing(http.client.HTTPConnection("127.0.0.1", running.port, SECONDS)) as connection:
        connection.putrequest("POST", "/refuse")
        connection.putheader("content-length", "2")
        connection.endheaders()
        answer = connection.getresponse()

        assert answer.status == 200
        assert answer.headers["connection"] == "close"
        assert answer.read() == bytes(5)


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """Accepted connections send at once (TCP_NODELAY), however many writes an answer takes."""
    with (
        server.listen("127.0.0.1:0") as listener,
        socket.create_connection(listener.getsockname()),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_long_headers_are_refused(start: Callable[..., Running]) -> None:
    """Headers longer than the limit get 431 instead of being collected."""
    with socket.create_connection(("127.0.0.1", start().port), timeout=SECONDS) as client:
        client.sendall(b"GET / HTTP/1.1\r\nx: " + b"x" * limits.HEADER_BYTES)

        assert client.recv(2**16).startswith(b"HTTP/1.1 431 ")


# The log


def test_a_client_that_goes_away_is_not_logged(
    start: Callable[..., Running], http2: Callable[[Running], Http2]
) -> None:
    """A client may disconnect at any moment without a line in the log."""
    running = start()
    client = http2(running)
    client.open("/hold")
    client.flush()
    assert running.output.readline() == "holding\n"
    client.socket.close()
    for request in (
        b"",
        b"POST /wait HT",
        b"POST /wait HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", running.port)) as connection:
            connection.sendall(request)
    running.process.send_signal(signal.SIGUSR1)

    assert running.stop() == (0, "closed\n", "")


def test_an_exception_of_the_application_is_logged_once(start: Callable[..., Running]) -> None:
    """An exception that the application does not catch gives one traceback, and a 500."""
    running = start()
    connection = http.client.HTTPConnection(running.address, timeout=SECONDS)
    with closing(connection):
        connection.request("GET", "/raise")
        status = connection.getresponse().status
    _, _, errors = running.stop()

    assert status == 500
    assert errors.startswith("statusthing.server: ")
    assert errors.count("Traceback") == 1
    assert errors.rstrip().endswith("LookupError")


# Starting and stopping


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_calls_in_flight_are_finished(start: Callable[..., Running], number: int) -> None:
    """After a signal new calls are refused, running calls are answered, and the store closes."""
    running = start()
    with running.channel() as call:
        held = call("/hold")
        assert running.output.readline() == "holding\n"
        running.process.send_signal(number)
        until_refused(running.port)
        refused = call("/echo")
        assert refused.code() == grpc.StatusCode.UNAVAILABLE
        running.process.send_signal(number)
        running.process.send_signal(signal.SIGUSR1)

        assert held.code() == grpc.StatusCode.OK
        assert running.end() == (0, "closed\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_further_signals_do_no_harm(start: Callable[..., Running], number: int) -> None:
    """However often Ctrl-C is pressed, the process ends as after the first time."""
    running = start()
    deadline = time.monotonic() + SECONDS
    while running.process.poll() is None and time.monotonic() < deadline:
        running.process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            running.process.wait(0.01)

    assert running.end() == (0, "closed\n", "")


def until_refused(port: int) -> None:
    """Wait until nothing listens on `port` any more."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=SECONDS).close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            continue  # it was waiting to be accepted when the server stopped listening
    pytest.fail("the server goes on listening")


def test_a_connection_without_a_call_does_not_hold_up_the_end(
    start: Callable[..., Running], http2: Callable[[Running], Http2]
) -> None:
    """An idle client is told goodbye at once, however long the grace period."""
    running = start("long grace")
    client = http2(running)
    next(event for event in client.events() if isinstance(event, h2.events.SettingsAcknowledged))
    running.process.terminate()
    [goodbye] = [
        event for event in client.events() if isinstance(event, h2.events.ConnectionTerminated)
    ]
    code, _, errors = running.end()

    assert goodbye.error_code == ErrorCodes.NO_ERROR
    assert (code, errors) == (0, "")


def test_a_client_that_said_all_it_had_to_say_leaves_nothing_behind(
    start: Callable[..., Running],
) -> None:
    """A connection that the client half closed ends with its last answer."""
    running = start("few connections")
    request = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
    answers = []
    for _ in range(6):
        with socket.create_connection(("127.0.0.1", running.port), SECONDS) as connection:
            connection.sendall(2 * request)
            connection.shutdown(socket.SHUT_WR)
            answers.append(connection.makefile("rb").read().count(b"HTTP/1.1 200"))

    assert answers == [2] * 6
    assert running.stop() == (0, "closed\n", "")


def test_pipelined_requests_do_not_hold_up_the_end(start: Callable[..., Running]) -> None:
    """Requests that nobody reads the answers of end with the server, and without a traceback."""
    running = start("long grace")
    request = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
    with socket.create_connection(("127.0.0.1", running.port), SECONDS) as connection:
        connection.sendall(40 * request)
        assert connection.recv(1)
    code, _, errors = running.stop()

    assert code == 0
    assert "Traceback" not in errors


def test_further_connections_are_closed_at_once(start: Callable[..., Running]) -> None:
    """Open connections are served, and so is the next client once there is room again."""
    running = start("few connections")

    def connect() -> socket.socket:
        return socket.create_connection(("127.0.0.1", running.port), SECONDS)

    def status() -> int:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, SECONDS)
        with closing(connection):
            connection.request("POST", "/echo", b"{}")
            return connection.getresponse().status

    def is_refused() -> bool:
        with suppress(ConnectionError, http.client.HTTPException):
            status()
            return False
        return True

    opened = [connect() for _ in range(5)]
    until(is_refused)
    for connection in opened:
        connection.close()
    until(lambda: not is_refused())
    _, _, errors = running.stop()

    assert errors.count("\n") == 1
    assert "5 connections are open" in errors


def test_connections_are_accepted_one_by_one(start: Callable[..., Running]) -> None:
    """A process has not taken all that wait when it begins to serve the first.

    So it leaves the others to other processes that listen as well, and are less busy.
    """
    running = start()
    process = psutil.Process(running.process.pid)
    process.suspend()
    until(lambda: process.status() == psutil.STATUS_STOPPED)
    with ExitStack() as stack:
        for _ in range(50):
            client = socket.create_connection(("127.0.0.1", running.port), SECONDS)
            stack.enter_context(client)
            client.sendall(b"POST /pause HTTP/1.1\r\nhost: x\r\n\r\n")
        process.resume()
        until(lambda: process.status() == psutil.STATUS_STOPPED)
        taken = [each for each in process.net_connections() if each.status == "ESTABLISHED"]

        assert 1 <= len(taken) < 50


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end


def test_calls_that_do_not_end_are_cut_off(start: Callable[..., Running]) -> None:
    """A call that outlasts the grace period does not keep the server from stopping."""
    running = start("short grace")
    with running.channel() as call:
        held = call("/hold")
        assert running.output.readline() == "holding\n"

        assert running.stop() == (0, "closed\n", "")
        assert held.code() != grpc.StatusCode.OK


def test_an_idle_connection_is_told_goodbye(
    start: Callable[..., Running], http2: Callable[[Running], Http2]
) -> None:
    """Clients get GOAWAY before the end, so that they know which calls to repeat."""
    running = start()
    client = http2(running)
    stream = client.open("/echo", end=True)
    client.flush()
    assert client.ended(stream)
    running.process.terminate()

    goodbye = list(client.events())[-1]

    assert isinstance(goodbye, h2.events.ConnectionTerminated)
    assert (goodbye.error_code, goodbye.last_stream_id) == (ErrorCodes.NO_ERROR, stream)
    assert running.end()[0] == 0


class Lifespan:
    """An application that records whether its lifespan began."""

    def __init__(self, *answers: str) -> None:
        self.begun = False
        self.answers = answers

    async def __call__(self, _scope: object, receive: Any, send: Any) -> None:
        """The ASGI application."""
        self.begun = True
        await receive()
        for answer in self.answers:
            await send({"type": answer, "message": "no room"})


def serve(app: Any, addr: str = "127.0.0.1:0") -> None:
    """Run a server that must not get as far as serving."""
    server.run(app, addr=addr, on_start=lambda _: pytest.fail("the server started"))


@pytest.mark.usefixtures("signal_handlers")
def test_an_exception_of_the_startup_comes_out_as_it_is() -> None:
    """Whoever runs the server sees the original exception of the startup."""
    failure = UserMistake("cannot open the store")

    def open_store() -> None:
        raise failure

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        open_store()
        yield

    with pytest.raises(UserMistake) as caught:
        serve(Starlette(lifespan=lifespan))

    assert caught.value is failure


@pytest.mark.usefixtures("signal_handlers")
def test_a_failed_start_gives_the_signals_back() -> None:
    """After a failed start, the program can be interrupted as before."""
    before = signal.getsignal(signal.SIGINT)

    async def app(*_: Any) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        serve(app)

    assert signal.getsignal(signal.SIGINT) is before


def test_a_reported_failure_of_the_startup_is_an_error() -> None:
    """An application that only reports its failure is not served either."""
    with pytest.raises(StatusThingError, match="no room"):
        serve(Lifespan("lifespan.startup.failed"))


def test_a_taken_port_is_found_before_the_application_starts() -> None:
    """If the first server has the port, the store of the second is not touched."""
    app = Lifespan()
    with server.listen("127.0.0.1:0") as taken:
        addr = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UserMistake, match="another program is using it"):
            serve(app, addr)

    assert not app.begun


@pytest.mark.parametrize(
    ("addr", "reason"),
    [
        ("no-such-host.invalid:9000", "no such host"),
        (f"{'x' * 64}.example:9000", "no such host"),
        ("192.0.2.1:9000", "not an address of this machine"),
    ],
)
def test_an_address_that_cannot_be_had(addr: str, reason: str) -> None:
    """An address of another machine, or of none, is refused by name, with the reason."""
    with pytest.raises(UserMistake, match=reason) as caught:
        server.listen(addr)

    assert addr in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
@pytest.mark.parametrize("port", ["", ":", ":http", ":-1", ":65536", ":9000/"])
def test_a_malformed_port(host: str, port: str) -> None:
    """Anything but HOST:PORT is a mistake, and the message shows the right form."""
    refuses(host + port)


@pytest.mark.parametrize("host", ["", "::1", "[]", "[::1", "http://localhost", "two\nlines"])
def test_a_malformed_host(host: str) -> None:
    """A host is a name, an IPv4 address, or an IPv6 address in brackets."""
    refuses(f"{host}:9000")


def refuses(addr: str) -> None:
    """Expect a refusal in one line that says how an address is written."""
    with pytest.raises(UserMistake, match="must be HOST:PORT") as caught:
        server.listen(addr)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("addr", "host"), [("[::1]:0", "::1"), ("localhost:0", "127.0.0.1")])
def test_hosts_and_free_ports(addr: str, host: str) -> None:
    """IPv6 goes in brackets, `localhost` means IPv4, and port 0 takes a free port."""
    with server.listen(addr) as listener:
        name = listener.getsockname()

        assert name[0] == host
        assert name[1] > 0


def test_ipv6_urls(start: Callable[..., Running]) -> None:
    """The URL of an IPv6 address has brackets, and works."""
    running = start("ipv6")
    with running.channel() as call:
        assert running.address.startswith("[::1]:")
        assert call("/echo").code() == grpc.StatusCode.OK


if __name__ == "__main__":
    main(sys.argv[1])
