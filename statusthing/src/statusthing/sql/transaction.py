"""What a unit of work does to an SQL database.

A transaction runs inside a database transaction that others begin and end: a reader, or the writer
with a savepoint around each unit. It turns rows into records and refusals into the errors of the
contract. After any other error of the driver it refuses to go on: the database may have rolled back
by itself, and what followed would be committed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn, ParamSpec, TypeVar

import msgspec
from sqlalchemy import UpdateBase
from sqlalchemy.exc import DBAPIError

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
from statusthing.sql.head import Head, read_head
from statusthing.sql.session import Session
from statusthing.store import Query

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R", bound=Record)
Q = TypeVar("Q", bound="Record | Change")

CANNOT_SERVE = "the database cannot serve this now"
"""The neutral message of StoreUnavailable; the driver's own error is its cause."""

_TICK = timedelta(microseconds=1)


class Reading:
    """A transaction that only reads; `failure` is the error with which the database ended it."""

    def __init__(self, session: Session, database: Database) -> None:
        self._session = session
        self._database = database
        self._head: Head | None = None
        self.failure: DBAPIError | None = None

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
        found = self._ask(self._session.find, kind, statements.GET[kind], {"id_is": id})
        if not found:
            raise NotFound(kind.__name__, id)
        return found[0]

    def find(self, query: Query[Q]) -> Sequence[Q]:
        """Return what matches, in order (R14-R16)."""
        shape, parameters = statements.shape_and_parameters(query)
        statement = statements.find(shape, self._database.member)
        return self._ask(self._session.find, query.kind, statement, parameters)

    def count(self, query: Query[Any]) -> int:
        """Count what matches (R17)."""
        shape, parameters = statements.shape_and_parameters(
            msgspec.structs.replace(query, after=None, limit=None)
        )
        statement = statements.count(shape, self._database.member)
        number: int = self._ask(self._session.value, statement, parameters)
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
            self._head = self._ask(read_head, self._session)
        return self._head

    def _ask(self, ask: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        self._check()
        try:
            return ask(*arguments, **keywords)
        except DBAPIError as error:
            raise self._failed(error) from error.orig

    def _check(self) -> None:
        if self.failure is not None:
            raise StoreUnavailable("a statement of this unit failed") from self.failure.orig

    def _failed(self, error: DBAPIError) -> StoreUnavailable:
        self.failure = error
        return StoreUnavailable(CANNOT_SERVE)


def _refuse_to_write() -> NoReturn:
    raise TypeError("a unit that only reads cannot write: run it with Store.write")


class Writing(Reading):
    """A transaction that may write.

    Args:
        session: over which.
        database: whose.
        head: what the unit finds.
        now: the caller's clock.
        careful: make a savepoint for each change, so that a refused one can be undone alone.

    Attributes:
        touched: whether it wrote.
        repeat: whether the unit has to be run again, carefully: a change was refused, which aborted
            the whole transaction. Most units meet no refusal, and are spared the savepoints.
    """

    def __init__(
        self,
        session: Session,
        database: Database,
        head: Head,
        now: datetime,
        *,
        careful: bool = False,
    ) -> None:
        super().__init__(session, database)
        self._careful = careful
        self._before = head
        self._now = max(now, head.time + _TICK)
        self._public = False
        self._changed = False
        self._appended = 0
        self.touched = False
        self.repeat = False

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
            self._change(statements.INSERT[kind], msgspec.structs.asdict(record))
        except DBAPIError as error:
            if self._version(kind, record.id) is not None:
                raise AlreadyExists(kind.__name__, "id", record.id) from error.orig
            raise self._refusal(record, error) from error.orig
        self._changed |= RECORDS[kind].logged

    def replace(self, record: Record, *, expect: int) -> None:
        """See R11."""
        kind = type(record)
        values = msgspec.structs.asdict(record) | {"id_is": record.id, "version_is": expect}
        try:
            replaced = self._change(statements.REPLACE[kind], values)
        except DBAPIError as error:
            raise self._refusal(record, error) from error.orig
        if not replaced:
            version = self._version(kind, record.id)
            if version is None:
                raise NotFound(kind.__name__, record.id)
            raise VersionConflict(kind.__name__, record.id, expected=expect, actual=version)
        self._changed |= RECORDS[kind].logged

    def remove(self, kind: type[Record], id: str) -> None:
        """See R12."""
        try:
            removed = self._change(statements.REMOVE[kind], {"id_is": id})
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
        return self._change(statement, parameters)

    def append(self, change: Change) -> None:
        """See R19."""
        if (change.revision, change.seq) != (self.revision, self._appended):
            msg = f"expected change {self.revision}/{self._appended}"
            raise UnloggedWrite(msg)
        self._change(statements.INSERT[Change], msgspec.structs.asdict(change))
        self._appended += 1
        self._public |= change.public

    @property
    def head(self) -> Head:
        """The head that the unit leaves behind."""
        if not self._appended:
            return self._before
        return Head(self.revision, self.public_revision, self.now)

    def end(self) -> None:
        """Check the unit as a whole.

        Raises:
            UnloggedWrite: see R19.
            StoreUnavailable: a statement failed, whatever the unit made of that.
        """
        self._check()
        if self._changed != bool(self._appended):
            raise UnloggedWrite("a unit must log what it changes, and change what it logs")

    def _change(self, statement: UpdateBase, parameters: Mapping[str, Any]) -> int:
        """Change rows, and return how many; lets only refusals through as DBAPIError."""
        self._check()
        try:
            if self._careful:
                self._session.run("SAVEPOINT change")
            changed = self._session.change(statement, parameters)
            if self._careful:
                self._session.run("RELEASE SAVEPOINT change")
        except DBAPIError as error:
            if self._database.refused(error):
                self._undo_refused(error)
                raise
            raise self._failed(error) from error.orig
        self.touched = True
        return changed

    def _undo_refused(self, error: DBAPIError) -> None:
        if self._careful:
            self._session.run("ROLLBACK TO SAVEPOINT change")
        elif self._database.refusal_aborts:
            self.repeat = True
            raise self._failed(error) from error.orig

    def _version(self, kind: type[Record], id: str) -> int | None:
        version: int | None = self._ask(
            self._session.value, statements.VERSION[kind], {"id_is": id}
        )
        return version

    def _refusal(self, record: Record, error: DBAPIError) -> Exception:
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
            if value is not None and self._version(target, value) is None:
                return MissingReference(target.__name__, value, field)
        return self._failed(error)

    def _users(self, kind: type[Record], id: str) -> int:
        return sum(
            self.count(Query(user, where={field: id}))
            for user, spec in RECORDS.items()
            for field, target in spec.references.items()
            if target is kind
        )
