"""The server against hostile and broken clients that speak HTTP/2, or something like it.

While each attack lasts, another client has to be served, see `Server.withstanding`.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
import time
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import hpack
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from tests.tokens import add_token

from statusthing import limits
from statusthing_sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.conftest import Server

    Run = Callable[..., AbstractContextManager[Server]]

SECONDS = 10.0  # the bound of everything that is waited for
MEBIBYTE = 2**20
LARGEST = 2**31 - 1  # of what has 31 bits

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW = 65_535  # of a stream and of a connection, until more is given
FRAME = 2**14  # bytes of the largest frame

LIST = "/statusthing.v1.ItemsService/ListItems"
JSON = [("content-type", "application/json")]
GRPC = [("content-type", "application/grpc"), ("te", "trailers")]
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
WATCH = "/grpc.health.v1.Health/Watch"


Settings = dict[SettingCodes, int]


def changed(settings: Settings) -> SettingsFrame:
    """A frame that tells of settings."""
    return SettingsFrame(settings={int(code): value for code, value in settings.items()})


class Connection:
    """A connection that sends exactly the frames it is told to.

    Attributes:
        statuses: the `:status` of the answers that have come, by stream.
    """

    def __init__(
        self,
        server: Server,
        settings: Settings | None = None,
        *,
        buffer: int = 2**18,
    ) -> None:
        self.authority = server.address
        self.socket = socket.socket()
        self.socket.settimeout(SECONDS)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        host, _, port = server.address.partition(":")
        self.socket.connect((host, int(port)))
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.statuses: dict[int, str] = {}
        self._input = b""
        self.send(PREFACE, changed(settings or {}))

    def send(self, *frames: Frame | bytes) -> None:
        """Send frames; the server may have closed the connection already."""
        with suppress(ConnectionError):
            self.socket.sendall(serialized(frames))

    def block(self, path: str, method: str, *fields: tuple[str, str]) -> bytes:
        """Encode the head of a request."""
        pseudo = [(":method", method), (":scheme", "http")]
        pseudo += [(":authority", self.authority), (":path", path)]
        return self.encoder.encode([*pseudo, *fields])

    def get(self, stream: int, path: str = "/healthz") -> HeadersFrame:
        """A request for a page."""
        block = self.block(path, "GET")
        return HeadersFrame(stream, block, flags=["END_HEADERS", "END_STREAM"])

    def post(
        self, stream: int, path: str = LIST, fields: list[tuple[str, str]] = JSON
    ) -> HeadersFrame:
        """The head of a call, whose body is to come."""
        return HeadersFrame(stream, self.block(path, "POST", *fields), flags=["END_HEADERS"])

    def frames(self) -> Iterator[Frame]:
        """What the server sends, until it closes the connection."""
        while True:
            while len(self._input) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self._input[:9]))
                if len(self._input) < 9 + length:
                    break
                frame.parse_body(memoryview(self._input[9 : 9 + length]))
                self._input = self._input[9 + length :]
                if isinstance(frame, HeadersFrame):
                    head = dict(self.decoder.decode(frame.data, raw=True))
                    status = head.get(b":status", b"").decode()
                    self.statuses.setdefault(frame.stream_id, status)
                yield frame
            try:
                data = self.socket.recv(2**16)
            except ConnectionError:
                return
            if not data:
                return
            self._input += data

    def until(self, wanted: Callable[[Any], bool]) -> Frame | None:
        """Wait for a frame; None if the server closes the connection first."""
        return next(filter(wanted, self.frames()), None)

    def status(self, stream: int) -> str | None:
        """Wait for the end of an answer, and return its status.

        Returns:
            None if the server resets the stream or closes the connection.
        """
        last = self.until(
            lambda frame: (
                frame.stream_id == stream
                and (isinstance(frame, RstStreamFrame) or "END_STREAM" in frame.flags)
            )
        )
        return None if last is None or isinstance(last, RstStreamFrame) else self.statuses[stream]

    def goodbye(self) -> ErrorCodes | None:
        """Wait until the server closes the connection, and return the reason that it gives."""
        reasons = [frame.error_code for frame in self.frames() if isinstance(frame, GoAwayFrame)]
        return ErrorCodes(reasons[-1]) if reasons else None


@contextmanager
def connected(
    server: Server, count: int = 1, settings: Settings | None = None, **options: int
) -> Iterator[list[Connection]]:
    """Connections, closed at the end."""
    with ExitStack() as stack:
        clients = []
        for _ in range(count):
            clients.append(Connection(server, settings, **options))
            stack.callback(clients[-1].socket.close)
        yield clients


def serialized(frames: Iterable[Frame | bytes]) -> bytes:
    """Frames as they are sent; bytes are sent as they are."""
    return b"".join(each if isinstance(each, bytes) else each.serialize() for each in frames)


def body(stream: int, data: bytes) -> list[DataFrame]:
    """A whole body in frames."""
    parts = [data[place : place + FRAME] for place in range(0, len(data), FRAME)]
    frames = [DataFrame(stream, part) for part in parts]
    frames[-1].flags.add("END_STREAM")
    return frames


def message(data: bytes) -> bytes:
    """A message of gRPC, https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md."""
    return b"\0" + len(data).to_bytes(4, "big") + data


def raw(kind: int, stream: int, payload: bytes, flags: int = 0) -> bytes:
    """A frame that hyperframe would not make."""
    return (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    )


# Floods

FLOODS: dict[str, list[Frame | bytes]] = {
    "PING": [PingFrame(0, b"12345678")],
    "PING acknowledgements": [PingFrame(0, b"12345678", flags=["ACK"])],
    "SETTINGS": [SettingsFrame()],
    "SETTINGS acknowledgements": [SettingsFrame(flags=["ACK"])],
    "SETTINGS of the header table": [
        changed({SettingCodes.HEADER_TABLE_SIZE: size}) for size in (2**32 - 1, 0)
    ],
    "SETTINGS of the windows": [
        changed({SettingCodes.INITIAL_WINDOW_SIZE: size}) for size in (LARGEST, 0)
    ],
    "unknown SETTINGS": [SettingsFrame(settings={0xFFFF: 1})],
    "PRIORITY": [PriorityFrame(stream, depends_on=0) for stream in (1, 3, 5)],
    "PRIORITY of ever more streams": [PriorityFrame(stream) for stream in range(3, 4_003, 2)],
    "WINDOW_UPDATE of the connection": [WindowUpdateFrame(0, window_increment=1)],
    "WINDOW_UPDATE of a stream": [WindowUpdateFrame(1, window_increment=1)],
    "empty DATA": [DataFrame(1)],
    "DATA of one byte": [DataFrame(1, b"{")],
    "DATA of a stream that is over": [DataFrame(3, b"x")],
    "RST_STREAM": [RstStreamFrame(3, error_code=8)],
    "unknown frames": [raw(0xEE, 1, b"")],
    "ALTSVC": [raw(0xA, 1, b"\0\0")],
    "CONTINUATION": [ContinuationFrame(1, b"")],
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_floods_are_cut_off(target: Server, flood: list[Frame | bytes]) -> None:
    """Who sends what costs nothing to send, and reads no answer, loses the connection."""
    once = serialized(flood)
    with target.withstanding(mebibytes=16), connected(target, 4) as clients:
        for client in clients:
            client.send(client.post(1), client.post(3), RstStreamFrame(3, error_code=8))
            client.send(once * (MEBIBYTE // len(once)))

        reasons = {client.goodbye() for client in clients}

        assert reasons <= {ErrorCodes.ENHANCE_YOUR_CALM, ErrorCodes.PROTOCOL_ERROR, None}


def test_a_lively_client_is_no_flood(target: Server) -> None:
    """Hundreds of PINGs, SETTINGS and WINDOW_UPDATEs among calls are all acted on."""
    with connected(target) as [client]:
        for turn in range(100):
            stream = 2 * turn + 1
            client.send(
                PingFrame(0, b"%08d" % turn),
                changed({SettingCodes.INITIAL_WINDOW_SIZE: WINDOW + turn}),
                WindowUpdateFrame(0, window_increment=100),
                client.get(stream),
                WindowUpdateFrame(stream, window_increment=100),
                PingFrame(0, b"%08d" % turn),
            )

            assert client.status(stream) == "200"
        client.send(PingFrame(0, b"the last"))
        last = client.until(lambda frame: getattr(frame, "opaque_data", None) == b"the last")

        assert last is not None
        assert "ACK" in last.flags


@pytest.mark.parametrize("reset", ["by the client", "by the server"])
def test_rapid_resets_are_cut_off(target: Server, reset: str) -> None:
    """Who opens calls to cancel them, or to have them cancelled, loses the connection.

    https://www.cve.org/CVERecord?id=CVE-2023-44487 and CVE-2025-8671.
    """
    with target.withstanding(mebibytes=16), connected(target, 4) as clients:
        for client in clients:
            for stream in range(1, 4 * limits.CANCELLED_CALLS, 2):
                too_much = WindowUpdateFrame(stream, window_increment=LARGEST)
                cancel = RstStreamFrame(stream, error_code=8)
                client.send(client.post(stream), cancel if reset == "by the client" else too_much)

        reasons = [client.goodbye() for client in clients]

        assert set(reasons) <= {ErrorCodes.ENHANCE_YOUR_CALM, None}


def test_resets_of_calls_that_are_carried_out(target: Server) -> None:
    """Cancelled writes are done or not, and their connection goes on."""
    with target.withstanding(mebibytes=16), connected(target) as [client]:
        for stream in range(1, 2 * limits.CANCELLED_CALLS, 2):
            head = [*JSON, *target.metadata]
            add = client.post(stream, "/statusthing.v1.ItemsService/AddItem", head)
            named = body(stream, b'{"name": "cancelled %d"}' % stream)
            client.send(add, *named, RstStreamFrame(stream, error_code=8))
        client.send(client.get(1_001))

        assert client.status(1_001) == "200"


def test_a_cycle_of_priorities(target: Server) -> None:
    """Streams may depend on each other however they like; their order is nobody's business."""
    chain = [PriorityFrame(2 * n + 1, depends_on=2 * n - 1) for n in range(1, 300)]
    back = [PriorityFrame(1, depends_on=2 * n + 1) for n in range(1, 300)]
    with target.withstanding(mebibytes=4), connected(target) as [client]:
        client.send(*chain, *back, client.get(701))

        assert client.status(701) == "200"


# Headers


def split(stream: int, block: bytes) -> list[Frame]:
    """The head of a request in as many frames as it takes."""
    parts = [block[place : place + FRAME] for place in range(0, len(block), FRAME)]
    first = HeadersFrame(stream, parts[0], flags=["END_STREAM"])
    frames = [first, *(ContinuationFrame(stream, part) for part in parts[1:])]
    frames[-1].flags.add("END_HEADERS")
    return frames


GOOD = hpack.Encoder().encode(
    [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/healthz")]
)
FIELD = b"\x00\x01x\x01y"  # x: y, not kept in the table
BIG_FIELD = b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4_000  # x: 4 000 bytes, kept in the table

HEADERS = {
    "5 000 fields": GOOD + FIELD * 5_000,
    "100 000 fields": GOOD + FIELD * 100_000,
    "5 000 empty fields": GOOD + b"\x00\x01x\x00" * 5_000,
    "one field 10 000 times by its number": GOOD + BIG_FIELD + b"\xbe" * 10_000,
    "a value of 100 kB": GOOD + b"\x00\x01x\x7f\xa1\x8c\x06" + b"y" * 100_000,
    "a value of 900 kB": GOOD + b"\x00\x01x\x7f\xa1\xf7\x36" + b"y" * 900_000,
    "a megabyte of sizes of the table": b"\x20" * 60 * FRAME + GOOD,
    "a megabyte of ones in Huffman's code": GOOD + b"\x00\x01x\xff\x81\xff\x3b" + b"\xff" * 983_040,
    "a hundred fields of the largest size": GOOD + BIG_FIELD * 100,
    "a path of 100 kB": GOOD + b"\x04\x7f\xa1\x8c\x06/" + b"y" * 99_999,
}


@pytest.mark.parametrize("block", HEADERS.values(), ids=HEADERS)
def test_headers_beyond_the_limit(target: Server, block: bytes) -> None:
    """Headers that are too long, or too long once unpacked, are refused, in bounded memory."""
    with target.withstanding(mebibytes=8), connected(target, 4) as clients:
        for client in clients:
            client.send(*split(1, block))

        assert all(client.status(1) in {"431", None} for client in clients)


def test_headers_of_the_limit_without_acknowledging_it(target: Server) -> None:
    """The limit holds from the first request on, whatever the client has read of our settings."""
    with connected(target) as [client]:
        fields = FIELD * (limits.HEADER_BYTES // 34 + 1)
        client.send(*split(1, GOOD + fields))

        assert client.status(1) in {"431", None}


@pytest.mark.parametrize("size", [0, 1, FRAME])
def test_headers_that_do_not_end(target: Server, size: int) -> None:
    """CONTINUATION frames without an end lose the connection, however long they are."""
    more = ContinuationFrame(1, b"\x20" * size).serialize()
    with target.withstanding(mebibytes=16), connected(target, 8) as clients:
        for client in clients:
            client.send(HeadersFrame(1, GOOD), more * (4 * MEBIBYTE // len(more)))

        assert all(client.status(1) is None for client in clients)


def test_a_header_table_of_any_size(target: Server) -> None:
    """A client may allow a table of four gigabytes; the server does not fill it."""
    with connected(target, settings={SettingCodes.HEADER_TABLE_SIZE: 2**32 - 1}) as [client]:
        client.decoder.max_allowed_table_size = 2**32 - 1
        client.send(client.get(1))

        assert client.status(1) == "200"
        assert client.decoder.header_table_size <= 4096


# Malformed frames and requests

BROKEN: dict[str, list[Frame | bytes]] = {
    "a frame that is too long": [raw(0, 1, bytes(FRAME + 1))],
    "a frame that is too long, begun": [b"\xff\xff\xff\0\0\0\0\0\1"],
    "an unknown frame that is too long": [raw(0xEE, 1, bytes(FRAME + 1))],
    "DATA of stream 0": [raw(0, 0, b"x")],
    "DATA of an idle stream": [DataFrame(9, b"x")],
    "HEADERS of stream 0": [raw(1, 0, GOOD, 5)],
    "HEADERS of an even stream": [HeadersFrame(2, GOOD, flags=["END_HEADERS"])],
    "HEADERS of an older stream": [HeadersFrame(n, GOOD, flags=["END_HEADERS"]) for n in (5, 3)],
    "HEADERS twice": [HeadersFrame(1, GOOD, flags=["END_HEADERS"])] * 2,
    "HEADERS with too much padding": [raw(1, 1, b"\xff" + GOOD, 0x0D)],
    "HEADERS that depend on themselves": [
        HeadersFrame(1, GOOD, depends_on=1, flags=["END_HEADERS", "PRIORITY"])
    ],
    "PING among HEADERS": [HeadersFrame(1, GOOD), PingFrame(0, b"12345678")],
    "HEADERS among HEADERS": [HeadersFrame(1, GOOD), HeadersFrame(3, GOOD)],
    "CONTINUATION without HEADERS": [ContinuationFrame(1, GOOD)],
    "CONTINUATION of another stream": [HeadersFrame(1, GOOD), ContinuationFrame(3, b"")],
    "PRIORITY of itself": [raw(2, 1, b"\0\0\0\1\0")],
    "PRIORITY of 4 bytes": [raw(2, 1, b"\0\0\0\0")],
    "RST_STREAM of stream 0": [raw(3, 0, bytes(4))],
    "RST_STREAM of an idle stream": [RstStreamFrame(9)],
    "RST_STREAM of 3 bytes": [raw(3, 1, bytes(3))],
    "SETTINGS of a stream": [raw(4, 1, b"")],
    "SETTINGS of 5 bytes": [raw(4, 0, bytes(5))],
    "SETTINGS acknowledged with a setting": [raw(4, 0, bytes(6), 1)],
    "SETTINGS of a window too large": [raw(4, 0, b"\0\4\x80\0\0\0")],
    "SETTINGS of a frame too small": [changed({SettingCodes.MAX_FRAME_SIZE: 1})],
    "SETTINGS of a push that is neither": [changed({SettingCodes.ENABLE_PUSH: 2})],
    "SETTINGS that overflow a window": [
        HeadersFrame(1, GOOD, flags=["END_HEADERS"]),
        WindowUpdateFrame(1, window_increment=LARGEST - WINDOW),
        changed({SettingCodes.INITIAL_WINDOW_SIZE: LARGEST}),
    ],
    "PUSH_PROMISE": [
        HeadersFrame(1, GOOD, flags=["END_HEADERS"]),
        PushPromiseFrame(1, 2, GOOD, flags=["END_HEADERS"]),
    ],
    "PING of 7 bytes": [raw(6, 0, bytes(7))],
    "PING of a stream": [raw(6, 1, bytes(8))],
    "GOAWAY of a stream": [raw(7, 1, bytes(8))],
    "GOAWAY of 7 bytes": [raw(7, 0, bytes(7))],
    "WINDOW_UPDATE of nothing": [raw(8, 0, bytes(4))],
    "WINDOW_UPDATE beyond the largest window": [WindowUpdateFrame(0, window_increment=LARGEST)],
    "WINDOW_UPDATE of an idle stream": [WindowUpdateFrame(9, window_increment=1)],
    "WINDOW_UPDATE of 3 bytes": [raw(8, 0, bytes(3))],
    "a body longer than its length": [
        HeadersFrame(1, GOOD + b"\x00\x0econtent-length\x011", flags=["END_HEADERS"]),
        DataFrame(1, b"{}"),
    ],
    "a body shorter than its length": [
        HeadersFrame(1, GOOD + b"\x00\x0econtent-length\x013", flags=["END_HEADERS"]),
        DataFrame(1, b"{}", flags=["END_STREAM"]),
    ],
    "a number too large": [HeadersFrame(1, b"\xff" * 11 + b"\1", flags=["END_HEADERS"])],
    "a field without a name": [HeadersFrame(1, GOOD + b"\0\0\1y", flags=["END_HEADERS"])],
    "field 0": [HeadersFrame(1, b"\x80", flags=["END_HEADERS"])],
    "half a field": [HeadersFrame(1, b"\x40\x05x", flags=["END_HEADERS"])],
    "Huffman's code broken off": [HeadersFrame(1, b"\x40\x81\xff\x81\xff", flags=["END_HEADERS"])],
    "a table too large": [HeadersFrame(1, b"\x3f\xff\xff\xff\xff\x0f", flags=["END_HEADERS"])],
    "no headers": [HeadersFrame(1, b"", flags=["END_HEADERS"])],
}


@pytest.mark.parametrize("frames", BROKEN.values(), ids=BROKEN)
def test_broken_frames_end_their_connection(target: Server, frames: list[Frame | bytes]) -> None:
    """What RFC 9113 forbids ends the connection, with a word of why, and no other."""
    with target.withstanding(mebibytes=4), connected(target) as [client]:
        client.send(*frames, PingFrame(0, b"12345678"))

        assert client.goodbye() not in {ErrorCodes.NO_ERROR, ErrorCodes.INTERNAL_ERROR, None}


PREFACES = {
    "half of it": b"PRI * HTTP/2.0\r\n\r\nSM\r\n",
    "another": b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    "a frame other than SETTINGS": PREFACE + PingFrame(0, b"12345678").serialize(),
    "no frame": PREFACE + b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "twice": PREFACE + SettingsFrame().serialize() + PREFACE,
}


@pytest.mark.parametrize("preface", PREFACES.values(), ids=PREFACES)
def test_broken_prefaces(brisk: Server, preface: bytes) -> None:
    """A connection that does not begin as RFC 9113, section 3.4, has it is closed, or ignored."""
    host, _, port = brisk.address.partition(":")
    with (
        brisk.withstanding(mebibytes=4),
        socket.create_connection((host, int(port)), SECONDS) as client,
    ):
        client.sendall(preface)
        with suppress(ConnectionError):
            while client.recv(2**16):
                pass


def request_of(**given: bytes | None) -> bytes:
    """The head of a request with other pseudo-header fields than usual; None leaves one out."""
    usual: dict[str, bytes | None] = {
        "method": b"GET",
        "scheme": b"http",
        "authority": b"x",
        "path": b"/healthz",
    }
    pseudo = [(f":{name}", value) for name, value in (usual | given).items() if value is not None]
    return hpack.Encoder().encode(pseudo)


MALFORMED = {
    "a path that is not ASCII": request_of(path=b"/\xff"),
    "a path in UTF-8": request_of(path="/é".encode()),
    "a query that is not UTF-8": request_of(
        path=LIST.encode() + b"?encoding=json&message=%7B%7D\xff"
    ),
    "a path with a space": request_of(path=b"/a b"),
    "a path without a slash": request_of(path=b"healthz"),
    "a path that is a URL": request_of(path=b"http://127.0.0.1/healthz"),
    "@host": request_of(path=b"@evil.example/healthz"),
    "no method": request_of(method=b""),
    "a method with a space": request_of(method=b"G T"),
    "a method that is not ASCII": request_of(method=b"G\xffT"),
    "CONNECT": request_of(method=b"CONNECT", path=None, scheme=None),
}


@pytest.mark.parametrize("block", MALFORMED.values(), ids=MALFORMED)
def test_malformed_requests_leave_their_connection_alone(target: Server, block: bytes) -> None:
    """A request that is none is refused; other calls of its connection go on."""
    with target.withstanding(mebibytes=4), connected(target) as [client]:
        client.send(client.post(1), HeadersFrame(3, block, flags=["END_HEADERS"]))
        client.send(DataFrame(3, b"x", flags=["END_STREAM"]), *body(1, b"{}"))

        assert client.status(1) == "200"
        assert client.statuses.get(3, "400") in {"400", "404"}


@pytest.mark.parametrize("block", MALFORMED.values(), ids=MALFORMED)
def test_malformed_requests_that_are_reset_at_once(target: Server, block: bytes) -> None:
    """A request that is none may be over, and forgotten, before it is refused."""
    with target.withstanding(mebibytes=4), connected(target) as [client]:
        malformed = HeadersFrame(1, block, flags=["END_HEADERS"])
        client.send(malformed, RstStreamFrame(1, error_code=8), client.get(3))

        assert client.status(3) == "200"


FORBIDDEN = {
    "no path": request_of(path=None),
    "an empty path": request_of(path=b""),
    "no scheme": request_of(scheme=None),
    "a path twice": GOOD + b"\x04\x01/",
    "an unknown pseudo-header field": request_of(x=b"y"),
    "a pseudo-header field after others": FIELD + GOOD,
    "a host beside another": GOOD + b"\x00\x04host\x01z",
    "a name in capitals": GOOD + b"\x00\x01X\x01y",
    "a name with a space": GOOD + b"\x00\x03x y\x01z",
    "a name with a colon": GOOD + b"\x00\x03x:y\x01z",
    "NUL in a value": GOOD + b"\x00\x01x\x01\0",
    "a line break in a value": GOOD + b"\x00\x01x\x03y\r\n",
    "a value that begins with a space": GOOD + b"\x00\x01x\x02 y",
    "connection": GOOD + b"\x00\x0aconnection\x05close",
    "transfer-encoding": GOOD + b"\x00\x11transfer-encoding\x07chunked",
    "upgrade": GOOD + b"\x00\x07upgrade\x03h2c",
    "te": GOOD + b"\x00\x02te\x04gzip",
    "a length that is none": GOOD + b"\x00\x0econtent-length\x01x",
}


@pytest.mark.parametrize("block", FORBIDDEN.values(), ids=FORBIDDEN)
def test_forbidden_headers_are_refused(target: Server, block: bytes) -> None:
    """A request that could mean something else to another server is never answered."""
    with target.withstanding(mebibytes=4), connected(target) as [client]:
        client.send(HeadersFrame(1, block, flags=["END_HEADERS", "END_STREAM"]))

        assert client.status(1) is None


def test_trailers_of_a_request(target: Server) -> None:
    """They are allowed, and mean nothing; those that are too long are refused like headers."""
    with target.withstanding(mebibytes=4), connected(target, 2) as [short, long]:
        for client, block in ((short, FIELD), (long, FIELD * 5_000)):
            client.send(client.post(1), DataFrame(1, b"{}"), *split(1, block))

        assert short.status(1) == "200"
        assert long.status(1) is None


@pytest.mark.parametrize("extensions", [b"", b"permessage-deflate", b"\xff"])
def test_no_websocket_is_opened(target: Server, extensions: bytes) -> None:
    """What is sent into it regardless is dropped, and other calls of the connection go on."""
    block = request_of(method=b"CONNECT", protocol=b"websocket")
    block += hpack.Encoder().encode(
        [(b"sec-websocket-version", b"13"), (b"sec-websocket-extensions", extensions)]
    )
    with target.withstanding(mebibytes=8), connected(target) as [client]:
        client.send(HeadersFrame(1, block, flags=["END_HEADERS"]))
        client.send(*(DataFrame(1, bytes(FRAME)) for _ in range(3)), client.get(3))

        assert client.status(3) == "200"
        assert client.statuses.get(1, "400") in {"400", "403"}


def test_garbled_frames_are_no_defects(target: Server) -> None:
    """Whatever the frames are, the server neither fails nor stalls."""
    chance = random.Random(2026)  # noqa: S311 - the same frames each time
    with target.withstanding(mebibytes=16):
        for _ in range(150):
            with connected(target) as [client]:
                for _ in range(chance.randint(1, 20)):
                    stream = chance.choice((0, 1, 1, 3, 5, 7))
                    payload = chance.choice(
                        (client.block("/healthz", "GET"), bytes(4), chance.randbytes(5), b"")
                    )
                    client.send(raw(chance.randrange(12), stream, payload, chance.randrange(64)))
                with suppress(OSError):  # the server has closed it
                    client.socket.shutdown(socket.SHUT_WR)
                client.goodbye()


# Windows


def test_a_window_of_one_byte(target: Server) -> None:
    """An answer arrives whole, however slowly its client takes it."""
    with (
        target.withstanding(mebibytes=4),
        connected(target, settings={SettingCodes.INITIAL_WINDOW_SIZE: 1}) as [client],
    ):
        client.send(client.get(1))
        answer = b""
        for frame in client.frames():
            if isinstance(frame, DataFrame):
                answer += frame.data
                client.send(WindowUpdateFrame(1, window_increment=1))
                if "END_STREAM" in frame.flags:
                    break

        assert answer == b'{"status":"ok"}'


MEGABYTE = b'{"extended": true, "page_size": 1}'
"""The body of a call to `stocked` with a megabyte for an answer."""


def test_windows_that_go_up_and_down(stocked: Server) -> None:
    """A window may be taken back and given again within an answer (RFC 9113, section 6.9.2)."""
    with stocked.withstanding(mebibytes=16), connected(stocked) as [client]:
        client.send(client.post(1), *body(1, MEGABYTE))
        size = 0
        for frame in client.frames():
            if isinstance(frame, DataFrame):
                size += len(frame.data)
                if "END_STREAM" in frame.flags:
                    break
                client.send(
                    changed({SettingCodes.INITIAL_WINDOW_SIZE: 0}),
                    WindowUpdateFrame(1, window_increment=WINDOW),
                    WindowUpdateFrame(0, window_increment=FRAME),
                    changed({SettingCodes.INITIAL_WINDOW_SIZE: WINDOW}),
                )

        assert size > 1_000_000


@pytest.mark.parametrize("window", [0, 1])
def test_answers_that_nobody_reads(stocked: Server, window: int) -> None:
    """Connections that ask for much and read nothing hold no more than an answer each."""
    settings = {SettingCodes.INITIAL_WINDOW_SIZE: window}
    with stocked.withstanding(mebibytes=130), connected(stocked, 50, settings) as clients:
        for client in clients:
            client.send(client.post(1), *body(1, MEGABYTE))
        for client in clients:
            client.until(lambda frame: isinstance(frame, HeadersFrame))

            assert client.statuses == {1: "200"}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_hundred_answers_of_a_connection_that_nobody_reads(stocked: Server, method: str) -> None:
    """A connection holds a few answers, not one for each call that it made."""
    settings = {SettingCodes.INITIAL_WINDOW_SIZE: 0}
    query = f"{LIST}?encoding=json&message={quote(MEGABYTE)}"
    with stocked.withstanding(mebibytes=40), connected(stocked, 2, settings) as clients:
        for client in clients:
            for stream in range(1, 2 * limits.CALLS_OF_A_CONNECTION, 2):
                if method == "GET":
                    client.send(client.get(stream, query))
                else:
                    client.send(client.post(stream), *body(stream, MEGABYTE))
        for client in clients:
            for _ in range(4):
                client.until(lambda frame: isinstance(frame, HeadersFrame))
            for _ in range(20):  # time for more answers
                client.send(PingFrame(0, b"12345678"))
                client.until(lambda frame: isinstance(frame, PingFrame))


@contextmanager
def without_room(run: Run, folder: Path, stalled: float) -> Iterator[tuple[Server, Connection]]:
    """A connection with an answer on stream 3 that its client does not take.

    Its next calls wait for that, and so does the one on stream 1, of which half has come before.

    Args:
        run: runs the server.
        folder: where it does.
        stalled: how long an answer and a call wait for the client, in seconds.
    """
    program = (
        "from statusthing import cli, limits\n"
        f"limits.UNSENT_BYTES = 0\nlimits.STALLED_SECONDS = {stalled}\ncli.main()"
    )
    nothing = {SettingCodes.INITIAL_WINDOW_SIZE: 0}
    token = asyncio.run(add_token(SqliteStore(folder / "statusthing.db")))
    command = (sys.executable, "-c", program, "serve", "--addr=127.0.0.1:0")
    with (
        run(*command, token=token) as server,
        connected(server, settings=nothing) as [client],
    ):
        with server.json() as neighbour:
            for number in range(20):
                name = f"status {number}"
                neighbour.ok("AddStatus", name=name, kind="STATUS_KIND_UP", description="d" * 2_000)
        give = WindowUpdateFrame(1, window_increment=WINDOW)
        client.send(client.post(1), give, DataFrame(1, b"{"))
        client.send(client.post(3, "/statusthing.v1.StatusService/ListStatus"), *body(3, b"{}"))
        client.until(lambda frame: isinstance(frame, HeadersFrame) and frame.stream_id == 3)
        yield server, client


def test_who_takes_no_answers_gets_no_more(run: Run, tmp_path: Path) -> None:
    """A call that has waited for that too long is told so, and not that its body was too slow."""
    with without_room(run, tmp_path, stalled=0.5) as (_, client):
        client.send(*body(1, b"}"))
        error = client.until(lambda frame: isinstance(frame, DataFrame) and frame.stream_id == 1)

        assert isinstance(error, DataFrame)
        assert json.loads(error.data)["code"] == "unavailable"
        assert "earlier answers were not taken within 0.5 seconds" in error.data.decode()


def test_calls_wait_until_earlier_answers_are_taken(run: Run, tmp_path: Path) -> None:
    """Those that had begun before and those that begin meanwhile are answered then."""
    with without_room(run, tmp_path, stalled=SECONDS) as (_, client):
        client.send(*body(1, b"}"), client.get(5), WindowUpdateFrame(5, window_increment=WINDOW))
        client.send(PingFrame(0, b"12345678"))
        client.until(lambda frame: isinstance(frame, PingFrame))
        waiting = {1, 5} - client.statuses.keys()
        client.send(WindowUpdateFrame(3, window_increment=WINDOW))
        client.until(lambda _: client.statuses.keys() >= {1, 3, 5})

        assert waiting == {1, 5}
        assert set(client.statuses.values()) == {"200"}


def test_a_call_that_waits_for_room_can_be_cancelled(run: Run, tmp_path: Path) -> None:
    """It ends with its stream, and does not wait any longer."""
    with without_room(run, tmp_path, stalled=SECONDS) as (server, client):
        client.send(*body(1, b"}"), PingFrame(0, b"12345678"))
        client.until(lambda frame: isinstance(frame, PingFrame))
        client.send(RstStreamFrame(1, error_code=8))
        deadline = time.monotonic() + SECONDS
        while '"canceled"' not in server.log.read_text():
            assert time.monotonic() < deadline


def test_an_answer_waits_only_for_its_own_window(stocked: Server) -> None:
    """A stream whose window is used up does not hold up the others of its connection."""
    settings = {SettingCodes.INITIAL_WINDOW_SIZE: 1_000}
    with stocked.withstanding(mebibytes=16), connected(stocked, settings=settings) as [client]:
        client.send(client.post(1), *body(1, MEGABYTE), client.get(3))

        assert client.status(3) == "200"


def test_answers_that_nobody_takes_are_given_up(impatient: Server) -> None:
    """A stream or a connection whose window stays used up is closed in the end."""
    with impatient.json() as neighbour:
        for number in range(40):
            name = f"status {number}"
            neighbour.ok("AddStatus", name=name, kind="STATUS_KIND_UP", description="d" * 2_000)
    path = "/statusthing.v1.StatusService/ListStatus"
    windows = [{SettingCodes.INITIAL_WINDOW_SIZE: size} for size in (0, LARGEST)]
    with (
        impatient.withstanding(mebibytes=32),
        connected(impatient, 10, windows[0]) as streams,
        connected(impatient, 10, windows[1]) as connections,
    ):
        for client in (*streams, *connections):
            client.send(client.post(1, path), *body(1, b"{}"))
            client.send(client.post(3, path), *body(3, b"{}"))

        assert {client.status(3) for client in (*streams, *connections)} == {None}


def test_acknowledgements_that_nobody_reads(brisk: Server) -> None:
    """Who never reads the answers to PINGs is closed like anybody else without a call."""
    ping = PingFrame(0, b"12345678").serialize()
    with brisk.withstanding(mebibytes=8), connected(brisk, 20, buffer=4096) as clients:
        for client in clients:
            for _ in range(20):
                client.send(ping * 45)

        assert {client.goodbye() for client in clients} <= {
            ErrorCodes.NO_ERROR,
            ErrorCodes.ENHANCE_YOUR_CALM,
            None,
        }


def test_pings_do_not_keep_a_connection_open(brisk: Server) -> None:
    """A connection without a call is closed, however lively it is otherwise."""
    with brisk.withstanding(mebibytes=4), connected(brisk) as [client]:
        for frame in client.frames():
            if isinstance(frame, SettingsFrame | PingFrame):
                client.send(PingFrame(0, b"12345678"))
            goodbye = frame

        assert isinstance(goodbye, GoAwayFrame)
        assert goodbye.error_code in {ErrorCodes.NO_ERROR, ErrorCodes.ENHANCE_YOUR_CALM}


SILENCES: dict[str, list[Frame | bytes]] = {
    "nothing": [],
    "half a frame header": [b"\0\0"],
    "half a frame": [PingFrame(0, b"12345678").serialize()[:-1]],
    "half a header block": [HeadersFrame(1, GOOD[:3])],
    "a whole request": [HeadersFrame(1, GOOD, flags=["END_HEADERS", "END_STREAM"])],
}


def test_connections_that_fall_silent_are_closed(brisk: Server) -> None:
    """Whatever a client has said before it falls silent, its connection does not stay open."""
    with (
        brisk.withstanding(mebibytes=16),
        connected(brisk, 4 * len(SILENCES)) as clients,
    ):
        for client, frames in zip(clients, 4 * list(SILENCES.values()), strict=True):
            client.send(*frames)

        assert {client.goodbye() for client in clients} <= {ErrorCodes.NO_ERROR, None}


# Half-open streams, and bodies that nobody reads


def test_no_more_streams_than_allowed(target: Server) -> None:
    """The server says how many calls a connection may have, and carries out no more."""
    most = limits.CALLS_OF_A_CONNECTION
    with target.withstanding(mebibytes=16), connected(target) as [client]:
        said = client.until(lambda frame: isinstance(frame, SettingsFrame))
        client.send(*(client.post(stream) for stream in range(1, 2 * most, 2)))
        client.send(client.get(2 * most + 1, "/one-too-many"))

        assert isinstance(said, SettingsFrame)
        assert said.settings[SettingCodes.MAX_CONCURRENT_STREAMS] == most
        assert client.status(2 * most + 1) is None
        assert "one-too-many" not in target.log.read_text()


def test_half_open_streams_leave_room_for_others(target: Server) -> None:
    """More calls whose bodies never end than may be in flight keep nobody else from calling."""
    count = limits.CALLS // limits.CALLS_OF_A_CONNECTION + 2
    with target.withstanding(mebibytes=64), connected(target, count) as clients:
        for client in clients:
            for stream in range(1, 2 * limits.CALLS_OF_A_CONNECTION, 2):
                client.send(client.post(stream), DataFrame(stream, b"{"))
            client.send(PingFrame(0, b"12345678"))
            client.until(lambda frame: isinstance(frame, PingFrame))


@pytest.mark.parametrize("start", [b"", b"{"])
def test_half_open_streams_are_cut_off(impatient: Server, start: bytes) -> None:
    """A call that its client does not end is ended, and its connection goes on."""
    with impatient.withstanding(mebibytes=32), connected(impatient, 4) as clients:
        for client in clients:
            client.send(client.post(1, WATCH, GRPC), *body(1, message(b"")))
            for stream in range(3, 101, 2):
                client.send(client.post(stream), DataFrame(stream, start))
        for client in clients:
            assert client.status(99) == "504"

            client.send(client.get(101))

            assert client.status(101) == "200"


def test_an_early_answer_does_not_keep_its_stream_open(impatient: Server) -> None:
    """A call that has been answered ends too if its client goes on with the body for ever."""
    with impatient.withstanding(mebibytes=16), connected(impatient) as [client]:
        client.send(client.post(1, WATCH, GRPC), *body(1, message(b"")))
        client.send(client.post(3, "/no-such-page"), DataFrame(3, bytes(300)))
        reset = client.until(
            lambda frame: isinstance(frame, RstStreamFrame) and frame.stream_id == 3
        )

        assert client.statuses[3] == "404"
        assert reset is not None


def test_slow_bodies_are_cut_off(impatient: Server) -> None:
    """A body that comes a byte at a time is not waited for, however busily it comes."""
    with impatient.withstanding(mebibytes=8), connected(impatient, 10) as clients:
        for client in clients:
            client.send(client.post(1))
        with impatient.json() as neighbour:
            for _ in range(300):
                for client in clients:
                    client.send(DataFrame(1, b" "))
                neighbour.call("GetItem", item_id="x")  # which paces this as well

        assert all(client.status(1) not in {"200", "500"} for client in clients)


def test_unfinished_bodies_do_not_fill_the_memory(target: Server) -> None:
    """The bodies that are being read share a bound, however many calls they belong to."""
    streams = range(1, 65, 2)
    parts = b"".join(DataFrame(stream, b" " * FRAME).serialize() for stream in streams)
    with target.withstanding(mebibytes=112), connected(target) as [client]:
        client.send(*(client.post(stream) for stream in streams))
        client.socket.settimeout(1)
        with suppress(TimeoutError):  # once the server takes no more
            for _ in range(limits.MESSAGE_BYTES // FRAME - 1):
                client.send(parts)


@pytest.mark.parametrize("size", [0, 1, FRAME])
def test_a_stream_that_is_not_read(target: Server, size: int) -> None:
    """A stream whose answers nobody takes is not read any further, and its neighbours are."""
    settings = {SettingCodes.INITIAL_WINDOW_SIZE: 0}
    list_services = message(b"\x3a\x01*")
    with target.withstanding(mebibytes=16), connected(target, 2, settings) as clients:
        for client in clients:
            client.send(client.post(1, REFLECTION, GRPC))
            client.send(*(DataFrame(1, list_services) for _ in range(200)))
            left = WINDOW - 200 * len(list_services)
            frame = DataFrame(1, bytes(size)).serialize()
            client.send(frame * min(left // max(size, 1), 400))
            client.send(
                changed({SettingCodes.INITIAL_WINDOW_SIZE: WINDOW}),
                RstStreamFrame(1, error_code=8),
                client.get(3),
            )

            assert client.status(3) == "200"


def test_many_streams_that_are_not_read(target: Server) -> None:
    """However many streams of a connection are not read, its other calls are served."""
    settings = {SettingCodes.INITIAL_WINDOW_SIZE: 0}
    for_another_host = message(b"\x0a\xfe\x07" + b"x" * 1_022 + b"\x3a\x01*")
    full = for_another_host * (WINDOW // len(for_another_host))
    with target.withstanding(mebibytes=32), connected(target, settings=settings) as [client]:
        for stream in range(1, 101, 2):
            client.send(client.post(stream, REFLECTION, GRPC))
            client.send(*body(stream, full)[:-1], DataFrame(stream, full[-(len(full) % FRAME) :]))
        client.send(client.get(101), WindowUpdateFrame(101, window_increment=WINDOW))

        assert client.status(101) == "200"


def test_streams_are_counted_apart(target: Server) -> None:
    """However many streams are open, other calls are carried out."""
    with target.withstanding(mebibytes=64), connected(target, 4) as clients:
        for client in clients:
            for stream in range(1, 2 * limits.CALLS_OF_A_CONNECTION, 2):
                client.send(client.post(stream, WATCH, GRPC), *body(stream, message(b"")))
            client.send(PingFrame(0, b"12345678"))
            client.until(lambda frame: isinstance(frame, PingFrame))
    with connected(target) as [client]:
        client.send(client.post(1, WATCH, GRPC), *body(1, message(b"")))
        health = client.until(lambda frame: isinstance(frame, DataFrame))

        assert isinstance(health, DataFrame)
        assert health.data == message(b"\x08\x01")


# Goodbyes


def test_who_says_goodbye_still_gets_the_answers(target: Server) -> None:
    """GOAWAY means that no further call comes; those that were made go on."""
    with connected(target) as [client]:
        client.send(client.get(1), GoAwayFrame(0, last_stream_id=0, error_code=0))

        assert client.status(1) == "200"


def test_clients_that_leave(stocked: Server) -> None:
    """Clients may disconnect at any moment, politely or not, and leave nothing behind."""
    with stocked.withstanding(mebibytes=48):
        for number in range(100):
            with connected(stocked) as [client]:
                client.send(client.post(1), *body(1, MEGABYTE), client.post(3), client.get(5))
                if number % 4 == 0:
                    client.send(GoAwayFrame(0, last_stream_id=0, error_code=0))
                elif number % 4 == 1:
                    client.socket.shutdown(socket.SHUT_WR)
                elif number % 4 == 2:
                    client.send(RstStreamFrame(1, error_code=8), raw(0, 3, bytes(100))[:50])
