"""The audit trail: what is in it, what is not, and that reading it page by page loses nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.accounts import HERE, PASSWORD, Place, awaited, counted, place, principal_of
from tests.sites import COOKIE, SAME, site

from statusthing.access import Origin, Role
from statusthing.errors import InvalidArgument, PermissionDenied, Unauthenticated
from statusthing.log import Change
from statusthing.model import FailedSignIn, KeptAnswer, Session, Throttle, TokenUse
from statusthing.service import messages as m
from statusthing.service import throttle

WRONG = "wrong horse battery"
OTHER = "other horse battery"


async def entries(here: Place, size: int = 1_000) -> list[m.AuditEntry]:
    """Return all entries, read page by page."""
    found: list[m.AuditEntry] = []
    token = ""
    while True:
        page = await here.st.audit.list(page_size=size, page_token=token)
        assert len(page) <= size
        found += page
        token = page.next_page_token
        if not token:
            return found


@awaited
async def test_every_change_says_who_made_it_and_from_where() -> None:
    """With the correlation id of the request, and nothing secret before or after."""
    async with place() as here:
        ada = await here.person("ada")
        principal = principal_of(ada)
        about: dict[str, str] = {}
        requests: list[tuple[Callable[[], m.Request], str, str]] = [
            (
                lambda: m.AddUserRequest(username="eve", password=WRONG, role=Role.VIEWER),
                *("added", "User"),
            ),
            (
                lambda: m.UpdateUserRequest(user_id=about["user"], role=Role.EDITOR),
                *("replaced", "User"),
            ),
            (
                lambda: m.UpdateUserRequest(user_id=about["user"], password=OTHER),
                *("replaced", "User"),
            ),
            (
                lambda: m.UpdateUserRequest(user_id=about["user"], disabled=True),
                *("replaced", "User"),
            ),
            (lambda: m.DeleteUserRequest(user_id=about["user"]), "removed", "User"),
            (lambda: m.AddTokenRequest(name="ci", role=Role.EDITOR), "added", "Token"),
            (lambda: m.RevokeTokenRequest(token_id=about["token"]), "removed", "Token"),
            (lambda: m.UpdateSettingsRequest(title="Status of us"), "added", "Settings"),
            (lambda: m.UpdateSettingsRequest(title="Status of you"), "replaced", "Settings"),
        ]
        for number, (request, action, kind) in enumerate(requests):
            origin = Origin(address=f"192.0.2.{number}", correlation_id=f"{number:016}")
            answer = await here.st.run(request(), principal=principal, origin=origin)
            if isinstance(answer.response, m.AddUserResponse):
                about["user"] = answer.response.user.id
            if isinstance(answer.response, m.AddTokenResponse):
                about["token"] = answer.response.token.id
                about["secret"] = answer.response.secret

            entry = (await entries(here))[0]

            assert (entry.actor, entry.address) == ("ada", f"192.0.2.{number}")
            assert entry.correlation_id == f"{number:016}"
            assert (entry.action, entry.kind) == (action, kind)
        everything = repr(await entries(here))
        changes = repr(await here.found(Change))
    for text in (WRONG, OTHER, "argon2", "password_hash", "digest", about["secret"]):
        assert text not in everything
        assert text not in changes
    assert "Status of you" in everything


@awaited
async def test_signing_in_and_failing_to_are_entries() -> None:
    """A failure names the account if there is one, and never what was typed instead of a name."""
    async with place() as here:
        ada = await here.person("ada")
        await here.accounts.sign_in("ada", PASSWORD, origin=HERE)
        with counted(instant=True):
            for username in ("ada", "hunter2 my password"):
                with pytest.raises(Unauthenticated):
                    await here.accounts.sign_in(username, WRONG, origin=HERE)

        unknown, known, signed_in, *_ = await entries(here)

        assert (signed_in.action, signed_in.actor) == ("signed in", "ada")
        assert (signed_in.subject, signed_in.address) == (ada.id, HERE.address)
        assert signed_in.correlation_id == HERE.correlation_id
        assert (known.action, known.subject, known.actor) == ("failed to sign in", "ada", "")
        assert (known.address, known.correlation_id) == (HERE.address, HERE.correlation_id)
        assert (unknown.action, unknown.subject) == ("failed to sign in", "")
        assert "hunter2" not in repr(await entries(here))
        assert "hunter2" not in repr(await here.found(FailedSignIn))


@awaited
async def test_an_entry_has_the_id_that_the_log_of_the_server_has(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Over the API and for forms, for changes and for failures."""
    caplog.set_level(logging.INFO, "statusthing.request")
    async with site() as here:
        await here.person("ada")
        token = (await here.st.tokens.add(name="ci", role=Role.ADMIN)).secret
        async with here.client() as client:
            await client.rpc("ItemsService/AddItem", token, name="api")
            await client.sign_in("ada", WRONG)
            await client.sign_in("ada", PASSWORD)
        signed_in, failed, added, *_ = await entries(here)

    logged = {
        record.__dict__["correlation_id"]: record.getMessage()
        for record in caplog.records
        if record.name == "statusthing.request"
    }
    assert logged[added.correlation_id].startswith("POST /statusthing.v1.ItemsService/AddItem")
    assert logged[failed.correlation_id] == "POST /admin/login 401"
    assert logged[signed_in.correlation_id] == "POST /admin/login 303"
    assert {entry.address for entry in (added, failed, signed_in)} == {"192.0.2.1"}


@awaited
async def test_nothing_secret_is_logged_by_a_server(caplog: pytest.LogCaptureFixture) -> None:
    """No password, token, cookie or name that no account has, in no line, at no level."""
    caplog.set_level(logging.DEBUG)
    async with site() as here:
        await here.person("ada")
        token = (await here.st.tokens.add(name="ci", role=Role.ADMIN)).secret
        async with here.client() as client:
            await client.rpc("UsersService/WhoAmI", token)
            await client.rpc("UsersService/WhoAmI", token[:-1] + "?")
            await client.rpc(
                "UsersService/AddUser", token, username="eve", password="", role="ROLE_VIEWER"
            )
            await client.sign_in("ada", WRONG)
            await client.sign_in("typed into the wrong field", WRONG)
            await client.sign_in("ada", PASSWORD, next="/?secret-query")
            cookie = client.cookies[COOKIE]
            await client.get("/admin?secret-query")
        trail = repr(await entries(here)) + repr(await here.found(KeptAnswer))
    logged = repr([record.__dict__ for record in caplog.records if record.name != "httpx"])
    for text in (token, token[3:20], cookie, PASSWORD, WRONG, "wrong field", "secret-query"):
        assert text not in logged
        assert text not in trail


@awaited
async def test_failed_attempts_are_kept_for_thirty_days_and_ten_thousand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The oldest make room; what is asked for is bounded here to a number that tests can make."""
    assert (timedelta(days=30), 10_000) == (throttle.KEPT_FOR, throttle.MOST_KEPT)
    monkeypatch.setattr(throttle, "MOST_KEPT", 20)
    async with place() as here:
        with counted(instant=True):
            for number in range(25):
                origin = Origin(address=f"192.0.2.{number}")
                with pytest.raises(Unauthenticated):
                    await here.accounts.sign_in(f"name {number}", WRONG, origin=origin)

        kept = await here.found(FailedSignIn)

        assert [each.address for each in kept] == [f"192.0.2.{n}" for n in range(5, 25)]
        assert {each.expires - here.clock() for each in kept} == {timedelta(days=30)}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
@awaited
async def test_pages_lose_and_repeat_nothing(size: int) -> None:
    """Changes, several of one revision among them, and attempts of the same instants, mixed."""
    async with place() as here:
        await here.person("ada")
        for number in range(6):
            await here.st.items.add(
                name=f"item {number}",
                initial_status=m.StatusInput(name=f"status {number}", kind=1),
                initial_note_text="Looking into it.",
            )
            with counted(instant=True):
                for _ in range(number % 3):
                    with pytest.raises(Unauthenticated):
                        await here.accounts.sign_in("eve", WRONG, origin=HERE)
            if number % 2:
                here.clock.pass_by(seconds=1)
        changes = await here.found(Change)
        attempts = await here.found(FailedSignIn)

        found = await entries(here, size)

        expected = [f"{change.revision}.{change.seq}" for change in changes]
        ids = [entry.id for entry in found]
        assert sorted(ids) == sorted([*expected, *(attempt.id for attempt in attempts)])
        times = [entry.time for entry in found if entry.time]
        assert times == sorted(times, reverse=True)
        assert [id for id in ids if "." in id and id in expected] == expected[::-1]


@awaited
async def test_pages_do_not_mind_what_comes_meanwhile() -> None:
    """New entries are on a new first page, and shift none that are read on."""
    async with place() as here:
        for number in range(6):
            await here.st.items.add(name=f"item {number}")
        page = await here.st.audit.list(page_size=2)
        expected = [entry.id for entry in await entries(here)]
        for number in range(3):
            await here.st.items.add(name=f"new {number}")
            with counted(instant=True), pytest.raises(Unauthenticated):
                await here.accounts.sign_in("eve", WRONG, origin=HERE)
        ids = [entry.id for entry in page]
        while page.next_page_token:
            page = await here.st.audit.list(page_size=2, page_token=page.next_page_token)
            ids += [entry.id for entry in page if entry.action != "failed to sign in"]

        assert ids == expected


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "bnVsbA==",
        "W1tdLFtdXQ==",
        "W1stMSwwXSxudWxsXQ==",
        "W251bGwsWzk5OTk5OTk5OTk5OTk5OTk5OTksImEiXV0=",
        "\ud800",
    ],
)
@awaited
async def test_a_page_token_of_nobody_is_refused(token: str) -> None:
    """It is invalid, and no error of the server."""
    async with place() as here:
        with pytest.raises(InvalidArgument, match="page_token"):
            await here.st.audit.list(page_token=token)


@awaited
async def test_only_an_admin_reads_the_trail() -> None:
    """An editor is refused."""
    async with place() as here:
        eve = await here.person("eve", Role.EDITOR)
        with pytest.raises(PermissionDenied):
            await here.st.audit.list(principal=principal_of(eve))


@awaited
async def test_what_strangers_do_moves_no_revision_and_no_etag() -> None:
    """Failed attempts, bad tokens, reads and forms: history and caches are where they were."""
    async with site(defaults=True) as here:
        await here.person("ada")
        link = await here.st.setup_link()
        assert link is None
        await here.st.items.add(name="api")
        before = await here.revisions()
        message = json.dumps({})
        query = {"message": message, "encoding": "json", "connect": "v1"}
        listing = "/statusthing.v1.ItemsService/ListItems"
        async with here.client() as client:

            async def tags() -> list[str]:
                answers = [
                    await client.get("/"),
                    await client.get("/status.json"),
                    await client.get(listing, params=query),
                ]
                return [
                    answer.headers["etag"] + answer.headers.get("statusthing-revision", "")
                    for answer in answers
                ]

            first = await tags()
            with counted(instant=True):
                for number in range(15):
                    await client.sign_in("ada", f"{WRONG} {number}")
                    await client.rpc("UsersService/WhoAmI", f"st_{number}")
                    await client.rpc("ItemsService/AddItem", name="mine")
                    await client.get("/setup", params={"token": f"{number}"})
                    await client.post("/setup", data={"token": "x"}, headers=SAME)
                    await client.post("/admin/logout", headers=SAME)
                    await client.get("/nothing")
                    await client.get("/readyz")
                    client.cookies.set(COOKIE, f"planted {number}")
                    await client.get("/admin")
                    client.cookies.clear()
                    here.clock.pass_by(minutes=2)

            assert await tags() == first
            assert await here.revisions() == before
            assert len(await here.found(FailedSignIn)) == 15
            assert await here.found(Throttle) != []
            assert await here.found(Session) + await here.found(TokenUse) == []


@awaited
async def test_signing_in_moves_nothing_that_is_public() -> None:
    """It is history, but not of what visitors see; the same goes for users and tokens."""
    async with site(defaults=True) as here:
        await here.person("ada")
        _, public = await here.revisions()
        async with here.client() as client:
            etag = (await client.get("/")).headers["etag"]
            assert (await client.sign_in("ada", PASSWORD)).status_code == 303
            client.cookies.clear()
            await here.st.tokens.add(name="ci", role=Role.VIEWER)

            head, still = await here.revisions()
            assert (head > public, still) == (True, public)
            assert (await client.get("/")).headers["etag"] == etag
