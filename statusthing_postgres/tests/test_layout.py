"""The layout: how it comes about, and how it is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, create_engine
from tests import layouts, units
from tests.units import NOW, SECONDS, add, item, note

from statusthing.errors import SchemaOutdated
from statusthing.log import Change
from statusthing.model import Item
from statusthing.sql import schema
from statusthing.sql.tables import metadata
from statusthing.store import Query
from statusthing_postgres import PostgresStore

if TYPE_CHECKING:
    from statusthing_postgres.tests.conftest import Database

Run = Callable[[Coroutine[Any, Any, Any]], Any]

VERSION = "SELECT version_num FROM statusthing_schema_version"


@contextmanager
def engine_on(database: Database) -> Iterator[Engine]:
    """A plain engine on a database."""
    engine = create_engine(database.url.replace("postgresql:", "postgresql+psycopg:"))
    yield engine
    engine.dispose()


@pytest.fixture
def next_release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Turns this software into a release with another layout, with these lines in its migration."""
    return layouts.next_release(monkeypatch, tmp_path)


def test_migrations_lay_out_the_tables(database: Database, empty: Database) -> None:
    """The migrations make what `tables` says, down to the names of the constraints."""
    with engine_on(database) as migrated, engine_on(empty) as made:
        metadata.create_all(made)
        difference = layouts.difference(migrated)
        found, wanted = layouts.described(migrated), layouts.described(made)

    assert difference == []
    assert found == wanted


def test_text_is_compared_by_code_point(database: Database) -> None:
    """Every column for text that is compared has the collation "C", whatever the database has."""
    found = database.rows(
        "SELECT table_name, column_name, collation_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'text' ORDER BY 1, 2"
    )
    other = {(table, column) for table, column, collation in found if collation != "C"}

    assert ("statusthing_items", "id", "C") in found
    assert other == {("statusthing_changes", "before"), ("statusthing_changes", "after")}


def test_open_tells_whether_it_made_the_layout(empty: Database, run: Run) -> None:
    """The first `open` says that it made the layout, and the second that it did not."""
    created = []
    for _ in range(2):
        store = empty.store()
        run(store.open())
        created.append(store.schema.created)
        run(store.close())

    assert created == [True, False]


def test_migrate_lays_out_what_is_empty_and_leaves_what_is_new(empty: Database, run: Run) -> None:
    """`migrate` works on a store that is not open, and does nothing the second time."""
    run(empty.store().migrate())
    before = empty.content()
    run(empty.store().migrate())

    assert empty.rows(VERSION) == [(schema.NEWEST,)]
    assert empty.revisions() == [0]
    assert empty.content() == before


@pytest.mark.parametrize("layout", layouts.OLDER)
def test_what_older_releases_laid_out_becomes_the_newest(
    empty: Database, run: Run, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """What an older release laid out is brought up to date, and keeps its data and its log."""
    with monkeypatch.context() as patch:
        layouts.older_release(patch, layout)
        run(empty.store().migrate())
    for statement in layouts.FILL:
        empty.rows(statement)
    with pytest.raises(SchemaOutdated, match="statusthing migrate"):
        run(empty.store().open())
    run(empty.store().migrate())
    store = empty.store()
    run(store.open())
    run(store.write(add(item("b")), now=NOW))
    log = run(store.read(lambda transaction: transaction.find(Query(Change))))
    run(store.close())

    assert (log[0], log[1].subject) == (layouts.FILLED, "b")
    assert empty.rows(VERSION) == [(schema.NEWEST,)]
    assert empty.items() == ["a", "b"]
    with engine_on(empty) as migrated:
        assert layouts.difference(migrated) == []


def test_an_older_layout_is_upgraded_with_its_data(
    database: Database, store: PostgresStore, run: Run, next_release: Callable[[str], None]
) -> None:
    """`open` refuses it; `migrate` brings it up to date."""
    run(store.write(add(item("a"), note("n", "a")), now=NOW))
    run(store.close())
    next_release("")
    with pytest.raises(SchemaOutdated, match="statusthing migrate"):
        run(database.store().open())
    run(database.store().migrate())

    assert database.rows(VERSION) == [("9999",)]
    assert database.rows("SELECT id, name, about FROM statusthing_items") == [("a", "a", "")]
    assert database.rows("SELECT id, item_id FROM statusthing_notes") == [("n", "a")]


def test_an_upgrade_that_fails_changes_nothing(
    database: Database, store: PostgresStore, run: Run, next_release: Callable[[str], None]
) -> None:
    """All steps are one transaction, so the old layout and its data are still there."""
    run(store.write(add(item("a")), now=NOW))
    run(store.close())
    before = database.content()
    next_release('    raise LookupError("half way")')
    with pytest.raises(LookupError):
        run(database.store().migrate())

    assert database.content() == before


def test_a_schema_comes_with_its_tables(
    empty: Database, run: Run, next_release: Callable[[str], None]
) -> None:
    """When laying out a new schema fails, the schema is not left behind empty."""
    next_release('    raise LookupError("half way")')
    with pytest.raises(LookupError):
        run(empty.store(schema="app").open())

    assert empty.rows("SELECT 1 FROM pg_namespace WHERE nspname = 'app'") == []


def test_eight_processes_open_an_empty_database_at_once(empty: Database) -> None:
    """One of the processes lays out the database, with its schema, and all of them can use it."""
    url = empty.with_(schema="app")
    processes = [units.start(url, "open") for _ in range(8)]
    ends = [(process.communicate(timeout=60)[0], process.returncode) for process in processes]

    assert [code for _, code in ends] == [0] * 8, ends
    assert [len(printed.split()) for printed, _ in ends] == [2] * 8, ends
    assert [printed.split()[0] for printed, _ in ends].count("True") == 1
    assert ("app", "statusthing_head") in empty.tables()


def test_alembic_is_loaded_for_migrations_only(database: Database) -> None:
    """Opening a database that is up to date does not load Alembic."""
    printed, _ = database.start("open").communicate(timeout=60)

    assert printed.split() == ["False", "False"]


def test_migrate_beside_a_running_store(database: Database, store: PostgresStore, run: Run) -> None:
    """Where nothing is to do, `migrate` neither waits for an open store nor disturbs it."""
    run(store.write(add(item("a")), now=NOW))
    run(asyncio.wait_for(database.store().migrate(), SECONDS))
    run(store.write(add(item("b")), now=NOW))

    assert run(store.read(lambda transaction: transaction.count(Query(Item)))) == 2
    assert database.revisions() == [1, 2, 2]


def test_upgrade_beside_a_running_store(
    database: Database, store: PostgresStore, run: Run, next_release: Callable[[str], None]
) -> None:
    """An upgrade of tables that an open store has used is not held up by it."""
    run(store.write(add(item("a")), now=NOW))
    run(store.read(lambda transaction: transaction.count(Query(Item))))
    next_release("")
    run(asyncio.wait_for(database.store().migrate(), SECONDS))

    assert run(store.read(lambda transaction: transaction.revision)) == 1
    assert database.rows(VERSION) == [("9999",)]
