"""Reading, over a connection that each thread keeps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from statusthing.errors import StoreClosed, StoreUnavailable
from statusthing.sql.database import Database
from statusthing.sql.head import begin
from statusthing.sql.session import Session
from statusthing.sql.transaction import CANNOT_SERVE, Reading
from statusthing.store import Transaction

T = TypeVar("T")

_CLOSED = "the store is closed"


class _Reader:
    """A thread's connection. The lock is there for `close`, which another thread may call.

    Attributes:
        closed: whether the thread needs another one.
        lost: whether it is because this one broke.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.lock = threading.Lock()
        self.closed = False
        self.lost = False

    def note(self, failure: DBAPIError | None) -> None:
        if failure is not None:
            self.closed = True
            self.lost |= failure.connection_invalidated

    def close(self) -> None:
        with self.lock:
            self.closed = True
            self.session.close()


class _Mine(threading.local):
    """The reader of the current thread."""

    reader: _Reader | None = None


class Readers:
    """Runs units that read, on the calling thread.

    A thread's connection is closed with the readers, or after the thread.

    Args:
        database: what to read from.
        alone: entered around each unit.
    """

    def __init__(self, database: Database, alone: AbstractContextManager[None]) -> None:
        self._database = database
        self._alone = alone
        self._mine = _Mine()
        self._lock = threading.Lock()
        self._all: dict[threading.Thread, _Reader] = {}
        self._closed = False

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Run a unit, and return or raise what it does; raises as `run_now` does."""
        return self.run_now(work)

    def run_now(self, work: Callable[[Transaction], T]) -> T:
        """Run a unit on this thread, and return or raise what it does.

        A connection that was kept may have broken meanwhile; the unit is then run over a new one.

        Raises:
            StoreUnavailable: the database cannot be read now.
            StoreClosed: the readers were closed before.
        """
        with self._alone:
            kept = self._mine.reader
            if kept is not None and not kept.closed:
                try:
                    return self._read(kept, work)
                except StoreUnavailable:
                    if not kept.lost:
                        raise
            return self._read(self._open(), work)

    def _read(self, reader: _Reader, work: Callable[[Transaction], T]) -> T:
        with reader.lock:
            if reader.closed:
                raise StoreClosed(_CLOSED)
            try:
                reading = Reading(reader.session, self._database, begin(reader.session))
                try:
                    result = work(reading)
                    reading.end()
                    return result
                finally:
                    reader.note(reading.failure)
                    # Not rolled back: after that, psycopg would prepare every statement anew.
                    reader.session.commit()
            except DBAPIError as error:
                reader.note(error)
                raise StoreUnavailable(CANNOT_SERVE) from error.orig

    def close(self) -> None:
        """Close every connection, each as soon as the unit that is using it has ended."""
        with self._lock:
            self._closed = True
            readers = list(self._all.values())
            self._all.clear()
        for reader in readers:
            reader.close()

    def _open(self) -> _Reader:
        thread = threading.current_thread()
        with self._lock:
            self._check_open()
            ended = [other for other in self._all if other is thread or not other.is_alive()]
            left = [self._all.pop(other) for other in ended]
        for reader in left:
            reader.close()
        try:
            reader = _Reader(self._database.connect_reader())
        except DBAPIError as error:
            raise StoreUnavailable(CANNOT_SERVE) from error.orig
        try:
            with self._lock:
                self._check_open()
                self._all[thread] = self._mine.reader = reader
        except StoreClosed:
            reader.close()
            raise
        return reader

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed(_CLOSED)
