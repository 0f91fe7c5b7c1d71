"""Text for people: safe to show on any terminal, and in columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime


def plain(text: str) -> str:
    """Return a text without what would control a terminal, which is shown by its code instead."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def instant(time: datetime | None) -> str:
    """Return a time in UTC, to the second; empty for none."""
    return "" if time is None else f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def columns(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return lines with the cells of each row below their heads; `-` for empty ones."""
    cells = [list(heads), *([plain(cell) or "-" for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
