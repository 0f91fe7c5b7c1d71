"""Notes as HTML: CommonMark, and then only what is on a list.

A visitor's browser asks nobody but this server, so images become the text that stands for them.
Headings become bold paragraphs: those of a page tell how it is laid out, and notes must not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

_TAGS = set(
    """a p br hr strong em s del code pre blockquote ul ol li
    table thead tbody tr th td""".split()  # noqa: SIM905 - reads as what it is
)
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
_SCHEMES = {"http", "https", "mailto"}
_REL = "nofollow noopener noreferrer"


def _image(_: RendererHTML, tokens: Sequence[Token], index: int, *__: Any) -> str:
    return str(escape(tokens[index].content))


def _begin(*_: Any) -> str:
    return "<p><strong>"


def _end(*_: Any) -> str:
    return "</strong></p>\n"


def _markdown(*without: str) -> MarkdownIt:
    """Make a parser that does not know some of the rules."""
    markdown = MarkdownIt("js-default").disable(list(without))
    for name, rule in {"image": _image, "heading_open": _begin, "heading_close": _end}.items():
        markdown.add_render_rule(name, rule)
    return markdown


_MARKDOWN = _markdown()
_PLAINER = _markdown("table", "link", "image")

MOST_BRACKETS = 500
"""With more opening ones than this, a text has no links: finding where one ends takes a time that
grows with the square of their number."""

MOST_CELLS = 4_000
"""With more, a text has no tables: a row is as wide as the widest, however little is in it."""


def to_html(text: str) -> Markup:
    """Return a note's text as HTML that is safe in any page, without headings and images.

    One that would take long, while everybody waits, keeps the signs of its links and tables.
    """
    lines = text.splitlines()
    cells = len(lines) * (1 + max((line.count("|") for line in lines), default=0))
    is_costly = text.count("[") > MOST_BRACKETS or ("|" in text and cells > MOST_CELLS)
    html = nh3.clean(
        (_PLAINER if is_costly else _MARKDOWN).render(text),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        link_rel=_REL,
    )
    return Markup(html)  # noqa: S704 - nh3 has cleaned it
