"""Answers that are kept ready: whole, compressed, with an ETag, for as many requests as come."""

from __future__ import annotations

import asyncio
import functools
import gzip
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Message = dict[str, Any]
Messages = tuple[Message, Message]
"""The two of an answer: its start and its body."""

HTML = "text/html; charset=utf-8"
JSON = "application/json"

REVALIDATED = "public, no-cache"
IMMUTABLE = "public, max-age=31536000, immutable"
UNKEPT = "no-store"

SECURITY: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # With `no-referrer`, browsers would send `Origin: null` with our own forms, and over plain HTTP
    # nothing else that tells these from other sites': https://fetch.spec.whatwg.org/#origin-header
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
"""What every answer of the pages has."""

_WORTHWHILE_BYTES = 1024
"""Below this size, compressing costs more than sending does."""

_LARGE_BYTES = 64 * 1024
"""From this size on, another thread compresses: zlib does not hold the interpreter's lock."""

_OVERHEAD_BYTES = 4 * 1024
"""What an answer takes besides its body."""

_LEVEL = 6

_NOT_MODIFIED_HAS = frozenset(
    {b"cache-control", b"vary", b"etag", b"access-control-allow-origin"}
    | {name.encode() for name in SECURITY}
)
"""RFC 9110, section 15.4.5; and what every answer has."""


class Kept(Response):
    """An answer with strong ETags, whole and compressed, which are made once.

    Args:
        body: the content.
        content_type: its type, with its charset.
        cache_control: the header of that name.
        headers: further ones.
        compressed: the content as gzip; None if it is not worth it.

    Attributes:
        size: about how many bytes of memory it takes.
    """

    def __init__(
        self,
        body: bytes,
        *,
        content_type: str,
        cache_control: str = REVALIDATED,
        headers: Mapping[str, str] | None = None,
        compressed: bytes | None = None,
    ) -> None:
        # Starlette's own is not called: nothing of what it prepares is used.
        self.background = None
        self.status_code = 200
        digest = hashlib.blake2b(body, digest_size=12).hexdigest()
        shared = [
            (b"content-type", content_type.encode()),
            (b"cache-control", cache_control.encode()),
            (b"vary", b"Accept-Encoding"),
            *_encoded(SECURITY.items()),
            *_encoded((headers or {}).items()),
        ]
        self.size = _OVERHEAD_BYTES + len(body) + len(compressed or b"")
        self.plain = _Form(body, f'"{digest}"'.encode(), shared)
        self.gzip = self.plain
        if compressed is not None:
            encoding = (b"content-encoding", b"gzip")
            self.gzip = _Form(compressed, f'"{digest}-gzip"'.encode(), [*shared, encoding])

    def messages(self, scope: Scope) -> Messages:
        """Return the messages that answer a GET or a HEAD."""
        accepted = condition = None
        for name, value in scope["headers"]:
            if name == b"accept-encoding":
                accepted = value
            elif name == b"if-none-match":
                condition = value
        form = self.gzip if accepted is not None and takes_gzip(accepted) else self.plain
        if condition is not None and (condition == form.etag or _matches(condition, form.etag)):
            return form.not_modified
        return form.whole if scope["method"] == "GET" else form.head

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        for message in self.messages(scope):
            await send(message)


class _Form:
    """One form of an answer: its messages for each case."""

    def __init__(self, body: bytes, etag: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.etag = etag
        headers = [*headers, (b"etag", etag)]
        length = (b"content-length", b"%d" % len(body))
        start: Message = {
            "type": "http.response.start",
            "status": 200,
            "headers": [*headers, length],
        }
        nothing: Message = {"type": "http.response.body", "body": b"", "more_body": False}
        self.whole: Messages = (start, {**nothing, "body": body})
        self.head: Messages = (start, nothing)
        few = [pair for pair in headers if pair[0] in _NOT_MODIFIED_HAS]
        self.not_modified: Messages = ({**start, "status": 304, "headers": few}, nothing)


async def keep(
    body: bytes,
    *,
    content_type: str,
    cache_control: str = REVALIDATED,
    headers: Mapping[str, str] | None = None,
) -> Kept:
    """Make an answer to keep; a large one is compressed aside."""
    compressed = None
    if len(body) >= _LARGE_BYTES:
        compressed = await asyncio.to_thread(compress, body)
    elif len(body) >= _WORTHWHILE_BYTES:
        compressed = compress(body)
    return Kept(
        body,
        content_type=content_type,
        cache_control=cache_control,
        headers=headers,
        compressed=compressed,
    )


def compress(data: bytes) -> bytes:
    """Compress, without the time in the header, so that equal answers stay equal."""
    return gzip.compress(data, compresslevel=_LEVEL, mtime=0)


@functools.lru_cache(maxsize=256)
def takes_gzip(accepted: bytes) -> bool:
    """Return whether a client takes gzip, by its Accept-Encoding, RFC 9110, section 12.5.3."""
    for each in accepted.decode("latin-1").lower().split(","):
        coding, _, weight = each.partition(";")
        if coding.strip() in {"gzip", "*"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def _matches(condition: bytes, etag: bytes) -> bool:
    """Compare as If-None-Match does, RFC 9110, section 13.1.2."""
    given = {each.strip().removeprefix(b"W/") for each in condition.split(b",")}
    return not given.isdisjoint({b"*", etag})


def _encoded(pairs: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in pairs]
