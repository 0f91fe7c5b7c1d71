"""An application over a service whose clock tests set, and browsers and programs that ask it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from tests.accounts import Clock, Place

from statusthing import build_app
from statusthing.app import App
from statusthing.memory import MemoryStore
from statusthing.store import Store

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
