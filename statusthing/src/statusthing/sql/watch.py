"""Noticing what other processes commit: a thread that looks, only while somebody waits."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Generator

from sqlalchemy.exc import DBAPIError

from statusthing.errors import StoreUnavailable

RETRY_SECONDS = 0.25
"""The pause before a database that could not be looked at is tried again."""

_log = logging.getLogger("statusthing.sql")


class Watch:
    """Entered by each who waits.

    Whatever is wrong with the database, those who wait want to know when it is right again: the
    thread begins anew until it can look.

    Args:
        heads: connects, and returns the head each time that it may have moved, for ever. Closed
            when nobody waits any more, which has to wait for it.
        announce: told the heads.
        interval_seconds: the pause between two looks.
    """

    def __init__(
        self,
        heads: Callable[[], Generator[int]],
        announce: Callable[[int], None],
        interval_seconds: float,
    ) -> None:
        self._heads = heads
        self._announce = announce
        self._interval_seconds = interval_seconds
        self._changed = threading.Condition()
        self._waiting = 0
        self._thread: threading.Thread | None = None
        self._closed = False

    def __enter__(self) -> None:
        """Add one who waits, and start the thread if needed."""
        with self._changed:
            self._waiting += 1
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(
                    target=self._serve, name="statusthing-watch", daemon=True
                )
                self._thread.start()

    def __exit__(self, *_: object) -> None:
        """Remove one who waits."""
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
            try:
                with contextlib.closing(self._heads()) as heads:
                    for head in heads:
                        self._announce(head)
                        if not self._pause(self._interval_seconds):
                            return
            except (DBAPIError, StoreUnavailable):
                pass  # begin anew
            except Exception:  # noqa: BLE001 - whatever it is, those who wait go on waiting
                _log.exception("looking for what other processes commit failed; it goes on")
            if not self._pause(RETRY_SECONDS):
                return

    def _pause(self, seconds: float) -> bool:
        """Sleep for so long; tell whether anybody is still waiting then."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)
            if self._closed or not self._waiting:
                self._thread = None
                return False
            return True
