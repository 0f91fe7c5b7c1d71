"""How errors are spelled on the wire: one table from their classes to codes and details.

Codes are Connect's, https://connectrpc.com/docs/protocol/#error-codes, which are gRPC's. A refused
value carries `google.rpc.BadRequest`, every other error `google.rpc.ErrorInfo`. What was not
foreseen becomes `internal` with a correlation id that the log line has too, and nothing else.
"""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Mapping
from types import MappingProxyType

import msgspec
from connectrpc.code import Code
from connectrpc.errors import ConnectError, ErrorDetail
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from protobuf.wkt import Any as AnyMessage

from statusthing import errors, limits
from statusthing.asgi import correlation_id

DOMAIN = "statusthing"

_MAX_TEXT = 500

_log = logging.getLogger("statusthing.rpc")

CODES: Mapping[type[errors.StatusThingError], Code] = MappingProxyType(
    {
        errors.InvalidArgument: Code.INVALID_ARGUMENT,
        errors.NotFound: Code.NOT_FOUND,
        errors.AlreadyExists: Code.ALREADY_EXISTS,
        errors.InUse: Code.FAILED_PRECONDITION,
        errors.LastAdmin: Code.FAILED_PRECONDITION,
        errors.TooManyResults: Code.FAILED_PRECONDITION,
        errors.VersionConflict: Code.ABORTED,
        errors.DeadlineExceeded: Code.DEADLINE_EXCEEDED,
        errors.Unauthenticated: Code.UNAUTHENTICATED,
        errors.PermissionDenied: Code.PERMISSION_DENIED,
        errors.TooManyAttempts: Code.RESOURCE_EXHAUSTED,
        errors.TooBusy: Code.UNAVAILABLE,
        errors.StoreUnavailable: Code.UNAVAILABLE,
        errors.SchemaMismatch: Code.UNAVAILABLE,
        errors.UserMistake: Code.UNAVAILABLE,
    }
)


def on_the_wire(error: Exception) -> ConnectError:
    """Return what the client is told of an error.

    Args:
        error: what an operation or the protocol raised.

    Returns:
        An error with a code, a message that is fit for strangers, and one detail.
    """
    if isinstance(error, ConnectError):
        return _completed(error)
    code = next((CODES[each] for each in type(error).__mro__ if each in CODES), None)
    if code is None:
        return _internal(error)
    if isinstance(error, errors.InvalidArgument):
        violation = BadRequest.FieldViolation(
            field=_clipped(error.field), description=_clipped(error.problem)
        )
        return _with_detail(code, str(error), BadRequest(field_violations=[violation]))
    if code is Code.UNAVAILABLE and not isinstance(error, errors.RequestError):
        _log.error("the store cannot serve: %s", errors.with_cause(error))
        return described(code, "the store is not available, try again later")
    return described(code, str(error))


def as_json(error: ConnectError) -> bytes:
    """Return the body that Connect gives to an error.

    See https://connectrpc.com/docs/protocol/#error-end-stream; base64 goes without padding there.
    """
    details = [
        {
            "type": detail.type_name,
            "value": base64.b64encode(detail.message_bytes).decode().rstrip("="),
        }
        for detail in error.details
    ]
    return msgspec.json.encode(
        {"code": error.code.value, "message": error.message, "details": details}
    )


def as_headers(error: ConnectError, number: int) -> list[tuple[bytes, bytes]]:
    """Return the headers that gRPC gives to an error whose text is printable ASCII without `%`.

    See https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses. The details are a
    `google.rpc.Status`; base64 goes without padding here too.

    Args:
        error: what has happened.
        number: gRPC's number for its code.
    """
    details = [
        Any(type_url=f"type.googleapis.com/{detail.type_name}", value=detail.message_bytes)
        for detail in error.details
    ]
    status = Status(code=number, message=error.message, details=details)
    return [
        (b"grpc-status", b"%d" % number),
        (b"grpc-message", error.message.encode()),
        (b"grpc-status-details-bin", base64.b64encode(status.SerializeToString()).rstrip(b"=")),
    ]


def _internal(error: Exception) -> ConnectError:
    id = correlation_id.get() or secrets.token_hex(8)
    _log.error(
        "unexpected error, correlation id %s",
        id,
        exc_info=error,
        extra={"correlation_id": id},
    )
    return described(Code.INTERNAL, f"internal error, correlation id {id}")


def _completed(error: ConnectError) -> ConnectError:
    """Give an error of connectrpc's a detail; it also wraps what our codecs raise."""
    if error.details:
        return error
    if isinstance(error.__cause__, (errors.RequestError, ConnectError)):
        return on_the_wire(error.__cause__)
    if error.code is Code.CANCELED:
        return described(error.code, "the call was cancelled before it was complete")
    if error.code is Code.RESOURCE_EXHAUSTED:
        return described(error.code, f"the message is larger than {limits.MESSAGE_BYTES} bytes")
    if error.code is Code.INVALID_ARGUMENT:
        return on_the_wire(errors.InvalidArgument("", error.message))
    return described(error.code, error.message)


def stopping() -> ConnectError:
    """Return what a call is told that the end of the server cuts off."""
    return described(Code.UNAVAILABLE, "the server is stopping, try again")


def described(code: Code, message: str) -> ConnectError:
    """Return an error that says no more than its code and its message."""
    return _with_detail(code, message, ErrorInfo(reason=code.name, domain=DOMAIN))


def _with_detail(code: Code, message: str, detail: Message) -> ConnectError:
    packed = AnyMessage(
        type_url=f"type.googleapis.com/{detail.DESCRIPTOR.full_name}",
        value=detail.SerializeToString(),
    )
    return ConnectError(code, _clipped(message), details=[ErrorDetail(packed)])


def _clipped(text: str) -> str:
    """Cut what a message repeats of a request.

    In gRPC it travels in headers, which clients limit to 8 KiB and which take quadratic time to
    compress.
    """
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."
