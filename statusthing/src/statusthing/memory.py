"""The reference store: everything in this process's memory, nothing kept after it.

It is the contract of `statusthing.store` in its plainest form. A state is never changed once it is
committed: a write copies the tables that it touches and puts the new state in place of the old
one, so that a snapshot is a reference, and rolling back is forgetting.

`State`, `Reading` and `Writing` are of use to other stores as well: one that has all of its data in
memory needs to add no more than how a committed unit is kept.
"""

from __future__ import annotations

import copy
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

import msgspec

from statusthing.errors import (
    AlreadyExists,
    InUse,
    MissingReference,
    NestedUnit,
    NotFound,
    StoreClosed,
    UnloggedWrite,
    UserMistake,
    VersionConflict,
)
from statusthing.log import Change
from statusthing.model import EPOCH, RECORDS, Record
from statusthing.store import Query, Range, SchemaState, Transaction
from statusthing.wakeup import Wakeup

T = TypeVar("T")
R = TypeVar("R", bound=Record)
Q = TypeVar("Q", bound="Record | Change")

_TICK = timedelta(microseconds=1)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All of a store at one revision; nobody may change it, or anything in it.

    Attributes:
        tables: for each type of record, and `Change`, its rows by their `identity`.
        revision: the head.
        public_revision: see R21.
        time: the head's time, see R20.
    """

    tables: Mapping[type[Any], Mapping[Any, Any]] = MappingProxyType(
        dict.fromkeys((*RECORDS, Change), MappingProxyType({}))
    )
    revision: int = 0
    public_revision: int = 0
    time: datetime = EPOCH


class MemoryStore:
    """A store that lives as long as its object."""

    url = "memory://"
    shared = False
    schema = SchemaState(version="memory", created=True)

    def __init__(self) -> None:
        self._state = State()
        self._writing = threading.Lock()
        self._unit = threading.local()
        self._wakeup: Wakeup | None = None
        self._pid = 0  # of the process that opened it

    async def open(self) -> None:
        """Make the store ready."""
        if self._wakeup is None:
            self._pid = os.getpid()
            wakeup = Wakeup()
            wakeup.announce(self._state.revision)
            self._wakeup = wakeup  # last: another thread may close the store at once

    async def migrate(self) -> None:
        """Do nothing: data in memory always has the current layout."""

    async def close(self) -> None:
        """End the waiting calls. The data stays with the object, and `open` takes it up again."""
        if self._wakeup is not None:
            self._wakeup.close()
            self._wakeup = None

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run a unit that only reads."""
        self._opened()
        return self._run(work, Reading(self._state))

    async def write(self, work: Callable[[Transaction], T], *, now: datetime) -> T:
        """Run a unit that may write; see `Store.write`."""
        wakeup = self._opened()
        self._check_alone()
        with self._writing:
            unit = Writing(self._state, now)
            result = self._run(work, unit)
            self._state = unit.commit()
            wakeup.announce(self._state.revision)
        return result

    async def wait(self, after: int) -> int:
        """Return the head once it is above `after`."""
        return await self._opened().wait(after)

    def _opened(self) -> Wakeup:
        if self._wakeup is None:
            raise StoreClosed("the memory store is not open")
        if os.getpid() != self._pid:
            raise StoreClosed("this store was opened before a fork: open one after it")
        return self._wakeup

    def _check_alone(self) -> None:
        if getattr(self._unit, "running", False):
            raise NestedUnit("a unit of work cannot start another one")

    def _run(self, work: Callable[[Transaction], T], transaction: Transaction) -> T:
        self._check_alone()
        self._unit.running = True
        try:
            return work(transaction)
        finally:
            self._unit.running = False


class Reading:
    """A transaction that only reads: the queries of `Transaction` over one state.

    Args:
        state: what it sees.
    """

    def __init__(self, state: State) -> None:
        self._tables = state.tables
        self.revision = state.revision
        self.public_revision = state.public_revision
        self.now = state.time

    def get(self, kind: type[R], id: str) -> R:
        """See `Transaction.get`."""
        try:
            record: R = self._tables[kind][id]
        except KeyError:
            raise NotFound(kind.__name__, id) from None
        return record

    def find(self, query: Query[Q]) -> Sequence[Q]:
        """See `Transaction.find`."""
        rows = sorted(self._matching(query), key=_key)
        if query.newest_per is not None:
            rows = _newest_per(rows, *query.newest_per)
        if query.descending:
            rows.reverse()
        if query.after is not None:
            after = query.after
            rows = [r for r in rows if (_key(r) < after if query.descending else _key(r) > after)]
        # Unlike records, entries of the log have mutable parts.
        return copy.deepcopy(rows[: query.limit]) if query.kind is Change else rows[: query.limit]

    def count(self, query: Query[Any]) -> int:
        """See `Transaction.count`."""
        return len(self.find(msgspec.structs.replace(query, after=None, limit=None)))

    def _matching(self, query: Query[Q]) -> Iterable[Q]:
        return (
            row
            for row in self._tables[query.kind].values()
            if all(_satisfies(getattr(row, field), want) for field, want in query.where.items())
        )

    def add(self, record: Record) -> None:
        """Raise TypeError."""
        _refuse_to_write()

    def replace(self, record: Record, *, expect: int) -> None:
        """Raise TypeError."""
        _refuse_to_write()

    def remove(self, kind: type[Record], id: str) -> None:
        """Raise TypeError."""
        _refuse_to_write()

    def remove_where(self, query: Query[Any], *, limit: int) -> int:
        """Raise TypeError."""
        _refuse_to_write()

    def append(self, change: Change) -> None:
        """Raise TypeError."""
        _refuse_to_write()


def _refuse_to_write() -> NoReturn:
    raise TypeError("a unit that only reads cannot write: run it with Store.write")


class Writing(Reading):
    """A transaction that writes: into copies of the tables that it touches, for one unit.

    Args:
        head: the state that it starts from, which stays as it is.
        now: the caller's clock, see R20.

    Attributes:
        touched: what the unit has done so far, by type and `identity`: the row that is there now,
            or None where it was removed.
    """

    def __init__(self, head: State, now: datetime) -> None:
        super().__init__(head)
        self.revision = head.revision + 1
        self.now = max(now, head.time + _TICK)
        self.touched: dict[tuple[type[Any], Any], Any] = {}
        self._head = head
        self._copies: dict[type[Any], dict[Any, Any]] = {}
        self._changed = False
        self._appended = 0

    def add(self, record: Record) -> None:
        """See `Transaction.add`."""
        kind = type(record)
        if record.id in self._tables[kind]:
            raise AlreadyExists(kind.__name__, "id", record.id)
        self._check(record)
        self._put(record)

    def replace(self, record: Record, *, expect: int) -> None:
        """See `Transaction.replace`."""
        kind = type(record)
        actual = self.get(kind, record.id).version
        if actual != expect:
            raise VersionConflict(kind.__name__, record.id, expected=expect, actual=actual)
        self._check(record)
        self._put(record)

    def remove(self, kind: type[Record], id: str) -> None:
        """See `Transaction.remove`."""
        self.get(kind, id)
        users = sum(
            self.count(Query(user, where={field: id}))
            for user, spec in RECORDS.items()
            for field, target in spec.references.items()
            if target is kind
        )
        if users:
            raise InUse(kind.__name__, id, users)
        self._set(kind, id, None)
        self._changed |= RECORDS[kind].logged

    def remove_where(self, query: Query[Any], *, limit: int) -> int:
        """See `Transaction.remove_where`."""
        if query.kind is not Change and RECORDS[query.kind].logged:
            msg = f"{query.kind.__name__} is a logged type: remove such records one by one"
            raise TypeError(msg)
        doomed = self.find(msgspec.structs.replace(query, limit=limit))
        for row in doomed:
            self._set(query.kind, identity(row), None)
        return len(doomed)

    def append(self, change: Change) -> None:
        """See `Transaction.append`."""
        if (change.revision, change.seq) != (self.revision, self._appended):
            msg = f"expected change {self.revision}/{self._appended}"
            raise UnloggedWrite(msg)
        self._set(Change, identity(change), copy.deepcopy(change))
        self._appended += 1
        if change.public:
            self.public_revision = self.revision

    def commit(self) -> State:
        """Return the state behind the unit; it is up to the caller to put it in the head's place.

        Raises:
            UnloggedWrite: what the unit changed and what it logged do not agree (R19).
        """
        if self._changed != bool(self._appended):
            raise UnloggedWrite("a unit must log what it changes, and change what it logs")
        if not self._appended:
            return msgspec.structs.replace(self._head, tables=self._tables)
        return State(
            tables=self._tables,
            revision=self.revision,
            public_revision=self.public_revision,
            time=self.now,
        )

    def _check(self, record: Record) -> None:
        kind = type(record)
        for field in RECORDS[kind].unique:
            value = getattr(record, field)
            if value is not None and any(
                getattr(other, field) == value and other.id != record.id
                for other in self._tables[kind].values()
            ):
                raise AlreadyExists(kind.__name__, field, value)
        for field, target in RECORDS[kind].references.items():
            value = getattr(record, field)
            if value is not None and value not in self._tables[target]:
                raise MissingReference(target.__name__, value, field)

    def _put(self, record: Record) -> None:
        self._set(type(record), record.id, record)
        self._changed |= RECORDS[type(record)].logged

    def _set(self, kind: type[Any], key: Any, row: Record | Change | None) -> None:
        if kind not in self._copies:
            self._copies[kind] = dict(self._tables[kind])
            self._tables = {**self._tables, **self._copies}
        if row is None:
            del self._copies[kind][key]
        else:
            self._copies[kind][key] = row
        self.touched[kind, key] = row


def identity(row: Record | Change) -> Any:
    """Return the key of a row in its table: a record's id, or a change's `(revision, seq)`."""
    return row.id if isinstance(row, Record) else _key(row)


def _key(row: Record | Change) -> tuple[Any, Any]:
    return (row.created, row.id) if isinstance(row, Record) else (row.revision, row.seq)


def _satisfies(value: Any, want: Any) -> bool:
    if isinstance(want, frozenset):
        return value in want
    if isinstance(want, Range):
        return (
            value is not None
            and (want.ge is None or value >= want.ge)
            and (want.lt is None or value < want.lt)
        )
    return bool(value == want)


def _newest_per(rows: list[Q], field: str, n: int) -> list[Q]:
    groups = defaultdict(list)
    for row in rows:
        groups[getattr(row, field)].append(row)
    kept = {identity(row) for group in groups.values() for row in group[-n:]}
    return [row for row in rows if identity(row) in kept]


def from_url(url: str) -> MemoryStore:
    """Make a store from `memory://`.

    Raises:
        UserMistake: there is more in the URL than that.
    """
    if url != MemoryStore.url:
        msg = f"{MemoryStore.url} takes nothing behind it"
        raise UserMistake(msg)
    return MemoryStore()
