"""gRPC health checks, with grpcio's client and over every other protocol."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from grpc_health.v1.health_pb2 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
)
from grpc_health.v1.health_pb2_grpc import HealthStub

from statusthing import build_app
from statusthing.errors import StoreUnavailable
from statusthing.memory import MemoryStore
from statusthing.rpc import health as health_checks

if TYPE_CHECKING:
    from tests.conftest import Server

Serve = Callable[..., AbstractContextManager["Server"]]

SECONDS = 10.0  # the bound of everything that is waited for
SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN
SERVICES = {
    "",
    "statusthing.v1.AuditService",
    "statusthing.v1.ItemsService",
    "statusthing.v1.NotesService",
    "statusthing.v1.StatusService",
    "statusthing.v1.TokensService",
    "statusthing.v1.UsersService",
}
HEALTH = "/grpc.health.v1.Health"


@contextmanager
def health(server: Server, **options: str) -> Iterator[HealthStub]:
    """A client of the health service, with these options of its channel (`grpc.` left out)."""
    settings = [
        ("grpc.use_local_subchannel_pool", 1),
        *((f"grpc.{name}", value) for name, value in options.items()),
    ]
    with grpc.insecure_channel(server.address, options=settings) as channel:
        yield HealthStub(channel)


def check(stub: HealthStub, service: str = "") -> Any:
    """Ask for the status of a service."""
    return stub.Check(HealthCheckRequest(service=service), timeout=SECONDS).status


def watch(stub: HealthStub, service: str = "") -> Any:
    """Ask for the statuses of a service from now on."""
    return stub.Watch(HealthCheckRequest(service=service), timeout=SECONDS)


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end


def code_of(call: Any) -> grpc.StatusCode:
    """Read a stream to its end, and return the code that it ends with."""
    with pytest.raises(grpc.RpcError):
        list(call)
    code: grpc.StatusCode = call.code()
    return code


# What is known


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_service_is_serving(server: Server, service: str) -> None:
    """The server as a whole and each of its services serve while the store answers."""
    with health(server) as stub:
        assert check(stub, service) == SERVING
        assert next(watch(stub, service)).status == SERVING


def test_all_services_are_listed(server: Server) -> None:
    """A list has every service that can be checked."""
    with health(server) as stub:
        found = stub.List(HealthListRequest(), timeout=SECONDS).statuses

    assert {service: status.status for service, status in found.items()} == dict.fromkeys(
        SERVICES, SERVING
    )


@pytest.mark.parametrize("service", ["statusthing.v1.NopeService", "statusthing.v1", " "])
def test_an_unknown_service_has_no_status(server: Server, service: str) -> None:
    """Checking it fails; watching it tells that it is unknown, and goes on."""
    with health(server) as stub:
        with pytest.raises(grpc.RpcError) as caught:
            check(stub, service)
        watching = watch(stub, service)

        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert next(watching).status == SERVICE_UNKNOWN
        assert watching.is_active()


def test_no_credentials_are_needed(server: Server) -> None:
    """Everybody may ask, under whatever name they know the server."""
    with health(server, default_authority="status.example.com") as stub:
        assert check(stub) == SERVING
        assert next(watch(stub)).status == SERVING


# Every protocol


@pytest.mark.parametrize("service", ["", "statusthing.v1.ItemsService"])
def test_a_check_by_json(http: httpx.Client, service: str) -> None:
    """Plain HTTP works without any protobuf."""
    response = http.post(f"{HEALTH}/Check", json={"service": service} if service else {})

    assert (response.status_code, response.json()) == (200, {"status": "SERVING"})
    assert response.headers["cache-control"] == "no-store"


def test_a_list_by_json(http: httpx.Client) -> None:
    """A map is an object."""
    statuses = http.post(f"{HEALTH}/List", json={}).json()["statuses"]

    assert statuses == {service: {"status": "SERVING"} for service in SERVICES}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ('{"service":"nope"}', 404, "not_found"),
        ('{"service":1}', 400, "invalid_argument"),
        ('{"services":""}', 400, "invalid_argument"),
        ('{"service":"","service":""}', 400, "invalid_argument"),
        ("[]", 400, "invalid_argument"),
        ("", 400, "invalid_argument"),
    ],
)
def test_a_malformed_check(http: httpx.Client, body: str, status: int, code: str) -> None:
    """JSON is read as strictly as everywhere else."""
    headers = {"content-type": "application/json"}

    response = http.post(f"{HEALTH}/Check", content=body, headers=headers)

    assert (response.status_code, response.json()["code"]) == (status, code)


def test_a_check_by_get_is_405(http: httpx.Client) -> None:
    """The service has no call without side effects."""
    response = http.get(f"{HEALTH}/Check", params={"encoding": "json", "message": "{}"})

    assert (response.status_code, response.headers["allow"]) == (405, "POST")


SERVING_PROTO = HealthCheckResponse(status=SERVING).SerializeToString()
SERVING_JSON = b'{"status":"SERVING"}'


@pytest.mark.parametrize(
    ("content_type", "request_", "answer"),
    [
        ("application/proto", b"", SERVING_PROTO),
        ("application/json", b"{}", SERVING_JSON),
        ("application/grpc-web", bytes(5), SERVING_PROTO),
        ("application/grpc-web+proto", bytes(5), SERVING_PROTO),
        ("application/grpc-web+json", b"\0\0\0\0\2{}", SERVING_JSON),
    ],
)
def test_a_check_over_http1(
    http: httpx.Client, content_type: str, request_: bytes, answer: bytes
) -> None:
    """Every protocol that works over HTTP/1.1 has the call."""
    response = http.post(
        f"{HEALTH}/Check", content=request_, headers={"content-type": content_type}
    )

    assert response.status_code == 200
    assert answer in response.content


@pytest.mark.parametrize(
    ("content_type", "request_", "answer"),
    [
        ("application/connect+proto", bytes(5), SERVING_PROTO),
        ("application/connect+json", b"\0\0\0\0\2{}", SERVING_JSON),
        ("application/grpc-web+proto", bytes(5), SERVING_PROTO),
        ("application/grpc-web+json", b"\0\0\0\0\2{}", SERVING_JSON),
    ],
)
def test_a_watch_over_http1(
    http: httpx.Client, content_type: str, request_: bytes, answer: bytes
) -> None:
    """The first status arrives at once, in a message of its own."""
    headers = {"content-type": content_type}
    with http.stream("POST", f"{HEALTH}/Watch", content=request_, headers=headers) as response:
        parts = response.iter_raw()
        received = b""
        while len(received) < 5 + len(answer):
            received += next(parts)

    assert response.status_code == 200
    assert response.headers["content-type"] == content_type
    assert received == b"\0" + len(answer).to_bytes(4, "big") + answer


@pytest.mark.parametrize("content_type", ["application/json", "application/proto"])
def test_a_watch_is_a_stream(http: httpx.Client, content_type: str) -> None:
    """The content types of unary calls are refused, and the answer names those of streams."""
    response = http.post(f"{HEALTH}/Watch", content=b"{}", headers={"content-type": content_type})

    assert response.status_code == 415
    assert response.headers["accept-post"] == "application/connect+json, application/connect+proto"


# A store that goes away


def test_a_store_that_goes_away_and_comes_back(serve: Serve, tmp_path: Path) -> None:
    """Who watches is told of each change, and who checks gets the present status."""
    file, elsewhere = tmp_path / "statusthing.db", tmp_path / "elsewhere.db"
    with serve() as server, health(server) as stub:
        watching, unknown = watch(stub, "statusthing.v1.ItemsService"), watch(stub, "nope")
        seen = [next(watching).status]
        file.rename(elsewhere)
        seen.append(next(watching).status)
        away = [check(stub), httpx.get(f"{server.url}/readyz").status_code]
        elsewhere.rename(file)
        seen.append(next(watching).status)
        back = [check(stub), httpx.get(f"{server.url}/readyz").status_code]

        assert seen == [SERVING, NOT_SERVING, SERVING]
        assert away == [NOT_SERVING, 503]
        assert back == [SERVING, 200]
        assert next(unknown).status == SERVICE_UNKNOWN
        assert unknown.is_active()
    # One line for each outage, however often and by however many it was noticed.
    assert server.log.read_text().count("not serving: ") == 1


def test_what_the_store_says_is_not_told() -> None:
    """Whatever the store raises, callers learn only that there is no service."""

    class Broken(MemoryStore):
        async def read(self, work: Any) -> Any:
            raise StoreUnavailable("database at 10.1.2.3, password hunter2")

    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(build_app(Broken()))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post(f"{HEALTH}/Check", json={})

    response = asyncio.run(main())

    assert (response.status_code, response.text) == (200, '{"status":"NOT_SERVING"}')


# Those who watch


class Watcher:
    """A call of Watch to an application in this process."""

    def __init__(self, app: Any, *, state: dict[str, Any] | None = None) -> None:
        self.statuses: asyncio.Queue[bytes] = asyncio.Queue()
        self.end = b""
        self._requests: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._requests.put_nowait(
            {"type": "http.request", "body": b"\0\0\0\0\2{}", "more_body": False}
        )
        scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": f"{HEALTH}/Watch",
            "root_path": "",
            "query_string": b"",
            "headers": [(b"content-type", b"application/connect+json")],
            "client": ("127.0.0.1", 1),
        }
        if state is not None:
            scope["state"] = state
        self.call = asyncio.create_task(app(scope, self._requests.get, self._send))

    async def _send(self, message: dict[str, Any]) -> None:
        body = message.get("body", b"")
        if body[:1] == b"\2":
            self.end = body[5:]
        elif body:
            self.statuses.put_nowait(body[5:])

    async def next(self) -> bytes:
        """Wait for the next status."""
        return await asyncio.wait_for(self.statuses.get(), SECONDS)

    async def leave(self) -> None:
        """Hang up, and wait for the call to end."""
        self._requests.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(self.call, SECONDS)


class Observed(MemoryStore):
    """A store that tells which task reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: asyncio.Queue[Any] = asyncio.Queue()

    async def read(self, work: Any) -> Any:
        """Run a unit that only reads."""
        self.reads.put_nowait(asyncio.current_task())
        return await super().read(work)


async def pollers(store: Observed) -> set[Any]:
    """Wait until the store has been read four times, and return the tasks that did it."""
    while not store.reads.empty():
        store.reads.get_nowait()
    return {await asyncio.wait_for(store.reads.get(), SECONDS) for _ in range(4)}


def test_the_store_is_asked_once_for_all_who_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """One task asks, however many watch, and none when nobody does."""
    monkeypatch.setattr(health_checks, "POLL_SECONDS", 0.01)
    store = Observed()

    async def main() -> None:
        app = build_app(store)
        before = asyncio.all_tasks()
        watchers = [Watcher(app) for _ in range(5)]
        assert [await each.next() for each in watchers] == [SERVING_JSON] * 5
        asking = await pollers(store)
        assert len(asking) == 1
        await watchers.pop().leave()
        assert await pollers(store) == asking
        for each in watchers:
            await each.leave()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before

        late = Watcher(app)
        assert await late.next() == SERVING_JSON
        assert (await pollers(store)).isdisjoint(asking)
        await late.leave()

    asyncio.run(main())


def test_the_end_of_the_server_ends_a_watch() -> None:
    """Who watches is told that the server stops, and to look for another one."""

    async def main() -> None:
        stopping = asyncio.Event()
        app = build_app(MemoryStore())
        watcher = Watcher(app, state={"statusthing.stopping": stopping})
        assert await watcher.next() == SERVING_JSON
        stopping.set()
        assert await watcher.next() == b'{"status":"NOT_SERVING"}'
        await asyncio.wait_for(watcher.call, SECONDS)
        assert b'"unavailable"' in watcher.end

        late = Watcher(app, state={"statusthing.stopping": stopping})
        await asyncio.wait_for(late.call, SECONDS)
        assert b'"unavailable"' in late.end

    asyncio.run(main())


def test_a_stopping_server_does_not_wait_for_those_who_watch(serve: Serve) -> None:
    """The streams end on their own, each with a status that says why."""
    with serve("--store=memory://") as server, health(server) as stub:
        known, unknown = watch(stub), watch(stub, "nope")
        assert next(known).status == SERVING
        assert next(unknown).status == SERVICE_UNKNOWN
        os.kill(server.pid, signal.SIGTERM)

        assert next(known).status == NOT_SERVING
        assert code_of(known) is code_of(unknown) is grpc.StatusCode.UNAVAILABLE


def test_a_watch_ends_when_its_client_leaves(serve: Serve) -> None:
    """The call is over, as the log tells, soon after its client has cancelled it."""
    with serve("--store=memory://") as server, health(server) as stub:
        watching = watch(stub)
        assert next(watching).status == SERVING
        watching.cancel()

        until(lambda: "Health/Watch" in server.log.read_text())
