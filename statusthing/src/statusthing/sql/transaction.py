"""What a unit of work does to an SQL database.

A transaction runs inside a database transaction that others begin and end: a reader, or the writer,
for several units one after the other. It turns rows into records and refusals into the errors of
the contract. After any other error of the driver it refuses to go on: the database may have rolled
back by itself, and what followed would be committed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn, ParamSpec, TypeVar, cast

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
from statusthing.sql.head import Head
from statusthing.sql.session import Bound, Session
from statusthing.sql.tables import TABLES
from statusthing.store import Query

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R", bound=Record)
Q = TypeVar("Q", bound="Record | Change")

CANNOT_SERVE = "the database cannot serve this now"
"""The neutral message of StoreUnavailable; the driver's own error is its cause."""

_TICK = timedelta(microseconds=1)


class Reading:
    """A transaction that only reads.

    Args:
        session: over which.
        database: whose.
        head: as the transaction found it.

    Attributes:
        revision: see R18.
        public_revision: see R21.
        now: see R20.
        failure: the error with which the database ended the transaction.
    """

    def __init__(self, session: Session, database: Database, head: Head) -> None:
        self._session = session
        self._database = database
        self.revision = head.revision
        self.public_revision = head.public_revision
        self.now = head.time
        self.failure: DBAPIError | None = None

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

    def end(self) -> None:
        """Raise StoreUnavailable if a statement failed, whatever the unit made of that."""
        self._check()

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


# Nothing refers to the log.
_RECORDS = tuple(kind for kind in TABLES if kind is not Change)


Known = dict[tuple[type[Record], str], Record]
"""Records that were read, by type and id."""


class Waiting:
    """What the units of a batch have added and not sent to the database yet, and what they know.

    The former is sent type by type. No type refers to one that comes later, so the order of the
    additions makes no difference, except where one refers to a record that is added after it:
    `named` is there to notice that.

    Args:
        known: records as they are where the batch begins.

    Attributes:
        rows: by type, in the order in which they are sent.
        named: the type and id of each record that one of them refers to.
        known: records of logged types. They stay as they are until a unit of this batch changes
            something, for it holds the writer lock.
    """

    def __init__(self, known: Known) -> None:
        self.rows: dict[type[Any], list[Bound]] = {kind: [] for kind in TABLES}
        self.named: set[tuple[type[Record], str]] = set()
        self.known = known


class Writing(Reading):
    """A transaction that may write.

    What can wait is sent together, with what other units of the batch have written: at the end of
    the batch, or before something is asked that depends on it.

    Args:
        session: over which.
        database: whose.
        head: as the unit finds it.
        now: the caller's clock.
        waiting: what the units before it have written and not sent; this one adds to it.
        careful: there is this unit only. On a remote database, send every change at once, under a
            savepoint, so that a refused one can be told and undone.

    Attributes:
        touched: whether it wrote.
        refused: whether a remote database refused something, and aborted the transaction.
    """

    def __init__(
        self,
        session: Session,
        database: Database,
        head: Head,
        now: datetime,
        waiting: Waiting,
        *,
        careful: bool,
    ) -> None:
        super().__init__(session, database, head)
        self.revision = head.revision + 1
        self.now = max(now, head.time + _TICK)
        self._before = head
        self._waiting = waiting
        self._own = dict.fromkeys(TABLES, 0)  # how much of what waits is this unit's
        self._careful = careful
        self._changed = False
        self._appended = 0
        self._sent = False
        self.touched = False
        self.refused = False

    def get(self, kind: type[R], id: str) -> R:
        """Return the record, or raise NotFound."""
        self._check()
        known = self._waiting.known.get((kind, id))
        if known is None:
            self._send_what_is_in(kind)
            known = super().get(kind, id)
            if RECORDS[kind].logged:
                self._waiting.known[kind, id] = known
        return cast("R", known)

    def find(self, query: Query[Q]) -> Sequence[Q]:
        """Return what matches, in order (R14-R16)."""
        self._send_what_is_in(query.kind)
        return super().find(query)

    def count(self, query: Query[Any]) -> int:
        """Count what matches (R17)."""
        self._send_what_is_in(query.kind)
        return super().count(query)

    def add(self, record: Record) -> None:
        """See R10."""
        kind = type(record)
        if self._database.remote and not self._careful:
            # Should it be refused later, the batch is run again, carefully.
            self._wait_for_references(record)
            self._wait(record)
            self._changed |= RECORDS[kind].logged
            return
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
        self._send_what_is_in(query.kind)
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
        self._wait(change)
        self._appended += 1
        if change.public:
            self.public_revision = self.revision

    @property
    def dirty(self) -> bool:
        """Whether it is not enough to forget the unit, if it is not to count."""
        return self._sent or self.failure is not None or self.doubtful

    @property
    def doubtful(self) -> bool:
        """Whether a change was refused, or may yet be: what the unit made of it may be wrong."""
        return self.refused or any(own for kind, own in self._own.items() if kind is not Change)

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
        super().end()
        if self._changed != bool(self._appended):
            raise UnloggedWrite("a unit must log what it changes, and change what it logs")

    def forget(self) -> None:
        """Drop what the unit has written and not sent."""
        for kind, own in self._own.items():
            rows = self._waiting.rows[kind]
            del rows[len(rows) - own :]

    def _wait(self, row: Record | Change) -> None:
        self._check()
        kind = type(row)
        # Bound now, so that it is kept as it is now, whatever the caller does to it later (R9).
        insert = self._session.bind(statements.INSERT[kind], msgspec.structs.asdict(row))
        self._waiting.rows[kind].append(insert)
        self._own[kind] += 1
        self.touched = True

    def _wait_for_references(self, record: Record) -> None:
        """Have what a record refers to remembered, and be refused what refers to it already."""
        kind = type(record)
        named = self._waiting.named
        if (kind, record.id) in named:
            self._send(_RECORDS)
        for field, target in RECORDS[kind].references.items():
            named.add((target, getattr(record, field)))  # None, too, which is no id

    def _send_what_is_in(self, kind: type[Any]) -> None:
        """Send what waits, if a query for that type might find it."""
        if self._waiting.rows[kind]:
            self._send((Change,) if kind is Change else _RECORDS)

    def _send(self, kinds: Iterable[type[Any]]) -> None:
        self._check()
        rows = {kind: self._waiting.rows[kind] for kind in kinds}
        if not any(rows.values()):
            return
        sent = self._database.inserting(self._session, rows)
        try:
            self._session.change_all(sent)
        except DBAPIError as error:
            self.refused = self._database.refused(error)
            raise self._failed(error) from error.orig
        for kind in kinds:
            self._sent |= self._own[kind] > 0
            self._own[kind] = 0
            self._waiting.rows[kind].clear()
        if kinds is _RECORDS:
            self._waiting.named.clear()

    def _change(self, statement: UpdateBase, parameters: Mapping[str, Any]) -> int:
        """Change rows, and return how many; lets only refusals through as DBAPIError."""
        self._check()
        if not statement.is_insert:
            self._waiting.known.clear()
        self._send(_RECORDS)
        guarded = self._database.remote and self._careful
        try:
            if guarded:
                self._session.run("SAVEPOINT change")
            changed = self._session.change(statement, parameters)
            if guarded:
                self._session.run("RELEASE SAVEPOINT change")
        except DBAPIError as error:
            refused = self._database.refused(error)
            if not refused or (self._database.remote and not guarded):
                self.refused = refused
                raise self._failed(error) from error.orig
            if guarded:
                self._session.run("ROLLBACK TO SAVEPOINT change")
            raise
        if changed:
            self.touched = self._sent = True
        return changed

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
