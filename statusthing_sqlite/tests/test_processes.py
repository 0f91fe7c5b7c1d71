"""Several processes on one file."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest

from statusthing.errors import StoreUnavailable
from statusthing.sql import schema
from statusthing_sqlite import SqliteStore

if TYPE_CHECKING:
    from statusthing_sqlite.tests.conftest import File

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_two_processes_write_in_one_line(file: File, store: SqliteStore, run: Run) -> None:
    """No update is lost, no revision is skipped or given twice, and no process sees an error."""
    run(store.write(file.add(file.item("counter")), now=file.NOW))

    processes = [file.start("count", "300") for _ in range(2)]
    ends = [(process.communicate(timeout=60)[0], process.returncode) for process in processes]

    assert ends == [("", 0)] * 2
    assert file.rows("SELECT position, version FROM statusthing_items") == [(600, 601)]
    assert file.revisions() == [*range(1, 602), 601]
    times = [at for [at] in file.rows("SELECT at FROM statusthing_changes ORDER BY revision")]
    assert times == sorted(set(times))
    assert file.rows("PRAGMA integrity_check") == [("ok",)]


def test_eight_processes_open_an_empty_file_at_once(file: File) -> None:
    """One of the processes lays out the file, and all of them can use it."""
    processes = [file.start("open") for _ in range(8)]
    ends = [(process.communicate(timeout=60)[0], process.returncode) for process in processes]

    assert [code for _, code in ends] == [0] * 8, ends
    assert [printed.split()[0] for printed, _ in ends].count("True") == 1
    assert file.rows("SELECT version_num FROM statusthing_schema_version") == [(schema.NEWEST,)]
    assert file.revisions() == [0]


def test_alembic_is_loaded_for_migrations_only(file: File, store: SqliteStore) -> None:
    """Opening a file that is up to date does not load Alembic."""
    assert store.schema.created
    printed, _ = file.start("open").communicate(timeout=60)

    assert printed.split() == ["False", "False"]


def test_wait_is_woken_by_another_process(file: File, store: SqliteStore, run: Run) -> None:
    """A commit in another process ends a wait in this one."""
    run(store.write(file.add(file.item("counter")), now=file.NOW))

    async def work() -> int:
        waiting = asyncio.create_task(store.wait(1))
        await asyncio.sleep(0)
        process = file.start("count", "3")
        try:
            return await asyncio.wait_for(waiting, file.SECONDS)
        finally:
            process.communicate(timeout=60)

    assert run(work()) in range(2, 5)


def test_a_program_may_end_without_closing(file: File, store: SqliteStore, run: Run) -> None:
    """The program exits at once and without error, and its acknowledged writes are kept."""
    run(store.write(file.add(file.item("counter")), now=file.NOW))
    run(store.close())

    process = file.start("leave")
    printed, _ = process.communicate(timeout=60)

    assert (printed, process.returncode) == ("", 0)
    assert file.rows("SELECT position FROM statusthing_items") == [(1,)]
    assert sorted(file.folder()) == ["statusthing.db", "statusthing.db-lock"]


def test_another_program_is_waited_for(file: File, store: SqliteStore, run: Run) -> None:
    """A write waits for another program's lock that is soon released."""

    async def work() -> None:
        with contextlib.closing(sqlite3.connect(file.path)) as other:
            other.execute("BEGIN IMMEDIATE")
            write = store.write(file.add(file.item("a")), now=file.NOW)
            writing = asyncio.create_task(write)
            done, _ = await asyncio.wait([writing], timeout=0.2)
            assert not done
            other.rollback()
            await asyncio.wait_for(writing, file.SECONDS)

    run(work())

    assert file.items() == ["a"]


def test_waiting_for_another_program_has_an_end(file: File, store: SqliteStore, run: Run) -> None:
    """The write fails with StoreUnavailable and no word about locks; reads still work."""
    with contextlib.closing(sqlite3.connect(file.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable) as failure:
            run(asyncio.wait_for(store.write(file.add(file.item("a")), now=file.NOW), 10))
        head = run(store.read(lambda transaction: transaction.revision))

    assert "locked" not in str(failure.value)
    assert isinstance(failure.value.__cause__, sqlite3.OperationalError)
    assert head == 0
