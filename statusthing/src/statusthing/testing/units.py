"""Units of work: R1, R2 and R5 to R8. Of several writers see `writers`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from statusthing.errors import AlreadyExists, NestedUnit, NotFound, StoreClosed
from statusthing.log import Change
from statusthing.model import Item, KeptAnswer, Note, Status
from statusthing.store import Query, Transaction
from statusthing.testing.client import SECONDS, Client, start
from statusthing.testing.rules import rule
from statusthing.testing.samples import NOW, add, count_up, item, kept, log, note, status


class Units:
    """R1, R2 and R5 to R8."""

    @rule(1)
    def test_a_read_sees_one_snapshot(self, client: Client) -> None:
        """A reading unit does not see what is committed while it runs."""

        def work(transaction: Transaction) -> tuple[int, int]:
            before = transaction.count(Query(Item))
            start(client.store.write(lambda other: add(other, item("i")), now=NOW)).result(SECONDS)
            return before, transaction.count(Query(Item))

        counts = client.read(work)

        assert counts == (0, 0)
        assert client.ids(Item) == ["i"]

    @rule(1, 18)
    def test_records_log_and_head_are_of_one_snapshot(self, client: Client) -> None:
        """Head, log, and records of several types agree, whatever is committed between them."""
        client.add(item("i"))

        def work(transaction: Transaction) -> Any:
            head = transaction.revision
            adding = client.store.write(
                lambda other: add(other, item("j"), note("n"), public=False), now=NOW
            )
            start(adding).result(SECONDS)
            return (
                head,
                transaction.revision,
                [change.revision for change in transaction.find(Query(Change))],
                [each.id for each in transaction.find(Query(Item))],
                transaction.count(Query(Note)),
            )

        assert client.read(work) == (1, 1, [1], ["i"], 0)
        assert client.head() == 2

    @rule(1)
    def test_a_write_sees_its_own_changes(self, client: Client) -> None:
        """A unit reads what it has added, replaced and removed, in every way of asking."""
        client.add(item("gone"), kept("k"))

        def work(transaction: Transaction) -> list[Any]:
            add(transaction, status("s"), item("i"))
            new = item("i", status_id="s", version=2)
            transaction.replace(new, expect=1)
            transaction.remove(Item, "gone")
            transaction.remove_where(Query(KeptAnswer), limit=1)
            with pytest.raises(NotFound):
                transaction.get(Item, "gone")
            return [
                transaction.get(Item, "i"),
                list(transaction.find(Query(Item))),
                transaction.count(Query(Item, where={"status_id": "s"})),
                transaction.count(Query(KeptAnswer)),
                [change.seq for change in transaction.find(Query(Change, {"revision": 2}))],
            ]

        new = item("i", status_id="s", version=2)
        assert client.write(work) == [new, [new], 1, 0, [0, 1]]

    @rule(2)
    @pytest.mark.parametrize(
        "error", [ValueError("x"), KeyboardInterrupt(), NotFound("Item", "x")], ids=repr
    )
    def test_a_unit_that_raises_leaves_no_trace(self, client: Client, error: BaseException) -> None:
        """The unit's error, of any class, reaches the caller, and nothing it wrote stays."""

        def work(transaction: Transaction) -> None:
            add(transaction, item("i"), kept("k"))
            raise error

        # Inside a task of its own, KeyboardInterrupt would stop the loop.
        async def catch() -> BaseException | None:
            try:
                await client.store.write(work, now=NOW)
            except BaseException as caught:  # noqa: BLE001 - which one it is, is what is tested
                return caught
            return None

        caught = client.run(catch())

        assert caught is error, "the unit's own error has to reach the caller"
        assert (client.ids(Item), client.ids(KeptAnswer), client.find(Change)) == ([], [], [])
        assert client.head() == 0

    @rule(2)
    def test_units_that_raise_take_no_others_with_them(self, client: Client) -> None:
        """Of units that come together, exactly those that were acknowledged are there."""
        client.add(item("i"))

        def work(number: int, *, fails: bool) -> Callable[[Transaction], int]:
            def run(transaction: Transaction) -> int:
                position = count_up(transaction)
                if fails:
                    raise LookupError(number)
                return position

            return run

        async def together() -> list[Any]:
            units = [work(number, fails=number % 3 != 0) for number in range(12)]
            writes = [client.store.write(unit, now=NOW) for unit in units]
            return await asyncio.gather(*writes, return_exceptions=True)

        answers = client.run(together())

        assert [answer for answer in answers if isinstance(answer, int)] == [0, 1, 2, 3]
        assert client.read(lambda transaction: transaction.get(Item, "i")).position == 4
        assert client.head() == 5

    @rule(2)
    def test_a_unit_that_raises_gives_back_what_it_took(self, client: Client) -> None:
        """Rolling back restores what the unit replaced and removed, the log's entries included."""
        client.add(status("s"), item("i", status_id="s"), note("n"), kept("k"))

        def everything() -> list[Any]:
            return [client.find(kind) for kind in (Status, Item, Note, KeptAnswer, Change)]

        def work(transaction: Transaction) -> None:
            transaction.remove(Note, "n")
            transaction.replace(item("i", version=2, name="new"), expect=1)
            transaction.remove(Status, "s")
            transaction.remove_where(Query(KeptAnswer), limit=9)
            transaction.remove_where(Query(Change), limit=9)
            log(transaction, 0, item("i"))
            raise LookupError

        before = everything()
        with pytest.raises(LookupError):
            client.write(work)

        assert everything() == before
        assert client.head() == 1

    @rule(2)
    def test_a_refusal_that_escapes_undoes_the_unit(self, client: Client) -> None:
        """What the store itself raises in a unit undoes it like any other error."""
        client.add(item("a"))
        with pytest.raises(AlreadyExists):
            client.add(kept("k"), item("b"), item("a"))

        assert (client.ids(Item), client.ids(KeptAnswer)) == (["a"], [])

    @rule(2, 10)
    def test_a_unit_may_go_on_after_a_refusal(self, client: Client) -> None:
        """A refused record does not undo anything else in the unit."""

        def work(transaction: Transaction) -> None:
            add(transaction, item("i"))
            with contextlib.suppress(AlreadyExists):
                transaction.add(item("j", name="i"))
            with contextlib.suppress(NotFound):
                transaction.remove(Item, "none")

        client.write(work)

        assert client.ids(Item) == ["i"]

    @rule(5)
    def test_only_the_last_run_counts(self, client: Client) -> None:
        """The result is that of the last run, and so is everything that was written, once."""
        runs: list[int] = []

        def work(transaction: Transaction) -> int:
            runs.append(len(runs))
            add(transaction, item(f"run{runs[-1]}"), kept(f"run{runs[-1]}"))
            return runs[-1]

        result = client.write(work)

        assert result == runs[-1]
        assert client.ids(Item) == client.ids(KeptAnswer) == [f"run{result}"]
        assert [change.subject for change in client.find(Change)] == [f"run{result}"]

    @rule(6)
    @pytest.mark.parametrize("outer", ["read", "write"])
    @pytest.mark.parametrize("inner", ["read", "write"])
    def test_a_unit_inside_a_unit_is_refused(self, client: Client, outer: str, inner: str) -> None:
        """The inner unit raises, instead of waiting for the outer one forever."""
        calls: dict[str, Callable[[Callable[[Transaction], Any]], Any]] = {
            "read": client.store.read,
            "write": lambda work: client.store.write(work, now=NOW),
        }

        def work(_: Transaction) -> None:
            call = calls[inner](lambda transaction: transaction.revision)
            with contextlib.closing(call):
                call.send(None)

        with pytest.raises(NestedUnit):
            client.run(calls[outer](work))

        assert client.head() == 0

    @rule(7)
    def test_a_write_that_was_cancelled_first_is_dropped(self, client: Client) -> None:
        """A write that is cancelled before it starts does not run at all."""

        async def cancel() -> None:
            task = asyncio.create_task(
                client.store.write(lambda transaction: add(transaction, item("i")), now=NOW)
            )
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        client.run(cancel())
        client.add(item("j"))

        assert client.ids(Item) == ["j"]

    @rule(7)
    def test_a_cancelled_write_is_whole_or_nothing(self, client: Client) -> None:
        """Whenever the caller cancels, records and log agree."""

        async def cancel(n: int) -> None:
            def work(transaction: Transaction) -> None:
                add(transaction, item(f"a{n:02}"), item(f"b{n:02}"))

            task = asyncio.create_task(client.store.write(work, now=NOW))
            for _ in range(n % 7):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        async def cancel_all() -> None:
            await asyncio.gather(*(cancel(n) for n in range(40)))

        client.run(cancel_all())
        client.write(lambda _: None)  # what had begun comes before it

        changes = client.find(Change)
        assert sorted(client.ids(Item)) == sorted(change.subject for change in changes)
        assert sorted({c.revision for c in changes}) == list(range(1, len(changes) // 2 + 1))

    @rule(7)
    def test_a_write_that_has_begun_runs_to_its_end(self, client: Client) -> None:
        """A write that is cancelled in the midst of its unit is committed nevertheless."""
        begun, cancelled = threading.Event(), threading.Event()

        def work(transaction: Transaction) -> None:
            transaction.add(item("i"))
            begun.set()
            assert cancelled.wait(SECONDS)
            log(transaction, 0, item("i"))

        async def cancel(task: asyncio.Task[None], loop: asyncio.AbstractEventLoop) -> None:
            assert begun.wait(SECONDS)
            # Where units run on the calling thread, the loop hears of it after the unit.
            loop.call_soon_threadsafe(task.cancel)
            cancelled.set()

        async def write() -> None:
            loop = asyncio.get_running_loop()
            task = asyncio.create_task(client.store.write(work, now=NOW))
            canceller = start(cancel(task, loop))
            with contextlib.suppress(asyncio.CancelledError):
                await task
            canceller.result(SECONDS)

        client.run(write())
        client.write(lambda _: None)

        assert client.ids(Item) == ["i"]
        assert client.head() == 1

    @rule(8)
    def test_a_store_is_not_tied_to_a_loop(self, client: Client) -> None:
        """It outlives the loop that opened it, and serves several loops in turn and at once."""
        store = client.store

        async def calls(id: str) -> tuple[int, bool]:
            loop, thread = asyncio.get_running_loop(), threading.get_ident()
            await store.write(lambda transaction: add(transaction, item(id)), now=NOW)
            await store.wait(0)
            head = await store.read(lambda transaction: transaction.revision)
            same = asyncio.get_running_loop() is loop and threading.get_ident() == thread
            return head, same

        client.run(store.close())
        start(store.open()).result(SECONDS)  # on a loop that is closed at once
        in_turn = [client.run(calls("a")), start(calls("b")).result(SECONDS)]
        at_once = [start(calls(id)) for id in "cdef"]

        assert in_turn == [(1, True), (2, True)]
        assert all(future.result(SECONDS)[1] for future in at_once)
        assert sorted(client.ids(Item)) == list("abcdef")

    @rule(8)
    def test_results_reach_the_loop_of_their_caller(self, client: Client) -> None:
        """A loop that has nothing else to do is woken by the result of its write, or its error."""
        client.add(item("i"))

        async def calls() -> list[Any]:
            results: list[Any] = [await client.store.write(count_up, now=NOW) for _ in range(3)]
            with pytest.raises(NotFound):
                await client.store.write(lambda tx: tx.remove(Item, "none"), now=NOW)
            return results

        assert start(calls()).result(SECONDS) == [0, 1, 2]

    if sys.platform != "win32":

        @rule(8)
        def test_a_forked_child_is_refused(self, client: Client) -> None:
            """In a child, every call raises StoreClosed; the parent's store still works."""
            client.add(item("i"))
            calls: list[Callable[[], Any]] = [
                lambda: client.store.read(lambda transaction: transaction.revision),
                lambda: client.store.write(lambda transaction: transaction.revision, now=NOW),
                lambda: client.store.wait(0),
            ]

            with warnings.catch_warnings():
                # Forking beside threads has its dangers, for which this child does not live on.
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
                if not child:
                    os._exit(_refusals(calls))
            _, ended = os.waitpid(child, 0)
            client.add(item("j"))

            assert os.waitstatus_to_exitcode(ended) == len(calls), "so many calls were refused"
            assert client.ids(Item) == ["i", "j"]


def _refusals(calls: list[Callable[[], Any]]) -> int:
    """Count the calls that raise StoreClosed."""
    refused = 0
    for call in calls:
        try:
            call().send(None)
        except StoreClosed:
            refused += 1
        except BaseException:  # noqa: BLE001, S112 - the child must not run on into the tests
            continue
    return refused
