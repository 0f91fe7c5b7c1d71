"""Accounts that change while something about them is under way, and admins against each other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from tests.accounts import HERE, PASSWORD, Place, awaited, hash_of_password, place, principal_of
from tests.conftest import STORES

from statusthing import open_store
from statusthing.access import TRUSTED, Role
from statusthing.errors import LastAdmin, PermissionDenied, Unauthenticated, VersionConflict
from statusthing.model import Session, User
from statusthing.store import Store

SECONDS = 10.0  # the bound of everything that is waited for
NEW = "a new horse battery"


class Held:
    """Holds what argon2 has found out, until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._begun = threading.Event()
        self._go_on = threading.Event()
        verify = PasswordHasher.verify

        def held(hasher: PasswordHasher, *args: Any) -> bool:
            try:
                return verify(hasher, *args)
            finally:
                self._begun.set()
                assert self._go_on.wait(SECONDS)

        monkeypatch.setattr(PasswordHasher, "verify", held)

    async def begun(self) -> None:
        """Wait until a password has been verified."""
        assert await asyncio.to_thread(self._begun.wait, SECONDS)

    def let_go(self) -> None:
        """Let the one who asked know."""
        self._go_on.set()


async def _set_password(here: Place, user: User) -> None:
    await here.st.users.update(user.id, password=NEW)


async def _disable(here: Place, user: User) -> None:
    await here.st.users.update(user.id, disabled=True)


async def _delete(here: Place, user: User) -> None:
    await here.st.users.delete(user.id)


async def _rename(here: Place, user: User) -> None:
    await here.st.users.update(user.id, username="eve")
    await here.person("ada", Role.ADMIN, password_hash=hash_of_password().replace("$m=", "$p=", 1))


MEANWHILE: dict[str, Callable[[Place, User], Awaitable[None]]] = {
    "new password": _set_password,
    "disabling": _disable,
    "deletion": _delete,
    "another account of that name": _rename,
}


@pytest.mark.parametrize("change", MEANWHILE.values(), ids=MEANWHILE)
@awaited
async def test_a_sign_in_that_was_right_when_it_began_is_refused_after(
    change: Callable[[Place, User], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No session begins for an account that is another one by the time of the unit."""
    async with place() as here:
        await here.person("root")
        user = await here.person("ada", Role.EDITOR)
        held = Held(monkeypatch)
        signing_in = asyncio.create_task(here.accounts.sign_in("ada", PASSWORD, origin=HERE))
        await held.begun()

        await change(here, user)
        held.let_go()

        with pytest.raises(Unauthenticated):
            await signing_in
        assert await here.found(Session) == []


@awaited
async def test_a_demotion_meanwhile_is_what_a_session_begins_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The role of a session is that of the account as it is, never as it was."""
    async with place() as here:
        await here.person("root")
        user = await here.person("ada", Role.ADMIN)
        held = Held(monkeypatch)
        signing_in = asyncio.create_task(here.accounts.sign_in("ada", PASSWORD, origin=HERE))
        await held.begun()

        await here.st.users.update(user.id, role=Role.VIEWER)
        held.let_go()

        principal = await here.accounts.by_session(await signing_in)
        assert principal.role is Role.VIEWER


@awaited
async def test_a_password_that_an_admin_sets_meanwhile_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever proved the old one cannot put theirs in its place."""
    async with place() as here:
        await here.person("root")
        user = await here.person("ada", Role.EDITOR)
        held = Held(monkeypatch)
        changing = asyncio.create_task(
            here.st.users.change_password(
                current_password=PASSWORD,
                new_password="an attacker's horse",
                principal=principal_of(user),
            )
        )
        await held.begun()

        await here.st.users.update(user.id, password=NEW)
        held.let_go()

        with pytest.raises(VersionConflict):
            await changing
        monkeypatch.undo()
        assert await here.accounts.sign_in("ada", NEW)


@awaited
async def test_what_a_principal_begins_after_a_demotion_is_refused() -> None:
    """A write looks at session, token and owner inside its own unit, whatever was admitted."""
    async with place() as here:
        await here.person("root")
        user = await here.person("ada")
        session = await here.accounts.by_session(await here.session(user))
        added = await here.st.tokens.add(name="ci", role=Role.ADMIN, principal=session)
        token = await here.accounts.by_token(added.secret)

        await here.st.users.update(user.id, role=Role.VIEWER)

        with pytest.raises(PermissionDenied):
            await here.st.tokens.add(name="more", role=Role.ADMIN, principal=token)
        with pytest.raises(PermissionDenied):
            await here.st.users.update(user.id, role=Role.ADMIN, principal=token)
        with pytest.raises(Unauthenticated):  # the session is over
            await here.st.users.update(user.id, role=Role.ADMIN, principal=session)
        assert (await here.user(user.id)).role is Role.VIEWER


AGAINST: dict[str, Callable[[Place, User, Any], Awaitable[Any]]] = {
    "demote": lambda here, user, by: here.st.users.update(user.id, role=Role.EDITOR, principal=by),
    "disable": lambda here, user, by: here.st.users.update(user.id, disabled=True, principal=by),
    "delete": lambda here, user, by: here.st.users.delete(user.id, principal=by),
}


@pytest.mark.parametrize("how", AGAINST.values(), ids=AGAINST)
@pytest.mark.parametrize("kind", STORES)
def test_one_admin_is_left_whoever_is_faster(
    kind: str,
    how: Callable[[Place, User, Any], Awaitable[Any]],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """Admins who remove each other through two services on one store, and two operators who do."""

    async def main(url: str) -> None:
        async with AsyncExitStack() as stack:
            store = open_store(url)
            stores: list[Store] = [store, store if kind == "memory" else open_store(url)]
            here, there = [await stack.enter_async_context(place(each)) for each in stores]
            for turn in range(5):
                one, other = await here.person(f"one {turn}"), await here.person(f"other {turn}")
                for user in await here.found(User, role=Role.ADMIN):
                    if user.id not in {one.id, other.id}:
                        await here.st.users.update(user.id, role=Role.VIEWER)
                sessions = [
                    await place_.accounts.by_session(await place_.session(user))
                    for place_, user in ((here, one), (there, other))
                ]
                by = sessions if turn % 2 else [TRUSTED, TRUSTED]

                ends = await asyncio.gather(
                    how(here, other, by[0]), how(there, one, by[1]), return_exceptions=True
                )

                failed = [end for end in ends if end is not None]
                assert len(failed) == 1
                assert isinstance(failed[0], (LastAdmin, Unauthenticated, PermissionDenied))
                left = await there.found(User, role=Role.ADMIN, disabled=False)
                assert len(left) == 1

    with STORES[kind](tmp_path, request) as url:
        asyncio.run(main(url))
