"""With private access, strangers learn nothing: what is stored is in no part of any answer."""

from __future__ import annotations

import base64
import enum
import gzip
import json
import re
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from connectrpc.method import IdempotencyLevel
from google.protobuf.json_format import Parse
from tests.accounts import awaited, counted
from tests.conftest import METHODS, SECONDS, Server, path_of, request_of
from tests.sites import HTML, SAME, Answer, Site, ask, site
from tests.test_matrix import running_routes, running_rpcs

from statusthing.log import Action, Change
from statusthing.model import (
    RECORDS,
    FailedSignIn,
    Item,
    KeptAnswer,
    Note,
    Record,
    Role,
    Session,
    Settings,
    SetupLink,
    Status,
    StatusKind,
    Throttle,
    Token,
    TokenUse,
    User,
)
from statusthing.store import Transaction

YEAR = 4217
"""Of all instants that are stored: in no other way a part of an answer."""

NUMBER = 42_170_042
"""In all numbers that are stored, and a revision that no answer gets to by chance."""

TIME = datetime(YEAR, 4, 2, 17, tzinfo=UTC)

_OF_ITS_OWN = {
    (Status, "color"): "#4217c0",
    (Status, "kind"): StatusKind.DECOMM,
    (User, "role"): Role.EDITOR,
    (Token, "role"): Role.EDITOR,
    (User, "disabled"): False,
    (User, "development"): False,
    (Item, "status_id"): "canary-Status-id",
    (Note, "item_id"): "canary-Item-id",
    (Token, "user_id"): "canary-User-id",
    (Settings, "id"): "settings",
    (Settings, "accent_color"): "#4217c1",
    (Settings, "logo_url"): "/canary-Settings-logo_url",
    (Settings, "links"): "canary-Settings-links https://canary.test/Settings-links",
}


def canary(kind: type[Record]) -> Record:
    """Make a record with a text of its own in every field that takes one."""
    values: dict[str, Any] = {}
    for field in kind.__struct_fields__:
        if (kind, field) in _OF_ITS_OWN:
            values[field] = _OF_ITS_OWN[kind, field]
        elif field in {"created", "updated", "expires", "last_login"}:
            values[field] = TIME + timedelta(days=field == "expires")
        elif field in {"version", "position", "failures"}:
            values[field] = NUMBER
        else:
            values[field] = f"canary-{kind.__name__}-{field}"
    return kind(**values)


CANARIES = [
    canary(kind)
    for kind in (
        *(Status, Item, Note, Settings, User, Token),
        *(Session, TokenUse, SetupLink, Throttle, FailedSignIn, KeptAnswer),
    )
]


def texts() -> Iterator[bytes]:
    """Return what may be in no answer."""
    yield from (b"canary", b"Canary", b"CANARY", b"#4217c", b"4217c0", b"4217c1")
    yield from (str(YEAR).encode(), str(NUMBER).encode(), b"DECOMM", b"decomm")
    # Numbers as protobuf writes them, and instants, which it writes in seconds.
    yield from (_varint(NUMBER), _varint(int(TIME.timestamp())))


def _varint(number: int) -> bytes:
    parts = []
    while True:
        number, low = number >> 7, number & 0x7F
        parts.append(low | (0x80 if number else 0))
        if not number:
            return bytes(parts)


@asynccontextmanager
async def stocked(mode: str) -> AsyncIterator[Site]:
    """Open an application over a store that has a canary in every field."""
    async with site(access=mode) as here:

        def work(tx: Transaction) -> None:
            for seq, record in enumerate(CANARIES):
                tx.add(record)
                if RECORDS[type(record)].logged:
                    tx.append(
                        Change(
                            revision=tx.revision,
                            seq=seq,
                            at=TIME,
                            actor="canary-actor",
                            action=Action.ADDED,
                            kind=type(record).__name__,
                            subject=record.id,
                            before=None,
                            after={"id": "canary-after"},
                            public=RECORDS[type(record)].public,
                            address="canary-address",
                            correlation_id="canary-correlation",
                        )
                    )

        here.clock.now = TIME
        await here.st.store.write(work, now=TIME)
        yield here


def found_in(answer: Answer) -> list[bytes]:
    """Return the canaries in an answer, compressed or encoded as it may be."""
    head = repr((answer.status, answer.headers)).encode()
    parts = [head, answer.body]
    if answer.all("content-encoding") == ["gzip"]:
        parts.append(gzip.decompress(answer.body))
    if answer.body.startswith(b"{"):
        details = json.loads(answer.body).get("details", ())
        parts += [base64.b64decode(detail["value"] + "==") for detail in details]
    for name, value in answer.headers:
        if name.endswith("-bin"):
            parts.append(base64.b64decode(value + "=="))
    return [text for text in texts() if any(text in part for part in parts)]


Sent = tuple[str, str, dict[str, str], bytes]
"""Method, target, headers and body."""


def requests(here: Site) -> Iterator[Sent]:
    """Return all that a stranger may send."""
    yield from _of_routes(here)
    yield from _of_rpcs(here)
    yield "GET", "/canary", {}, b""
    yield "GET", "/canary", dict(HTML), b""
    yield "POST", "/statusthing.v1.ItemsService/canary", {"content-type": "application/json"}, b"{}"


def _of_routes(here: Site) -> Iterator[Sent]:
    for route in sorted({route.partition(" ")[2] for route in running_routes(here.app)}):
        for id in ("canary-Item-id", "canary-Status-id", "nothing"):
            path = route.format(id=id, name="nothing")
            queries = ("", "?q=ca", "?kind=decomm", "?before=canary-Note-id", "?token=x&next=/")
            for query in queries:
                for method in ("GET", "HEAD", "OPTIONS", "PUT"):
                    for headers in ({}, HTML, {"if-none-match": "*"}):
                        yield method, path + query, dict(headers), b""
            form = {"content-type": "application/x-www-form-urlencoded", **SAME}
            yield "POST", path, form, b"username=canary-User-username&password=x&token=y"


def _of_rpcs(here: Site) -> Iterator[Sent]:
    for path, method in running_rpcs(here.app).items():
        message = _message(path)
        if path.endswith("/Watch"):
            continue  # its answer goes on; what it says is whether there is a server
        target = f"/{path}"
        yield "POST", target, {"content-type": "application/json"}, message
        packed = _packed(path, message)
        yield "POST", target, {"content-type": "application/proto"}, packed
        for form, body in (("json", message), ("proto", packed)):
            envelope = struct.pack(">BI", 0, len(body)) + body
            yield "POST", target, {"content-type": f"application/grpc-web+{form}"}, envelope
        yield "OPTIONS", target, {"origin": "https://evil.test"}, b""
        yield "HEAD", target, {}, b""
        if method.idempotency_level is IdempotencyLevel.NO_SIDE_EFFECTS:
            query = f"?connect=v1&encoding=json&message={message.decode()}"
            for headers in ({}, {"if-none-match": "*"}, {"origin": "https://evil.test"}):
                yield "GET", target + query, dict(headers), b""


def _message(path: str) -> bytes:
    """Return a message that names what is there."""
    name = path.rpartition("/")[2]
    if name not in METHODS:
        return b"{}"
    fields = {}
    for field in request_of(name).DESCRIPTOR.fields:
        if field.name.endswith("_id") and field.name != "request_id":
            kind = field.name.removesuffix("_id").title()
            fields[field.name] = f"canary-{kind}-id"
        elif field.name == "extended":
            fields[field.name] = True  # type: ignore[assignment]
    return json.dumps(fields, separators=(",", ":")).encode()


def _packed(path: str, message: bytes) -> bytes:
    """Return a message in protobuf's own format."""
    name = path.rpartition("/")[2]
    return Parse(message, request_of(name)).SerializeToString() if name in METHODS else b""


def shown(answer: Answer, sent: Sent) -> list[bytes]:
    """Return the canaries that a stranger did not say themselves."""
    said = re.findall(r"[\w-]*(?:canary|decomm)[\w-]*", sent[1] + sent[3].decode("latin-1"))
    headers, body = answer.headers, answer.body
    for word in said:
        headers = [(name, value.replace(word, "")) for name, value in headers]
        body = body.replace(word.encode("latin-1"), b"")
    return found_in(Answer(answer.status, headers, body))


@awaited
async def test_every_kind_of_record_is_there() -> None:
    """A new kind, or a new field of one, has to have its canary too."""
    assert {type(record) for record in CANARIES} == set(RECORDS)
    for record in CANARIES:
        for field in record.__struct_fields__:
            value = getattr(record, field)
            assert (
                isinstance(value, (datetime, bool, enum.Enum))
                or value == NUMBER
                or "canary" in str(value)
                or "4217c" in str(value)
                or (type(record), field) == (Settings, "id")
            ), (type(record), field)


@awaited
async def test_strangers_see_no_canary() -> None:
    """In no status, header or body, of no route and no RPC, in whatever way they ask."""
    async with stocked("private") as here:
        count = 0
        with counted(instant=True):
            for method, target, headers, body in requests(here):
                sent = (method, target, headers, body)
                answer = await ask(here.app, method, target, headers, body=body)

                assert shown(answer, sent) == [], (sent, answer)
                kept = target.startswith(("/static/", "/palette.css"))
                assert answer.all("statusthing-revision") == [], sent
                assert answer.all("etag") == [] or kept, sent
                assert answer.all("x-robots-tag") == ["noindex"], sent
                if answer.status == 200 and not kept:
                    assert answer.all("cache-control") in ([], ["no-store"]), (sent, answer.headers)
                count += 1
    assert count > 500


@awaited
async def test_what_strangers_get_does_not_depend_on_what_is_stored() -> None:
    """Over a store with canaries and over one without, each answer is the same, byte by byte."""
    async with stocked("private") as full, site(access="private") as empty:
        await empty.person()  # so that setup is done there too
        await full.person()
        with counted(instant=True):
            for method, target, headers, body in requests(full):
                if method == "POST" and target in {"/admin/login", "/setup"}:
                    continue  # whoever signs in is told how long to wait, by the clock
                one, other = [
                    await ask(here.app, method, target, headers, body=body)
                    for here in (full, empty)
                ]
                assert one == other, (method, target, headers)


@pytest.mark.parametrize("rpc", ["ListItems", "GetItem", "GetStatus", "ListNotes"])
@awaited
async def test_the_search_finds_canaries(rpc: str) -> None:
    """The same requests find them where access is public: the texts above are looked for well."""
    seen: set[bytes] = set()
    async with stocked("public") as here:
        with counted(instant=True):
            for method, target, headers, body in requests(here):
                if target.partition("?")[0].endswith(f"/{rpc}"):
                    answer = await ask(here.app, method, target, headers, body=body)
                    seen.update(found_in(answer))
    assert {b"canary", str(YEAR).encode(), str(NUMBER).encode()} <= seen
    assert _varint(NUMBER) in seen


def _as_it_is(data: bytes) -> bytes:
    return data


def test_strangers_see_no_canary_over_grpc(
    serve: Callable[..., AbstractContextManager[Server]],
) -> None:
    """Neither in an answer nor in its metadata, over HTTP/2 and a socket, for every RPC."""
    with serve("--access=private") as server:
        with server.json() as client:
            client.ok("AddItem", name="canary-name", initial_note_text="canary-text")
        with grpc.insecure_channel(server.address) as channel:
            for rpc in METHODS:
                asked = channel.unary_unary(path_of(rpc), _as_it_is, _as_it_is)
                call = asked.future(b"", timeout=SECONDS)

                assert call.code() is grpc.StatusCode.UNAUTHENTICATED, rpc
                said = repr([call.initial_metadata(), call.trailing_metadata(), call.details()])
                assert "canary" not in said
                assert "statusthing-revision" not in said
