"""The server against hostile and broken clients that speak HTTP/1.1, or something like it.

While each attack lasts, another client has to be served, see `Server.withstanding`.
"""

from __future__ import annotations

import json
import random
import re
import socket
import time
from contextlib import ExitStack, contextmanager, suppress
from http.client import parse_headers
from typing import TYPE_CHECKING

import pytest

from statusthing import limits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tests.conftest import Server

SECONDS = 10.0  # the bound of everything that is waited for
MEBIBYTE = 2**20

LIST = b"POST /statusthing.v1.ItemsService/ListItems HTTP/1.1\r\n"
HOST = b"host: 127.0.0.1\r\n"
JSON = b"content-type: application/json\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
CLOSE = b"connection: close\r\n"
GET = b"GET /healthz HTTP/1.1\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


def framed(*fields: bytes, body: bytes = b"{}") -> bytes:
    """A call with header fields that say, in some way, where its body ends."""
    return LIST + HOST + JSON + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


def chunks(body: bytes) -> bytes:
    """A call whose body is sent in these chunks."""
    return framed(CHUNKED.rstrip(), body=body)


def to_host(value: bytes) -> bytes:
    """A request with a `Host` field."""
    return GET + b"host: " + value + b"\r\n\r\n"


def target_of(value: bytes) -> bytes:
    """A request for a target."""
    return b"GET " + value + b" HTTP/1.1\r\n" + HOST + b"\r\n"


def version(value: bytes) -> bytes:
    """A request in a version of HTTP."""
    return b"GET /healthz " + value + b"\r\n" + HOST + b"\r\n"


def with_line(value: bytes) -> bytes:
    """A request with a line among its headers."""
    return GET + HOST + value + b"\r\n\r\n"


MISFRAMED = {
    # Where the body ends, RFC 9112, section 6
    "length and chunks": framed(b"content-length: 5", CHUNKED.rstrip(), body=b"0\r\n\r\n"),
    "chunks and length": framed(CHUNKED.rstrip(), b"content-length: 5", body=b"0\r\n\r\n"),
    "two lengths": framed(b"content-length: 2", b"content-length: 3"),
    "the same length twice": framed(b"content-length: 2", b"content-length: 2"),
    "a list of lengths": framed(b"content-length: 2, 3"),
    "a length with a sign": framed(b"content-length: +2"),
    "a negative length": framed(b"content-length: -2"),
    "no length": framed(b"content-length:"),
    "a length in hexadecimal": framed(b"content-length: 0x2"),
    "a length with an underscore": framed(b"content-length: 0_2"),
    "a length with a fraction": framed(b"content-length: 2.0"),
    "a length in Arabic digits": framed("content-length: ٢".encode()),
    "a length of 5 000 digits": framed(b"content-length: " + b"9" * 5_000),
    "an unknown coding": framed(b"transfer-encoding: x"),
    "an unknown coding, then chunks": framed(b"transfer-encoding: gzip, chunked"),
    "chunks, then an unknown coding": framed(b"transfer-encoding: chunked, x"),
    "chunks twice": framed(CHUNKED.rstrip(), CHUNKED.rstrip()),
    "chunks within chunks": framed(b"transfer-encoding: chunked, chunked"),
    "a coding with a tab": framed(b"transfer-encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "a coding in quotes": framed(b'transfer-encoding: "chunked"', body=b"0\r\n\r\n"),
    "chunks in HTTP/1.0": chunks(b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a space before the colon": framed(b"transfer-encoding : chunked", body=b"0\r\n\r\n"),
    # Chunks, section 7.1
    "a chunk size that is none": chunks(b"x\r\n{}\r\n0\r\n\r\n"),
    "an empty chunk size": chunks(b"\r\n{}\r\n0\r\n\r\n"),
    "a negative chunk size": chunks(b"-2\r\n{}\r\n0\r\n\r\n"),
    "a chunk size with a sign": chunks(b"+2\r\n{}\r\n0\r\n\r\n"),
    "a chunk size with a prefix": chunks(b"0x2\r\n{}\r\n0\r\n\r\n"),
    "a chunk size with an underscore": chunks(b"0_2\r\n{}\r\n0\r\n\r\n"),
    "a chunk size after a space": chunks(b" 2\r\n{}\r\n0\r\n\r\n"),
    "a chunk size of 21 digits": chunks(b"f" * 21 + b"\r\n{}\r\n0\r\n\r\n"),
    "a chunk size that ends with LF": chunks(b"2\n{}\r\n0\r\n\r\n"),
    "a chunk longer than its size": chunks(b"2\r\n{}{}\r\n0\r\n\r\n"),
    "a chunk without an end": chunks(b"2\r\n{}0\r\n\r\n"),
    "a chunk that ends with LF": chunks(b"2\r\n{}\n0\r\n\r\n"),
    "a trailer that is no field": chunks(b"2\r\n{}\r\n0\r\nno field\r\n\r\n"),
}

MALFORMED = {
    # `Host`, RFC 9112, section 3.2
    "no host": GET + b"\r\n",
    "two hosts": GET + HOST + HOST + b"\r\n",
    "an empty host": to_host(b""),
    "a host with a space": to_host(b"a b"),
    "a host with a user": to_host(b"127.0.0.1@evil.example"),
    "two hosts in one": to_host(b"a,b"),
    "a host with a path": to_host(b"127.0.0.1/healthz"),
    "a host with a query": to_host(b"127.0.0.1?x"),
    "a host with a fragment": to_host(b"127.0.0.1#x"),
    "a host that is a URL": to_host(b"http://127.0.0.1"),
    "half an IPv6 address": to_host(b"[::1"),
    "a port that is no number": to_host(b"127.0.0.1:x"),
    "a host that is not ASCII": to_host(b"\xff"),
    "a host in angle brackets": to_host(b"<localhost>"),
    # The target, section 3.2
    "@host": target_of(b"@evil.example"),
    "@host/path": target_of(b"@evil.example/healthz"),
    "a path without a slash": target_of(b"healthz"),
    "host:port": target_of(b"evil.example:80"),
    "a query alone": target_of(b"?x"),
    "a backslash": target_of(b"\\healthz"),
    "a URL without a host": target_of(b"http:///healthz"),
    "a URL with a user": target_of(b"http://127.0.0.1@evil.example/healthz"),
    "a URL with half an IPv6 address": target_of(b"http://[::1/healthz"),
    "a URL of another scheme": target_of(b"ftp://127.0.0.1/healthz"),
    "a target with a space": target_of(b"/a b"),
    "a target that is not ASCII": target_of(b"/\xff\xfe"),
    "a target with NUL": target_of(b"/\0"),
    "CONNECT": b"CONNECT evil.example:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    # The request line, section 3
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "version 0.9": version(b"HTTP/0.9"),
    "version 2.0": version(b"HTTP/2.0"),
    "version 9.9": version(b"HTTP/9.9"),
    "version 11.1": version(b"HTTP/11.1"),
    "a version in small letters": version(b"http/1.1"),
    "a word after the version": version(b"HTTP/1.1 x"),
    "another protocol": version(b"RTSP/1.0"),
    "two spaces": b"GET  /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "tabs": b"GET\t/healthz\tHTTP/1.1\r\n" + HOST + b"\r\n",
    "a method with a delimiter": b"G@T /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "no method": b" /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500) + b"\r\n\r\n",
    "a preface in the wrong version": b"PRI * HTTP/1.1\r\n" + HOST + b"\r\n",
    # Header fields, section 5
    "a name with a space": with_line(b"x y: z"),
    "a space before a colon": with_line(b"x : z"),
    "no name": with_line(b": z"),
    "no colon": with_line(b"x"),
    "a name that is not ASCII": with_line("ü: z".encode()),
    "a name in parentheses": with_line(b"(x): z"),
    "NUL in a name": with_line(b"x\0: z"),
    "NUL in a value": with_line(b"x: y\0z"),
    "CR in a value": with_line(b"x: y\rz"),
    "a first line that is folded": GET + b" x: y\r\n" + HOST + b"\r\n",
    # Lengths
    "a method of 10 kB": b"M" * 10_000 + b" /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method of 100 kB": b"M" * 100_000 + b" /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a target of 100 kB": target_of(b"/" + b"a" * 100_000),
    "a query of 100 kB": target_of(b"/healthz?" + b"a" * 100_000),
    "a value of 100 kB": with_line(b"x: " + b"y" * 100_000),
    "a name of 100 kB": with_line(b"x" * 100_000 + b": y"),
    "5 000 fields": with_line(b"\r\n".join(b"x: y" for _ in range(5_000))),
    "headers of 17 kB": with_line(b"x: " + b"y" * 17_000),
    "2 000 fields that come to 17 kB": with_line(b"\r\n".join([b"x: 012"] * 2_200)),
    "a line folded 10 000 times": with_line(b"x: y" + b"\r\n y" * 10_000),
}


class Exchange:
    """A connection that says exactly what it is told to."""

    def __init__(self, server: Server, *, buffer: int = 2**18) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(SECONDS)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        host, _, port = server.address.partition(":")
        self.socket.connect((host, int(port)))
        self.input = self.socket.makefile("rb")

    def say(self, data: bytes) -> None:
        """Send something; the server may have closed the connection already."""
        with suppress(ConnectionError):
            self.socket.sendall(data)

    def answer(self) -> int | None:
        """Read the next answer, and return its status; None if there is no other."""
        try:
            line = self.input.readline()
            if not line:
                return None
            headers = parse_headers(self.input)
            self.input.read(int(headers["content-length"]))
        except ConnectionError:
            return None
        return int(line.split()[1])

    def rest(self) -> bytes:
        """Read all that comes until the server closes the connection."""
        parts = []
        with suppress(ConnectionError):
            while part := self.input.read1():
                parts.append(part)
        return b"".join(parts)


@contextmanager
def connected(server: Server, count: int = 1, **options: int) -> Iterator[list[Exchange]]:
    """Connections, closed at the end."""
    with ExitStack() as stack:
        exchanges = [Exchange(server, **options) for _ in range(count)]
        for exchange in exchanges:
            stack.callback(exchange.socket.close)
            stack.callback(exchange.input.close)
        yield exchanges


def is_refused(status: int | None) -> bool:
    """Whether a request was refused: 4xx, 501 or 505, or the connection closed."""
    return status is None or 400 <= status < 500 or status in (501, 505)


# Malformed requests


@pytest.mark.parametrize("request_", MALFORMED.values(), ids=MALFORMED)
def test_malformed_requests_are_refused(target: Server, request_: bytes) -> None:
    """What is not a request is refused, or its connection closed, and harms nobody else."""
    with target.withstanding(mebibytes=4), connected(target) as [client]:
        client.say(request_)

        assert is_refused(client.answer())


@pytest.mark.parametrize("request_", MISFRAMED.values(), ids=MISFRAMED)
def test_misframed_requests_end_their_connection(target: Server, request_: bytes) -> None:
    """Where the end of a body is in doubt, what follows it is never taken for a request."""
    with target.withstanding(mebibytes=4), connected(target) as [client]:
        client.say(request_ + SMUGGLED)
        answers = client.rest()

    assert re.fullmatch(rb"(HTTP/1\.1 (4..|501|505) .*)?", answers, re.DOTALL)
    assert answers.count(b"HTTP/1.1 ") <= 1
    assert "smuggled" not in target.log.read_text()


def test_malformed_requests_leave_their_neighbours_alone(target: Server) -> None:
    """All of them at once, on as many connections, disturb no well-formed request among them."""
    with (
        target.withstanding(mebibytes=16),
        connected(target, len(MALFORMED)) as hostile,
        connected(target, len(MALFORMED)) as peaceful,
    ):
        for bad, good, request in zip(hostile, peaceful, MALFORMED.values(), strict=True):
            bad.say(request)
            good.say(GET + HOST + b"\r\n")

        answers = [client.answer() for client in peaceful]

        assert answers == [200] * len(MALFORMED)
        assert all(is_refused(client.answer()) for client in hostile)


def test_a_malformed_request_after_a_good_one(target: Server) -> None:
    """The first is answered, the second refused, the third never read."""
    with target.withstanding(mebibytes=4), connected(target) as [client]:
        client.say(GET + HOST + b"\r\n" + MALFORMED["NUL in a value"] + SMUGGLED)
        answers = re.findall(rb"HTTP/1\.1 (\d\d\d)", client.rest())

    assert answers == [b"200", b"400"]


def test_no_garbled_request_is_a_defect(target: Server) -> None:
    """Requests with random changes get an answer below 500, 501 or 505, or none at all."""
    chance = random.Random(2026)  # noqa: S311 - the same changes each time
    sound = [GET + HOST + CLOSE + b"\r\n", framed(b"content-length: 2", CLOSE.rstrip())]
    sound.append(chunks(b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n").replace(HOST, HOST + CLOSE))
    with target.withstanding(mebibytes=8):
        for _ in range(300):
            garbled = bytearray(chance.choice(sound))
            for _ in range(chance.randint(1, 3)):
                at = chance.randrange(len(garbled))
                garbled[at : at + chance.randint(0, 2)] = chance.randbytes(chance.randint(0, 2))
            with connected(target) as [client]:
                client.say(bytes(garbled))
                client.socket.shutdown(socket.SHUT_WR)
                answers = client.rest()

                assert all(
                    status < b"500" or status in (b"501", b"505")
                    for status in re.findall(rb"HTTP/1\.1 (\d\d\d)", answers)
                ), bytes(garbled)


# Unusual requests


UNUSUAL = {
    # RFC 9112, section 3.2.2: a server must accept them, and ignore `Host`.
    "a URL": (target_of(b"http://127.0.0.1/healthz"), 200),
    "a URL in capitals": (target_of(b"HTTP://127.0.0.1/healthz"), 200),
    "a URL with another host": (target_of(b"http://status.example/healthz?x"), 200),
    "a URL without a path": (target_of(b"http://127.0.0.1"), 200),
    "a URL with a query and no path": (target_of(b"http://127.0.0.1?x=y"), 200),
    "HTTP/1.0": (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
    "HTTP/1.0 with a host": (b"GET /healthz HTTP/1.0\r\n" + HOST + b"\r\n", 200),
    "chunk extensions": (chunks(b'2;x="y";z\r\n{}\r\n0;x\r\n\r\n'), 200),
    "trailers": (chunks(b"2\r\n{}\r\n0\r\nx: y\r\n\r\n"), 200),
    "leading zeros": (chunks(b"002\r\n{}\r\n000\r\n\r\n"), 200),
    "a length with leading zeros": (framed(b"content-length: 002"), 200),
    "another expectation": (with_line(b"expect: nothing"), 200),
    "7 000 parameters": (target_of(b"/healthz?" + b"x&" * 7_000), 200),
    "7 000 parameters of a call": (target_of(LIST.split()[1] + b"?" + b"x&" * 7_000), 405),
    "2 000 encodings": (with_line(b"accept-encoding: " + b"gzip;q=0," * 1_500), 200),
    "2 000 etags": (with_line(b"if-none-match: " + b'"x",' * 2_000), 200),
    "HEAD": (b"HEAD /healthz HTTP/1.1\r\n" + HOST + b"\r\n", 200),
    "a body with GET": (GET + HOST + b"content-length: 2\r\n\r\n{}", 200),
    "TRACE": (b"TRACE /healthz HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "TRACE of a call": (LIST.replace(b"POST", b"TRACE") + HOST + b"\r\n", 405),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "an unknown method": (b"BREW /healthz HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "an unknown protocol": (with_line(b"connection: upgrade\r\nupgrade: x"), 200),
    # RFC 9113, section 3.1, has no upgrade to HTTP/2 any more.
    "h2c": (with_line(b"connection: upgrade, http2-settings\r\nupgrade: h2c"), 200),
    "h2c with settings": (
        with_line(
            b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk"
        ),
        200,
    ),
    "h2c with bad settings": (
        with_line(b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: \xff"),
        200,
    ),
    # No path leads anywhere but where it says.
    "//host/path": (target_of(b"//evil.example/healthz"), 404),
    "two slashes": (target_of(b"//healthz"), 404),
    "..": (target_of(b"/x/../healthz"), 404),
    ".. in percents": (target_of(b"/x/%2e%2e/healthz"), 404),
    ".. further up": (target_of(b"/../../../../etc/passwd"), 404),
    "a slash in percents": (target_of(b"/%2fhealthz"), 404),
    "a backslash in percents": (target_of(b"/%5chealthz"), 404),
    "NUL in percents": (target_of(b"/healthz%00"), 404),
    "a line break in percents": (target_of(b"/healthz%0d%0ax:%20y"), 404),
    "percents that are not UTF-8": (target_of(b"/healthz%ff%fe"), 404),
    "half a percent": (target_of(b"/healthz%"), 404),
    "percents of percents": (target_of(b"/%2568ealthz"), 404),
    "a fragment": (target_of(b"/healthz#x"), 404),
}


@pytest.mark.parametrize(("request_", "status"), UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_requests(target: Server, request_: bytes, status: int) -> None:
    """What the RFCs allow is answered as they say, and nothing strange comes of it."""
    with target.withstanding(mebibytes=4), connected(target) as [client]:
        client.say(request_)
        if request_.startswith(b"HEAD"):
            client.socket.shutdown(socket.SHUT_WR)
            answer = re.findall(rb"HTTP/1\.1 (\d\d\d)", client.rest())

            assert answer == [b"%d" % status]
        else:
            assert client.answer() == status


WEBSOCKETS = {
    "a sound one": b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
    "an old one": b"sec-websocket-version: 8\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
    "no key": b"sec-websocket-version: 13",
    "nothing": b"x: y",
    "extensions that are not ASCII": b"sec-websocket-extensions: \xff",
    "protocols that are not ASCII": b"sec-websocket-protocol: \xff",
    "a body": CHUNKED.rstrip(),
}


@pytest.mark.parametrize("handshake", WEBSOCKETS.values(), ids=WEBSOCKETS)
def test_no_websocket_is_opened(target: Server, handshake: bytes) -> None:
    """A handshake is refused, or answered as if it were none, and never with 101."""
    with target.withstanding(mebibytes=4), connected(target) as [client]:
        client.say(with_line(b"connection: upgrade\r\nupgrade: websocket\r\n" + handshake))
        client.say(b"5\r\nhello\r\n0\r\n\r\n")

        assert client.answer() in {200, 400, 403}


def test_who_waits_for_100_continue_gets_it(target: Server) -> None:
    """The body is asked for once, and then the call is answered."""
    with connected(target) as [client]:
        client.say(framed(b"content-length: 2", b"expect: 100-continue", body=b""))
        interim = client.socket.recv(2**16)
        client.say(b"{}")

        assert interim.startswith(b"HTTP/1.1 100 ")
        assert client.answer() == 200


def test_pipelined_requests_are_answered_in_order(target: Server) -> None:
    """However many requests come at once, each has its answer, in the order of the requests."""
    paths = [b"/healthz", b"/no-such-page"] * 250
    with target.withstanding(mebibytes=8), connected(target) as [client]:
        client.say(b"".join(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n" for path in paths))
        statuses = [client.answer() for _ in paths]

    assert statuses == [200, 404] * 250


def test_http2_does_not_begin_within_a_connection(target: Server) -> None:
    """Its preface after a request of HTTP/1.1 is not taken for a request, nor does it hang."""
    with target.withstanding(mebibytes=4), connected(target) as [client]:
        client.say(GET + HOST + b"\r\n" + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(200))

        assert client.answer() == 200
        assert b"HTTP/1.1" not in client.rest()


def test_no_request_forges_a_line_of_the_log(target: Server) -> None:
    """Whatever requests contain, each has one line, and says no more than its method and path."""
    forged = b'{"event": "forged"}'
    with connected(target, 4) as clients:
        for client, request in zip(
            clients,
            (
                target_of(b"/" + b"".join(b"%%%02x" % byte for byte in b"\r\n" + forged)),
                target_of(b"/%1b%5b2J%e2%80%a8%c2%85"),
                target_of(b"/healthz?" + forged.replace(b" ", b"")),
                with_line(b"user-agent: " + forged),
            ),
            strict=True,
        ):
            client.say(request)
            client.answer()
    lines = [json.loads(line)["event"] for line in target.log.read_text().splitlines()]

    assert all(line.isprintable() for line in lines)
    assert "forged" not in lines
    assert "GET /healthz 200" in lines


# Endless requests


def endless(client: Exchange, start: bytes, more: bytes, size: int) -> None:
    """Send `start`, and then `more` until it is `size` bytes, or the server has had enough."""
    client.say(start)
    with suppress(ConnectionError):
        for _ in range(size // len(more) + 1):
            client.socket.sendall(more)


ENDLESS = {
    "a request line": (b"GET /", b"a" * 2**14),
    "a field": (GET + b"x: ", b"y" * 2**14),
    "fields": (GET + HOST, b"x: y\r\n" * 2**11),
    "empty lines": (b"", b"\r\n" * 2**13),
    "a chunk size": (chunks(b""), b"0" * 2**14),
    "a chunk extension": (chunks(b"2;"), b"x" * 2**14),
    "a trailer": (chunks(b"0\r\nx: "), b"y" * 2**14),
    "trailers": (chunks(b"0\r\n"), b"x: y\r\n" * 2**11),
    "a body": (framed(b"content-length: 99999999999", body=b""), b" " * 2**16),
    "a body in chunks": (chunks(b""), b"10000\r\n" + b" " * 2**16 + b"\r\n"),
    "one chunk": (chunks(b"fffffffffffffff\r\n"), b" " * 2**16),
    "a body for a page": (GET + HOST + CHUNKED + b"\r\n", b"10000\r\n" + b" " * 2**16 + b"\r\n"),
    "a body for no page": (
        target_of(b"/x")[:-2] + CHUNKED + b"\r\n",
        b"1000\r\n" + b" " * 2**12 + b"\r\n",
    ),
}


@pytest.mark.parametrize(("start", "more"), ENDLESS.values(), ids=ENDLESS)
def test_endless_requests_are_cut_off(target: Server, start: bytes, more: bytes) -> None:
    """A request that does not end is refused, and its connection closed, in bounded memory."""
    with target.withstanding(mebibytes=16), connected(target) as [client]:
        endless(client, start, more, 80 * MEBIBYTE)

        assert client.answer() != 500
        assert client.answer() is None


def test_tiny_chunks_cost_no_more_than_their_bytes(target: Server) -> None:
    """A body in chunks of one byte each, on several connections, is refused in bounded memory."""
    with target.withstanding(mebibytes=8), connected(target, 2) as clients:
        for client in clients:
            endless(client, chunks(b""), b"1\r\n{\r\n" * 2**11, MEBIBYTE // 4)
            client.say(b"0\r\n\r\n")
        statuses = [client.answer() for client in clients]

    assert statuses == [400] * 2


# Clients that are slow, or leave

FIVE_MEGABYTES = framed(b"content-length: 18", body=b'{"extended": true}')
"""A call whose answer is more than the kernel takes off the server's hands, if there is so much."""


def ended(client: Exchange) -> bool:
    """Whether the server has closed a connection; what it says before is dropped."""
    client.socket.settimeout(0)
    try:
        while data := client.socket.recv(2**16):
            assert not data.startswith(b"HTTP/1.1 2")
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    else:
        return True
    finally:
        client.socket.settimeout(SECONDS)


SLOW = {
    "a request line": (b"GET /", b"a"),
    "a field": (GET + b"x: ", b"y"),
    "fields": (GET + HOST, b"x:\r\n"),
    "empty lines": (b"\r\n", b"\r\n"),
    "a body": (framed(b"content-length: 9999", body=b"{"), b" "),
    "a body in chunks": (chunks(b"1\r\n{\r\n"), b"1\r\n \r\n"),
    "a chunk": (chunks(b"fff\r\n"), b" "),
    "a chunk extension": (chunks(b"1;"), b"x"),
    "trailers": (chunks(b"0\r\n"), b"x:\r\n"),
    "a body for no page": (target_of(b"/x")[:-2] + CHUNKED + b"\r\n", b"1\r\n \r\n"),
}


def test_slow_requests_are_cut_off(impatient: Server) -> None:
    """Each part of a request has its time, however busily the bytes trickle in."""
    with (
        impatient.withstanding(mebibytes=16),
        connected(impatient, 4 * len(SLOW)) as clients,
        impatient.json() as neighbour,
    ):
        left = dict(zip(clients, 4 * list(SLOW.items()), strict=True))
        for client, (_, (start, _)) in left.items():
            client.say(start)
        deadline = time.monotonic() + SECONDS
        while left:
            assert time.monotonic() < deadline, {name for name, _ in left.values()}
            for client, (_, (_, byte)) in left.items():
                client.say(byte)
            neighbour.call("GetItem", item_id="x")  # which paces this as well
            left = {client: slow for client, slow in left.items() if not ended(client)}


STOPPED = {
    "half a request line": GET[:-4],
    "a request line": GET,
    "fields": GET + HOST,
    "half a body": framed(b"content-length: 9999"),
    "half a chunk": chunks(b"fff\r\n{"),
    "no continuation": framed(b"content-length: 2", b"expect: 100-continue", body=b""),
}

IDLE = {
    "nothing": b"",
    "a whole request": GET + HOST + b"\r\n",
    "half a preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM",
}


def test_requests_that_stop_are_cut_off(impatient: Server) -> None:
    """A request of which nothing more comes is not waited for."""
    fall_silent(impatient, STOPPED.values())


def test_who_does_not_send_the_body_is_told(impatient: Server) -> None:
    """A call whose body does not come in time is answered before its connection is closed."""
    with connected(impatient, 3) as [body, chunk, expecting]:
        body.say(STOPPED["half a body"])
        chunk.say(STOPPED["half a chunk"])
        expecting.say(STOPPED["no continuation"])

        assert expecting.socket.recv(2**16).startswith(b"HTTP/1.1 100 ")
        assert [client.answer() for client in (body, chunk, expecting)] == [504] * 3
        assert [client.answer() for client in (body, chunk, expecting)] == [None] * 3


def test_who_takes_no_answer_is_cut_off(impatient: Server) -> None:
    """A connection whose client reads nothing is closed, whatever waits to be sent."""
    with impatient.json() as neighbour:
        for number in range(2):
            item = neighbour.ok("AddItem", name=f"long {number}")["item"]
            for _ in range(70):
                text = "\N{GRINNING FACE}" * 10_000
                neighbour.ok("AddNote", item_id=item["id"], note_text=text)
    before = impatient.open_files()
    with impatient.withstanding(mebibytes=90), connected(impatient, 8, buffer=4096) as clients:
        for client in clients:
            client.say(FIVE_MEGABYTES)
        for client in clients:
            assert client.socket.recv(9) == b"HTTP/1.1 "
        deadline = time.monotonic() + SECONDS
        while impatient.open_files() >= before + len(clients):  # another client calls as well
            assert time.monotonic() < deadline, "the connections stay open"


def test_idle_connections_are_closed(brisk: Server) -> None:
    """A connection without a request is not kept open for ever."""
    fall_silent(brisk, IDLE.values())


def fall_silent(server: Server, starts: Collection[bytes]) -> None:
    """Say something on each of many connections, and wait until the server closes them all."""
    with server.withstanding(mebibytes=16), connected(server, 4 * len(starts)) as clients:
        for client, start in zip(clients, 4 * list(starts), strict=True):
            client.say(start)
        answers = [client.rest() for client in clients]

    assert all(b"HTTP/1.1 500" not in answer for answer in answers)


def test_slow_requests_do_not_occupy_the_server(target: Server) -> None:
    """While hundreds of requests never end, others are served."""
    with target.withstanding(mebibytes=32), connected(target, 300) as clients:
        starts = [*STOPPED.values(), *IDLE.values()]
        for number, client in enumerate(clients):
            client.say(starts[number % len(starts)])


def test_answers_that_nobody_reads(stocked: Server) -> None:
    """Clients that ask for much and read nothing hold no more than an answer each."""
    with stocked.withstanding(mebibytes=150), connected(stocked, 20, buffer=4096) as clients:
        for client in clients:
            client.say(FIVE_MEGABYTES)
        for client in clients:
            assert client.socket.recv(9) == b"HTTP/1.1 "


def test_pipelined_answers_that_nobody_reads(stocked: Server) -> None:
    """Who reads nothing has no more than one request carried out at a time."""
    with stocked.withstanding(mebibytes=32), connected(stocked, buffer=4096) as [client]:
        client.socket.settimeout(0.5)  # by then the server has stopped reading
        with suppress(TimeoutError):
            client.socket.sendall(FIVE_MEGABYTES * 10_000)


def test_clients_that_leave(stocked: Server) -> None:
    """Clients may disconnect at any moment, politely or not, and leave nothing behind."""
    starts = [FIVE_MEGABYTES, *(start for start, _ in SLOW.values())]
    reset = b"\1\0\0\0\0\0\0\0"  # instead of a goodbye, see socket(7)
    with stocked.withstanding(mebibytes=64):
        for number in range(150):
            with connected(stocked) as [client]:
                client.say(starts[number % len(starts)])
                if number % 3 == 0:
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                elif number % 3 == 1:
                    client.socket.shutdown(socket.SHUT_WR)


WATCH = (
    b"POST /grpc.health.v1.Health/Watch HTTP/1.1\r\n"
    + HOST
    + b"content-type: application/connect+proto\r\ncontent-length: 5\r\n\r\n"
    + bytes(5)
)
"""A call that never ends of itself."""


def is_served(watching: Exchange) -> bool:
    """Whether a call of Watch has been accepted: the health comes instead of an error."""
    answer = b""
    while part := watching.input.read1():
        answer += part
        if b"\x08\x01" in answer:  # SERVING
            return True
        if b"error" in answer:
            break
    return False


def test_watchers_that_leave_make_room_for_others(impatient: Server) -> None:
    """A streaming call ends with its client, whatever that has sent behind the call."""
    behind = [b"", b"x", b"x" * 2**17]
    with impatient.withstanding(mebibytes=48), ExitStack() as stack:
        for number in range(limits.STREAMS):
            [client] = stack.enter_context(connected(impatient))
            client.say(WATCH + behind[number % len(behind)])

            assert is_served(client)
    deadline = time.monotonic() + SECONDS
    served = False
    while not served:
        assert time.monotonic() < deadline
        with connected(impatient) as [client]:
            client.say(WATCH)
            served = is_served(client)


def test_headers_up_to_the_limit_are_accepted(target: Server) -> None:
    """The limit cuts nobody who keeps to it."""
    request = GET + HOST + CLOSE + b"x: %s\r\n\r\n"
    room = limits.HEADER_BYTES - len(request)
    with connected(target) as [client]:
        client.say(request % (b"y" * room))

        assert client.answer() == 200
