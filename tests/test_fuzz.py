"""Requests made up from the descriptors, as JSON over HTTP and in the binary encoding over gRPC.

Whatever is sent, the answer is a result, or an error that tells the caller what is wrong. What is
accepted is read back through the other protocol and has to be what was given; what that is, is for
protobuf's own parsers to say.

A new field is covered by its type. If only values of some form are valid, it needs a row in VALID,
or the test fails, because no request with that field was ever accepted.
"""

from __future__ import annotations

import json
import re
import string
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import permutations, product
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from statusthing.v1 import services_pb2 as pb

if TYPE_CHECKING:
    from tests.conftest import Server

T = TypeVar("T")

SECONDS = 10.0  # the bound of a call
MIXTURES = 40  # for each RPC, over each protocol

RPCS = {
    method.name: method
    for service in pb.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}

REFUSALS = {
    *("invalid_argument", "not_found", "already_exists", "aborted", "failed_precondition"),
    "resource_exhausted",
}
"""What an admin can get wrong."""

NO_ACCOUNT = "permission_denied"
"""What ChangePassword says to a token that belongs to no user, as the one that is sent here."""

Path = tuple[FieldDescriptor, ...]
"""A field of a request, or a field within it."""


def paths(descriptor: Descriptor, *parents: FieldDescriptor) -> Iterator[Path]:
    """Return every field of a message, and those within."""
    for field in descriptor.fields:
        yield (*parents, field)
        if field.message_type and field.message_type.file.package == "statusthing.v1":
            yield from paths(field.message_type, *parents, field)


# Valid requests

ITEM, STATUS, NOTE, USER, TOKEN, KEY = (
    name.ljust(36, "-") for name in ("item", "status", "note", "user", "token", "key")
)
"""Stand for the ids of records that are there, and for a new key; as long as what is sent."""

LINE = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=200
).filter(str.strip)
TEXT = LINE | st.lists(LINE, min_size=1, max_size=9).map("\r\n\t".join)

VALID: Mapping[str, st.SearchStrategy[Any]] = {
    "item_id": st.just(ITEM),
    "status_id": st.just(STATUS),
    "initial_status_id": st.sampled_from(["", STATUS]),
    "note_id": st.just(NOTE),
    "user_id": st.just(USER),
    "token_id": st.just(TOKEN),
    "password": LINE.map("correct horse ".__add__),
    "email_address": st.sampled_from(["ada@example.com", "\u00e9@b\u00fccher.example"]),
    "avatar_url": st.sampled_from(["https://example.com/ada.png", "http://[::1]:8080/\u00e9"]),
    "expires": st.builds(Timestamp, seconds=st.integers(2**32, 2**37)),
    "id": st.text(string.ascii_letters + string.digits + "._~-", min_size=1, max_size=64),
    "description": TEXT,
    "note_text": TEXT,
    "initial_note_text": TEXT,
    "color": st.sampled_from(["red", "RebeccaPurple", "#5dfc0a", "#ABC"]),
    "request_id": st.text(string.printable[:95], max_size=92).map(KEY.__add__),
    "expected_version": st.just(1),
    "page_size": st.sampled_from([1, 2, 1_000, 2**32 - 1]),
    "page_token": st.just(""),  # whatever token the server gives is sent back
}
"""By the name of the field; the others by their type."""

NOT_SETTABLE = {"update_mask", "expected_version"}


def valid_values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Draw what a field takes."""
    one = VALID[field.name] if field.name in VALID else valid_of_type(field)
    return st.lists(one, min_size=1, max_size=3) if field.is_repeated else one


def valid_of_type(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Draw what a field of this type takes, if it is not a special one."""
    if field.message_type is FieldMask.DESCRIPTOR:
        message = cast("Descriptor", field.containing_type)
        names = sorted({each.name for each in message.fields[1:]} - NOT_SETTABLE)
        some = st.lists(st.sampled_from(names), min_size=1, unique=True)
        return st.builds(FieldMask, paths=st.just(names) | some)
    if field.message_type is Timestamp.DESCRIPTOR:
        return st.builds(Timestamp, seconds=st.integers(0, 2**32), nanos=st.integers(0, 10**9 - 1))
    if field.message_type is not None:
        return valid_messages(field.message_type)
    if field.enum_type is not None:
        return st.sampled_from(range(1, len(field.enum_type.values)))
    return {
        field.TYPE_STRING: LINE,
        field.TYPE_BOOL: st.booleans(),
        field.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
        field.TYPE_UINT32: st.integers(0, 2**32 - 1),
    }[field.type]


def valid_messages(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    """Draw a message with all of its fields."""
    fields = {field.name: valid_values(field) for field in descriptor.fields}
    return st.builds(GetMessageClass(descriptor), **fields)


def without(message: Message, names: set[str]) -> Message:
    """Return a message that lacks some of its fields."""
    for name in names:
        message.ClearField(name)
    return message


# Hostile requests

TEXTS = [
    *("", " ", " a ", "\0", "a\0b", "\x85", "\u2028", "a\r\n\tb", "\ufeff", "e\u0301"),
    *("\ud800", "a\udfff\ud83d", "\u202eabc", "\u05e9\u05dc\u05d5\u05dd \u0645\u0631"),
    *("\U0010ffff" * 200, ITEM, STATUS),
    *("x" * 201, "x" * 2_001, "x" * 10_001, "x" * 2**20, "\u202e" * (2**20 // 3)),
    *("1", "STATUS_KIND_UP", "2026-01-01T00:00:00Z", "9999-12-31T23:59:60+23:59", "name,nope"),
]
"""Some are valid in some fields."""

VALUES = [
    *("null", "true", "[]", "{}", "[null]", '[{"":[]}]', '{"name":1}', '"a', '"\\ud800"', ""),
    *("0", "-0", "-1", "1.0", "0.5", "1E2", "1e-400", "1e400", "-1e400", "01", "+1", "9" * 5_000),
    *("2147483647", "2147483648", "-2147483649", "4294967296", "18446744073709551616"),
    *("NaN", "Infinity", "-Infinity", "[" * 10_000 + "]" * 10_000, '{"a":' * 10_000 + "}" * 10_000),
    *(json.dumps(text, ensure_ascii=False) for text in TEXTS),
]
"""As JSON, or what stands in its place."""

ANY_TEXT = st.text(st.characters(exclude_categories=[]))
ANY_VALUE = st.sampled_from(VALUES) | st.builds(
    json.dumps,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
        max_leaves=5,
    ),
    ensure_ascii=st.booleans(),
)


class Source(str):
    """A value as it stands in the JSON."""

    __slots__ = ()


def source(value: Any) -> str:
    """Write JSON, in which some values are written already."""
    if isinstance(value, Source):
        return value
    if isinstance(value, dict):
        return f"{{{','.join(f'{json.dumps(key)}:{source(value[key])}' for key in value)}}}"
    return json.dumps(value)


def with_value(message: Message, path: Path, value: str, *, proto_names: bool = False) -> bytes:
    """Write a message as JSON, with another value for one of its fields."""
    tree = json_format.MessageToDict(message)
    *parents, last = [field.name if proto_names else field.json_name for field in path]
    inner = tree
    for name in parents:
        inner = inner.setdefault(name, {})
    inner[last] = Source(value)
    return source(tree).encode("utf-8", "surrogatepass")


VARINT, I64, LEN, GROUP, END, I32 = range(6)
"""The wire types, https://protobuf.dev/programming-guides/encoding/#structure."""


def varint(number: int) -> bytes:
    """Write a whole number as protobuf does."""
    parts = [number >> shift & 127 for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(part | 128 for part in parts[:-1]), parts[-1]])


def delimited(data: bytes) -> bytes:
    """Write the length of data before it."""
    return varint(len(data)) + data


def tag(field: FieldDescriptor, wire_type: int) -> bytes:
    """Write what begins a field."""
    return varint(field.number << 3 | wire_type)


WIRE_TEXTS = ["\0", "\ud800", "\u202eabc", "x" * 10_001, "\u202e" * (2**20 // 3), ITEM, STATUS]

WIRE_VALUES = [
    *((VARINT, varint(number)) for number in (0, 1, 12, 2**31, 2**32, 2**63, 2**64 - 1)),
    *((VARINT, data) for data in (b"", b"\x80", b"\xff" * 11)),
    *((I64, bytes(size)) for size in (3, 8)),
    *((I32, bytes(size)) for size in (3, 4)),
    *((LEN, data) for data in (b"", b"\x05abc", varint(2**31) + b"x", varint(2**64 - 1))),
    *((LEN, delimited(text.encode("utf-8", "surrogatepass"))) for text in WIRE_TEXTS),
    *((LEN, delimited(data)) for data in (b"\xff", b"\xc0\x80", b"\x08", b"\x0a\x05a", bytes(9))),
    *((GROUP, b""), (END, b""), (GROUP, b"\x0b" * 10_000), (6, b""), (7, b"")),
]
"""Each with its wire type."""

ANY_WIRE_VALUE = st.sampled_from(WIRE_VALUES) | st.tuples(
    st.integers(0, 7), st.binary(max_size=40) | st.binary(max_size=40).map(delimited)
)


def with_wire_value(message: Message, path: Path, value: tuple[int, bytes]) -> bytes:
    """Write a message, and at its end another value for one of its fields, which then counts."""
    wire_type, data = value
    data = tag(path[-1], wire_type) + data
    for parent in reversed(path[:-1]):
        data = tag(parent, LEN) + delimited(data)
    return message.SerializeToString() + data


# The protocols


@dataclass(frozen=True)
class Encoding:
    """A protocol, as far as a request and its answer are concerned.

    Attributes:
        call: sends a body to an RPC; returns "ok" or the code of the error, and the answer.
        read: reads a body by protobuf's own parser.
        write: writes a body.
        hostile: writes a message with one of the `values` in the place of one of its fields.
        values: what it can be.
        any_value: draws these and others.
    """

    call: Callable[[str, bytes], tuple[str, bytes]]
    read: Callable[[bytes, type[Message]], Message]
    write: Callable[[Message], bytes]
    hostile: Callable[[Message, Path, Any], bytes]
    values: list[Any]
    any_value: st.SearchStrategy[Any]


def path_of(rpc: str) -> str:
    """Return the path of an RPC."""
    return f"/{RPCS[rpc].containing_service.full_name}/{rpc}"


def json_over(connection: HTTPConnection, credentials: Mapping[str, str]) -> Encoding:
    """JSON in HTTP/1.1."""
    headers = {"content-type": "application/json", **credentials}

    def call(rpc: str, body: bytes) -> tuple[str, bytes]:
        connection.request("POST", path_of(rpc), body, headers)
        response = connection.getresponse()
        data = response.read()
        assert response.headers["content-type"] == "application/json"
        if response.status == 200:
            return "ok", data
        error = json.loads(data)
        assert 400 <= response.status < 500, error
        assert error["message"]
        return error["code"], b""

    return Encoding(
        call,
        lambda data, kind: json_format.Parse(data, kind()),
        lambda message: json_format.MessageToJson(message, ensure_ascii=False).encode(),
        with_value,
        VALUES,
        ANY_VALUE,
    )


def binary_over(channel: grpc.Channel, metadata: tuple[tuple[str, str], ...]) -> Encoding:
    """The binary encoding in gRPC."""

    def call(rpc: str, body: bytes) -> tuple[str, bytes]:
        method = channel.unary_unary(path_of(rpc), bytes, bytes)
        try:
            return "ok", method(body, timeout=SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            code, text = error.code(), error.details()
        assert text
        return code.name.lower(), b""

    return Encoding(
        call,
        lambda data, kind: kind.FromString(data),
        lambda message: message.SerializeToString(),
        with_wire_value,
        WIRE_VALUES,
        ANY_WIRE_VALUE,
    )


# What has to hold

SHOWN: Mapping[tuple[str, str], Callable[[Any], Any]] = {
    ("Item", "status_id"): lambda item: item.status.id,
    ("Item", "initial_status_id"): lambda item: item.status.id,
    ("Item", "initial_note_text"): lambda item: item.notes[0].text,
    ("Note", "note_text"): lambda note: note.text,
}
"""Where a record shows what a request field of another name has set."""

SECRET = {"password", "secret"}
"""The fields of a request, or of the first answer to one, that nothing shows afterwards."""


def shown(record: Message, name: str, otherwise: Any = None) -> Any:
    """Return what a record shows of a request field, if it shows it."""
    if name in SECRET:
        assert not getattr(record, name, "")
        return otherwise
    show = SHOWN.get((record.DESCRIPTOR.name, name))
    return show(record) if show else getattr(record, name, otherwise)


def given_paths(message: Message, *parents: str) -> Iterator[tuple[str, ...]]:
    """Return the names of the fields that are set, and of those within."""
    for field, value in message.ListFields():
        yield (*parents, field.name)
        if field.message_type and not field.is_repeated:
            yield from given_paths(value, *parents, field.name)


class Fuzz:
    """Sends requests to one RPC, and checks what they come to.

    Attributes:
        accepted: the fields with which requests were accepted.
    """

    def __init__(self, rpc: str) -> None:
        self.rpc = rpc
        self.verb, self.kind, *_ = re.findall("[A-Z][a-z]*", rpc)
        self.accepted: set[tuple[str, ...]] = set()
        self.answers: dict[str, Any] = {}
        self.items: list[Any] = []  # made for the requests, the first of them to be changed
        self.user = pb.GetUserResponse().user  # made for them too, and so is the token
        self.token = pb.AddTokenResponse().token

    def call(self, encoding: Encoding, rpc: str, request: Message) -> tuple[str, Any]:
        """Make a call, and return its code and its answer."""
        code, data = encoding.call(rpc, encoding.write(request))
        kind = GetMessageClass(RPCS[rpc].output_type)
        return code, encoding.read(data, kind) if code == "ok" else None

    def ok(self, encoding: Encoding, rpc: str, **fields: Any) -> Any:
        """Make a call that has to succeed."""
        request = GetMessageClass(RPCS[rpc].input_type)(**fields)
        code, answer = self.call(encoding, rpc, request)
        assert code == "ok", (rpc, request, code)
        return answer

    def make(self, encoding: Encoding) -> None:
        """Make items with notes and a status; several where they are to be listed."""
        name = uuid.uuid4().hex
        new = {"initial_status": {"name": name, "kind": 1}, "initial_note_text": "first note"}
        item = self.ok(encoding, "AddItem", name=name, **new).item
        self.items = [item]
        if self.verb == "List":
            self.ok(encoding, "AddNote", item_id=item.id, note_text="second note")
            other = {"name": f"{name} too", "initial_status_id": item.status.id}
            self.items.append(self.ok(encoding, "AddItem", **other).item)
        if self.rpc == "DeleteStatus":
            self.ok(encoding, "DeleteItem", item_id=item.id)
        if self.is_about_accounts:
            if not self.user.id:  # once, so that the last admin is never one of those that are made
                admin = {"username": f"{name}'s boss", "password": f"of {name}'s boss"}
                self.ok(encoding, "AddUser", role="ROLE_ADMIN", **admin)
            new = {"username": name, "password": f"of {name}", "role": "ROLE_VIEWER"}
            self.user = self.ok(encoding, "AddUser", **new).user
            self.token = self.ok(encoding, "AddToken", name=name, role="ROLE_VIEWER").token

    @property
    def is_about_accounts(self) -> bool:
        """Whether requests are about a user or a token."""
        return self.kind in {"User", "Users", "Token", "Tokens"}

    def forget(self, encoding: Encoding) -> None:
        """Delete what was made, unless a request has."""
        for item in self.items:
            self.call(encoding, "DeleteItem", pb.DeleteItemRequest(item_id=item.id))
        for item in self.items[:1]:
            status = pb.DeleteStatusRequest(status_id=item.status.id)
            self.call(encoding, "DeleteStatus", status)
        if self.items and self.is_about_accounts:
            self.call(encoding, "DeleteUser", pb.DeleteUserRequest(user_id=self.user.id))
            self.call(encoding, "RevokeToken", pb.RevokeTokenRequest(token_id=self.token.id))
        self.items = []

    def send(self, sender: Encoding, reader: Encoding, body: bytes) -> None:
        """Send a request, and see through the other protocol what it came to."""
        if not self.items:
            self.make(reader)
        item = self.items[0]
        ids = {ITEM: item.id, STATUS: item.status.id, NOTE: item.notes[0].id, KEY: uuid.uuid4()}
        ids |= {USER: self.user.id, TOKEN: self.token.id}
        for placeholder, id in ids.items():
            # Of no others than accounts there is none, and an empty id would be another request.
            body = body.replace(placeholder.encode(), str(id or placeholder).encode())
        code, data = sender.call(self.rpc, body)
        if code != "ok":
            refusals = REFUSALS | ({NO_ACCOUNT} if self.rpc == "ChangePassword" else set())
            assert code in refusals, body[:1_000]
            return
        method = RPCS[self.rpc]
        request: Any = sender.read(body, GetMessageClass(method.input_type))
        answer: Any = sender.read(data, GetMessageClass(method.output_type))
        self.accepted.update(given_paths(request))
        check = {
            "Get": self.was_read,
            "List": self.was_read,
            "Who": self.was_read,
            "Add": self.was_added,
            "Update": self.was_updated,
            "Delete": self.was_deleted,
            "Revoke": self.was_deleted,
        }
        check[self.verb](reader, request, answer)
        if self.verb in {"Update", "Delete", "Revoke"}:
            self.forget(reader)

    def get(self, encoding: Encoding, id: str) -> Any:
        """Return the record with that id; None if there is none."""
        if self.kind == "Token":
            tokens = self.ok(encoding, "ListTokens").tokens
            return next((token for token in tokens if token.id == id), None)
        rpc = f"Get{self.kind}"
        request = GetMessageClass(RPCS[rpc].input_type)(**{f"{self.kind.lower()}_id": id})
        code, answer = self.call(encoding, rpc, request)
        assert code in {"ok", "not_found"}
        return answer and getattr(answer, self.kind.lower())

    def was_read(self, reader: Encoding, request: Any, answer: Any) -> None:
        """The other protocol gives the same answer, and takes the token for what follows it."""
        code, other = self.call(reader, self.rpc, request)
        for token in [*getattr(answer, "tokens", ()), *getattr(other, "tokens", ())]:
            token.ClearField("last_used")  # which the calls themselves move
        assert (code, other) == ("ok", answer)
        if token := getattr(answer, "next_page_token", ""):
            request.page_token = token
            code, following = self.call(reader, self.rpc, request)
            assert code == "ok"
            assert following != answer
            self.accepted.add(("page_token",))

    def was_added(self, reader: Encoding, request: Any, answer: Any) -> None:
        """The record is what the answer says, and shows what the request gave."""
        first = self.answers.setdefault(request.request_id or str(uuid.uuid4()), answer)
        if first is not answer:  # repeated with its key
            for name in SECRET & {field.name for field, _ in first.ListFields()}:
                first.ClearField(name)
            assert first == answer
            return
        record = getattr(answer, self.kind.lower())
        assert self.get(reader, record.id) == record
        for field, value in request.ListFields():
            if field.message_type is None:
                assert shown(record, field.name, value) == value
        made = self.items[0].status
        if self.kind == "Item" and request.HasField("initial_status"):
            wanted = request.initial_status
            if request.initial_status_id or wanted.id == made.id:
                assert record.status == made
            else:
                ignored = {"timestamps", "version"}
                for field, value in wanted.ListFields():
                    assert field.name in ignored or getattr(record.status, field.name) == value
        added = [(self.kind, record.id)]
        if self.kind == "Item" and record.status.id not in {"", made.id}:
            added.append(("Status", record.status.id))
        for kind, id in added:
            verb = "Revoke" if kind == "Token" else "Delete"
            self.ok(reader, f"{verb}{kind}", **{f"{kind.lower()}_id": id})

    def was_updated(self, reader: Encoding, request: Any, answer: Any) -> None:
        """The fields that are named, or else given, are what they were set to, and no others."""
        item = self.items[0]
        before = {
            "Item": item,
            "Status": item.status,
            "Note": item.notes[0],
            "User": self.user,
        }[self.kind]
        after = self.get(reader, before.id)
        named = set(request.update_mask.paths) or {field.name for field, _ in request.ListFields()}
        for name in (field.name for field in request.DESCRIPTOR.fields):
            value = getattr(request, name) if name in named else shown(before, name)
            if name == "color":
                value = value or "#5DFC0A"
            assert shown(after, name, value) == value

    def was_deleted(self, reader: Encoding, request: Any, answer: Any) -> None:
        """The record is gone."""
        assert self.get(reader, getattr(request, f"{self.kind.lower()}_id")) is None


def bodies(encoding: Encoding, descriptor: Descriptor) -> st.SearchStrategy[bytes]:
    """Draw valid requests, those with a hostile value in one field, and others."""
    fields = [field.name for field in descriptor.fields]
    some = st.sets(st.sampled_from(fields), max_size=2) if fields else st.just(set[str]())
    messages = st.builds(without, valid_messages(descriptor), some)
    valid = messages.map(encoding.write)
    field = st.sampled_from(list(paths(descriptor))) if fields else st.nothing()
    return st.one_of(
        valid,
        st.builds(encoding.hostile, messages, field, encoding.any_value),
        st.builds(lambda body, size: body[:size], valid, st.integers(0, 200)),
        st.binary(max_size=100),
    )


def simplest(strategy: st.SearchStrategy[T]) -> T:
    """Return what Hypothesis tries first."""
    drawn: list[T] = []

    @settings(max_examples=1, phases=[Phase.generate], derandomize=True)
    @given(strategy)
    def draw(value: T) -> None:
        drawn.append(value)

    draw()
    return drawn[0]


def send_all(fuzz: Fuzz, sender: Encoding, reader: Encoding) -> None:
    """Send every hostile value in each of the fields, and mixtures of valid and hostile ones.

    Requests with each of the fields have to be accepted, or the rest of the test is worth nothing.
    """
    descriptor = RPCS[fuzz.rpc].input_type

    @settings(max_examples=MIXTURES, deadline=None, derandomize=True)
    @given(bodies(sender, descriptor))
    def mixture(body: bytes) -> None:
        fuzz.send(sender, reader, body)

    complete = simplest(valid_messages(descriptor))
    for path, value in product(paths(descriptor), sender.values):
        fuzz.send(sender, reader, sender.hostile(complete, path, value))
    mixture()
    fuzz.forget(reader)
    if fuzz.rpc == "ChangePassword":  # which needs a user's own token
        assert not fuzz.accepted
        return
    assert fuzz.accepted >= {tuple(field.name for field in path) for path in paths(descriptor)}
    fuzz.accepted.clear()


@pytest.mark.parametrize("rpc", RPCS)
def test_whatever_is_sent_is_answered(careless: Server, rpc: str) -> None:
    """What is accepted is kept as it is, and what is refused is the fault of the caller."""
    server = careless
    logged = server.log.stat().st_size
    connection = HTTPConnection(server.address, timeout=SECONDS)
    with closing(connection), grpc.insecure_channel(server.address) as channel:
        fuzz = Fuzz(rpc)
        encodings = (
            json_over(connection, server.credentials),
            binary_over(channel, server.metadata),
        )
        for sender, reader in permutations(encodings):
            send_all(fuzz, sender, reader)

    assert b"Traceback" not in server.log.read_bytes()[logged:]
