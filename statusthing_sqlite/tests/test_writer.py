"""Group commit: what was acknowledged stands in the file, and nothing else does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool
from tests.units import together

from statusthing.errors import StoreClosed, StoreUnavailable
from statusthing.model import Item
from statusthing.store import Query, Transaction
from statusthing_sqlite import SqliteStore

if TYPE_CHECKING:
    from statusthing_sqlite.tests.conftest import File

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@contextlib.contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    """Make every write beyond `size` bytes fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_units_that_come_together_share_a_commit(
    file: File,
    store: SqliteStore,
    run: Run,
    executed: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten units cost one commit, and get ten revisions."""
    monkeypatch.setattr("statusthing.sql.writer.BATCH_SECONDS", file.SECONDS)
    units = [file.add(file.item(f"i{n}")) for n in range(10)]
    del executed[:]
    run(together(store, *units))

    assert executed.count("COMMIT") == 1
    assert file.revisions() == [*range(1, 11), 10]


def test_a_unit_that_raises_is_undone_alone(file: File, store: SqliteStore, run: Run) -> None:
    """The units before and after it in its batch are kept, with revisions without a gap."""

    def fail(transaction: Transaction) -> None:
        file.add(file.item("b"))(transaction)
        raise ValueError

    add = file.add
    answers = run(together(store, add(file.item("a")), fail, add(file.item("c"))))

    assert [type(answer) for answer in answers] == [type(None), ValueError, type(None)]
    assert file.items() == ["a", "c"]
    assert file.revisions() == [1, 2, 2]


def test_a_cancelled_unit_is_dropped_alone(file: File, store: SqliteStore, run: Run) -> None:
    """A caller that gives up while its unit is queued disturbs nobody."""
    units = [file.add(file.item(id)) for id in "abc"]
    answers = run(together(store, *units, cancel=1))

    assert isinstance(answers[1], asyncio.CancelledError)
    assert file.items() == ["a", "c"]
    assert file.revisions() == [1, 2, 2]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, StopIteration])
def test_the_writer_survives_what_units_raise(
    file: File, store: SqliteStore, error: type[BaseException]
) -> None:
    """Whatever a unit raises goes to its caller; the next one is served."""

    def fail(_: Transaction) -> None:
        raise error

    with contextlib.suppress(BaseException):
        asyncio.run(store.write(fail, now=file.NOW))
    asyncio.run(store.write(file.add(file.item("a")), now=file.NOW))

    assert file.items() == ["a"]


def test_a_failed_commit_fails_its_whole_batch(file: File, store: SqliteStore, run: Run) -> None:
    """Each unit that wrote raises StoreUnavailable, none is kept, and the next batch works."""
    run(store.write(file.add(file.item("a")), now=file.NOW))
    log_size = (file.path.parent / "statusthing.db-wal").stat().st_size

    def fail(_: Transaction) -> None:
        raise ValueError

    with no_file_grows_beyond(log_size):
        answers = run(together(store, file.add(file.item("b")), fail, file.add(file.item("c"))))
    after_failure = file.items(), file.revisions()
    run(store.write(file.add(file.item("d")), now=file.NOW))

    failed = [answers[0], answers[2]]
    assert [type(each) for each in answers] == [StoreUnavailable, ValueError, StoreUnavailable]
    assert all(isinstance(each.__cause__, sqlite3.Error) for each in failed)
    assert failed[0] is not failed[1]
    assert after_failure == (["a"], [1, 1])
    assert (file.items(), file.revisions()) == (["a", "d"], [1, 2, 2])
    assert run(store.read(lambda transaction: transaction.count(Query(Item)))) == 2


def limit_pages(connection: sqlite3.Connection, _: object) -> None:
    """Make the database almost full, so that SQLite rolls back by itself."""
    connection.execute("PRAGMA max_page_count=150")


def limit_length(connection: sqlite3.Connection, _: object) -> None:
    """Make SQLite refuse long text, which fails only that statement."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)


@pytest.mark.parametrize("limit", [limit_pages, limit_length])
@pytest.mark.parametrize("passed_over", [(), (StoreUnavailable,)], ids=["raised", "passed over"])
def test_a_unit_that_the_database_failed_is_over(
    file: File,
    run: Run,
    limit: Callable[[sqlite3.Connection, object], None],
    passed_over: tuple[type[Exception], ...],
) -> None:
    """The unit fails as a whole, even if it ignores the error, and the next unit works."""
    large = file.item("large", description="x" * 1_000_000)

    def fill(transaction: Transaction) -> None:
        file.add(file.item("before"))(transaction)
        with contextlib.suppress(*passed_over):
            transaction.add(large)
        with contextlib.suppress(StoreUnavailable):
            transaction.add(file.item("behind"))

    store = file.store()
    event.listen(Pool, "connect", limit)
    try:
        run(store.open())
        answers = run(together(store, fill))
        run(store.write(file.add(file.item("small")), now=file.NOW))
        run(store.close())
    finally:
        event.remove(Pool, "connect", limit)

    assert [type(answer) for answer in answers] == [StoreUnavailable]
    assert file.items() == ["small"]
    assert file.revisions() == [1, 1]


def test_a_lost_connection_is_replaced(
    file: File, store: SqliteStore, run: Run, connections: list[sqlite3.Connection]
) -> None:
    """A unit whose connection breaks is run again over a new one, once; the next one works."""
    broken: list[sqlite3.Connection] = []

    def lose(_: Transaction) -> None:
        for connection in connections:
            with contextlib.suppress(sqlite3.ProgrammingError):  # it is closed already
                if connection.in_transaction:
                    connection.rollback()
                    connection.close()
                    broken.append(connection)

    with pytest.raises(StoreUnavailable):
        run(store.write(lose, now=file.NOW))
    run(store.write(file.add(file.item("a")), now=file.NOW))

    assert len(broken) == 2
    assert file.items() == ["a"]


class Dying(SqliteStore):
    """A store whose writer can be killed."""

    dying = False

    @contextlib.contextmanager
    def writer_lock(self) -> Iterator[None]:
        """Die, or lock."""
        if self.dying:
            raise SystemExit
        with super().writer_lock():
            yield


def test_a_dead_writer_fails_everything_at_once(file: File, run: Run) -> None:
    """Queued and later writes raise StoreUnavailable, reads still work, and close returns."""
    store = Dying(file.path)
    run(store.open())
    run(store.write(file.add(file.item("a")), now=file.NOW))

    async def die() -> list[Any]:
        store.dying = True
        writes = (store.write(file.add(file.item(id)), now=file.NOW) for id in "bcd")
        return await asyncio.wait_for(asyncio.gather(*writes, return_exceptions=True), file.SECONDS)

    answers = run(die())
    with pytest.raises(StoreUnavailable):
        run(asyncio.wait_for(store.write(file.add(file.item("e")), now=file.NOW), file.SECONDS))
    read = run(store.read(lambda transaction: transaction.get(Item, "a")))
    store.dying = False
    run(asyncio.wait_for(store.close(), file.SECONDS))

    assert [type(answer) for answer in answers] == [StoreUnavailable] * 3
    assert read.id == "a"
    assert file.items() == ["a"]


def refuses(store: SqliteStore) -> bool:
    """Tell whether the store is no longer open."""
    try:
        return store.schema.version == ""
    except StoreClosed:
        return True


def test_close_finishes_what_is_queued(file: File, run: Run) -> None:
    """Writes queued before `close` are acknowledged, and all of them are in the one file."""

    async def work() -> list[Any]:
        store = file.store()
        await store.open()
        go = threading.Event()
        units = [file.add(file.item(f"i{n}")) for n in range(200)]
        tasks = [
            asyncio.create_task(store.write(unit, now=file.NOW))
            for unit in [lambda _: bool(go.wait(file.SECONDS)), *units]
        ]
        await asyncio.sleep(0)
        closing = asyncio.create_task(store.close())
        while not refuses(store):  # noqa: ASYNC110 - the store tells nobody when it begins to close
            await asyncio.sleep(0)
        go.set()
        await closing
        return await asyncio.gather(*tasks)

    answers = run(work())

    assert answers == [True, *[None] * 200]
    assert len(file.items()) == 200
    assert {name for name in file.folder() if name.endswith(("-wal", "-shm"))} == set()


def test_a_write_that_changes_nothing_commits_nothing(
    store: SqliteStore, file: File, run: Run, executed: list[str]
) -> None:
    """A `write` that only reads writes nothing to the disk."""
    del executed[:]
    run(store.write(lambda transaction: transaction.count(Query(Item)), now=file.NOW))

    assert executed[0] == "BEGIN IMMEDIATE"
    assert executed[-1] == "ROLLBACK"


def test_nothing_is_acknowledged_that_went_to_a_deleted_file(
    file: File, store: SqliteStore, run: Run
) -> None:
    """Once the file is gone, reads and writes are refused; once it is back, they work again."""
    run(store.write(file.add(file.item("a")), now=file.NOW))
    run(store.read(lambda transaction: transaction.revision))
    file.path.rename(file.path.with_name("moved.db"))

    with pytest.raises(StoreUnavailable, match="moved, replaced"):
        run(store.write(file.add(file.item("b")), now=file.NOW))
    with pytest.raises(StoreUnavailable, match="moved, replaced"):
        run(store.read(lambda transaction: transaction.revision))

    file.path.with_name("moved.db").rename(file.path)
    run(store.write(file.add(file.item("c")), now=file.NOW))
    assert run(store.read(lambda transaction: transaction.get(Item, "a"))).id == "a"
    assert file.items() == ["a", "c"]


def test_nothing_is_acknowledged_that_went_to_an_emptied_file(
    file: File, store: SqliteStore, run: Run
) -> None:
    """A file that somebody truncated is no longer the database that was opened."""
    run(store.write(file.add(file.item("a")), now=file.NOW))
    os.truncate(file.path, 0)

    with pytest.raises(StoreUnavailable, match="emptied"):
        run(store.write(file.add(file.item("b")), now=file.NOW))
    with pytest.raises(StoreUnavailable):
        run(store.read(lambda transaction: transaction.revision))


class Deaf(SqliteStore):
    """A store that does not notice other processes."""

    def heads(self) -> Generator[int]:
        """Never look at the file."""
        while True:
            yield 0


def test_own_commits_wake_at_once(file: File, run: Run) -> None:
    """Waiters hear of a commit in their own process without looking at the file."""

    async def work() -> int:
        store = Deaf(file.path)
        await store.open()
        waiting = asyncio.create_task(store.wait(0))
        await asyncio.sleep(0)
        await store.write(file.add(file.item("a")), now=file.NOW)
        head = await asyncio.wait_for(waiting, file.SECONDS)
        await store.close()
        return head

    assert run(work()) == 1
