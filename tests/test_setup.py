"""Making the first admin: the link, the race for it, and that it never opens again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from argon2 import PasswordHasher
from tests.accounts import PASSWORD, Clock, Place, awaited, bytes_in, counted, place, principal_of
from tests.conftest import STORES
from tests.sites import COOKIE, SAME, site

from statusthing import open_store
from statusthing.access import Role
from statusthing.errors import (
    InvalidArgument,
    LastAdmin,
    NotFound,
    PermissionDenied,
    SetupLinkInvalid,
    StoreUnavailable,
    Unauthenticated,
)
from statusthing.memory import MemoryStore
from statusthing.model import Session, SetupLink, Token, User
from statusthing.service.setup import DEVELOPER, DEVELOPERS_PASSWORD
from statusthing.store import Store

Urls = dict[str, Callable[[Path, pytest.FixtureRequest], AbstractContextManager[str]]]


async def link_of(here: Place) -> str:
    """Return the secret of a new link."""
    link = await here.st.setup_link()
    assert link is not None
    path, _, secret = link.partition("?token=")
    assert path == "/setup"
    return secret


async def set_up(here: Place, secret: str, username: str = "ada") -> str:
    """Make the first admin."""
    return await here.st.setup.complete(
        secret, username=username, email_address="ada@example.com", password=PASSWORD
    )


@awaited
async def test_a_link_makes_an_admin_and_signs_them_in() -> None:
    """All links are gone in the same unit, and no other admin can be made."""
    async with place() as here:
        first, second = await link_of(here), await link_of(here)
        assert await here.st.setup.is_done() is False
        before = (await here.revisions())[0]

        secret = await set_up(here, first)

        principal = await here.accounts.by_session(secret)
        user = await here.user(principal.user_id)
        assert (user.username, user.role, user.email_address) == (
            "ada",
            Role.ADMIN,
            "ada@example.com",
        )
        assert (await here.revisions())[0] == before + 1
        assert await here.found(SetupLink) == []
        assert await here.st.setup.is_done() is True
        assert await here.st.setup_link() is None
        for old in first, second:
            with pytest.raises(NotFound):
                await here.st.setup.check(old)
            with pytest.raises(NotFound):
                await set_up(here, old, "eve")


@awaited
async def test_however_many_links_there_are_all_go() -> None:
    """A server that was started hundreds of times leaves none behind."""
    async with place() as here:
        links = [await link_of(here) for _ in range(250)]

        await set_up(here, links[0])

        assert await here.found(SetupLink) == []


@awaited
async def test_a_link_works_for_24_hours() -> None:
    """Not a second longer; what is too old is swept when the next one is made."""
    async with place() as here:
        secret = await link_of(here)
        here.clock.pass_by(hours=23, minutes=59, seconds=59)
        await here.st.setup.check(secret)

        here.clock.pass_by(seconds=1)

        with pytest.raises(SetupLinkInvalid):
            await here.st.setup.check(secret)
        with pytest.raises(SetupLinkInvalid):
            await set_up(here, secret)
        here.clock.pass_by(seconds=1)
        await link_of(here)
        assert len(await here.found(SetupLink)) == 1


@pytest.mark.parametrize("secret", ["", "wrong", "0" * 64, "\ud800", "x" * 100_000])
@awaited
async def test_a_wrong_link_is_refused_before_anything_else(secret: str) -> None:
    """Whatever the form holds: nothing is hashed, and nothing is said about the form."""
    async with place() as here:
        await link_of(here)
        (stored,) = await here.found(SetupLink)
        for token in (secret, stored.id):
            with counted() as hashes, pytest.raises(SetupLinkInvalid):
                await here.st.setup.complete(
                    token, username="", email_address="nonsense", password=""
                )
            assert (hashes.made, hashes.verified) == (0, 0)


@awaited
async def test_a_form_with_a_mistake_leaves_the_link_as_it_was() -> None:
    """It can be sent again."""
    async with place() as here:
        secret = await link_of(here)
        for username, email, password in (
            ("", "", PASSWORD),
            ("ada", "x", PASSWORD),
            ("ada", "", "password"),
        ):
            with pytest.raises(InvalidArgument):
                await here.st.setup.complete(
                    secret, username=username, email_address=email, password=password
                )

        assert await set_up(here, secret)


@awaited
async def test_secrets_of_links_are_long_and_not_stored(tmp_path: Path) -> None:
    """256 bits each, and only a digest in the database."""
    async with place(open_store(f"sqlite:///{tmp_path}/statusthing.db")) as here:
        secrets = [await link_of(here) for _ in range(5)]
        data = bytes_in(tmp_path)

    assert len(set(secrets)) == 5
    for secret in secrets:
        assert len(secret) >= 43
        assert secret.encode() not in data


@pytest.mark.parametrize("kind", STORES)
def test_a_race_of_a_hundred_has_one_winner(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through two services on one store; whoever loses is told so, and there is one admin."""
    # What is raced for is the unit, not the two hashes at a time before it.
    monkeypatch.setattr("statusthing.service.passwords.WAITING", 100)
    monkeypatch.setattr(
        PasswordHasher, "hash", lambda *_: "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"
    )

    async def main(url: str) -> None:
        async with AsyncExitStack() as stack:
            store = open_store(url)
            stores: list[Store] = [store, store if kind == "memory" else open_store(url)]
            places = [await stack.enter_async_context(place(each)) for each in stores]
            secret = await link_of(places[0])

            ends = await asyncio.gather(
                *(set_up(places[n % 2], secret, f"admin {n}") for n in range(100)),
                return_exceptions=True,
            )

            winners = [end for end in ends if isinstance(end, str)]
            assert len(winners) == 1
            assert {type(end) for end in ends} == {str, NotFound}
            (user,) = await places[0].found(User)
            assert (user.role, user.disabled) == (Role.ADMIN, False)
            assert len(await places[0].found(Session)) == 1
            assert await places[1].found(SetupLink) == []

    with STORES[kind](tmp_path, request) as url:
        asyncio.run(main(url))


class Away(MemoryStore):
    """Cannot be reached while `away` is set."""

    away = False

    async def read(self, work: Any) -> Any:
        """Run a unit that only reads."""
        self._check()
        return await super().read(work)

    async def write(self, work: Any, *, now: Any) -> Any:
        """Run a unit that may write."""
        self._check()
        return await super().write(work, now=now)

    def _check(self) -> None:
        if self.away:
            msg = "nobody is there"
            raise StoreUnavailable(msg)


@pytest.mark.parametrize("is_set_up", [True, False])
@awaited
async def test_a_store_that_is_away_never_opens_setup(*, is_set_up: bool) -> None:
    """Whether there is an admin or not, the answer is 503 without a form, and nothing is hashed."""
    store = Away()
    async with site(store) as here:
        secret = await link_of(here)
        if is_set_up:
            await here.person()
        store.away = True
        async with here.client() as client:
            form = {"token": secret, "username": "eve", "password": PASSWORD}
            with counted() as hashes:
                answers = [
                    await client.get("/setup", params={"token": secret}),
                    await client.post("/setup", data=form, headers=SAME),
                    await client.post("/setup", data=form | {"password": "x"}, headers=SAME),
                    await client.post("/setup", data=form | {"token": ""}, headers=SAME),
                ]
            assert [answer.status_code for answer in answers] == [503] * 4
            for answer in answers:
                assert "<form" not in answer.text
                assert "set-cookie" not in answer.headers
            assert (hashes.made, hashes.verified) == (0, 0)
            with pytest.raises(StoreUnavailable):
                await here.st.setup_link()
            with pytest.raises(StoreUnavailable):
                await here.st.setup.is_done()

            store.away = False
            again = await client.get("/setup", params={"token": secret})
            assert again.status_code == (404 if is_set_up else 200)
        assert len(await here.found(User)) == int(is_set_up)


@awaited
async def test_a_store_that_goes_away_meanwhile_makes_no_admin() -> None:
    """Between the look at the link and the unit: nothing is made, and the link still works."""
    store = Away()
    async with site(store) as here:
        secret = await link_of(here)
        make = PasswordHasher.hash

        def leave(self: PasswordHasher, *args: Any) -> str:
            store.away = True
            return make(self, *args)

        form = {"token": secret, "username": "ada", "password": PASSWORD}
        async with here.client() as client:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(PasswordHasher, "hash", leave)
                answer = await client.post("/setup", data=form, headers=SAME)
            store.away = False
            assert (answer.status_code, "set-cookie" in answer.headers) == (503, False)
            assert await here.found(User) == []
            answer = await client.post("/setup", data=form, headers=SAME)
            assert (answer.status_code, COOKIE in answer.cookies) == (303, True)


@awaited
async def test_the_page_is_dead_once_there_is_an_admin() -> None:
    """With every link, and with a form that has mistakes in it: 404, and never the form."""
    async with site() as here:
        secret = await link_of(here)
        await here.person()
        async with here.client() as client:
            for token in (secret, "wrong", ""):
                form = {"token": token, "username": "", "password": "x"}
                for answer in (
                    await client.get("/setup", params={"token": token}),
                    await client.post("/setup", data=form, headers=SAME),
                ):
                    assert answer.status_code == 404
                    assert "<form" not in answer.text


@awaited
async def test_the_page_makes_an_admin_who_is_signed_in() -> None:
    """The form comes with the link, names what is wrong, and ends on the pages of an admin."""
    async with site() as here:
        secret = await link_of(here)
        await here.person("eve", Role.VIEWER)
        async with here.client() as client:
            page = await client.get("/setup", params={"token": secret})
            assert (page.status_code, "<form" in page.text) == (200, True)
            assert "set-cookie" not in page.headers
            form = {"token": secret, "username": "ada", "password": PASSWORD, "email": ""}

            short = await client.post("/setup", data=form | {"password": "x"}, headers=SAME)
            taken = await client.post("/setup", data=form | {"username": "eve"}, headers=SAME)
            done = await client.post("/setup", data=form, headers=SAME)

            assert (short.status_code, "at least 8 characters" in short.text) == (400, True)
            assert (taken.status_code, "taken already" in taken.text) == (409, True)
            assert (done.status_code, urlsplit(done.headers["location"]).path) == (303, "/admin")
            assert (await client.get("/admin")).status_code == 200


@awaited
async def test_nothing_secret_of_setup_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the link nor the password nor the session, in no line and no entry."""
    caplog.set_level(logging.DEBUG)
    async with site() as here:
        secret = await link_of(here)
        async with here.client() as client:
            await client.get("/setup", params={"token": secret})
            for password in ("x", PASSWORD):
                form = {"token": secret, "username": "ada", "password": password}
                await client.post("/setup", data=form, headers=SAME)
            session = client.cookies[COOKIE]
            await client.get("/admin")
        entries = repr(await here.st.audit.list())
    logged = repr([record.__dict__ for record in caplog.records if record.name != "httpx"])
    assert "/setup" in logged
    for text in (secret, PASSWORD, session):
        assert text not in logged
        assert text not in entries


@awaited
async def test_the_last_admin_stays() -> None:
    """They cannot be deleted, demoted or disabled, so that setup never opens again."""
    async with place() as here:
        user = await here.person()
        await here.person("eve", disabled=True)
        await here.person("dev", development=True)
        for principal in (principal_of(user),):
            for attempt in (
                here.st.users.delete(user.id, principal=principal),
                here.st.users.update(user.id, role=Role.EDITOR, principal=principal),
                here.st.users.update(user.id, disabled=True, principal=principal),
            ):
                with pytest.raises(LastAdmin):
                    await attempt
        assert await here.st.setup.is_done() is True


@awaited
async def test_a_development_account_lives_in_devmode_only() -> None:
    """Elsewhere its password, its sessions and its tokens are dead, and setup is not done."""
    store, clock = MemoryStore(), Clock()
    async with place(store, clock=clock, devmode=True) as here:
        assert await here.st.setup.make_developer() is True
        assert await here.st.setup.make_developer() is True
        session = await here.accounts.sign_in(DEVELOPER, DEVELOPERS_PASSWORD)
        developer = await here.accounts.by_session(session)
        token = await here.st.tokens.add(name="dev", role=Role.ADMIN, principal=developer)
        assert (await here.accounts.by_token(token.secret)).role is Role.ADMIN
        assert await here.st.setup.is_done() is True

    async with place(store, clock=clock) as here:
        for attempt in (
            here.accounts.sign_in(DEVELOPER, DEVELOPERS_PASSWORD),
            here.accounts.by_session(session),
            here.accounts.by_token(token.secret),
            here.accounts.renew_session(developer),
            here.st.items.add(name="api", principal=developer),
            here.st.items.add(name="api", principal=developer),
        ):
            with pytest.raises(Unauthenticated):
                await attempt
        assert await here.st.setup.is_done() is False
        assert await here.st.setup_link() is not None


@awaited
async def test_a_real_admin_may_take_the_name_of_the_development_account() -> None:
    """Its account goes with all that belongs to it, and the name has the new password only."""
    store, clock = MemoryStore(), Clock()
    async with place(store, clock=clock, devmode=True) as here:
        await here.st.setup.make_developer()
        session = await here.accounts.sign_in(DEVELOPER, DEVELOPERS_PASSWORD)
        developer = await here.accounts.by_session(session)
        await here.st.tokens.add(name="dev", role=Role.ADMIN, principal=developer)

    async with place(store, clock=clock) as here:
        await set_up(here, await link_of(here), DEVELOPER)
        (user,) = await here.found(User)
        assert user.development is False
        assert await here.found(Token) == []

    async with place(store, clock=clock, devmode=True) as here:
        assert await here.st.setup.make_developer() is False
        with pytest.raises(Unauthenticated):
            await here.accounts.sign_in(DEVELOPER, DEVELOPERS_PASSWORD)
        with pytest.raises(Unauthenticated):
            await here.accounts.by_session(session)
        assert await here.accounts.sign_in(DEVELOPER, PASSWORD)


@awaited
async def test_a_viewer_of_that_name_is_not_taken_for_a_developer() -> None:
    """`--devmode` neither takes over nor changes an account that somebody made."""
    async with place(devmode=True) as here:
        user = await here.person(DEVELOPER, Role.VIEWER)

        assert await here.st.setup.make_developer() is False

        assert await here.user(user.id) == user
        with pytest.raises(PermissionDenied):
            await here.st.items.add(name="api", principal=principal_of(user))
