"""A service whose clock tests set, people with accounts in it, and hashes that can be counted."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from statusthing import StatusThing
from statusthing.access import Access, Origin, Principal, Role
from statusthing.log import Action, Change, describe
from statusthing.memory import MemoryStore
from statusthing.model import RECORDS, Record, User
from statusthing.service.passwords import MEMORY_KIB, PASSES
from statusthing.store import Query, Store, Transaction

P = ParamSpec("P")
T = TypeVar("T")

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
PASSWORD = "correct horse battery"
HERE = Origin(address="192.0.2.1", correlation_id="0123456789abcdef")


def awaited(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a coroutine function a test."""

    @functools.wraps(test)
    def run(*args: P.args, **fields: P.kwargs) -> None:
        asyncio.run(test(*args, **fields))

    return run


class Clock:
    """Stands still unless a test moves it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        """Return the present."""
        return self.now

    def pass_by(self, **time: float) -> None:
        """Let time pass, given as `timedelta` takes it."""
        self.now += timedelta(**time)


class Distant(MemoryStore):
    """Lets others ask while somebody waits for what they read, as a store elsewhere does."""

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run a unit that only reads."""
        found = await super().read(work)
        await asyncio.sleep(0)
        return found


class Place:
    """A service, and what tests do to it.

    Args:
        st: the service.
        clock: its clock.
    """

    def __init__(self, st: StatusThing, clock: Clock) -> None:
        self.st = st
        self.accounts = st.accounts
        self.clock = clock
        self._numbers = itertools.count(1)

    async def add(self, *records: Record) -> None:
        """Add records, and log those that are logged."""

        def work(tx: Transaction) -> None:
            for seq, record in enumerate(records):
                tx.add(record)
                if RECORDS[type(record)].logged:
                    tx.append(
                        Change(
                            revision=tx.revision,
                            seq=seq,
                            at=tx.now,
                            actor="test",
                            action=Action.ADDED,
                            kind=type(record).__name__,
                            subject=record.id,
                            before=None,
                            after=describe(record),
                            public=RECORDS[type(record)].public,
                        )
                    )

        await self.st.store.write(work, now=self.clock())

    async def person(self, username: str = "ada", role: Role = Role.ADMIN, **fields: Any) -> User:
        """Add somebody whose password is PASSWORD."""
        user = User(
            id=f"user-{next(self._numbers)}-{role.name.lower()}",
            created=self.clock(),
            updated=self.clock(),
            username=username,
            **{"password_hash": hash_of_password(), "role": role, **fields},
        )
        await self.add(user)
        return user

    async def session(self, user: User) -> str:
        """Begin a session, without a password."""
        return await self.accounts.renew_session(principal_of(user), origin=HERE)

    async def found(self, kind: type[Any], **where: Any) -> list[Any]:
        """Return the records of a kind."""
        return list(await self.st.store.read(lambda tx: tx.find(Query(kind, where))))

    async def user(self, id: str) -> User:
        """Return a user as the store has them now."""
        (user,) = await self.found(User, id=id)
        assert isinstance(user, User)
        return user

    async def revisions(self) -> tuple[int, int]:
        """Return the head, and the last public revision."""
        return await self.st.store.read(lambda tx: (tx.revision, tx.public_revision))

    async def settled(self) -> None:
        """Wait until nothing is left to be done that nobody waits for."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)


def principal_of(user: User, **fields: Any) -> Principal:
    """Return a principal that a user is."""
    return Principal(name=user.username, role=user.role, user_id=user.id, **fields)


@asynccontextmanager
async def place(
    store: Store | None = None,
    *,
    clock: Clock | None = None,
    devmode: bool = False,
    access: Access = Access.PUBLIC,
) -> AsyncIterator[Place]:
    """Open a service over a store, by default an empty one in memory."""
    clock = clock or Clock()
    st = StatusThing(store or MemoryStore(), clock=clock, devmode=devmode, access=access)
    async with st:
        yield Place(st, clock)


@functools.cache
def hash_of_password() -> str:
    """Return a hash of PASSWORD, which is made once."""
    return PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1).hash(PASSWORD)


class Hashes:
    """How often passwords were hashed and verified."""

    made = 0
    verified = 0


@contextmanager
def counted(*, instant: bool = False) -> Iterator[Hashes]:
    """Count what argon2 is asked to do.

    Args:
        instant: whether it shall find every password wrong at once, for tests with many.
    """
    count = Hashes()
    make, verify = PasswordHasher.hash, PasswordHasher.verify

    def counted_hash(self: PasswordHasher, *args: Any, **fields: Any) -> str:
        count.made += 1
        return make(self, *args, **fields)

    def counted_verify(self: PasswordHasher, *args: Any) -> bool:
        count.verified += 1
        if instant:
            raise VerifyMismatchError
        return verify(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PasswordHasher, "hash", counted_hash)
        patch.setattr(PasswordHasher, "verify", counted_verify)
        yield count


def bytes_in(folder: Path) -> bytes:
    """Return all that the files of a folder hold."""
    return b"".join(each.read_bytes() for each in sorted(folder.iterdir()))
