"""What every connection to the file obeys, and how much is asked of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import re
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.exc import OperationalError

from statusthing import StatusThing
from statusthing.errors import StoreClosed
from statusthing.model import Item, Note, Status, StatusKind
from statusthing.store import Query, Transaction
from statusthing_sqlite import SqliteStore
from statusthing_sqlite.store import _has_wal_fault

if TYPE_CHECKING:
    from statusthing_sqlite.tests.conftest import File

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.mark.parametrize(
    ("connect", "name", "value"),
    [
        *((role, "journal_mode", "wal") for role in ("connect_writer", "connect_reader")),
        *((role, "synchronous", 2) for role in ("connect_writer", "connect_reader")),
        *((role, "foreign_keys", 1) for role in ("connect_writer", "connect_reader")),
        ("connect_writer", "busy_timeout", 5000),
        ("connect_reader", "busy_timeout", 250),
        ("connect_reader", "wal_autocheckpoint", 0),
        ("connect_reader", "query_only", 1),
    ],
)
def test_pragmas(
    store: SqliteStore,
    connections: list[sqlite3.Connection],
    connect: str,
    name: str,
    value: object,
) -> None:
    """The pragmas hold on every connection, even on the tenth."""
    for _ in range(10):
        session = getattr(store, connect)()
        [found] = connections[-1].execute(f"PRAGMA {name}").fetchone()
        session.close()

        assert found == value


def test_a_reader_cannot_write(store: SqliteStore) -> None:
    """A reader's connection cannot write, whatever SQL it is given."""
    session = store.connect_reader()
    with pytest.raises(OperationalError):
        session.run("UPDATE statusthing_head SET revision = 7")
    session.close()


def test_threads_that_end_leave_no_connections(file: File, store: SqliteStore) -> None:
    """However many threads have read and ended, only living ones keep files open."""

    def read() -> int:
        work: Any = store.read(lambda transaction: transaction.revision)
        try:
            work.send(None)
        except StopIteration as end:
            return int(end.value)
        raise AssertionError

    def open_files() -> int:
        return sum(1 for _ in Path("/dev/fd").iterdir())

    before = open_files()
    for _ in range(50):
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(read).result(file.SECONDS) == 0

    assert open_files() < before + 10


def test_close_lets_a_reading_unit_end(file: File, store: SqliteStore, run: Run) -> None:
    """Closing the store does not close the connection of a unit that is still reading."""
    begun = threading.Event()

    def work(transaction: Transaction) -> int:
        begun.set()
        with contextlib.suppress(StoreClosed):
            while store.schema.version:
                pass
        return sum(transaction.count(Query(Item)) for _ in range(500))

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(asyncio.run, store.read(work))
        assert begun.wait(file.SECONDS)
        run(store.close())

        assert reading.result(file.SECONDS) == 0


def test_a_closed_store_is_let_go(file: File, run: Run) -> None:
    """Nothing in the process keeps a closed store alive, so programs may open and close many."""
    store = file.store()
    run(store.open())
    run(store.read(lambda transaction: transaction.find(Query(Item, {"id": frozenset("a")}))))
    run(store.close())
    seen = weakref.ref(store)
    del store
    end = time.monotonic() + file.SECONDS
    while seen() is not None:  # the thread that closed it lets go a moment later
        gc.collect()

        assert time.monotonic() < end


def selects(executed: list[str]) -> list[str]:
    """Take the SELECTs that were executed since the last call."""
    texts = [text for text in executed if text.startswith("SELECT")]
    del executed[:]
    return texts


@pytest.mark.parametrize("items", [10, 1000])
@pytest.mark.parametrize("filters", [{}, {"kinds": (1, 2)}, {"status_ids": ("s0", "s1", "s2")}])
def test_statements_do_not_grow_with_the_items(
    file: File,
    store: SqliteStore,
    run: Run,
    executed: list[str],
    *,
    items: int,
    filters: dict[str, Any],
) -> None:
    """GetItem, ListItems and one page take four statements, for ten items or a thousand."""
    at = file.NOW
    run(
        store.write(
            file.add(
                *(
                    Status(id=f"s{n}", name=f"s{n}", kind=StatusKind.UP, created=at, updated=at)
                    for n in range(3)
                ),
                *(file.item(f"i{n}", status_id=f"s{n % 3}") for n in range(items)),
                *(
                    Note(id=f"n{n}", item_id=f"i{n % items}", text="", created=at, updated=at)
                    for n in range(3 * items)
                ),
            ),
            now=at + timedelta(days=1),
        )
    )
    st = StatusThing(store)
    del executed[:]
    item = run(st.items.get("i0"))
    one = selects(executed)
    listed = run(st.items.list(extended=True, **filters))
    every = selects(executed)
    page = run(st.items.list(extended=True, page_size=7, **filters))

    assert [len(texts) for texts in (one, every, selects(executed))] == [4, 4, 4]
    assert len(item.notes) == 3
    assert [len(each.notes) for each in listed] == [3] * items
    assert len(page) == 7


def test_an_item_does_not_cost_more_with_more_notes(
    file: File, store: SqliteStore, run: Run, connections: list[sqlite3.Connection]
) -> None:
    """GetItem takes SQLite the same number of steps with 200 notes and with 2 000."""
    st = StatusThing(store)
    at = file.NOW
    for id, notes in (("few", 200), ("many", 2000)):
        texts = (
            Note(id=f"{id}{n}", item_id=id, text="", created=at, updated=at) for n in range(notes)
        )
        run(store.write(file.add(file.item(id), *texts), now=at))
    run(st.items.get("few"))
    steps = []
    reader = connections[-1]
    for id in ("few", "many"):
        counted: list[None] = []
        # https://www.sqlite.org/c3ref/progress_handler.html
        reader.set_progress_handler(lambda counted=counted: counted.append(None), 1)  # type: ignore[misc]
        assert len(run(st.items.get(id)).notes) == 100
        steps.append(len(counted))

    assert steps[0] == steps[1] > 100


def test_the_text_of_a_statement_does_not_depend_on_its_values(
    store: SqliteStore, run: Run, executed: list[str]
) -> None:
    """Sets of every size give the same statement, so that it is built only once."""
    del executed[:]
    for size in (0, 1, 2, 500):
        ids = frozenset(map(str, range(size)))
        run(store.read(lambda transaction, ids=ids: transaction.find(Query(Item, {"id": ids}))))  # type: ignore[misc]

    found = [text for text in selects(executed) if "statusthing_items" in text]
    texts = [re.sub("'.*'", "?", text) for text in found]
    assert len(texts) == 4
    assert len(set(texts)) == 1


@pytest.mark.parametrize(
    ("version", "fault"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)
def test_versions_with_the_fault(version: tuple[int, ...], fault: bool) -> None:  # noqa: FBT001
    """SQLite 3.7.0 to 3.51.2 has the fault, except for the two repaired versions."""
    assert _has_wal_fault(version) == fault


def test_the_fault_is_mentioned_once(
    file: File, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Opening a store on an SQLite with the fault logs one line, at INFO."""
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 51, 2))
    with caplog.at_level(logging.INFO, "statusthing.sqlite"):
        store = file.store()
        run(store.open())
        run(store.close())

    assert [r.levelname for r in caplog.records if r.name == "statusthing.sqlite"] == ["INFO"]
