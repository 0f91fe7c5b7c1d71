"""The JSON encoding: `application/json`.

Responses are views, shaped and spelled like their message's JSON, and encode as they are. Requests
are read strictly, by the descriptors of `statusthing.v1` and the proto3 JSON mapping,
https://protobuf.dev/programming-guides/json/, without the leniences of protobuf's own parser: no
list instead of a message, no field given twice, enums by name or whole number only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any, Never, TypeVar

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from statusthing.errors import InvalidArgument
from statusthing.rpc.proto_codec import INPUTS, message_type

M = TypeVar("M", bound=msgspec.Struct)

_Read = Callable[[str, Any], Any]
"""Turns a JSON value into a struct's; the first argument names the field in a refusal."""

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_RANGES = {
    FieldDescriptor.TYPE_UINT32: range(2**32),
    FieldDescriptor.TYPE_INT32: range(-(2**31), 2**31),
}


class JsonCodec:
    """Encodes responses and decodes requests."""

    def name(self) -> str:
        """Return how a content type names this encoding."""
        return "json"

    def encode(self, message: msgspec.Struct) -> bytes:
        """Encode a response."""
        return msgspec.json.encode(message)

    def decode(self, data: bytes | bytearray, message_class: type[M]) -> M:
        """Decode a request.

        Raises:
            InvalidArgument: it is not JSON, or not such a message.
        """
        if not data:
            raise InvalidArgument("", 'the body is empty; send at least "{}"')
        try:
            value = json.loads(
                data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant
            )
        except RecursionError as error:
            raise InvalidArgument("", "the body is nested too deeply") from error
        except UnicodeDecodeError as error:
            raise InvalidArgument("", "the body is not UTF-8") from error
        except json.JSONDecodeError as error:
            problem = f"the body is not JSON, at line {error.lineno}, column {error.colno}"
            raise InvalidArgument("", problem) from error
        except ValueError as error:
            raise InvalidArgument("", "the body has a number of too many digits") from error
        read = _reader(message_class, message_type(message_class).DESCRIPTOR)
        message: M = read("", value)
        return message


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InvalidArgument("", "the body has an object that gives a field twice")
    return found


def _no_constant(name: str) -> Never:
    raise InvalidArgument("", f"the body is not JSON, which has no {name}")


@cache
def _reader(struct: type[msgspec.Struct], descriptor: Descriptor) -> _Read:
    fields: dict[str, tuple[str, _Read]] = {}
    for field in descriptor.fields:
        fields[field.name] = fields[field.json_name] = (field.name, _field_reader(field))

    def read(path: str, value: Any) -> msgspec.Struct:
        if not isinstance(value, dict):
            raise InvalidArgument(path, f"{_must(path)} be a JSON object")
        prefix = f"{path}." if path else ""
        given: dict[str, Any] = {}
        for key, inner in value.items():
            if key not in fields:
                raise InvalidArgument(_shown(prefix + key), "is not a field of this request")
            name, convert = fields[key]
            if name in given:
                raise InvalidArgument(prefix + name, "is given twice")
            given[name] = None if inner is None else convert(prefix + name, inner)
        return struct(**{name: inner for name, inner in given.items() if inner is not None})

    return read


def _field_reader(field: Any) -> _Read:
    one = _value_reader(field)
    if not field.is_repeated:
        return one

    def read(path: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise InvalidArgument(path, "must be a list")
        return tuple(one(path, inner) for inner in value)

    return read


def _value_reader(field: Any) -> _Read:
    if field.type == field.TYPE_MESSAGE:
        return _message_reader(field.message_type)
    if field.type == field.TYPE_ENUM:
        names = {value.name: value.number for value in field.enum_type.values}
        return lambda path, value: _enum(path, value, names)
    if field.type in _RANGES:
        within = _RANGES[field.type]
        return lambda path, value: _integer(path, value, within)
    return {field.TYPE_STRING: _string, field.TYPE_BOOL: _bool}[field.type]


def _message_reader(message: Descriptor) -> _Read:
    if message is FieldMask.DESCRIPTOR:
        return _mask
    if message is Timestamp.DESCRIPTOR:
        return _instant
    return _reader(INPUTS[message.full_name], message)


def _string(path: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(path, "must be a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(path, "has a lone surrogate") from error
    return value


def _bool(path: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidArgument(path, "must be true or false")
    return value


def _enum(path: str, value: Any, names: dict[str, int]) -> int:
    if isinstance(value, str) and value in names:
        return names[value]
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    known = ", ".join(name for name, number in names.items() if number)
    raise InvalidArgument(path, f"must be one of {known}, or its number")


def _integer(path: str, value: Any, within: range) -> int:
    whole_float = isinstance(value, float) and value.is_integer()
    if whole_float or (isinstance(value, str) and _INTEGER.fullmatch(value)):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value not in within:
        raise InvalidArgument(
            path, f"must be a whole number from {within.start} to {within.stop - 1}"
        )
    return value


def _mask(path: str, value: Any) -> tuple[str, ...]:
    paths = _string(path, value)
    return tuple(_snake(each) for each in paths.split(",")) if paths else ()


def _snake(camel: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", camel)


def _instant(path: str, value: Any) -> datetime:
    timestamp = Timestamp()
    try:
        timestamp.FromJsonString(_string(path, value))
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(path, "must be an RFC 3339 timestamp") from error


def _must(path: str) -> str:
    return "must" if path else "the body must"


def _shown(key: str) -> str:
    return key.encode("utf-8", "backslashreplace").decode()[:100]
