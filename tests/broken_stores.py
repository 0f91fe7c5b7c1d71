"""Stores that break one rule each, for the tests of the conformance kit.

Each passes everything on to a memory store, but for the one thing that it does wrong. The table
`BROKEN` names the rule.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, TypeVar

import msgspec
from tests import broken_transactions as broken
from tests.broken_transactions import Passing

from statusthing.errors import AlreadyExists, NestedUnit, StoreClosed, UnloggedWrite
from statusthing.log import Change
from statusthing.memory import MemoryStore
from statusthing.model import EPOCH, RECORDS, Item, Record
from statusthing.store import Query, Transaction
from statusthing.testing.samples import TICK, add, item, log

T = TypeVar("T")
Work = Callable[[Transaction], T]


class Sound:
    """A store that passes everything on."""

    transaction: ClassVar[type[Passing]] = Passing
    shared = False

    def __init__(self) -> None:
        self.inner = MemoryStore()
        self._memory: dict[Any, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def read(self, work: Work[T]) -> T:
        """Run a unit that reads."""
        return await self.inner.read(lambda tx: work(self._wrapped(tx)))

    async def write(self, work: Work[T], *, now: datetime) -> T:
        """Run a unit that may write."""
        return await self.inner.write(lambda tx: work(self._wrapped(tx, now)), now=now)

    def _wrapped(self, inner: Transaction, now: datetime | None = None) -> Any:
        return self.transaction(inner, self._memory, now)


def of(transaction: type[Passing]) -> type[Sound]:
    """Make a store of transactions that break a rule."""
    return type(transaction.__name__, (Sound,), {"transaction": transaction})


# Units


class TornSnapshot(Sound):
    """Reads each time what is there at that time."""

    async def read(self, work: Work[T]) -> T:
        head = await self.inner.read(lambda transaction: transaction)
        return work(Torn(head, {"store": self.inner}, None))


class Torn(Passing):
    """Asks the store anew for all that is found."""

    def find(self, query: Query[Any]) -> Sequence[Any]:
        return self._ask(lambda latest: latest.find(query))

    def count(self, query: Query[Any]) -> int:
        return self._ask(lambda latest: latest.count(query))

    def _ask(self, work: Work[T]) -> T:
        try:
            self._memory["store"].read(work).send(None)
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
        super().__init__(inner, {}, now)
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
            results.append(work(recordings[0]))
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
    of(broken.LeaksAList): 9,
    of(broken.LeaksTheLog): 9,
    of(broken.KeepsWhatItWasGiven): 9,
    of(broken.NaiveInstants): 9,
    of(broken.Milliseconds): 9,
    of(broken.Normalizes): 9,
    of(broken.SwallowsBreach): 10,
    of(broken.NamesTheWrongField): 10,
    of(broken.IgnoresCase): 10,
    of(broken.MakesUpReferences): 10,
    of(broken.IgnoresExpect): 11,
    of(broken.Patches): 11,
    of(broken.AddsWhatIsMissing): 11,
    of(broken.Cascades): 12,
    of(broken.Miscounts): 12,
    of(broken.RemovesAll): 13,
    of(broken.RemovesTheNewest): 13,
    of(broken.ClosedRanges): 14,
    of(broken.EmptySetIsAny): 14,
    of(broken.WrongOrder): 15,
    of(broken.RepeatsTheKey): 15,
    of(broken.KeepsTheOldest): 16,
    of(broken.CountsThePage): 17,
    LeavesGaps: 18,
    LogsForTheUnit: 19,
    of(broken.BelievesTheClock): 20,
    of(broken.ShowsThePrivate): 21,
    WaitsTooLittle: 22,
    EndsOtherWaits: 22,
    OpensAnew: 23,
    RaisesItsOwn: 24,
    WritesInReads: 24,
}
"""Each with the rule that it breaks."""
