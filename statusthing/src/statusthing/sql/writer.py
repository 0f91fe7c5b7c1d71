"""Group commit: one thread per process does all the writing.

Callers queue units of work. The thread takes the store's writer lock, runs what is queued, each
unit under a savepoint of its own, and commits once: a unit that comes alone waits for nobody, and
units that come together share the cost of making them durable. Nobody hears of a result before the
commit that holds it.

* A unit that raises is undone alone, and what it raised, of whatever class, reaches its caller.
* A batch that fails as a whole fails all its units, also those that had raised: what they saw was
  never true.
* Should the thread itself die, everything queued fails at once, and so does every later write.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, TypeVar, cast

import msgspec
from sqlalchemy.exc import DBAPIError

from statusthing.errors import StoreClosed, StoreUnavailable
from statusthing.sql.database import Database
from statusthing.sql.session import Session
from statusthing.sql.statements import MOVE_HEAD
from statusthing.sql.transaction import CANNOT_SERVE, Head, Writing, read_head
from statusthing.store import Transaction

T = TypeVar("T")

BATCH_UNITS = 64
"""The most units that share a commit."""

BATCH_SECONDS = 0.02
"""For how long a batch takes in further units."""


class _Unit:
    """A unit of work, the future that its caller awaits, and what came out of it."""

    def __init__(self, work: Callable[[Transaction], Any], now: datetime) -> None:
        self.work = work
        self.now = now
        self.future = asyncio.get_running_loop().create_future()
        self.result: Any = None
        self.error: BaseException | None = None


class Writer:
    """Runs units of work in one line, on a thread and a connection of its own.

    Args:
        database: what to write to.
        alone: entered around each unit, on the thread that runs it.
        announce: told the new head after each commit that moved it.
    """

    def __init__(
        self,
        database: Database,
        alone: AbstractContextManager[None],
        announce: Callable[[int], None],
    ) -> None:
        self._database = database
        self._alone = alone
        self._announce = announce
        self._session: Session | None = None
        self._queue: deque[_Unit] = deque()
        self._changed = threading.Condition()
        self._end: StoreUnavailable | None = None
        # A daemon, because the interpreter joins other threads before it runs what is registered
        # with atexit, which is where a store without lifespan is closed.
        self._thread = threading.Thread(target=self._serve, name="statusthing-writer", daemon=True)

    def start(self) -> None:
        """Connect and try a write, so that problems show now, then start the thread."""
        with self._database.writer_lock():
            self._session = session = self._database.connect_writer()
            try:
                session.begin()
                _move_head(session, read_head(session, lock=True))
                session.rollback()
            except BaseException:
                self._disconnect()
                raise
        self._thread.start()

    def close(self) -> None:
        """Finish what is queued, then let go of the thread and the connection."""
        with self._changed:
            self._end = self._end or StoreClosed("the store is closed")
            self._changed.notify()
        self._thread.join()
        # Without the lock the connection stays as it is: all that was acknowledged is durable.
        with contextlib.suppress(StoreUnavailable), self._database.writer_lock():
            self._disconnect()

    async def run(self, work: Callable[[Transaction], T], now: datetime) -> T:
        """Run a unit, and return or raise what it does, once that is durable.

        Raises:
            StoreUnavailable: the batch failed, or the thread is gone; nothing was written.
            StoreClosed: the writer was closed before.
        """
        unit = _Unit(work, now)
        with self._changed:
            if self._end is not None:
                raise _again(self._end)
            self._queue.append(unit)
            self._changed.notify()
        await unit.future
        if unit.error is not None:
            raise unit.error
        return cast("T", unit.result)

    def _serve(self) -> None:
        batch: list[_Unit] = []
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._queue or self._end)
                    if not self._queue:
                        return
                    batch = [self._queue.popleft()]
                self._write(batch)
                _deliver(batch)
                batch = []
        except BaseException as error:  # noqa: BLE001 - nobody is above a thread to see it
            end = StoreUnavailable("the thread that writes has died: restart the program")
            end.__cause__ = error
            with self._changed:
                self._end = end
                batch.extend(self._queue)
                self._queue.clear()
            _fail(batch, end)
            _deliver(batch)

    def _write(self, batch: list[_Unit]) -> None:
        """Run the batch, which begins with one unit and takes in what is queued meanwhile."""
        try:
            with self._database.writer_lock():
                if self._session is None:
                    self._session = self._database.connect_writer()
                try:
                    before, head = self._commit(self._session, batch)
                except BaseException:
                    self._disconnect()
                    raise
        except StoreUnavailable as error:
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next batch may go well
            failure = StoreUnavailable(CANNOT_SERVE)
            failure.__cause__ = error.orig if isinstance(error, DBAPIError) else error
            _fail(batch, failure)
        else:
            if head != before:
                self._announce(head.revision)

    def _commit(self, session: Session, batch: list[_Unit]) -> tuple[Head, Head]:
        session.begin()
        before = head = read_head(session, lock=True)
        end = time.monotonic() + BATCH_SECONDS
        touched = False
        unit: _Unit | None = batch[0]
        while unit is not None:
            head, wrote = self._run(session, unit, head)
            touched |= wrote
            unit = None
            # Taken from the queue only to be run, so that nothing is lost between the two.
            if len(batch) < BATCH_UNITS and self._queue and time.monotonic() < end:
                unit = self._queue.popleft()
                batch.append(unit)
        if head != before:
            _move_head(session, head)
        if touched:
            session.commit()
        else:
            session.rollback()
        return before, head

    def _run(self, session: Session, unit: _Unit, head: Head) -> tuple[Head, bool]:
        """Run one unit; return the head behind it and whether it wrote."""
        if unit.future.cancelled():
            return head, False
        session.run("SAVEPOINT unit")
        transaction = Writing(session, self._database, head, unit.now)
        try:
            with self._alone:
                unit.result = unit.work(transaction)
            head = transaction.end()
        except BaseException as error:  # noqa: BLE001 - it is the caller's, who awaits it
            unit.error = error
            session.run("ROLLBACK TO SAVEPOINT unit")
        session.run("RELEASE SAVEPOINT unit")
        return head, transaction.touched and unit.error is None

    def _disconnect(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


def _move_head(session: Session, head: Head) -> None:
    session.change(MOVE_HEAD, msgspec.structs.asdict(head))


def _again(error: StoreUnavailable) -> StoreUnavailable:
    """Make another of the same: one exception object cannot be raised in several places at once."""
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy


def _fail(batch: list[_Unit], error: StoreUnavailable) -> None:
    for unit in batch:
        unit.error = _again(error)


def _deliver(batch: list[_Unit]) -> None:
    """Resolve the futures, with one wake-up per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Unit]] = {}
    for unit in batch:
        by_loop.setdefault(unit.future.get_loop(), []).append(unit)
    for loop, units in by_loop.items():
        # A loop that was closed has nobody left to tell.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, units)


def _resolve(units: list[_Unit]) -> None:
    for unit in units:
        if not unit.future.done():
            unit.future.set_result(None)
