"""Keyset pages: a page token is the key of the last record that was given out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from statusthing.errors import InvalidArgument, TooManyResults
from statusthing.model import Record, instant, microseconds
from statusthing.service import checks
from statusthing.store import Query, Transaction

MAX_PAGE = 1_000
"""The most records in a page; a larger page_size means this."""

MAX_WHOLE = 10_000
"""The most records in a list that was asked for without a page size."""

R = TypeVar("R", bound=Record)

_FOREIGN = "is not one that this list returned"


class PageRequest(msgspec.Struct, frozen=True):
    """Which page is asked for.

    Attributes:
        size: how many records; 0 for all.
        after: the key to continue behind; None for the beginning.
        digest: of what is listed, so that the token of another list is recognised.
    """

    size: int
    after: tuple[datetime, str] | None
    digest: str


def page_request(request: Any, *narrowed_by: object) -> PageRequest:
    """Read the page size and the page token of a list request.

    Args:
        request: the request.
        narrowed_by: the values that decide what is listed.

    Raises:
        InvalidArgument: page_size is not an unsigned 32-bit integer, or this list did not return
            page_token.
    """
    listed = repr((type(request).__name__, narrowed_by)).encode("utf-8", "backslashreplace")
    digest = hashlib.blake2b(listed, digest_size=6).hexdigest()
    size = checks.uint32("page_size", request.page_size)
    return PageRequest(size, _key(request.page_token, digest), digest)


def _key(token: str, digest: str) -> tuple[datetime, str] | None:
    if not token:
        return None
    try:
        data = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        after, last, of = msgspec.json.decode(data, type=tuple[int, str, str])
        created = instant(after)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument("page_token", _FOREIGN) from error
    if of != digest or not checks.can_exist(last):
        raise InvalidArgument("page_token", _FOREIGN)
    return created, last


def find_page(
    tx: Transaction,
    kind: type[R],
    where: Mapping[str, Any],
    wanted: PageRequest,
) -> tuple[Sequence[R], str]:
    """Find one page, or everything where no size is asked for.

    Returns:
        The records in order, and the token of the next page, empty at the end.

    Raises:
        TooManyResults: everything is more than MAX_WHOLE records.
    """
    limit = min(wanted.size, MAX_PAGE) or MAX_WHOLE
    found = tx.find(Query(kind, where=where, after=wanted.after, limit=limit + 1))
    if len(found) <= limit:
        return found, ""
    if not wanted.size:
        raise TooManyResults(MAX_WHOLE)
    last = found[limit - 1]
    key = (microseconds(last.created), last.id, wanted.digest)
    token = base64.b64encode(msgspec.json.encode(key), altchars=b"-_")
    return found[:limit], token.decode("ascii")
