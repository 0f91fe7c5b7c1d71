"""Makes pages of templates: what all of them may use, under the prefix that a request came by."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from statusthing.colors import canonical
from statusthing.web.assets import Assets
from statusthing.web.settings import PageSettings
from statusthing.web.stylesheet import colors_of
from statusthing.web.templates import FOLDER, Templates
from statusthing.web.urls import Urls

_log = logging.getLogger("statusthing.web")

_INSTALLED = {"site-packages", "dist-packages"}


class Renderer:
    """Renders the templates of one application.

    Args:
        paths: of the routes, by name.
        settings: what there is to say about the pages.
        devmode: follow edits of templates and assets, if there are sources to edit.

    Attributes:
        settings: as given.
        reloads: whether templates and assets are read from disk each time.
        assets: the files in `static/`.
    """

    def __init__(self, paths: Mapping[str, str], settings: PageSettings, *, devmode: bool) -> None:
        self.settings = settings
        self.reloads = devmode and _editable()
        self.assets = Assets(reload=self.reloads)
        self._templates = Templates(reload=self.reloads)
        self._paths = paths

    def urls(self, prefix: str) -> Urls:
        """Return the URLs under a prefix."""
        return Urls(self._paths, prefix)

    def render(
        self,
        template: str,
        prefix: str,
        /,
        *,
        settings: PageSettings | None = None,
        **context: Any,
    ) -> Markup:
        """Return a template as HTML.

        Every template may use `url`, a function from the name of a route and its parameters to its
        URL; `asset`, a function from the name of a file in `static/` to its URL; `palette`, a
        function from colours of statuses to the URL of their stylesheet; `settings`; and `reloads`.

        Args:
            template: its name, relative to `templates/`.
            prefix: under which the application was found, see `prefix_of`.
            settings: those in force; None for the defaults.
            context: what else the template uses.
        """
        url = self.urls(prefix)
        settings = settings or self.settings

        def asset(file: str) -> str:
            return url("asset", name=self.assets.name(file))

        def palette(*colors: str) -> str:
            accent = (canonical(settings.accent_color) or "#")[1:]
            return url("palette", query={"accent": accent, "c": colors_of(colors)})

        return self._templates.render(
            template,
            url=url,
            asset=asset,
            palette=palette,
            settings=settings,
            reloads=self.reloads,
            **context,
        )


def _editable() -> bool:
    """Tell whether the templates are sources, and say so if they are not."""
    if _INSTALLED.isdisjoint(FOLDER.parts):
        return True
    _log.warning(
        "pages do not follow edits: there are no sources to edit, as this runs from the installed "
        "package in %s; in a clone, run: pip install -e ./statusthing",
        Path(*FOLDER.parts[:-2]),
    )
    return False
