"""The admin pages about users, tokens, settings and oneself, without a browser."""

from __future__ import annotations

import logging
import re
from typing import Any

import httpx
import pytest
from tests import accounts
from tests.markup import html_errors
from tests.visitor import HTTPS, PASSWORD, Place, Visitor, awaited, place

from statusthing import Principal, Role
from statusthing.web.browsers import browser
from statusthing.web.settings import PageSettings

COOKIE = "statusthing_session"
NEW = "staple, battery, horse"
WRONG = "hunter22222"
CALL = "/statusthing.v1.ItemsService/AddItem"

ADMIN_PAGES = [
    "/admin/users",
    "/admin/users/new",
    "/admin/users/{eve}/edit",
    "/admin/users/{eve}/delete",
    "/admin/tokens",
    "/admin/tokens/new",
    "/admin/tokens/{token}/revoke",
    "/admin/settings",
]
ADMIN_FORMS = [
    "/admin/users/new",
    "/admin/users/{eve}/edit",
    "/admin/users/{eve}/delete",
    "/admin/tokens/new",
    "/admin/tokens/{token}/revoke",
    "/admin/settings",
]
OWN_FORMS = ["/admin/profile", "/admin/profile/sessions", "/admin/profile/others"]


def hidden(page: httpx.Response, name: str) -> str:
    """Return what a hidden field of a page holds."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page.text)
    assert found is not None, name
    return found[1]


async def ids(here: Place) -> dict[str, str]:
    """Make another user and a token, and return their ids."""
    eve = await here.add("eve")
    token = await here.st.tokens.add(name="monitor", role=Role.EDITOR, principal=eve)
    return {"eve": eve.user_id, "token": token.token.id}


async def head(here: Place) -> int:
    """Return the store's head revision."""
    return await here.st.revision()


# Who may


@pytest.mark.parametrize("role", [Role.VIEWER, Role.EDITOR])
@awaited
async def test_pages_of_admins_are_for_admins(role: Role) -> None:
    """Others get 403, whatever they send, and nothing happens; nor is it in their navigation."""
    async with place() as here:
        known = await ids(here)
        async with here.signed_in(await here.add("bob", role)) as bob:
            before = await head(here)

            for path in ADMIN_PAGES:
                assert (await bob.get(path.format(**known))).status_code == 403, path
            for path in ADMIN_FORMS:
                assert (await bob.post(path.format(**known))).status_code == 403, path

            assert await head(here) == before
            profile = (await bob.get("/admin/profile")).text
            assert 'href="/admin/users"' not in profile
            assert 'href="/admin/tokens"' not in profile
            assert 'href="/admin/settings"' not in profile


@awaited
async def test_who_is_anonymous_is_sent_to_sign_in() -> None:
    """From a page with the way back, from a form with a page that says what to do."""
    async with place() as here, here.visitor() as nobody:
        known = await ids(here)
        before = await head(here)

        for path in [*ADMIN_PAGES, "/admin/profile"]:
            answer = await nobody.get(path.format(**known))
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/admin/login?next=%2Fadmin")
        for path in [*ADMIN_FORMS, *OWN_FORMS]:
            answer = await nobody.post(path.format(**known))
            assert answer.status_code == 401
            assert "Sign in to see this" in answer.text
        assert await head(here) == before


@pytest.mark.parametrize("path", [*ADMIN_FORMS, *OWN_FORMS])
@awaited
async def test_forms_of_other_sites_do_nothing(path: str) -> None:
    """Whoever is signed in."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        known = await ids(here)
        before = await head(here)
        for headers in ({}, {"sec-fetch-site": "cross-site"}, {"origin": "http://evil.example"}):
            answer = await ada.http.post(
                path.format(**known), data={"expected_version": "1"}, headers=headers
            )
            assert answer.status_code == 403

        assert await head(here) == before
        assert len(await here.st.accounts.sessions(await principal(ada, here))) == 1


async def principal(visitor: Visitor, here: Place) -> Principal:
    """Return whom a browser is signed in as."""
    return await here.st.accounts.by_session(visitor.cookies[COOKIE])


@awaited
async def test_every_page_is_valid_and_kept_by_nobody() -> None:
    """With what there is to see, and with hostile names in it."""
    async with place() as here, here.signed_in(await here.add("<i>ada</i>")) as ada:
        known = await ids(here)
        await here.st.tokens.add(name="<b onclick=x>", role=Role.VIEWER)

        for path in [*ADMIN_PAGES, "/admin/profile"]:
            answer = await ada.get(path.format(**known))
            assert answer.status_code == 200, path
            assert html_errors(answer.text) == [], path
            assert answer.headers["cache-control"] == "no-store"
            assert "<i>ada" not in answer.text
            assert "<b onclick" not in answer.text


# Users


@awaited
async def test_a_user_is_added() -> None:
    """With everything that was typed; and the log says by whom and from where."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        answer = await ada.post(
            "/admin/users/new",
            username="grace",
            password=PASSWORD,
            first_name="Grace",
            last_name="Hopper",
            email_address="grace@example.com",
            avatar_url="https://example.com/grace.png",
            role="editor",
        )

        assert (answer.status_code, answer.headers["location"]) == (
            303,
            "/admin/users?done=user-added",
        )
        page = (await ada.get("/admin/users", done="user-added")).text
        assert "The user was added." in page
        for text in ("grace", "Grace Hopper", "grace@example.com", "Editor", "GH", "never"):
            assert text in page
        assert "<img" not in page
        (entry, *_) = (await here.st.audit.list(page_size=1)).entries
        assert (entry.actor, entry.address, entry.kind) == ("ada", "192.0.2.1", "User")
        assert len(entry.correlation_id) == 16
        assert PASSWORD not in entry.after
        assert await here.st.accounts.sign_in("grace", PASSWORD)


@pytest.mark.parametrize(
    ("fields", "status", "told"),
    [
        ({"username": "ada"}, 409, "Username is taken already: choose another."),
        ({"username": ""}, 400, "Username is required and cannot be blank."),
        ({"password": "short"}, 400, "Password must have at least 8 characters."),
        ({"password": ""}, 400, "Password must have at least 8 characters."),
        ({"email_address": "nowhere"}, 400, "Email address must be an email address"),
        ({"avatar_url": "javascript:alert(1)"}, 400, "Picture must be a URL"),
        ({"role": "owner"}, 400, "Role is none of those that there are: choose one."),
        ({"role": ""}, 400, "Role is none of those that there are: choose one."),
    ],
)
@awaited
async def test_what_is_wrong_with_a_user_stands_beside_its_field(
    fields: dict[str, str], status: int, told: str
) -> None:
    """What was typed is kept, but never a password."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        typed = {"username": "grace", "password": WRONG, "first_name": "Grace", "role": "editor"}

        answer = await ada.post("/admin/users/new", **(typed | fields))

        assert answer.status_code == status
        assert told in answer.text
        assert 'value="Grace"' in answer.text
        assert WRONG not in answer.text
        assert html_errors(answer.text) == []
        assert len((await here.st.users.list()).users) == 1


@awaited
async def test_a_user_is_edited_and_keeps_their_password() -> None:
    """An empty password means the present one; a new one ends their sessions."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        grace = await here.add("grace", Role.EDITOR, first_name="Grace")
        await here.st.accounts.renew_session(grace)
        path = f"/admin/users/{grace.user_id}/edit"
        fields = {"username": "grace", "first_name": "", "role": "editor", "password": ""}

        answer = await ada.post(path, expected_version="1", **fields)

        assert answer.headers["location"] == "/admin/users?done=user-saved"
        assert (await here.st.users.get(grace.user_id)).first_name == ""
        assert len(await here.st.accounts.sessions(grace)) == 1
        await ada.post(path, expected_version="2", **(fields | {"password": NEW}))
        assert len(await here.st.accounts.sessions(grace)) == 0
        assert await here.st.accounts.sign_in("grace", NEW)


@awaited
async def test_a_user_is_disabled_and_enabled() -> None:
    """By the box in the form, which the list tells."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        grace = await here.add("grace", Role.EDITOR)
        path = f"/admin/users/{grace.user_id}/edit"
        fields = {"username": "grace", "role": "editor"}

        await ada.post(path, expected_version="1", disabled="yes", **fields)
        disabled = (await ada.get("/admin/users")).text
        box = re.search('<input type="checkbox"[^>]*>', (await ada.get(path)).text)
        await ada.post(path, expected_version="2", **fields)

        assert ">Disabled<" in disabled
        assert box is not None
        assert "checked" in box[0]
        assert not (await here.st.users.get(grace.user_id)).disabled


@awaited
async def test_a_stale_edit_of_a_user_says_what_changed() -> None:
    """And keeps what was typed; sent again it wins."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        grace = await here.add("grace", Role.EDITOR, first_name="Grace")
        path = f"/admin/users/{grace.user_id}/edit"
        page = await ada.get(path)
        was = {
            f"was.{field}": hidden(page, f"was.{field}")
            for field in ("username", "first_name", "last_name", "email_address", "avatar_url")
        }
        was |= {"was.role": "editor", "was.disabled": ""}
        await here.st.users.update(grace.user_id, first_name="Gracie")
        typed = {"username": "grace", "first_name": "Grace M.", "role": "viewer", **was}

        answer = await ada.post(path, expected_version="1", **typed)

        assert answer.status_code == 409
        assert "Somebody else saved this while you were editing it." in answer.text
        assert "Gracie" in answer.text
        assert 'value="Grace M."' in answer.text
        assert (await here.st.users.get(grace.user_id)).first_name == "Gracie"
        again = await ada.post(path, **(typed | {"expected_version": "2"}))
        assert again.status_code == 303
        assert (await here.st.users.get(grace.user_id)).first_name == "Grace M."


@pytest.mark.parametrize("change", [{"role": "viewer"}, {"role": "admin", "disabled": "yes"}])
@awaited
async def test_the_last_admin_stays_one(change: dict[str, str]) -> None:
    """The form says why, and what to do."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        own = await principal(ada, here)
        path = f"/admin/users/{own.user_id}"

        edited = await ada.post(f"{path}/edit", expected_version="1", username="ada", **change)
        deleted = await ada.post(f"{path}/delete", expected_version="1")

        for answer in (edited, deleted):
            assert answer.status_code == 409
            assert "is the last enabled admin: make another one first" in answer.text
        assert (await ada.get("/admin/users")).status_code == 200


@awaited
async def test_one_does_not_set_ones_own_password_without_the_present_one() -> None:
    """The form about oneself has no field for it, and leads to the one that asks."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        own = await principal(ada, here)

        page = (await ada.get(f"/admin/users/{own.user_id}/edit")).text

        assert 'type="password"' not in page
        assert 'href="/admin/profile"' in page


@awaited
async def test_deleting_a_user_says_what_goes_along() -> None:
    """Their tokens by name, and their sessions; then all of that is gone."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        known = await ids(here)
        path = f"/admin/users/{known['eve']}/delete"

        page = await ada.get(path)
        answer = await ada.post(path, expected_version=hidden(page, "expected_version"))

        assert "signed out everywhere" in page.text
        assert "monitor" in page.text
        assert answer.headers["location"] == "/admin/users?done=user-deleted"
        assert len((await here.st.tokens.list()).tokens) == 0
        assert (await ada.get(path)).status_code == 404
        assert (await ada.post(path, expected_version="1")).status_code == 404


@awaited
async def test_a_user_who_changed_is_not_deleted_unseen() -> None:
    """The question comes again."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        known = await ids(here)
        await here.st.users.update(known["eve"], first_name="Eve")

        answer = await ada.post(f"/admin/users/{known['eve']}/delete", expected_version="1")

        assert answer.status_code == 409
        assert "Somebody else changed it meanwhile" in answer.text
        assert hidden(answer, "expected_version") == "2"


@pytest.mark.parametrize("devmode", [True, False])
@awaited
async def test_the_account_for_development_is_told_apart(*, devmode: bool) -> None:
    """It is everybody's in a devmode, and dead outside of one."""
    async with place(devmode=devmode) as here, here.signed_in(await here.add("ada")) as ada:
        await here.st.setup.make_developer()

        page = (await ada.get("/admin/users")).text

        assert ("Development account, dead without --devmode" in page) is not devmode
        assert page.count("Development account") == 1


@awaited
async def test_many_users_come_page_by_page() -> None:
    """In the order they were added; an address that no page has is refused."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        people = accounts.Place(here.st, accounts.Clock())
        for number in range(70):
            await people.person(f"user {number}", Role.VIEWER)

        first = await ada.get("/admin/users")
        following = re.search(r'<a rel="next" href="([^"]+)"', first.text)
        assert following is not None
        second = await ada.http.get(following[1].replace("&amp;", "&"))

        assert first.text.count("<tr>") == 51
        assert second.text.count("<tr>") == 22
        assert 'rel="next"' not in second.text
        assert (await ada.get("/admin/users", after="nonsense")).status_code == 400


# Tokens


async def add_token(ada: Visitor, **fields: str) -> httpx.Response:
    """Send the form that adds a token."""
    return await ada.post(
        "/admin/tokens/new", **({"name": "monitor", "role": "editor", "expires": "90"} | fields)
    )


def secret_in(answer: httpx.Response) -> str:
    """Return the secret that a page shows."""
    found = re.search(r'value="(st_[0-9A-Za-z]{49})" readonly', answer.text)
    assert found is not None
    return found[1]


@awaited
async def test_a_secret_is_shown_once(caplog: pytest.LogCaptureFixture) -> None:
    """On the page that answers the form: not in an address, the log, or any page after that."""
    caplog.set_level(logging.DEBUG)
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        answer = await add_token(ada)

        secret = secret_in(answer)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert secret not in str(answer.headers)
        assert "Authorization: Bearer $TOKEN" in answer.text
        assert "curl http://status.example/statusthing.v1.ItemsService/ListItems" in answer.text
        for path in ("/admin/tokens", "/admin/changes", "/admin/users", "/admin/tokens/new"):
            assert secret not in (await ada.get(path)).text
        assert secret not in caplog.text
        called = await here.visitor_with(secret)
        assert called == 200


@pytest.mark.parametrize("lives", ["90", "never"])
@awaited
async def test_a_form_that_is_sent_twice_makes_one_token(lives: str) -> None:
    """The second page says so a moment later, and has no secret."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        request_id = hidden(await ada.get("/admin/tokens/new"), "request_id")

        first = await add_token(ada, expires=lives, request_id=request_id)
        here.pass_by(seconds=1)
        second = await add_token(ada, expires=lives, request_id=request_id)

        assert secret_in(first)
        assert second.status_code == 409
        assert "This form was sent before, and its token was added then." in second.text
        assert hidden(second, "request_id") != request_id
        assert html_errors(second.text) == []
        assert secret_in(first) not in second.text
        assert len((await here.st.tokens.list()).tokens) == 1


@pytest.mark.parametrize(
    ("lives", "days"), [("7", 7), ("30", 30), ("90", 90), ("365", 365), ("never", None)]
)
@awaited
async def test_a_token_ends_when_it_was_said(lives: str, days: int | None) -> None:
    """Then the list marks it, and it is refused."""
    async with place() as here:
        ada = await here.add("ada")
        async with here.signed_in(ada) as browser_of_ada:
            secret = secret_in(await add_token(browser_of_ada, expires=lives))
            (token,) = (await here.st.tokens.list()).tokens
            assert (token.expires and (token.expires - here.now).days) == days

        here.pass_by(days=(days or 1_000), seconds=1)
        async with here.signed_in(ada) as browser_of_ada:
            listed = (await browser_of_ada.get("/admin/tokens")).text
        assert (">expired<" in listed) is (days is not None)
        assert await here.visitor_with(secret) == (200 if days is None else 401)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"name": ""}, "Name is required and cannot be blank."),
        ({"role": "owner"}, "Role is none of those"),
        ({"expires": "1000000"}, "Expires is none of those"),
        ({"expires": ""}, "Expires is none of those"),
    ],
)
@awaited
async def test_what_is_wrong_with_a_token_stands_beside_its_field(
    fields: dict[str, str], told: str
) -> None:
    """And no token is made."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        answer = await add_token(ada, **fields)

        assert answer.status_code == 400
        assert told in answer.text
        assert len((await here.st.tokens.list()).tokens) == 0


@awaited
async def test_the_list_names_owners_and_uses() -> None:
    """Also of tokens that nobody owns, and of owners who are disabled."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        known = await ids(here)
        await here.st.tokens.add(name="of the command line", role=Role.VIEWER)
        await here.st.users.update(known["eve"], disabled=True)

        page = (await ada.get("/admin/tokens")).text

        assert re.search(r'data-label="Owner">eve <span class="tag bad">disabled<', page)
        assert re.search(r'data-label="Owner"><span class="soft">nobody<', page)
        assert page.count("never") == 4


@awaited
async def test_a_token_is_revoked_after_a_question() -> None:
    """It is dead at once; a second time there is none."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        secret = secret_in(await add_token(ada))
        (token,) = (await here.st.tokens.list()).tokens
        path = f"/admin/tokens/{token.id}/revoke"

        asked = await ada.get(path)
        alive = await here.visitor_with(secret)
        answer = await ada.post(path)

        assert "Revoke the token “monitor”?" in asked.text
        assert alive == 200
        assert answer.headers["location"] == "/admin/tokens?done=token-revoked"
        assert await here.visitor_with(secret) == 401
        assert (await ada.post(path)).status_code == 404


@awaited
async def test_a_host_name_that_is_none_is_not_repeated() -> None:
    """What a request says about the host goes into a command that somebody copies."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        ada.http.headers["host"] = "status.example; rm -rf $HOME"

        answer = await add_token(ada)

        assert "rm -rf" not in answer.text
        assert "curl http://localhost/" in answer.text


# Oneself


async def change(who: Visitor, current: str, new: str) -> httpx.Response:
    """Send the form that changes a password."""
    return await who.post("/admin/profile", current_password=current, new_password=new)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ADMIN])
@awaited
async def test_a_new_password_keeps_this_browser_and_ends_the_others(role: Role) -> None:
    """With a new session: whoever had the old secret has nothing."""
    async with place() as here:
        ada = await here.add("ada", role)
        async with here.signed_in(ada) as this, here.signed_in(ada) as other:
            old = this.cookies[COOKIE]

            answer = await change(this, PASSWORD, NEW)

            assert answer.status_code == 303
            assert answer.headers["location"] == "/admin/profile?done=password-changed"
            assert "httponly" in answer.headers["set-cookie"].lower()
            assert this.cookies[COOKIE] != old
            assert (await this.get("/admin/profile")).status_code == 200
            assert (await other.get("/admin/profile")).status_code == 303
            other.http.cookies.set(COOKIE, old, "status.example", "/")
            assert (await other.get("/admin/profile")).status_code == 303
            assert await here.st.accounts.sign_in("ada", NEW)
            (entry, *_) = (await here.st.audit.list(page_size=2)).entries[1:]
            assert (entry.actor, entry.kind, entry.address) == ("ada", "User", "192.0.2.1")


@awaited
async def test_a_new_password_keeps_the_cookie_under_tls() -> None:
    """With the name that it has there."""
    async with place("/x/y") as here, here.signed_in(await here.add("ada"), base=HTTPS) as ada:
        answer = await change(ada, PASSWORD, NEW)

        assert answer.headers["location"] == "/x/y/admin/profile?done=password-changed"
        assert answer.headers["set-cookie"].startswith(f"__Host-{COOKIE}=")
        assert (await ada.get("/admin/profile")).status_code == 200


@pytest.mark.parametrize(
    ("current", "new", "told"),
    [
        (WRONG, NEW, "Current password is wrong."),
        ("", NEW, "Current password is required."),
        (PASSWORD, "short", "New password must have at least 8 characters."),
        (PASSWORD, "password1", "New password is one of the most common passwords"),
    ],
)
@awaited
async def test_what_is_wrong_with_a_password_stands_beside_its_field(
    current: str, new: str, told: str
) -> None:
    """Nothing of it is shown again, the old one still holds, and nobody is signed out."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        answer = await change(ada, current, new)

        assert answer.status_code == 400
        assert told in answer.text
        assert NEW not in answer.text
        assert PASSWORD not in answer.text
        assert WRONG not in answer.text
        assert (await ada.get("/admin/profile")).status_code == 200
        assert await here.st.accounts.sign_in("ada", PASSWORD)


@awaited
async def test_guessing_the_present_password_is_throttled() -> None:
    """With 429, although somebody is signed in."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        for _ in range(10):
            await change(ada, WRONG, NEW)

        answer = await change(ada, PASSWORD, NEW)

        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "900"
        assert "Too many attempts failed, try again in 15 minutes." in answer.text


@awaited
async def test_the_sessions_are_listed_and_this_one_is_marked() -> None:
    """With where they began and what the browser is; those of others are not there."""
    async with place() as here:
        ada = await here.add("ada")
        await here.st.accounts.renew_session(
            ada, user_agent="Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
        )
        await here.st.accounts.renew_session(await here.add("eve"), user_agent="Other/1")
        async with here.signed_in(ada) as this:
            page = (await this.get("/admin/profile")).text

            assert page.count(">this browser<") == 1
            assert "Firefox on Linux" in page
            assert "Fox/1" in page
            assert "Other/1" not in page
            assert this.cookies[COOKIE] not in page


@awaited
async def test_a_session_is_ended_from_another_browser() -> None:
    """One by one, or all the others; and never somebody else's."""
    async with place() as here:
        ada, eve = await here.add("ada"), await here.add("eve")
        async with (
            here.signed_in(ada) as this,
            here.signed_in(ada) as other,
            here.signed_in(ada) as third,
            here.signed_in(eve) as foreign,
        ):
            of_other = (await principal(other, here)).session_id
            of_eve = (await principal(foreign, here)).session_id

            one = await this.post("/admin/profile/sessions", session=of_other)
            await this.post("/admin/profile/sessions", session=of_eve)

            assert one.headers["location"] == "/admin/profile?done=session-ended"
            assert (await other.get("/admin/profile")).status_code == 303
            assert (await third.get("/admin/profile")).status_code == 200
            assert (await foreign.get("/admin/profile")).status_code == 200
            all_others = await this.post("/admin/profile/others")
            assert all_others.headers["location"] == "/admin/profile?done=sessions-ended"
            assert (await third.get("/admin/profile")).status_code == 303
            assert (await this.get("/admin/profile")).status_code == 200
            assert (await foreign.get("/admin/profile")).status_code == 200


@awaited
async def test_a_token_has_no_profile() -> None:
    """It neither ends the sessions of its owner, nor makes one, whatever it knows."""
    async with place() as here:
        ada = await here.add("ada")
        secret = (await here.st.tokens.add(name="t", role=Role.ADMIN, principal=ada)).secret
        async with (
            here.signed_in(ada) as person,
            here.visitor(authorization=f"Bearer {secret}") as program,
        ):
            page = await program.get("/admin/profile")
            answers = [await program.post(path) for path in OWN_FORMS]
            answers.append(await change(program, PASSWORD, NEW))

            assert "There is nothing to change here" in page.text
            assert {answer.status_code for answer in answers} == {403}
            assert not any("set-cookie" in answer.headers for answer in answers)
            assert (await person.get("/admin/profile")).status_code == 200


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/140.0 Safari/537.36",
            "Chrome on Windows",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36 Edg/140.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1",
            "Safari on iPhone",
        ),
        ("Mozilla/5.0 (Linux; Android 15) Chrome/140.0 Mobile Safari/537.36", "Chrome on Android"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 15) Firefox/140.0", "Firefox on macOS"),
        ("curl/8.0", "curl/8.0"),
        ("", "Unknown browser"),
        ("x" * 100, "x" * 60),
    ],
)
def test_a_browser_is_called_what_its_user_calls_it(user_agent: str, name: str) -> None:
    """Although most claim to be several others."""
    assert browser(user_agent) == name


# Settings


@awaited
async def test_settings_show_at_once() -> None:
    """On the public page of the next visitor, and the log says who made them."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada, here.visitor() as eve:
        before = await eve.get("/")

        answer = await ada.post(
            "/admin/settings",
            expected_version="0",
            title="Example status",
            description="All about the example",
            logo_url="/logo.svg",
            accent_color="#b0185a",
            links="Help https://example.com/help",
            footer="Example Ltd",
        )

        after = await eve.get("/")
        assert answer.headers["location"] == "/admin/settings?done=settings-saved"
        for text in (
            "Example status",
            "All about the example",
            'src="/logo.svg"',
            "accent=b0185a",
            'href="https://example.com/help"',
            "Example Ltd",
        ):
            assert text in after.text
            assert text not in before.text
        (entry, *_) = (await here.st.audit.list(page_size=1)).entries
        assert (entry.actor, entry.kind, entry.address) == ("ada", "Settings", "192.0.2.1")


@awaited
async def test_an_empty_setting_means_its_default() -> None:
    """The page says so, and shows it where nothing was typed."""
    defaults = PageSettings(title="The default", accent_color="#123456")
    async with (
        place(settings=defaults) as here,
        here.signed_in(await here.add("ada")) as ada,
    ):
        fresh = (await ada.get("/admin/settings")).text
        await ada.post("/admin/settings", expected_version="0", title="Another")
        named = (await ada.get("/")).text
        await ada.post("/admin/settings", expected_version="1", title="")
        unnamed = (await ada.get("/")).text

        assert 'placeholder="The default"' in fresh
        assert 'placeholder="#123456"' in fresh
        assert "Another" in named
        assert "The default" in unnamed
        assert "accent=123456" in unnamed


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"title": "x" * 201}, "Title has 201 characters; 200 are allowed."),
        ({"logo_url": "https://elsewhere.example/x.png"}, "Logo must be a path on this site"),
        ({"logo_url": "//elsewhere.example/x.png"}, "Logo must be a path on this site"),
        ({"logo_url": "javascript:alert(1)"}, "Logo must be a path on this site"),
        ({"logo_url": "data:text/html,x"}, "Logo must be a path on this site"),
        ({"logo_url": "data:image/svg+xml,<svg x='1'/>"}, "URL, without spaces: in base64"),
        ({"accent_color": "reddish"}, "Accent colour must be #rgb, #rrggbb or"),
        ({"accent_color": "red;}"}, "Accent colour must be #rgb, #rrggbb or"),
        ({"links": "Help javascript:alert(1)"}, "Links must have a label and a URL on line 1"),
    ],
)
@awaited
async def test_what_is_wrong_with_a_setting_stands_beside_its_field(
    fields: dict[str, str], told: str
) -> None:
    """What was typed is kept, and nothing is saved."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        answer = await ada.post(
            "/admin/settings", expected_version="0", **({"footer": "Typed"} | fields)
        )

        assert answer.status_code == 400
        assert told in answer.text
        assert 'value="Typed"' in answer.text
        assert html_errors(answer.text) == []
        assert (await here.st.settings.get()).version == 0


@pytest.mark.parametrize("version", [0, 1])
@awaited
async def test_a_stale_edit_of_settings_says_what_changed(version: int) -> None:
    """Even if there were none when the form was opened."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        if version:
            await here.st.settings.update(title="Old")
        page = await ada.get("/admin/settings")
        was = {f"was.{each}": hidden(page, f"was.{each}") for each in ("title", "footer")}
        await here.st.settings.update(title="Theirs")

        answer = await ada.post(
            "/admin/settings",
            title="Yours",
            footer="Typed",
            expected_version=hidden(page, "expected_version"),
            **was,
        )

        assert answer.status_code == 409
        assert "Theirs" in answer.text
        assert 'value="Yours"' in answer.text
        assert 'value="Typed"' in answer.text
        assert (await here.st.settings.get()).title == "Theirs"


@awaited
async def test_a_large_logo_can_be_saved_twice() -> None:
    """The form carries the old one along."""
    logo = "data:image/png;base64," + "A+/9" * 24_000
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        first = await ada.post("/admin/settings", expected_version="0", logo_url=logo)
        fields = {"logo_url": logo, "was.logo_url": logo, "title": "x"}
        second = await ada.post("/admin/settings", expected_version="1", **fields)

        assert (first.status_code, second.status_code) == (303, 303)


@awaited
async def test_a_form_that_is_too_large_is_told() -> None:
    """With what went wrong, and not with a traceback."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        answer = await ada.post("/admin/settings", logo_url="x" * 600_000)

        assert answer.status_code == 400
        assert "This form cannot be read" in answer.text
        assert "larger than 524288 bytes" in answer.text


# The login of a host


@pytest.mark.parametrize("prefix", ["", "/x/y"])
@awaited
async def test_the_pages_work_under_the_login_of_a_host(prefix: str) -> None:
    """There is nothing to sign in to or out of, and the rest is the host's admin's."""

    async def identify(_: Any) -> Principal | None:
        return Principal(name="grace of the host", role=Role.ADMIN)

    async with place(prefix, identify=identify) as here, here.visitor() as grace:
        await here.add("ada")
        for path in ("/admin/login", "/setup"):
            assert (await grace.get(path)).status_code == 404
            assert (await grace.post(path)).status_code == 404
        assert (await grace.post("/admin/logout")).status_code == 404

        for path in ("/admin", "/admin/users", "/admin/tokens", "/admin/settings"):
            page = await grace.get(path)
            assert page.status_code == 200, path
            assert "Sign out" not in page.text
            assert f'href="{prefix}/admin/users"' in page.text
        profile = await grace.get("/admin/profile")
        saved = await grace.post("/admin/settings", expected_version="0", title="Hosted")
        added = await add_token(grace)

        assert "There is nothing to change here" in profile.text
        assert "<form" not in profile.text
        assert {(await grace.post(path)).status_code for path in OWN_FORMS} == {403}
        assert saved.headers["location"] == f"{prefix}/admin/settings?done=settings-saved"
        assert "Hosted" in (await grace.get("/")).text
        assert await here.visitor_with(secret_in(added)) == 200
        assert f"http://status.example{prefix}/statusthing.v1" in added.text


@pytest.mark.parametrize(("role", "status"), [(None, 401), (Role.VIEWER, 403)])
@awaited
async def test_a_host_lets_nobody_else_in(role: Role | None, status: int) -> None:
    """Nobody is sent to a page to sign in that is not there."""

    async def identify(_: Any) -> Principal | None:
        return None if role is None else Principal(name="bob", role=role)

    async with place(identify=identify) as here, here.visitor() as bob:
        page = await bob.get("/admin/users")
        assert page.status_code == status
        at_host = "Sign in at the application that this is part of, then open it again."
        assert (at_host in page.text) is (status == 401)
        assert "typed" not in page.text
        answer = await bob.post("/admin/users/new", username="x", password=PASSWORD, role="admin")
        assert answer.status_code == status
        at_host = "sign in at the application that this is part of in another tab"
        assert (at_host in answer.text) is (status == 401)
        assert "/admin/login" not in page.text + answer.text
