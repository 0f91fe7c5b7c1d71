"""The binary encoding: what gRPC, gRPC-Web and `application/proto` carry.

A struct and its protobuf message have the same field names, so the descriptors of `statusthing.v1`
are the only table there is; the converters are made from it when they are first needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar, cast

import msgspec
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from statusthing import limits, model
from statusthing.errors import InvalidArgument
from statusthing.rpc.wire_format import TOO_MANY, check_fields
from statusthing.service.messages import AuditEntry, StatusInput
from statusthing.v1 import services_pb2, types_pb2

M = TypeVar("M", bound=msgspec.Struct)

_TYPES: Mapping[type[msgspec.Struct], type[Message]] = MappingProxyType(
    {
        model.ItemView: types_pb2.Item,
        model.StatusView: types_pb2.Status,
        model.NoteView: types_pb2.Note,
        model.UserView: types_pb2.User,
        model.TokenView: types_pb2.Token,
        model.Timestamps: types_pb2.Timestamps,
        AuditEntry: types_pb2.AuditEntry,
        StatusInput: types_pb2.Status,
    }
)
"""The message of a struct; requests and responses are named as theirs."""

INPUTS: Mapping[str, type[msgspec.Struct]] = MappingProxyType(
    {"statusthing.v1.Status": StatusInput, "statusthing.v1.Timestamps": model.Timestamps}
)
"""The struct of a message within a request."""


def message_type(struct: type[msgspec.Struct]) -> type[Message]:
    """Return the generated class that a struct stands for."""
    found: type[Message] = _TYPES.get(struct) or getattr(services_pb2, struct.__name__)
    return found


class ProtoCodec:
    """Encodes responses and decodes requests; unknown fields are ignored.

    Besides structs it takes messages as they are, for services that are not the domain's.
    """

    def name(self) -> str:
        """Return how a content type names this encoding."""
        return "proto"

    def encode(self, message: msgspec.Struct | Message) -> bytes:
        """Encode a response."""
        if isinstance(message, msgspec.Struct):
            message = message_type(type(message))(**_fields(message))
        return message.SerializeToString()

    def decode(
        self, data: bytes | bytearray, message_class: type[msgspec.Struct | Message]
    ) -> msgspec.Struct | Message:
        """Decode a request.

        Raises:
            InvalidArgument: the bytes are not such a message.
        """
        given = cast("bytes", data)  # a bytearray would do as well, and is not copied
        try:
            if issubclass(message_class, Message):
                return message_class.FromString(given)
            kind = message_type(message_class)
            check_fields(given, kind.DESCRIPTOR)
            message = kind.FromString(given)
        except DecodeError as error:
            problem = f"the body is not a {message_class.__name__} in protobuf's binary encoding"
            raise InvalidArgument("", problem) from error
        request: msgspec.Struct = _reader(message_class)(message)
        return request


def _fields(value: msgspec.Struct) -> dict[str, Any]:
    """Return what the message of a struct is made of; protobuf makes inner messages itself."""
    return _writer(type(value))(value)


@cache
def _writer(struct: type[msgspec.Struct]) -> Callable[[Any], dict[str, Any]]:
    plain = []
    converted = []
    for field in message_type(struct).DESCRIPTOR.fields:
        if field.type in (field.TYPE_ENUM, field.TYPE_MESSAGE):
            converted.append((field.name, _field_writer(field)))
        else:
            plain.append(field.name)

    def write(value: Any) -> dict[str, Any]:
        fields = {name: inner for name in plain if (inner := getattr(value, name))}
        for name, convert in converted:
            inner = getattr(value, name)
            if inner is not None:
                fields[name] = convert(inner)
        return fields

    return write


def _field_writer(field: Any) -> Callable[[Any], Any]:
    if field.type == field.TYPE_ENUM:
        numbers = {value.name: value.number for value in field.enum_type.values}
        return lambda value: numbers[value.value]
    if field.message_type is Timestamp.DESCRIPTOR:
        return _timestamp
    if field.is_repeated:
        return lambda values: [_fields(value) for value in values]
    return _fields


def _timestamp(value: datetime) -> dict[str, int]:
    since = value - model.EPOCH
    return {
        "seconds": since.days * 86_400 + since.seconds,
        "nanos": since.microseconds * 1_000,
    }


@cache
def _reader(struct: type[M]) -> Callable[[Any], M]:
    plain: list[str] = []
    repeated: list[str] = []
    nested: list[tuple[str, Callable[[Any], Any]]] = []
    for field in message_type(struct).DESCRIPTOR.fields:
        if field.is_repeated:
            repeated.append(field.name)
        elif field.type == field.TYPE_MESSAGE:
            nested.append((field.name, _field_reader(field)))
        else:
            plain.append(field.name)

    def read(message: Any) -> M:
        fields = {name: getattr(message, name) for name in plain}
        for name in repeated:
            fields[name] = _elements(name, getattr(message, name))
        for name, convert in nested:
            if message.HasField(name):
                fields[name] = convert(getattr(message, name))
        return struct(**fields)

    return read


def _field_reader(field: Any) -> Callable[[Any], Any]:
    if field.message_type is FieldMask.DESCRIPTOR:
        return lambda mask: _elements(field.name, mask.paths)
    if field.message_type is Timestamp.DESCRIPTOR:
        return lambda timestamp: _datetime(field.name, timestamp)
    return _reader(INPUTS[field.message_type.full_name])


def _elements(name: str, values: Sequence[Any]) -> tuple[Any, ...]:
    if len(values) > limits.ELEMENTS:
        raise InvalidArgument(name, TOO_MANY)
    return tuple(values)


def _datetime(name: str, timestamp: Timestamp) -> datetime:
    try:
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(name, "is not an instant of the years 1 to 9999") from error
