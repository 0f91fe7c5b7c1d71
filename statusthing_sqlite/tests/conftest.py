"""A store on a file of the test's own, and a look at that file with SQLite alone."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool
from tests import units

from statusthing_sqlite import SqliteStore


class File:
    """A database file, and the calls that tests make of it."""

    SECONDS = units.SECONDS
    NOW = units.NOW
    item = staticmethod(units.item)
    add = staticmethod(units.add)
    change_of = staticmethod(units.change_of)

    def __init__(self, path: Path) -> None:
        self.path = path

    def store(self) -> SqliteStore:
        """Make a store on the file."""
        return SqliteStore(self.path)

    def rows(self, sql: str) -> list[Any]:
        """Ask SQLite itself, without the store."""
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(sql).fetchall()

    def change(self, sql: str, *values: Any) -> None:
        """Change the file with SQLite itself."""
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(sql, values)

    def items(self) -> list[str]:
        """The ids of the items that stand in the file."""
        return [id for [id] in self.rows("SELECT id FROM statusthing_items ORDER BY id")]

    def revisions(self) -> list[int]:
        """The numbers of the changes that stand in the file, and at last the head."""
        numbers = "SELECT revision FROM statusthing_changes ORDER BY revision, seq"
        return [
            n for [n] in self.rows(numbers) + self.rows("SELECT revision FROM statusthing_head")
        ]

    def folder(self) -> dict[str, bytes]:
        """Every file beside the database and itself, with its bytes."""
        return {file.name: file.read_bytes() for file in self.path.parent.iterdir()}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `tests/program.py` on the file."""
        return units.start(f"sqlite:///{self.path}", *arguments)


@pytest.fixture
def file(tmp_path: Path) -> File:
    """A place for a database, in a folder of its own."""
    folder = tmp_path / "data"
    folder.mkdir()
    return File(folder / "statusthing.db")


@pytest.fixture
def run() -> Iterator[Callable[..., Any]]:
    """Runs coroutines on one event loop."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def executed() -> list[str]:
    """Each statement that SQLite has executed on `connections`, with the values in it."""
    return []


@pytest.fixture
def connections(executed: list[str]) -> Iterator[list[sqlite3.Connection]]:
    """Every connection that a store has opened, the newest one last."""
    opened: list[sqlite3.Connection] = []

    def note(connection: sqlite3.Connection, _: object) -> None:
        opened.append(connection)
        connection.set_trace_callback(executed.append)

    event.listen(Pool, "connect", note)
    yield opened
    event.remove(Pool, "connect", note)


@pytest.fixture
def store(
    file: File,
    run: Callable[..., Any],
    connections: list[sqlite3.Connection],  # noqa: ARG001 - has to be there before they are opened
) -> Iterator[SqliteStore]:
    """An open store on the file."""
    store = file.store()
    run(store.open())
    yield store
    run(store.close())
