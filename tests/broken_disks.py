"""Stores that claim every capability: a sound one, and some that break the rule of a claim."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from datetime import datetime

from tests.broken_stores import Sound, T, Work

from statusthing.errors import SchemaOutdated, SchemaTooNew, StoreClosed, StoreUnavailable
from statusthing.memory import MemoryStore
from statusthing.store import SchemaState


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
        super().__init__()
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
        while (head := await self.read(lambda tx: tx.revision)) <= after:  # noqa: ASYNC110 - stores have only the disk in common
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
