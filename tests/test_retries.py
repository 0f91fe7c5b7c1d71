"""An Add that is sent again with its key, because its answer was lost, has one effect.

Between client and server stands a proxy that waits for the answer and then cuts the connection: the
write is done, and its client cannot know.
"""

from __future__ import annotations

import dataclasses
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

import httpx
import pytest
from google.protobuf.json_format import ParseDict
from hyperframe.frame import Frame, HeadersFrame

from statusthing.v1 import services_pb2 as pb

if TYPE_CHECKING:
    from tests.conftest import Client, Server

SECONDS = 10.0  # the bound of everything that is waited for
RETRIES = 200
KEYS = 50
CALLERS = 4  # of each protocol

PROTOCOLS = ("json", "grpc")


class Proxy(socketserver.ThreadingTCPServer):
    """Passes on what clients send, and nothing of an answer.

    Attributes:
        cut: how many answers were lost.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.port = port
        self.cut = 0


class Connection(socketserver.BaseRequestHandler):
    """A connection, until the first answer."""

    server: Proxy
    request: socket.socket

    def handle(self) -> None:
        """Pass on both ways until an answer begins."""
        upstream = socket.create_connection(("127.0.0.1", self.server.port), SECONDS)
        with upstream, upstream.makefile("rb") as answers:
            sending = threading.Thread(target=pass_on, args=(self.request, upstream))
            sending.start()
            self.server.cut += self.answer_begins(answers)
            self.request.shutdown(socket.SHUT_RDWR)
            sending.join()

    def answer_begins(self, answers: BinaryIO) -> bool:
        """Wait for an answer, and pass on what comes before it; false if there is none."""
        while head := answers.read(9):
            if head == b"HTTP/1.1 ":  # as long as the head of an HTTP/2 frame
                return True
            frame, length = Frame.parse_frame_header(memoryview(head))
            if isinstance(frame, HeadersFrame):
                return True
            self.request.sendall(head + answers.read(length))
        return False


def pass_on(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes from one side until it ends."""
    with suppress(OSError):
        while data := source.recv(2**16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def server(serve: Callable[..., AbstractContextManager[Server]]) -> Iterator[Server]:
    """A server with an empty file."""
    with serve() as running:
        yield running


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A proxy before the server."""
    with Proxy(int(server.address.rpartition(":")[2])) as proxy:
        serving = threading.Thread(target=proxy.serve_forever)
        serving.start()
        yield proxy
        proxy.shutdown()
        serving.join()


@pytest.fixture
def proxied(server: Server, proxy: Proxy) -> Server:
    """The server as it is seen through the proxy."""
    host, port = proxy.server_address[:2]
    return dataclasses.replace(server, url=f"http://{host!s}:{port}")


def lose(client: Client, proxy: Proxy, request: dict[str, str]) -> None:
    """Add a note through the proxy."""
    before = proxy.cut
    with suppress(httpx.TransportError):
        assert client.call("AddNote", **request).code == "unavailable"
    assert proxy.cut == before + 1


def new_item(client: Client) -> str:
    """Add an item without notes, and return its id."""
    return str(client.ok("AddItem", name="item")["item"]["id"])


def add_note(item_id: str, number: int) -> dict[str, str]:
    """Return a request to add a note, with a key."""
    return {"item_id": item_id, "note_text": f"note {number}", "request_id": f"key {number}"}


def note(answer: dict[str, Any]) -> pb.AddNoteResponse:
    """Return an answer as a message, in which equal times are equal."""
    return ParseDict(answer, pb.AddNoteResponse())


def texts(client: Client, item_id: str) -> list[str]:
    """Return the text of each note of an item."""
    return [each["text"] for each in client.ok("ListNotes", item_id=item_id)["notes"]]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_lost_answer_is_given_again(
    server: Server, proxied: Server, proxy: Proxy, protocol: str
) -> None:
    """The first attempt was done, and its repeat gets the answer and writes nothing.

    No call is left behind: each has its line in the log once it is over.
    """
    with getattr(server, protocol)() as client, getattr(proxied, protocol)() as losing:
        item_id = new_item(client)
        for number in range(RETRIES):
            request = add_note(item_id, number)
            lose(losing, proxy, request)
            found = client.call("GetItem", item_id=item_id)
            again = client.call("AddNote", **request)

            assert again.body["note"] == found.body["item"]["notes"][-1]
            assert again.body["note"]["text"] == request["note_text"]
            assert again.revision == found.revision

        assert texts(client, item_id) == [f"note {number}" for number in range(RETRIES)]

    end = time.monotonic() + SECONDS
    while server.log.read_text().count("NotesService/AddNote") < 2 * RETRIES:
        assert time.monotonic() < end


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "new"])
def test_repeats_at_once_have_one_effect(
    server: Server, proxied: Server, proxy: Proxy, *, lost: bool
) -> None:
    """Everybody gets the one answer, whether or not an attempt was made before."""
    with ExitStack() as stack, ThreadPoolExecutor(CALLERS * len(PROTOCOLS)) as pool:
        losing = stack.enter_context(proxied.json())
        clients: list[Client] = [
            stack.enter_context(getattr(server, protocol)())
            for protocol in PROTOCOLS
            for _ in range(CALLERS)
        ]
        item_id = new_item(clients[0])
        for number in range(KEYS):
            request = add_note(item_id, number)
            if lost:
                lose(losing, proxy, request)
            started = [pool.submit(client.ok, "AddNote", **request) for client in clients]
            answers = [each.result() for each in started]
            stored = clients[0].ok("GetNote", note_id=answers[0]["note"]["id"])

            assert all(note(answer) == note(stored) for answer in answers)

        assert texts(clients[0], item_id) == [f"note {number}" for number in range(KEYS)]
