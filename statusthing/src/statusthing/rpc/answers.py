"""How answers are sent: in one piece with a length, with ETags where they may be cached.

Refusals of requests that are not RPCs are here too; connectrpc would send them without a body.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from connectrpc.code import Code

from statusthing.asgi import Scope, Send
from statusthing.rpc.errors import as_json, described

CONNECT = frozenset({"application/json", "application/proto"})
GRPC = frozenset({"application/grpc", "application/grpc+proto", "application/grpc+json"})
GRPC_WEB = frozenset(
    {"application/grpc-web", "application/grpc-web+proto", "application/grpc-web+json"}
)

PUBLIC = "public, no-cache"
"""The Cache-Control of what everybody may see: keep it, and ask each time whether it holds."""

_NOT_MODIFIED = 304


def header(scope: Scope, name: bytes) -> str:
    """Return the first value of a header, whose name is given in lower case; empty if absent."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return ""


class OneWrite:
    """Holds an answer's head back until its body is there, and gives a single body its length.

    Anonymous answers to a GET get a strong ETag, and 304 where the client has them. A gRPC status
    in the head becomes a trailer.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
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
            if start is not None:
                await self._send(start)
            await self._send(message)
        elif "http.response.trailers" in self._scope.get("extensions", {}) and any(
            name == b"grpc-status" for name, _ in start["headers"]
        ):
            await self._send_status(start)
        else:
            await self._send_whole(start, message["body"])

    async def _send_status(self, start: dict[str, Any]) -> None:
        # gRPC puts a status without a message into the head, which then has to end the stream.
        # ASGI ends it with the body, and clients take that for a stream that broke off.
        # https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses
        kept = [pair for pair in start["headers"] if not pair[0].startswith(b"grpc-")]
        status = [pair for pair in start["headers"] if pair[0].startswith(b"grpc-")]
        await self._send({**start, "headers": kept, "trailers": True})
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        await self._send(
            {"type": "http.response.trailers", "headers": status, "more_trailers": False}
        )

    async def _send_whole(self, start: dict[str, Any], body: bytes) -> None:
        status = start["status"]
        headers = [pair for pair in start["headers"] if pair != (b"content-encoding", b"identity")]
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


def _matches(condition: str, tag: str) -> bool:
    """Compare as If-None-Match does, RFC 9110, section 13.1.2."""
    given = {each.strip().removeprefix("W/") for each in condition.split(",")}
    return not given.isdisjoint({"*", tag})


class Refusal(msgspec.Struct, frozen=True):
    """Why a request is not an RPC."""

    status: int
    code: Code
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


async def refuse(scope: Scope, send: Send, content_type: str, refusal: Refusal) -> None:
    """Answer a request that is not an RPC, in the way of the protocol that it speaks."""
    scope["statusthing.code"] = refusal.code.value
    headers = [*refusal.headers, (b"cache-control", b"no-store")]
    if content_type in GRPC | GRPC_WEB:
        status, body = 200, b""
        headers += [
            (b"content-type", content_type.encode()),
            (b"grpc-status", b"12"),
            (b"grpc-message", refusal.message.encode()),
        ]
    else:
        status, body = refusal.status, as_json(described(refusal.code, refusal.message))
        headers.append((b"content-type", b"application/json"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
