"""Notes as HTML: CommonMark, and then only what is on a list.

A visitor's browser asks nobody but this server, so images become the text that stands for them.
Headings become bold paragraphs: those of a page tell how it is laid out, and notes must not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


_MARKDOWN = MarkdownIt("js-default")
_RULES: Mapping[str, Any] = {"image": _image, "heading_open": _begin, "heading_close": _end}
_MARKDOWN.renderer.rules.update(  # type: ignore[attr-defined]
    {name: rule.__get__(_MARKDOWN.renderer) for name, rule in _RULES.items() if name == "image"}
    | {name: rule for name, rule in _RULES.items() if name != "image"}
)


def to_html(text: str) -> Markup:
    """Return a note's text as HTML that is safe in any page, without headings and images."""
    html = nh3.clean(
        _MARKDOWN.render(text),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        link_rel=_REL,
    )
    return Markup(html)  # noqa: S704 - nh3 has cleaned it
