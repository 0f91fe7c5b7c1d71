"""Which pages of other origins may call what: `Page` does what a browser does for a script.

The rules are those of https://fetch.spec.whatwg.org/#http-cors-protocol.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.tokens import add_token

from statusthing import Principal, Role, access, build_app
from statusthing.access import ANONYMOUS, PERMISSIONS, permitted
from statusthing.errors import StoreUnavailable, UserMistake
from statusthing.memory import MemoryStore
from statusthing.service import OPERATIONS
from statusthing.v1 import services_pb2

if TYPE_CHECKING:
    from tests.conftest import Server

LISTED = "https://status.example.com"
OTHER = "https://elsewhere.example"
ORIGIN = {"origin": OTHER}

ROWS = [row for row in OPERATIONS.values() if row.service]
RPCS = {row.name: f"/statusthing.v1.{row.service}/{row.name}" for row in ROWS}
READS = [row.name for row in ROWS if permitted(ANONYMOUS, row.name)]
OTHERS = [name for name in RPCS if name not in READS]

ADD = RPCS["AddItem"]
JSON = {"content-type": "application/json"}

# What the clients for browsers send, https://connectrpc.com/docs/cors.
CONNECT = {**JSON, "connect-protocol-version": "1", "connect-timeout-ms": "5000"}
GRPC_WEB = {
    "content-type": "application/grpc-web+proto",
    "grpc-timeout": "5S",
    "x-grpc-web": "1",
    "x-user-agent": "connect-es/2.2.0",
}

# https://fetch.spec.whatwg.org/#cors-safelisted-request-header
PLAIN_TYPES = {"text/plain", "application/x-www-form-urlencoded", "multipart/form-data"}
# https://fetch.spec.whatwg.org/#cors-safelisted-response-header-name
PLAIN_RESPONSE_HEADERS = {"cache-control", "content-length", "content-type"}

# As a browser on this machine sends them to a server on this machine.
BASE = "http://127.0.0.1:9000"


def requested(app: Any, method: str, path: str, **options: Any) -> httpx.Response:
    """Send one request from this machine to an application."""

    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            return await client.request(method, path, **options)

    return asyncio.run(main())


class Blocked(Exception):
    """What a script gets instead of an answer."""


@dataclass(frozen=True)
class Page:
    """A page of an origin that shows in a browser, and calls an application elsewhere.

    Attributes:
        app: what it calls.
        origin: its own.
        token: what it sends of its user; empty if it knows none.
    """

    app: Any
    origin: str
    token: str = ""

    def fetch(
        self, method: str, path: str, *, headers: Mapping[str, str] = {}, body: bytes | None = None
    ) -> httpx.Response:
        """Return the answer with the headers that the script may see.

        Raises:
            Blocked: the script may not send this, or not read the answer.
        """
        if self.token:
            headers = {"authorization": f"Bearer {self.token}", **headers}
        unsafe = {
            name
            for name, value in headers.items()
            if not (name == "content-type" and value.partition(";")[0] in PLAIN_TYPES)
        }
        if unsafe:
            self.ask(method, path, unsafe)
        sent = {"origin": self.origin, **headers}
        response = requested(self.app, method, path, headers=sent, content=body)
        self.check(response)
        shown = PLAIN_RESPONSE_HEADERS | listed(response, "expose-headers")
        for name in response.headers.keys() - shown:
            del response.headers[name]
        return response

    def ask(self, method: str, path: str, unsafe: set[str]) -> None:
        """Send a preflight."""
        asked = {
            "origin": self.origin,
            "access-control-request-method": method,
            "access-control-request-headers": ",".join(sorted(unsafe)),
        }
        preflight = requested(self.app, "OPTIONS", path, headers=asked)
        self.check(preflight)
        if not preflight.is_success or not unsafe <= listed(preflight, "allow-headers"):
            raise Blocked(preflight)

    def check(self, response: httpx.Response) -> None:
        """Block an answer that is not for this origin."""
        assert "access-control-allow-credentials" not in response.headers
        if response.headers.get("access-control-allow-origin") not in {"*", self.origin}:
            raise Blocked(response)

    def json(self, path: str, **fields: Any) -> httpx.Response:
        """Post JSON as Connect's clients do."""
        return self.fetch("POST", path, headers=CONNECT, body=json.dumps(fields).encode())


def listed(response: httpx.Response, header: str) -> set[str]:
    """Return the parts of a header of the protocol."""
    value = response.headers.get(f"access-control-{header}", "")
    return {part.strip() for part in value.split(",")}


def cors_headers(response: httpx.Response) -> dict[str, str]:
    """Return the headers of the protocol."""
    return {k: v for k, v in response.headers.items() if k.startswith("access-control-")}


def names(app: Any) -> list[str]:
    """Return the names of all items."""
    answer = requested(app, "POST", RPCS["ListItems"], json={}).json()
    return [item["name"] for item in answer.get("items", [])]


def as_query(message: Any) -> str:
    """Return the query of a Connect GET."""
    return str(httpx.QueryParams(connect="v1", encoding="json", message=json.dumps(message)))


@pytest.fixture
def store() -> MemoryStore:
    """A store of an application."""
    return MemoryStore()


@pytest.fixture
def token(store: MemoryStore) -> str:
    """A token of the application."""
    return asyncio.run(add_token(store))


@pytest.fixture
def app(store: MemoryStore) -> Any:
    """An application that lists one origin."""
    return build_app(store, defaults=True, cors_origins=[LISTED])


@pytest.fixture
def page(app: Any) -> Page:
    """A page of an origin that is not listed."""
    return Page(app, OTHER)


@pytest.fixture
def own(app: Any, token: str) -> Page:
    """A page of the origin that is listed, whose user has a token."""
    return Page(app, LISTED, token)


async def editor(_: Any) -> Principal:
    """The login of a host that everybody has passed."""
    return Principal(name="ada", role=Role.EDITOR)


# Reads


@pytest.mark.parametrize("rpc", READS)
@pytest.mark.parametrize("origin", [OTHER, LISTED, "null", "http://localhost:5173"])
def test_any_page_may_read(app: Any, origin: str, rpc: str) -> None:
    """Reads by POST and by GET are open to every origin, and so are their errors."""
    page = Page(app, origin)

    posted = page.json(RPCS[rpc])
    got = page.fetch("GET", f"{RPCS[rpc]}?{as_query({})}")

    assert posted.json() == got.json()
    assert posted.status_code == got.status_code
    assert posted.status_code in {200, 400}


def test_any_page_sees_the_headers_that_matter(page: Page) -> None:
    """A script can tell the revision, the ETag and the code of a gRPC-Web error."""
    got = page.fetch("GET", f"{RPCS['ListStatus']}?{as_query({})}")
    missing = page.fetch("POST", RPCS["GetItem"], headers=GRPC_WEB, body=web_frame(item_id="gone"))

    assert got.headers["statusthing-revision"] == "1"
    assert got.headers["etag"]
    assert b"grpc-status: 5" in missing.content


def web_frame(**fields: Any) -> bytes:
    """Return the body of a GetItem over gRPC-Web."""
    message = services_pb2.GetItemRequest(**fields).SerializeToString()
    return bytes([0]) + len(message).to_bytes(4, "big") + message


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", RPCS["GetItem"], CONNECT, 404),
        ("POST", RPCS["GetItem"], {"content-type": "text/plain"}, 415),
        ("GET", RPCS["GetItem"], {}, 405),
    ],
)
def test_any_page_sees_why_a_read_failed(
    page: Page, method: str, path: str, *, headers: dict[str, str], status: int
) -> None:
    """An error of any kind has a status and a body that the script can read."""
    response = page.fetch(method, path, headers=headers, body=b'{"itemId": "gone"}')

    assert response.status_code == status
    assert response.json()["code"]


class _Away(MemoryStore):
    async def open(self) -> None:
        raise StoreUnavailable


def test_any_page_sees_that_the_store_is_away() -> None:
    """A page can tell that the server has a problem."""
    page = Page(build_app(_Away()), OTHER)

    assert page.json(RPCS["ListItems"]).json()["code"] == "unavailable"


def test_a_read_with_credentials_is_for_listed_pages(app: Any, own: Page) -> None:
    """The preflight of any other page does not allow Authorization."""
    with pytest.raises(Blocked):
        Page(app, OTHER, own.token).json(RPCS["ListItems"])
    refused = Page(app, LISTED, "unknown").json(RPCS["ListItems"])

    assert own.json(RPCS["ListItems"]).status_code == 200
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("condition", [{}, {"if-none-match": "*"}], ids=["200", "304"])
def test_a_cached_answer_serves_every_page(app: Any, condition: dict[str, str]) -> None:
    """Whoever asked first, the answer to a GET has the same headers, and allows every origin."""
    first, later, own = (
        requested(
            app, "GET", f"{RPCS['ListStatus']}?{as_query({})}", headers={**origin, **condition}
        )
        for origin in ({}, ORIGIN, {"origin": LISTED})
    )

    assert first.status_code == (304 if condition else 200)
    assert first.headers == later.headers == own.headers
    assert first.headers["cache-control"] == "public, no-cache"
    assert first.headers["access-control-allow-origin"] == "*"
    assert "origin" not in first.headers["vary"].lower()


@pytest.mark.parametrize("rpc", READS)
def test_what_is_private_is_for_listed_pages(store: MemoryStore, token: str, rpc: str) -> None:
    """Where visitors have to be known, only listed pages read on behalf of theirs."""
    app = build_app(store, access="private", cors_origins=[LISTED])

    with pytest.raises(Blocked):
        Page(app, OTHER).json(RPCS[rpc])
    assert Page(app, LISTED).json(RPCS[rpc]).status_code == 401
    assert Page(app, LISTED, token).json(RPCS[rpc]).status_code in {200, 400}


def test_only_reads_that_need_no_role_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write would not be open even if it needed no role."""
    known, anybody = PERMISSIONS["WhoAmI"], PERMISSIONS["CheckHealth"]
    changed = {**PERMISSIONS, "ListNotes": known, "AddItem": anybody}
    monkeypatch.setattr(access, "PERMISSIONS", changed)
    page = Page(build_app(MemoryStore()), OTHER)

    assert page.json(RPCS["ListItems"]).status_code == 200
    for rpc in ("ListNotes", "AddItem"):
        with pytest.raises(Blocked):
            page.json(RPCS[rpc])


# What needs a role


@pytest.mark.parametrize("rpc", OTHERS)
@pytest.mark.parametrize("headers", [CONNECT, GRPC_WEB], ids=["connect", "grpc-web"])
def test_no_other_page_may_call(page: Page, rpc: str, headers: dict[str, str]) -> None:
    """The preflight is refused, so that the call is not sent; nor could the answer be read."""
    with pytest.raises(Blocked) as blocked:
        page.fetch("POST", RPCS[rpc], headers=headers, body=b"{}")
    sent = requested(page.app, "POST", RPCS[rpc], headers={**ORIGIN, **headers}, content=b"{}")

    [refusal] = blocked.value.args
    assert (refusal.request.method, refusal.status_code) == ("OPTIONS", 405)
    assert cors_headers(refusal) == cors_headers(sent) == {}


def test_a_listed_page_may_write(own: Page) -> None:
    """It sees the answer, the revision, and any error."""
    added = own.json(ADD, name="api")
    again = own.json(ADD, name="api")
    unknown = own.json("/statusthing.v1.ItemsService/Nope")

    assert names(own.app) == ["api"]
    assert (added.status_code, added.headers["statusthing-revision"]) == (200, "3")
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unimplemented")


def test_a_listed_page_sees_a_status_in_the_head(own: Page) -> None:
    """gRPC-Web puts the status of a call that has no body into the headers."""
    unknown = own.fetch("POST", "/statusthing.v1.ItemsService/Nope", headers=GRPC_WEB, body=b"")

    assert unknown.headers["grpc-status"] == "12"
    assert unknown.headers["grpc-message"]


def test_a_listed_page_may_send_credentials() -> None:
    """A page that has a token for its user writes with their rights."""

    async def identify(scope: Any) -> Principal:
        token = dict(scope["headers"]).get(b"authorization")
        return Principal(name="ada", role=Role.EDITOR) if token == b"Bearer x" else ANONYMOUS

    app = build_app(MemoryStore(), identify=identify, cors_origins=[LISTED])
    page = Page(app, LISTED)
    headers = {**CONNECT, "authorization": "Bearer x"}

    assert page.fetch("POST", ADD, headers=headers, body=b'{"name": "api"}').status_code == 200
    assert page.json(ADD, name="other").status_code == 401
    assert names(app) == ["api"]


@pytest.mark.parametrize("rpc", ["AddItem", "ListItems"])
def test_no_other_page_may_use_the_login_of_a_host(rpc: str) -> None:
    """What a browser adds by itself, such as a cookie, counts for listed pages only."""
    app = build_app(MemoryStore(), identify=editor, cors_origins=[LISTED])
    statuses = [
        requested(app, "POST", RPCS[rpc], json={}, headers=headers).status_code
        for headers in ({"origin": OTHER}, {"origin": "null"}, {"sec-fetch-site": "cross-site"})
    ]

    assert statuses == [403, 403, 403]
    assert Page(app, LISTED).json(RPCS[rpc]).status_code in {200, 400}


def test_an_answer_for_one_origin_says_so(app: Any) -> None:
    """A cache must not hand it to pages of another (RFC 9110, section 12.5.5)."""
    answer = requested(app, "POST", ADD, json={"name": "api"}, headers={"origin": LISTED})

    assert answer.headers["access-control-allow-origin"] == LISTED
    assert "Origin" in answer.headers["vary"].split(", ")


@pytest.mark.parametrize("origin", ["null", f"{LISTED}:8443", f"{LISTED}.evil.example", "*", ""])
def test_an_origin_is_compared_as_a_whole(app: Any, token: str, origin: str) -> None:
    """Nothing but a listed origin, to the last character, may write."""
    with pytest.raises(Blocked):
        Page(app, origin, token).json(ADD, name="api")


@pytest.mark.parametrize(
    ("method", "type_"),
    [
        ("POST", "text/plain"),
        ("POST", "text/plain;charset=UTF-8"),
        ("POST", "text/plain; application/json"),
        ("POST", "text/plain;,application/json"),
        ("POST", "application/x-www-form-urlencoded"),
        ("POST", "multipart/form-data; boundary=application/json"),
        ("POST", None),
        ("GET", None),
        ("HEAD", None),
    ],
)
@pytest.mark.parametrize("query", ["", f"?{as_query({'name': 'api'})}"], ids=["body", "query"])
@pytest.mark.parametrize("origin", [OTHER, LISTED])
def test_what_needs_no_preflight_cannot_write(
    origin: str, query: str, method: str, type_: str | None
) -> None:
    """A form or a script can send these from any page, with the cookies of an editor."""
    app = build_app(MemoryStore(), identify=editor, cors_origins=[LISTED])
    headers = {"origin": origin} | ({"content-type": type_} if type_ else {})
    body = b'{"name": "api"}'
    response = requested(app, method, f"{ADD}{query}", content=body, headers=headers)

    assert response.status_code == (415 if method == "POST" else 405)
    assert names(app) == []


# The protocol


@pytest.mark.parametrize(
    ("origin", "path", "allowed", "authorization"),
    [
        (OTHER, RPCS["GetItem"], "*", False),
        (LISTED, RPCS["GetItem"], "*", True),
        (LISTED, RPCS["AddItem"], LISTED, True),
    ],
)
def test_a_preflight_is_answered_for_a_while(
    app: Any, origin: str, path: str, *, allowed: str, authorization: bool
) -> None:
    """It has no body, says what a page of that origin may send, and browsers may keep it."""
    asked = {"origin": origin, "access-control-request-method": "POST"}
    preflight = requested(app, "OPTIONS", path, headers=asked)

    assert (preflight.status_code, preflight.content) == (204, b"")
    assert preflight.headers["access-control-allow-origin"] == allowed
    assert listed(preflight, "allow-methods") == {"GET", "POST"}
    assert listed(preflight, "allow-headers") >= (CONNECT | GRPC_WEB).keys()
    assert ("authorization" in listed(preflight, "allow-headers")) is authorization
    assert preflight.headers["access-control-max-age"] == "7200"


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize("headers", [{}, {"origin": LISTED}], ids=["bare", "origin"])
def test_another_options_request_is_no_preflight(
    app: Any, rpc: str, headers: dict[str, str]
) -> None:
    """Only the header that names a method makes it one."""
    assert requested(app, "OPTIONS", RPCS[rpc], headers=headers).status_code == 405


@pytest.mark.parametrize("path", ["/", "/nope", "/statusthing.v1.ItemsService/Nope"])
def test_nothing_else_is_open(app: Any, path: str) -> None:
    """Pages and addresses that do not exist say nothing to pages of other origins."""
    for method in ("GET", "POST", "OPTIONS"):
        asked = {**ORIGIN, "access-control-request-method": "POST"}
        assert cors_headers(requested(app, method, path, headers=asked)) == {}


def test_other_clients_are_spared(app: Any) -> None:
    """Without an origin, the answer to a POST has no headers of the protocol."""
    assert cors_headers(requested(app, "POST", RPCS["ListItems"], json={})) == {}


def in_fastapi(app: Any) -> Any:
    """Mount under a prefix of a FastAPI application."""
    host = FastAPI()
    host.mount("/a/b", app)
    return host


@pytest.mark.parametrize(
    "host",
    [lambda app: Starlette(routes=[Mount("/a", routes=[Mount("/b", app)])]), in_fastapi],
    ids=["starlette", "fastapi"],
)
def test_it_holds_under_a_prefix(app: Any, token: str, host: Callable[[Any], Any]) -> None:
    """Mounted in another application, the same pages may make the same calls."""
    mounted = host(app)

    assert Page(mounted, OTHER).json(f"/a/b{RPCS['ListItems']}").status_code == 200
    assert Page(mounted, LISTED, token).json(f"/a/b{ADD}", name="api").status_code == 200
    with pytest.raises(Blocked):
        Page(mounted, OTHER, token).json(f"/a/b{ADD}", name="other")
    assert names(app) == ["api"]


# The setting


@pytest.mark.parametrize(
    "origin",
    [
        "https://status.example.com",
        "http://localhost:5173",
        "http://127.0.0.1:8080",
        "http://[::1]:3000",
        "https://xn--bcher-kva.example",
        "https://my_host:65535",
        "http://status.example.com:443",
        "capacitor://localhost",
    ],
)
def test_an_origin_may_be_listed(store: MemoryStore, token: str, origin: str) -> None:
    """Whatever browsers send as the origin of a page can be in the list."""
    app = build_app(store, cors_origins=[origin])

    assert Page(app, origin, token).json(ADD, name="api").status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        *("*", "null", "", "status.example.com", "localhost:5173", "//x", "https://", "https:x"),
        *("https://*.example.com", "https://x/", "https://x/path", "https://x?q", "https://x#f"),
        *("https://user@x", "https://x y", " https://x", "https://x\n", "https://x,https://y"),
        *("HTTPS://x", "https://Status.example.com", "https://b\u00fccher.example", "https://[x"),
        *("https://x:", "https://x:http", "https://x:0", "https://x:080", "https://x:65536"),
        *("https://x:443", "http://x:80"),
    ],
    ids=ascii,
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    """A mistake in the list is told at once, with what to write instead."""
    with pytest.raises(UserMistake, match="scheme://host") as mistake:
        build_app(MemoryStore(), cors_origins=[LISTED, origin])

    assert repr(origin) in str(mistake.value)


def test_the_command_refuses_it_too(tmp_path: Path) -> None:
    """The command ends with one line and has written nothing."""
    ended = subprocess.run(
        [
            *(Path(sys.executable).with_name("statusthing"), "serve", "--addr=127.0.0.1:0"),
            *(f"--cors-origin={LISTED}", "--cors-origin=*"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert "cannot use the CORS origin '*'" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def granted(server: Server, origin: str) -> str:
    """Return which origin a running server allows in the answer to a preflight of a write."""
    asked = {"origin": origin, "access-control-request-method": "POST"}
    with server.http() as http:
        answer = http.options(ADD, headers=asked)
    return str(answer.headers.get("access-control-allow-origin", "none"))


def test_the_option_may_be_repeated(serve: Callable[..., AbstractContextManager[Server]]) -> None:
    """Each origin that the command line gives may write."""
    with serve(f"--cors-origin={LISTED}", f"--cors-origin={OTHER}") as server:
        assert [granted(server, origin) for origin in (LISTED, OTHER, "https://third.example")] == [
            LISTED,
            OTHER,
            "none",
        ]


def test_the_variable_takes_several(run: Callable[..., AbstractContextManager[Server]]) -> None:
    """In the environment, spaces separate the origins."""
    origins = f"STATUSTHING_CORS_ORIGIN={LISTED} {OTHER}"
    command = Path(sys.executable).with_name("statusthing")
    with run("env", origins, str(command), "serve", "--addr=127.0.0.1:0") as server:
        assert [granted(server, origin) for origin in (LISTED, OTHER)] == [LISTED, OTHER]
