"""The ASGI application that answers RPCs, and refuses every request that is not one.

connectrpc speaks the protocols. This module adds what it leaves open: the table of RPCs, error
bodies for requests that are not RPCs, finding out who the caller is, limits, and caching headers.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import ConnectASGIApplication, Endpoint

from statusthing import limits
from statusthing.access import ANONYMOUS, Access, Principal, Role, permitted, require
from statusthing.asgi import ASGIApp, Receive, Scope, Send, mounted_path
from statusthing.errors import RequestError, TooManyAttempts, Unauthenticated
from statusthing.identity import origin_of
from statusthing.model import View
from statusthing.rpc.answers import PUBLIC, OneWrite, Refusal, header, refuse
from statusthing.rpc.calls import Call, current
from statusthing.rpc.compression import Gzip
from statusthing.rpc.errors import on_the_wire, stopping
from statusthing.rpc.json_codec import JsonCodec
from statusthing.rpc.proto_codec import ProtoCodec
from statusthing.rpc.requests import Bodies, Body, passed_on, refusal
from statusthing.service import OPERATIONS, Operation, StatusThing
from statusthing.service.messages import Request

REVISION_HEADER = "statusthing-revision"

Identify = Callable[[Scope], Awaitable[Principal]]
"""Returns the principal of a call."""

_CLIENT_STREAMS = (StreamType.CLIENT_STREAM, StreamType.BIDI_STREAM)

_UNKNOWN = Refusal(404, Code.UNIMPLEMENTED, "there is no such RPC or page")
_BUSY = Refusal(
    503,
    Code.UNAVAILABLE,
    "too many calls are in flight, try again",
    ((b"retry-after", b"1"),),
)


class _Response:
    """What an operation returned, until it is encoded.

    connectrpc holds on to it while its bytes are being sent, and it is twice as large as these.
    """

    def __init__(self, view: View | None) -> None:
        self._view = view

    def take(self) -> View | None:
        """Return it, once."""
        view, self._view = self._view, None
        return view


class _Codec:
    """A codec whose defects become neutral internal errors.

    connectrpc encodes after the last interceptor, and would send their text.
    """

    def __init__(self, codec: JsonCodec | ProtoCodec) -> None:
        self.name = codec.name
        self._decode = codec.decode
        self._encode = codec.encode

    def decode(self, data: bytes | bytearray, message_class: type[Any]) -> Any:
        try:
            return self._decode(data, message_class)
        except RequestError:
            raise
        except Exception as error:
            raise on_the_wire(error) from error

    def encode(self, message: Any) -> bytes:
        if isinstance(message, _Response):
            message = message.take()
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
        extra_endpoints: further RPCs, path to endpoint; they need no role, and do not wait for
            `ready`.

    Attributes:
        methods: what can be called, by path.
        public: the paths of the reads that need no role.
    """

    def __init__(
        self,
        st: StatusThing,
        *,
        identify: Identify,
        ready: Callable[[], Awaitable[None]],
        extra_endpoints: Mapping[str, Any],
    ) -> None:
        rpcs = [row for row in OPERATIONS.values() if row.service]
        endpoints = {_path(row): _endpoint(st, row) for row in rpcs} | dict(extra_endpoints)
        self.methods = {path: endpoint.method for path, endpoint in endpoints.items()}
        self.public = frozenset(
            _path(row)
            for row in rpcs
            if not row.writes and permitted(ANONYMOUS, row.name, st.access)
        )
        # For how many more calls there is room; True stands for those that are unary.
        self._room = {True: limits.CALLS, False: limits.STREAMS}
        self._bodies = Bodies()
        # connectrpc takes the types of asgiref where that is installed, which are closed.
        self._connect: ASGIApp = _Connect(
            service=None,
            endpoints=lambda _: endpoints,
            interceptors=[_Admission(identify, st.access, ready)],
            read_max_bytes=limits.MESSAGE_BYTES,
            codecs=[_Codec(JsonCodec()), _Codec(ProtoCodec())],
            compressions=[Gzip()],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        path = mounted_path(scope)
        content_type = header(scope, b"content-type").partition(";")[0].strip().lower()
        if scope["method"] == "GET":
            content_type = ""  # a GET has no content
        send = OneWrite(scope, send, content_type)
        method = self.methods.get(path)
        if method is None:
            await refuse(scope, send, content_type, _UNKNOWN)
            return
        unary = method.stream_type is StreamType.UNARY
        refused = refusal(scope, method, content_type)
        if refused is None and not self._room[unary]:
            refused = _BUSY
        if refused is not None:
            await refuse(scope, send, content_type, refused)
            return
        inner, failure = passed_on(scope, path, content_type)
        call = Call(scope, failure=failure)
        token = current.set(call)
        in_flight = False

        def begin() -> None:
            nonlocal in_flight
            if not self._room[unary]:
                raise ConnectError(_BUSY.code, _BUSY.message)
            self._room[unary] -= 1
            in_flight = True

        body = Body(receive, call, self._bodies, begin)
        if scope["method"] == "GET" or method.stream_type in _CLIENT_STREAMS:
            begin()
            body.release()
        try:
            await self._connect(inner, body.receive, send)
        except ConnectError as error:
            # Raised only where no answer could be sent any more: the client is gone.
            scope["statusthing.code"] = error.code.value
        finally:
            current.reset(token)
            body.release()
            if in_flight:
                self._room[unary] += 1


def _path(row: Operation) -> str:
    return f"/statusthing.v1.{row.service}/{row.name}"


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
        deadline = None if left is None else time.monotonic() + left / 1_000
        call = current.get()
        principal = call.principal
        answer = await st.run(
            request, principal=principal, origin=origin_of(call.scope), deadline=deadline
        )
        headers = ctx.response_headers
        headers[REVISION_HEADER] = str(answer.revision)
        if ctx.http_method == "GET" and principal.role is Role.ANYBODY:
            headers["cache-control"] = PUBLIC
        return _Response(answer.response)

    return Endpoint.unary(method=method, function=function)


class _Admission:
    """Authorises a call before its body is read, and turns exceptions into wire errors."""

    def __init__(
        self, identify: Identify, access: Access, ready: Callable[[], Awaitable[None]]
    ) -> None:
        self._identify = identify
        self._access = access
        self._ready = ready

    async def on_start(self, ctx: RequestContext[Any, Any]) -> None:
        try:
            await self._admit(current.get(), ctx.method)
        except Exception as error:
            raise self._failed(ctx, error) from error
        ctx.response_headers["cache-control"] = "no-store"

    async def _admit(self, call: Call, method: MethodInfo[Any, Any]) -> None:
        if method.input in OPERATIONS:
            call.principal = await self._identify(call.scope)
            require(call.principal, method.name, self._access)
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
        call = current.get()
        if wire.code is Code.CANCELED and not call.left:
            wire = stopping()  # it was cancelled from this side
        call.scope["statusthing.code"] = wire.code.value
        ctx.response_headers["cache-control"] = "no-store"
        if wire.code is Code.UNAVAILABLE:
            ctx.response_headers["retry-after"] = "1"
        if isinstance(error, RequestError) and error.revision is not None:
            ctx.response_headers[REVISION_HEADER] = str(error.revision)
        if isinstance(error, TooManyAttempts):
            ctx.response_headers["retry-after"] = str(error.seconds)
        if isinstance(error, Unauthenticated):
            # RFC 9110, section 11.6.1: a 401 names a scheme.
            ctx.response_headers["www-authenticate"] = "Bearer"
        return wire
