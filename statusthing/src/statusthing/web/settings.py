"""What the people who run a page may say about it."""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from statusthing.colors import canonical
from statusthing.errors import InvalidArgument

_LINK = re.compile(r"(?P<label>.*\S)\s+(?P<url>(?:https?://|mailto:)\S+)", re.IGNORECASE)
_LOGO = re.compile(r"/(?!/)[^\\\s]*|data:image/[a-z0-9.+-]+[;,]\S*", re.IGNORECASE)


class Link(NamedTuple):
    """A link at the foot of the page."""

    label: str
    url: str


class PageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of the pages.

    Attributes:
        title: of the site.
        description: a sentence below it.
        logo_url: an image beside it: a path on this host, such as `/logo.svg`, or a `data:image/`
            URL; nothing that a visitor's browser would have to fetch from elsewhere.
        accent_color: as that of a status; of links and buttons.
        links: at the foot of the page, one a line: a label, a space, and a URL that begins with
            `https://`, `http://` or `mailto:`.
        footer: a text at the foot of the page.

    Raises:
        InvalidArgument: a value breaks a rule.
    """

    title: str = "Status"
    description: str = ""
    logo_url: str = ""
    accent_color: str = "#2563EB"
    links: str = ""
    footer: str = ""

    def __post_init__(self) -> None:
        if not self.title.strip():
            raise InvalidArgument("title", "is required and cannot be blank")
        if canonical(self.accent_color) is None:
            raise InvalidArgument("accent_color", "must be #rgb, #rrggbb or a named CSS colour")
        if self.logo_url and not _LOGO.fullmatch(self.logo_url):
            problem = "must be a path on this host, such as /logo.svg, or a data:image/ URL"
            raise InvalidArgument("logo_url", problem)
        self.link_list  # noqa: B018 - raises

    @property
    def link_list(self) -> tuple[Link, ...]:
        """The links, taken apart."""
        return tuple(_link(line) for line in self.links.splitlines() if line.strip())


def _link(line: str) -> Link:
    match = _LINK.fullmatch(line.strip())
    if match is None:
        problem = f"must be a label, a space and an https:// URL on each line, not {line!r}"
        raise InvalidArgument("links", problem)
    return Link(match["label"], match["url"])


DEFAULTS = PageSettings()
"""What holds until somebody says something else."""
