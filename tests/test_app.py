"""`build_app`: at the root and under a prefix, with and without lifespan, and who may write."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.tokens import add_token

from statusthing import ItemView, Principal, Role, build_app, open_store
from statusthing.errors import StoreClosed, StoreUnavailable, UserMistake
from statusthing.memory import MemoryStore
from statusthing.service.messages import Answer, GetItemResponse

ADD = "/statusthing.v1.ItemsService/AddItem"
LIST = "/statusthing.v1.ItemsService/ListItems"


def answers(
    app: Any, *requests: tuple[str, str, Any], base: str = "http://127.0.0.1", **options: Any
) -> list[httpx.Response]:
    """Send requests (method, path, JSON) to an application, without a lifespan."""

    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=base, **options) as client:
            return [
                await client.request(method, path, json=body) for method, path, body in requests
            ]

    return asyncio.run(main())


def credentials(store: MemoryStore) -> dict[str, str]:
    """Add a token to a store, and return the headers of a caller who has it."""
    return {"authorization": f"Bearer {asyncio.run(add_token(store))}"}


def in_starlette(app: Any) -> Any:
    """Mount under two of Starlette's prefixes."""
    return Starlette(routes=[Mount("/a", routes=[Mount("/b", app)])])


def in_fastapi(app: Any) -> Any:
    """Mount under a prefix of a FastAPI application that has a root path itself."""
    host = FastAPI()
    host.mount("/a/b", app)
    return host


@pytest.mark.parametrize(
    ("host", "prefix"),
    [(lambda app: app, ""), (in_starlette, "/a/b"), (in_fastapi, "/a/b")],
    ids=["root", "starlette", "fastapi"],
)
def test_it_answers_at_the_root_and_under_a_prefix(host: Callable[[Any], Any], prefix: str) -> None:
    """RPCs, pages and probes work wherever it is mounted, and without lifespan events."""
    store = MemoryStore()
    app = host(build_app(store, defaults=True))

    added, listed, page, ready, missing = answers(
        app,
        ("POST", f"{prefix}{ADD}", {"name": "api"}),
        ("POST", f"{prefix}{LIST}", {}),
        ("GET", f"{prefix}/", None),
        ("GET", f"{prefix}/readyz", None),
        ("POST", f"{prefix}/statusthing.v1.ItemsService/Nothing", {}),
        headers=credentials(store),
    )

    assert added.status_code == 200
    assert [item["name"] for item in listed.json()["items"]] == ["api"]
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert ready.json() == {"status": "ok"}
    assert missing.status_code == 404
    assert missing.json()["code"] == "unimplemented"


def test_the_lifespan_opens_and_closes_the_store() -> None:
    """With lifespan events the store is open from startup to shutdown."""
    store = MemoryStore()
    app = build_app(store, defaults=True)
    sent: list[str] = []
    heads: list[int] = []

    async def main() -> None:
        events = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> dict[str, str]:
            if sent:
                heads.append(await store.read(lambda tx: tx.revision))
            return {"type": next(events)}

        async def send(message: dict[str, str]) -> None:
            sent.append(message["type"])

        await app({"type": "lifespan"}, receive, send)
        with pytest.raises(StoreUnavailable):
            await store.read(lambda tx: tx.revision)

    asyncio.run(main())

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert heads == [1]


def test_a_host_can_open_and_close_it() -> None:
    """Within `async with`, the store is open with its defaults; after that it is closed."""
    store = MemoryStore()

    async def main() -> int:
        async with build_app(store, defaults=True):
            head = await store.read(lambda tx: tx.revision)
        with pytest.raises(StoreClosed):
            await store.read(lambda tx: tx.revision)
        return head

    assert asyncio.run(main()) == 1


@pytest.mark.parametrize("host", [Starlette, FastAPI])
def test_it_can_be_the_lifespan_of_its_host(host: type[Starlette]) -> None:
    """A host that mounts it opens its store at startup, and closes it at shutdown."""
    store = MemoryStore()
    app = build_app(store)
    outer = host(lifespan=lambda _: app)
    outer.mount("/status", app)
    heads: list[int] = []
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        if not sent:
            return {"type": "lifespan.startup"}
        heads.append(await store.read(lambda tx: tx.revision))
        return {"type": "lifespan.shutdown"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def main() -> None:
        await outer({"type": "lifespan", "app": outer, "state": {}}, receive, send)
        with pytest.raises(StoreClosed):
            await store.read(lambda tx: tx.revision)

    asyncio.run(main())

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert heads == [0]


class _Away(MemoryStore):
    async def open(self) -> None:
        raise StoreUnavailable("database at 10.1.2.3, password hunter2")


def test_a_store_that_is_away_is_no_secret_and_no_crash() -> None:
    """RPCs are unavailable, the probes say so, and the store's own words are not leaked."""
    listed, health, ready = answers(
        build_app(_Away()), ("POST", LIST, {}), ("GET", "/healthz", None), ("GET", "/readyz", None)
    )

    assert (listed.status_code, listed.json()["code"]) == (503, "unavailable")
    assert health.status_code == 200
    assert ready.status_code == 503
    assert ready.json()["reason"]
    assert "hunter2" not in listed.text + ready.text


def test_a_store_that_cannot_work_is_unavailable() -> None:
    """Probes and callers see an operator's mistake like any other failure of the store."""
    app = build_app(open_store("sqlite:////no/such/folder/x.db"))
    listed, ready = answers(app, ("POST", LIST, {}), ("GET", "/readyz", None))

    assert (listed.status_code, listed.json()["code"]) == (503, "unavailable")
    assert ready.status_code == 503
    assert "/no/such" not in listed.text + ready.text


def test_the_operator_learns_why_the_store_fails(caplog: pytest.LogCaptureFixture) -> None:
    """The cause is in the log, and only there."""
    answers(build_app(_Away()), ("POST", LIST, {}), ("GET", "/readyz", None))

    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert all("hunter2" in record.getMessage() for record in caplog.records)


def test_a_startup_that_fails_lets_go_of_the_store() -> None:
    """If the defaults cannot be written, the failure does not leave the store open."""

    class ReadOnly(MemoryStore):
        async def write(self, work: Any, *, now: Any) -> Any:
            raise StoreUnavailable("the disk is full")

    store = ReadOnly()

    async def main() -> None:
        async def receive() -> dict[str, str]:
            return {"type": "lifespan.startup"}

        async def send(message: dict[str, str]) -> None:
            assert message["type"] == "lifespan.startup.failed"

        with pytest.raises(StoreUnavailable, match="full"):
            await build_app(store, defaults=True)({"type": "lifespan"}, receive, send)
        with pytest.raises(StoreClosed):
            await store.read(lambda tx: tx.revision)

    asyncio.run(main())


def test_clock_and_ids_can_be_given() -> None:
    """What an application writes has the times and ids that the host program gives."""
    at = datetime(2030, 1, 2, tzinfo=UTC)
    store = MemoryStore()
    app = build_app(store, clock=lambda: at, ids=lambda: "chosen")
    (added,) = answers(app, ("POST", ADD, {"name": "api"}), headers=credentials(store))
    item = added.json()["item"]

    assert item["id"] == "chosen"
    assert item["timestamps"]["created"] == "2030-01-02T00:00:00Z"


def test_what_was_not_foreseen_is_internal_with_a_correlation_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The client gets only the request's id, and the log has it with the traceback."""
    caplog.set_level(logging.INFO, "statusthing.request")

    class Broken(MemoryStore):
        async def read(self, work: Any) -> Any:
            raise RuntimeError("SELECT secret FROM /var/lib/x")

    (answer,) = answers(build_app(Broken()), ("POST", LIST, {}))
    record, request = caplog.records

    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "secret" not in answer.text
    assert record.__dict__["correlation_id"] in answer.json()["message"]
    assert record.exc_info
    assert request.__dict__["correlation_id"] == record.__dict__["correlation_id"]


@pytest.mark.parametrize("client", ["127.0.0.1", "::1", "192.0.2.1"])
@pytest.mark.parametrize("base", ["http://localhost", "http://status.example.com"])
def test_it_does_not_matter_where_callers_are(base: str, client: str) -> None:
    """Callers on this machine need a token for writing, and a token is enough for all others."""
    store = MemoryStore()

    async def main() -> list[int]:
        transport = httpx.ASGITransport(build_app(store), client=(client, 1234))
        async with httpx.AsyncClient(transport=transport, base_url=base) as http:
            return [
                (await http.post(ADD, json={"name": "api"}, headers=headers)).status_code
                for headers in ({}, known)
            ]

    known = credentials(store)

    assert asyncio.run(main()) == [401, 200]


def test_every_answer_keeps_browsers_in_check() -> None:
    """Pages, RPCs, probes and errors have the headers that switch off what they do not need."""
    everything = answers(
        build_app(MemoryStore()),
        ("POST", LIST, {}),
        ("POST", ADD, {}),
        ("GET", "/", None),
        ("GET", "/healthz", None),
        ("GET", "/nothing", None),
        ("PUT", LIST, None),
    )

    assert [answer.status_code for answer in everything] == [200, 401, 200, 200, 404, 405]
    for answer in everything:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"]
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "strict-transport-security" not in answer.headers


def test_over_tls_browsers_come_back_over_tls() -> None:
    """Every answer over TLS says that browsers are not to use anything else."""
    everything = answers(
        build_app(MemoryStore()), ("POST", LIST, {}), ("GET", "/x", None), base="https://localhost"
    )

    assert all("max-age" in each.headers["strict-transport-security"] for each in everything)


@pytest.mark.parametrize(
    "options", [{"trusted_proxies": ["proxy.example"]}, {"cookie_name": "a b"}, {"cookie_name": ""}]
)
def test_a_mistake_in_the_options_is_told_at_once(options: Any) -> None:
    """What cannot be used is named before anything is served."""
    with pytest.raises(UserMistake):
        build_app(MemoryStore(), **options)


@pytest.mark.parametrize(
    ("principal", "status"),
    [
        (None, 401),
        (Principal(name="v", role=Role.VIEWER), 403),
        (Principal(name="e", role=Role.EDITOR), 200),
    ],
)
def test_the_host_may_say_who_is_asking(principal: Principal | None, status: int) -> None:
    """`identify` replaces sessions, and None means an anonymous caller."""

    async def identify(_: Any) -> Principal | None:
        return principal

    (answer,) = answers(build_app(MemoryStore(), identify=identify), ("POST", ADD, {"name": "api"}))

    assert answer.status_code == status


@pytest.mark.parametrize("role", [None, Role.VIEWER])
def test_a_token_counts_beside_the_login_of_the_host(role: Role | None) -> None:
    """A program with a token has its rights, whoever the host takes it for."""

    async def identify(_: Any) -> Principal | None:
        return Principal(name="ada", role=role) if role else None

    store = MemoryStore()
    app = build_app(store, identify=identify)
    add = ("POST", ADD, {"name": "api"})
    (known,) = answers(app, add, headers=credentials(store))
    (unknown,) = answers(app, add, headers={"authorization": "Bearer st_unknown"})

    assert (known.status_code, unknown.status_code) == (200, 401)


def test_an_identify_that_fails_lets_nobody_in() -> None:
    """A defect in the host's login is an internal error, never an anonymous caller."""

    async def identify(_: Any) -> Principal | None:
        raise RuntimeError("the directory is down")

    (answer,) = answers(build_app(MemoryStore(), identify=identify), ("POST", LIST, {}))

    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "directory" not in answer.text


def test_who_is_refused_is_not_read() -> None:
    """Permissions are checked before the body is read."""
    reads = 0

    async def main() -> None:
        async def receive() -> dict[str, Any]:
            nonlocal reads
            reads += 1
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                assert message["status"] == 401

        scope = {
            "type": "http",
            "method": "POST",
            "path": ADD,
            "root_path": "",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json"), (b"host", b"example.com")],
            "client": ("127.0.0.1", 1),
        }
        await build_app(MemoryStore())(scope, receive, send)

    asyncio.run(main())

    assert reads == 0


def test_one_line_per_request_and_never_a_query(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the method, path, status and code, but not what a GET carries."""
    caplog.set_level(logging.INFO, "statusthing.request")
    answers(
        build_app(MemoryStore()),
        ("GET", f"{LIST}?encoding=json&message=%7B%22pageToken%22%3A%22secret%22%7D", None),
        ("POST", LIST, {}),
    )
    lines = [record.getMessage() for record in caplog.records]

    assert lines == [f"GET {LIST} 400", f"POST {LIST} 200"]
    assert [record.__dict__["code"] for record in caplog.records] == ["invalid_argument", "ok"]


def test_a_path_cannot_forge_lines_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Control characters of a path are written as escapes."""
    caplog.set_level(logging.INFO, "statusthing.request")
    answers(build_app(MemoryStore()), ("GET", "/%1b]0;owned%07%0aforged", None))

    assert [record.getMessage() for record in caplog.records] == [
        r"GET '/\x1b]0;owned\x07\nforged' 404"
    ]


@pytest.mark.parametrize("root_path", ["/status", "/x", ""])
def test_a_root_path_may_be_kept_out_of_the_path(root_path: str) -> None:
    """Some servers leave the mount point out of the path, which may begin with the same text."""

    async def main() -> int:
        transport = httpx.ASGITransport(build_app(MemoryStore()), root_path=root_path)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return (await client.post(LIST, json={})).status_code

    assert asyncio.run(main()) == 200


@pytest.mark.parametrize(
    "headers", [{"connect-timeout-ms": "soon"}, {"connect-timeout-ms": "99999999999"}]
)
def test_a_malformed_header_is_refused_once_it_is_known_who_asks(headers: dict[str, str]) -> None:
    """The caller is checked before decoding, and the refusal looks like every other."""
    store = MemoryStore()
    app = build_app(store)
    request = ("POST", ADD, {"name": "api"})
    (known,) = answers(app, request, headers=headers | credentials(store))
    (anonymous,) = answers(app, request, headers=headers)

    assert (known.status_code, known.json()["code"]) == (400, "invalid_argument")
    assert known.json()["details"][0]["type"] == "google.rpc.BadRequest"
    assert known.headers["cache-control"] == "no-store"
    assert anonymous.status_code == 401


def test_a_call_that_the_server_cuts_off_may_be_repeated() -> None:
    """Cancelled from this side, a call is unavailable, so that its client tries again."""

    class Slow(MemoryStore):
        async def read(self, work: Any) -> Any:
            reading.set()
            await asyncio.Event().wait()

    reading = asyncio.Event()
    sent: list[dict[str, Any]] = []

    async def main() -> None:
        messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": b"{}", "more_body": False})

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": LIST,
            "root_path": "",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
        }
        call = asyncio.create_task(build_app(Slow())(scope, messages.get, send))
        await reading.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(main())

    assert sent[0]["status"] == 503
    assert b'"unavailable"' in sent[1]["body"]


def test_two_applications_in_one_process_do_not_meet() -> None:
    """One application knows nothing of what another one's store holds."""
    store = MemoryStore()
    one, other = build_app(store), build_app(MemoryStore())
    known = credentials(store)
    (added,) = answers(one, ("POST", ADD, {"name": "api"}), headers=known)
    (listed,) = answers(other, ("POST", LIST, {}))
    (refused,) = answers(other, ("POST", LIST, {}), headers=known)

    assert added.status_code == 200
    assert listed.json() == {}
    assert refused.status_code == 401


@pytest.mark.parametrize("content_type", ["application/json", "application/proto"])
def test_an_answer_that_cannot_be_encoded_is_internal(content_type: str) -> None:
    """What a store should never have returned is reported as a defect, without its text."""

    class Wrong(MemoryStore):
        async def read(self, work: Any) -> Any:
            return Answer(GetItemResponse(item=ItemView(id=object(), name="secret")), 1)  # type: ignore[arg-type]

    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(build_app(Wrong()))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            body = b'{"item_id": "a"}' if content_type == "application/json" else b"\n\x01a"
            path = "/statusthing.v1.ItemsService/GetItem"
            return await client.post(path, content=body, headers={"content-type": content_type})

    answer = asyncio.run(main())

    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "correlation id" in answer.json()["message"]
    assert "object" not in answer.text


def test_an_access_that_there_is_not_is_a_mistake() -> None:
    """It is said in a sentence, as are mistakes in other options."""
    with pytest.raises(UserMistake, match="public or private, not 'secret'"):
        build_app(MemoryStore(), access="secret")
