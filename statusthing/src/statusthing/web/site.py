"""What the handlers of one application share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from statusthing.access import ANONYMOUS, Principal, permitted
from statusthing.errors import StoreError, UserMistake
from statusthing.identity import Callers, origin_of
from statusthing.service import StatusThing
from statusthing.service.messages import Request as Message
from statusthing.web.admin.rows import Rows
from statusthing.web.answers import HTML, SECURITY, UNKEPT
from statusthing.web.headline import HeadlineRule
from statusthing.web.live import Live
from statusthing.web.pages import Pages
from statusthing.web.renderer import Renderer
from statusthing.web.settings import PageSettings, in_force
from statusthing.web.shelf import Shelf
from statusthing.web.urls import Urls, prefix_of


class Site:
    """The pages of one application, without their routes.

    Args:
        st: the service.
        ready: is awaited before anything reads the store.
        callers: finds out who is asking.
        paths: of the routes, by name.
        settings: what there is to say about the pages.
        headline: see `HeadlineRule`.
        shelf: keeps the last board; None if nothing does.
        setup_file: holds a setup link, and goes when that has been used; None if nothing does.
        devmode: follow edits of templates and assets, and say where a template failed.

    Attributes:
        st, ready, callers, setup_file, devmode: as given.
        renderer: makes pages of templates.
        live: the newest board.
        pages: the public pages.
        rows: those of the list of items.
        streams: how many streams of events are open.
    """

    def __init__(
        self,
        st: StatusThing,
        ready: Callable[[], Awaitable[None]],
        callers: Callers,
        paths: Mapping[str, str],
        *,
        settings: PageSettings,
        headline: HeadlineRule,
        shelf: Shelf | None,
        setup_file: Path | None,
        devmode: bool,
    ) -> None:
        self.st = st
        self.ready = ready
        self.callers = callers
        self.setup_file = setup_file
        self.devmode = devmode
        self.renderer = Renderer(paths, settings, devmode=devmode)
        self.live = Live(st, ready, shelf)
        self.pages = Pages(st, self.live, self.renderer, headline)
        self.rows = Rows(self.renderer)
        self.streams = 0

    def url(self, request: Request) -> Urls:
        """Return the URLs for the answer to a request."""
        return self.renderer.urls(prefix_of(request.scope))

    async def look(self) -> None:
        """See to it that pages have the settings that are in force; without the store, the last."""
        with suppress(StoreError, UserMistake):
            await self.live.snapshot()

    def _settings_for(self, principal: Principal) -> PageSettings:
        """Return the settings as somebody may know them."""
        board = self.live.board
        if board is None or not permitted(principal, "ViewPage", self.st.access):
            return self.renderer.settings
        return in_force(self.renderer.settings, board.settings)

    async def run(self, request: Request, message: Message) -> Any:
        """Carry out an operation for whoever asks, and return its response.

        Args:
            request: whose principal it runs for, and where that is, for the log.
            message: what is to be done, see `StatusThing.run`.
        """
        await self.ready()
        answer = await self.st.run(
            message, principal=request.state.principal, origin=origin_of(request.scope)
        )
        return answer.response

    def page(
        self,
        request: Request,
        template: str,
        /,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **context: Any,
    ) -> Response:
        """Return a page that nobody may keep: one of somebody's own, or about an error.

        Args:
            request: what it answers.
            template: see `Renderer.render`.
            status: of HTTP.
            headers: further ones.
            context: what the template uses.
        """
        principal = getattr(request.state, "principal", ANONYMOUS)
        context = {
            "principal": principal,
            "settings": self._settings_for(principal),
            **context,
        }
        return Response(
            self.renderer.render(template, prefix_of(request.scope), **context),
            status_code=status,
            headers={"cache-control": UNKEPT, **SECURITY, **(headers or {})},
            media_type=HTML,
        )
