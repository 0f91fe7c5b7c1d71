"""`build_app`: a store becomes an ASGI application. Composition, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from starlette.routing import Router

from statusthing.asgi import Receive, Scope, Send, mounted_path
from statusthing.identity import Identify, loopback_identity
from statusthing.rpc.application import RpcApplication
from statusthing.rpc.cors import Cors
from statusthing.rpc.health import Health
from statusthing.rpc.reflection import reflection
from statusthing.service import StatusThing, utc_now, uuid7
from statusthing.store import Store
from statusthing.web.routes import routes

_FAILED = 400  # and every HTTP status above it

_log = logging.getLogger("statusthing.request")


def build_app(
    store: Store,
    *,
    identify: Identify = loopback_identity,
    defaults: bool = False,
    migrate: bool = False,
    devmode: bool = False,
    cors_origins: Iterable[str] = (),
    clock: Callable[[], datetime] = utc_now,
    ids: Callable[[], str] = uuid7,
) -> App:
    """Build an ASGI application over a store.

    It works at the root and mounted under a prefix, with and without lifespan events: the store is
    opened by whichever comes first, the lifespan or a request, and closed by the lifespan's end.
    Frameworks keep lifespan events from what is mounted in them. There, `async with app:` does the
    same, for example as the host's own lifespan: `Starlette(..., lifespan=lambda _: app)`.

    Args:
        store: where everything is kept; not open yet, or open.
        identify: who is asking; see `statusthing.identity.Identify`. By default callers on this
            machine may write, and everybody may read.
        defaults: make the default statuses in a store that never held anything.
        migrate: bring an older store up to date before it is opened; otherwise opening one raises
            SchemaOutdated.
        devmode: serve gRPC reflection.
        cors_origins: the origins, such as "https://status.example.com", whose pages may make every
            call that their visitors may; pages of any other origin may only read.
        clock: see `StatusThing`.
        ids: see `StatusThing`.

    Raises:
        UserMistake: one of `cors_origins` is not the origin of a page.
    """
    return App(
        StatusThing(store, clock=clock, ids=ids),
        identify,
        defaults=defaults,
        migrate=migrate,
        devmode=devmode,
        cors_origins=cors_origins,
    )


class App:
    """The application that `build_app` returns.

    Attributes:
        st: the service, for the program that embeds it.
    """

    def __init__(
        self,
        st: StatusThing,
        identify: Identify,
        *,
        defaults: bool,
        migrate: bool,
        devmode: bool,
        cors_origins: Iterable[str],
    ) -> None:
        self.st = st
        self._defaults = defaults
        self._migrate = migrate
        self._opened = False
        self._opening: asyncio.Task[None] | None = None
        rpc = RpcApplication(
            st,
            identify=identify,
            ready=self._ready,
            extra_endpoints={
                **Health(st, self._ready).endpoints(),
                **(reflection() if devmode else {}),
            },
        )
        self._rpcs = rpc.methods.keys()
        self._cors = Cors(rpc, origins=cors_origins, public=rpc.public)
        self._router = Router(routes(st, self._ready), redirect_slashes=False, default=self._cors)

    async def __call__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    async def __aenter__(self) -> None:
        # Nothing is returned: Starlette would take it for the state that requests share.
        await self._ready()

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def _ready(self) -> None:
        if self._opened:
            return
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open())
        # Shared by all who wait, and not cancelled with one of them whose deadline passes.
        await asyncio.shield(self._opening)

    async def _open(self) -> None:
        if self._migrate:
            await self.st.store.migrate()
        await self.st.store.open()
        try:
            if self._defaults:
                await self.st.add_default_statuses()
        except BaseException:
            await self.st.store.close()
            raise
        self._opened = True

    async def _close(self) -> None:
        self._opened = False
        await self.st.store.close()

    async def _lifespan(
        self,
        receive: Receive,
        send: Send,
    ) -> None:
        await receive()
        try:
            await self._ready()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        began = time.perf_counter()
        status = 0

        async def watched_send(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            # Most requests are RPCs, whose addresses need no search.
            answer = self._cors if mounted_path(scope) in self._rpcs else self._router
            await answer(scope, receive, watched_send)
        finally:
            path = scope["path"]
            # Never the query string: a GET carries its message there.
            _log.info(
                "%s %s %d",
                scope["method"],
                # As a literal where it could forge lines or move a terminal's cursor.
                path if path.isprintable() else ascii(path),
                status,
                extra={
                    "code": scope.get("statusthing.code", "ok" if 0 < status < _FAILED else "-"),
                    "milliseconds": round((time.perf_counter() - began) * 1_000, 1),
                },
            )
