"""Transactions that break one rule each, for the tests of the conformance kit.

Each passes everything on to a transaction of the memory store, but for the one thing that it does
wrong. `broken_stores` says which rule that is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from statusthing.errors import AlreadyExists, InUse, MissingReference, NotFound
from statusthing.log import Change
from statusthing.model import Item, Record, Status
from statusthing.store import Query, Range, Transaction

TICK = timedelta(microseconds=1)


class Passing:
    """A transaction that passes everything on. `now` is the caller's clock; None in a read."""

    def __init__(self, inner: Transaction, memory: dict[Any, Any], now: datetime | None) -> None:
        self._inner = inner
        self._memory = memory
        self._now = now

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


# Records


class LeaksAList(Passing):
    """Returns the same list to all who read the same."""

    def find(self, query: Query[Any]) -> Sequence[Any]:
        found = self._inner.find(query)
        return found if self._now else self._memory.setdefault(f"{self.revision} {query}", found)


class LeaksTheLog(Passing):
    """Returns the same entries, with their mutable parts, to all who read them."""

    def find(self, query: Query[Any]) -> Sequence[Any]:
        found = self._inner.find(query)
        if query.kind is not Change or self._now:
            return found
        return [self._memory.setdefault((each.revision, each.seq), each) for each in found]


class KeepsWhatItWasGiven(Passing):
    """Stores an entry of the log as it is handed over, not a copy."""

    def append(self, change: Change) -> None:
        self._inner.append(change)
        self._memory[change.revision, change.seq] = change

    def find(self, query: Query[Any]) -> Sequence[Any]:
        found = self._inner.find(query)
        if query.kind is not Change:
            return found
        return [self._memory.get((each.revision, each.seq), each) for each in found]


class NaiveInstants(Passing):
    """Loses the timezone of what it reads."""

    def find(self, query: Query[Any]) -> Sequence[Any]:
        return [
            _changed(row, lambda at: at.replace(tzinfo=None)) for row in self._inner.find(query)
        ]


class Milliseconds(Passing):
    """Cuts instants to milliseconds."""

    def add(self, record: Record) -> None:
        cut = _changed(record, lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000))
        self._inner.add(cut)


def _changed(row: Any, change: Callable[[datetime], datetime]) -> Any:
    instants = {
        field: change(getattr(row, field))
        for field in row.__struct_fields__
        if isinstance(getattr(row, field), datetime)
    }
    return msgspec.structs.replace(row, **instants)


class Normalizes(Passing):
    """Trims text."""

    def add(self, record: Record) -> None:
        if isinstance(record, Item):
            record = msgspec.structs.replace(record, description=record.description.strip())
        self._inner.add(record)


class SwallowsBreach(Passing):
    """Does nothing when a value is taken already."""

    def add(self, record: Record) -> None:
        with contextlib.suppress(AlreadyExists):
            self._inner.add(record)


class NamesTheWrongField(Passing):
    """Blames the id, whatever is taken."""

    def add(self, record: Record) -> None:
        try:
            self._inner.add(record)
        except AlreadyExists as error:
            raise AlreadyExists(error.kind, "id", record.id) from error


class IgnoresCase(Passing):
    """Takes names that differ in case for the same."""

    def add(self, record: Record) -> None:
        name = getattr(record, "name", None)
        for other in self._inner.find(Query(type(record))) if name else []:
            if getattr(other, "name", "").casefold() == str(name).casefold():
                raise AlreadyExists(type(record).__name__, "name", str(name))
        self._inner.add(record)


class MakesUpReferences(Passing):
    """Adds the status that is missing."""

    def add(self, record: Record) -> None:
        try:
            self._inner.add(record)
        except MissingReference as error:
            if error.kind != Status.__name__:
                raise
            self._inner.add(msgspec.structs.replace(record, status_id=None))


class IgnoresExpect(Passing):
    """Replaces whichever version is there."""

    def replace(self, record: Record, *, expect: int) -> None:
        with contextlib.suppress(NotFound):
            expect = self._inner.get(type(record), record.id).version
        self._inner.replace(record, expect=expect)


class Patches(Passing):
    """Keeps what the new record leaves empty."""

    def replace(self, record: Record, *, expect: int) -> None:
        old = self._inner.get(type(record), record.id)
        kept = getattr(old, "description", "")
        if isinstance(record, Item) and not record.description:
            record = msgspec.structs.replace(record, description=kept)
        self._inner.replace(record, expect=expect)


class AddsWhatIsMissing(Passing):
    """Adds a record that was to be replaced and is not there."""

    def replace(self, record: Record, *, expect: int) -> None:
        try:
            self._inner.replace(record, expect=expect)
        except MissingReference:
            raise
        except NotFound:
            self._inner.add(record)


class Cascades(Passing):
    """Removes the items with their status."""

    def remove(self, kind: type[Record], id: str) -> None:
        if kind is Status:
            for user in self._inner.find(Query(Item, {"status_id": id})):
                self._inner.remove(Item, user.id)
        self._inner.remove(kind, id)


class Miscounts(Passing):
    """Counts one of many users."""

    def remove(self, kind: type[Record], id: str) -> None:
        try:
            self._inner.remove(kind, id)
        except InUse as error:
            raise InUse(error.kind, error.id, 1) from None


class RemovesAll(Passing):
    """Knows no limit."""

    def remove_where(self, query: Query[Any], *, limit: int) -> int:
        return self._inner.remove_where(query, limit=limit + 1)


class RemovesTheNewest(Passing):
    """Removes what is last in order first."""

    def remove_where(self, query: Query[Any], *, limit: int) -> int:
        newest = msgspec.structs.replace(query, descending=not query.descending)
        return self._inner.remove_where(newest, limit=limit)


# Queries


class ClosedRanges(Passing):
    """Takes `lt` for less or equal."""

    def find(self, query: Query[Any]) -> Sequence[Any]:
        where = {field: _closed(want) for field, want in query.where.items()}
        return self._inner.find(msgspec.structs.replace(query, where=where))


def _closed(want: Any) -> Any:
    if not isinstance(want, Range) or want.lt is None:
        return want
    steps: Mapping[type, Any] = {int: 1, datetime: TICK, str: "\0"}
    try:
        return Range(ge=want.ge, lt=want.lt + steps[type(want.lt)])
    except OverflowError:
        return Range(ge=want.ge)


class EmptySetIsAny(Passing):
    """Ignores a condition that is an empty set."""

    def find(self, query: Query[Any]) -> Sequence[Any]:
        where = {field: want for field, want in query.where.items() if want != frozenset()}
        return self._inner.find(msgspec.structs.replace(query, where=where))


class WrongOrder(Passing):
    """Orders ids without regard to case."""

    def find(self, query: Query[Any]) -> Sequence[Any]:
        found = list(self._inner.find(query))
        if query.kind is not Change:
            found.sort(key=lambda r: (r.created, r.id.lower()), reverse=query.descending)
        return found


class RepeatsTheKey(Passing):
    """Continues with the record that `after` names."""

    def find(self, query: Query[Any]) -> Sequence[Any]:
        if query.after is None or query.kind is Change:
            return self._inner.find(query)
        created, id = query.after
        found = list(self._inner.find(query))
        same = Query(query.kind, {**query.where, "id": id, "created": created})
        return [*self._inner.find(same), *found][: query.limit]


class KeepsTheOldest(Passing):
    """Keeps the first of each value, not the last."""

    def find(self, query: Query[Any]) -> Sequence[Any]:
        if query.newest_per is None:
            return self._inner.find(query)
        field, n = query.newest_per
        found = self._inner.find(Query(query.kind, query.where))
        groups: dict[Any, list[Any]] = {}
        for row in found:
            groups.setdefault(getattr(row, field), []).append(row)
        return [row for row in found if row in groups[getattr(row, field)][:n]]


class CountsThePage(Passing):
    """Counts what `find` would return, page and all."""

    def count(self, query: Query[Any]) -> int:
        return len(self._inner.find(query))


# The log


class BelievesTheClock(Passing):
    """Lets time go back when the caller's clock does."""

    @property
    def now(self) -> datetime:
        return self._now or self._inner.now


class ShowsThePrivate(Passing):
    """Takes every revision for public."""

    @property
    def public_revision(self) -> int:
        return self._inner.revision
