"""What a unit of work does to an SQL database.

A transaction runs inside a database transaction that others begin and end: a reader, or the writer
with a savepoint around each unit. It turns rows into records and refusals into the errors of the
contract. After any other error of the driver it refuses to go on: the database may have rolled back
by itself, and what followed would be committed alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn, TypeVar

import msgspec
from sqlalchemy import Connection, CursorResult, Row
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.base import Executable

from statusthing.errors import (
    AlreadyExists,
    InUse,
    MissingReference,
    NotFound,
    StoreUnavailable,
    UnloggedWrite,
    VersionConflict,
)
from statusthing.log import Change
from statusthing.model import RECORDS, Record
from statusthing.sql import statements
from statusthing.sql.database import Database
from statusthing.sql.tables import TABLES
from statusthing.store import Query

R = TypeVar("R", bound=Record)
Q = TypeVar("Q", bound="Record | Change")

CANNOT_SERVE = "the database cannot serve this now"
"""The neutral message of StoreUnavailable; the driver's own error is its cause."""

_TICK = timedelta(microseconds=1)
_FIELDS: Mapping[type[Any], tuple[str, ...]] = {
    kind: tuple(TABLES[kind].c.keys()) for kind in TABLES
}


class Head(msgspec.Struct, frozen=True):
    """The one row of the head: what the log has come to."""

    revision: int
    public_revision: int
    time: datetime


def read_head(connection: Connection, *, lock: bool = False) -> Head:
    """Read the head; `lock` keeps other writers away from it where the database locks rows."""
    [row] = connection.execute(statements.LOCKED_HEAD if lock else statements.HEAD).all()
    return Head(row.revision, row.public_revision, row.time)


class Reading:
    """A transaction that only reads; `failed` tells whether the database failed it."""

    def __init__(self, connection: Connection, database: Database) -> None:
        self._connection = connection
        self._database = database
        self._head: Head | None = None
        self.failed = False

    @property
    def revision(self) -> int:
        """See R18."""
        return self._snapshot().revision

    @property
    def public_revision(self) -> int:
        """See R21."""
        return self._snapshot().public_revision

    @property
    def now(self) -> datetime:
        """See R20."""
        return self._snapshot().time

    def get(self, kind: type[R], id: str) -> R:
        """Return the record, or raise NotFound."""
        for row in self._rows(statements.GET[kind], {"id_is": id}):
            return _unpack(kind, row)
        raise NotFound(kind.__name__, id)

    def find(self, query: Query[Q]) -> Sequence[Q]:
        """Return what matches, in order (R14-R16)."""
        shape, parameters = statements.shape_and_parameters(query)
        kind = query.kind
        return [
            _unpack(kind, row)
            for row in self._rows(statements.find(shape, self._database.member), parameters)
        ]

    def count(self, query: Query[Any]) -> int:
        """Count what matches (R17)."""
        shape, parameters = statements.shape_and_parameters(
            msgspec.structs.replace(query, after=None, limit=None)
        )
        [[number]] = self._rows(statements.count(shape, self._database.member), parameters)
        assert isinstance(number, int)  # noqa: S101 - COUNT(*) always is
        return number

    def add(self, record: Record) -> None:
        """Refuse to write."""
        _refuse_to_write()

    def replace(self, record: Record, *, expect: int) -> None:
        """Refuse to write."""
        _refuse_to_write()

    def remove(self, kind: type[Record], id: str) -> None:
        """Refuse to write."""
        _refuse_to_write()

    def remove_where(self, query: Query[Any], *, limit: int) -> int:
        """Refuse to write."""
        _refuse_to_write()

    def append(self, change: Change) -> None:
        """Refuse to write."""
        _refuse_to_write()

    def _snapshot(self) -> Head:
        if self._head is None:
            [row] = self._rows(statements.HEAD, {})
            self._head = Head(row.revision, row.public_revision, row.time)
        return self._head

    def _rows(self, statement: Executable, parameters: Mapping[str, Any]) -> Sequence[Row[Any]]:
        if self.failed:
            raise StoreUnavailable("an earlier statement of this unit failed")
        try:
            return self._connection.execute(statement, parameters).all()
        except DBAPIError as error:
            self.failed = True
            raise StoreUnavailable(CANNOT_SERVE) from error.orig


def _refuse_to_write() -> NoReturn:
    raise TypeError("a unit that only reads cannot write: run it with Store.write")


class Writing(Reading):
    """A transaction that may write; `touched` tells whether it did."""

    def __init__(
        self, connection: Connection, database: Database, head: Head, now: datetime
    ) -> None:
        super().__init__(connection, database)
        self._before = head
        self._now = max(now, head.time + _TICK)
        self._public = False
        self._changed = False
        self._appended = 0
        self.touched = False

    @property
    def revision(self) -> int:
        """See R18."""
        return self._before.revision + 1

    @property
    def public_revision(self) -> int:
        """See R21."""
        return self.revision if self._public else self._before.public_revision

    @property
    def now(self) -> datetime:
        """See R20."""
        return self._now

    def add(self, record: Record) -> None:
        """See R10."""
        kind = type(record)
        try:
            self._execute(statements.INSERT[kind], _pack(record))
        except DBAPIError as error:
            if self._rows(statements.VERSION[kind], {"id_is": record.id}):
                raise AlreadyExists(kind.__name__, "id", record.id) from error.orig
            raise self._refusal(record) from error.orig
        self._changed |= RECORDS[kind].logged

    def replace(self, record: Record, *, expect: int) -> None:
        """See R11."""
        kind = type(record)
        where = {"id_is": record.id, "version_is": expect}
        try:
            replaced = self._execute(statements.REPLACE[kind], _pack(record) | where).rowcount
        except DBAPIError as error:
            raise self._refusal(record) from error.orig
        if not replaced:
            for [version] in self._rows(statements.VERSION[kind], {"id_is": record.id}):
                raise VersionConflict(kind.__name__, record.id, expected=expect, actual=version)
            raise NotFound(kind.__name__, record.id)
        self._changed |= RECORDS[kind].logged

    def remove(self, kind: type[Record], id: str) -> None:
        """See R12."""
        try:
            removed = self._execute(statements.REMOVE[kind], {"id_is": id}).rowcount
        except DBAPIError as error:
            raise InUse(kind.__name__, id, self._users(kind, id)) from error.orig
        if not removed:
            raise NotFound(kind.__name__, id)
        self._changed |= RECORDS[kind].logged

    def remove_where(self, query: Query[Any], *, limit: int) -> int:
        """See R13."""
        if query.kind is not Change and RECORDS[query.kind].logged:
            msg = f"{query.kind.__name__} is a logged type: remove such records one by one"
            raise TypeError(msg)
        shape, parameters = statements.shape_and_parameters(
            msgspec.structs.replace(query, limit=limit)
        )
        statement = statements.remove_where(shape, self._database.member)
        return self._execute(statement, parameters).rowcount

    def append(self, change: Change) -> None:
        """See R19."""
        if (change.revision, change.seq) != (self.revision, self._appended):
            msg = f"expected change {self.revision}/{self._appended}"
            raise UnloggedWrite(msg)
        self._execute(statements.INSERT[Change], _pack(change))
        self._appended += 1
        self._public |= change.public

    def end(self) -> Head:
        """Check the unit as a whole, and return the head that it leaves behind.

        Raises:
            UnloggedWrite: see R19.
            StoreUnavailable: a statement failed, whatever the unit made of that.
        """
        if self.failed:
            raise StoreUnavailable("a statement of this unit failed")
        if self._changed != bool(self._appended):
            raise UnloggedWrite("a unit must log what it changes, and change what it logs")
        if not self._appended:
            return self._before
        return Head(self.revision, self.public_revision, self.now)

    def _execute(self, statement: Executable, parameters: Mapping[str, Any]) -> CursorResult[Any]:
        """Execute a statement that changes rows; lets only refusals through as DBAPIError."""
        if self.failed:
            raise StoreUnavailable("an earlier statement of this unit failed")
        try:
            result = self._connection.execute(statement, parameters)
        except DBAPIError as error:
            if self._database.refused(error):
                raise
            self.failed = True
            raise StoreUnavailable(CANNOT_SERVE) from error.orig
        self.touched = True
        return result

    def _refusal(self, record: Record) -> Exception:
        """Find the field for which a record was refused.

        SQLite names a constraint in the text of its message only, or not at all: the unit looks for
        itself, under the lock that makes the answer certain.
        """
        kind = type(record)
        spec = RECORDS[kind]
        for field in spec.unique:
            value = getattr(record, field)
            taken = Query(kind, where={field: value})
            if value is not None and any(other.id != record.id for other in self.find(taken)):
                return AlreadyExists(kind.__name__, field, value)
        for field, target in spec.references.items():
            value = getattr(record, field)
            if value is not None and not self._rows(statements.VERSION[target], {"id_is": value}):
                return MissingReference(target.__name__, value, field)
        self.failed = True
        return StoreUnavailable(CANNOT_SERVE)

    def _users(self, kind: type[Record], id: str) -> int:
        return sum(
            self.count(Query(user, where={field: id}))
            for user, spec in RECORDS.items()
            for field, target in spec.references.items()
            if target is kind
        )


def _pack(row: Record | Change) -> dict[str, Any]:
    return {field: getattr(row, field) for field in _FIELDS[type(row)]}


def _unpack(kind: type[Q], row: Row[Any]) -> Q:
    return kind(**dict(zip(_FIELDS[kind], row, strict=True)))
