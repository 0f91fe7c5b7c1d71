"""SQLite as a store: one file, safe for several threads and processes on one machine.

* One connection of a process writes; whenever it does, it holds a lock on the file
  `<database>-lock`. That puts the writers of several processes in one line, and keeps clear of a
  fault in SQLite's write-ahead log that shows when two connections write or checkpoint at the same
  instant.
* Every thread that reads has a connection that cannot write and never checkpoints. Reading is
  done on the calling thread: a hop to another one costs more than the unit itself.
* Commits are durable when they are acknowledged (`synchronous=FULL`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from sqlalchemy import ColumnElement, bindparam, func, select
from sqlalchemy.exc import DBAPIError

from statusthing.errors import StoreUnavailable, UserMistake
from statusthing.sql import schema
from statusthing.sql.session import Session
from statusthing.sql.store import Opened, SqlStore
from statusthing.sql.tables import head
from statusthing.sql.transaction import CANNOT_SERVE
from statusthing.sql.types import Array
from statusthing_sqlite.connection import (
    LOOK,
    MIGRATION,
    READER,
    WRITE_WAIT_SECONDS,
    WRITER,
    Pragmas,
    connect,
    make_engine,
)
from statusthing_sqlite.lock import held

_log = logging.getLogger("statusthing.sqlite")

_REVISION = str(select(head.c.revision))

_REFUSALS = frozenset(
    {
        "SQLITE_CONSTRAINT_FOREIGNKEY",
        "SQLITE_CONSTRAINT_PRIMARYKEY",
        "SQLITE_CONSTRAINT_UNIQUE",
    }
)
_REPAIRED: Mapping[tuple[int, ...], tuple[int, int, int]] = {
    (3, 44): (3, 44, 6),
    (3, 50): (3, 50, 7),
}
_MOVED = (
    "the database file was moved, replaced or emptied: put it back, or stop this program and "
    "remove the -wal and -shm files beside it before another file takes its place"
)
_HEADER_BYTES = 100  # https://www.sqlite.org/fileformat2.html#the_database_header
_MISTAKES = {
    "SQLITE_NOTADB": "is not an SQLite database",
    "SQLITE_CANTOPEN": "cannot be opened: may this user read and write it and its folder?",
    "SQLITE_PERM": "cannot be opened: may this user read and write it and its folder?",
    "SQLITE_READONLY": "cannot be written to: may this user write to it and its folder?",
    "SQLITE_READONLY_DIRECTORY": "cannot be written to: may this user write to its folder?",
    "SQLITE_READONLY_CANTINIT": "cannot be written to: may this user write to its folder?",
}


class SqliteStore(SqlStore):
    """Keeps everything in one SQLite file, and two or three side files of the same name.

    Args:
        path: the file, absolute or relative to the current folder. `open` makes it.

    Raises:
        UserMistake: the path is `:memory:`.
    """

    watch_seconds = 0.075

    def __init__(self, path: str | Path) -> None:
        if str(path) == ":memory:":
            raise UserMistake("a database in memory is lost between connections: use memory://")
        super().__init__(f"sqlite:///{quote(str(path))}")
        self._path = path
        # Side files are named after the file itself, by whatever links it is reached.
        self._file = Path(os.path.realpath(path))
        self._lock_file = self._file.with_name(f"{self._file.name}-lock")
        self._identity: tuple[int, int] | None = None
        self._reading = make_engine(self._connect_reader)
        self._writing = make_engine(self._connect_writer)

    @staticmethod
    def member(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        """Let SQLite take the set apart, from one JSON array."""
        array = func.json_each(bindparam(name, type_=Array(column.type, json.dumps)))
        return column.in_(select(array.table_valued("value").c.value))

    def refused(self, error: DBAPIError) -> bool:
        """Decide by the extended code."""
        return _code(error.orig) in _REFUSALS

    def connect_reader(self) -> Session:
        """Open a connection that cannot write."""
        return Session(self._reading.connect(), lambda: self._checked("BEGIN"))

    def connect_writer(self) -> Session:
        """Open the connection that writes."""
        return Session(self._writing.connect(), lambda: self._checked("BEGIN IMMEDIATE"))

    def writer_lock(self) -> AbstractContextManager[None]:
        """Lock the side file."""
        return held(self._lock_file, WRITE_WAIT_SECONDS)

    def heads(self) -> Generator[int]:
        """Ask SQLite whether another connection has committed, which costs a few microseconds.

        See https://www.sqlite.org/pragma.html#pragma_data_version.
        """
        try:
            with contextlib.closing(self._connect_reader()) as connection:
                seen = revision = 0
                while True:
                    [version] = connection.execute("PRAGMA data_version").fetchone()
                    if version != seen:
                        [revision] = connection.execute(_REVISION).fetchone()
                        seen = version
                    yield revision
        except sqlite3.Error as error:
            raise StoreUnavailable(CANNOT_SERVE) from error

    async def open(self) -> None:
        """Make the store ready; see `SqlStore.open`."""
        with self._mistakes():
            await super().open()
        if _has_wal_fault(sqlite3.sqlite_version_info):
            _log.info(
                "SQLite %s has a fault in its write-ahead log; %s keeps our own writers clear of "
                "it. Let no other program write to the database meanwhile, or use SQLite 3.51.3 "
                "or newer.",
                sqlite3.sqlite_version,
                self._lock_file.name,
            )

    async def migrate(self) -> None:
        """Bring the layout up to date; see `SqlStore.migrate`."""
        with self._mistakes():
            await super().migrate()

    def find_version(self) -> str | None:
        """Look at the layout without changing a byte, or making a side file.

        Opening a database with a write-ahead log makes the log's files, even to read. Where there
        are none, nobody else is using the database, and it can be read as a file that never
        changes. Should it have changed meanwhile after all, the look is repeated.
        """
        self._check_place()
        while True:
            before = self._stamp()
            if before is None:
                return None
            if self._log_file.exists():
                return self._look("mode=ro")
            try:
                version = self._look("mode=ro&immutable=1")
            except (DBAPIError, UserMistake):
                if self._unchanged(before):
                    raise
            else:
                if self._unchanged(before):
                    return version

    def _check_place(self) -> None:
        """Refuse paths on which SQLite would hang, overwrite data or leave unusable side files."""
        if not self._file.parent.is_dir():
            msg = f"the folder {self._file.parent} does not exist: make it first"
            raise UserMistake(msg)
        if not self._file.exists():
            return
        if self._file.is_dir():
            msg = f"{self._path} is a folder: name a file in it"
            raise UserMistake(msg)
        if not self._file.is_file():
            msg = f"the database {self._path} is not a file"
            raise UserMistake(msg)
        if not os.access(self._file, os.R_OK | os.W_OK):
            msg = f"the database {self._path} {_MISTAKES['SQLITE_READONLY']}"
            raise UserMistake(msg)
        stat = self._file.stat()
        if stat.st_nlink > 1:
            # SQLite names its log after the path: two paths to one file are two logs.
            msg = f"the database {self._path} has hard links: keep one path to it"
            raise UserMistake(msg)
        if 0 < stat.st_size < _HEADER_BYTES:
            msg = f"the database {self._path} {_MISTAKES['SQLITE_NOTADB']}"
            raise UserMistake(msg)

    def upgrade(self) -> bool:
        """Migrate in one transaction, under the lock."""
        engine = make_engine(lambda: self._connect("mode=rwc", MIGRATION))
        with self.writer_lock(), engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            version = schema.find_version(connection)
            schema.check_not_newer(version)
            if version != schema.NEWEST:
                schema.upgrade(connection)
                if connection.exec_driver_sql("PRAGMA foreign_key_check").all():
                    raise StoreUnavailable("the data has dangling references: restore a backup")
        return version is None

    def _look(self, parameters: str) -> str | None:
        engine = make_engine(lambda: self._connect(parameters, LOOK))
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            return schema.find_version(connection)

    @property
    def _log_file(self) -> Path:
        return self._file.with_name(f"{self._file.name}-wal")

    def _stamp(self) -> tuple[int, int, int, int] | None:
        try:
            stat = self._file.stat()
        except FileNotFoundError:
            return None
        return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns

    def _unchanged(self, before: tuple[int, ...]) -> bool:
        return self._stamp() == before and not self._log_file.exists()

    def _connect(self, parameters: str, pragmas: Pragmas) -> sqlite3.Connection:
        return connect(self._file, parameters, pragmas)

    def _connect_reader(self) -> sqlite3.Connection:
        return self._connect("mode=ro", READER)

    def _begin(self) -> Opened:
        self._identity = None  # whatever file is there now
        return super()._begin()

    def _connect_writer(self) -> sqlite3.Connection:
        connection = self._connect("mode=rw", WRITER)
        if self._identity is None:
            self._identity = self._identify()
        return connection

    def _checked(self, begin: str) -> str:
        # What is written to a file that was deleted or replaced is lost when the process ends, and
        # what is read from it is no longer so.
        if self._identify() != self._identity:
            raise StoreUnavailable(_MOVED)
        return begin

    def _identify(self) -> tuple[int, int] | None:
        stamp = self._stamp()
        return None if stamp is None or stamp[2] == 0 else stamp[:2]

    @contextlib.contextmanager
    def _mistakes(self) -> Iterator[None]:
        """Turn errors that the operator can fix into UserMistake."""
        try:
            yield
        except (OSError, StoreUnavailable) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            problem = _MISTAKES.get(_code(cause))
            if isinstance(cause, OSError):
                problem = f"cannot be used: {cause.strerror}"
            if problem is None:
                raise
            msg = f"the database {self._path} {problem}"
            raise UserMistake(msg) from cause


def from_url(url: str) -> SqliteStore:
    """Make a store from `sqlite:///relative.db` or `sqlite:////absolute.db`, percent-encoded.

    Raises:
        UserMistake: the URL holds anything else.
    """
    try:
        parts = urlsplit(url)
        path = unquote(parts.path.removeprefix("/"), errors="strict")
    except ValueError:  # UnicodeDecodeError is one
        raise UserMistake("an SQLite URL is sqlite:///file.db, percent-encoded UTF-8") from None
    if parts.netloc:
        raise UserMistake(
            "an SQLite URL names no host: write sqlite:///file.db, with three slashes"
        )
    if parts.query or parts.fragment:
        raise UserMistake(
            "an SQLite URL takes no parameters: write ? as %3F and # as %23 in a path"
        )
    if not path or "\0" in path:
        raise UserMistake("an SQLite URL needs the path of a file: sqlite:///file.db")
    return SqliteStore(path)


def _code(error: object) -> str:
    # Errors of Python's module itself, not of SQLite, have none.
    return getattr(error, "sqlite_errorname", "")


def _has_wal_fault(version: tuple[int, ...]) -> bool:
    """Return whether a version of SQLite can spoil a write-ahead log; see https://sqlite.org/wal.html.

    Fixed in 3.51.3, and in older lines by 3.44.6 and 3.50.7.
    """
    return (3, 7, 0) <= version < _REPAIRED.get(version[:2], (3, 51, 3))
