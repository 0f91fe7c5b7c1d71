"""A look at protobuf's binary encoding before it is parsed.

Of two bytes that it is sent protobuf makes up to thirty-two: four megabytes of empty strings take
up eighty. So the fields of a large message are counted first.

See https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from typing import Any

from statusthing import limits
from statusthing.errors import InvalidArgument

TOO_MANY = f"may have at most {limits.ELEMENTS} elements"

_MOST_FIELDS = 10 * limits.ELEMENTS  # far more than any request has, elements of lists included
_LEAST_BYTES = 2  # of a field
_VARINT_BYTES = 10

_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5


def check_fields(data: bytes, descriptor: Any) -> None:
    """Refuse a message that has more fields than any request can have.

    One that is malformed is left to protobuf.

    Raises:
        InvalidArgument: it has too many.
    """
    if len(data) > _LEAST_BYTES * _MOST_FIELDS:
        try:
            _count(data, 0, len(data), descriptor, 0)
        except IndexError:
            return


def _count(data: bytes, position: int, end: int, descriptor: Any, fields: int) -> int:
    """Return how many fields there are up to the end of a message, with those counted before.

    What is in a group, which only unknown fields are, is counted as if it were outside.
    """
    while position < end:
        fields += 1
        if fields > _MOST_FIELDS:
            raise InvalidArgument("", "the body has more fields than such a request can have")
        tag, position = _varint(data, position)
        wire_type = tag & 7
        if wire_type == _VARINT:
            _, position = _varint(data, position)
        elif wire_type == _FIXED_64:
            position += 8
        elif wire_type == _FIXED_32:
            position += 4
        elif wire_type == _LENGTH:
            size, position = _varint(data, position)
            field = descriptor.fields_by_number.get(tag >> 3)
            if field is not None and field.message_type is not None:
                inner = min(position + size, end)
                fields = _count(data, position, inner, field.message_type, fields)
            elif field is not None and field.is_packed and size > _VARINT_BYTES * limits.ELEMENTS:
                raise InvalidArgument(field.name, TOO_MANY)
            position += size
    return fields


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Return a number, and where it ends."""
    value = 0
    for index in range(_VARINT_BYTES):
        byte = data[position + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:  # noqa: PLR2004 - the bit that says whether there is more
            return value, position + index + 1
    raise IndexError
