"""What the HTML of a page is made of, as an HTML5 parser sees it.

`injected` is for pages that show hostile text: it finds whatever of that text has become markup.
`html_errors` is for all pages.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import zip_longest
from typing import Any
from xml.etree.ElementTree import Comment, Element

import html5lib
from html5lib.constants import E as MESSAGES

NOTE_ELEMENTS: dict[str, set[str]] = {
    **{name: set() for name in ("p", "em", "strong", "del", "s", "br", "hr", "blockquote", "pre")},
    **{name: set() for name in ("h1", "h2", "h3", "h4", "h5", "h6", "ul", "li")},
    **{name: set() for name in ("table", "thead", "tbody", "tr")},
    "a": {"href", "rel", "title"},
    "code": {"class"},  # the language of a block
    "ol": {"start"},
    "td": {"align"},
    "th": {"align"},
}
"""The elements that a note may consist of, each with the attributes that it may have."""

LINKS = {"", "http", "https", "mailto"}
"""The schemes that a link may have; a relative one has none."""

ADDRESSES = {
    *("action", "background", "cite", "data", "formaction", "href", "icon", "longdesc"),
    *("manifest", "ping", "poster", "src", "srcset", "xlink:href"),
}
"""The attributes that have a URL."""

FIXED = {
    *("formmethod", "http-equiv", "integrity", "method", "nonce", "rel", "sandbox", "srcdoc"),
    *("style", "target", "type"),
}
"""The attributes whose value never depends on what the page shows."""

_XLINK = "{http://www.w3.org/1999/xlink}"
# What browsers skip: https://url.spec.whatwg.org/#concept-basic-url-parser
_SKIPPED = re.compile(r"^[\x00-\x20]+|[\t\n\r]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


def injected(html: str, reference: str, *, note_class: str) -> list[str]:
    """Return what sets a page with hostile text apart from the same page with harmless text.

    Both have to have the same elements, comments and attributes in the same order, the same text
    in scripts and styles, and the same values of attributes that decide what an element does.
    Addresses are those of `LINKS`, or as they are in the reference. No element handles an event.
    Only inside notes may the elements differ; those are of `NOTE_ELEMENTS`.

    Args:
        html: the page with the hostile text.
        reference: the page with the harmless text, of as many records.
        note_class: the class of the elements that each contain the HTML of one note.

    Returns:
        A sentence for each difference, with the path of the element; after a difference in the
        elements, nothing more of those that surround it.
    """
    return list(_differences(_root(html), _reference(reference), "", note_class))


def html_errors(html: str) -> list[str]:
    """Return what is wrong with a page: errors as `LINE:COLUMN: MESSAGE`, and ids used twice."""
    parser = html5lib.HTMLParser()
    page = parser.parse(html)
    ids = Counter(element.get("id") for element in page.iter())
    return [
        *(
            f"{line}:{column}: {MESSAGES[code] % data}"
            for (line, column), code, data in parser.errors
        ),
        *(f"{count} elements have the id {id!r}" for id, count in ids.items() if id and count > 1),
    ]


def _root(html: str) -> Element:
    root: Element = html5lib.parse(html, namespaceHTMLElements=False)
    return root


_reference = lru_cache(maxsize=64)(_root)
"""Many pages are compared with the same one."""


def _differences(page: Element, expected: Element, path: str, note_class: str) -> Iterator[str]:
    """Yield how an element differs from the one of the same name at the same place."""
    path += f"/{_name(page)}"
    attributes, others = _attributes(page), _attributes(expected)
    if different := attributes.keys() ^ others.keys():
        yield f"{path}: differs in attributes: {', '.join(sorted(different))}"
    for name in sorted(attributes.keys() & others.keys() & FIXED):
        if attributes[name] != others[name]:
            yield f"{path}: {name} is {attributes[name]!r}, not {others[name]!r}"
    if page.tag in {"script", "style"} and page.text != expected.text:
        yield f"{path}: has another text: {page.text!r}"
    as_expected = {_scheme(value) for name, value in others.items() if name in ADDRESSES}
    yield from _dangers(page, path, LINKS | as_expected)
    if note_class in attributes.get("class", "").split():
        for child in page:
            yield from _of_a_note(child, path)
        return
    pairs = enumerate(zip_longest(map(_name, page), map(_name, expected)))
    for index, (name, other) in pairs:
        if name != other:
            yield f"{path}: has {name or 'no element'}, not {other or 'none'}, at {index}"
            return
    for child, other_child in zip(page, expected, strict=True):
        yield from _differences(child, other_child, path, note_class)


def _of_a_note(element: Element, path: str) -> Iterator[str]:
    """Yield what an element of a note must not be, or have in it."""
    path += f"/{_name(element)}"
    allowed = NOTE_ELEMENTS.get(_name(element))
    if allowed is None:
        yield f"{path}: is no element of a note"
        return
    if more := _attributes(element).keys() - allowed:
        yield f"{path}: has more attributes: {', '.join(sorted(more))}"
    yield from _dangers(element, path, LINKS)
    for child in element:
        yield from _of_a_note(child, path)


def _dangers(element: Element, path: str, schemes: set[str]) -> Iterator[str]:
    """Yield what runs code, on any page."""
    for name, value in _attributes(element).items():
        if name.startswith("on"):
            yield f"{path}: handles an event: {name}={value!r}"
        if name in ADDRESSES and _scheme(value) not in schemes:
            yield f"{path}: {name} is {value!r}"


def _attributes(element: Element) -> dict[str, str]:
    """Return the attributes, by their names as they are written."""
    return {name.replace(_XLINK, "xlink:"): value for name, value in element.items()}


def _scheme(url: str) -> str:
    """Return the scheme that a browser sees in a URL, empty if it is relative."""
    match = _SCHEME.match(_SKIPPED.sub("", url))
    return match[1].lower() if match else ""


def _name(element: Element) -> str:
    """Return the name of an element; those of SVG and MathML have their namespace before it."""
    tag: Any = element.tag
    return "comment" if tag is Comment else str(tag)
