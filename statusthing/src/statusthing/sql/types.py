"""How Python values become columns that keep and order them the same way on every database."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Dialect, String, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from statusthing.model import instant, microseconds


def text() -> TypeEngine[str]:
    """Make a type for text that is compared by code point, as R10 and R15 ask.

    SQLite compares the bytes of UTF-8, whose order is that of the code points. PostgreSQL follows
    the locale of the database unless told otherwise.
    """
    return Text().with_variant(Text(collation="C"), "postgresql")


class Instant(TypeDecorator[datetime]):
    """An instant, as whole microseconds since 1970 in UTC.

    SQLite has no type for instants, and text orders them only as long as every writer pads it
    alike. A 64-bit integer is exact, is compared in the order of time on every database, knows no
    time zone that a session could change, and is the cheapest to read back.
    """

    impl = BigInteger
    cache_ok = True

    # Overrides the processors, because process_bind_param and process_result_value cost one more
    # call per value.

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], int | None]:
        """Count the microseconds, in integers only."""
        return _to_microseconds

    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[int | None], datetime | None]:
        """Add the microseconds up again."""
        return _to_instant


def _to_microseconds(value: datetime | None) -> int | None:
    return None if value is None else microseconds(value)


# Most records were never updated, and lists are read again and again: an instant that was looked up
# costs an eighth of one that is made.
@functools.lru_cache(maxsize=4096)
def _to_instant(value: int | None) -> datetime | None:
    return None if value is None else instant(value)


class Choice(TypeDecorator[enum.Enum]):
    """A member of an enumeration, as its value, which is text."""

    impl = String
    cache_ok = True

    def __init__(self, members: type[enum.Enum]) -> None:
        super().__init__()
        self.members = members

    def process_bind_param(self, value: enum.Enum | None, dialect: Dialect) -> str | None:
        """Take the value."""
        return None if value is None else str(value.value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> enum.Enum | None:
        """Look the member up."""
        return None if value is None else self.members(value)


class Json(TypeDecorator[Any]):
    """JSON-able data, as text; None as NULL. No database looks into it."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any | None, dialect: Dialect) -> str | None:
        """Encode it."""
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Any | None:
        """Decode it."""
        return None if value is None else msgspec.json.decode(value)


class Array(TypeDecorator[Any]):
    """A set of values of another type, as one text, for databases that read one as rows.

    Args:
        element: the type of the values.
        write: makes the text of the values, each converted as its own type does.
    """

    impl = Text
    cache_ok = True

    def __init__(self, element: TypeEngine[Any], write: Callable[[list[Any]], str]) -> None:
        super().__init__()
        self.element = element
        self.write = write

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        """Convert the elements, then write them."""
        process = self.element.dialect_impl(dialect).bind_processor(dialect)
        write = self.write
        return lambda values: write([process(v) for v in values] if process else list(values))
