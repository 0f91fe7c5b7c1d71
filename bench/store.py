"""Stores to measure with, and what their longest list takes in process."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from datetime import UTC, datetime
from statistics import median
from typing import Any, NamedTuple
from unittest.mock import patch

from bench import Measure
from statusthing import Role, StatusKind, StatusThing, open_store
from statusthing.rpc.json_codec import JsonCodec
from statusthing.service.messages import ListItemsRequest

TIME = datetime(2026, 1, 1, 12, 0, 0, 500_000, UTC)
"""When everything was added; its fraction makes all times equally long in both encodings."""

_AROUND = {"BEGIN", "COMMIT", "ROLLBACK"}


class Filled(NamedTuple):
    """A store with items, each with a status and two notes.

    Attributes:
        url: of the store.
        items: the ids of the items.
        token: of an editor.
    """

    url: str
    items: list[str]
    token: str


async def fill(url: str, items: int) -> Filled:
    """Put so many items into an empty store."""
    async with StatusThing(open_store(url), clock=lambda: TIME) as st:
        status = await st.statuses.add(name="Operational", kind=StatusKind.UP)

        async def add(number: int) -> str:
            item = await st.items.add(
                name=f"Service {number:05}",
                description="What people depend on, in a sentence that is long enough.",
                initial_status_id=status.id,
                initial_note_text="Answers are slower than usual. We are looking into it.",
            )
            await st.notes.add(item.id, "The cause is found, and removed. We keep watching.")
            return item.id

        ids = await asyncio.gather(*map(add, range(items)))
        token = await st.tokens.add(name="benchmark", role=Role.EDITOR)
    return Filled(url, ids, token.secret)


async def listing(few: Filled, many: Filled, times: int) -> Measure:
    """Measure ListItems with all notes on two SQLite files of different size.

    The statements are counted without those that begin and end a transaction.
    """
    small, large = f"{len(few.items)} items", f"{len(many.items)} items"
    few_ms, many_ms = await _in_turns(few, many, times)
    return {
        small: {"median_ms": few_ms, "statements": await _statements(few)},
        large: {"median_ms": many_ms, "statements": await _statements(many)},
        f"{large}/{small}": {"median_ms": many_ms / few_ms},
    }


async def listing_on_postgres(postgres: Filled, sqlite: Filled, times: int) -> Measure:
    """Measure ListItems with all notes on two databases with the same items."""
    postgres_ms, sqlite_ms = await _in_turns(postgres, sqlite, times)
    return {
        "postgres": {"median_ms": postgres_ms},
        "sqlite": {"median_ms": sqlite_ms},
        "postgres/sqlite": {"median_ms": postgres_ms / sqlite_ms},
    }


async def _in_turns(one: Filled, other: Filled, times: int) -> list[float]:
    """Return how many milliseconds each takes, from the query to the JSON's bytes."""
    async with (
        StatusThing(open_store(one.url)) as first,
        StatusThing(open_store(other.url)) as second,
    ):
        turns = [(await _list(first), await _list(second)) for _ in range(times)]
    return [median(column) for column in zip(*turns, strict=True)]


async def _list(st: StatusThing) -> float:
    """Return how many milliseconds it takes."""
    began = time.perf_counter()
    answer = await st.run(ListItemsRequest(extended=True))
    JsonCodec().encode(answer.response)
    return (time.perf_counter() - began) * 1_000


async def _statements(store: Filled) -> int:
    seen: list[str] = []
    connect = sqlite3.connect

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(seen.append)
        return connection

    with patch.object(sqlite3, "connect", traced):
        async with StatusThing(open_store(store.url)) as st:
            await _list(st)  # which may open the connection
            seen.clear()
            await _list(st)
            return sum(statement not in _AROUND for statement in seen)
