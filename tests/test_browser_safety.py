"""What keeps browsers safe: headers of every answer, cookies, and where a sign-in leads."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.accounts import PASSWORD, awaited, counted
from tests.sites import COOKIE, HTML, SAME, Answer, ask, site, unsafe
from tests.test_setup import Away

from statusthing import build_app
from statusthing.access import Role
from statusthing.errors import UserMistake
from statusthing.memory import MemoryStore
from statusthing.service import throttle
from statusthing.store import Transaction
from statusthing.web.accounts import own_path

FORM = {"content-type": "application/x-www-form-urlencoded", **SAME}
LIST = "/statusthing.v1.ItemsService/ListItems"
JSON = {"content-type": "application/json"}


def good(**more: str) -> bytes:
    """Return the form that signs Ada in."""
    return str(httpx.QueryParams({"username": "ada", "password": PASSWORD, **more})).encode()


@pytest.mark.parametrize("scheme", ["http", "https"])
@awaited
async def test_every_kind_of_answer_has_the_headers(scheme: str) -> None:
    """Pages, errors of all kinds, redirects, RPCs and refusals; HSTS over TLS and only there."""
    tls = scheme == "https"
    store = Away()
    seen: set[int] = set()

    def check(answer: Answer) -> None:
        seen.add(answer.status)
        assert unsafe(answer, tls=tls) == [], answer

    async with site(store, defaults=True) as here:
        await here.person("ada")

        async def send(method: str, target: str, headers: Any = None, body: bytes = b"") -> None:
            check(await ask(here.app, method, target, headers or {}, body=body, scheme=scheme))

        await send("GET", "/")
        await send("GET", "/", {"if-none-match": "*"})
        await send("HEAD", "/status.json")
        await send("GET", "/events")
        await send("GET", "/items/nothing", HTML)
        await send("GET", "/nothing")
        await send("GET", "/nothing", HTML)
        await send("GET", "/?kind=nothing", HTML)
        await send("DELETE", "/")
        await send("GET", LIST)
        await send("PUT", LIST)
        await send("POST", LIST, JSON, b"{}")
        await send("POST", LIST, {"content-type": "text/plain"})
        await send("POST", LIST, JSON, b"[" * 100)
        await send("POST", LIST, JSON, b" " * (4 * 2**20 + 1))
        await send("POST", LIST, {**JSON, "authorization": "Bearer x"}, b"{}")
        await send("POST", LIST.replace("ListItems", "AddItem"), JSON, b"{}")
        await send(
            "OPTIONS", LIST, {"origin": "https://a.test", "access-control-request-method": "POST"}
        )
        await send("GET", "/admin", HTML)
        await send("GET", "/admin")
        await send("GET", "/setup?token=x", HTML)
        await send("POST", "/admin/login", {"cookie": "a=b"}, good())
        await send("POST", "/admin/login", {**SAME, "content-type": "text/plain"})
        await send("POST", "/admin/login", FORM, b"x=" + b"y" * 300_000)
        await send("POST", "/admin/login", FORM, good())
        with counted(instant=True):
            await send("POST", "/admin/login", FORM, b"username=eve")

        def fail(tx: Transaction) -> None:
            for _ in range(10):
                throttle.count_failure(tx, "ada", "192.0.2.1", here.clock())

        await store.write(fail, now=here.clock())
        await send("POST", "/admin/login", FORM, good())
        store.away = True
        await send("GET", "/readyz")
        await send("POST", LIST, JSON, b"{}")
        await send("POST", "/admin/login", FORM, good())
        await send("GET", "/admin", {**HTML, "cookie": f"{COOKIE}=x"})

    assert seen >= {200, 204, 303, 304, 400, 401, 403, 404, 405, 415, 429, 503}


@awaited
async def test_an_unexpected_error_has_the_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page and an RPC that fail, and what they say is an id and nothing of the cause."""

    async def broken(_: Any) -> None:
        msg = "postgresql://ada:hunter2@db/secret"
        raise RuntimeError(msg)

    store = MemoryStore()
    async with site(store) as here:
        monkeypatch.setattr(store, "read", broken)
        for method, target, headers in (
            ("GET", "/items/x", HTML),
            ("POST", LIST, JSON),
            ("GET", "/admin", {**HTML, "cookie": f"{COOKIE}=x"}),
        ):
            answer = await ask(here.app, method, target, headers, body=b"{}")
            assert (answer.status, unsafe(answer)) == (500, []), target
            assert b"hunter2" not in answer.body
            assert b"Traceback" not in answer.body


@awaited
async def test_pages_allow_their_own_files_and_nothing_inline() -> None:
    """No script and no style in the text of a page, and none from elsewhere."""
    async with site(defaults=True) as here:
        link = await here.st.setup_link()
        assert link is not None
        for target in ("/", "/admin/login", link, "/nothing"):
            answer = await ask(here.app, "GET", target, HTML)
            text = answer.body.decode()
            (policy,) = answer.all("content-security-policy")
            rules = dict(each.strip().partition(" ")[::2] for each in policy.split(";"))
            assert rules["script-src"] == rules["style-src"] == "'self'"
            assert rules["form-action"] == "'self'"
            assert rules["base-uri"] == "'none'"
            assert "style=" not in text
            assert "<style" not in text
            assert " onclick" not in text
            assert text.count("<script") == text.count("<script defer src=")


@awaited
async def test_a_public_page_sets_no_cookie() -> None:
    """Neither for strangers nor for those who are signed in, nor when a session is over."""
    async with site(defaults=True) as here:
        session = await here.session(await here.person("ada"))
        for cookie in ("", f"{COOKIE}={session}", f"{COOKIE}=over"):
            for target in ("/", "/status.json", "/items/x", "/nothing", "/healthz", "/admin/login"):
                answer = await ask(here.app, "GET", target, {"cookie": cookie})
                assert answer.all("set-cookie") == [], (target, cookie)


@awaited
async def test_who_is_signed_in_gets_pages_that_nobody_keeps() -> None:
    """`no-store`, so that the next one at the machine does not see them."""
    async with site() as here:
        session = await here.session(await here.person("ada"))
        for target in ("/admin", "/admin/statuses"):
            answer = await ask(here.app, "GET", target, {"cookie": f"{COOKIE}={session}"})
            assert (answer.status, answer.all("cache-control")) == (200, ["no-store"])


def _cookie(answer: Answer) -> Any:
    (line,) = answer.all("set-cookie")
    (cookie,) = SimpleCookie(line).values()
    return cookie


@awaited
async def test_the_cookie_of_a_session_is_kept_from_scripts_and_other_sites() -> None:
    """Over TLS it is Secure and begins with `__Host-`; it lasts no longer than a session."""
    async with site() as here:
        await here.person("ada")
        plain = _cookie(await ask(here.app, "POST", "/admin/login", FORM, body=good()))
        secure = _cookie(
            await ask(here.app, "POST", "/admin/login", FORM, body=good(), scheme="https")
        )
    for cookie in (plain, secure):
        assert (cookie["httponly"], cookie["samesite"].lower()) == (True, "lax")
        assert (cookie["path"], cookie["domain"]) == ("/", "")
        assert int(cookie["max-age"]) == 7 * 24 * 3_600
    assert (plain.key, plain["secure"]) == (COOKIE, "")
    assert (secure.key, secure["secure"]) == (f"__Host-{COOKIE}", True)


@awaited
async def test_over_tls_only_the_cookie_that_no_other_host_can_set_counts() -> None:
    """A neighbour's cookie without `__Host-` is nobody's session there."""
    async with site() as here:
        session = await here.session(await here.person("ada"))

        async def status(name: str, scheme: str) -> int:
            headers = {"cookie": f"{name}={session}"}
            return (await ask(here.app, "GET", "/admin", headers, scheme=scheme)).status

        assert await status(f"__Host-{COOKIE}", "https") == 200
        assert await status(COOKIE, "https") == 401
        assert await status(COOKIE, "http") == 200
        assert await status(f"__Host-{COOKIE}", "http") == 401


@awaited
async def test_the_name_of_the_cookie_is_a_setting() -> None:
    """And one that is no name is a mistake that is told at once."""
    async with site(cookie_name="tea_and.biscuits-2") as here:
        await here.person("ada")
        answer = await ask(here.app, "POST", "/admin/login", FORM, body=good())
        assert _cookie(answer).key == "tea_and.biscuits-2"
    for name in ("", "a b", "a=b", "a;b", "x" * 65, "ä", "a\n"):
        with pytest.raises(UserMistake, match="cookie"):
            build_app(MemoryStore(), cookie_name=name)


@awaited
async def test_signing_in_gives_a_new_session_and_ends_the_old_one() -> None:
    """What was planted before is worth nothing, and what was there is over."""
    async with site() as here:
        await here.person("ada")

        async def sign_in(cookie: str) -> str:
            headers = {**FORM, "cookie": f"{COOKIE}={cookie}"}
            answer = await ask(here.app, "POST", "/admin/login", headers, body=good())
            return str(_cookie(answer).value)

        first = await sign_in("planted")
        second = await sign_in(first)

        assert len({"planted", first, second}) == 3
        for secret, status in (("planted", 401), (first, 401), (second, 200)):
            answer = await ask(here.app, "GET", "/admin", {"cookie": f"{COOKIE}={secret}"})
            assert answer.status == status


@awaited
async def test_of_two_cookies_of_that_name_the_first_counts() -> None:
    """Browsers send the more specific one first; a second one is no second chance."""
    async with site() as here:
        session = await here.session(await here.person("ada"))
        for cookies, status in (
            (f"{COOKIE}={session}; {COOKIE}=planted", 200),
            (f"{COOKIE}=planted; {COOKIE}={session}", 401),
        ):
            assert (await ask(here.app, "GET", "/admin", {"cookie": cookies})).status == status


@awaited
async def test_signing_out_ends_the_session_and_takes_the_cookie() -> None:
    """It works without a session too, and never by a GET."""
    async with site() as here:
        session = await here.session(await here.person("ada"))
        headers = {"cookie": f"{COOKIE}={session}"}
        assert (await ask(here.app, "GET", "/admin/logout", headers)).status == 405
        assert (await ask(here.app, "GET", "/admin", headers)).status == 200

        answer = await ask(here.app, "POST", "/admin/logout", headers | SAME)

        cookie = _cookie(answer)
        assert (answer.status, cookie.value, int(cookie["max-age"])) == (303, "", 0)
        assert (await ask(here.app, "GET", "/admin", headers)).status == 401
        assert (await ask(here.app, "POST", "/admin/logout", SAME)).status == 303


PROOFS = [
    ({"sec-fetch-site": "same-origin"}, True),
    ({"sec-fetch-site": "none"}, True),
    ({"origin": "http://status.test"}, True),
    ({"origin": "HTTP://STATUS.TEST"}, True),
    ({"sec-fetch-site": "same-origin", "origin": "http://status.test"}, True),
    ({}, False),
    ({"referer": "http://status.test/admin"}, False),
    ({"sec-fetch-site": "cross-site"}, False),
    ({"sec-fetch-site": "same-site"}, False),
    ({"sec-fetch-site": ""}, False),
    ({"sec-fetch-site": "same-origin, cross-site"}, False),
    ({"sec-fetch-site": "cross-site", "origin": "http://status.test"}, False),
    ({"origin": "null"}, False),
    ({"origin": ""}, False),
    ({"origin": "http://evil.test"}, False),
    ({"origin": "http://status.test.evil.test"}, False),
    ({"origin": "http://evil.test/http://status.test"}, False),
    ({"origin": "http://status.test:8080"}, False),
    ({"origin": "status.test"}, False),
    ({"origin": "http://"}, False),
]


@pytest.mark.parametrize(("proof", "passes"), PROOFS)
@awaited
async def test_an_unsafe_request_has_to_come_from_our_pages(
    proof: dict[str, str], *, passes: bool
) -> None:
    """With a cookie, one that does not say where it comes from is refused too."""
    async with site() as here:
        session = await here.session(await here.person("ada"))
        headers = {"cookie": f"{COOKIE}={session}", **proof}

        answer = await ask(here.app, "POST", "/admin/logout", headers)

        assert answer.status == (303 if passes else 403)
        alive = await ask(here.app, "GET", "/admin", {"cookie": f"{COOKIE}={session}"})
        assert alive.status == (401 if passes else 200)


@awaited
async def test_another_site_signs_nobody_in() -> None:
    """A form of a foreign page is refused without a cookie too, where the browser says so."""
    async with site() as here:
        await here.person("ada")
        for proof in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.test"}):
            headers = {"content-type": FORM["content-type"], **proof}
            answer = await ask(here.app, "POST", "/admin/login", headers, body=good())
            assert (answer.status, answer.all("set-cookie")) == (403, [])


_HOSTS = ("evil.test", "evil.test/admin", "status.test@evil.test", "status.test.evil.test")
_PREFIXES = (
    *("http://", "https://", "//", "///", "////", "/\\", "\\/", "\\\\", "\\", "/\\\\"),
    *("/\t/", "\t//", "/\n/", "\n//", "/\r/", "/\x0b/", " //", "/ /", "\x00//", "\u3000//"),
)
REDIRECTS = [
    *(prefix + host for prefix in _PREFIXES for host in _HOSTS),
    *("javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\nscript:alert(1)", "data:text/html,x"),
    *("vbscript:x", "file:///etc/passwd", "ftp://evil.test", "mailto:a@evil.test", "evil.test"),
    *("http:evil.test", "https:/evil.test", "http:\\\\evil.test", "@evil.test", ".evil.test"),
    *("?next=//evil.test", "#//evil.test", "", " ", "admin", "../admin", "./admin"),
    *("\uff0f\uff0fevil.test", "/\uff0fevil.test", "/\u2044/evil.test", "/\u00ad/evil.test"),
    *("/admin\r\nset-cookie: a=b", "/admin\nlocation: //evil.test", "/a b", "/\u0661", "/\x7f"),
]


@pytest.mark.parametrize("target", ["form", "page"])
@awaited
async def test_a_hundred_ways_to_another_site_lead_nowhere(target: str) -> None:
    """After signing in, and for who is signed in already: always to our own page."""
    assert len(set(REDIRECTS)) >= 100
    async with site() as here:
        session = await here.session(await here.person("ada"))
        cookie = {"cookie": f"{COOKIE}={session}"}
        for following in REDIRECTS:
            if target == "form":
                # Without the password: the form that comes back has what would be followed.
                body = str(httpx.QueryParams({"next": following})).encode()
                with counted(instant=True):
                    answer = await ask(
                        here.app, "POST", "/admin/login", FORM, body=body, client=("192.0.2.9", 1)
                    )
                assert b'name="next" value=""' in answer.body, following
                here.clock.pass_by(minutes=16)
            else:
                query = str(httpx.QueryParams({"next": following}))
                answer = await ask(here.app, "GET", f"/admin/login?{query}", cookie)
                assert (answer.status, answer.all("location")) == (303, ["/admin"]), following


@pytest.mark.parametrize(
    "following", ["/", "/admin/statuses?page=2", "/items/a%20b", "/a//b", "/@x"]
)
@awaited
async def test_a_path_of_our_own_is_followed(following: str) -> None:
    """To where somebody was on their way."""
    async with site() as here:
        await here.person("ada")
        answer = await ask(here.app, "POST", "/admin/login", FORM, body=good(next=following))
        assert (answer.status, answer.all("location")) == (303, [following])


@awaited
async def test_a_stranger_sends_small_forms() -> None:
    """Enough for the longest password there is; of more, no more than that is held."""
    async with site() as here:
        await here.person("ada")
        body = good(next="/" + "a" * 2_000, more="\N{GRINNING FACE}" * 1_024)
        assert (await ask(here.app, "POST", "/admin/login", FORM, body=body)).status == 303
        for target in ("/admin/login", "/setup"):
            body = good(more="x" * 32 * 1_024)
            assert (await ask(here.app, "POST", target, FORM, body=body)).status == 400


def test_under_a_prefix_only_paths_below_it_are_our_own() -> None:
    """The host's other pages are not for us to send people to."""
    assert own_path("/status/admin", "/status") == "/status/admin"
    for path in ("/admin", "/status", "/statusx/admin", "//status/admin", "/../status/x"):
        assert own_path(path, "/status") == ""


@awaited
async def test_under_a_prefix_the_cookie_is_for_our_pages_only() -> None:
    """Its path is the prefix, and where a sign-in leads is below it."""
    async with site() as here:
        await here.person("ada")
        host = Starlette(routes=[Mount("/status", here.app)])
        answer = await ask(host, "POST", "/status/admin/login", FORM, body=good())
    cookie = _cookie(answer)
    assert (answer.status, answer.all("location")) == (303, ["/status/admin"])
    assert cookie["path"] == "/status"


@awaited
async def test_a_page_that_needs_a_sign_in_leads_there_and_back() -> None:
    """A browser is sent to the form with where it was; a program gets 401."""
    async with site(access="private") as here:
        await here.person("ada", Role.VIEWER)
        answer = await ask(here.app, "GET", "/items/x?before=y", HTML)
        assert answer.status == 303
        (location,) = answer.all("location")
        assert location == "/admin/login?next=%2Fitems%2Fx%3Fbefore%3Dy"
        plain = await ask(here.app, "GET", "/items/x")
        assert (plain.status, plain.all("www-authenticate")) == (401, ["Bearer"])
