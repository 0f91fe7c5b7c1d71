"""`StatusThing`: the service over one store, for programs in this process and for the wire."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self

import uuid_utils

from statusthing.access import TRUSTED, Principal, require
from statusthing.errors import DeadlineExceeded, RequestError
from statusthing.model import View
from statusthing.service.board import Board, Heads, ItemNotes, board, heads, item_notes
from statusthing.service.idempotency import once
from statusthing.service.messages import Answer, Request
from statusthing.service.operations import OPERATIONS
from statusthing.service.resources import Items, Notes, Statuses
from statusthing.service.statuses import DEFAULTS, add_defaults
from statusthing.service.unit import Unit
from statusthing.store import Store, Transaction


def utc_now() -> datetime:
    """Return the present."""
    return datetime.now(UTC)


def uuid7() -> str:
    """Return a fresh UUID of version 7 (RFC 9562), which begins with the time."""
    return str(uuid_utils.uuid7())


class StatusThing:
    """The operations over a store.

    Use it as `async with StatusThing(store) as st:`, which opens and closes the store. Arguments of
    the methods are named as the fields of the requests; leaving one out means what an empty field
    means there. `principal` says whom an operation runs for, by default the program itself.

    Args:
        store: where everything is kept.
        clock: returns the present, aware and in UTC.
        ids: returns an id that no record has; by default a UUID of version 7.

    Attributes:
        written: the highest revision of a write that was acknowledged here, 0 before the first.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], datetime] = utc_now,
        ids: Callable[[], str] = uuid7,
    ) -> None:
        self.store = store
        self.items = Items(self.run)
        self.statuses = Statuses(self.run)
        self.notes = Notes(self.run)
        self._clock = clock
        self._ids = ids
        self.written = 0

    async def __aenter__(self) -> Self:
        await self.store.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()

    async def run(
        self, request: Request, *, principal: Principal = TRUSTED, deadline: float | None = None
    ) -> Answer:
        """Carry out a request: the one way in, for every caller and every wire.

        Args:
            request: one of `statusthing.service.messages`.
            principal: whom it runs for.
            deadline: the time of `time.monotonic()` from which on it does not begin any more.

        Returns:
            The response of the same name, and the revision.

        Raises:
            RequestError: the request cannot be carried out.
            StoreError: the store cannot serve.
        """
        operation = OPERATIONS[type(request)]
        require(principal, operation.name)
        _check(deadline)
        work = operation.prepare(request)
        if not operation.writes:
            return await self.store.read(_read(work))
        return await self._write(
            once(request, operation.response, principal, work), principal, operation.ids, deadline
        )

    async def revision(self) -> int:
        """Return the store's head revision."""
        return await self.store.read(lambda tx: tx.revision)

    def now(self) -> datetime:
        """Return the present, by the clock that this service was given."""
        return self._clock()

    async def heads(self) -> Heads:
        """Return where the store is."""
        return await self.store.read(heads)

    async def wait(self, after: int) -> int:
        """Return the store's head revision once it is above `after`, whoever moved it."""
        return await self.store.wait(after)

    async def board(self) -> Board:
        """Return what the public page shows."""
        return await self.store.read(board(self._clock()))

    async def item_notes(self, item_id: str, *, before: str = "") -> ItemNotes:
        """Return an item with a page of its notes, newest first.

        Args:
            item_id: the item.
            before: `older` of the page before; empty for the newest notes.

        Raises:
            NotFound: there is none.
            InvalidArgument: no page has such an `older`.
        """
        return await self.store.read(item_notes(item_id, before))

    async def add_default_statuses(self) -> None:
        """Make the default statuses, if nothing was ever written to the store."""
        if await self.revision():
            return
        await self._write(add_defaults, TRUSTED, len(DEFAULTS))

    async def _write(
        self,
        work: Callable[[Unit], View | None],
        principal: Principal,
        ids: int,
        deadline: float | None = None,
    ) -> Answer:
        fresh = [self._ids() for _ in range(ids)]

        def logged(tx: Transaction) -> Answer:
            # Whoever waits for a unit cancels it in time, but on an event loop that may be busy
            # while a store's thread begins it. What it writes does not depend on this clock (R5).
            _check(deadline)
            unit = Unit(tx, principal, fresh)
            try:
                return Answer(work(unit), unit.revision)
            except RequestError as error:
                error.revision = tx.revision - 1
                raise

        answer = await self.store.write(logged, now=self._clock())
        self.written = max(self.written, answer.revision)
        return answer


def _check(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() >= deadline:
        raise DeadlineExceeded


def _read(work: Callable[[Transaction], View]) -> Callable[[Transaction], Answer]:
    def answer(tx: Transaction) -> Answer:
        try:
            return Answer(work(tx), tx.revision)
        except RequestError as error:
            error.revision = tx.revision
            raise

    return answer
