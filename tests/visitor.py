"""An application in this process, and people who visit its pages with a browser."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec

import httpx
from starlette.applications import Starlette
from starlette.routing import Mount

from statusthing import Principal, Role, StatusThing, build_app
from statusthing.app import App
from statusthing.memory import MemoryStore
from statusthing.store import Store

P = ParamSpec("P")

PASSWORD = "correct horse battery"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)

HTTP = "http://status.example"
HTTPS = "https://status.example"


def awaited(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a coroutine function a test."""

    @functools.wraps(test)
    def run(*args: P.args, **fields: P.kwargs) -> None:
        asyncio.run(test(*args, **fields))

    return run


class Visitor:
    """Somebody with a browser: it keeps cookies, and says where its requests come from.

    Attributes:
        http: the client, for requests that no browser would make.
    """

    def __init__(self, http: httpx.AsyncClient, prefix: str) -> None:
        self.http = http
        self._prefix = prefix

    async def get(self, path: str, **query: str) -> httpx.Response:
        """Open a page."""
        return await self.http.get(self._prefix + path, params=query or None)

    async def post(self, path: str, **fields: str) -> httpx.Response:
        """Send a form of a page of the same site."""
        headers = {"sec-fetch-site": "same-origin", "origin": str(self.http.base_url)}
        return await self.http.post(self._prefix + path, data=fields, headers=headers)

    @property
    def cookies(self) -> dict[str, str]:
        """What the browser keeps."""
        return dict(self.http.cookies)


class Place:
    """An application, and who visits it.

    Attributes:
        st: its service.
        now: what its clock says.
    """

    def __init__(self, prefix: str, store: Store, **options: Any) -> None:
        self.now = START
        self._prefix = prefix
        self.app: App = build_app(store, defaults=True, clock=lambda: self.now, **options)
        self.st: StatusThing = self.app.st
        self._host: Any = Starlette(routes=[Mount(prefix, self.app)]) if prefix else self.app

    def pass_by(self, **time: float) -> None:
        """Let time pass, given as `timedelta` takes it."""
        self.now += timedelta(**time)

    @asynccontextmanager
    async def visitor(
        self, *, base: str = HTTP, address: str = "192.0.2.1", **headers: str
    ) -> AsyncIterator[Visitor]:
        """Somebody who is not signed in."""
        transport = httpx.ASGITransport(
            self._host, raise_app_exceptions=False, client=(address, 50_000)
        )
        said = {"accept": "text/html", "user-agent": "Fox/1", **headers}
        async with httpx.AsyncClient(
            transport=transport, base_url=base, headers=said, timeout=30
        ) as http:
            yield Visitor(http, self._prefix)

    async def add(self, username: str, role: Role = Role.ADMIN, **fields: Any) -> Principal:
        """Add somebody whose password is PASSWORD."""
        user = await self.st.users.add(username=username, password=PASSWORD, role=role, **fields)
        return Principal(name=username, role=role, user_id=user.id)

    async def visitor_with(self, secret: str) -> int:
        """Return the HTTP status of a call with a token."""
        async with self.visitor(authorization=f"Bearer {secret}") as program:
            path = "/statusthing.v1.ItemsService/ListItems"
            return (await program.http.post(self._prefix + path, json={})).status_code

    @asynccontextmanager
    async def signed_in(self, who: Principal, *, base: str = HTTP) -> AsyncIterator[Visitor]:
        """Somebody who is signed in, without a password."""
        async with self.visitor(base=base) as visitor:
            secret = await self.st.accounts.renew_session(who, user_agent="Fox/1")
            name = "__Host-statusthing_session" if base == HTTPS else "statusthing_session"
            path = "/" if base == HTTPS else self._prefix or "/"
            visitor.http.cookies.set(name, secret, "status.example", path)
            yield visitor


@asynccontextmanager
async def place(
    prefix: str = "", *, store: Store | None = None, **options: Any
) -> AsyncIterator[Place]:
    """Open an application over an empty store.

    Args:
        prefix: under which it is mounted.
        store: by default one in memory.
        options: of `build_app`.
    """
    here = Place(prefix, store or MemoryStore(), **options)
    async with here.app:
        yield here
