"""What every connection obeys, how much is asked of it, and when it goes away."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
from sqlalchemy.exc import DBAPIError
from tests.units import NOW, SECONDS, add, item, status, until

from statusthing import StatusThing
from statusthing.errors import StoreClosed
from statusthing.model import Item, KeptAnswer, Status, StatusKind
from statusthing.sql.head import begin
from statusthing.store import Query, Transaction
from statusthing_postgres import PostgresStore
from statusthing_postgres.readers import CONNECTIONS

if TYPE_CHECKING:
    from statusthing_postgres.tests.conftest import Database

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Connections = list[psycopg.Connection[Any]]


def revision(transaction: Transaction) -> int:
    """Read the head."""
    return transaction.revision


SETTINGS = {
    "application_name": "statusthing",
    "idle_in_transaction_session_timeout": "5s",
    "lock_timeout": "1600ms",
    "statement_timeout": "1800ms",
}
READING = {"transaction_isolation": "repeatable read", "transaction_read_only": "on"}
WRITING = {"transaction_isolation": "read committed", "transaction_read_only": "off"}


@pytest.mark.parametrize(
    ("connect", "settings"),
    [("connect_reader", SETTINGS | READING), ("connect_writer", SETTINGS | WRITING)],
)
def test_settings(
    store: PostgresStore, connections: Connections, connect: str, settings: dict[str, str]
) -> None:
    """The settings hold in the transactions of every connection, even of the third."""
    for _ in range(3):
        session = getattr(store, connect)()
        begin(session)
        found = {}
        for name in settings:
            [[found[name]]] = connections[-1].execute(f"SHOW {name}".encode()).fetchall()
        session.close()

        assert found == settings


def test_a_schema_is_what_every_connection_looks_into(
    empty: Database, run: Run, connections: Connections
) -> None:
    """Nothing but the schema of the URL is looked into, whatever the database's own path says."""
    empty.rows(f"ALTER DATABASE {empty.name} SET search_path = public")
    store = empty.store(schema="My App")
    run(store.open())
    run(store.read(revision))
    paths = {
        path
        for connection in connections
        if not connection.closed
        for [path] in connection.execute("SHOW search_path").fetchall()
    }
    run(store.close())

    assert paths == {'"My App"'}


def test_a_reader_cannot_write(store: PostgresStore) -> None:
    """A reader's transaction cannot write, whatever SQL it is given."""
    session = store.connect_reader()
    begin(session)
    with pytest.raises(DBAPIError) as refused:
        session.run("UPDATE statusthing_head SET revision = 7")
    session.close()

    assert isinstance(refused.value.orig, psycopg.errors.ReadOnlySqlTransaction)


def test_a_unit_reads_one_snapshot(store: PostgresStore, run: Run) -> None:
    """What is committed while a unit reads is not there for that unit."""
    begun, go = threading.Event(), threading.Event()

    def work(transaction: Transaction) -> list[int]:
        before = transaction.count(Query(Item))
        begun.set()
        assert go.wait(SECONDS)
        return [before, transaction.count(Query(Item)), transaction.revision]

    async def write_meanwhile() -> list[int]:
        reading = asyncio.create_task(store.read(work))
        await asyncio.to_thread(begun.wait, SECONDS)
        await store.write(add(item("a")), now=NOW)
        go.set()
        return await reading

    assert run(write_meanwhile()) == [0, 0, 0]
    assert run(store.read(revision)) == 1


def test_few_connections_read(database: Database, store: PostgresStore, run: Run) -> None:
    """However many units read at once, a few connections serve them all."""

    async def read() -> list[int]:
        return await asyncio.gather(*(store.read(revision) for _ in range(50)))

    assert run(read()) == [0] * 50
    assert len(database.backends()) <= CONNECTIONS + 1  # the writer's


def test_nothing_stays_open(database: Database, run: Run) -> None:
    """After 50 stores have been opened, used and closed, there is nothing left of them."""

    async def use() -> None:
        store = database.store()
        await store.open()
        await store.write(lambda transaction: transaction.count(Query(Item)), now=NOW)
        waiting = asyncio.create_task(store.wait(0))
        await asyncio.gather(*(store.read(revision) for _ in range(3)))
        await store.close()
        with pytest.raises(StoreClosed):
            await waiting

    others = set(threading.enumerate())  # which other tests may have left

    def threads() -> list[str]:
        new = set(threading.enumerate()) - others
        return [thread.name for thread in new if thread.name.startswith("statusthing")]

    def files() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    run(use())
    until(lambda: not database.backends() and not threads())
    before = files()
    for _ in range(50):
        run(use())

    until(lambda: not database.backends() and not threads() and files() <= before)


def test_nothing_stays_open_after_a_refusal(database: Database, run: Run) -> None:
    """A store that cannot be opened keeps no connection."""
    database.rows("UPDATE statusthing_schema_version SET version_num = '9999'")
    store = database.store()
    for call in (store.open, store.migrate):
        with pytest.raises(Exception, match="9999"):
            run(call())

    until(lambda: not database.backends())


def test_close_lets_a_reading_unit_end(store: PostgresStore, run: Run) -> None:
    """Closing the store does not close the connection of a unit that is still reading."""
    begun = threading.Event()

    def work(transaction: Transaction) -> int:
        begun.set()
        with contextlib.suppress(StoreClosed):
            while store.schema.version:
                pass
        return sum(transaction.count(Query(Item)) for _ in range(200))

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(asyncio.run, store.read(work))
        assert begun.wait(SECONDS)
        run(store.close())

        assert reading.result(SECONDS) == 0


def test_a_closed_store_is_let_go(database: Database, run: Run) -> None:
    """Nothing in the process keeps a closed store alive, so programs may open and close many."""
    store = database.store()
    run(store.open())
    run(store.read(lambda transaction: transaction.find(Query(Item, {"id": frozenset("a")}))))
    run(store.close())
    seen = weakref.ref(store)
    del store

    until(lambda: bool(gc.collect()) or seen() is None)  # a thread lets go a moment later


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, StopIteration, ValueError])
def test_readers_survive_what_units_raise(store: PostgresStore, error: type[BaseException]) -> None:
    """Whatever a unit raises goes to its caller; its connection serves the next one."""

    def fail(transaction: Transaction) -> None:
        raise error(transaction.revision)

    for _ in range(CONNECTIONS + 1):
        # A coroutine that raises StopIteration raises a RuntimeError instead; see PEP 479.
        with pytest.raises((error, RuntimeError)):
            asyncio.run(store.read(fail))

    asyncio.run(store.write(add(item("a")), now=NOW))

    assert asyncio.run(store.read(revision)) == 1


def test_a_child_keeps_its_hands_off(database: Database, store: PostgresStore, run: Run) -> None:
    """A forked child that closes the store leaves the parent's connections as they are."""
    run(store.write(add(item("a")), now=NOW))
    run(store.read(revision))
    backends = database.backends()

    child = os.fork()
    if not child:
        try:
            asyncio.run(store.close())
        except BaseException:  # noqa: BLE001 - the child must not run on into the tests
            os._exit(1)
        os._exit(0)
    _, ended = os.waitpid(child, 0)
    run(store.write(add(item("b")), now=NOW))
    run(store.read(revision))

    assert os.waitstatus_to_exitcode(ended) == 0
    assert database.items() == ["a", "b"]
    assert database.backends() == backends


def selects(executed: list[str]) -> list[str]:
    """Take the SELECTs that were executed since the last call."""
    texts = [text for text in executed if text.startswith("SELECT")]
    del executed[:]
    return texts


FILL = """
    INSERT INTO statusthing_statuses SELECT 's' || n, 0, 0, 1, 's' || n, '', 'red', 'STATUS_KIND_UP'
        FROM generate_series(0, 2) n;
    INSERT INTO statusthing_items SELECT 'i' || n, n, n, 1, 'i' || n, '', 's' || n % 3, 0
        FROM generate_series(0, ITEMS - 1) n;
    INSERT INTO statusthing_notes SELECT 'n' || n, n, n, 1, 'i' || n % ITEMS, 'a note'
        FROM generate_series(0, 3 * ITEMS - 1) n;
"""


@pytest.mark.parametrize("items", [10, 1000])
@pytest.mark.parametrize("filters", [{}, {"kinds": (1, 2)}, {"status_ids": ("s0", "s1", "s2")}])
def test_statements_do_not_grow_with_the_items(
    database: Database,
    store: PostgresStore,
    run: Run,
    executed: list[str],
    *,
    items: int,
    filters: dict[str, Any],
) -> None:
    """GetItem, ListItems and one page take three statements, for ten items or a thousand.

    A fourth, for the head, goes along with the beginning of the transaction.
    """
    database.rows(FILL.replace("ITEMS", str(items)))
    st = StatusThing(store)
    del executed[:]
    found = run(st.items.get("i0"))
    one = selects(executed)
    listed = run(st.items.list(extended=True, **filters))
    every = selects(executed)
    page = run(st.items.list(extended=True, page_size=7, **filters))

    assert [len(texts) for texts in (one, every, selects(executed))] == [3, 3, 3]
    assert len(found.notes) == 3
    assert [len(each.notes) for each in listed] == [3] * items
    assert len(page) == 7


INSTANTS = [NOW + timedelta(microseconds=n) for n in range(500)]
TEXTS = ["{}", '"a",\\b', "NULL", *map(str, range(497))]
KINDS = list(StatusKind)


@pytest.mark.parametrize(
    ("kind", "field", "values"),
    [
        (Item, "name", TEXTS),
        (Item, "status_id", ["s0", "s1", "s2", *TEXTS]),
        (Item, "status_id", [None, "s0", "s1", "s2", *TEXTS]),
        (Status, "kind", KINDS),
        (KeptAnswer, "expires", INSTANTS),
    ],
    ids=["text", "reference", "reference or none", "enumeration", "instant"],
)
def test_sets_of_every_size(
    store: PostgresStore,
    run: Run,
    executed: list[str],
    *,
    kind: type[Any],
    field: str,
    values: list[Any],
) -> None:
    """What is in a set is found by the same statement whatever its size."""
    run(
        store.write(
            add(
                *(msgspec.structs.replace(status(f"s{n}"), kind=KINDS[n]) for n in range(3)),
                *(item(f"i{n}", name=TEXTS[n], status_id=f"s{n}") for n in range(3)),
                item("none"),
            ),
            now=NOW,
        )
    )
    for n in range(3):
        run(store.write(keep(f"k{n}", INSTANTS[n]), now=NOW))
    del executed[:]
    found = []
    for size in (0, 1, 2, 500):
        query = Query(kind, {field: frozenset(values[:size])})
        found += run(store.read(lambda transaction, query=query: [transaction.find(query)]))  # type: ignore[misc]

    assert [len(each) for each in found] == [0, 1, 2, 4 if None in values else 3]
    assert {getattr(record, field) for record in found[2]} == set(values[:2])
    # None is no value, but another condition.
    assert len(set(selects(executed))) == (2 if None in values else 1)


def keep(id: str, expires: datetime) -> Callable[[Transaction], None]:
    """Make a unit that keeps an answer."""
    answer = KeptAnswer(id=id, created=NOW, updated=NOW, digest="", answer="", expires=expires)
    return lambda transaction: transaction.add(answer)
