"""The floor: an ASGI application that sends the bytes it was given. What it costs is Hypercorn.

python -m bench.bare FILE FILE    the answer as JSON, and as a binary message for gRPC
python -m bench.bare FILE         a page with its headers, and 304 to whoever has it already
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from statusthing import server


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer JSON over HTTP/1.1, and gRPC over HTTP/2."""
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    if not _GRPC:
        await _send_page(scope, send)
        return
    grpc = scope["http_version"] == "2"
    body = _GRPC if grpc else _JSON
    headers = [
        (b"content-type", b"application/grpc" if grpc else b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    start = {"type": "http.response.start", "status": 200, "headers": headers, "trailers": grpc}
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": False})
    if grpc:
        await send({"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]})


async def _send_page(scope: Any, send: Any) -> None:
    known = any(name == b"if-none-match" for name, _ in scope["headers"])
    for message in _KNOWN if known else _PAGE:
        await send(message)


def _messages(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> tuple[Any, Any]:
    start = {"type": "http.response.start", "status": status, "headers": headers}
    return start, {"type": "http.response.body", "body": body, "more_body": False}


if __name__ == "__main__":
    _JSON, *messages = (Path(name).read_bytes() for name in sys.argv[1:])
    # Whether it is compressed, its length, the message:
    # https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
    _GRPC = b"".join(b"\0" + len(each).to_bytes(4, "big") + each for each in messages)
    if not _GRPC:
        head, _, page = _JSON.partition(b"\r\n\r\n")
        pairs = [line.partition(b": ")[::2] for line in head.split(b"\r\n")]
        _PAGE = _messages(200, pairs, page)
        few = [pair for pair in pairs if pair[0] in {b"etag", b"cache-control", b"vary"}]
        _KNOWN = _messages(304, few, b"")
    server.run(app, addr="127.0.0.1:0", on_start=lambda url: print("listening on", url, flush=True))
