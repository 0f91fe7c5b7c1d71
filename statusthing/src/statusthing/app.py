"""`build_app`: a store becomes an ASGI application. Composition, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from starlette.routing import Router

from statusthing.access import Access
from statusthing.asgi import Receive, Scope, Send, correlation_id, mounted_path
from statusthing.errors import StoreUnavailable, UserMistake, with_cause
from statusthing.identity import Callers, Identify
from statusthing.proxies import Proxies
from statusthing.rpc.application import RpcApplication
from statusthing.rpc.cors import Cors
from statusthing.rpc.health import Health
from statusthing.rpc.reflection import reflection
from statusthing.safety import NOINDEX, SECURE, SECURE_TLS, with_missing
from statusthing.service import StatusThing, utc_now, uuid7
from statusthing.store import Store
from statusthing.web.headline import HeadlineRule, headline
from statusthing.web.routes import PATHS, or_missing, routes
from statusthing.web.settings import DEFAULTS, PageSettings
from statusthing.web.shelf import Shelf
from statusthing.web.site import Site

COOKIE_NAME = "statusthing_session"

_COOKIE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # fewer characters than RFC 6265 allows
_FAILED = 400  # and every HTTP status above it

_log = logging.getLogger("statusthing.request")


def build_app(
    store: Store,
    *,
    access: Access | str = Access.PUBLIC,
    identify: Identify | None = None,
    defaults: bool = False,
    migrate: bool = False,
    devmode: bool = False,
    cors_origins: Iterable[str] = (),
    trusted_proxies: Iterable[str] = (),
    cookie_name: str = COOKIE_NAME,
    setup_file: Path | None = None,
    settings: PageSettings = DEFAULTS,
    headline: HeadlineRule = headline,
    cache_dir: str | Path | None = None,
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
        access: who may read: `public` for everybody, `private` for those who are known.
        identify: who is asking, in place of sessions and the pages to sign in; see
            `statusthing.identity.Identify`. Tokens work in either case.
        defaults: make the default statuses in a store that never had anything to show.
        migrate: bring an older store up to date before it is opened; otherwise opening one raises
            SchemaOutdated.
        devmode: serve gRPC reflection, and let the account live that `statusthing serve --devmode`
            makes; have pages follow edits of templates and assets, and tell where a template
            failed. People then sign in at localhost or a loopback address only.
        cors_origins: the origins, such as "https://status.example.com", whose pages may make every
            call that their visitors may; pages of any other origin may only read.
        trusted_proxies: the addresses, or networks such as "10.0.0.0/8", of proxies whose
            `X-Forwarded-*` headers count; those of anybody else are ignored.
        cookie_name: of the cookie of a session.
        setup_file: a file with a setup link, which is removed once there is an admin.
        settings: the title, the colours and the links of the pages.
        headline: makes the headline of the kinds in force, see `statusthing.web.headline`.
        cache_dir: a folder that keeps what the pages show, so that they are there after a restart
            without the store; None keeps nothing.
        clock: see `StatusThing`.
        ids: see `StatusThing`.

    Raises:
        UserMistake: `access` is none of these, one of `cors_origins` not the origin of a page, one
            of `trusted_proxies` no address, `cookie_name` not the name of a cookie, or `cache_dir`
            no folder that can be written to.
    """
    try:
        access = Access(access)
    except ValueError as error:
        msg = f"access must be public or private, not {access!r}"
        raise UserMistake(msg) from error
    return App(
        StatusThing(store, clock=clock, ids=ids, access=access, devmode=devmode),
        identify,
        defaults=defaults,
        migrate=migrate,
        devmode=devmode,
        cors_origins=cors_origins,
        trusted_proxies=trusted_proxies,
        cookie_name=cookie_name,
        setup_file=setup_file,
        settings=settings,
        headline=headline,
        shelf=None if cache_dir is None else Shelf(Path(cache_dir), store.url),
    )


class App:
    """The application that `build_app` returns.

    Attributes:
        st: the service, for the program that embeds it.
    """

    def __init__(
        self,
        st: StatusThing,
        identify: Identify | None,
        *,
        defaults: bool,
        migrate: bool,
        devmode: bool,
        cors_origins: Iterable[str],
        trusted_proxies: Iterable[str],
        cookie_name: str,
        setup_file: Path | None,
        settings: PageSettings,
        headline: HeadlineRule,
        shelf: Shelf | None,
    ) -> None:
        if not _COOKIE_NAME.fullmatch(cookie_name):
            msg = f"a cookie cannot be called {cookie_name!r}: use letters, digits, _ . and -"
            raise UserMistake(msg)
        self.st = st
        cors_origins = frozenset(cors_origins)
        callers = Callers(st.accounts, self._ready, identify, cookie_name, cors_origins)
        self._proxies = Proxies(trusted_proxies)
        self._is_public = st.access is Access.PUBLIC
        self._defaults = defaults
        self._migrate = migrate
        self._opened = False
        self._opening: asyncio.Task[None] | None = None
        rpc = RpcApplication(
            st,
            identify=callers.of_call,
            ready=self._ready,
            extra_endpoints={
                **Health(st, self._ready).endpoints(),
                **(reflection() if devmode else {}),
            },
        )
        self._rpcs = rpc.methods.keys()
        self._cors = Cors(rpc, origins=cors_origins, public=rpc.public)
        self._site = Site(
            st,
            self._ready,
            callers,
            PATHS,
            settings=settings,
            headline=headline,
            shelf=shelf,
            setup_file=setup_file,
            devmode=devmode,
        )
        self._router = Router(
            routes(self._site),
            redirect_slashes=False,
            default=or_missing(self._site, self._cors),
        )

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
        await self._start()

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

    async def _start(self) -> None:
        try:
            await self._ready()
        except StoreUnavailable as error:
            if not self._site.live.away:
                raise
            _log.error("serving what was last known until the store is back: %s", with_cause(error))
        if self._site.live.away:
            self._site.live.watch()

    async def _close(self) -> None:
        self._opened = False
        await self._site.live.close()
        await self.st.store.close()

    async def _lifespan(
        self,
        receive: Receive,
        send: Send,
    ) -> None:
        await receive()
        try:
            await self._start()
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
        scope = self._proxies.seen_through(scope)
        correlation_id.set(f"{random.getrandbits(64):016x}")
        secure = SECURE_TLS if scope.get("scheme") == "https" else SECURE
        if not self._is_public:
            secure = [*secure, NOINDEX]
        status, level = 0, logging.INFO

        async def watched_send(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": with_missing(message.get("headers", ()), secure)}
            await send(message)

        try:
            path = mounted_path(scope)
            at_hand = None
            if (
                self._is_public
                and path == "/"
                and scope["method"] == "GET"
                and not scope["query_string"]
            ):
                at_hand = self._site.pages.at_hand(scope)
            if at_hand is not None:
                # Most visitors: with the page made and fresh, there is nothing else to do. A line
                # in the log would take longer than that.
                level = logging.DEBUG
                await receive()
                status = at_hand[0]["status"]
                # It has every header but the one that is for TLS only.
                send_page = send if secure is SECURE else watched_send
                await send_page(at_hand[0])
                await send_page(at_hand[1])
            elif path in self._rpcs:
                # Most requests besides are RPCs, whose addresses need no search.
                await self._cors(scope, receive, watched_send)
            else:
                await self._router(scope, receive, watched_send)
        finally:
            if _log.isEnabledFor(level):
                path = scope["path"]
                # Never the query string: a GET carries its message there.
                _log.log(
                    level,
                    "%s %s %d",
                    scope["method"],
                    # As a literal where it could forge lines or move a terminal's cursor.
                    path if path.isprintable() else ascii(path),
                    status,
                    extra={
                        "code": scope.get(
                            "statusthing.code", "ok" if 0 < status < _FAILED else "-"
                        ),
                        "milliseconds": round((time.perf_counter() - began) * 1_000, 1),
                        "correlation_id": correlation_id.get(),
                    },
                )
