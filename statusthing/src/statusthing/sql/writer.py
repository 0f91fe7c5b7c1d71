"""Group commit: one thread per process does all the writing.

Callers queue units of work. The thread takes the store's writer lock, runs what is queued, and
commits once: a unit that comes alone waits for nobody, and units that come together share the cost
of making them durable. Nobody hears of a result before the commit that holds it.

* A unit that raises is undone alone, and what it raised, of whatever class, reaches its caller.
  Most units that raise have written nothing. Should one have, or should a remote database refuse
  what it has written, the batch is undone, and run again in halves, down to that unit alone.
* A batch that fails as a whole fails all its units, also those that had raised: what they saw was
  never true. If it failed because its connection broke, it is run once more over a new one.
* A batch for a remote database is first run on what the one before it left behind, without asking
  whether somebody else has written since. If the batch needs nothing else, its one statement locks
  the head, sees that it has not moved, writes and commits. If it has, the batch is run once more.
* If the connection breaks during the commit, the database is asked over a new one whether the
  commit was made. Only if it does not come back in time to tell, callers get OutcomeUnknown.
* Nobody waits for longer than the database's `patience_seconds`.
* Should the thread itself die, everything queued fails at once, and so does every later write.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, NamedTuple, TypeVar, cast

from sqlalchemy.exc import DBAPIError

from statusthing.errors import OutcomeUnknown, StoreClosed, StoreUnavailable
from statusthing.sql.database import Database
from statusthing.sql.head import Head, begin, moving
from statusthing.sql.session import Session
from statusthing.sql.transaction import CANNOT_SERVE, Known, Waiting, Writing
from statusthing.store import Transaction

T = TypeVar("T")

BATCH_UNITS = 64
"""The most units that share a commit."""

BATCH_SECONDS = 0.02
"""For how long a batch takes in further units."""

SETTLE_SECONDS = 1.5
"""For how long a database that broke off during a commit is asked again what became of it."""

FRESH_SECONDS = 1.0
"""For how long a writer may take it that nobody else has written, before it asks again.

A connection that was lost while it was idle is then noticed where nothing can have been committed.
"""

_PAUSE_SECONDS = 0.05
_MOST_KNOWN = 1_024

_UNKNOWN = "the database was lost during this write, which took effect wholly or not at all"


class _Unit:
    """A unit of work, the future that its caller awaits, and what came out of it.

    `begun` says whether it has been run, or is about to be; it changes under the writer's lock.
    """

    def __init__(self, work: Callable[[Transaction], Any], now: datetime) -> None:
        self.work = work
        self.now = now
        self.future = asyncio.get_running_loop().create_future()
        self.result: Any = None
        self.error: BaseException | None = None
        self.begun = False


class _Undo(Exception):
    """A transaction has to be undone, for the sake of one of its units."""


class _Moved(Exception):
    """Somebody else has written since the last batch, and this one was run on what that left."""


class _Seen(NamedTuple):
    """What a batch left behind.

    Attributes:
        head: as it was then.
        known: records as they are there. Nothing that is logged changes without moving the head.
        until: till when it is fresh, by `time.monotonic()`.
    """

    head: Head
    known: Known
    until: float


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
        self._seen: _Seen | None = None
        self._others_write = True  # between this writer's batches, unless it was seen otherwise
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
                session.change_all([moving(session, begin(session, lock=True))])
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
            OutcomeUnknown: the database did not come back to tell whether anything was.
            StoreClosed: the writer was closed before.
        """
        unit = _Unit(work, now)
        with self._changed:
            if self._end is not None:
                raise _again(self._end)
            self._queue.append(unit)
        unit.future.get_loop().call_soon(self._wake)
        patience = self._database.patience_seconds
        if patience is None:
            await unit.future
        else:
            timer = unit.future.get_loop().call_later(patience, self._give_up, unit)
            try:
                await unit.future
            finally:
                timer.cancel()
        if unit.error is not None:
            raise unit.error
        return cast("T", unit.result)

    def _wake(self) -> None:
        """Let the thread begin, after all calls that the event loop had at hand have queued theirs.

        Told of the first one, it would wait for the interpreter lock meanwhile, or take it from
        them, and the units would come in several batches.
        """
        with self._changed:
            self._changed.notify()

    def _serve(self) -> None:
        batch: list[_Unit] = []
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._queue or self._end)
                    if not self._queue:
                        return
                    batch = [self._queue.popleft()]
                if batch[0].future.done():  # given up while it waited
                    continue
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

    def _give_up(self, unit: _Unit) -> None:
        """Answer a caller who has waited long enough; called on the caller's loop."""
        with self._changed:
            if unit.future.done():
                return
            # Not as its `error`, which is the thread's to set.
            unit.future.set_exception(
                OutcomeUnknown(_UNKNOWN) if unit.begun else StoreUnavailable(CANNOT_SERVE)
            )

    def _write(self, batch: list[_Unit]) -> None:
        """Run the batch, which begins with one unit and takes in what is queued meanwhile."""
        try:
            with self._database.writer_lock():
                try:
                    before, head = self._commit(batch)
                except DBAPIError as error:
                    if not error.connection_invalidated:
                        raise
                    before, head = self._commit(batch)
        except StoreUnavailable as error:
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next batch may go well
            failure = StoreUnavailable(CANNOT_SERVE)
            failure.__cause__ = error.orig if isinstance(error, DBAPIError) else error
            _fail(batch, failure)
        else:
            if head != before:
                self._announce(head.revision)

    def _commit(self, batch: list[_Unit]) -> tuple[Head, Head]:
        """Run the batch and commit it; return the head before it and behind it.

        Raises:
            DBAPIError: nothing was committed.
            OutcomeUnknown: see there.
        """
        try:
            if self._session is None:
                self._session = self._database.connect_writer()
            session = self._session
            grows, careful = True, False
            while True:
                try:
                    return self._run(session, batch, grows=grows, careful=careful)
                except _Moved:
                    session.rollback()
                    self._others_write = True
                except _Undo:
                    session.rollback()
                    grows, careful = False, len(batch) == 1
                    self._put_back(batch)
        except BaseException:
            self._disconnect()
            raise

    def _run(
        self, session: Session, batch: list[_Unit], *, grows: bool, careful: bool
    ) -> tuple[Head, Head]:
        """Run units in a transaction, and commit that; see `_commit`.

        Args:
            session: where.
            batch: the units to run one after the other.
            grows: take in what is queued meanwhile.
            careful: have each refusal told where it belongs; there is one unit only.

        Raises:
            _Undo: something has to be undone, and the others with it.
            _Moved: all of it has to be run again.
        """
        before, known = self._begin(session)
        head = before
        waiting = Waiting(known)
        touched = False
        for unit in self._units(batch, grows=grows):
            writing = Writing(session, self._database, head, unit.now, waiting, careful=careful)
            self._try(unit, writing)
            if session.no_begin is not None:
                raise session.no_begin
            if unit.error is None:
                head = writing.head
                touched |= writing.touched
            elif writing.dirty:
                if len(batch) > 1 or writing.doubtful:
                    raise _Undo
                waiting.known.clear()
                break
        if head == before:
            # Nothing that is sent would tell whether the head has moved.
            session.begin_now()
        if not touched:
            session.rollback()
            self._remember(before, waiting.known)
            return before, before
        self._conclude(session, waiting, before, head, careful=careful)
        return before, head

    def _conclude(
        self, session: Session, waiting: Waiting, before: Head, head: Head, *, careful: bool
    ) -> None:
        """Commit what the units have written; see `_commit` and `_run`."""
        try:
            changes = self._database.ending(session, waiting.rows, before, head)
            committed = session.conclude(changes)
        except Exception as error:
            lost = isinstance(error, DBAPIError) and error.connection_invalidated
            if not lost and not careful:
                raise _Undo from error
            self._disconnect()
            committed = lost and self._was_committed()
            if not committed:
                raise
        if not committed:
            raise _Moved
        self._remember(head, waiting.known)

    def _remember(self, head: Head, known: Known) -> None:
        if len(known) > _MOST_KNOWN:
            known.clear()
        self._seen = _Seen(head, known, time.monotonic() + FRESH_SECONDS)

    def _begin(self, session: Session) -> tuple[Head, Known]:
        """Begin a transaction, or put that off; return the head, and what is known there."""
        seen, self._seen = self._seen, None
        is_fresh = seen is not None and time.monotonic() < seen.until
        if seen is None or not is_fresh or self._others_write or not self._database.remote:
            before = begin(session, lock=True)
            if seen is not None:
                self._others_write = seen.head != before
            return before, {} if seen is None or self._others_write else seen.known

        def catch_up() -> None:
            if begin(session, lock=True) != seen.head:
                raise _Moved

        session.put_off(catch_up)
        return seen.head, seen.known

    def _try(self, unit: _Unit, writing: Writing) -> None:
        """Run a unit; if it raises, drop what it has not sent yet."""
        unit.error = None
        try:
            with self._alone:
                unit.result = unit.work(writing)
            writing.end()
        except BaseException as error:  # noqa: BLE001 - it is the caller's, who awaits it
            unit.error = error
            writing.forget()

    def _units(self, batch: list[_Unit], *, grows: bool) -> Iterator[_Unit]:
        """Return the units of the batch, and then what is queued, as long as it may grow."""
        end = time.monotonic() + BATCH_SECONDS
        yield from filter(self._begins, list(batch))
        # Taken from the queue only to be run, so that nothing is lost between the two.
        while grows and len(batch) < BATCH_UNITS and self._queue and time.monotonic() < end:
            unit = self._queue.popleft()
            batch.append(unit)
            if self._begins(unit):
                yield unit

    def _begins(self, unit: _Unit) -> bool:
        """Tell whether a unit is to be run: it is not, if it was cancelled or given up before."""
        with self._changed:
            unit.begun |= not unit.future.done()
            return unit.begun

    def _put_back(self, batch: list[_Unit]) -> None:
        """Halve a batch that was undone: what is wrong with it is soon found, and alone then."""
        rest = batch[(len(batch) + 1) // 2 :]
        del batch[len(batch) - len(rest) :]
        with self._changed:
            for unit in rest:
                unit.begun = False
            self._queue.extendleft(reversed(rest))

    def _was_committed(self) -> bool:
        """Ask, over a new connection, whether the commit whose answer was lost has been made.

        The lock that this takes is free once a transaction that held it has ended, either way. What
        was still on its way then comes to nothing: see `Database.was_committed`.

        Raises:
            OutcomeUnknown: the database does not come back.
        """
        end = time.monotonic() + SETTLE_SECONDS
        while True:
            try:
                self._session = session = self._database.connect_writer()
                committed = self._database.was_committed(session, begin(session, lock=True))
                session.rollback()
            except Exception as error:
                self._disconnect()
                if time.monotonic() > end:
                    raise OutcomeUnknown(_UNKNOWN) from error
                time.sleep(_PAUSE_SECONDS)
            else:
                return committed

    def _disconnect(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


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
