"""Connections to the file, each with the pragmas that its use asks for.

SQLite silently ignores pragmas that it does not know or cannot apply, so each one is read back. https://www.sqlite.org/pragma.html
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import Engine, NullPool, create_engine

from statusthing.errors import StoreUnavailable

WRITE_WAIT_SECONDS = 5
"""For how long a writer waits for another one."""

Pragmas = Mapping[str, int | str]

WRITER: Pragmas = MappingProxyType(
    {
        "busy_timeout": WRITE_WAIT_SECONDS * 1000,
        "journal_mode": "wal",
        "synchronous": 2,  # FULL: a commit is on the disk before it is acknowledged
        "foreign_keys": 1,
    }
)
MIGRATION: Pragmas = MappingProxyType({**WRITER, "foreign_keys": 0})
READER: Pragmas = MappingProxyType(
    {
        **WRITER,
        # Readers of a write-ahead log wait for nobody, save for moments of opening and recovery.
        "busy_timeout": 250,
        "query_only": 1,
        "wal_autocheckpoint": 0,
    }
)
LOOK: Pragmas = MappingProxyType({"busy_timeout": WRITE_WAIT_SECONDS * 1000})


def connect(file: Path, parameters: str, pragmas: Pragmas) -> sqlite3.Connection:
    """Open the file, with the parameters of SQLite's file URIs, and set and check the pragmas.

    Raises:
        StoreUnavailable: a pragma did not take.
        sqlite3.Error: it cannot be opened.
    """
    connection = sqlite3.connect(
        f"{file.as_uri()}?{parameters}",
        uri=True,
        # sqlite3 must not begin transactions by itself.
        isolation_level=None,
        # Connections are closed by another thread than the one that uses them.
        check_same_thread=False,
    )
    try:
        for name, value in pragmas.items():
            _set(connection, name, value)
    except BaseException:
        connection.close()
        raise
    return connection


def _set(connection: sqlite3.Connection, name: str, value: int | str) -> None:
    connection.execute(f"PRAGMA {name}={value}")
    [found] = connection.execute(f"PRAGMA {name}").fetchone()
    if found != value:
        msg = f"SQLite refuses {name}={value} for this file: is it on a network drive?"
        raise StoreUnavailable(msg)


def make_engine(connect: Callable[[], sqlite3.Connection]) -> Engine:
    """Make an engine, which leaves it to its user to begin transactions."""
    return create_engine(
        "sqlite://",
        creator=connect,
        poolclass=NullPool,
        hide_parameters=True,  # keeps user content out of error logs
    )
