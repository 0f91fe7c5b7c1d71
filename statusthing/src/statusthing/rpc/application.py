"""The ASGI application that answers RPCs, and refuses every request that is not one.

connectrpc speaks the protocols. This module adds what it leaves open: the table of RPCs, error
bodies for requests that are not RPCs, finding out who the caller is, and caching headers.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import parse_qs

import msgspec
from connectrpc.code import Code
from connectrpc.compression.gzip import GzipCompression
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import ConnectASGIApplication, Endpoint

from statusthing.access import ANONYMOUS, Principal, Role, require
from statusthing.asgi import Receive, Scope, Send
from statusthing.errors import InvalidArgument, RequestError, Unauthenticated
from statusthing.identity import Identify
from statusthing.rpc.answers import (
    CONNECT,
    GRPC,
    GRPC_WEB,
    PUBLIC,
    OneWrite,
    Refusal,
    header,
    refuse,
)
from statusthing.rpc.errors import on_the_wire
from statusthing.rpc.json_codec import JsonCodec
from statusthing.rpc.proto_codec import ProtoCodec
from statusthing.service import OPERATIONS, Operation, StatusThing
from statusthing.service.messages import Request

MAX_MESSAGE = 4 * 1024 * 1024
"""The most bytes of a request message, before and after decompression."""

_GZIP_LEVEL = 6

REVISION_HEADER = "statusthing-revision"


_UNARY = CONNECT | GRPC | GRPC_WEB
_STREAM = frozenset({"application/connect+proto"}) | GRPC | GRPC_WEB

_ANY = re.compile(rb"[\x20-\x7e]*")
_PROTOCOL_HEADERS = {
    b"accept-encoding": _ANY,
    b"connect-timeout-ms": re.compile(rb"[0-9]{1,10}"),
    b"content-encoding": _ANY,
    b"grpc-accept-encoding": _ANY,
    b"grpc-encoding": _ANY,
    b"grpc-timeout": re.compile(rb"[0-9]{1,8}[HMSmun]"),
}
"""The headers that connectrpc reads, and their valid form.

Only these are passed on: connectrpc would reject a malformed one before the caller is identified.
"""


class _Call(msgspec.Struct):
    """The state of one request, shared with the interceptor."""

    scope: Scope
    principal: Principal = ANONYMOUS
    failure: Exception | None = None


_call: ContextVar[_Call] = ContextVar("call")


class _Gzip(GzipCompression):
    """connectrpc's gzip without the time in its header, so that equal answers stay equal."""

    def compress(self, data: bytes | bytearray | memoryview) -> bytes:
        return gzip.compress(data, compresslevel=_GZIP_LEVEL, mtime=0)


class _Codec:
    """A codec whose encoding errors become neutral internal errors.

    connectrpc encodes after the last interceptor, and would send their text.
    """

    def __init__(self, codec: JsonCodec | ProtoCodec) -> None:
        self.name = codec.name
        self.decode = codec.decode
        self._encode = codec.encode

    def encode(self, message: Any) -> bytes:
        try:
            return self._encode(message)
        except Exception as error:
            raise on_the_wire(error) from error


class _Connect(ConnectASGIApplication[None]):
    """connectrpc's application over all services at once."""

    path = ""


class RpcApplication:
    """Answers RPCs under `/statusthing.v1.<Service>/<Rpc>`, and anything else with 404.

    Args:
        st: the service.
        identify: who is asking.
        ready: is awaited before an RPC runs; what it raises is the RPC's error.
        extra_endpoints: further RPCs, path to endpoint; they need no role.
    """

    def __init__(
        self,
        st: StatusThing,
        *,
        identify: Identify,
        ready: Callable[[], Awaitable[None]],
        extra_endpoints: Mapping[str, Any],
    ) -> None:
        endpoints = {_path(row): _endpoint(st, row) for row in OPERATIONS.values()} | dict(
            extra_endpoints
        )
        self._methods = {path: endpoint.method for path, endpoint in endpoints.items()}
        self._connect = _Connect(
            service=None,
            endpoints=lambda _: endpoints,
            interceptors=[_Admission(identify, ready)],
            read_max_bytes=MAX_MESSAGE,
            codecs=[_Codec(JsonCodec()), _Codec(ProtoCodec())],
            compressions=[_Gzip()],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        path = scope["path"]
        root_path = scope.get("root_path", "")
        if path.startswith(f"{root_path}/"):
            path = path.removeprefix(root_path)
        content_type = header(scope, b"content-type").partition(";")[0].strip().lower()
        send = OneWrite(scope, send)
        refusal = self._refusal(scope, path, content_type)
        if refusal is not None:
            await refuse(scope, send, content_type, refusal)
            return
        call = _Call(scope)
        headers = [(b"content-type", content_type.encode())]
        for name, value in scope["headers"]:
            expected = _PROTOCOL_HEADERS.get(name)
            if expected is None:
                continue
            if expected.fullmatch(value):
                headers.append((name, value))
            else:
                call.failure = InvalidArgument("", f"the header {name.decode()} is malformed")
        # connectrpc looks for its paths at the root, wherever this is mounted.
        inner = {**scope, "path": path, "root_path": "", "headers": headers}
        token = _call.set(call)
        try:
            await self._connect(inner, receive, send)
        except ConnectError as error:
            # Raised only where no answer could be sent any more: the client is gone.
            scope["statusthing.code"] = error.code.value
        finally:
            _call.reset(token)

    def _refusal(self, scope: Scope, path: str, content_type: str) -> Refusal | None:
        """Return why a request is not an RPC, or None if it is one."""
        method = self._methods.get(path)
        if method is None:
            return Refusal(404, Code.UNIMPLEMENTED, "there is no such RPC or page")
        methods = ("GET", "POST") if _is_read(method) else ("POST",)
        allow = (b"allow", ", ".join(methods).encode())
        if scope["method"] not in methods:
            message = f"this RPC takes {' or '.join(methods)}"
            return Refusal(405, Code.UNIMPLEMENTED, message, (allow,))
        served = _UNARY if method.stream_type is StreamType.UNARY else _STREAM
        if scope["method"] == "GET":
            query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            if "message" not in query:
                message = "a GET needs the query parameter message"
                return Refusal(405, Code.UNIMPLEMENTED, message, (allow,))
            content_type = f"application/{query.get('encoding', [''])[0]}"
            served = CONNECT
        accepted = (b"accept-post", ", ".join(sorted(CONNECT)).encode())
        if content_type not in served:
            message = "this content type is not served; send application/json or application/proto"
            return Refusal(415, Code.INVALID_ARGUMENT, message, (accepted,))
        if content_type in GRPC and "http.response.trailers" not in scope.get("extensions", {}):
            message = "gRPC needs HTTP/2; send application/json or application/proto"
            return Refusal(415, Code.INVALID_ARGUMENT, message, (accepted,))
        return None


def _path(row: Operation) -> str:
    return f"/statusthing.v1.{row.service}/{row.name}"


def _is_read(method: MethodInfo[Any, Any]) -> bool:
    return method.idempotency_level is IdempotencyLevel.NO_SIDE_EFFECTS


def _endpoint(st: StatusThing, row: Operation) -> Any:
    method = MethodInfo(
        name=row.name,
        service_name=f"statusthing.v1.{row.service}",
        input=row.request,
        output=row.response,
        idempotency_level=(
            IdempotencyLevel.UNKNOWN if row.writes else IdempotencyLevel.NO_SIDE_EFFECTS
        ),
        stream_type=StreamType.UNARY,
    )

    async def function(request: Request, ctx: RequestContext[Any, Any]) -> Any:
        left = ctx.timeout_ms
        if left is not None and left <= 0:
            # connectrpc enforces the deadline at the first await, which may come after the write.
            raise ConnectError(Code.DEADLINE_EXCEEDED, "the deadline has passed")
        principal = _call.get().principal
        answer = await st.run(request, principal=principal)
        headers = ctx.response_headers
        headers[REVISION_HEADER] = str(answer.revision)
        if ctx.http_method == "GET" and principal.role == Role.ANYBODY:
            headers["cache-control"] = PUBLIC
        else:
            headers["cache-control"] = "no-store"
        return answer.response

    return Endpoint.unary(method=method, function=function)


class _Admission:
    """Authorises a call before its body is read, and turns exceptions into wire errors."""

    def __init__(self, identify: Identify, ready: Callable[[], Awaitable[None]]) -> None:
        self._identify = identify
        self._ready = ready

    async def on_start(self, ctx: RequestContext[Any, Any]) -> None:
        try:
            await self._admit(_call.get(), ctx.method)
        except Exception as error:
            raise self._failed(ctx, error) from error

    async def _admit(self, call: _Call, method: MethodInfo[Any, Any]) -> None:
        call.principal = await self._identify(call.scope) or ANONYMOUS
        if method.input in OPERATIONS:
            require(call.principal, method.name)
            await self._ready()
        if call.failure is not None:
            raise call.failure

    async def on_end(
        self, token: None, ctx: RequestContext[Any, Any], error: Exception | None
    ) -> None:
        if error is not None:
            raise self._failed(ctx, error) from error

    def _failed(self, ctx: RequestContext[Any, Any], error: Exception) -> ConnectError:
        wire = on_the_wire(error)
        _call.get().scope["statusthing.code"] = wire.code.value
        ctx.response_headers["cache-control"] = "no-store"
        if isinstance(error, RequestError) and error.revision is not None:
            ctx.response_headers[REVISION_HEADER] = str(error.revision)
        if isinstance(error, Unauthenticated):
            # RFC 9110, section 11.6.1: a 401 names a scheme.
            ctx.response_headers["www-authenticate"] = "Bearer"
        return wire
