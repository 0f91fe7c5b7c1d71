"""`StatusThing`: the service over one store, for programs in this process and for the wire."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self, TypeVar

import uuid_utils

from statusthing.access import HERE, TRUSTED, Access, Origin, Principal, Role, require
from statusthing.errors import DeadlineExceeded, RequestError
from statusthing.model import View
from statusthing.service.accounts import Accounts, Hashes
from statusthing.service.board import Board, Heads, ItemNotes, board, heads, item_notes
from statusthing.service.credentials import new_token_secret, renewed
from statusthing.service.idempotency import once
from statusthing.service.messages import AddTokenRequest, Answer, Request
from statusthing.service.operations import OPERATIONS
from statusthing.service.resources import Audit, Items, Notes, Settings, Statuses, Tokens, Users
from statusthing.service.setup import Setup
from statusthing.service.statuses import DEFAULTS, add_defaults
from statusthing.service.unit import Unit
from statusthing.store import Store, Transaction

T = TypeVar("T")


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
        access: who may read.
        devmode: whether the account that `--devmode` makes may do anything.

    Attributes:
        accounts: signing in, sessions, and whom credentials belong to.
        setup: making the first admin.
        access: as given.
        written: the highest revision of a write that was acknowledged here, 0 before the first.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], datetime] = utc_now,
        ids: Callable[[], str] = uuid7,
        access: Access = Access.PUBLIC,
        devmode: bool = False,
    ) -> None:
        self.store = store
        self.items = Items(self.run)
        self.statuses = Statuses(self.run)
        self.notes = Notes(self.run)
        self.users = Users(self.run)
        self.tokens = Tokens(self.run)
        self.settings = Settings(self.run)
        self.audit = Audit(self.run)
        self.access = access
        self.written = 0
        self._clock = clock
        self._ids = ids
        self._devmode = devmode
        self.accounts = Accounts(store, clock, ids, self._write_for, devmode=devmode)
        self.setup = Setup(store, clock, self._write_for, self.accounts.passwords, devmode=devmode)

    async def __aenter__(self) -> Self:
        await self.store.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()

    async def run(
        self,
        request: Request,
        *,
        principal: Principal = TRUSTED,
        origin: Origin = HERE,
        deadline: float | None = None,
    ) -> Answer:
        """Carry out a request: the one way in, for every caller and every wire.

        Args:
            request: one of `statusthing.service.messages`.
            principal: whom it runs for.
            origin: where it came from, for the log.
            deadline: the time of `time.monotonic()` from which on it does not begin any more.

        Returns:
            The response of the same name, and the revision: the head, of which those who are
            anonymous learn the last change that they may see.

        Raises:
            RequestError: the request cannot be carried out.
            StoreError: the store cannot serve.
        """
        operation = OPERATIONS[type(request)]
        require(principal, operation.name, self.access)
        _check(deadline)
        if operation.personal:
            work = operation.prepare(request, principal)
        else:
            work = operation.prepare(request)
        if not operation.writes:
            return await self.store.read(_read(work, principal))
        hashes = Hashes()
        if operation.passwords:
            hashes = await self.accounts.hashes(request, principal, origin)
        work = once(request, operation.response, principal, work)
        fresh = [self._ids() for _ in range(operation.ids)]
        secret = new_token_secret() if isinstance(request, AddTokenRequest) else ""
        now = self._clock()

        def logged(tx: Transaction) -> Answer:
            # Whoever waits for a unit cancels it in time, but on an event loop that may be busy
            # while a store's thread begins it. What it writes does not depend on this clock (R5).
            _check(deadline)
            try:
                current = renewed(tx, principal, now, devmode=self._devmode)
                if current is not principal:
                    require(current, operation.name, self.access)
                unit = Unit(
                    tx,
                    current,
                    fresh,
                    origin,
                    secret=secret,
                    password_hash=hashes.new,
                    proven_hash=hashes.proven,
                )
                return Answer(work(unit), unit.revision)
            except RequestError as error:
                error.revision = tx.revision - 1
                raise

        answer = await self.store.write(logged, now=now)
        self.written = max(self.written, answer.revision)
        if operation.about_callers:
            self.accounts.forget()
        return answer

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

    async def setup_link(self) -> str | None:
        """Return the path and query of a page that makes the first admin; see `Setup.link`."""
        return await self.setup.link()

    async def add_default_statuses(self) -> None:
        """Make the default statuses in a store that never had anything to show."""
        if await self.store.read(lambda tx: tx.public_revision):
            return
        await self._write_for(add_defaults, TRUSTED, HERE, len(DEFAULTS))

    async def _write_for(
        self, work: Callable[[Unit], T], principal: Principal, origin: Origin, ids: int = 1
    ) -> T:
        """Run a unit that logs, for what is no operation."""
        fresh = [self._ids() for _ in range(ids)]

        def logged(tx: Transaction) -> tuple[T, int]:
            unit = Unit(tx, principal, fresh, origin)
            return work(unit), unit.revision

        result, revision = await self.store.write(logged, now=self._clock())
        self.written = max(self.written, revision)
        return result


def _check(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() >= deadline:
        raise DeadlineExceeded


def _read(
    work: Callable[[Transaction], View], principal: Principal
) -> Callable[[Transaction], Answer]:
    is_anonymous = principal.role is Role.ANYBODY

    def answer(tx: Transaction) -> Answer:
        revision = tx.public_revision if is_anonymous else tx.revision
        try:
            return Answer(work(tx), revision)
        except RequestError as error:
            error.revision = revision
            raise

    return answer
