"""What the handlers of one application share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from statusthing.service import StatusThing
from statusthing.web.answers import HTML, SECURITY, UNKEPT
from statusthing.web.headline import HeadlineRule
from statusthing.web.live import Live
from statusthing.web.pages import Pages
from statusthing.web.renderer import Renderer
from statusthing.web.settings import PageSettings
from statusthing.web.shelf import Shelf
from statusthing.web.urls import Urls, prefix_of


class Site:
    """The pages of one application, without their routes.

    Args:
        st: the service.
        ready: is awaited before anything reads the store.
        paths: of the routes, by name.
        settings: what there is to say about the pages.
        headline: see `HeadlineRule`.
        shelf: keeps the last board; None if nothing does.
        devmode: follow edits of templates and assets, and say where a template failed.

    Attributes:
        st, ready, devmode: as given.
        renderer: makes pages of templates.
        live: the newest board.
        pages: the public pages.
        streams: how many streams of events are open.
    """

    def __init__(
        self,
        st: StatusThing,
        ready: Callable[[], Awaitable[None]],
        paths: Mapping[str, str],
        *,
        settings: PageSettings,
        headline: HeadlineRule,
        shelf: Shelf | None,
        devmode: bool,
    ) -> None:
        self.st = st
        self.ready = ready
        self.devmode = devmode
        self.renderer = Renderer(paths, settings, devmode=devmode)
        self.live = Live(st, ready, shelf)
        self.pages = Pages(st, self.live, self.renderer, headline)
        self.streams = 0

    def url(self, request: Request) -> Urls:
        """Return the URLs for the answer to a request."""
        return self.renderer.urls(prefix_of(request.scope))

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
        return Response(
            self.renderer.render(template, prefix_of(request.scope), **context),
            status_code=status,
            headers={"cache-control": UNKEPT, **SECURITY, **(headers or {})},
            media_type=HTML,
        )
