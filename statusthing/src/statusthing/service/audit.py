"""The audit trail: the log of changes, and the attempts to sign in that failed."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec

from statusthing.errors import InvalidArgument
from statusthing.log import Change
from statusthing.model import FailedSignIn, instant, microseconds
from statusthing.service import checks
from statusthing.service.messages import (
    AuditEntry,
    ListAuditEntriesRequest,
    ListAuditEntriesResponse,
)
from statusthing.service.pages import MAX_PAGE
from statusthing.store import Query, Transaction

PAGE = 100
"""How many entries a page has where no size is asked for."""

_Row = Change | FailedSignIn

_Place = tuple[tuple[int, int] | None, tuple[int, str] | None]
"""Where a page ended: the last change, `(revision, seq)`, and the last attempt, `(created, id)`."""


def list_entries(
    request: ListAuditEntriesRequest,
) -> Callable[[Transaction], ListAuditEntriesResponse]:
    """Return entries, newest first."""
    size = min(checks.uint32("page_size", request.page_size) or PAGE, MAX_PAGE)
    change, attempt = _place(request.page_token)
    created = None if attempt is None else (instant(attempt[0]), attempt[1])

    def work(tx: Transaction) -> ListAuditEntriesResponse:
        changes = tx.find(Query(Change, descending=True, after=change, limit=size + 1))
        attempts = tx.find(Query(FailedSignIn, descending=True, after=created, limit=size + 1))
        rows: list[_Row] = [*changes, *attempts]
        rows.sort(key=_time, reverse=True)
        shown = rows[:size]
        token = _token(shown, (change, attempt)) if len(rows) > size else ""
        return ListAuditEntriesResponse(
            entries=tuple(_entry(row) for row in shown), next_page_token=token
        )

    return work


def _time(row: _Row) -> tuple[datetime, int]:
    # Those of one revision have one time; their order stays that of `seq`, newest first.
    return (row.at, row.seq) if isinstance(row, Change) else (row.created, 0)


def _entry(row: _Row) -> AuditEntry:
    if isinstance(row, FailedSignIn):
        return AuditEntry(
            id=row.id,
            time=row.created,
            address=row.address,
            correlation_id=row.correlation_id,
            action="failed to sign in",
            kind="User",
            subject=row.username,
        )
    return AuditEntry(
        id=f"{row.revision}.{row.seq}",
        time=row.at,
        actor=row.actor,
        address=row.address,
        correlation_id=row.correlation_id,
        action=row.action.value,
        kind=row.kind,
        subject=row.subject,
        before=_json(row.before),
        after=_json(row.after),
    )


def _json(data: dict[str, Any] | None) -> str:
    return "" if data is None else msgspec.json.encode(data).decode()


def _token(shown: Iterable[_Row], before: _Place) -> str:
    change, attempt = before
    for row in shown:
        if isinstance(row, Change):
            change = (row.revision, row.seq)
        else:
            attempt = (microseconds(row.created), row.id)
    return base64.urlsafe_b64encode(msgspec.json.encode((change, attempt))).decode()


def _place(token: str) -> _Place:
    if not token:
        return None, None
    try:
        data = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        place: _Place = msgspec.json.decode(data, type=_Place)
        instant(place[1][0] if place[1] else 0)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument("page_token", "is not one that this list returned") from error
    large = place[0] and not all(0 <= number < 2**63 for number in place[0])
    if large or (place[1] and not checks.can_exist(place[1][1])):
        raise InvalidArgument("page_token", "is not one that this list returned")
    return place
