"""Stores that break one rule each, for the tests of the conformance kit.

Each passes everything on to a memory store, but for the one thing that it does wrong. The table
`BROKEN` names the rule.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeVar

import msgspec

from statusthing.errors import (
    AlreadyExists,
    InUse,
    MissingReference,
    NestedUnit,
    NotFound,
    SchemaOutdated,
    SchemaTooNew,
    StoreClosed,
    StoreUnavailable,
    UnloggedWrite,
)
from statusthing.log import Change
from statusthing.memory import MemoryStore
from statusthing.model import EPOCH, RECORDS, Item, Record, Status
from statusthing.store import Query, Range, SchemaState, Transaction
from statusthing.testing.samples import add, item, log

T = TypeVar("T")
Work = Callable[[Transaction], T]

TICK = timedelta(microseconds=1)


class Passing:
    """A transaction that passes everything on. `now` is the caller's clock; None in a read."""

    def __init__(self, inner: Transaction, store: Sound, now: datetime | None) -> None:
        self._inner = inner
        self._store = store
        self._now = now

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Sound:
    """A store that passes everything on."""

    transaction: ClassVar[type[Passing]] = Passing
    shared = False

    def __init__(self) -> None:
        self.inner = MemoryStore()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def read(self, work: Work[T]) -> T:
        """Run a unit that reads."""
        return await self.inner.read(lambda tx: work(self._wrapped(tx)))

    async def write(self, work: Work[T], *, now: datetime) -> T:
        """Run a unit that may write."""
        return await self.inner.write(lambda tx: work(self._wrapped(tx, now)), now=now)

    def _wrapped(self, inner: Transaction, now: datetime | None = None) -> Any:
        return self.transaction(inner, self, now)


def of(transaction: type[Passing]) -> type[Sound]:
    """Make a store of transactions that break a rule."""
    return type(transaction.__name__, (Sound,), {"transaction": transaction})


# Units


class TornSnapshot(Sound):
    """Reads each time what is there at that time."""

    async def read(self, work: Work[T]) -> T:
        return work(Torn(await self.inner.read(lambda head: head), self, None))  # type: ignore[arg-type]


class Torn(Passing):
    """Asks the store anew for all that is found."""

    def find(self, query: Query[Any]) -> Sequence[Any]:
        return self._ask(lambda latest: latest.find(query))

    def count(self, query: Query[Any]) -> int:
        return self._ask(lambda latest: latest.count(query))

    def _ask(self, work: Work[T]) -> T:
        try:
            self._store.inner.read(work).send(None)
        except StopIteration as end:
            result: T = end.value
            return result
        raise AssertionError


class LosesRollback(Sound):
    """Commits what a unit did before it raised."""

    async def write(self, work: Work[T], *, now: datetime) -> T:
        def unit(transaction: Transaction) -> tuple[T | None, BaseException | None]:
            try:
                return work(transaction), None
            except BaseException as error:  # noqa: BLE001 - raised later
                return None, error

        result, error = await super().write(unit, now=now)
        if error is not None:
            raise error
        return result  # type: ignore[return-value]


class WrapsErrors(Sound):
    """Raises an error of its own in the place of the unit's."""

    async def write(self, work: Work[T], *, now: datetime) -> T:
        try:
            return await super().write(work, now=now)
        except Exception as error:
            raise UnloggedWrite("the unit failed") from error


class Recording(Passing):
    """Writes down what a unit does to a copy of the data, and passes it on."""

    def __init__(self, inner: Transaction, head: Transaction, now: datetime) -> None:
        self._inner = inner
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.revision = head.revision + 1
        self.public_revision = head.public_revision
        self.now = max(now, head.now + TICK)

    def append(self, change: Change) -> None:
        self.calls.append(("append", (change,), {}))

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            result = getattr(self._inner, name)(*arguments, **keywords)
            self.calls.append((name, arguments, keywords))
            return result

        return call

    def repeat(self, transaction: Transaction) -> None:
        """Do the same to the data as it is now, without looking again."""
        for name, arguments, keywords in self.calls:
            first, *others = arguments
            if name == "append":
                first = msgspec.structs.replace(
                    first, revision=transaction.revision, at=transaction.now
                )
            if name == "replace":
                keywords["expect"] = transaction.get(type(first), first.id).version
            getattr(transaction, name)(first, *others, **keywords)


class LosesUpdates(Sound):
    """Runs units on copies of the data, and repeats on the data what they did to those."""

    async def write(self, work: Work[T], *, now: datetime) -> T:
        def look(head: Transaction) -> tuple[list[Record], Transaction]:
            return [record for kind in RECORDS for record in head.find(Query(kind))], head

        results: list[T] = []
        recordings: list[Recording] = []

        def try_out(transaction: Transaction) -> None:
            recordings.append(Recording(transaction, head, now))
            results.append(work(recordings[0]))  # type: ignore[arg-type]
            raise _TriedOut

        records, head = await self.inner.read(look)
        copy = MemoryStore()
        await copy.open()
        await copy.write(lambda transaction: add(transaction, *records), now=EPOCH)
        with contextlib.suppress(_TriedOut):
            await copy.write(try_out, now=now)
        await self.inner.write(recordings[0].repeat, now=now)
        return results[0]


class _TriedOut(Exception):
    """A unit has run, and is not to be committed."""


class FirstResult(Sound):
    """Runs each unit twice, and returns what the first run returned."""

    async def write(self, work: Work[T], *, now: datetime) -> T:
        results: list[T] = []

        def try_out(transaction: Transaction) -> None:
            results.append(work(transaction))
            raise _TriedOut

        with contextlib.suppress(_TriedOut):
            await super().write(try_out, now=now)
        await super().write(work, now=now)
        return results[0]


class Nests(Sound):
    """Runs a unit inside another one."""

    def __init__(self) -> None:
        super().__init__()
        self._outer: list[Any] = []

    async def read(self, work: Work[T]) -> T:
        try:
            return await super().read(work)
        except NestedUnit:
            return work(self._outer[-1])

    def _wrapped(self, inner: Transaction, now: datetime | None = None) -> Any:
        self._outer.append(super()._wrapped(inner, now))
        return self._outer[-1]


class UndoesWhatIsCancelled(Sound):
    """Takes a write back that is cancelled after its unit has run."""

    async def write(self, work: Work[T], *, now: datetime) -> T:
        result = await super().write(work, now=now)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            await super().write(_remove_items, now=now)
            raise
        return result


def _remove_items(transaction: Transaction) -> None:
    for seq, record in enumerate(transaction.find(Query(Item))):
        transaction.remove(Item, record.id)
        log(transaction, seq, record)


class TiedToALoop(Sound):
    """Serves the loop on which it was opened, and no other."""

    async def open(self) -> None:
        await self.inner.open()
        self._loop = asyncio.get_running_loop()

    async def write(self, work: Work[T], *, now: datetime) -> T:
        result = await super().write(work, now=now)
        if self._loop is not asyncio.get_running_loop():
            raise RuntimeError("attached to a different loop")
        return result


class GoesOnAfterAFork(Sound):
    """Serves a child as if nothing had happened."""

    async def open(self) -> None:
        await self.inner.open()
        self._pid = os.getpid()

    async def read(self, work: Work[T]) -> T:
        if os.getpid() != self._pid:
            self.inner = MemoryStore()
            await self.inner.open()
        return await super().read(work)


# Records


class LeaksAList(Sound):
    """Returns the same list to all who ask the same."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[Any, Any] = {}

    class transaction(Passing):  # noqa: N801 - what the base calls it
        def find(self, query: Query[Any]) -> Sequence[Any]:
            found = self._inner.find(query)
            key = repr(query), self._inner.revision
            cache = self._store.found
            return found if self._now else cache.setdefault(key, found)  # type: ignore[no-any-return]


class LeaksTheLog(Sound):
    """Returns the same entries, with their mutable parts, to all who ask."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[Any, Any] = {}

    class transaction(Passing):  # noqa: N801
        def find(self, query: Query[Any]) -> Sequence[Any]:
            found = self._inner.find(query)
            if query.kind is not Change or self._now:
                return found
            return [self._store.found.setdefault((c.revision, c.seq), c) for c in found]


class KeepsWhatItWasGiven(Passing):
    """Stores an entry of the log as it is handed over, not a copy."""

    given: ClassVar[dict[Any, Change]] = {}

    def append(self, change: Change) -> None:
        self._inner.append(change)
        self.given[change.revision, change.seq] = change

    def find(self, query: Query[Any]) -> Sequence[Any]:
        found = self._inner.find(query)
        if query.kind is not Change:
            return found
        return [self.given.get((each.revision, each.seq), each) for each in found]


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
            self._inner.add(msgspec.structs.replace(record, status_id=None))  # type: ignore[call-arg]


class IgnoresExpect(Passing):
    """Replaces whichever version is there."""

    def replace(self, record: Record, *, expect: int) -> None:
        actual = self._inner.get(type(record), record.id).version
        self._inner.replace(record, expect=actual)


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


class LeavesGaps(Sound):
    """Uses up revisions for units that fail."""

    async def write(self, work: Work[T], *, now: datetime) -> T:
        try:
            return await super().write(work, now=now)
        except AlreadyExists:
            await self.inner.write(lambda tx: add(tx, item("~")), now=now)
            await self.inner.write(_remove_unseen, now=now)
            raise


def _remove_unseen(transaction: Transaction) -> None:
    transaction.remove(Item, "~")
    log(transaction, 0, item("~"))
    traces = Query(Change, {"subject": "~"})
    transaction.remove_where(traces, limit=2)


class LogsForTheUnit(Sound):
    """Commits a unit that forgot to log, with an entry about something else."""

    async def write(self, work: Work[T], *, now: datetime) -> T:
        def and_log(transaction: Transaction) -> T:
            result = work(transaction)
            add(transaction, item("~"))
            return result

        try:
            return await super().write(work, now=now)
        except UnloggedWrite:
            return await super().write(and_log, now=now)


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


class WaitsTooLittle(Sound):
    """Returns from `wait` at the head that the caller knows."""

    async def wait(self, after: int) -> int:
        return await self.inner.wait(after - 1)


class EndsOtherWaits(Sound):
    """Ends every wait when one is cancelled."""

    async def wait(self, after: int) -> int:
        try:
            return await self.inner.wait(after)
        except asyncio.CancelledError:
            await self.inner.close()
            await self.inner.open()
            raise


# Life


class OpensAnew(Sound):
    """Lays out an empty store each time it is opened."""

    async def open(self) -> None:
        self.inner = MemoryStore()
        await self.inner.open()


class RaisesItsOwn(Sound):
    """Lets an error escape that only its driver knows."""

    async def read(self, work: Work[T]) -> T:
        try:
            return await super().read(work)
        except StoreClosed as error:
            raise ConnectionError("bad handle") from error


class WritesInReads(Sound):
    """Lets a unit write that was to read."""

    async def read(self, work: Work[T]) -> T:
        return await super().write(work, now=EPOCH)


# Stores that claim everything


class Disk:
    """Where data outlives its stores. It may be away, or be labelled with another layout."""

    def __init__(self) -> None:
        self.inner = MemoryStore()
        self.label = ""
        self.away = False

    def relabel(self, label: str) -> None:
        """Write another layout's name."""
        self.label = label

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Be away."""
        self.away = True
        yield
        self.away = False


class OnDisk(Sound):
    """A store that claims everything, and is sound."""

    shared = True

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.inner = disk.inner
        self._open = False

    async def open(self) -> None:
        if not self._open:
            self.check_layout()
            await self.inner.open()
            self.schema = SchemaState(version="current", created=not self.disk.label)
            self.disk.label = "current"
            self._open = True

    async def migrate(self) -> None:
        if self.disk.label == "newer":
            raise SchemaTooNew("it is newer")
        self.disk.label = "current"

    async def close(self) -> None:
        self._open = False

    async def read(self, work: Work[T]) -> T:
        self.check()
        return await super().read(work)

    async def write(self, work: Work[T], *, now: datetime) -> T:
        self.check()
        return await super().write(work, now=now)

    async def wait(self, after: int) -> int:
        self.check()
        while (head := await self.read(lambda transaction: transaction.revision)) <= after:
            await asyncio.sleep(0)
        return head

    def check(self) -> None:
        """Refuse to serve while the store is closed or the data is away."""
        if not self._open:
            raise StoreClosed("it is closed")
        if self.disk.away:
            raise StoreUnavailable("it is away")

    def check_layout(self) -> None:
        """Refuse another layout."""
        if self.disk.label == "older":
            raise SchemaOutdated("it is older")
        if self.disk.label == "newer":
            raise SchemaTooNew("it is newer")


class Forgets(OnDisk):
    """Loses the data when it is closed."""

    async def close(self) -> None:
        if self._open:
            self.disk.inner = self.inner = MemoryStore()
        await super().close()


class HasNoLayouts(OnDisk):
    """Opens whatever there is."""

    def check_layout(self) -> None:
        pass


class Relabels(OnDisk):
    """Refuses another layout, and gives it the name of its own."""

    def check_layout(self) -> None:
        try:
            super().check_layout()
        finally:
            self.disk.label = self.disk.label and "current"


class BlamesTheDisk(OnDisk):
    """Lets its driver's error escape."""

    def check(self) -> None:
        try:
            super().check()
        except StoreClosed:
            raise
        except StoreUnavailable:
            raise OSError("no such disk") from None


class NeverRecovers(OnDisk):
    """Is not open any more after an outage."""

    async def write(self, work: Work[T], *, now: datetime) -> T:
        try:
            return await super().write(work, now=now)
        except StoreUnavailable:
            self._open = False
            raise


class KeepsACopy(OnDisk):
    """Reads what was there when it was opened or wrote itself."""

    async def open(self) -> None:
        await super().open()
        await self._look()

    async def write(self, work: Work[T], *, now: datetime) -> T:
        result = await super().write(work, now=now)
        await self._look()
        return result

    async def read(self, work: Work[T]) -> T:
        self.check()
        return work(self._seen)

    async def _look(self) -> None:
        self._seen = await super().read(lambda transaction: transaction)


class LaysOutTwice(OnDisk):
    """Finds nothing, wherever it is opened."""

    async def open(self) -> None:
        await super().open()
        self.schema = SchemaState(version="current", created=True)


BROKEN: Mapping[type[Sound], int] = {
    TornSnapshot: 1,
    LosesRollback: 2,
    WrapsErrors: 2,
    LosesUpdates: 4,
    FirstResult: 5,
    Nests: 6,
    UndoesWhatIsCancelled: 7,
    TiedToALoop: 8,
    GoesOnAfterAFork: 8,
    LeaksAList: 9,
    LeaksTheLog: 9,
    of(KeepsWhatItWasGiven): 9,
    of(NaiveInstants): 9,
    of(Milliseconds): 9,
    of(Normalizes): 9,
    of(SwallowsBreach): 10,
    of(NamesTheWrongField): 10,
    of(IgnoresCase): 10,
    of(MakesUpReferences): 10,
    of(IgnoresExpect): 11,
    of(Patches): 11,
    of(AddsWhatIsMissing): 11,
    of(Cascades): 12,
    of(Miscounts): 12,
    of(RemovesAll): 13,
    of(RemovesTheNewest): 13,
    of(ClosedRanges): 14,
    of(EmptySetIsAny): 14,
    of(WrongOrder): 15,
    of(RepeatsTheKey): 15,
    of(KeepsTheOldest): 16,
    of(CountsThePage): 17,
    LeavesGaps: 18,
    LogsForTheUnit: 19,
    of(BelievesTheClock): 20,
    of(ShowsThePrivate): 21,
    WaitsTooLittle: 22,
    EndsOtherWaits: 22,
    OpensAnew: 23,
    RaisesItsOwn: 24,
    WritesInReads: 24,
}
"""Each with the rule that it breaks."""

BROKEN_ON_DISK: Mapping[type[OnDisk], int] = {
    Forgets: 3,
    KeepsACopy: 4,
    HasNoLayouts: 23,
    Relabels: 23,
    LaysOutTwice: 23,
    BlamesTheDisk: 24,
    NeverRecovers: 24,
}
"""Stores that claim every capability."""
