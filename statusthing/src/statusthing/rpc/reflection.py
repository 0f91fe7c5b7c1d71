"""gRPC server reflection: clients learn the services from the server itself.

See https://github.com/grpc/grpc/blob/master/doc/server-reflection.md. Both versions of the service,
v1 and v1alpha, are one and the same on the wire.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import Endpoint
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import Default

from statusthing.rpc.reflection_pb2 import (
    ErrorResponse,
    FileDescriptorResponse,
    ListServiceResponse,
    ServerReflectionRequest,
    ServerReflectionResponse,
    ServiceResponse,
)
from statusthing.v1 import services_pb2

_SERVICES = tuple(
    service.full_name for service in services_pb2.DESCRIPTOR.services_by_name.values()
)
_VERSIONS = ("v1", "v1alpha")
_NOT_FOUND = 5  # gRPC's number for it, https://grpc.io/docs/guides/status-codes/
_UNIMPLEMENTED = 12


def reflection() -> Mapping[str, Any]:
    """Return the endpoints of both versions, by path."""
    endpoints = {}
    for version in _VERSIONS:
        service = f"grpc.reflection.{version}.ServerReflection"
        method = MethodInfo(
            name="ServerReflectionInfo",
            service_name=service,
            input=ServerReflectionRequest,
            output=ServerReflectionResponse,
            idempotency_level=IdempotencyLevel.UNKNOWN,
            stream_type=StreamType.BIDI_STREAM,
        )
        endpoints[f"/{service}/{method.name}"] = Endpoint.bidi_stream(method, _answers)
    return endpoints


async def _answers(
    requests: AsyncIterator[ServerReflectionRequest], _: RequestContext[Any, Any]
) -> AsyncIterator[ServerReflectionResponse]:
    async for request in requests:
        yield ServerReflectionResponse(
            valid_host=request.host, original_request=request, **_answer(request)
        )


def _answer(request: ServerReflectionRequest) -> dict[str, Any]:
    asked = request.WhichOneof("message_request")
    if asked == "list_services":
        services = [ServiceResponse(name=name) for name in _SERVICES]
        return {"list_services_response": ListServiceResponse(service=services)}
    find = _FINDERS.get(asked or "")
    if find is None:
        return _error(_UNIMPLEMENTED, "nothing in this API is extended")
    try:
        file = find(getattr(request, asked or ""))
    except KeyError:
        return _error(_NOT_FOUND, "no such file or symbol")
    files: dict[str, bytes] = {}
    _collect(file, files)
    return {
        "file_descriptor_response": FileDescriptorResponse(file_descriptor_proto=files.values())
    }


_FINDERS: Mapping[str, Callable[[str], Any]] = {
    "file_by_filename": Default().FindFileByName,
    "file_containing_symbol": Default().FindFileContainingSymbol,
}


def _collect(file: FileDescriptor, into: dict[str, bytes]) -> None:
    if file.name not in into:
        into[file.name] = file.serialized_pb
        for needed in file.dependencies:
            _collect(needed, into)


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error_response": ErrorResponse(error_code=code, error_message=message)}
