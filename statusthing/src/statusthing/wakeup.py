"""Waking those who wait for the head of a store, from any thread and on any event loop.

This is most of what `Store.wait` needs (R22): a store announces the heads that it commits, and
those of other processes as it learns of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading

from statusthing.errors import StoreClosed


class Wakeup:
    """Knows the newest head that was announced, and whom to tell of a newer one.

    A store makes one each time that it is opened, announces the head that it finds, and closes it
    when it is closed. Every method may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._head = 0
        self._closed = False
        self._waiting: set[asyncio.Future[None]] = set()

    def announce(self, head: int) -> None:
        """Tell that the store's head is at least `head`; an older one does nothing."""
        with self._lock:
            if head <= self._head:
                return
            self._head = head
            self._wake()

    def close(self) -> None:
        """End every wait, now and from now on, with StoreClosed."""
        with self._lock:
            self._closed = True
            self._wake()

    async def wait(self, after: int) -> int:
        """Return the newest head that was announced, once it is above `after`.

        Cancelling it is harmless.

        Raises:
            StoreClosed: the store was closed before or meanwhile.
        """
        loop = asyncio.get_running_loop()
        while True:
            with self._lock:
                if self._closed:
                    raise StoreClosed("the store is closed")
                if self._head > after:
                    return self._head
                future: asyncio.Future[None] = loop.create_future()
                self._waiting.add(future)
            try:
                await future
            finally:
                with self._lock:
                    self._waiting.discard(future)

    def _wake(self) -> None:
        for future in self._waiting:
            # A loop that was closed with somebody waiting on it has nobody left to wake.
            with contextlib.suppress(RuntimeError):
                future.get_loop().call_soon_threadsafe(_finish, future)
        self._waiting.clear()


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
