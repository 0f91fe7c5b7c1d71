"""The log and its head: R18 to R22."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from statusthing.errors import AlreadyExists, StoreClosed, UnloggedWrite
from statusthing.log import Change
from statusthing.model import Item, KeptAnswer, Record
from statusthing.store import Query, Transaction
from statusthing.testing.client import SECONDS, Client, start
from statusthing.testing.rules import rule
from statusthing.testing.samples import NOW, TICK, add, item, kept, log


class Log:
    """R18 to R22."""

    @rule(18)
    def test_an_empty_store_has_head_0(self, client: Client) -> None:
        """An empty store has head 0, and its first unit gets revision 1."""
        assert client.head() == 0
        assert client.write(lambda transaction: transaction.revision) == 1

    @rule(18)
    def test_revisions_have_no_gaps(self, client: Client) -> None:
        """Units that fail, or log nothing, use up no revision."""
        client.add(item("a"))
        client.write(lambda _: None)
        client.add(kept("k"))
        with pytest.raises(AlreadyExists):
            client.add(item("b"), item("a"))
        client.add(item("c"), item("d"))

        assert [(c.revision, c.seq, c.subject) for c in client.find(Change)] == [
            (1, 0, "a"),
            (2, 0, "c"),
            (2, 1, "d"),
        ]
        assert client.head() == 2

    @rule(19)
    @pytest.mark.parametrize(
        "work",
        [
            lambda transaction: transaction.add(item("j")),
            lambda transaction: transaction.replace(item("i", version=2), expect=1),
            lambda transaction: transaction.remove(Item, "i"),
            lambda transaction: log(transaction, 0, item("i")),
            lambda transaction: log(transaction, 1, item("i")),
            lambda transaction: [add(transaction, item("j")), log(transaction, 0, item("j"))],  # type: ignore[func-returns-value]
        ],
        ids=["add", "replace", "remove", "no change", "gap", "twice"],
    )
    def test_records_and_log_agree(
        self, client: Client, work: Callable[[Transaction], Any]
    ) -> None:
        """A unit whose changes and log entries do not match, or are miscounted, fails."""
        client.add(item("i"))

        with pytest.raises(UnloggedWrite):
            client.write(work)

        assert client.find(Item) == [item("i")]
        assert client.head() == len(client.find(Change)) == 1

    @rule(20)
    def test_time_never_goes_back(self, client: Client) -> None:
        """A unit's time is after that of the last change, whatever the clock says."""
        clocks = [NOW, NOW, NOW - timedelta(days=1), NOW + timedelta(days=1)]
        times = []
        for n, clock in enumerate(clocks):

            def work(transaction: Transaction, n: int = n) -> datetime:
                add(transaction, item(f"{n}"))
                return transaction.now

            times.append(client.write(work, now=clock))

        assert times == [NOW, NOW + TICK, NOW + 2 * TICK, NOW + timedelta(days=1)]
        assert client.read(lambda transaction: transaction.now) == times[-1]

    @rule(21)
    def test_private_changes_leave_the_public_revision(self, client: Client) -> None:
        """The public revision is the last one that has a public change, wherever in it."""

        def public_revision() -> int:
            return client.read(lambda transaction: transaction.public_revision)

        def mixed(transaction: Transaction) -> None:
            for seq, id in enumerate("cd"):
                transaction.add(item(id))
                log(transaction, seq, item(id), public=id == "c")

        seen = [public_revision()]
        client.write(lambda transaction: add(transaction, item("a"), public=True))
        seen.append(public_revision())
        client.write(lambda transaction: add(transaction, item("b"), public=False))
        seen.append(public_revision())
        client.write(mixed)
        seen.append(public_revision())

        assert seen == [0, 1, 1, 3]

    @rule(22)
    def test_wait_returns_at_once_when_the_head_is_above(self, client: Client) -> None:
        """`wait` returns at once if the head is above `after` already."""
        client.add(item("a"))
        client.add(item("b"))

        assert client.run(client.store.wait(1)) == 2

    @rule(8, 22)
    def test_wait_is_woken_from_another_loop(self, client: Client) -> None:
        """A new head wakes those who wait on any loop, whoever made it."""
        heads = [start(client.store.wait(0)) for _ in range(3)]
        client.add(item("a"))

        assert [head.result(SECONDS) for head in heads] == [1, 1, 1]

    @rule(18, 22)
    def test_unlogged_writes_wake_nobody(self, client: Client) -> None:
        """Only a new head ends a wait, and cancelling it is harmless."""

        async def work() -> tuple[bool, int]:
            given_up = asyncio.create_task(client.store.wait(0))
            waiting = asyncio.create_task(client.store.wait(0))
            await asyncio.sleep(0)
            await client.store.write(lambda transaction: add(transaction, kept("k")), now=NOW)
            given_up.cancel()
            await asyncio.wait([given_up])
            woken = waiting.done()
            await client.store.write(lambda transaction: add(transaction, item("i")), now=NOW)
            return woken, await waiting

        assert client.run(work()) == (False, 1)

    @rule(22)
    def test_close_ends_waiting(self, client: Client) -> None:
        """Closing the store ends a wait with StoreClosed."""

        async def work() -> None:
            waiting = asyncio.create_task(client.store.wait(0))
            await asyncio.sleep(0)
            await client.store.close()
            with pytest.raises(StoreClosed):
                await waiting

        client.run(work())

    @rule(22)
    def test_wait_goes_on_until_the_head_is_above(self, client: Client) -> None:
        """A commit that does not bring the head above `after` ends no wait."""

        async def work() -> tuple[list[bool], int]:
            waiting = asyncio.create_task(client.store.wait(2))
            woken = []
            for id in "abc":
                await asyncio.sleep(0)
                woken.append(waiting.done())
                await client.store.write(lambda tx, id=id: add(tx, item(id)), now=NOW)  # type: ignore[misc]
            return woken, await waiting

        assert client.run(work()) == ([False] * 3, 3)

    @rule(22)
    def test_cancelling_a_wait_is_harmless(self, client: Client) -> None:
        """After waits that were cancelled, other waits and writes go on as before."""

        async def work() -> tuple[set[type], int]:
            *given_up, waiting = (asyncio.create_task(client.store.wait(0)) for _ in range(10))
            for n, task in enumerate(given_up):
                for _ in range(n):
                    await asyncio.sleep(0)
                task.cancel()
            ends = await asyncio.gather(*given_up, return_exceptions=True)
            await client.store.write(lambda transaction: add(transaction, item("i")), now=NOW)
            return {type(end) for end in ends}, await waiting

        assert client.run(work()) == ({asyncio.CancelledError}, 1)
        assert client.run(client.store.wait(0)) == 1

    @rule(18)
    def test_a_unit_knows_its_revision(self, client: Client) -> None:
        """A write sees the revision that it will have, if it changes anything, and no other."""

        def revisions(*records: Record) -> tuple[int, int, int]:
            def work(transaction: Transaction) -> tuple[int, int]:
                before = transaction.revision
                add(transaction, *records)
                return before, transaction.revision

            return (*client.write(work), client.head())

        assert revisions(item("a"), item("b")) == (1, 1, 1)
        assert revisions(kept("k")) == (2, 2, 1)
        assert revisions() == (2, 2, 1)
        assert revisions(item("c")) == (2, 2, 2)

    @rule(18, 20)
    def test_thinning_the_log_moves_nothing(self, client: Client) -> None:
        """The head and its time survive the removal of the whole log."""
        client.add(item("a"))
        client.add(item("b"))
        before = client.read(lambda transaction: (transaction.revision, transaction.now))
        client.write(lambda transaction: transaction.remove_where(Query(Change), limit=9))
        after = client.read(lambda transaction: (transaction.revision, transaction.now))

        assert before == after == (2, NOW + TICK)
        assert client.find(Change) == []

    @rule(19)
    def test_unlogged_types_need_no_entry(self, client: Client) -> None:
        """A unit may add, replace and remove records of unlogged types, and the head stays."""
        client.add(kept("a"), kept("b"))
        new = kept("a", digest="new", version=2)

        def work(transaction: Transaction) -> None:
            transaction.replace(new, expect=1)
            transaction.remove(KeptAnswer, "b")

        client.write(work)

        assert client.find(KeptAnswer) == [new]
        assert (client.head(), client.find(Change)) == (0, [])

    @rule(20)
    def test_a_write_that_logs_nothing_leaves_the_time(self, client: Client) -> None:
        """The head's time is that of the last unit that moved it, and so is a reader's."""
        client.add(item("a"))
        later = NOW + timedelta(days=1)
        client.write(lambda transaction: transaction.add(kept("k")), now=later)

        assert client.read(lambda transaction: transaction.now) == NOW
        assert client.write(lambda transaction: transaction.now) == NOW + TICK
