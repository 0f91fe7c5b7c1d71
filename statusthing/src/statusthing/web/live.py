"""The newest board, as fresh as is promised, without asking the store for each visitor.

A write that this process acknowledged shows at once: `StatusThing.written` says that there was
one. What other processes write shows as soon as `StatusThing.wait` tells of it. While the store is
away, the last board stays, marked with when it was known to be right.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec

from statusthing.errors import StoreError, UserMistake, with_cause
from statusthing.service import StatusThing
from statusthing.service.board import Board
from statusthing.web.shelf import Shelf

LOOK_SECONDS = 0.05
"""The pause between two looks at the head, however often it moves."""

CHECK_SECONDS = 1.0
"""How often the store is asked whether it is there, and how often one that was away is tried."""

PATIENCE_SECONDS = 2.0
"""How long a visitor waits for a store that does not answer, while there is an older board."""

_log = logging.getLogger("statusthing.web")

_AWAY = (StoreError, UserMistake)


class Snapshot(msgspec.Struct, frozen=True, eq=False):
    """A board, and whether it is only the last known.

    Attributes:
        board: what there is to see.
        known: when it was known to be right, if the store is away; otherwise None.
    """

    board: Board
    known: datetime | None = None


class Live:
    """Keeps the newest board of one application.

    Args:
        st: the service.
        ready: is awaited before anything reads the store.
        shelf: keeps the board beyond the end of the process; None if nothing does.

    Attributes:
        revision: the newest public revision that is known of; -1 before the first look.
        changed: is set, and replaced by another, whenever `revision` has changed.
    """

    def __init__(
        self, st: StatusThing, ready: Callable[[], Awaitable[None]], shelf: Shelf | None
    ) -> None:
        self.revision = -1
        self.changed = asyncio.Event()
        self._st = st
        self._ready = ready
        self._shelf = shelf
        self._snapshot: Snapshot | None = None
        self._current = -1  # up to which revision the snapshot is known to be right
        self._seen = 0  # up to which revision there is known to be something
        self._looked = 0
        self._right = st.now()  # when the snapshot was last known to be right
        self._refreshing: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._shelving: asyncio.Task[None] | None = None
        board = shelf.load() if shelf is not None else None
        if board is not None:  # what an earlier process left, until the store has been asked
            self._snapshot = Snapshot(board, board.taken)
            self.revision = board.public_revision

    @property
    def board(self) -> Board | None:
        """The newest board that is known, if any."""
        return None if self._snapshot is None else self._snapshot.board

    @property
    def away(self) -> bool:
        """Whether there is a board, but only one that was once right."""
        return self._snapshot is not None and self._snapshot.known is not None

    def watch(self) -> None:
        """See to it that somebody looks for changes, in the event loop that runs now."""
        task = self._watching
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            self.changed = asyncio.Event()  # of the event loop that runs now
            self._refreshing = None
            self._watching = asyncio.create_task(self._watch(), name="statusthing-pages")

    async def close(self) -> None:
        """Look no longer. The store is about to be closed."""
        tasks = [task for task in (self._watching, self._refreshing) if task is not None]
        self._watching = self._refreshing = None
        for task in tasks:
            task.cancel()
        if self._shelving is not None:  # it may end
            tasks.append(self._shelving)
        await asyncio.gather(*tasks, return_exceptions=True)

    def fresh(self) -> Snapshot | None:
        """Return the snapshot if it is known to be fresh, without waiting for anything."""
        task = self._watching
        if self._current >= self._st.written and self._current >= self._seen:
            return None if task is None or task.done() else self._snapshot
        return None

    async def snapshot(self) -> Snapshot:
        """Return a snapshot that has all that was known to be there when it was asked for.

        Many who ask at once cause one reading.

        Raises:
            StoreError: the store is away, and there is no older board.
            UserMistake: the store cannot work, and there is no older board.
        """
        self.watch()
        # A refresh that began before the newest write need not have it; the next one has.
        for _ in range(2):
            fresh = self.fresh()
            if fresh is not None:
                return fresh
            if self._refreshing is None or self._refreshing.done():
                self._refreshing = asyncio.create_task(self._refresh())
            await self._patiently(self._refreshing)
        if self._snapshot is None:  # each refresh either sets it or raises
            raise StoreError("there is no board")
        return self._snapshot

    async def look(self) -> None:
        """See what is there now, for somebody who has just begun to listen."""
        try:
            await self._look()
        except _AWAY as error:
            self._lose(with_cause(error))

    async def _patiently(self, refreshing: asyncio.Task[None]) -> None:
        if self._snapshot is None:
            await asyncio.shield(refreshing)
            return
        done, _ = await asyncio.wait({refreshing}, timeout=PATIENCE_SECONDS)
        if done:
            refreshing.result()
        else:
            self._lose("the store does not answer")

    async def _refresh(self) -> None:
        try:
            await self._ready()
            snapshot = self._snapshot
            if snapshot is not None and snapshot.known is None:
                revision, public = await self._st.heads()
                if public == snapshot.board.public_revision:
                    self._confirm(revision)
                    return
            board = await self._st.board()
        except _AWAY as error:
            if self._snapshot is None:
                raise
            self._lose(with_cause(error))
            return
        if self.away:
            _log.info("the store is back")
        self._snapshot = Snapshot(board)
        self._confirm(board.revision)
        self._publish(board.public_revision)
        if self._shelf is not None and (self._shelving is None or self._shelving.done()):
            # Nobody waits for the disk.
            self._shelving = asyncio.create_task(self._keep(self._shelf))

    async def _keep(self, shelf: Shelf) -> None:
        """Put the newest board on the shelf, and again if there is a newer one by then."""
        kept = None
        while (board := self.board) is not None and board is not kept:
            await shelf.save(board)
            kept = board

    async def _watch(self) -> None:
        own = asyncio.current_task()
        while self._watching is own:  # until another event loop has one of its own
            try:
                await self._look()
                await asyncio.sleep(LOOK_SECONDS)
                # Not wait_for, which before Python 3.12 may lose that it is cancelled.
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._st.wait(self._looked)
            except TimeoutError:
                continue
            except _AWAY as error:
                self._lose(with_cause(error))
                await asyncio.sleep(CHECK_SECONDS)
            except Exception:  # noqa: BLE001 - whatever it is, those who look at pages go on
                _log.exception("looking for changes failed; it goes on")
                await asyncio.sleep(CHECK_SECONDS)

    async def _look(self) -> None:
        """See what is there, and whether the snapshot still is right."""
        await self._ready()
        self._looked, public = await self._st.heads()
        snapshot = self._snapshot
        if snapshot is None:
            self._publish(public)
        elif snapshot.known is None and snapshot.board.public_revision == public:
            self._confirm(self._looked)
        else:
            self._current, self._seen = -1, self._looked
            self._publish(public)
            if snapshot.known is not None or self._shelf is not None:
                await self.snapshot()

    def _confirm(self, revision: int) -> None:
        self._current = max(self._current, revision)
        self._right = self._st.now()

    def _publish(self, public: int) -> None:
        if public != self.revision:
            self.revision = public
            self.changed.set()
            self.changed = asyncio.Event()

    def _lose(self, reason: str) -> None:
        """Go on with what was last known."""
        snapshot = self._snapshot
        if snapshot is not None and snapshot.known is None:
            _log.error("the pages show what was last known: %s", reason)
            self._snapshot = Snapshot(snapshot.board, self._right)
        if snapshot is not None:
            self._current = max(self._st.written, self._seen)
