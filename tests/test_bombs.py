"""Messages that are far larger, deeper or more numerous than they look.

Each has to be refused at the cost of a second of the server's processor and 16 MiB of its memory
at most, while another client is served, see `Server.withstanding`.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import zlib
from contextlib import closing, contextmanager
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import grpc
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Server

SECONDS = 10.0  # the bound of everything that is waited for
MEBIBYTE = 2**20

LIST = "/statusthing.v1.ItemsService/ListItems"
ADD = "/statusthing.v1.ItemsService/AddItem"
UPDATE = "/statusthing.v1.ItemsService/UpdateItem"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"

COMPRESSED = b"\1"
PLAIN = b"\0"


@cache
def bomb(mebibytes: int) -> bytes:
    """Zeros, compressed with gzip to a thousandth; of a megabyte each, which are all the same."""
    zeros = bytes(MEBIBYTE)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    part = deflate.compress(zeros) + deflate.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    for _ in range(mebibytes):
        checksum = zlib.crc32(zeros, checksum)
    head = gzip.compress(b"", mtime=0)[:10]
    tail = checksum.to_bytes(4, "little") + (mebibytes * MEBIBYTE % 2**32).to_bytes(4, "little")
    return head + part * mebibytes + deflate.flush() + tail


def envelope(data: bytes, flags: bytes = PLAIN) -> bytes:
    """A message within a stream, https://connectrpc.com/docs/protocol/#streaming-rpcs."""
    return flags + len(data).to_bytes(4, "big") + data


def field(number: int, data: bytes) -> bytes:
    """A field of protobuf that has a length, https://protobuf.dev/programming-guides/encoding/."""
    size = len(data)
    varint = b""
    while size > 0x7F:
        varint += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2, *varint, size]) + data


@contextmanager
def withstood(server: Server) -> Iterator[None]:
    """Within, the server may not use more than what this module is about."""
    with server.withstanding(mebibytes=16):
        before = processor_seconds(server)
        yield
        assert processor_seconds(server) - before < 1


def processor_seconds(server: Server) -> float:
    """How long the processor has worked for the server so far."""
    _, _, figures = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")
    user, system = figures.split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def post(server: Server, path: str, content: bytes, **headers: str) -> tuple[int, str]:
    """Send a call, and return the status and the code of the answer."""
    with closing(HTTPConnection(server.address, timeout=SECONDS)) as connection:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        fields |= server.credentials
        connection.request("POST", path, content, fields)
        response = connection.getresponse()
        answer = response.read()
    return response.status, code_of(answer, response.headers["content-type"])


def code_of(answer: bytes, content_type: str) -> str:
    """Return the code of an answer: "ok", or the error's name in lower case."""
    if content_type.startswith("application/grpc-web"):
        # The trailers are a message whose flags have the highest bit.
        _, _, status = answer.partition(b"grpc-status")
        number = int(status.lstrip(b": ").partition(b"\r")[0])
        return next(code.name.lower() for code in grpc.StatusCode if code.value[0] == number)
    if content_type.startswith("application/connect+"):
        answer = answer[answer.rindex(b'{"error"') :] if b'{"error"' in answer else b"{}"
        return str(json.loads(answer).get("error", {"code": "ok"})["code"])
    if content_type == "application/json":
        return str(json.loads(answer).get("code", "ok"))
    return "ok"


@contextmanager
def stream(server: Server, path: str) -> Iterator[Callable[[Iterator[bytes]], Any]]:
    """Make a call that sends and gets any number of messages, over gRPC, compressed."""
    settings = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(server.address, settings) as channel:
        call = channel.stream_stream(path, bytes, bytes)
        yield lambda messages: call(messages, timeout=SECONDS, compression=grpc.Compression.Gzip)


# What is compressed

SIZES = [1, 4, 16, 64, 256, 1024]


def refused_size(mebibytes: int) -> str:
    """The code of a refusal: zeros are no message, and too many of them are too large for one."""
    return "invalid_argument" if mebibytes <= 4 else "resource_exhausted"


@pytest.mark.parametrize("mebibytes", SIZES)
@pytest.mark.parametrize("encoding", ["json", "proto"])
def test_gzip_bombs_in_calls(target: Server, encoding: str, mebibytes: int) -> None:
    """A compressed message is unpacked as far as the limit, and no further."""
    content = bomb(mebibytes)
    with withstood(target):
        _, code = post(
            target,
            LIST,
            content,
            content_type=f"application/{encoding}",
            content_encoding="gzip",
        )

    assert code == refused_size(mebibytes)


@pytest.mark.parametrize("mebibytes", SIZES)
@pytest.mark.parametrize("encoding", ["json", "proto"])
def test_gzip_bombs_in_grpc_web(target: Server, encoding: str, mebibytes: int) -> None:
    """The same holds for a message within a stream."""
    content = envelope(bomb(mebibytes), COMPRESSED)
    with withstood(target):
        _, code = post(
            target,
            LIST,
            content,
            content_type=f"application/grpc-web+{encoding}",
            grpc_encoding="gzip",
        )

    assert code == refused_size(mebibytes)


@pytest.mark.parametrize("mebibytes", SIZES)
def test_gzip_bombs_in_streams(target: Server, mebibytes: int) -> None:
    """The same holds for the message of a streaming call."""
    content = envelope(bomb(mebibytes), COMPRESSED)
    with withstood(target):
        _, code = post(
            target,
            WATCH,
            content,
            content_type="application/connect+proto",
            connect_content_encoding="gzip",
        )

    assert code == refused_size(mebibytes)


@pytest.mark.parametrize("mebibytes", [16, 64])
@pytest.mark.parametrize("path", [LIST, REFLECTION])
def test_gzip_bombs_over_grpc(target: Server, path: str, mebibytes: int) -> None:
    """GRPC's own client learns that its message was too large."""
    with withstood(target), stream(target, path) as call:
        answers = call(iter([bytes(mebibytes * MEBIBYTE)]))

        assert answers.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("mebibytes", [1, 8])
def test_gzip_bombs_in_queries(target: Server, mebibytes: int) -> None:
    """The message of a GET may be compressed too, and is as little trusted."""
    query = {
        "encoding": "json",
        "compression": "gzip",
        "base64": "1",
        "message": base64.urlsafe_b64encode(bomb(mebibytes)).decode(),
    }
    with withstood(target), closing(HTTPConnection(target.address, timeout=SECONDS)) as connection:
        connection.request("GET", f"{LIST}?{urlencode(query)}")
        response = connection.getresponse()
        code = code_of(response.read(), response.headers["content-type"])

    assert code == refused_size(mebibytes)


MEMBER = gzip.compress(b"", mtime=0)
HEAD = MEMBER[:10]

UNPACKABLE = {
    "nothing, 200 000 times": MEMBER * 200_000,
    "a byte, 190 000 times": gzip.compress(b" ", mtime=0) * 190_000,
    "empty blocks": HEAD + b"\0\0\0\xff\xff" * 800_000,
    "empty blocks of another kind": HEAD + b"\x02\x0c\x30\xc0\0" * 800_000,
    "a name that does not end": HEAD[:3] + b"\x08" + HEAD[4:] + b"x" * 4_000_000,
    "a comment that does not end": HEAD[:3] + b"\x10" + HEAD[4:] + b"x" * 4_000_000,
    "another bomb": gzip.compress(bomb(1024)),
    "broken off": gzip.compress(b"{}" * 100)[:-9],
    "a wrong checksum": gzip.compress(b"{}")[:-8] + bytes(8),
    "something behind it": gzip.compress(b"{}") + b"x",
    "no gzip": b"{}",
    "zlib": zlib.compress(b"{}"),
}


@pytest.mark.parametrize("content", UNPACKABLE.values(), ids=UNPACKABLE)
def test_what_cannot_be_unpacked(target: Server, content: bytes) -> None:
    """Whatever claims to be gzip is read once, and refused if it is something else."""
    with withstood(target):
        _, code = post(
            target, LIST, content, content_type="application/json", content_encoding="gzip"
        )
    # By itself, because the allocator keeps what the first one took.
    with withstood(target):
        _, in_stream = post(
            target,
            LIST,
            envelope(content, COMPRESSED),
            content_type="application/grpc-web+json",
            grpc_encoding="gzip",
        )

    assert code == in_stream == "invalid_argument"


@pytest.mark.parametrize("encoding", ["gzip, gzip", "deflate", "br", "zstd", "x" * 1_000])
def test_other_compressions(target: Server, encoding: str) -> None:
    """A compression that is not offered is not tried."""
    with withstood(target):
        status, code = post(
            target, LIST, bomb(64), content_type="application/json", content_encoding=encoding
        )

    assert (status, code) == (501, "unimplemented")


ENVELOPES = {
    "a message of 4 GiB": (b"\0\xff\xff\xff\xff" + b"{}", "resource_exhausted"),
    "a compressed message of 4 GiB": (b"\1\xff\xff\xff\xff" + b"{}", "resource_exhausted"),
    "unknown flags": (envelope(b"{}", b"\x7e"), "invalid_argument"),
    "half a message": (envelope(b"{}")[:-1], "invalid_argument"),
    "half a length": (b"\0\0\0", "invalid_argument"),
    "no message": (b"", "unimplemented"),
    "a million messages": (envelope(b"") * 800_000, "invalid_argument"),
    "a million messages of two bytes": (envelope(b"{}") * 550_000, "unimplemented"),
}


@pytest.mark.parametrize(("content", "code"), ENVELOPES.values(), ids=ENVELOPES)
def test_messages_that_are_not_what_they_say(target: Server, content: bytes, code: str) -> None:
    """The lengths and the number of the messages of a call are those it should have."""
    with withstood(target):
        _, found = post(target, LIST, content, content_type="application/grpc-web+json")

    assert found == code


# What is nested

DEEP = 4 * MEBIBYTE

NESTED_JSON = {
    "lists": b"[" * DEEP,
    "lists that end": b"[" * (DEEP // 2) + b"]" * (DEEP // 2),
    "objects": b'{"a":' * (DEEP // 5),
    "objects that end": b'{"a":' * (DEEP // 7) + b"{}" + b"}" * (DEEP // 7),
    "objects in lists": b'[{"a":' * (DEEP // 6),
    "messages": b'{"initial_status":' * (DEEP // 18),
    "messages that end": b'{"initial_status":' * 200_000 + b"{}" + b"}" * 200_000,
    "lists in a list": b'{"kinds":' + b"[" * (DEEP - 9),
    "lists in a text": b'{"name":' + b"[" * (DEEP - 8),
    "a thousand lists": b"[" * 1_000 + b"]" * 1_000,
    "a hundred lists": b"[" * 100 + b"]" * 100,
    "lists behind a text": b'{"name": "' + b'\\"' * 1_000 + b'", "x": ' + b"[" * MEBIBYTE,
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("content", NESTED_JSON.values(), ids=NESTED_JSON)
def test_nested_json(target: Server, content: bytes, *, compressed: bool) -> None:
    """JSON is read as deep as a message may be, and no deeper."""
    with withstood(target):
        status, code = post(
            target,
            ADD,
            gzip.compress(content, 1) if compressed else content,
            content_type="application/json",
            content_encoding="gzip" if compressed else "identity",
        )

    assert (status, code) == (400, "invalid_argument")


def test_brackets_in_a_text_are_no_nesting(target: Server) -> None:
    """A text may have as many of them as it may have characters, and quotes and backslashes."""
    texts = ["[{" * 1_000, '\\"[' * 500, '"]' * 500 + "[" * 100]
    with target.json() as client:
        for text in texts:
            item = client.ok("AddItem", name=f"nested {texts.index(text)}", description=text)

            assert item["item"]["description"] == text


GROUP, END_GROUP = b"\x53", b"\x54"  # of field 10, which no message has

NESTED_PROTO = {
    "groups": GROUP * DEEP,
    "groups that end": GROUP * (DEEP // 2) + END_GROUP * (DEEP // 2),
    "a thousand groups": GROUP * 1_000 + END_GROUP * 1_000,
    "101 groups": GROUP * 101 + END_GROUP * 101,
    "ends of groups": END_GROUP * DEEP,
    "groups in a message": field(4, GROUP * (DEEP - 10)),
    "groups in a time": field(4, field(15, field(1, GROUP * (DEEP - 20)))),
}


@pytest.mark.parametrize("kind", ["application/proto", "application/grpc-web+proto"])
@pytest.mark.parametrize("content", NESTED_PROTO.values(), ids=NESTED_PROTO)
def test_nested_protobuf(target: Server, content: bytes, kind: str) -> None:
    """Groups, which no message has, are skipped only so deep."""
    framed = content if kind == "application/proto" else envelope(content[: DEEP - 5])
    with withstood(target):
        _, code = post(target, ADD, framed, content_type=kind)

    assert code == "invalid_argument"


# What is many

MANY_JSON = {
    "lists": (LIST, b"[" + b"[]," * (DEEP // 3 - 2) + b"[]]"),
    "objects": (LIST, b"[" + b"{}," * (DEEP // 3 - 2) + b"{}]"),
    "fields": (LIST, b"{" + b",".join(b'"%x":0' % n for n in range(400_000)) + b"}"),
    "the same field": (LIST, b"{" + b",".join([b'"kinds":[]'] * 300_000) + b"}"),
    "kinds": (LIST, b'{"kinds":[' + b"1," * (DEEP // 2 - 10) + b"1]}"),
    "kinds that are none": (LIST, b'{"kinds":[' + b"0," * (DEEP // 2 - 10) + b"0]}"),
    "kinds by name": (LIST, b'{"kinds":[' + b'"STATUS_KIND_UP",' * 200_000 + b"1]}"),
    "statuses": (LIST, b'{"statusIds":[' + b'"a",' * (DEEP // 4 - 10) + b'"a"]}'),
    "statuses, all different": (
        LIST,
        b'{"statusIds":[' + b",".join(b'"%x"' % n for n in range(450_000)) + b"]}",
    ),
    "paths": (UPDATE, b'{"itemId":"x","updateMask":"' + b"a," * (DEEP // 2 - 30) + b'a"}'),
    "capitals": (UPDATE, b'{"itemId":"x","updateMask":"' + b"A" * (DEEP - 60) + b'"}'),
    "fractions": (LIST, b"[" + b"1.5," * (DEEP // 4 - 2) + b"1]"),
    "digits": (LIST, b'{"pageSize":' + b"9" * (DEEP - 20) + b"}"),
    "long numbers": (LIST, b'{"kinds":[' + b",".join([b"9" * 4_300] * 900) + b"]}"),
    "an exponent": (LIST, b'{"pageSize":1e999999999}'),
    "characters": (ADD, b'{"name":"' + b"a" * (DEEP - 20) + b'"}'),
    "characters of two bytes": (ADD, b'{"name":"' + "é".encode() * (DEEP // 2 - 20) + b'"}'),
    "characters of four bytes": (ADD, b'{"name":"' + "😀".encode() * (DEEP // 4 - 20) + b'"}'),
    "escapes": (ADD, b'{"name":"' + b"\\u00e9" * (DEEP // 6 - 20) + b'"}'),
    "a long name of a field": (ADD, b'{"' + b"a" * (DEEP - 20) + b'":1}'),
    "blanks": (ADD, b" " * DEEP),
}


@pytest.mark.parametrize(("path", "content"), MANY_JSON.values(), ids=MANY_JSON)
def test_much_json(target: Server, path: str, content: bytes) -> None:
    """A message of four megabytes may have only so many values, whatever they are."""
    with withstood(target):
        status, code = post(target, path, content, content_type="application/json")

    assert (status, code) == (400, "invalid_argument")


MANY_PROTO = {
    "kinds": (LIST, field(2, b"\1" * (DEEP - 10))),
    "kinds one by one": (LIST, b"\x10\1" * (DEEP // 2)),
    "kinds that are none": (LIST, field(2, bytes(DEEP - 10))),
    "large kinds": (LIST, field(2, b"\xff\xff\xff\xff\x07" * (DEEP // 5 - 10))),
    "statuses": (LIST, b"\x0a\0" * (DEEP // 2)),
    "statuses with an id": (LIST, b"\x0a\3abc" * (DEEP // 5)),
    "paths": (UPDATE, field(1, b"x") + field(14, b"\x0a\0" * (DEEP // 2 - 20))),
    "paths with a name": (UPDATE, field(1, b"x") + field(14, b"\x0a\1a" * (DEEP // 3 - 20))),
    "a path": (UPDATE, field(1, b"x") + field(14, field(1, b"a" * (DEEP - 30)))),
    "characters": (ADD, field(1, b"a" * (DEEP - 10))),
    "messages": (ADD, b"\x22\0" * (DEEP // 2)),
    "unknown messages": (ADD, b"\x52\0" * (DEEP // 2)),
    "unknown numbers": (ADD, b"\x50\1" * (DEEP // 2)),
}


@pytest.mark.parametrize(("path", "content"), MANY_PROTO.values(), ids=MANY_PROTO)
def test_much_protobuf(target: Server, path: str, content: bytes) -> None:
    """The same holds for protobuf."""
    with withstood(target):
        _, code = post(target, path, content, content_type="application/proto")

    assert code == "invalid_argument"


def test_many_messages_of_a_stream(target: Server) -> None:
    """However large the messages of a stream are, they are read one at a time."""
    large = field(1, b"x" * MEBIBYTE)
    with target.withstanding(mebibytes=48), stream(target, REFLECTION) as call:
        answers = call(iter([large] * 20))

        assert len(list(answers)) == 20
