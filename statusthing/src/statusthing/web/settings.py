"""What the people who run a page may say about it."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from statusthing.service import checks
from statusthing.service.messages import SettingsView


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
        checks.name("title", self.title)
        checks.description("description", self.description)
        checks.own_image("logo_url", self.logo_url)
        checks.color("accent_color", self.accent_color)
        checks.links("links", self.links)
        checks.line("footer", self.footer)

    @property
    def link_list(self) -> tuple[Link, ...]:
        """The links, taken apart."""
        lines = (line.strip().rpartition(" ") for line in self.links.splitlines() if line.strip())
        return tuple(Link(label.strip(), url) for label, _, url in lines)


def in_force(defaults: PageSettings, stored: SettingsView) -> PageSettings:
    """Return the settings with those that somebody has stored in the place of their defaults."""
    given = {
        field: value
        for field in PageSettings.__struct_fields__
        if (value := getattr(stored, field))
    }
    return msgspec.structs.replace(defaults, **given) if given else defaults


DEFAULTS = PageSettings()
"""What holds until somebody says something else."""
