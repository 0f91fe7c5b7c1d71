"""Headers that keep browsers from doing what no page of ours needs; on every answer, errors too.

An answer that has such a header already keeps its own: pages allow their own styles and scripts.
https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html
"""

from __future__ import annotations

from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]

SECURE: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
"""The headers of an answer."""

SECURE_TLS: Headers = [*SECURE, (b"strict-transport-security", b"max-age=31536000")]
"""The headers of an answer over TLS; for a year, the browser then comes back over TLS only."""

NOINDEX = (b"x-robots-tag", b"noindex")
"""Keeps a page that is not for everybody out of the indexes of search engines."""


def with_missing(headers: Iterable[tuple[bytes, bytes]], wanted: Headers) -> Headers:
    """Return headers with those of `wanted` that are not among them."""
    found = list(headers)
    names = {name for name, _ in found}
    found += [pair for pair in wanted if pair[0] not in names]
    return found
