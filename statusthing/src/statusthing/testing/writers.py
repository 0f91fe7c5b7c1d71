"""Several writers: R3 and R4, on one store and, where it is shared, on two."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import ClassVar

import pytest

from statusthing.log import Change
from statusthing.model import Item, KeptAnswer
from statusthing.store import Query, Store, Transaction
from statusthing.testing.client import SECONDS, Client, give_way, start
from statusthing.testing.rules import Capabilities, rule
from statusthing.testing.samples import NOW, TICK, add, count_up, item, kept, log

each_moment = pytest.mark.parametrize("moment", ["before it reads", "between", "after it wrote"])


class Writers:
    """R3 and R4, and what is shared between stores."""

    capabilities: ClassVar[Capabilities]

    @rule(3, needs="persistent")
    def test_data_outlives_the_store(self, client: Client, factory: Callable[[], Store]) -> None:
        """Another store finds every record, the log, and the head with its time."""
        client.add(item("i"), kept("k"))
        client.write(lambda transaction: add(transaction, item("j"), public=False))
        heads = client.read(_heads)
        changes = client.find(Change)
        client.run(client.store.close())

        with Client(factory()) as later:
            assert later.ids(Item) == ["i", "j"], "a persistent store finds what was added before"
            assert later.find(KeptAnswer) == [kept("k")]
            assert later.find(Change) == changes
            assert later.read(_heads) == heads
            later.add(item("l"))
            assert later.read(_heads) == (3, 3, NOW + 2 * TICK)

    @rule(4)
    def test_writes_from_many_threads_lose_nothing(self, client: Client) -> None:
        """Read-modify-write from several threads and loops adds up."""
        client.add(item("i"))

        for done in [start(_count_many(client.store, 20)) for _ in range(4)]:
            done.result(SECONDS)

        _check_count(client, 80)

    @rule(4)
    @each_moment
    def test_a_second_writer_waits_for_the_first(self, client: Client, moment: str) -> None:
        """A write that is called in the midst of another one's unit builds on its result."""
        _interleave(client, client, moment)

    @rule(4, needs="shared")
    @each_moment
    def test_a_second_store_waits_for_the_first(
        self, client: Client, other: Client, moment: str
    ) -> None:
        """The same holds for a write at another store on the data."""
        _interleave(client, other, moment)

    @rule(4)
    def test_shared_is_what_is_claimed(self, client: Client) -> None:
        """`Store.shared` and the capability `shared` are equal."""
        claimed, says = self.capabilities.shared, client.store.shared

        assert says == claimed, f"claimed is shared={claimed}, and the store says shared={says}"

    @rule(3, 4, needs="shared")
    def test_stores_see_what_others_acknowledged(self, client: Client, other: Client) -> None:
        """Once a write is acknowledged, every other store reads it, and its head."""
        for n in range(10):
            writer, reader = (client, other) if n % 2 else (other, client)
            writer.add(item(f"{n}"), kept(f"{n}"))

            assert reader.ids(Item)[-1] == f"{n}"
            assert reader.read(lambda transaction: transaction.count(Query(KeptAnswer))) == n + 1
            assert reader.head() == n + 1

    @rule(3, 4, needs="shared")
    @pytest.mark.parametrize("then", ["only reads", "writes"])
    def test_a_writer_sees_what_others_have_changed(
        self, client: Client, other: Client, then: str
    ) -> None:
        """However often a store's units have read a record, they read what others made of it."""

        def read(transaction: Transaction) -> int:
            return transaction.get(Item, "i").position

        def write(transaction: Transaction) -> int:
            add(transaction, item(f"{transaction.revision}"))
            return read(transaction)

        client.add(item("i"))
        for n in range(4):
            for _ in range(3):
                client.write(write)
            assert other.write(count_up) == n

            found = client.write(read if then == "only reads" else write)
            assert found == n + 1, "another store has counted up since"

    @rule(4, 18, 20, needs="shared")
    def test_stores_write_in_one_line(self, client: Client, other: Client) -> None:
        """Two stores lose no update, skip or repeat no revision, and their times go up."""
        client.add(item("i"))

        for done in [start(_count_many(each.store, 10)) for each in (client, other) * 2]:
            done.result(SECONDS)

        for each in (client, other):
            _check_count(each, 40)
            times = [change.at for change in each.find(Change)]
            assert times == [NOW + n * TICK for n in range(41)]

    @rule(1, needs="shared")
    def test_a_snapshot_hides_what_other_stores_commit(self, client: Client, other: Client) -> None:
        """A reading unit does not see what another store commits while it runs."""

        def work(transaction: Transaction) -> tuple[int, int, int]:
            before = transaction.count(Query(Item))
            start(_add(other.store, "i")).result(SECONDS)
            return before, transaction.count(Query(Item)), transaction.revision

        assert client.read(work) == (0, 0, 0)
        assert client.ids(Item) == ["i"]

    @rule(22, needs="shared")
    def test_wait_is_woken_by_another_store(self, client: Client, other: Client) -> None:
        """A commit at one store ends a wait at another."""
        client.add(item("a"))
        heads = [start(client.store.wait(1)) for _ in range(2)]
        other.add(item("b"))

        assert [head.result(SECONDS) for head in heads] == [2, 2]

    @rule(23, needs="shared")
    def test_many_stores_may_open_at_once(self, shared_factory: Callable[[], Store]) -> None:
        """One of them lays out the empty store, and all of them serve."""

        async def use(store: Store, name: str) -> bool:
            await store.open()
            try:
                await store.write(lambda transaction: add(transaction, item(name)), now=NOW)
                return store.schema.created
            finally:
                await store.close()

        stores = [start(use(shared_factory(), f"{n}")) for n in range(4)]

        assert sum(created.result(SECONDS) for created in stores) == 1
        with Client(shared_factory()) as client:
            assert sorted(client.ids(Item)) == ["0", "1", "2", "3"]

    @rule(23, needs="shared")
    def test_many_stores_may_migrate_at_once(self, shared_factory: Callable[[], Store]) -> None:
        """All of them find the store laid out afterwards."""
        for done in [start(shared_factory().migrate()) for _ in range(4)]:
            done.result(SECONDS)

        with Client(shared_factory()) as client:
            assert client.head() == 0


def _heads(transaction: Transaction) -> tuple[object, ...]:
    return transaction.revision, transaction.public_revision, transaction.now


async def _add(store: Store, id: str) -> None:
    await store.write(lambda transaction: add(transaction, item(id)), now=NOW)


async def _count_many(store: Store, times: int) -> None:
    await asyncio.gather(*(store.write(count_up, now=NOW) for _ in range(times)))


def _interleave(first: Client, second: Client, moment: str) -> None:
    """Start a write at `second` at some moment of a unit at `first`; both count up."""
    first.add(item("i"))
    started: list[Future[int]] = []

    def let_in(now: str) -> None:
        if now == moment and not started:
            started.append(start(second.store.write(count_up, now=NOW)))
            give_way()  # a store that lets it in does so now

    def work(transaction: Transaction) -> int:
        let_in("before it reads")
        position = transaction.get(Item, "i").position
        let_in("between")
        new = item("i", position=position + 1, version=2)
        transaction.replace(new, expect=1)
        log(transaction, 0, new)
        let_in("after it wrote")
        return position

    assert [first.write(work), started[0].result(SECONDS)] == [0, 1]
    _check_count(first, 2)


def _check_count(client: Client, times: int) -> None:
    found = client.read(lambda transaction: transaction.get(Item, "i"))

    assert (found.position, found.version) == (times, times + 1)
    assert [change.revision for change in client.find(Change)] == list(range(1, times + 2))
    assert client.head() == times + 1
