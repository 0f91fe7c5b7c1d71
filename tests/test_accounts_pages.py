"""The pages to sign in, to sign out and to make the first admin, and what keeps them safe."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.markup import html_errors
from tests.visitor import HTTP, HTTPS, PASSWORD, awaited, place

from statusthing import Role, setup_file
from statusthing.memory import MemoryStore
from statusthing.web.settings import PageSettings

COOKIE = "statusthing_session"
WRONG = "hunter22222"
SHORT = "hunter2"

SECONDS = 10.0  # the bound of everything that is waited for


@pytest.mark.parametrize(
    ("base", "prefix", "name", "attributes"),
    [
        (HTTP, "", COOKIE, {"path=/", "httponly", "samesite=lax", "max-age=604800"}),
        (HTTP, "/x/y", COOKIE, {"path=/x/y", "httponly", "samesite=lax", "max-age=604800"}),
        (HTTP, "/état", COOKIE, {"path=/%c3%a9tat", "httponly", "samesite=lax", "max-age=604800"}),
        (
            HTTPS,
            "/x/y",
            f"__Host-{COOKIE}",
            {"path=/", "httponly", "samesite=lax", "max-age=604800", "secure"},
        ),
    ],
)
@awaited
async def test_the_cookie_goes_no_further_than_it_must(
    base: str, prefix: str, name: str, attributes: set[str]
) -> None:
    """No script reads it, no other site sends it, and over TLS no other host can set it."""
    async with place(prefix) as here, here.visitor(base=base) as ada:
        await here.add("ada")

        answer = await ada.post("/admin/login", username="ada", password=PASSWORD)

        first, *others = answer.headers["set-cookie"].split("; ")
        assert answer.status_code == 303
        assert first.partition("=")[0] == name
        assert {each.lower() for each in others} == attributes
        assert answer.headers["location"] == f"{quote(prefix)}/admin"
        assert answer.headers["cache-control"] == "no-store"
        assert (await ada.get("/admin")).status_code == 200


@awaited
async def test_signing_out_ends_the_session_and_takes_the_cookie() -> None:
    """The secret is of no use to anybody who kept it."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        secret = ada.cookies[COOKIE]

        answer = await ada.post("/admin/logout")

        assert (answer.status_code, answer.headers["location"]) == (303, "/admin/login")
        assert "max-age=0" in answer.headers["set-cookie"].lower()
        ada.http.cookies.set(COOKIE, secret)
        assert (await ada.get("/admin")).status_code == 303


@awaited
async def test_signing_in_takes_a_new_session_and_ends_the_old_one() -> None:
    """A session that somebody planted in a browser never becomes one of its owner."""
    async with place() as here, here.signed_in(await here.add("eve")) as browser:
        planted = browser.cookies[COOKIE]
        await here.add("ada")

        await browser.post("/admin/login", username="ada", password=PASSWORD)

        now = browser.cookies[COOKIE]
        assert now != planted
        browser.http.cookies.clear()
        browser.http.cookies.set(COOKIE, planted)
        assert (await browser.get("/admin")).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": HTTP},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"{HTTP}.evil.example"},
        {},
    ],
)
@pytest.mark.parametrize("path", ["/admin/logout", "/admin/login", "/setup"])
@awaited
async def test_a_form_of_another_site_does_nothing(path: str, headers: dict[str, str]) -> None:
    """Whatever a page elsewhere has a browser send, the session goes on."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        await here.add("eve")

        answer = await ada.http.post(
            path, data={"username": "eve", "password": PASSWORD}, headers=headers
        )

        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
        assert "ada" in (await ada.get("/admin/profile")).text


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@awaited
async def test_pages_know_no_other_methods(method: str) -> None:
    """A form is sent with POST, and a page comes with GET or HEAD."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        answer = await ada.http.request(method, "/admin/logout", headers={"origin": HTTP})

        assert answer.status_code in {404, 405}
        assert (await ada.get("/admin")).status_code == 200


@pytest.mark.parametrize("prefix", ["", "/x/y"])
@pytest.mark.parametrize(
    ("following", "location"),
    [
        ("{}/admin?page=2", "{}/admin?page=2"),
        ("{}/items/caf%C3%A9", "{}/items/caf%C3%A9"),
        ("", "{}/admin"),
        ("//evil.example", "{}/admin"),
        ("/\\evil.example", "{}/admin"),
        ("{}/\\evil.example", "{}/admin"),
        ("\\\\evil.example", "{}/admin"),
        ("https://evil.example/", "{}/admin"),
        ("https:{}/admin", "{}/admin"),
        ("javascript:alert(1)", "{}/admin"),
        (" {}/admin", "{}/admin"),
        ("{}/a\r\nset-cookie: a=b", "{}/admin"),
        ("{}/a\tb", "{}/admin"),
        ("///evil.example", "{}/admin"),
    ],
)
@awaited
async def test_signing_in_leads_on_to_own_pages_only(
    following: str, location: str, prefix: str
) -> None:
    """The page that somebody wanted comes next, and never one of another site."""
    async with place(prefix) as here, here.visitor() as ada:
        await here.add("ada")

        answer = await ada.post(
            "/admin/login",
            username="ada",
            password=PASSWORD,
            next=following.format(prefix),
        )
        again = await ada.get("/admin/login", next=following.format(prefix))

        assert answer.headers["location"] == location.format(prefix)
        assert again.headers["location"] == location.format(prefix)


@pytest.mark.parametrize("prefix", ["", "/x/y", "/état"])
@awaited
async def test_who_is_anonymous_comes_back_after_signing_in(prefix: str) -> None:
    """The page they asked for is named, with its query, however its address is spelled."""
    async with place(prefix, access="private") as here, here.visitor() as ada:
        await here.add("ada")
        refused = await ada.get("/items/caf%C3%A9", before="1&2")

        form = await ada.http.get(refused.headers["location"])
        field = form.text.partition('name="next" value="')[2].partition('"')[0]

        assert refused.status_code == 303
        assert field == f"{quote(prefix)}/items/caf%C3%A9?before=1%262"


@awaited
async def test_a_wrong_password_is_told_in_the_form() -> None:
    """The name is kept, the password is not, and why it failed is not said."""
    async with place() as here, here.visitor() as ada:
        await here.add("ada")

        wrong = await ada.post("/admin/login", username="ada", password=WRONG)
        nobody = await ada.post("/admin/login", username="bob", password=WRONG)

        assert (wrong.status_code, nobody.status_code) == (401, 401)
        assert "The username or the password is wrong." in wrong.text
        assert 'value="ada"' in wrong.text
        assert WRONG not in wrong.text
        assert wrong.text.replace("ada", "bob") == nobody.text
        assert not ada.cookies


@awaited
async def test_too_many_failures_are_told_in_the_form() -> None:
    """With 429, and how long to wait: in minutes for people, in seconds for programs."""
    async with place() as here, here.visitor() as eve:
        for _ in range(10):
            await eve.post("/admin/login", username="ada", password=WRONG)

        answer = await eve.post("/admin/login", username="ada", password=WRONG)
        here.pass_by(minutes=14, seconds=1)
        later = await eve.post("/admin/login", username="ada", password=WRONG)

        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "900"
        assert "Too many attempts failed, try again in 15 minutes." in answer.text
        assert later.headers["retry-after"] == "59"
        assert "Too many attempts failed, try again in 1 minute." in later.text


@awaited
async def test_setup_makes_the_first_admin_and_signs_in(tmp_path: Path) -> None:
    """The link works until then, and the file that has it goes."""
    file = tmp_path / "link"
    async with place(setup_file=file) as here, here.visitor() as ada:
        link = await here.st.setup_link()
        assert link is not None
        token = link.partition("=")[2]
        setup_file.write(file, f"{HTTP}{link}")

        page = await ada.get("/setup", token=token)
        bad = await ada.post(
            "/setup", token=token, username="ada", email_address="", password=SHORT
        )
        done = await ada.post(
            "/setup", token=token, username="ada", email_address="", password=PASSWORD
        )

        assert (page.status_code, bad.status_code, done.status_code) == (200, 400, 303)
        assert token in page.text
        assert SHORT not in bad.text
        assert 'value="ada"' in bad.text
        assert not file.exists()
        assert "ada" in (await ada.get("/admin/profile")).text
        assert (await ada.get("/setup", token=token)).status_code == 404


@pytest.mark.parametrize(
    ("wrong", "focused"),
    [
        ({}, "username"),
        ({"username": ""}, "username"),
        ({"email_address": "x"}, "email_address"),
        ({"password": SHORT}, "password"),
    ],
)
@awaited
async def test_what_is_wrong_has_the_focus(wrong: dict[str, str], focused: str) -> None:
    """Only that; when nothing is wrong yet, it is the first field."""
    async with place() as here, here.visitor() as ada:
        link = await here.st.setup_link()
        assert link is not None
        token = link.partition("=")[2]
        fields = {"username": "ada", "email_address": "", "password": PASSWORD, **wrong}

        page = await (
            ada.post("/setup", token=token, **fields) if wrong else ada.get("/setup", token=token)
        )

        assert re.findall(r'<input id="(\w+)"[^>]* autofocus', page.text) == [focused]
        assert html_errors(page.text) == []


@pytest.mark.parametrize("token", ["", "wrong"])
@awaited
async def test_setup_without_a_link_shows_no_form(token: str) -> None:
    """What a page says is how one gets a link."""
    async with place() as here, here.visitor() as eve:
        await here.st.setup_link()

        page = await eve.get("/setup", token=token)
        sent = await eve.post("/setup", token=token, username="eve", password=PASSWORD)

        assert (page.status_code, sent.status_code) == (403, 403)
        assert "<input" not in page.text + sent.text
        assert "when it starts again" in page.text


@pytest.mark.parametrize("base", [HTTP, HTTPS])
@pytest.mark.parametrize("path", ["/admin", "/admin/login", "/setup", "/nowhere"])
@awaited
async def test_nobody_keeps_or_frames_these_pages(path: str, base: str) -> None:
    """Neither a cache nor another site has a use for them, and errors are no exception."""
    async with place() as here, here.signed_in(await here.add("ada"), base=base) as ada:
        headers = (await ada.get(path)).headers

        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert ("strict-transport-security" in headers) is (base == HTTPS)
        if "content-type" in headers:
            policy = headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; ")
            assert "frame-ancestors 'none'" in policy
            assert "form-action 'self'" in policy
            assert "unsafe" not in policy


@awaited
async def test_settings_are_for_those_who_may_see_the_page() -> None:
    """With private access, what a stranger gets has the defaults; who signs in sees the rest."""
    defaults = PageSettings(title="The default title")
    async with place(access="private", settings=defaults) as here, here.visitor() as eve:
        await here.st.settings.update(
            title="canary-title",
            description="canary-description",
            logo_url="/canary.svg",
            accent_color="#c0ffee",
            links="canary https://canary.example",
            footer="canary-footer",
        )
        async with here.signed_in(await here.add("ada", Role.VIEWER)) as ada:
            assert "canary-title" in (await ada.get("/admin")).text

        for path in ("/", "/admin", "/admin/login", "/setup", "/nowhere", "/status.json"):
            answer = await eve.get(path)
            told = f"{answer.headers} {answer.text}".lower()
            assert "canary" not in told
            assert "c0ffee" not in told
            assert answer.headers["x-robots-tag"] == "noindex"
        assert "The default title" in (await eve.get("/admin/login")).text


@awaited
async def test_pages_of_their_own_have_the_settings_at_once() -> None:
    """Although nobody has looked at the public page yet."""
    async with place() as here, here.signed_in(await here.add("ada")) as ada:
        await here.st.settings.update(title="First title")
        first = await ada.get("/admin")
        await here.st.settings.update(title="Second title")
        second = await ada.get("/admin")

        assert "First title" in first.text
        assert "Second title" in second.text


class Watched(MemoryStore):
    """Tells when somebody begins to wait for something new."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = asyncio.Event()

    async def wait(self, after: int) -> int:
        """Wait, as before."""
        self.waiting.set()
        return await super().wait(after)


@pytest.mark.parametrize("turns", range(6))
@awaited
async def test_the_end_does_not_wait_for_what_was_just_written(turns: int) -> None:
    """However soon after a write the application is closed, it ends."""
    store = Watched()
    async with (
        asyncio.timeout(SECONDS),
        place(store=store) as here,
        here.visitor() as ada,
    ):
        await ada.get("/")
        await store.waiting.wait()
        await here.st.settings.update(title="The newest")
        for _ in range(turns):
            await asyncio.sleep(0)  # lets the event loop go round once


@pytest.mark.parametrize(
    ("base", "status"),
    [
        ("http://127.0.0.1:9000", 303),
        ("http://localhost:9000", 303),
        ("http://[::1]:9000", 303),
        ("http://rebound.example:9000", 403),
        ("http://127.0.0.1.example:9000", 403),
    ],
)
@awaited
async def test_no_other_sites_page_signs_in_to_a_devmode(base: str, status: int) -> None:
    """Its name may lead to this machine, and everybody knows the password."""
    async with place(devmode=True) as here, here.visitor(base=base, origin=base) as browser:
        await here.st.setup.make_developer()

        answer = await browser.post("/admin/login", username="admin", password="password")

        assert answer.status_code == status
        assert ("set-cookie" in answer.headers) is (status == 303)
