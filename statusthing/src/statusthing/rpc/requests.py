"""What connectrpc gets to see of a request: whether it is a call, its headers, its body in time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import parse_qs

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType

from statusthing import limits
from statusthing.asgi import WHOLE, Receive, Scope
from statusthing.errors import InvalidArgument
from statusthing.rpc.answers import CONNECT, CONNECT_STREAM, GRPC, GRPC_WEB, Refusal
from statusthing.rpc.calls import Call

_SERVED = {
    True: (CONNECT, CONNECT | GRPC | GRPC_WEB),
    False: (CONNECT_STREAM, CONNECT_STREAM | GRPC | GRPC_WEB),
}
"""For calls that are unary, or not: the content types of Connect, and all."""

_ANY = re.compile(rb"[\x20-\x7e]*")
_PROTOCOL_HEADERS = {
    b"connect-content-encoding": _ANY,
    b"connect-timeout-ms": re.compile(rb"[0-9]{1,10}"),
    b"content-encoding": _ANY,
    b"grpc-encoding": _ANY,
    b"grpc-timeout": re.compile(rb"[0-9]{1,8}[HMSmun]"),
}
"""The headers that connectrpc is to read, and their valid form.

It would reject a malformed one before the caller is identified. What the client accepts is not
among them, because answers are compressed as they are sent.
"""

_BASE64 = re.compile(r"[A-Za-z0-9_-]*={0,2}")  # https://connectrpc.com/docs/protocol/#unary-get


def refusal(scope: Scope, method: MethodInfo[Any, Any], content_type: str) -> Refusal | None:
    """Return why a request is no call of a method, or None if it is one."""
    reads = method.idempotency_level is IdempotencyLevel.NO_SIDE_EFFECTS
    methods = ("GET", "POST") if reads else ("POST",)
    if scope["method"] not in methods:
        return _not_allowed(methods, f"this RPC takes {' or '.join(methods)}")
    connect, served = _SERVED[method.stream_type is StreamType.UNARY]
    if scope["method"] == "GET":
        query = _query(scope)
        if "message" not in query:
            return _not_allowed(methods, "a GET needs the query parameter message")
        content_type, served = f"application/{query.get('encoding', '')}", connect
    if content_type not in served:
        return _not_supported(connect, "this content type is not served")
    if content_type in GRPC and "http.response.trailers" not in scope.get("extensions", {}):
        return _not_supported(connect, "gRPC needs HTTP/2")
    if method.stream_type is StreamType.BIDI_STREAM and scope["http_version"] < "2":
        # As other servers of Connect answer it. Over HTTP/1.1 a body is read before it is answered.
        return Refusal(505, Code.UNIMPLEMENTED, "this RPC needs HTTP/2")
    return None


def _not_allowed(methods: tuple[str, ...], problem: str) -> Refusal:
    allow = (b"allow", ", ".join(methods).encode())
    return Refusal(405, Code.UNIMPLEMENTED, problem, (allow,))


def _not_supported(types: frozenset[str], problem: str) -> Refusal:
    accepted = (b"accept-post", ", ".join(sorted(types)).encode())
    problem = f"{problem}; send {' or '.join(sorted(types))}"
    return Refusal(415, Code.INVALID_ARGUMENT, problem, (accepted,))


def passed_on(
    scope: Scope, path: str, content_type: str
) -> tuple[dict[str, Any], InvalidArgument | None]:
    """Return the scope for connectrpc, and what is malformed in the one that came, if anything.

    Args:
        scope: the scope of a call.
        path: where connectrpc is to look for the RPC: at the root, wherever this is mounted.
        content_type: without parameters; empty for a GET.
    """
    problem = ""
    headers = [(b"content-type", content_type.encode())]
    for name, value in scope["headers"]:
        expected = _PROTOCOL_HEADERS.get(name)
        if expected is not None:
            if expected.fullmatch(value):
                headers.append((name, value))
            else:
                problem = f"the header {name.decode()} is malformed"
    inner = {**scope, "path": path, "root_path": "", "headers": headers}
    if scope["method"] == "GET":
        # connectrpc skips what is not base64, and cannot take bytes that URLs do not have.
        query = _query(scope)
        if query.get("base64") == "1" and not _BASE64.fullmatch(query["message"]):
            problem = "the query parameter message is not base64"
        if not scope["query_string"].isascii():
            problem = "the query is not URL-encoded"
            inner["query_string"] = b"encoding=json"
    return inner, InvalidArgument("", problem) if problem else None


def _query(scope: Scope) -> dict[str, str]:
    """Return the first value of each parameter."""
    found = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return {name: values[0] for name, values in found.items()}


class Bodies:
    """The bodies that are arriving, of all calls of an application together.

    Attributes:
        size: how much of them has come, in bytes.
    """

    size = 0


class Body:
    """The body of a unary call, for which connectrpc waits only so long.

    To be used by the current task alone. `asyncio.timeout_at` would do the same, at more than twice
    the cost, and every call pays it.

    Args:
        receive: the application's.
        call: what it belongs to.
        others: what else is arriving.
        complete: called when all of it has come; may raise.
    """

    def __init__(
        self, receive: Receive, call: Call, others: Bodies, complete: Callable[[], None]
    ) -> None:
        self._receive = receive
        self._call = call
        self._others = others
        self._complete = complete
        self._loop = asyncio.get_running_loop()
        self._task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._end = self._loop.time() + limits.BODY_SECONDS
        self._size = 0
        self._arriving = True
        self._whole = False  # but not said to have ended
        self._expired = False

    async def receive(self) -> Any:
        """Receive the next part, or what follows the last.

        Raises:
            ConnectError: it takes too long, or the client takes too long to take earlier answers,
                or the bodies that are arriving take up too much.
        """
        if not self._arriving:
            message = await self._receive()
            self._call.left |= message["type"] == "http.disconnect"
            return message
        timer = self._loop.call_at(self._end, self._expire)
        try:
            message = await self._receive()
        except asyncio.CancelledError as error:
            if not self._expired:
                raise
            self._task.uncancel()
            raise self._late() from error
        finally:
            timer.cancel()
        if message.get(WHOLE):
            self._whole = True
            self._end = self._loop.time() + limits.STALLED_SECONDS
        if message.get("more_body"):
            self._hold(len(message.get("body", b"")))
        else:
            self.release()
            if message["type"] == "http.request":
                self._complete()
            else:
                self._call.left = True
        return message

    def release(self) -> None:
        """Note that it is no longer arriving."""
        self._arriving = False
        self._others.size -= self._size
        self._size = 0

    def _hold(self, size: int) -> None:
        self._size += size
        self._others.size += size
        if self._others.size > limits.BODIES_BYTES and self._size > limits.UNREAD_BYTES:
            raise ConnectError(Code.UNAVAILABLE, "too many large requests are arriving, try again")

    def _late(self) -> ConnectError:
        if self._whole:
            problem = f"earlier answers were not taken within {limits.STALLED_SECONDS:g} seconds"
            return ConnectError(Code.UNAVAILABLE, problem)
        problem = f"the request took longer than {limits.BODY_SECONDS:g} seconds to arrive"
        return ConnectError(Code.DEADLINE_EXCEEDED, problem)

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()
