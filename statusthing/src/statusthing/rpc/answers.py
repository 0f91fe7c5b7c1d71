"""How answers are sent: in one piece with a length, with ETags where they may be cached.

connectrpc writes them uncompressed, and what is large is compressed here. Refusals of requests that
connectrpc does not get to see are here too.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from connectrpc.code import Code

from statusthing.asgi import Scope, Send
from statusthing.rpc.compression import WORTHWHILE_BYTES, compress_aside, is_wanted
from statusthing.rpc.errors import as_headers, as_json, described

CONNECT = frozenset({"application/json", "application/proto"})
CONNECT_STREAM = frozenset({"application/connect+json", "application/connect+proto"})
GRPC = frozenset({"application/grpc", "application/grpc+proto", "application/grpc+json"})
GRPC_WEB = frozenset(
    {"application/grpc-web", "application/grpc-web+proto", "application/grpc-web+json"}
)

PUBLIC = "public, no-cache"
"""The Cache-Control of what everybody may see: keep it, and ask each time whether it holds."""

_NOT_MODIFIED = 304

_ENCODING_HEADERS = (b"accept-encoding", b"content-encoding")
_ENVELOPE_HEADERS: Mapping[str, tuple[bytes, bytes]] = MappingProxyType(
    dict.fromkeys(GRPC | GRPC_WEB, (b"grpc-accept-encoding", b"grpc-encoding"))
    | dict.fromkeys(CONNECT_STREAM, (b"connect-accept-encoding", b"connect-content-encoding"))
)
"""For content types whose messages come in envelopes: how headers name what may be compressed."""

Headers = list[tuple[bytes, bytes]]

# https://grpc.io/docs/guides/status-codes/
_GRPC_NUMBERS = {Code.UNIMPLEMENTED: 12, Code.UNAVAILABLE: 14}
_ESCAPED = re.compile(rb"^ |[^ -$&-~]| $")

_ENVELOPE = struct.Struct(">BI")  # https://connectrpc.com/docs/protocol/#streaming-rpcs
_COMPRESSED = 1


def header(scope: Scope, name: bytes) -> str:
    """Return the first value of a header, whose name is given in lower case; empty if absent."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return ""


class OneWrite:
    """Holds an answer's head back until its body is there, and gives a single body its length.

    Large messages are compressed for clients that want it. Anonymous answers to a GET get a strong
    ETag, and 304 where the client has them. A gRPC status in the head becomes a trailer.
    """

    def __init__(self, scope: Scope, send: Send, content_type: str) -> None:
        accepted, self._encoding = _ENVELOPE_HEADERS.get(content_type, _ENCODING_HEADERS)
        wanted = is_wanted(header(scope, accepted))
        self._compresses_envelopes = wanted and content_type in _ENVELOPE_HEADERS
        self._compresses_body = wanted and content_type not in _ENVELOPE_HEADERS
        self._has_trailers = content_type in GRPC and "http.response.trailers" in scope.get(
            "extensions", {}
        )
        self._scope = scope
        self._send = send
        self._start: dict[str, Any] | None = None

    async def __call__(self, message: dict[str, Any]) -> None:
        """Send a message of ASGI."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        start, self._start = self._start, None
        if start is None or start.get("trailers") or message.get("more_body"):
            if self._compresses_envelopes:
                start, message = self._announced(start), await _compressed_envelope(message)
            if start is not None:
                await self._send(start)
            if message["type"] == "http.response.trailers":
                message = {**message, "headers": _readable(message["headers"])}
            await self._send(message)
        elif self._has_trailers and any(name == b"grpc-status" for name, _ in start["headers"]):
            await self._send_status(start)
        else:
            await self._send_whole(start, message["body"])

    def _announced(self, start: dict[str, Any] | None) -> dict[str, Any] | None:
        """Say in the head that messages may be compressed."""
        if start is None:
            return None
        headers = [pair for pair in start["headers"] if pair[0] != self._encoding]
        return {**start, "headers": [*headers, (self._encoding, b"gzip")]}

    async def _send_status(self, start: dict[str, Any]) -> None:
        # gRPC puts a status without a message into the head, which then has to end the stream.
        # ASGI ends it with the body, and clients take that for a stream that broke off.
        # https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses
        kept = [pair for pair in start["headers"] if not pair[0].startswith(b"grpc-")]
        status = _readable(pair for pair in start["headers"] if pair[0].startswith(b"grpc-"))
        await self._send({**start, "headers": kept, "trailers": True})
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        await self._send(
            {"type": "http.response.trailers", "headers": status, "more_trailers": False}
        )

    async def _send_whole(self, start: dict[str, Any], body: bytes) -> None:
        status = start["status"]
        headers = [pair for pair in start["headers"] if pair != (b"content-encoding", b"identity")]
        if self._compresses_body and len(body) >= WORTHWHILE_BYTES:
            body = await compress_aside(body)
            headers.append((b"content-encoding", b"gzip"))
        if (b"cache-control", PUBLIC.encode()) in headers:
            tag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
            headers = [pair for pair in headers if pair[0] != b"vary"]
            headers.append((b"vary", b"Accept-Encoding, Authorization"))
            headers.append((b"etag", tag.encode()))
            if _matches(header(self._scope, b"if-none-match"), tag):
                status, body = _NOT_MODIFIED, b""
        if status != _NOT_MODIFIED:
            headers.append((b"content-length", b"%d" % len(body)))
        await self._send({**start, "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


async def _compressed_envelope(message: dict[str, Any]) -> dict[str, Any]:
    """Compress a message that is worth it; connectrpc sends each in a body of its own."""
    body = message.get("body", b"")
    if len(body) < WORTHWHILE_BYTES or body[0]:
        return message
    data = await compress_aside(body[_ENVELOPE.size :])
    return {**message, "body": _ENVELOPE.pack(_COMPRESSED, len(data)) + data}


def _readable(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Have messages escape only what they must; grpc-js does not take back all that they may.

    https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses
    """
    return [
        (name, _ESCAPED.sub(_escape, unquote_to_bytes(value)) if name == b"grpc-message" else value)
        for name, value in headers
    ]


def _escape(character: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(character[0])


def _matches(condition: str, tag: str) -> bool:
    """Compare as If-None-Match does, RFC 9110, section 13.1.2."""
    given = {each.strip().removeprefix("W/") for each in condition.split(",")}
    return not given.isdisjoint({"*", tag})


class Refusal(msgspec.Struct, frozen=True):
    """Why connectrpc does not get to see a request."""

    status: int
    code: Code
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


async def refuse(scope: Scope, send: Send, content_type: str, refusal: Refusal) -> None:
    """Answer a request in the way of the protocol that it speaks."""
    scope["statusthing.code"] = refusal.code.value
    headers = [*refusal.headers, (b"cache-control", b"no-store")]
    if content_type in GRPC | GRPC_WEB:
        status, body = 200, b""
        headers.append((b"content-type", content_type.encode()))
        headers += _grpc_status(refusal.code, refusal.message)
    else:
        status, body = refusal.status, _error_body(refusal.code, refusal.message)
        headers.append((b"content-type", b"application/json"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@cache
def _error_body(code: Code, message: str) -> bytes:
    return as_json(described(code, message))


@cache
def _grpc_status(code: Code, message: str) -> Headers:
    if code not in _GRPC_NUMBERS:
        code = Code.UNIMPLEMENTED
    return as_headers(described(code, message), _GRPC_NUMBERS[code])
