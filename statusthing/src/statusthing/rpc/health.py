"""gRPC's health checks: whether the server can serve, for load balancers and orchestrators.

See https://github.com/grpc/grpc/blob/master/doc/health-checking.md. Every service is in the same
state: it serves while the store answers a read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import Endpoint
from google.protobuf.message import Message

from statusthing.errors import with_cause
from statusthing.rpc.calls import until_stopping
from statusthing.rpc.health_pb2 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
    HealthListResponse,
)
from statusthing.service import StatusThing
from statusthing.v1 import services_pb2

POLL_SECONDS = 1.0
"""How often the store is asked while somebody watches."""

_SERVICE = "grpc.health.v1.Health"
_KNOWN = (
    "",  # the server as a whole
    *(service.full_name for service in services_pb2.DESCRIPTOR.services_by_name.values()),
)

_Status = HealthCheckResponse.ServingStatus
_Context = RequestContext[Any, Any]

_log = logging.getLogger("statusthing.health")


class Health:
    """The health service of one application.

    Args:
        st: the service whose store is asked.
        ready: is awaited before the store is asked.
    """

    def __init__(self, st: StatusThing, ready: Callable[[], Awaitable[None]]) -> None:
        self._st = st
        self._ready = ready
        self._status: _Status = _Status.UNKNOWN
        self._changed = asyncio.Event()  # set, and replaced, whenever the status changes
        self._watchers = 0
        self._poller: asyncio.Task[None] | None = None

    def endpoints(self) -> Mapping[str, Any]:
        """Return the endpoints, by path."""
        unary, stream = StreamType.UNARY, StreamType.SERVER_STREAM
        check = _method("Check", HealthCheckRequest, HealthCheckResponse, unary)
        list_ = _method("List", HealthListRequest, HealthListResponse, unary)
        watch = _method("Watch", HealthCheckRequest, HealthCheckResponse, stream)
        return {
            f"/{_SERVICE}/Check": Endpoint.unary(check, self._check),
            f"/{_SERVICE}/List": Endpoint.unary(list_, self._list),
            f"/{_SERVICE}/Watch": Endpoint.server_stream(watch, self._watch),
        }

    async def _check(self, request: HealthCheckRequest, _: _Context) -> HealthCheckResponse:
        if request.service not in _KNOWN:
            raise ConnectError(Code.NOT_FOUND, "there is no such service")
        return HealthCheckResponse(status=await self._look())

    async def _list(self, request: HealthListRequest, _: _Context) -> HealthListResponse:
        status = await self._look()
        return HealthListResponse(
            statuses={service: HealthCheckResponse(status=status) for service in _KNOWN}
        )

    async def _watch(
        self, request: HealthCheckRequest, _: _Context
    ) -> AsyncIterator[HealthCheckResponse]:
        if request.service not in _KNOWN:
            yield HealthCheckResponse(status=_Status.SERVICE_UNKNOWN)
            await until_stopping(asyncio.Event().wait())
        await self._look()
        sent = None
        with self._polling():
            while True:
                changed, status = self._changed, self._status
                if status != sent:
                    yield HealthCheckResponse(status=status)
                    sent = status
                try:
                    await until_stopping(changed.wait())
                except ConnectError:
                    # The error that ends the stream sends clients elsewhere at once: a watch has no
                    # end of its own that OK could stand for.
                    yield HealthCheckResponse(status=_Status.NOT_SERVING)
                    raise

    async def _look(self) -> _Status:
        """Ask the store, and wake those who watch if its answer is another one than before."""
        status, reason = _Status.SERVING, ""
        try:
            await self._ready()
            await self._st.revision()
        except Exception as error:  # noqa: BLE001 - whatever it raises, it does not answer
            status, reason = _Status.NOT_SERVING, with_cause(error)
        if status != self._status:
            self._status = status
            self._changed.set()
            self._changed = asyncio.Event()
            if reason:
                _log.error("not serving: %s", reason)
        return status

    @contextmanager
    def _polling(self) -> Iterator[None]:
        """Have the store asked again and again, once for all who watch."""
        self._watchers += 1
        if self._poller is None:
            self._changed = asyncio.Event()  # of the event loop that runs now
            self._poller = asyncio.create_task(self._poll(), name="statusthing-health")
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._poller.cancel()
                self._poller = None

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await self._look()


def _method(
    name: str, request: type[Message], response: type[Message], kind: StreamType
) -> MethodInfo[Any, Any]:
    return MethodInfo(
        name=name,
        service_name=_SERVICE,
        input=request,
        output=response,
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=kind,
    )
