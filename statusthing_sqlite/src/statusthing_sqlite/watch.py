"""Noticing what other processes commit to the file."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable

from sqlalchemy import select

from statusthing.errors import StoreUnavailable
from statusthing.sql.tables import head

_INTERVAL_SECONDS = 0.075
_REVISION = str(select(head.c.revision))


class Watch:
    """A thread that asks SQLite several times a second, only while somebody waits.

    `PRAGMA data_version` costs a few microseconds, and changes when another connection has
    committed. https://www.sqlite.org/pragma.html#pragma_data_version

    Args:
        connect: opens a connection that reads.
        announce: told the head that was found.
    """

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], announce: Callable[[int], None]
    ) -> None:
        self._connect = connect
        self._announce = announce
        self._changed = threading.Condition()
        self._waiting = 0
        self._thread: threading.Thread | None = None
        self._closed = False

    def __enter__(self) -> None:
        """Add a waiter, and start the thread if needed."""
        with self._changed:
            self._waiting += 1
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(
                    target=self._serve, name="statusthing-watch", daemon=True
                )
                self._thread.start()

    def __exit__(self, *_: object) -> None:
        """Remove a waiter."""
        with self._changed:
            self._waiting -= 1

    def close(self) -> None:
        """Stop, and let go of the connection."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _serve(self) -> None:
        while True:
            # Whatever is wrong with the file, those who wait want to know when it is right again.
            with contextlib.suppress(sqlite3.Error, StoreUnavailable):
                self._follow()
                return
            if not self._pause():
                return

    def _follow(self) -> None:
        """Announce heads until nobody waits any more."""
        with contextlib.closing(self._connect()) as connection:
            seen = None
            while True:
                [version] = connection.execute("PRAGMA data_version").fetchone()
                if version != seen:
                    [revision] = connection.execute(_REVISION).fetchone()
                    self._announce(revision)
                    seen = version
                if not self._pause():
                    return

    def _pause(self) -> bool:
        """Sleep for the interval; tell whether anybody is still waiting then."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, _INTERVAL_SECONDS)
            if self._closed or not self._waiting:
                self._thread = None
                return False
            return True
