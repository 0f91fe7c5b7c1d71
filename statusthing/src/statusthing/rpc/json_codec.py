"""The JSON encoding: `application/json`.

Responses are views, shaped and spelled like their message's JSON, and encode as they are. Requests
are read strictly, by the descriptors of their messages and the proto3 JSON mapping,
https://protobuf.dev/programming-guides/json/, without the leniences of protobuf's own parser: no
list instead of a message, no field given twice, enums by name or whole number only.

Every value is read as what its field holds, and never as anything else. So it takes neither time
nor memory to refuse what no request can hold, however deep or wide it is.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple, TypeVar

import msgspec
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from statusthing import limits
from statusthing.errors import InvalidArgument
from statusthing.rpc.proto_codec import INPUTS, message_type
from statusthing.rpc.wire_format import TOO_MANY

M = TypeVar("M", bound="msgspec.Struct | Message")

_Text = bytes | bytearray | msgspec.Raw

_Read = Callable[[str, _Text], Any]
"""Reads a value; None stands for null. The first argument names the field in a refusal."""

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_RANGES = {
    FieldDescriptor.TYPE_UINT32: range(2**32),
    FieldDescriptor.TYPE_INT32: range(-(2**31), 2**31),
}
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)  # msgspec's words
_MAX_NAME = 100
"""The most characters of the name of a field, in a mask or in a refusal."""


class JsonCodec:
    """Encodes responses and decodes requests.

    Besides structs it takes messages as they are, for services that are not the domain's.
    """

    def name(self) -> str:
        """Return how a content type names this encoding."""
        return "json"

    def encode(self, message: msgspec.Struct | Message) -> bytes:
        """Encode a response."""
        if isinstance(message, Message):
            return msgspec.json.encode(MessageToDict(message))
        return msgspec.json.encode(message)

    def decode(self, data: bytes | bytearray, message_class: type[M]) -> M:
        """Decode a request.

        Raises:
            InvalidArgument: it is not JSON, or not such a message.
        """
        if not data:
            raise InvalidArgument("", 'the body is empty; send at least "{}"')
        kind: Any = message_class
        message: M | None = _reader(kind)("", data)
        if message is None:
            raise InvalidArgument("", "the body must be a JSON object")
        return message


@cache
def _reader(kind: Any) -> _Read:
    message = kind if issubclass(kind, Message) else message_type(kind)
    return _message_reader(kind, message.DESCRIPTOR)


def _message_reader(make: Callable[..., Any], descriptor: Any) -> _Read:
    spellings: dict[str, tuple[str, _Read]] = {}
    for field in descriptor.fields:
        spellings[field.name] = spellings[field.json_name] = (field.name, _field_reader(field))
    shape = msgspec.defstruct(
        descriptor.name,
        [(spelling, msgspec.Raw, msgspec.UNSET) for spelling in spellings],
        forbid_unknown_fields=True,
    )
    decode = msgspec.json.Decoder(shape | None).decode

    def read(path: str, text: _Text) -> Any:
        found = _object(decode, path, text)
        if found is None:
            return None
        prefix = f"{path}." if path else ""
        values: dict[str, Any] = {}
        texts: list[msgspec.Raw] = []
        for spelling, (name, read_value) in spellings.items():
            value = getattr(found, spelling)
            if value is not msgspec.UNSET:
                if name in values:
                    raise InvalidArgument(prefix + name, "is given twice")
                values[name] = read_value(prefix + name, value)
                texts.append(value)
        # msgspec takes the last of several. Besides the colons in values there is one for each.
        more = _colons(text) - len(texts)
        if more and more != sum(map(_colons, texts)):
            raise InvalidArgument(path, f"{_subject(path)}has a field that is given twice")
        return make(**{name: value for name, value in values.items() if value is not None})

    return read


def _object(decode: Callable[[_Text], Any], path: str, text: _Text) -> Any:
    """Take an object apart, or raise InvalidArgument."""
    try:
        return decode(text)
    except msgspec.ValidationError as error:
        unknown = _UNKNOWN_FIELD.fullmatch(str(error))
        if unknown is None:
            raise InvalidArgument(path, f"{_subject(path)}must be a JSON object") from error
        field = f"{path}.{unknown[1]}" if path else unknown[1]
        raise InvalidArgument(field[:_MAX_NAME], "is not a field of this request") from error
    except RecursionError as error:
        raise InvalidArgument(path, f"{_subject(path)}is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise InvalidArgument(path, f"{_subject(path)}is not UTF-8") from error
    except msgspec.DecodeError as error:
        if b"\\ud" in bytes(text).lower():
            problem = "is not JSON, or has a lone surrogate"
        else:
            problem = f"is not JSON: {str(error).removeprefix('JSON is malformed: ')}"
        raise InvalidArgument(path, _subject(path) + problem) from error


def _subject(path: str) -> str:
    return "" if path else "the body "


def _colons(text: _Text) -> int:
    return bytes(text).count(b":")


class _Kind(NamedTuple):
    """What a field holds.

    Attributes:
        type: what is in the JSON.
        must: what is said to whoever sends anything else.
        convert: makes the value of it, or raises ValueError.
        is_list: whether it has elements, with commas between them.
    """

    type: Any
    must: str
    convert: Callable[[Any], Any]
    is_list: bool = False


def _field_reader(field: Any) -> _Read:
    special = field.message_type in (None, FieldMask.DESCRIPTOR, Timestamp.DESCRIPTOR)
    if not special:
        inner = INPUTS.get(field.message_type.full_name) or GetMessageClass(field.message_type)
        return _message_reader(inner, field.message_type)
    kind = _list_of(_kind(field)) if field.is_repeated else _kind(field)
    decode = msgspec.json.Decoder(kind.type | None).decode

    def read(path: str, text: _Text) -> Any:
        if kind.is_list and bytes(text).count(b",") >= limits.ELEMENTS:
            raise InvalidArgument(path, TOO_MANY)
        try:
            value = decode(text)
            return None if value is None else kind.convert(value)
        except UnicodeDecodeError as error:
            raise InvalidArgument(path, "is not UTF-8") from error
        except (ValueError, OverflowError) as error:
            raise InvalidArgument(path, kind.must) from error

    return read


def _kind(field: Any) -> _Kind:
    if field.message_type is FieldMask.DESCRIPTOR:
        return _Kind(str, "must be names of fields, with commas between them", _mask, is_list=True)
    if field.message_type is Timestamp.DESCRIPTOR:
        return _Kind(str, "must be an RFC 3339 timestamp", _instant)
    if field.type == field.TYPE_ENUM:
        names = {value.name: value.number for value in field.enum_type.values}
        known = ", ".join(name for name, number in names.items() if number)
        return _Kind(
            int | str, f"must be one of {known}, or its number", lambda value: _enum(value, names)
        )
    if field.type in _RANGES:
        within = _RANGES[field.type]
        must = f"must be a whole number from {within.start} to {within.stop - 1}"
        return _Kind(int | float | str, must, lambda value: _integer(value, within))
    return {
        field.TYPE_STRING: _Kind(str, "must be a string", str),
        field.TYPE_BOOL: _Kind(bool, "must be true or false", bool),
    }[field.type]


def _list_of(each: _Kind) -> _Kind:
    return _Kind(
        types.GenericAlias(list, each.type),
        f"must be a list, and each of its elements {each.must}",
        lambda values: tuple(map(each.convert, values)),
        is_list=True,
    )


def _enum(value: int | str, names: dict[str, int]) -> int:
    if isinstance(value, int):
        return value
    if value not in names:
        raise ValueError(value)
    return names[value]


def _integer(value: float | str, within: range) -> int:
    whole_float = isinstance(value, float) and value.is_integer()
    if whole_float or (isinstance(value, str) and _INTEGER.fullmatch(value)):
        value = int(value)
    if not isinstance(value, int) or value not in within:
        raise ValueError(value)
    return value


def _mask(paths: str) -> tuple[str, ...]:
    return tuple(_snake(each) for each in paths.split(",")) if paths else ()


def _snake(camel: str) -> str:
    if len(camel) > _MAX_NAME:
        raise ValueError(camel)
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", camel)


def _instant(text: str) -> datetime:
    timestamp = Timestamp()
    timestamp.FromJsonString(text)
    return timestamp.ToDatetime(tzinfo=UTC)
