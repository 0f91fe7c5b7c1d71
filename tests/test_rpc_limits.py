"""What a call may cost the server: how many at once, how long a body takes, how large things are.

When run as a program, this file serves with limits that a test reaches.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import queue
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import datetime
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import grpc
import httpx
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from statusthing import Principal, Role, build_app, limits, server
from statusthing.memory import MemoryStore
from statusthing.rpc.compression import Gzip, compress_aside
from statusthing.store import Transaction
from statusthing.v1 import services_pb2

if TYPE_CHECKING:
    from tests.conftest import Server

T = TypeVar("T")

Run = Callable[..., AbstractContextManager["Server"]]

SECONDS = 10.0  # the bound of everything that is waited for
CALLS, STREAMS = 2, 1
GET = "/statusthing.v1.ItemsService/GetItem"
LIST = "/statusthing.v1.ItemsService/ListItems"
ADD = "/statusthing.v1.ItemsService/AddItem"
UPDATE = "/statusthing.v1.ItemsService/UpdateItem"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
JSON = {"content-type": "application/json"}


class Held(MemoryStore):
    """A store whose writes wait for SIGUSR1."""

    async def open(self) -> None:
        """Make the store ready."""
        self.released = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.released.set)
        await super().open()

    async def write(self, work: Callable[[Transaction], T], *, now: datetime) -> T:
        """Run a unit once it may."""
        await self.released.wait()
        return await super().write(work, now=now)


async def editor(_: Any) -> Principal:
    """Whoever shows no token is an editor, without the store being asked about them."""
    return Principal(name="editor", role=Role.EDITOR)


def main(change: str) -> None:
    """Serve an empty store."""
    if change == "few calls":
        limits.CALLS, limits.STREAMS = CALLS, STREAMS
    elif change == "short patience":
        limits.BODY_SECONDS = 0.1
    store = Held()

    def started(url: str) -> None:
        print(f"listening on {url}\ndata in {store.url}", flush=True)  # noqa: T201 - as `serve` does

    app = build_app(store, identify=editor, devmode=True)
    server.run(app, addr="127.0.0.1:0", on_start=started)


@pytest.fixture
def few_calls(run: Run) -> Iterator[Server]:
    """A server that takes two unary calls at once and one stream."""
    with run(sys.executable, __file__, "few calls") as running:
        yield running


@pytest.fixture
def hasty(run: Run) -> Iterator[Server]:
    """A server that waits a tenth of a second for the body of a call."""
    with run(sys.executable, __file__, "short patience") as running:
        yield running


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end


class Unfinished:
    """A call over HTTP/1.1 whose body lacks its last byte."""

    def __init__(self, running: Server, path: str, body: bytes, **headers: str) -> None:
        host, _, port = running.address.partition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=SECONDS)
        fields = JSON | {key.replace("_", "-"): value for key, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.socket.sendall(
            f"POST {path} HTTP/1.1\r\nhost: {running.address}\r\n{head}"
            f"content-length: {len(body)}\r\n\r\n".encode()
        )
        self.socket.sendall(body[:-1])
        self._last = body[-1:]

    def complete(self) -> None:
        """Send the last byte."""
        self.socket.sendall(self._last)

    def finish(self) -> HTTPResponse:
        """Send the last byte, and return the answer."""
        self.complete()
        return self.answer()

    def answer(self) -> HTTPResponse:
        """Return the answer."""
        response = HTTPResponse(self.socket)
        response.begin()
        return response

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


def framed(message: bytes) -> bytes:
    """Put a message into an envelope, as streams have it."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def grpc_code(channel: grpc.Channel, path: str, message: bytes = b"", **options: Any) -> object:
    """Make a call with a message exactly as given, and return its status code."""
    unary_unary: Any = channel.unary_unary
    return unary_unary(path).future(message, timeout=SECONDS, **options).code()


# Calls in flight


def status_of(running: Server) -> int:
    """Make a call, and return the HTTP status of its answer."""
    return httpx.post(running.url + LIST, json={}, timeout=SECONDS).status_code


@contextmanager
def all_calls_taken(running: Server) -> Iterator[list[Unfinished]]:
    """As many calls as may be in flight, which wait for the store."""
    calls = [Unfinished(running, ADD, b'{"name":"%d"}' % number) for number in range(CALLS)]
    for call in calls:
        call.complete()
    until(lambda: status_of(running) == 503)
    yield calls
    for call in calls:
        call.close()


def release(running: Server) -> None:
    """Let the store write."""
    os.kill(running.pid, signal.SIGUSR1)


def test_one_call_too_many_is_unavailable(few_calls: Server) -> None:
    """It is refused in the way of its protocol, and told to come back; the others go on."""
    with all_calls_taken(few_calls) as calls:
        by_json = httpx.post(few_calls.url + LIST, json={})
        headers = {"content-type": "application/grpc-web"}
        by_grpc_web = httpx.post(few_calls.url + LIST, content=bytes(5), headers=headers)
        with grpc.insecure_channel(few_calls.address) as channel:
            by_grpc = grpc_code(channel, LIST)
        health = httpx.get(f"{few_calls.url}/healthz")
        release(few_calls)
        finished = [call.answer().status for call in calls]

    assert (by_json.status_code, by_json.json()["code"]) == (503, "unavailable")
    assert by_json.headers["retry-after"] == "1"
    assert by_json.json()["details"][0]["type"] == "google.rpc.ErrorInfo"
    assert by_grpc_web.headers["grpc-status"] == "14"
    assert by_grpc is grpc.StatusCode.UNAVAILABLE
    assert health.status_code == 200
    assert finished == [200] * CALLS
    assert status_of(few_calls) == 200


def test_a_call_too_many_is_refused_unread(few_calls: Server) -> None:
    """Neither its body nor its caller matters."""
    with (
        all_calls_taken(few_calls),
        closing(Unfinished(few_calls, ADD, b" " * 100, authorization="x")) as call,
    ):
        assert call.answer().status == 503


def test_other_faults_come_first(few_calls: Server) -> None:
    """A request that is no call is told so, even if no call can be made."""
    with all_calls_taken(few_calls):
        found = [
            httpx.post(f"{few_calls.url}/nope").status_code,
            httpx.put(few_calls.url + LIST).status_code,
            httpx.post(few_calls.url + LIST).status_code,
        ]

    assert found == [404, 405, 415]


def test_halves_of_calls_keep_nobody_out(few_calls: Server) -> None:
    """A call counts from when it is complete, and is refused then if there is no room."""
    halves = [Unfinished(few_calls, LIST, b"{}") for _ in range(CALLS + 1)]
    assert status_of(few_calls) == 200
    with all_calls_taken(few_calls):
        assert [half.finish().status for half in halves] == [503] * (CALLS + 1)
    for half in halves:
        half.close()


def watch(stub: HealthStub) -> Any:
    """Open a stream."""
    return stub.Watch(HealthCheckRequest(), timeout=SECONDS)


def is_open(stream: Any) -> bool:
    """Return whether a stream was not refused."""
    with suppress(grpc.RpcError):
        next(stream)
        return True
    assert stream.code() is grpc.StatusCode.UNAVAILABLE
    return False


def test_one_stream_too_many_is_unavailable(few_calls: Server) -> None:
    """Streams are counted apart from other calls, and until they end."""
    with grpc.insecure_channel(few_calls.address) as channel:
        stub = HealthStub(channel)
        first = watch(stub)
        assert is_open(first)
        assert not is_open(watch(stub))
        headers = {"content-type": "application/connect+json"}
        by_http = httpx.post(few_calls.url + WATCH, content=framed(b"{}"), headers=headers)
        assert (by_http.status_code, by_http.headers["retry-after"]) == (503, "1")
        assert status_of(few_calls) == 200
        first.cancel()

        until(lambda: is_open(watch(stub)))


FAILURES: list[tuple[str, str, dict[str, str]]] = [
    (LIST, "{", {}),
    (ADD, "{}", {"authorization": "Bearer st_unknown"}),
    (LIST, "{}", {"connect-timeout-ms": "0"}),
    (LIST, "{}", {"connect-timeout-ms": "x"}),
    (LIST, "{}", {"content-encoding": "br"}),
    (LIST, "{}", {"content-encoding": "gzip"}),
    (ADD, json.dumps({"name": "x" * 5 * 2**20}), {}),
]


def test_every_call_makes_room_for_another(few_calls: Server) -> None:
    """However calls end, as many can be made afterwards as before."""
    for path, body, headers in FAILURES * (CALLS + 1):
        response = httpx.post(few_calls.url + path, content=body, headers=JSON | headers)
        assert response.status_code in {400, 401, 429, 501, 504}
    for _ in range(CALLS + 1):
        Unfinished(few_calls, LIST, b"{}").close()
    with grpc.insecure_channel(few_calls.address) as channel:
        for _ in range(STREAMS + 1):
            stream: Any = channel.stream_stream(REFLECTION, bytes, bytes)(iter([b"\xff"]))
            assert stream.code() is grpc.StatusCode.INVALID_ARGUMENT

        # The server may not have noticed yet that the clients above have hung up.
        until(lambda: status_of(few_calls) == 200)
        with all_calls_taken(few_calls) as calls:
            release(few_calls)
            assert [call.answer().status for call in calls] == [200] * CALLS
        assert is_open(watch(HealthStub(channel)))


# Bodies that take their time


def test_a_body_that_does_not_arrive(hasty: Server) -> None:
    """The caller is told that it took too long, as one whose own deadline has passed."""
    with closing(Unfinished(hasty, LIST, b"{}")) as call:
        response = call.answer()
        error = json.load(response)

    assert (response.status, error["code"]) == (504, "deadline_exceeded")
    assert "0.1 seconds" in error["message"]


def test_a_body_that_does_not_arrive_over_grpc_web(hasty: Server) -> None:
    """4 is DEADLINE_EXCEEDED."""
    body = framed(services_pb2.AddItemRequest(name="late").SerializeToString())
    headers = {"content_type": "application/grpc-web+proto"}
    with closing(Unfinished(hasty, ADD, body, **headers)) as call:
        answer = call.answer().read()

    assert b"grpc-status: 4\r\n" in answer
    assert status_of(hasty) == 200


@pytest.mark.parametrize("path", [LIST, WATCH])
def test_a_body_that_does_not_arrive_over_grpc(hasty: Server, path: str) -> None:
    """The same holds for a stream of answers to one message."""
    never: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    with grpc.insecure_channel(hasty.address) as channel:
        call: Any = channel.stream_stream(path, bytes, bytes)(iter(never.get, None))
        code = call.code()
        never.put(None)

    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_stream_of_messages_has_no_such_limit(hasty: Server) -> None:
    """Between the messages of a stream any time may pass."""
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with grpc.insecure_channel(hasty.address) as channel:
        stream: Any = channel.stream_stream(
            REFLECTION,
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )
        answers = stream(iter(messages.get, None), timeout=SECONDS)
        messages.put(ServerReflectionRequest(list_services=""))
        next(answers)
        with closing(Unfinished(hasty, LIST, b"{}")) as call:
            assert call.answer().status == 504
        messages.put(ServerReflectionRequest(list_services=""))

        assert next(answers).list_services_response.service
        messages.put(None)


# Lists


@pytest.mark.parametrize(
    ("path", "field", "element"),
    [
        (LIST, "kinds", "STATUS_KIND_UP"),
        (LIST, "status_ids", "an-id"),
        (UPDATE, "update_mask", "name"),
    ],
)
def test_a_list_has_an_end(http: httpx.Client, path: str, field: str, element: str) -> None:
    """A list may have 1 000 elements, but not 1 001, and the error names the field."""

    def post(count: int) -> tuple[int, int]:
        """Return the status of a call with a list, in both encodings."""
        elements = [element] * count
        message: Any = getattr(services_pb2, f"{path.rpartition('/')[2]}Request")()
        fields = {"item_id": "x", "name": "x"} if path == UPDATE else {}
        value = ",".join(elements) if path == UPDATE else elements
        for name, text in fields.items():
            setattr(message, name, text)
        if path == UPDATE:
            message.update_mask.paths.extend(elements)
        else:
            getattr(message, field).extend([1] * count if field == "kinds" else elements)
        by_json = http.post(path, json={**fields, field: value})
        by_proto = http.post(
            path,
            content=message.SerializeToString(),
            headers={"content-type": "application/proto"},
        )
        for response in (by_json, by_proto):
            if response.status_code == 400:
                assert f"{field} may have at most 1000 elements" in response.json()["message"]
        return by_json.status_code, by_proto.status_code

    found = 404 if path == UPDATE else 200
    assert post(limits.ELEMENTS) == (found, found)
    assert post(limits.ELEMENTS + 1) == (400, 400)


# Queries


@pytest.mark.parametrize("message", ["!!!!", "{}", "e30 ", "e3 0", "e30===", "e30=e30", "é", "A"])
@pytest.mark.parametrize("encoding", ["json", "proto"])
def test_a_message_that_is_not_base64(http: httpx.Client, message: str, encoding: str) -> None:
    """It is refused, and not read as if there were nothing."""
    query = {"encoding": encoding, "base64": "1", "message": message}

    response = http.get(LIST, params=query)

    assert (response.status_code, response.json()["code"]) == (400, "invalid_argument")


@pytest.mark.parametrize("message", ["e30", "e30="])
def test_base64_may_be_padded(http: httpx.Client, message: str) -> None:
    """With or without padding it is the same."""
    query = {"encoding": "json", "base64": "1", "message": message}

    assert http.get(LIST, params=query).status_code == 200


def test_a_get_has_no_content(http: httpx.Client) -> None:
    """The content type of a GET, which some clients send all the same, means nothing."""
    query = {"encoding": "json", "message": "{}"}

    response = http.get(LIST, params=query, headers={"content-type": "application/grpc"})

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"


def test_a_query_that_is_not_url_encoded() -> None:
    """Bytes that no URL has are refused like every other malformed message."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "2",
        "method": "GET",
        "path": LIST,
        "query_string": b"encoding=json&message=\xff",
        "headers": [],
        "client": ("127.0.0.1", 1),
    }
    asyncio.run(build_app(MemoryStore())(scope, asyncio.Event().wait, send))

    assert sent[0]["status"] == 400
    assert json.loads(sent[1]["body"])["code"] == "invalid_argument"


# Compression


class Protocol(NamedTuple):
    """How a protocol carries messages.

    Attributes:
        content_type: its name.
        accepted: the header with the compressions that a client takes.
        used: the header with the compression of the messages.
        version: of HTTP.
    """

    content_type: str
    accepted: str
    used: str
    version: int = 1

    @property
    def has_envelopes(self) -> bool:
        """Whether messages say themselves whether they are compressed."""
        return self.used != "content-encoding"


PROTOCOLS = [
    Protocol("application/json", "accept-encoding", "content-encoding"),
    Protocol("application/proto", "accept-encoding", "content-encoding"),
    Protocol("application/proto", "accept-encoding", "content-encoding", 2),
    Protocol("application/grpc-web+proto", "grpc-accept-encoding", "grpc-encoding"),
    Protocol("application/grpc-web+json", "grpc-accept-encoding", "grpc-encoding"),
    Protocol("application/grpc", "grpc-accept-encoding", "grpc-encoding", 2),
]
STREAMS_OF_CONNECT = [
    Protocol(f"application/connect+{codec}", *names, 2)
    for codec in ("json", "proto")
    for names in [("connect-accept-encoding", "connect-content-encoding")]
]


def http_client(version: int) -> httpx.Client:
    """Return a client that speaks one version of HTTP, without TLS."""
    return httpx.Client(http1=version == 1, http2=version == 2, timeout=SECONDS)


def exchange(
    target: Server, protocol: Protocol, path: str, message: bytes, accepted: str
) -> tuple[bool, bytes]:
    """Send a compressed message; return whether the answer is compressed, and what it is."""
    content = gzip.compress(message)
    if protocol.has_envelopes:
        content = b"\1" + len(content).to_bytes(4, "big") + content
    headers = {
        "content-type": protocol.content_type,
        protocol.used: "gzip",
        protocol.accepted: accepted,
        "te": "trailers",
    }
    with (
        http_client(protocol.version) as client,
        client.stream("POST", target.url + path, content=content, headers=headers) as response,
    ):
        answer = b"".join(response.iter_raw())
    compressed = response.headers.get(protocol.used) == "gzip"
    if protocol.has_envelopes:
        assert answer[0] in {0, 1}
        assert answer[0] <= compressed
        compressed = answer[0] == 1
        answer = answer[5 : 5 + int.from_bytes(answer[1:5], "big")]
    return compressed, gzip.decompress(answer) if compressed else answer


def named(protocol: Protocol) -> str:
    """Return how the tests call a protocol."""
    return f"{protocol.content_type} over HTTP/{protocol.version}"


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=named)
@pytest.mark.parametrize(
    ("accepted", "size", "compressed"),
    [
        ("gzip", 2_000, True),
        ("br, gzip, identity", 2_000, True),
        ("gzip", 10, False),
        ("identity, deflate, gzip", 2_000, False),
        ("br", 2_000, False),
        ("", 2_000, False),
    ],
)
def test_gzip_both_ways(
    target: Server, protocol: Protocol, accepted: str, *, size: int, compressed: bool
) -> None:
    """What is sent may be compressed, and what comes back is if it is large and may be."""
    with target.json() as json_client:
        fields = {"name": str(uuid.uuid4()), "description": "x" * size}
        item = json_client.ok("AddItem", **fields)["item"]
    response = services_pb2.GetItemResponse()
    request = services_pb2.GetItemRequest(item_id=item["id"])

    found, answer = exchange(target, protocol, GET, encoded(protocol, request), accepted)

    decode(protocol, answer, response)
    assert response.item.description == fields["description"]
    assert found is compressed


def encoded(protocol: Protocol, message: Message) -> bytes:
    """Return a message as a protocol carries it."""
    if protocol.content_type.endswith("json"):
        return json_format.MessageToJson(message).encode()
    return message.SerializeToString()


def decode(protocol: Protocol, data: bytes, message: Message) -> None:
    """Read a message that a protocol carried."""
    if protocol.content_type.endswith("json"):
        json_format.Parse(data, message)
    else:
        message.ParseFromString(data)


@pytest.mark.parametrize("protocol", STREAMS_OF_CONNECT, ids=named)
@pytest.mark.parametrize(("accepted", "compressed"), [("gzip", True), ("", False)])
def test_gzip_both_ways_in_streams(
    target: Server, protocol: Protocol, accepted: str, *, compressed: bool
) -> None:
    """The same holds for the messages of Connect's streams."""
    response = ServerReflectionResponse()
    request = ServerReflectionRequest(file_containing_symbol="statusthing.v1.ItemsService")

    found, answer = exchange(target, protocol, REFLECTION, encoded(protocol, request), accepted)

    decode(protocol, answer, response)
    assert len(response.file_descriptor_response.file_descriptor_proto) > 1
    assert found is compressed


@pytest.mark.parametrize("content_type", ["application/connect+json", "application/connect+proto"])
def test_messages_both_ways_need_http2(target: Server, content_type: str) -> None:
    """Over HTTP/1.1 the answer begins when the request has ended, so such a stream is refused."""
    with http_client(1) as client:
        response = client.post(
            target.url + REFLECTION, content=bytes(5), headers={"content-type": content_type}
        )

    assert (response.status_code, response.json()["code"]) == (505, "unimplemented")


@pytest.mark.parametrize("version", [1, 2])
def test_a_message_without_its_compression(target: Server, version: int) -> None:
    """A message that says it is compressed, and does not say how, is a fault of the client."""
    headers = {"content-type": "application/grpc-web"}
    with http_client(version) as client:
        response = client.post(target.url + LIST, content=b"\1\0\0\0\1x", headers=headers)

    assert response.status_code == 200
    assert b"grpc-status: 13\r\n" in response.content


def test_members_of_gzip_are_one_message() -> None:
    """What is compressed in parts is read as a whole (RFC 1952, section 2.2)."""
    members = [b"{", b"", b'"kinds":[', b"1" * 5_000, b"]}"]

    found = Gzip().decompress(b"".join(map(gzip.compress, members)))

    assert found == b"".join(members)


@pytest.mark.parametrize(("size", "waits"), [(2**12, False), (2**20, True)])
def test_compressing_leaves_turns_to_others(*, size: int, waits: bool) -> None:
    """A large answer is compressed while other calls go on; a small one is not worth a thread."""
    data = bytes(size)

    async def use() -> tuple[bool, bytes]:
        compressing = asyncio.create_task(compress_aside(data))
        await asyncio.sleep(0)
        return compressing.done(), await compressing

    done, found = asyncio.run(use())

    assert done is not waits
    assert gzip.decompress(found) == data


if __name__ == "__main__":
    main(sys.argv[1])
