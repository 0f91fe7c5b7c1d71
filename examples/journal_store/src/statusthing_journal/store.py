"""The store: all data in memory, and a line in the journal before a write is acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote_to_bytes

import msgspec

from statusthing.errors import NestedUnit, StoreClosed, UserMistake
from statusthing.memory import Reading, State, Writing
from statusthing.store import SchemaState, Transaction
from statusthing.wakeup import Wakeup
from statusthing_journal.journal import Journal
from statusthing_journal.lines import LAYOUT, unit_of

T = TypeVar("T")

_PREFIX = "journal:///"
_VERSION = ", ".join(f"{kind} {number}" for kind, number in LAYOUT.numbers.items())


class _Opened(msgspec.Struct):
    """What a store holds while it is open. Only the writer's thread puts another state here."""

    journal: Journal
    state: State
    schema: SchemaState
    wakeup: Wakeup
    writer: ThreadPoolExecutor


class JournalStore:
    """Keeps everything in one file of JSON lines, for one process at a time.

    Args:
        path: the file, absolute or relative to the current folder. `open` makes it.
    """

    shared = False

    def __init__(self, path: str | Path) -> None:
        self.url = _PREFIX + quote(os.fsencode(path))
        self._path = Path(os.path.realpath(path))
        self._life = threading.Lock()
        self._unit = threading.local()
        self._open: _Opened | None = None
        self._pid = 0  # of the process that opened it

    @property
    def schema(self) -> SchemaState:
        """The layout found by `open`."""
        return self._opened().schema

    async def open(self) -> None:
        """Read the journal; see `Journal` and `Journal.load` for what that raises."""
        await asyncio.to_thread(self._open_now)

    async def migrate(self) -> None:
        """Bring the journal up to date; raises as `open` does."""
        await asyncio.to_thread(self._migrate_now)

    async def close(self) -> None:
        """Finish the writes that are queued, and let go of the file."""
        await asyncio.to_thread(self._close_now)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run a unit that only reads, on the calling thread."""
        return self._run(work, Reading(self._opened().state))

    async def write(self, work: Callable[[Transaction], T], *, now: datetime) -> T:
        """Run a unit that may write, on the writer's thread; see `Store.write`."""
        opened = self._opened()
        self._check_alone()
        try:
            writing = opened.writer.submit(self._write_now, opened, work, now)
        except RuntimeError:
            raise StoreClosed("the store is closed") from None
        # Cancelling this coroutine cancels what is queued, but not what has begun.
        return (await asyncio.wrap_future(writing)).result()

    async def wait(self, after: int) -> int:
        """Return the head once it is above `after`."""
        return await self._opened().wakeup.wait(after)

    def _opened(self) -> _Opened:
        opened = self._open  # which another thread may take away meanwhile
        if opened is None:
            raise StoreClosed("the store is not open")
        if os.getpid() != self._pid:
            raise StoreClosed("this store was opened before a fork: open one after it")
        return opened

    def _check_alone(self) -> None:
        if getattr(self._unit, "running", False):
            raise NestedUnit("a unit of work cannot start another one")

    def _run(self, work: Callable[[Transaction], T], transaction: Transaction) -> T:
        self._check_alone()
        self._unit.running = True
        try:
            return work(transaction)
        finally:
            self._unit.running = False

    def _write_now(
        self, opened: _Opened, work: Callable[[Transaction], T], now: datetime
    ) -> Future[T]:
        # A future of its own, since those of asyncio do not take every error that a unit may raise.
        outcome: Future[T] = Future()
        try:
            unit = Writing(opened.state, now)
            result = self._run(work, unit)
            state = unit.commit()
            if unit.touched:
                opened.journal.append(unit_of(unit, state))
            opened.state = state
            opened.wakeup.announce(state.revision)
            outcome.set_result(result)
        except BaseException as error:  # noqa: BLE001 - it is the caller's, whatever it is
            outcome.set_exception(error)
        return outcome

    def _open_now(self) -> None:
        with self._life, contextlib.ExitStack() as failed:
            if self._open is not None:
                self._opened()
                return
            journal = Journal(self._path)
            failed.callback(journal.close)
            state, created = journal.load()
            wakeup = Wakeup()
            wakeup.announce(state.revision)
            schema = SchemaState(version=_VERSION, created=created)
            self._pid = os.getpid()
            self._open = _Opened(journal, state, schema, wakeup, ThreadPoolExecutor(1))
            failed.pop_all()

    def _migrate_now(self) -> None:
        with self._life:
            if self._open is not None:
                self._opened()
                return
            with contextlib.closing(Journal(self._path)) as journal:
                journal.load(upgrade=True)

    def _close_now(self) -> None:
        with self._life:
            if self._open is None or os.getpid() != self._pid:
                return  # a child keeps its hands off: the thread and the file are its parent's
            opened, self._open = self._open, None
            opened.wakeup.close()
            opened.writer.shutdown()
            opened.journal.close()


def from_url(url: str) -> JournalStore:
    """Make a store from `journal:///relative.jsonl` or `journal:////absolute.jsonl`.

    Raises:
        UserMistake: the URL holds anything else.
    """
    path = url.removeprefix(_PREFIX)
    if path in ("", url):
        raise UserMistake("a journal URL names a file and no host: journal:///status.jsonl")
    if {"?", "#"} & set(path):
        raise UserMistake("a journal URL takes no parameters: write ? as %3F and # as %23")
    return JournalStore(os.fsdecode(unquote_to_bytes(path)))
