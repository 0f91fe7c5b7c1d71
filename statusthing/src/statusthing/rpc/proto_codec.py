"""The binary encoding: what gRPC, gRPC-Web and `application/proto` carry.

A struct and its protobuf message have the same field names, so the descriptors of `statusthing.v1`
are the only table there is; the converters are made from it when they are first needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from statusthing import model
from statusthing.errors import InvalidArgument
from statusthing.service.messages import StatusInput
from statusthing.v1 import services_pb2, types_pb2

M = TypeVar("M", bound=msgspec.Struct)

_TYPES: Mapping[type[msgspec.Struct], type[Message]] = MappingProxyType(
    {
        model.ItemView: types_pb2.Item,
        model.StatusView: types_pb2.Status,
        model.NoteView: types_pb2.Note,
        model.Timestamps: types_pb2.Timestamps,
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
            message = _message(message)
        return message.SerializeToString()

    def decode(
        self, data: bytes | bytearray, message_class: type[msgspec.Struct | Message]
    ) -> msgspec.Struct | Message:
        """Decode a request.

        Raises:
            InvalidArgument: the bytes are not such a message.
        """
        try:
            if issubclass(message_class, Message):
                return message_class.FromString(bytes(data))
            request: msgspec.Struct = _reader(message_class)(
                message_type(message_class).FromString(bytes(data))
            )
        except DecodeError as error:
            problem = f"the body is not a {message_class.__name__} in protobuf's binary encoding"
            raise InvalidArgument("", problem) from error
        return request


@cache
def _writer(struct: type[msgspec.Struct]) -> Callable[[Any], Any]:
    target = message_type(struct)
    plain = []
    converted = []
    for field in target.DESCRIPTOR.fields:
        if field.type in (field.TYPE_ENUM, field.TYPE_MESSAGE):
            converted.append((field.name, _field_writer(field)))
        else:
            plain.append(field.name)

    def write(value: Any) -> Any:
        fields = {name: getattr(value, name) for name in plain}
        for name, convert in converted:
            inner = getattr(value, name)
            if inner is not None:
                fields[name] = convert(inner)
        return target(**fields)

    return write


def _field_writer(field: Any) -> Callable[[Any], Any]:
    if field.type == field.TYPE_ENUM:
        names = field.enum_type.values_by_name
        return lambda value: names[value.value].number
    if field.message_type is Timestamp.DESCRIPTOR:
        return _timestamp
    if field.is_repeated:
        return lambda values: [_message(value) for value in values]
    return _message


def _message(value: msgspec.Struct) -> Message:
    message: Message = _writer(type(value))(value)
    return message


def _timestamp(value: datetime) -> Timestamp:
    since = value - model.EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


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
            fields[name] = tuple(getattr(message, name))
        for name, convert in nested:
            if message.HasField(name):
                fields[name] = convert(getattr(message, name))
        return struct(**fields)

    return read


def _field_reader(field: Any) -> Callable[[Any], Any]:
    if field.message_type is FieldMask.DESCRIPTOR:
        return lambda mask: tuple(mask.paths)
    if field.message_type is Timestamp.DESCRIPTOR:
        return lambda timestamp: _datetime(field.name, timestamp)
    return _reader(INPUTS[field.message_type.full_name])


def _datetime(name: str, timestamp: Timestamp) -> datetime:
    try:
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(name, "is not an instant of the years 1 to 9999") from error
