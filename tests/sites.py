"""An application over a service whose clock tests set, and browsers and programs that ask it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import unquote

import httpx
from tests.accounts import Clock, Place

from statusthing import build_app
from statusthing.app import App
from statusthing.memory import MemoryStore
from statusthing.store import Store

SECONDS = 10.0  # the bound of everything that is waited for
BASE = "http://status.test"
COOKIE = "statusthing_session"
HTML = {"accept": "text/html"}
SAME = {"sec-fetch-site": "same-origin"}


class Site(Place):
    """An application, and its service.

    Args:
        app: the application.
        clock: its clock.
    """

    def __init__(self, app: App, clock: Clock) -> None:
        super().__init__(app.st, clock)
        self.app = app

    def client(self, *, address: str = "192.0.2.1", base: str = BASE, **more: Any) -> Client:
        """Return who asks it, from an address."""
        transport = httpx.ASGITransport(
            self.app, client=(address, 40_000), raise_app_exceptions=False
        )
        return Client(transport=transport, base_url=base, **more)


class Client(httpx.AsyncClient):
    """Asks, and follows no redirect."""

    async def rpc(self, path: str, token: str = "", /, **fields: Any) -> httpx.Response:
        """Call an RPC, named `Service/Rpc`, with JSON."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return await self.post(f"/statusthing.v1.{path}", json=fields, headers=headers)

    async def sign_in(self, username: str, password: str, **more: str) -> httpx.Response:
        """Send the form to sign in with."""
        form = {"username": username, "password": password, **more}
        return await self.post("/admin/login", data=form, headers=SAME)


@asynccontextmanager
async def site(
    store: Store | None = None, *, clock: Clock | None = None, **options: Any
) -> AsyncIterator[Site]:
    """Open an application over a store, by default an empty one in memory."""
    clock = clock or Clock()
    app = build_app(store or MemoryStore(), clock=clock, **options)
    async with app:
        yield Site(app, clock)


class Answer(NamedTuple):
    """What an application answered.

    Attributes:
        status: of HTTP; 0 without an answer, because it waits for a body that never comes.
        headers: as they were sent, names in lower case.
        body: the first part of it, where it goes on.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return the values of a header."""
        return [value for key, value in self.headers if key == name]


async def ask(
    app: Any,
    method: str,
    target: str,
    headers: Mapping[str, str] = MappingProxyType({}),
    *,
    body: bytes | None = b"",
    scheme: str = "http",
    **scope: Any,
) -> Answer:
    """Send one request to an application.

    Args:
        app: the application.
        method: of HTTP.
        target: path and query.
        headers: of the request.
        body: of the request; None for one that never comes.
        scheme: `https` for what came over TLS.
        scope: more of ASGI's.
    """
    path, _, query = target.partition("?")
    parts: list[Any] = []
    begun, waits = asyncio.Event(), asyncio.Event()
    asked = False

    async def receive() -> Any:
        nonlocal asked
        if body is not None and not asked:
            asked = True
            return {"type": "http.request", "body": body, "more_body": False}
        if not asked and not begun.is_set():
            waits.set()
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        parts.append(message)
        if message["type"] == "http.response.body":
            begun.set()

    lines = {"host": "status.test"} | {name.lower(): value for name, value in headers.items()}
    whole = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in lines.items()],
        "client": ("192.0.2.1", 40_000),
        "server": ("status.test", 80),
        **scope,
    }
    answering = asyncio.ensure_future(app(whole, receive, send))
    waiting = asyncio.ensure_future(waits.wait())
    done, _ = await asyncio.wait(
        {answering, waiting}, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED
    )
    for task in (answering, waiting):
        task.cancel()
    if answering not in done:
        await asyncio.gather(answering, return_exceptions=True)
        return Answer(0, [], b"it waits for the body" if waiting in done else b"it does not answer")
    answering.result()
    start, *bodies = parts
    return Answer(
        start["status"],
        [(name.decode().lower(), value.decode("latin-1")) for name, value in start["headers"]],
        b"".join(part.get("body", b"") for part in bodies),
    )


def unsafe(answer: Answer, *, tls: bool = False) -> list[str]:
    """Return what an answer lacks, or says twice, of what keeps browsers safe."""
    problems = []
    for name, wanted in (
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("strict-transport-security", "max-age=31536000" if tls else None),
    ):
        if answer.all(name) != ([wanted] if wanted else []):
            problems.append(f"{name}: {answer.all(name)}")
    policies = answer.all("content-security-policy")
    policy = policies[0] if len(policies) == 1 else ""
    rules = dict(each.strip().partition(" ")[::2] for each in policy.split(";"))
    if rules.get("default-src") != "'none'" or rules.get("frame-ancestors") != "'none'":
        problems.append(f"content-security-policy: {policies}")
    if "unsafe" in policy or "*" in policy or "http" in policy:
        problems.append(f"content-security-policy: {policies}")
    return problems
