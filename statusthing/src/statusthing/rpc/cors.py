"""Which web pages of other origins may call RPCs, by the CORS protocol of browsers.

What anybody may read is open to every origin, and everything else to the origins that are listed.
Cookies play no part: an answer never has Access-Control-Allow-Credentials, so that browsers keep
answers to requests with cookies from other origins. https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from statusthing.asgi import ASGIApp, Receive, Scope, Send, mounted_path
from statusthing.errors import UserMistake
from statusthing.rpc.answers import header

Headers = list[tuple[bytes, bytes]]

# https://html.spec.whatwg.org/multipage/browsers.html#ascii-serialisation-of-an-origin
_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?!0)(?P<port>[0-9]{1,5}))?"
)
_DEFAULT_PORTS = ("http", "80"), ("https", "443")
_LAST_PORT = 65_535

# What the clients of Connect and gRPC-Web for browsers send and read, https://connectrpc.com/docs/cors
_SENT = (
    b"content-type, connect-protocol-version, connect-timeout-ms, grpc-timeout, x-grpc-web, "
    b"x-user-agent"
)
_READ = (
    b"etag, grpc-message, grpc-status, grpc-status-details-bin, retry-after, statusthing-revision, "
    b"www-authenticate"
)

_EXPOSE = (b"access-control-expose-headers", _READ)
_ANY_ORIGIN: Headers = [(b"access-control-allow-origin", b"*"), _EXPOSE]
_PREFLIGHT: Headers = [
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-max-age", b"7200"),  # seconds; Chromium keeps it no longer
]


class Cors:
    """Lets pages of other origins read the answers of an application, errors included.

    Args:
        app: answers the requests.
        origins: who may call more than `public`, and send Authorization.
        public: the paths that every origin may call, without the prefix of a mount.

    Raises:
        UserMistake: an origin is not written as browsers send it.
    """

    def __init__(self, app: ASGIApp, *, origins: Iterable[str], public: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(map(_checked, origins))
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        origin = header(scope, b"origin")
        # A cache may keep the answer to a GET for a page of any origin, whoever asked first.
        if not origin and scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        granted = self._granted(origin, mounted_path(scope))
        preflight = scope["method"] == "OPTIONS" and header(scope, b"access-control-request-method")
        if granted and preflight:
            allowed = _SENT + (b", authorization" if origin in self._origins else b"")
            headers = [*granted, *_PREFLIGHT, (b"access-control-allow-headers", allowed)]
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body"})
        else:
            await self._app(scope, receive, _adding(granted, send) if granted else send)

    def _granted(self, origin: str, path: str) -> Headers:
        """Return the headers that open an answer to an origin, or none."""
        if path in self._public:
            return _ANY_ORIGIN
        if origin in self._origins:
            allowed = (b"access-control-allow-origin", origin.encode("ascii"))
            return [allowed, (b"vary", b"Origin"), _EXPOSE]
        return []


def _adding(headers: Headers, send: Send) -> Send:
    async def send_with_headers(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *headers]}
        await send(message)

    return send_with_headers


def _checked(origin: str) -> str:
    match = _ORIGIN.fullmatch(origin)
    port = match["port"] if match else None
    if (
        match is None
        or (port is not None and int(port) > _LAST_PORT)
        or (origin.partition(":")[0], port) in _DEFAULT_PORTS
    ):
        raise UserMistake(
            f"cannot use the CORS origin {origin!r}: write it as browsers send it, scheme://host "
            "or scheme://host:port in lower case, without a path, a default port or *, such as "
            "https://status.example.com"
        )
    return origin
