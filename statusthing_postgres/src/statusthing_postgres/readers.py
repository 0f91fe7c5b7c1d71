"""Reading off the event loop, on a few threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeVar, cast

from statusthing.errors import StoreClosed, StoreUnavailable
from statusthing.sql.database import Database
from statusthing.sql.readers import Readers
from statusthing.store import Transaction

T = TypeVar("T")

CONNECTIONS = 4
"""How many units may read at once; further ones wait. On two cores, eight were slower."""


class PooledReaders(Readers):
    """Runs units that read on threads of its own, each with a connection.

    Nobody waits longer than the database's `patience_seconds`.
    """

    def __init__(self, database: Database, alone: AbstractContextManager[None]) -> None:
        super().__init__(database, alone)
        self._patience_seconds = database.patience_seconds
        self._executor = ThreadPoolExecutor(CONNECTIONS, "statusthing-reader")

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Run a unit, and return or raise what it does.

        Raises:
            StoreUnavailable: the database cannot be read now, or not in time; a unit that has not
                begun by then is dropped.
            StoreClosed: the readers were closed before.
        """

        # What a unit raises is kept from the future, which refuses StopIteration.
        def attempt() -> tuple[T | None, BaseException | None]:
            try:
                return self.run_now(work), None
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                return None, error

        try:
            future = self._executor.submit(attempt)
        except RuntimeError as error:
            raise StoreClosed("the store is closed") from error
        try:
            async with asyncio.timeout(self._patience_seconds) as limit:
                result, failure = await asyncio.wrap_future(future)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise StoreUnavailable("the database is busy, or does not answer") from error
        if failure is not None:
            raise failure
        return cast("T", result)

    def close(self) -> None:
        """Close every connection, each as soon as the unit that is using it has ended."""
        self._executor.shutdown(wait=False)
        super().close()
