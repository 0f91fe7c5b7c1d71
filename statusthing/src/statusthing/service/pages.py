"""Keyset pages: a page token is the key of the last record that was given out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from statusthing.errors import InvalidArgument, TooManyResults
from statusthing.model import Record
from statusthing.store import Query, Transaction

MAX_PAGE = 1_000
"""The most records in a page; a larger page_size means this."""

MAX_WHOLE = 10_000
"""The most records in a list that was asked for without a page size."""

R = TypeVar("R", bound=Record)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def key(token: str) -> tuple[datetime, str] | None:
    """Read a page token; an empty one is the beginning.

    Raises:
        InvalidArgument: no answer of ours held such a token.
    """
    if not token:
        return None
    try:
        data = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        micros, last = msgspec.json.decode(data, type=tuple[int, str])
        return _EPOCH + micros * _MICROSECOND, last
    except (ValueError, OverflowError, UnicodeEncodeError, binascii.Error) as error:
        raise InvalidArgument("page_token", "is not one that a list returned") from error


def page(
    tx: Transaction,
    kind: type[R],
    where: Mapping[str, Any],
    size: int,
    after: tuple[datetime, str] | None,
) -> tuple[Sequence[R], str]:
    """Find one page, or everything where `size` is 0.

    Returns:
        The records in order, and the token of the next page, empty at the end.

    Raises:
        TooManyResults: everything is more than MAX_WHOLE records.
    """
    limit = min(size, MAX_PAGE) or MAX_WHOLE
    found = tx.find(Query(kind, where=where, after=after, limit=limit + 1))
    if len(found) <= limit:
        return found, ""
    if not size:
        raise TooManyResults(MAX_WHOLE)
    last = found[limit - 1]
    micros = (last.created - _EPOCH) // _MICROSECOND
    token = base64.b64encode(msgspec.json.encode((micros, last.id)), altchars=b"-_")
    return found[:limit], token.decode("ascii")
