"""Sessions: how they begin, how long they last, and all that ends them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.accounts import (
    HERE,
    PASSWORD,
    Distant,
    Place,
    awaited,
    bytes_in,
    place,
    principal_of,
)

from statusthing import Principal, open_store
from statusthing.access import Role
from statusthing.errors import StoreUnavailable, Unauthenticated
from statusthing.memory import MemoryStore
from statusthing.model import Session, User
from statusthing.service.users import MOST_SESSIONS

LONG = 64  # characters of a SHA-256 in hexadecimal


@awaited
async def test_signing_in_begins_a_session() -> None:
    """It says who was signed in, from where and with what, for twelve hours."""
    async with place() as here:
        user = await here.person("ada", Role.EDITOR)

        secret = await here.accounts.sign_in("ada", PASSWORD, origin=HERE, user_agent="Fox/1\r\n")

        principal = await here.accounts.by_session(secret)
        (session,) = await here.accounts.sessions(principal)
        assert (principal.name, principal.role, principal.user_id) == ("ada", Role.EDITOR, user.id)
        assert principal.session_id == session.id
        assert (session.address, session.user_agent) == (HERE.address, "Fox/1")
        assert session.expires == session.created + timedelta(hours=12)
        assert (await here.user(user.id)).last_login == session.created


@awaited
async def test_only_the_digest_of_a_secret_is_stored(tmp_path: Path) -> None:
    """A secret has 256 bits, and is in no byte of the database nor of its log of writes."""
    file = tmp_path / "statusthing.db"
    async with place(open_store(f"sqlite:///{file}")) as here:
        user = await here.person()
        secret = await here.accounts.sign_in("ada", PASSWORD)
        link = await here.st.setup.link()

        found = await here.found(Session, user_id=user.id)
        data = bytes_in(tmp_path)

    assert link is None
    assert len(secret) >= 43
    assert [session.id for session in found] == [hashlib.sha256(secret.encode()).hexdigest()]
    assert found[0].id.encode() in data
    assert secret.encode() not in data
    assert PASSWORD.encode() not in data


@awaited
async def test_every_session_has_a_secret_of_its_own() -> None:
    """Signing in again begins another session, and leaves the first one alone."""
    async with place() as here:
        user = await here.person()

        secrets = [await here.session(user) for _ in range(20)]

        assert len(set(secrets)) == 20
        assert (await here.accounts.by_session(secrets[0])).user_id == user.id


@pytest.mark.parametrize("secret", ["", "planted", "0" * 64, "\ud800", "x" * 100_000])
@awaited
async def test_a_secret_that_was_planted_is_no_session(secret: str) -> None:
    """Neither before nor after somebody signs in; nor is the digest of a session."""
    async with place() as here:
        user = await here.person()
        with pytest.raises(Unauthenticated):
            await here.accounts.by_session(secret)

        await here.session(user)

        (session,) = await here.found(Session)
        for planted in (secret, session.id):
            with pytest.raises(Unauthenticated):
                await here.accounts.by_session(planted)


@awaited
async def test_a_session_ends_when_it_is_idle_for_twelve_hours() -> None:
    """Each use, to the minute, begins the twelve hours again."""
    async with place() as here:
        secret = await here.session(await here.person())
        here.clock.pass_by(hours=11, minutes=59)
        await here.accounts.by_session(secret)
        await here.settled()
        here.accounts.forget()
        here.clock.pass_by(hours=11, minutes=59)
        await here.accounts.by_session(secret)
        await here.settled()

        here.clock.pass_by(hours=12)

        with pytest.raises(Unauthenticated):
            await here.accounts.by_session(secret)


@awaited
async def test_a_session_ends_after_seven_days() -> None:
    """However often it is used, and also where its principal is in the cache."""
    async with place() as here:
        secret = await here.session(await here.person())
        for _ in range(7 * 4 - 1):
            here.clock.pass_by(hours=6)
            here.accounts.forget()
            await here.accounts.by_session(secret)
            await here.settled()
        here.clock.pass_by(hours=5, minutes=59, seconds=59)
        await here.accounts.by_session(secret)

        here.clock.pass_by(seconds=2)

        with pytest.raises(Unauthenticated):
            await here.accounts.by_session(secret)


@awaited
async def test_use_is_put_down_once_a_minute() -> None:
    """However many requests come, one after the other or all at once."""
    async with place(Distant()) as here:
        secret = await here.session(await here.person())

        async def uses(times: int) -> int:
            for _ in range(times):
                here.accounts.forget()
                await asyncio.gather(*(here.accounts.by_session(secret) for _ in range(5)))
                await here.settled()
            (session,) = await here.found(Session)
            assert isinstance(session, Session)
            return session.version

        here.clock.pass_by(seconds=59)
        assert await uses(3) == 1
        here.clock.pass_by(seconds=2)
        assert await uses(3) == 2
        here.clock.pass_by(seconds=59)
        assert await uses(3) == 2


@awaited
async def test_sessions_are_no_part_of_history() -> None:
    """A session that begins, is used or ends leaves the head where it was."""
    async with place() as here:
        user = await here.person()
        before = await here.revisions()

        secret = await here.session(user)
        here.clock.pass_by(minutes=5)
        principal = await here.accounts.by_session(secret)
        await here.settled()
        await here.accounts.sign_out(principal)

        assert await here.revisions() == before


async def _sign_out(here: Place, _: User, principal: Principal) -> None:
    await here.accounts.sign_out(principal)


async def _change_password(here: Place, _: User, principal: Principal) -> None:
    await here.st.users.change_password(
        current_password=PASSWORD,
        new_password="a new horse battery",
        principal=principal,
    )


async def _set_password(here: Place, user: User, _: Principal) -> None:
    await here.st.users.update(user.id, password="a new horse battery")


async def _raise_role(here: Place, user: User, _: Principal) -> None:
    await here.st.users.update(user.id, role=Role.ADMIN)


async def _lower_role(here: Place, user: User, _: Principal) -> None:
    await here.st.users.update(user.id, role=Role.VIEWER)


async def _disable(here: Place, user: User, _: Principal) -> None:
    await here.st.users.update(user.id, disabled=True)


async def _delete(here: Place, user: User, _: Principal) -> None:
    await here.st.users.delete(user.id)


ENDS: dict[str, Callable[[Place, User, Principal], Awaitable[None]]] = {
    "sign-out": _sign_out,
    "own new password": _change_password,
    "password set by an admin": _set_password,
    "higher role": _raise_role,
    "lower role": _lower_role,
    "disabling": _disable,
    "deletion": _delete,
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@awaited
async def test_a_session_ends_at_once_with(
    end: Callable[[Place, User, Principal], Awaitable[None]],
) -> None:
    """In the process where it happens nobody is known by it any more, and the record is gone."""
    async with place() as here:
        await here.person("root")
        user = await here.person("ada", Role.EDITOR)
        secret = await here.session(user)
        principal = await here.accounts.by_session(secret)

        await end(here, user, principal)

        with pytest.raises(Unauthenticated):
            await here.accounts.by_session(secret)
        assert await here.found(Session, user_id=user.id) == []
        with pytest.raises(Unauthenticated):  # what was admitted before is looked at again
            await here.st.items.add(name="api", principal=principal)


@awaited
async def test_changing_other_things_about_a_user_ends_no_session() -> None:
    """A new name or address says nothing about who holds the session."""
    async with place() as here:
        user = await here.person("ada")
        secret = await here.session(user)

        await here.st.users.update(user.id, username="ada.l", first_name="Ada", role=Role.ADMIN)

        assert (await here.accounts.by_session(secret)).name == "ada.l"


@awaited
async def test_enabling_an_account_again_brings_no_session_back() -> None:
    """Whoever was signed in has to sign in again."""
    async with place() as here:
        await here.person("root")
        user = await here.person("ada")
        secret = await here.session(user)

        await here.st.users.update(user.id, disabled=True)
        await here.st.users.update(user.id, disabled=False, update_mask=["disabled"])

        with pytest.raises(Unauthenticated):
            await here.accounts.by_session(secret)


@awaited
async def test_what_is_being_read_while_a_session_ends_is_not_kept() -> None:
    """A look-up that began before is right for the one who asked, and for nobody after it."""

    class Slow(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.read_done, self.go_on = asyncio.Event(), asyncio.Event()
            self.slow = False

        async def read(self, work):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            found = await super().read(work)
            if self.slow:
                self.slow = False
                self.read_done.set()
                await self.go_on.wait()
            return found

    store = Slow()
    async with place(store) as here:
        user = await here.person()
        secret = await here.session(user)
        store.slow = True
        looking = asyncio.create_task(here.accounts.by_session(secret))
        await store.read_done.wait()
        await here.accounts.end_other_sessions(principal_of(user))
        store.go_on.set()
        await looking

        with pytest.raises(Unauthenticated):
            await here.accounts.by_session(secret)


@awaited
async def test_a_session_is_no_token_and_a_token_no_session() -> None:
    """Not even while the other door knows the secret."""
    async with place() as here:
        user = await here.person()
        session = await here.session(user)
        token = (await here.st.tokens.add(name="ci", role=Role.EDITOR)).secret
        await here.accounts.by_session(session)
        await here.accounts.by_token(token)

        with pytest.raises(Unauthenticated):
            await here.accounts.by_token(session)
        with pytest.raises(Unauthenticated):
            await here.accounts.by_session(token)


@awaited
async def test_somebody_ends_only_their_own_sessions() -> None:
    """The id of another's session is of no use."""
    async with place() as here:
        ada, eve = await here.person("ada"), await here.person("eve", Role.VIEWER)
        adas, eves = await here.session(ada), await here.session(eve)
        principal = await here.accounts.by_session(eves)
        (session,) = await here.found(Session, user_id=ada.id)

        await here.accounts.end_session(principal, session.id)
        await here.accounts.end_other_sessions(principal)

        assert (await here.accounts.by_session(adas)).user_id == ada.id
        assert (await here.accounts.by_session(eves)).user_id == eve.id
        assert [each.user_id for each in await here.accounts.sessions(principal)] == [eve.id]


@awaited
async def test_a_session_that_is_over_ends_no_other() -> None:
    """Whoever was signed out elsewhere cannot sign out the others with what they still know."""
    async with place() as here:
        user = await here.person()
        stolen, own = await here.session(user), await here.session(user)
        thief = await here.accounts.by_session(stolen)
        await here.accounts.end_other_sessions(await here.accounts.by_session(own))

        with pytest.raises(Unauthenticated):
            await here.accounts.end_other_sessions(thief)
        with pytest.raises(Unauthenticated):
            await here.accounts.end_session(thief, (await here.found(Session))[0].id)
        assert (await here.accounts.by_session(own)).user_id == user.id


@awaited
async def test_the_oldest_of_too_many_sessions_ends() -> None:
    """So that nobody fills the store by signing in."""
    async with place() as here:
        user = await here.person()
        await here.add(
            *(
                Session(
                    id=f"{number:064}",
                    created=here.clock() + timedelta(microseconds=number),
                    updated=here.clock(),
                    user_id=user.id,
                    address="",
                    user_agent="",
                    expires=here.clock() + timedelta(hours=1),
                )
                for number in range(MOST_SESSIONS)
            )
        )
        here.clock.pass_by(seconds=1)

        secret = await here.session(user)

        ids = {session.id for session in await here.found(Session)}
        assert len(ids) == MOST_SESSIONS
        assert f"{0:064}" not in ids
        assert (await here.accounts.by_session(secret)).user_id == user.id


@awaited
async def test_a_store_that_is_away_lets_nobody_in() -> None:
    """Neither a session nor a token nor a password counts while nobody can say."""
    store = MemoryStore()
    async with place(store) as here:
        user = await here.person()
        secret = await here.session(user)
        token = (await here.st.tokens.add(name="ci", role=Role.EDITOR)).secret
        await store.close()

        for attempt in (
            here.accounts.by_session(secret),
            here.accounts.by_token(token),
            here.accounts.sign_in("ada", PASSWORD),
        ):
            with pytest.raises(StoreUnavailable):
                await attempt
