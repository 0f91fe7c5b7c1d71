"""Signing in and out, and who a secret belongs to.

These are no operations of the API: a browser signs in, and is then known by its session. What has
to be hashed is hashed outside of units of work; a unit looks again whether what was found out
before still holds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from statusthing.access import HERE, Origin, Principal
from statusthing.errors import (
    InvalidArgument,
    PermissionDenied,
    StoreError,
    Unauthenticated,
)
from statusthing.model import Session, Token, TokenUse, User
from statusthing.service import checks, credentials, throttle
from statusthing.service.credentials import digest
from statusthing.service.messages import (
    AddUserRequest,
    ChangePasswordRequest,
    Request,
    UpdateUserRequest,
)
from statusthing.service.passwords import Passwords
from statusthing.service.unit import Unit
from statusthing.service.users import MOST_SESSIONS, own_account, sets_password
from statusthing.store import Query, Range, Store, Transaction

T = TypeVar("T")

KNOWN_SECONDS = 1.0
"""How long a process takes the word of the store for who somebody is, before it asks again."""

SEEN_EVERY = timedelta(minutes=1)
"""How exactly it is known when a session or a token was used last."""

USE_KEPT_FOR = timedelta(days=400)
"""How long it is known when a token was used last."""

_MOST_KNOWN = 1_024
_MOST_AGENT = 300
_SWEEP = 100
_WRONG = "the username or the password is wrong"


_Shown = tuple[type[Token | Session], str]
"""What somebody has shown: of which kind, and its digest."""


class WriteFor(Protocol):
    """Runs a unit of work that logs what it writes."""

    async def __call__(self, work: Callable[[Unit], T], principal: Principal, origin: Origin) -> T:
        """Return what the unit returns."""


class Hashes(NamedTuple):
    """What was found out about passwords before a unit of work."""

    new: str = ""
    proven: str = ""


class _Known(NamedTuple):
    principal: Principal
    until: float
    expires: datetime | None


class Accounts:
    """Who may sign in, and who has.

    Args:
        store: where accounts, sessions and tokens are.
        clock: returns the present, aware and in UTC.
        ids: returns an id that no record has.
        write: runs a unit of work that logs.
        devmode: whether the account for development is alive.

    Attributes:
        passwords: makes and verifies hashes.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        ids: Callable[[], str],
        write: WriteFor,
        *,
        devmode: bool,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._write = write
        self._devmode = devmode
        self.passwords = Passwords()
        self._known: dict[_Shown, _Known] = {}
        self._unfinished: set[asyncio.Task[Any]] = set()

    # Who somebody is

    async def by_token(self, secret: str) -> Principal:
        """Return whom the secret of a token stands for.

        Raises:
            Unauthenticated: there is no such token, or it is over.
            StoreError: the store cannot say.
        """
        shown: _Shown = (Token, digest(secret))
        if shown not in self._known and not credentials.is_token_secret(secret):
            raise Unauthenticated("this is not a token of this server, or it is mistyped")
        now = self._clock()

        def work(tx: Transaction) -> tuple[Principal, datetime | None, bool]:
            token = credentials.found_token(tx, secret)
            principal = credentials.of_token(tx, token, now, devmode=self._devmode)
            [*uses] = tx.find(Query(TokenUse, {"id": token.id}))
            return principal, token.expires, not uses or uses[0].updated + SEEN_EVERY <= now

        return await self._who(shown, now, work)

    async def by_session(self, secret: str) -> Principal:
        """Return who is signed in with the secret of a cookie.

        Raises:
            Unauthenticated: there is no such session, or it is over.
            StoreError: the store cannot say.
        """
        now = self._clock()
        id = digest(secret)

        def work(tx: Transaction) -> tuple[Principal, datetime | None, bool]:
            session = credentials.found_session(tx, id)
            principal = credentials.of_session(tx, session, now, devmode=self._devmode)
            return principal, session.expires, session.updated + SEEN_EVERY <= now

        return await self._who((Session, id), now, work)

    async def _who(
        self,
        key: _Shown,
        now: datetime,
        work: Callable[[Transaction], tuple[Principal, datetime | None, bool]],
    ) -> Principal:
        known = self._known.get(key)
        if (
            known is not None
            and time.monotonic() < known.until
            and (known.expires is None or now < known.expires)
        ):
            return known.principal
        began, cache = time.monotonic(), self._known
        principal, expires, is_news = await self._store.read(work)
        if len(cache) >= _MOST_KNOWN:
            cache.clear()
        # Where `forget` was called meanwhile, nobody looks into this one any more.
        cache[key] = _Known(principal, began + KNOWN_SECONDS, expires)
        if is_news:
            self._in_background(self._note(principal, now))
        return principal

    def _in_background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._unfinished.add(task)  # event loops hold on to no task
        task.add_done_callback(self._unfinished.discard)
        return task

    async def _note(self, principal: Principal, now: datetime) -> None:
        """Put down that a session or a token is in use; nobody waits for it."""
        try:
            await self._store.write(lambda tx: _note_use(tx, principal, now), now=now)
        except StoreError:
            return  # it is put down when the store is back

    def forget(self) -> None:
        """Ask the store again who somebody is: something about it may have changed just now."""
        self._known = {}

    # Passwords

    async def hashes(self, request: Request, principal: Principal, origin: Origin) -> Hashes:
        """Hash, and verify, the passwords that an operation is about."""
        if isinstance(request, ChangePasswordRequest):
            proven = await self._prove(principal, request.current_password, origin)
            return Hashes(await self.passwords.hash(request.new_password), proven)
        if isinstance(request, (AddUserRequest, UpdateUserRequest)) and sets_password(request):
            return Hashes(await self.passwords.hash(request.password))
        return Hashes()

    async def _prove(self, principal: Principal, current: str, origin: Origin) -> str:
        user = await self._store.read(lambda tx: own_account(tx, principal))
        if not await self._is_right(user, user.username, current, origin):
            raise PermissionDenied("the current password is wrong")
        return user.password_hash

    async def _is_right(
        self, user: User | None, username: str, password: str, origin: Origin
    ) -> bool:
        """Verify a password, and count a failure."""
        now = self._clock()

        def check(tx: Transaction) -> float:
            return throttle.check(tx, username, origin.address, now)

        seconds = await self._store.read(check)
        if seconds:
            await asyncio.sleep(seconds)
        alive = user is not None and credentials.may_sign_in(user, devmode=self._devmode)

        async def verify() -> bool:
            async with self.passwords.turn():
                # Again: those who went before may have failed.
                await self._store.read(check)
                right = await self.passwords.verify(password, user.password_hash if user else None)
                if right and alive:
                    return True
                id = self._ids()

                def count(tx: Transaction) -> None:
                    throttle.count_failure(tx, username, origin.address, now)
                    known = user.username if user else ""
                    throttle.keep_failure(tx, id, known, origin, now)

                await self._store.write(count, now=now)
            return False

        # Whoever does not wait for the answer has taken their turn, and failed, all the same.
        return await asyncio.shield(self._in_background(verify()))

    # Sessions

    async def sign_in(
        self, username: str, password: str, *, origin: Origin = HERE, user_agent: str = ""
    ) -> str:
        """Sign somebody in, and return the secret of their session, for a cookie.

        Args:
            username: whose account.
            password: what they say it is.
            origin: from where.
            user_agent: what their browser calls itself.

        Raises:
            Unauthenticated: there is no such account, it is disabled, or the password is wrong;
                which of these is not said.
            TooManyAttempts: there were too many of these.
            TooBusy: too many passwords are being verified.
        """
        user = await self._store.read(lambda tx: by_name(tx, username))
        if not await self._is_right(user, username, password, origin) or user is None:
            raise Unauthenticated(_WRONG)
        fresh = ""
        if self.passwords.is_outdated(user.password_hash):
            fresh = await self.passwords.hash(password)
        secret = credentials.new_secret()

        def work(unit: Unit) -> None:
            now_user = by_name(unit.tx, username)
            if (
                now_user is None
                or now_user.password_hash != user.password_hash
                or not credentials.may_sign_in(now_user, devmode=self._devmode)
            ):
                raise Unauthenticated(_WRONG)
            begin_session(unit, now_user, secret, origin.address, user_agent, fresh)

        await self._write(work, _principal(user), origin)
        return secret

    async def sign_out(self, principal: Principal) -> None:
        """End the session of a principal; one that is over already is fine."""
        query = Query(Session, {"id": principal.session_id, "user_id": principal.user_id})
        await self._store.write(lambda tx: tx.remove_where(query, limit=1), now=self._clock())
        self.forget()

    async def sessions(self, principal: Principal) -> Sequence[Session]:
        """Return the sessions of a principal's account, oldest first, without those that are over.

        The id of a session is no secret: it is a digest of one.
        """
        now = self._clock()
        query = Query(Session, {"user_id": principal.user_id, "expires": Range(ge=now)})
        return await self._store.read(lambda tx: tx.find(query)) if principal.user_id else ()

    async def end_session(self, principal: Principal, id: str) -> None:
        """End one of the sessions of a principal's account; one that is over already is fine.

        Raises:
            Unauthenticated: the principal's own session is over.
        """
        query = Query(Session, {"id": id, "user_id": principal.user_id})
        await self._end(principal, lambda tx: tx.remove_where(query, limit=1))

    async def end_other_sessions(self, principal: Principal) -> int:
        """End all sessions of a principal's account but the one they use; return how many.

        Raises:
            Unauthenticated: the principal's own session is over.
        """

        def work(tx: Transaction) -> int:
            found = tx.find(Query(Session, {"user_id": principal.user_id}))
            others = frozenset(each.id for each in found) - {principal.session_id}
            return tx.remove_where(Query(Session, {"id": others}), limit=MOST_SESSIONS)

        return await self._end(principal, work)

    async def _end(self, principal: Principal, work: Callable[[Transaction], int]) -> int:
        """End sessions, for somebody whose own is looked at in the same unit."""
        now = self._clock()

        def checked(tx: Transaction) -> int:
            credentials.renewed(tx, principal, now, devmode=self._devmode)
            return work(tx)

        ended = await self._store.write(checked, now=now)
        self.forget()
        return ended

    async def renew_session(
        self, principal: Principal, *, origin: Origin = HERE, user_agent: str = ""
    ) -> str:
        """Give somebody a new session who has just proved who they are; return its secret.

        Changing one's password ends all sessions, this one included.
        """
        secret = credentials.new_secret()

        def work(tx: Transaction) -> None:
            user = tx.get(User, principal.user_id)
            if not credentials.may_sign_in(user, devmode=self._devmode):
                raise Unauthenticated(_WRONG)
            _add_session(tx, user, secret, origin.address, user_agent)

        await self._store.write(work, now=self._clock())
        return secret


def _principal(user: User) -> Principal:
    return Principal(name=user.username, role=user.role, user_id=user.id)


def by_name(tx: Transaction, username: str) -> User | None:
    """Return the user of that name, if there is one."""
    try:
        checks.name("username", username)
    except InvalidArgument:
        return None  # nobody can have it
    return next(iter(tx.find(Query(User, {"username": username}))), None)


def begin_session(  # noqa: PLR0917 - what a session is made of
    unit: Unit, user: User, secret: str, address: str, user_agent: str, fresh_hash: str = ""
) -> None:
    """Put down that a user has signed in, and add their session.

    Args:
        unit: a unit of work.
        user: as they are now.
        secret: of the session.
        address: from where.
        user_agent: what the browser calls itself.
        fresh_hash: of the same password; empty to keep the one that there is.
    """
    after = msgspec.structs.replace(
        user, last_login=unit.now, password_hash=fresh_hash or user.password_hash
    )
    unit.sign_in(user, after)
    _add_session(unit.tx, user, secret, address, user_agent)


def _add_session(tx: Transaction, user: User, secret: str, address: str, user_agent: str) -> None:
    tx.remove_where(Query(Session, {"expires": Range(lt=tx.now)}), limit=_SWEEP)
    own = Query(Session, {"user_id": user.id})
    if (too_many := tx.count(own) + 1 - MOST_SESSIONS) > 0:
        tx.remove_where(own, limit=too_many)
    tx.add(
        Session(
            id=digest(secret),
            created=tx.now,
            updated=tx.now,
            user_id=user.id,
            address=address,
            user_agent="".join(filter(str.isprintable, user_agent[:_MOST_AGENT])),
            expires=tx.now + credentials.IDLE,
        )
    )


def _note_use(tx: Transaction, principal: Principal, now: datetime) -> None:
    if principal.token_id:
        _note_token(tx, principal.token_id, now)
    for session in tx.find(Query(Session, {"id": principal.session_id})):
        if session.updated + SEEN_EVERY > now:
            continue  # of several requests at once, another has put it down
        expires = min(now + credentials.IDLE, session.created + credentials.LONGEST)
        after = msgspec.structs.replace(
            session, updated=now, expires=expires, version=session.version + 1
        )
        tx.replace(after, expect=session.version)


def _note_token(tx: Transaction, id: str, now: datetime) -> None:
    expires = now + USE_KEPT_FOR
    for use in tx.find(Query(TokenUse, {"id": id})):
        if use.updated + SEEN_EVERY <= now:
            after = msgspec.structs.replace(
                use, updated=now, expires=expires, version=use.version + 1
            )
            tx.replace(after, expect=use.version)
        return
    tx.add(TokenUse(id=id, created=now, updated=now, expires=expires))
