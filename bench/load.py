"""Clients that make calls for some seconds, CLIENTS of them at a time.

Over HTTP/1.1 it is `wrk` where that is installed, and otherwise a loop over sockets, which costs a
small part of what the server does. Over gRPC it is grpcio.
"""

from __future__ import annotations

import selectors
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from types import MappingProxyType
from typing import NamedTuple

import grpc

CLIENTS = 8

ANSWER_SECONDS = 10.0
"""After how long without an answer a client gives up."""

SLACK_BYTES = 14
"""By how much a good answer may differ in size from another one.

A time in whole seconds is written without its fraction, which is 7 bytes, and a new record has two
times.
"""


class Call(NamedTuple):
    """What the clients send, and what they expect.

    Attributes:
        path: of the RPC, or of the page.
        requests: the messages to send, in turn: JSON or binary; an empty one is a GET.
        size: of a good answer's message, in bytes.
        token: what they show; empty if they do not say who they are.
        headers: further ones, over HTTP/1.1.
        status: of a good answer, over HTTP/1.1.
        clients: how many there are, over HTTP/1.1.
    """

    path: str
    requests: Sequence[bytes]
    size: int
    token: str = ""
    headers: Mapping[str, str] = MappingProxyType({})
    status: int = 200
    clients: int = CLIENTS


class Load(NamedTuple):
    """What came of it; times in seconds."""

    calls: int
    errors: int
    seconds: float
    p50: float
    p99: float


Client = Callable[[str, Call, float], Load]
"""Makes calls to the server at HOST:PORT for so many seconds."""


def sockets(address: str, call: Call, seconds: float) -> Load:
    """Make calls over connections that are kept, all in this thread."""
    requests = cycle(_request(address, call, body) for body in call.requests)
    answers: list[tuple[float, bool]] = []
    began = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for _ in range(call.clients):
            connection = _Connection(address)
            connection.ask(next(requests))
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        while selector.get_map():
            ready = [key.data for key, _ in selector.select(ANSWER_SECONDS)]
            # If none is ready, all have waited for too long.
            for connection in ready or [key.data for key in selector.get_map().values()]:
                if ready and not connection.read():
                    continue
                now = time.perf_counter()
                good = connection.has_good_answer(call)
                answers.append((now - connection.asked, good))
                if good and now < began + seconds:
                    connection.ask(next(requests))
                else:
                    selector.unregister(connection.socket)
                    connection.socket.close()
    return _load(answers, time.perf_counter() - began)


def credentials(token: str) -> dict[str, str]:
    """Return the headers, or the metadata, of a caller with a token."""
    return {"authorization": f"Bearer {token}"} if token else {}


def _headers(call: Call) -> dict[str, str]:
    return credentials(call.token) | dict(call.headers)


def _request(address: str, call: Call, body: bytes) -> bytes:
    head = [f"{'POST' if body else 'GET'} {call.path} HTTP/1.1", f"host: {address}"]
    head += [f"{name}: {value}" for name, value in _headers(call).items()]
    if body:
        head += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class _Connection:
    """A connection that is kept, and the answer that arrives on it."""

    def __init__(self, address: str) -> None:
        host, _, port = address.partition(":")
        self.socket = socket.create_connection((host, int(port)), ANSWER_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.asked = 0.0
        self._answer = b""

    def ask(self, request: bytes) -> None:
        self._answer = b""
        self.asked = time.perf_counter()
        self.socket.sendall(request)

    def read(self) -> bool:
        """Read what is there, and tell whether that was the last of the answer."""
        try:
            read = self.socket.recv(65_536)
        except ConnectionError:
            read = b""
        self._answer += read
        return not read or _body(self._answer) is not None

    def has_good_answer(self, call: Call) -> bool:
        body = _body(self._answer)
        if body is None or not self._answer.startswith(b"HTTP/1.1 %d " % call.status):
            return False
        return abs(len(body) - call.size) <= SLACK_BYTES


def _body(answer: bytes) -> bytes | None:
    """Return the body of an answer, None as long as it is not complete."""
    head, ended, rest = answer.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 304 "):
        return b"" if ended else None
    _, has_length, length = head.partition(b"\r\ncontent-length: ")
    if has_length:
        return rest if len(rest) == int(length.partition(b"\r\n")[0]) else None
    if not rest.endswith(b"\r\n0\r\n\r\n"):
        return None
    # Chunks, RFC 9112, section 7.1: sizes and data in turn. The JSON here has no CRLF of its own.
    return b"".join(rest.split(b"\r\n")[1::2])


_WRK_SCRIPT = """
wrk.method = "%s"
wrk.headers["content-type"] = "application/json"
%s
local bodies = {%s}
local last = 0
function request()
  last = last %% #bodies + 1
  return wrk.format(nil, nil, nil, bodies[last])
end
function done(summary, latency)
  local errors = summary.errors
  print(summary.requests,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    summary.duration, latency:percentile(50), latency:percentile(99))
end
"""
"""https://github.com/wg/wrk/blob/4.1.0/SCRIPTING"""


def wrk(address: str, call: Call, seconds: float) -> Load:
    """Make calls with wrk, which looks at the statuses of answers and not at their sizes."""
    bodies = ",".join(f"[==[{body.decode()}]==]" for body in call.requests)
    headers = "\n".join(
        f"wrk.headers[ [==[{name}]==] ] = [==[{value}]==]" for name, value in _headers(call).items()
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        method = "POST" if call.requests[0] else "GET"
        script.write(_WRK_SCRIPT % (method, headers, bodies))
        script.flush()
        command = (
            "wrk",
            "-t1",
            f"-c{call.clients}",
            f"-d{max(1, round(seconds))}s",
            "-s",
            script.name,
        )
        ended = subprocess.run(
            (*command, f"http://{address}{call.path}"),
            capture_output=True,
            check=True,
            text=True,
        )
    calls, errors, *microseconds = map(float, ended.stdout.splitlines()[-1].split())
    return Load(int(calls), int(errors), *(each / 1_000_000 for each in microseconds))


def grpc_channel(address: str, call: Call, seconds: float) -> Load:
    """Make calls over gRPC, from CLIENTS threads with one channel."""
    requests = cycle(call.requests)
    metadata = tuple(credentials(call.token).items())
    began = time.perf_counter()

    def client(_: int) -> list[tuple[float, bool]]:
        answers = []
        good = True
        while good and (asked := time.perf_counter()) < began + seconds:
            try:
                answer = rpc(next(requests), timeout=ANSWER_SECONDS, metadata=metadata)
            except grpc.RpcError:
                good = False
            else:
                good = abs(len(answer) - call.size) <= SLACK_BYTES
            answers.append((time.perf_counter() - asked, good))
        return answers

    with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(CLIENTS) as threads:
        rpc = raw(channel, call.path)
        answers = [answer for part in threads.map(client, range(CLIENTS)) for answer in part]
    return _load(answers, time.perf_counter() - began)


def raw(channel: grpc.Channel, path: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    """Return the RPC at a path, with messages as the bytes that they are."""
    return channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)


def _load(answers: list[tuple[float, bool]], seconds: float) -> Load:
    errors = sum(not good for _, good in answers)
    times = [time for time, _ in answers] or [0.0]
    percentiles = statistics.quantiles(times * 2 if len(times) == 1 else times, n=100)
    return Load(len(answers), errors, seconds, percentiles[49], percentiles[98])


http: Client = wrk if shutil.which("wrk") else sockets
