"""Sets of values, as the text of an array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Dialect, Text
from sqlalchemy.types import TypeDecorator, TypeEngine


class ArrayText(TypeDecorator[Any]):
    """A set of values of another type, as PostgreSQL writes an array.

    psycopg takes lists too, but to convert one of a thousand ids takes it longer than PostgreSQL
    takes to find what they name.
    https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO
    """

    impl = Text
    cache_ok = True

    def __init__(self, element: TypeEngine[Any]) -> None:
        super().__init__()
        self.element = element

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        """Convert the elements as their own type does, and quote each one."""
        process = self.element.dialect_impl(dialect).bind_processor(dialect)

        def encode(values: Any) -> str:
            texts = map(str, map(process, values) if process else values)
            return "{" + ",".join([f'"{text.translate(_ESCAPED)}"' for text in texts]) + "}"

        return encode


_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\""})
