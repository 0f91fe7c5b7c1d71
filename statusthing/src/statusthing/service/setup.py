"""The first run: making the first admin by a link that only the operator sees.

There is no state that says whether setup is done: it is, as long as there is an admin who may sign
in. So it cannot reopen by itself, and a store that cannot be asked answers with an error.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from statusthing.access import HERE, Origin, Principal, Role
from statusthing.errors import NotFound, SetupLinkInvalid
from statusthing.model import SetupLink, User
from statusthing.service import checks, credentials
from statusthing.service.accounts import WriteFor, begin_session, by_name
from statusthing.service.credentials import digest
from statusthing.service.passwords import Passwords
from statusthing.service.passwords import password as good_password
from statusthing.service.unit import Unit
from statusthing.service.users import remove_user
from statusthing.store import Query, Range, Store, Transaction

SETUP_FOR = timedelta(hours=24)
"""How long a setup link works."""

DEVELOPER = "admin"
DEVELOPERS_PASSWORD = "password"  # noqa: S105 - everybody's, and dead outside of devmode

_SWEEP = 100


class Setup:
    """Makes the first admin.

    Args:
        store: where users and links are.
        clock: returns the present, aware and in UTC.
        write: runs a unit of work that logs.
        passwords: makes hashes.
        devmode: whether the account for development counts as an admin.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        write: WriteFor,
        passwords: Passwords,
        *,
        devmode: bool,
    ) -> None:
        self._store = store
        self._clock = clock
        self._write = write
        self._passwords = passwords
        self._devmode = devmode

    async def is_done(self) -> bool:
        """Return whether there is an admin who may sign in."""
        return await self._store.read(lambda tx: credentials.has_admin(tx, devmode=self._devmode))

    async def link(self) -> str | None:
        """Return the path and query of a page that makes the first admin, for SETUP_FOR.

        It begins with `/setup?token=`, to be put behind the address of the site. None where there
        is an admin already.
        """
        secret = credentials.new_secret()
        now = self._clock()

        def work(tx: Transaction) -> str | None:
            if credentials.has_admin(tx, devmode=self._devmode):
                return None
            tx.remove_where(Query(SetupLink, {"expires": Range(lt=now)}), limit=_SWEEP)
            tx.add(
                SetupLink(
                    id=digest(secret), created=tx.now, updated=tx.now, expires=now + SETUP_FOR
                )
            )
            return f"/setup?token={secret}"

        return await self._store.write(work, now=now)

    async def check(self, token: str) -> None:
        """Let somebody with a setup link pass.

        Raises:
            NotFound: setup is done.
            SetupLinkInvalid: the link is wrong, or too old.
            StoreError: the store cannot say.
        """
        now = self._clock()
        await self._store.read(lambda tx: self._check_link(tx, token, now))

    def _check_link(self, tx: Transaction, token: str, now: datetime) -> None:
        if credentials.has_admin(tx, devmode=self._devmode):
            raise NotFound("SetupLink", "setup")
        for link in tx.find(Query(SetupLink, {"id": digest(token)})):
            if link.expires > now:
                return
        raise SetupLinkInvalid

    async def complete(
        self,
        token: str,
        *,
        username: str,
        email_address: str,
        password: str,
        origin: Origin = HERE,
        user_agent: str = "",
    ) -> str:
        """Make the first admin and sign them in; return the secret of their session.

        Args:
            token: of the setup link.
            username: see `Users.add`.
            email_address: see `Users.add`.
            password: see `Users.add`.
            origin: from where.
            user_agent: what their browser calls itself.

        Raises:
            InvalidArgument: a value breaks a rule.
            NotFound: setup is done; somebody else may have been faster.
            SetupLinkInvalid: the link is wrong, or too old.
            TooBusy: too many passwords are being hashed.
        """
        # First of all: whoever has no link learns nothing but that.
        await self.check(token)
        checks.name("username", username)
        checks.email("email_address", email_address)
        good_password("password", password, username)
        password_hash = await self._passwords.hash(password)
        now = self._clock()
        secret = credentials.new_secret()

        def work(unit: Unit) -> None:
            self._check_link(unit.tx, token, now)
            # A developer's account of that name is dead, or there would be an admin.
            for other in unit.tx.find(Query(User, {"username": username})):
                if other.development:
                    remove_user(unit, other)
            user = unit.create(
                User,
                username=username,
                email_address=email_address,
                password_hash=password_hash,
                role=Role.ADMIN,
            )
            while unit.tx.remove_where(Query(SetupLink), limit=_SWEEP) == _SWEEP:
                pass
            begin_session(unit, user, secret, origin.address, user_agent)

        await self._write(work, Principal(name="setup", role=Role.ADMIN), origin)
        return secret

    async def has_developer(self) -> bool:
        """Return whether there is an account for development, dead or alive."""
        return bool(await self._store.read(lambda tx: tx.count(Query(User, {"development": True}))))

    async def make_developer(self) -> bool:
        """Make the account for development, unless there is an account of that name.

        Returns:
            Whether it can be signed in with: whether it is there, and not somebody else's.
        """
        found = await self._store.read(lambda tx: by_name(tx, DEVELOPER))
        if found is not None:
            return found.development and not found.disabled
        password_hash = await self._passwords.hash(DEVELOPERS_PASSWORD)

        def work(unit: Unit) -> bool:
            found = by_name(unit.tx, DEVELOPER)
            if found is None:
                unit.create(
                    User,
                    username=DEVELOPER,
                    password_hash=password_hash,
                    role=Role.ADMIN,
                    development=True,
                )
            return found is None or found.development

        return await self._write(work, Principal(name="devmode", role=Role.ADMIN), HERE)
