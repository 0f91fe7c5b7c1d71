"""A unit of work as operations see it: what they write is logged as they write it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from statusthing.access import HERE, Origin, Principal
from statusthing.errors import NotFound, VersionConflict
from statusthing.log import Action, Change, describe
from statusthing.model import RECORDS, Record, Role, StatusKind
from statusthing.service.checks import can_exist, mask
from statusthing.store import Transaction

R = TypeVar("R", bound=Record)

_EMPTY = ("", 0, False, StatusKind.UNKNOWN, Role.ANYBODY)


def possible(kind: type[Record], id: str) -> str:
    """Return the id, or raise NotFound: ids that cannot exist never reach the store."""
    if not can_exist(id):
        raise NotFound(kind.__name__, id)
    return id


def existing(tx: Transaction, kind: type[R], id: str) -> R:
    """Return the record, or raise NotFound."""
    return tx.get(kind, possible(kind, id))


def given(request: Any, settable: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields that an update sets: those of its mask, or else those that are not empty.

    Args:
        request: an update request.
        settable: the fields that may be set.

    Raises:
        InvalidArgument: the mask has another path.
    """
    paths = mask(request.update_mask, settable)
    values = {field: getattr(request, field) for field in settable}
    if paths:
        return {field: value for field, value in values.items() if field in paths}
    return {field: value for field, value in values.items() if value not in _EMPTY}


class Unit:
    """Writes records and their log entries through one transaction.

    Attributes:
        tx: the transaction, for reading.
        principal: whom the unit runs for.
        now: the timestamp of everything it writes.
        secret: of a token, drawn before the unit.
        password_hash: of the password that the request sets, made before the unit.
        proven_hash: of the password that the caller has proved to know before the unit.
    """

    def __init__(
        self,
        tx: Transaction,
        principal: Principal,
        ids: Iterable[str],
        origin: Origin = HERE,
        *,
        secret: str = "",
        password_hash: str = "",
        proven_hash: str = "",
    ) -> None:
        self.tx = tx
        self.secret = secret
        self.password_hash = password_hash
        self.proven_hash = proven_hash
        self.principal = principal
        self._origin = origin
        self.now: datetime = tx.now
        self._ids: Iterator[str] = iter(ids)
        self._appended = 0

    @property
    def revision(self) -> int:
        """The head once this unit is done."""
        return self.tx.revision if self._appended else self.tx.revision - 1

    def current(self, kind: type[R], id: str, expected_version: int) -> R:
        """Return the record as it is now.

        Args:
            kind: its type.
            id: its id.
            expected_version: the version that the caller has seen; 0 where they do not say.

        Raises:
            NotFound: there is none.
            VersionConflict: it has another version.
        """
        record = existing(self.tx, kind, id)
        if expected_version not in (0, record.version):
            raise VersionConflict(
                kind.__name__, id, expected=expected_version, actual=record.version
            )
        return record

    def create(self, kind: type[R], /, *, id: str = "", **fields: Any) -> R:
        """Add a record, and return it.

        Args:
            kind: its type.
            id: its id; one that was drawn before where it is empty.
            fields: everything else that the unit does not know itself.
        """
        record = kind(id=id or next(self._ids), created=self.now, updated=self.now, **fields)
        self.tx.add(record)
        self._log(Action.ADDED, before=None, after=record)
        return record

    def change(self, before: Record, after: Record) -> None:
        """Replace a record by its next version, unless nothing about it is new."""
        if after == before:
            return
        after = msgspec.structs.replace(after, version=before.version + 1, updated=self.now)
        self.tx.replace(after, expect=before.version)
        self._log(Action.REPLACED, before=before, after=after)

    def sign_in(self, before: Record, after: Record) -> None:
        """Put down that somebody has signed in, which nobody has edited the record for."""
        self.tx.replace(after, expect=before.version)
        self._log(Action.SIGNED_IN, before=before, after=after)

    def remove(self, record: Record) -> None:
        """Remove a record."""
        self.tx.remove(type(record), record.id)
        self._log(Action.REMOVED, before=record, after=None)

    def _log(self, action: Action, *, before: Record | None, after: Record | None) -> None:
        subject = after or before
        assert subject is not None  # noqa: S101 - every action has a before or an after
        self.tx.append(
            Change(
                revision=self.tx.revision,
                seq=self._appended,
                at=self.now,
                actor=self.principal.name,
                action=action,
                kind=type(subject).__name__,
                subject=subject.id,
                before=describe(before) if before else None,
                after=describe(after) if after else None,
                public=RECORDS[type(subject)].public,
                address=self._origin.address,
                correlation_id=self._origin.correlation_id,
            )
        )
        self._appended += 1
