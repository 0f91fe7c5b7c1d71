"""A store on an SQL database: everything but how that database is reached and locked.

Writes run on the writer's thread (`statusthing.sql.writer`). A store distribution derives from
`SqlStore`, and names what its database does differently in the abstract methods.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from abc import abstractmethod
from collections.abc import Callable, Generator
from datetime import datetime
from typing import ClassVar, TypeVar

import msgspec
from sqlalchemy.exc import DBAPIError

from statusthing.errors import NestedUnit, StoreClosed, StoreUnavailable
from statusthing.sql import schema
from statusthing.sql.database import Database
from statusthing.sql.readers import Readers
from statusthing.sql.transaction import CANNOT_SERVE
from statusthing.sql.watch import Watch
from statusthing.sql.writer import Writer
from statusthing.store import SchemaState, Transaction
from statusthing.wakeup import Wakeup

T = TypeVar("T")


class _Alone(threading.local):
    """Entered around a unit, refuses another one on the same thread (R6)."""

    running = False

    def __enter__(self) -> None:
        self.check()
        self.running = True

    def __exit__(self, *_: object) -> None:
        self.running = False

    def check(self) -> None:
        if self.running:
            raise NestedUnit("a unit of work cannot start another one")


class Opened(msgspec.Struct, frozen=True):
    """What a store holds while it is open."""

    schema: SchemaState
    wakeup: Wakeup
    watch: Watch
    readers: Readers
    writer: Writer


class SqlStore(Database):
    """Obeys `statusthing.store` over an SQL database.

    Args:
        url: where the data is, without any password.

    Attributes:
        watch_seconds: the pause between two looks at what other processes have committed.
        make_readers: makes what runs the units that read.
    """

    shared = True
    watch_seconds: ClassVar[float]
    make_readers: ClassVar[type[Readers]] = Readers

    def __init__(self, url: str) -> None:
        self.url = url
        self._alone = _Alone()
        self._life = threading.Lock()
        self._open: Opened | None = None
        self._pid = 0  # of the process that opened it

    # What else a database has to say for itself.

    @abstractmethod
    def find_version(self) -> str | None:
        """Return the layout (see `schema.find_version`) without changing anything at all.

        Raises:
            UserMistake: there can be no database at this place.
        """

    @abstractmethod
    def upgrade(self) -> bool:
        """Bring the layout up to date under a lock; tell whether there was none before."""

    @abstractmethod
    def heads(self) -> Generator[int]:
        """Return the head each time that it may have moved, for ever: see `watch.Watch`.

        Raises:
            DBAPIError, StoreUnavailable: it cannot be read now.
        """

    # The contract.

    @property
    def schema(self) -> SchemaState:
        """The layout found by `open`."""
        return self._opened().schema

    async def open(self) -> None:
        """Make the store ready (R23).

        Raises:
            SchemaOutdated, SchemaTooNew: nothing was touched.
            UserMistake: there can be no database at this place.
            StoreUnavailable: it does not answer.
        """
        await asyncio.to_thread(self._open_now)

    async def migrate(self) -> None:
        """Bring the layout up to date (R23); raises as `open` does."""
        await asyncio.to_thread(self._migrate_now)

    async def close(self) -> None:
        """Finish the writes that are queued, and let go of everything."""
        await asyncio.to_thread(self._close_now)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run a unit that only reads."""
        opened = self._opened()
        self._alone.check()
        return await opened.readers.run(work)

    async def write(self, work: Callable[[Transaction], T], *, now: datetime) -> T:
        """Run a unit that may write; see `Store.write`."""
        opened = self._opened()
        self._alone.check()
        return await opened.writer.run(work, now)

    async def wait(self, after: int) -> int:
        """Return the head once it is above `after` (R22)."""
        opened = self._opened()
        opened.wakeup.announce(await self.read(_revision))
        with opened.watch:
            return await opened.wakeup.wait(after)

    def _opened(self) -> Opened:
        opened = self._open  # which another thread may take away meanwhile
        if opened is None:
            raise StoreClosed("the store is not open")
        self._check_process()
        return opened

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise StoreClosed("this store was opened before a fork: open one after it")

    def _open_now(self) -> None:
        with self._life:
            if self._open is not None:
                self._check_process()
                return
            self._pid = os.getpid()
            try:
                self._open = self._begin()
            except DBAPIError as error:
                raise StoreUnavailable(CANNOT_SERVE) from error.orig
            atexit.register(self._close_now)

    def _begin(self) -> Opened:
        version = self.find_version()
        schema.check(version)
        created = version is None and self.upgrade()
        wakeup = Wakeup()
        writer = Writer(self, self._alone, wakeup.announce)
        writer.start()
        state = SchemaState(version=schema.NEWEST, created=created)
        readers = self.make_readers(self, self._alone)
        watch = Watch(self.heads, wakeup.announce, self.watch_seconds)
        return Opened(state, wakeup, watch, readers, writer)

    def _migrate_now(self) -> None:
        try:
            version = self.find_version()
            schema.check_not_newer(version)
            if version != schema.NEWEST:
                self.upgrade()
        except DBAPIError as error:
            raise StoreUnavailable(CANNOT_SERVE) from error.orig

    def _close_now(self) -> None:
        # A child keeps its hands off: the threads are not there, and the files are the parent's.
        if os.getpid() != self._pid:
            return
        with self._life:
            opened, self._open = self._open, None
            if opened is None:
                return
            atexit.unregister(self._close_now)
            opened.wakeup.close()
            opened.watch.close()
            opened.readers.close()
            opened.writer.close()


def _revision(transaction: Transaction) -> int:
    return transaction.revision
