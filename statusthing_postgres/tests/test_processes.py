"""Several processes, and several stores, on one database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from tests.units import NOW, SECONDS, add, item, until

from statusthing_postgres import PostgresStore

if TYPE_CHECKING:
    from statusthing_postgres.tests.conftest import Database

Run = Callable[[Coroutine[Any, Any, Any]], Any]

LISTENING = "%SELECT statusthing_head.revision \nFROM%"


def test_two_processes_write_in_one_line(
    database: Database, store: PostgresStore, run: Run
) -> None:
    """No update is lost, no revision is skipped or given twice, and no process sees an error."""
    run(store.write(add(item("counter")), now=NOW))

    processes = [database.start("count", "300") for _ in range(2)]
    ends = [(process.communicate(timeout=60)[0], process.returncode) for process in processes]

    assert ends == [("", 0)] * 2
    assert database.rows("SELECT position, version FROM statusthing_items") == [(600, 601)]
    assert database.revisions() == [*range(1, 602), 601]
    times = [at for [at] in database.rows("SELECT at FROM statusthing_changes ORDER BY revision")]
    assert times == sorted(set(times))


def test_a_program_may_end_without_closing(
    database: Database, store: PostgresStore, run: Run
) -> None:
    """The program exits at once and without error, and its acknowledged writes are kept."""
    run(store.write(add(item("counter")), now=NOW))
    run(store.close())

    process = database.start("leave")
    printed, _ = process.communicate(timeout=60)

    assert (printed, process.returncode) == ("", 0)
    assert database.rows("SELECT position FROM statusthing_items") == [(1,)]
    until(lambda: not database.backends())


def test_wait_is_woken_by_another_process(
    database: Database, store: PostgresStore, run: Run
) -> None:
    """A commit in another process ends a wait in this one."""
    run(store.write(add(item("counter")), now=NOW))

    async def work() -> int:
        waiting = asyncio.create_task(store.wait(1))
        await asyncio.sleep(0)
        process = database.start("count", "3")
        try:
            return await asyncio.wait_for(waiting, SECONDS)
        finally:
            process.communicate(timeout=60)

    assert run(work()) in range(2, 5)


def test_a_commit_notifies(
    database: Database, store: PostgresStore, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for another store's commit is told, and does not have to look for it."""
    monkeypatch.setattr("statusthing_postgres.store.LISTEN_SECONDS", 3 * SECONDS)

    async def work() -> int:
        other = database.store()
        await other.open()
        waiting = asyncio.create_task(store.wait(0))
        await asyncio.to_thread(until, lambda: bool(database.backends(LISTENING)))
        await other.write(add(item("a")), now=NOW)
        head = await asyncio.wait_for(waiting, SECONDS)
        # What listens has a last look, and then does so no more.
        await other.write(add(item("b")), now=NOW)
        await asyncio.to_thread(until, lambda: not database.backends(LISTENING))
        await other.close()
        return head

    assert run(work()) == 1


class Deaf(PostgresStore):
    """A store that does not notice others."""

    watch_seconds: ClassVar[float] = 0.01

    def heads(self) -> Generator[int]:
        """Never look."""
        while True:
            yield 0


def test_own_commits_wake_at_once(database: Database, run: Run) -> None:
    """Waiters hear of a commit of their own store without looking at the database."""

    async def work() -> int:
        store = Deaf(database.url)
        await store.open()
        waiting = asyncio.create_task(store.wait(0))
        await asyncio.sleep(0)
        await store.write(add(item("a")), now=NOW)
        head = await asyncio.wait_for(waiting, SECONDS)
        await store.close()
        return head

    assert run(work()) == 1


def test_nobody_listens_unless_somebody_waits(
    database: Database, store: PostgresStore, run: Run
) -> None:
    """One connection listens for all who wait, and it goes away with the last of them."""

    async def listeners(number: int) -> None:
        await asyncio.to_thread(until, lambda: len(database.backends(LISTENING)) == number)

    async def work() -> list[int]:
        found = [len(database.backends(LISTENING))]
        for _ in range(2):
            waiting = [asyncio.create_task(store.wait(0)) for _ in range(3)]
            await listeners(1)
            waiting[0].cancel()
            waiting[1].cancel()
            await asyncio.wait(waiting[:2])
            found.append(len(database.backends(LISTENING)))
            waiting[2].cancel()
            await listeners(0)
        return found

    assert run(work()) == [0, 1, 1]


def test_a_commit_in_another_schema_wakes_nobody(empty: Database, run: Run) -> None:
    """Who waits for one store of a database looks when another commits, and goes on waiting."""

    async def work() -> int:
        waited_for, other = empty.store(schema="one"), empty.store(schema="two")
        await waited_for.open()
        await other.open()
        waiting = asyncio.create_task(waited_for.wait(0))
        await asyncio.to_thread(until, lambda: bool(empty.backends(LISTENING)))
        for n in range(3):
            await other.write(add(item(f"i{n}")), now=NOW)
        [[now]] = empty.rows("SELECT clock_timestamp()")
        looked = (
            "SELECT 1 FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE %s AND query_start > %s"
        )
        await asyncio.to_thread(until, lambda: bool(empty.rows(looked, LISTENING, now)))
        assert not waiting.done()
        await waited_for.write(add(item("a")), now=NOW)
        head = await asyncio.wait_for(waiting, SECONDS)
        await waited_for.close()
        await other.close()
        return head

    assert run(work()) == 1
