"""Thousands of gRPC calls on one channel: each is answered, and each answered write is kept once.

The channel has to keep its first connection, or a client would lose the calls in flight on it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from statusthing.v1 import services_pb2 as pb

if TYPE_CHECKING:
    from tests.conftest import Client, Server

CALLS = 5_000
ROUNDS = 25
SECONDS = 60.0  # the bound of a call, which waits for those before it
OVERSIZE = bytes(5 * 2**20)
Metadata = tuple[tuple[str, str], ...]
STRANGER: Metadata = (("authorization", "Bearer nobody"),)

SERVICE = "/statusthing.v1.NotesService"


class Calls:
    """Calls on one channel, about the notes of one item."""

    def __init__(self, channel: grpc.Channel, item_id: str, credentials: Metadata) -> None:
        self.channel = channel
        self.credentials = credentials
        self.item_id = item_id
        self.add_note = channel.unary_unary(
            f"{SERVICE}/AddNote", pb.AddNoteRequest.SerializeToString, pb.AddNoteResponse.FromString
        )
        self.get_note = channel.unary_unary(
            f"{SERVICE}/GetNote", pb.GetNoteRequest.SerializeToString, pb.GetNoteResponse.FromString
        )
        self.add_note_in_parts = channel.stream_unary(f"{SERVICE}/AddNote", bytes, bytes)

    def note(self, text: str) -> pb.AddNoteRequest:
        """Return the request to add a note."""
        return pb.AddNoteRequest(item_id=self.item_id, note_text=text)

    def add(self, text: str, **options: Any) -> Any:
        """Start to add a note."""
        options = {"metadata": self.credentials, **options}
        return self.add_note.future(self.note(text), timeout=SECONDS, **options)

    def get(self, id: str) -> Any:
        """Start to get a note."""
        return self.get_note.future(pb.GetNoteRequest(note_id=id), timeout=SECONDS)

    def unknown(self) -> Any:
        """Start a call of an RPC that there is not."""
        return self.channel.unary_unary(f"{SERVICE}/Nope", bytes, bytes).future(
            b"", timeout=SECONDS
        )

    def send(self, messages: Iterator[bytes], **options: Any) -> Any:
        """Start to add a note whose messages are sent as they come."""
        options = {"metadata": self.credentials, **options}
        return self.add_note_in_parts.future(messages, timeout=SECONDS, **options)


@pytest.fixture
def server(serve: Callable[..., AbstractContextManager[Server]]) -> Iterator[Server]:
    """A server with an empty file."""
    with serve() as running:
        yield running


@pytest.fixture
def json(server: Server) -> Iterator[Client]:
    """A client with a connection of its own, to see what is stored."""
    with server.json() as client:
        yield client


@pytest.fixture
def calls(server: Server, json: Client) -> Iterator[Calls]:
    """Calls on one channel, which must not lose its connection."""
    states: list[grpc.ChannelConnectivity] = []
    options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(server.address, options=options) as channel:
        channel.subscribe(states.append)
        yield Calls(channel, json.ok("AddItem", name="busy")["item"]["id"], server.metadata)

    assert states.count(grpc.ChannelConnectivity.READY) == 1


def revision(call: Any) -> int:
    """Return the revision that an answer carries."""
    return int(dict(call.initial_metadata())["statusthing-revision"])


def acknowledged(adding: list[Any]) -> list[tuple[str, str]]:
    """Return the id and the text of each note that was answered, in the order of the writes."""
    notes = [call.result().note for call in sorted(adding, key=revision)]
    return [(note.id, note.text) for note in notes]


def stored(json: Client, calls: Calls) -> list[tuple[str, str]]:
    """Return the same of each note that is stored."""
    notes = json.ok("ListNotes", item_id=calls.item_id)["notes"]
    return [(note["id"], note["text"]) for note in notes]


def without_gaps(numbers: list[int]) -> bool:
    """Whether numbers follow each other, each of them once."""
    return sorted(numbers) == [*range(min(numbers), min(numbers) + len(numbers))]


def test_five_thousand_calls_one_after_another(calls: Calls, json: Client) -> None:
    """Each read sees the write before it, and what was acknowledged is stored."""
    adding = []
    for number in range(CALLS // 5):
        writing = calls.add(f"note {number}")
        adding.append(writing)
        for _ in range(4):
            reading = calls.get(writing.result().note.id)
            assert reading.result().note == writing.result().note
            assert revision(reading) == revision(writing)

    assert without_gaps([revision(call) for call in adding])
    assert stored(json, calls) == acknowledged(adding)


def test_five_thousand_calls_at_once(calls: Calls, json: Client) -> None:
    """Every call is answered, and what was acknowledged is stored, in the order acknowledged."""
    known = calls.add("known").result().note
    started = [(calls.add(f"note {number}"), calls.get(known.id)) for number in range(CALLS // 2)]
    adding, getting = map(list, zip(*started, strict=True))

    assert all(call.result().note == known for call in getting)
    assert without_gaps([revision(call) for call in adding])
    assert stored(json, calls)[1:] == acknowledged(adding)
    assert {text for _, text in acknowledged(adding)} == {f"note {n}" for n in range(CALLS // 2)}


def test_calls_that_fail_leave_their_neighbours_alone(calls: Calls, json: Client) -> None:
    """Among calls that fail in every way, each good call is answered, and done once."""
    over = threading.Event()

    def held(*messages: bytes) -> Iterator[bytes]:
        yield from messages
        over.wait(SECONDS)

    note = calls.note("of a call that fails").SerializeToString()
    code = grpc.StatusCode
    failing: list[tuple[grpc.StatusCode, Callable[[], Any]]] = [
        (code.UNIMPLEMENTED, calls.unknown),
        (code.UNIMPLEMENTED, lambda: calls.send(iter(()))),
        (code.UNIMPLEMENTED, lambda: calls.send(iter((note, note)))),
        (code.INVALID_ARGUMENT, lambda: calls.add(" ")),
        (code.INVALID_ARGUMENT, lambda: calls.send(iter((b"\xff",)))),
        (code.UNAUTHENTICATED, lambda: calls.add("of a stranger", metadata=STRANGER)),
        (code.UNAUTHENTICATED, lambda: calls.add("of nobody", metadata=())),
        (code.UNAUTHENTICATED, lambda: calls.send(held(), metadata=STRANGER)),
        (code.UNAUTHENTICATED, lambda: calls.send(held(note), metadata=STRANGER)),
        (code.RESOURCE_EXHAUSTED, lambda: calls.send(iter((OVERSIZE,)))),
        (code.CANCELLED, lambda: calls.send(held())),
        (code.CANCELLED, lambda: calls.send(held(note))),
        (code.CANCELLED, lambda: calls.add("cancelled")),
    ]
    failed: list[Any] = []
    adding: list[Any] = []
    for _ in range(ROUNDS):
        for expected, start in failing:
            failed.append(start())
            adding.append(calls.add(f"note {len(adding)}"))
            if expected is code.CANCELLED:
                failed[-1].cancel()
    try:
        kept = acknowledged(adding)
        codes = [call.code() for call in failed]
    finally:
        over.set()

    assert codes == [expected for expected, _ in failing] * ROUNDS
    others = stored(json, calls)
    for each in kept:
        others.remove(each)
    assert {text for _, text in kept} == {f"note {n}" for n in range(len(adding))}
    assert {text for _, text in others} <= {"cancelled"}  # some were done before they were
    assert len(others) <= ROUNDS
