"""Callers of a store, each on an event loop of its own; nothing here waits for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from datetime import datetime
from typing import Any, Self, TypeVar

from statusthing.errors import StoreUnavailable
from statusthing.model import Record
from statusthing.store import Query, Store, Transaction
from statusthing.testing.samples import NOW, add

T = TypeVar("T")

SECONDS = 10.0
"""The bound of everything that is waited for."""


class Client:
    """Calls a store from an event loop of its own, which runs only while a call does.

    As a context manager, it opens the store, and closes it at the end.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        try:
            self.run(self.store.open())
        except BaseException:
            self._runner.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store, which need not be open, and the loop."""
        try:
            self.run(self.store.close())
        finally:
            self._runner.close()

    def run(self, call: Awaitable[T]) -> T:
        """Wait for a call, for `SECONDS` at most."""
        return self._runner.run(_bounded(call))

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Run a unit that reads."""
        return self.run(self.store.read(work))

    def write(self, work: Callable[[Transaction], T], now: datetime = NOW) -> T:
        """Run a unit that may write."""
        return self.run(self.store.write(work, now=now))

    def add(self, *records: Record) -> None:
        """Add records in one unit, and log them."""
        self.write(lambda transaction: add(transaction, *records))

    def head(self) -> int:
        """Return the head."""
        return self.read(lambda transaction: transaction.revision)

    def wait_until_served(self) -> None:
        """Wait until the store serves again, for `SECONDS` at most."""
        end = time.monotonic() + SECONDS
        while True:
            try:
                self.head()
                self.write(lambda transaction: transaction.revision)
            except StoreUnavailable:
                if time.monotonic() > end:
                    raise
                give_way()
            else:
                return

    def find(self, kind: type[Any], **parts: Any) -> list[Any]:
        """Find what a query asks for."""
        return list(self.read(lambda transaction: transaction.find(Query(kind, **parts))))

    def ids(self, kind: type[Any], **parts: Any) -> list[str]:
        """Find the ids of what a query asks for."""
        return [record.id for record in self.find(kind, **parts)]


def start(call: Coroutine[Any, Any, T]) -> Future[T]:
    """Start a call on another thread, with an event loop of its own, and return its future.

    The thread is a daemon: a store that never answers fails a test, and does not hang the run.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(asyncio.run(_bounded(call)))
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def give_way() -> None:
    """Let other threads run for a moment: start and join a hundred that do nothing."""
    for _ in range(100):
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()


async def _bounded(call: Awaitable[T]) -> T:
    async with asyncio.timeout(SECONDS):
        return await call
