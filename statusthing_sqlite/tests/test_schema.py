"""The layout: how it comes about, and what is left alone."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine
from tests import layouts
from tests.units import note

from statusthing import build_app
from statusthing.errors import SchemaOutdated, SchemaTooNew, UserMistake
from statusthing.log import Change
from statusthing.model import RECORDS, Record
from statusthing.sql import schema
from statusthing.sql.tables import TABLES, metadata
from statusthing.store import Query
from statusthing_sqlite import SqliteStore

if TYPE_CHECKING:
    from statusthing_sqlite.tests.conftest import File

Run = Callable[[Coroutine[Any, Any, Any]], Any]

SET_VERSION = "UPDATE statusthing_schema_version SET version_num = ?"


@contextmanager
def engine_on(path: Path | str) -> Iterator[Engine]:
    """A plain engine on a file."""
    engine = create_engine(f"sqlite:///{path}")
    yield engine
    engine.dispose()


def fields_of(kind: type[Record | Change]) -> tuple[str, ...]:
    """The names of a type's fields."""
    return kind.__struct_fields__


def test_tables_have_the_fields_of_their_records() -> None:
    """Every record type and the log have a table whose columns are the fields, in their order."""
    kinds: list[type[Record | Change]] = [*RECORDS, Change]
    columns = {kind: tuple(table.c.keys()) for kind, table in TABLES.items()}

    assert columns == {kind: fields_of(kind) for kind in kinds}


def test_tables_hold_what_the_model_says() -> None:
    """Unique fields and references are constraints, and what queries ask for has an index."""
    for kind, spec in RECORDS.items():
        table = TABLES[kind]
        indexed = {next(iter(index.columns)).name for index in table.indexes}

        assert {column.name for column in table.c if column.unique} == set(spec.unique)
        assert {
            column.name: key.column.table for column in table.c for key in column.foreign_keys
        } == {field: TABLES[target] for field, target in spec.references.items()}
        assert {"created", *spec.references, *spec.indexes} <= indexed


def test_the_newest_layout_is_the_last_migration() -> None:
    """The constant that spares loading Alembic is right, and the migrations form one line."""
    config = Config()
    config.set_main_option("script_location", schema.SCRIPTS)
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)

    assert script.get_heads() == [schema.NEWEST]


def test_migrations_lay_out_the_tables(file: File, store: SqliteStore, tmp_path: Path) -> None:
    """The migrations make what `tables` says, down to the names of the constraints."""
    assert store.schema.version == schema.NEWEST
    with engine_on(file.path) as migrated, engine_on(tmp_path / "made.db") as made:
        metadata.create_all(made)
        difference = layouts.difference(migrated)
        found, wanted = layouts.described(migrated), layouts.described(made)

    assert difference == []
    assert found == wanted


def test_open_tells_whether_it_made_the_layout(file: File, run: Run) -> None:
    """The first `open` says that it made the layout, and the second that it did not."""
    created = []
    for _ in range(2):
        store = file.store()
        run(store.open())
        created.append(store.schema.created)
        run(store.close())

    assert created == [True, False]


def test_migrate_lays_out_what_is_empty_and_leaves_what_is_new(file: File, run: Run) -> None:
    """`migrate` works on a store that is not open, and does nothing the second time."""
    run(file.store().migrate())
    before = file.folder()
    run(file.store().migrate())

    assert file.rows("SELECT version_num FROM statusthing_schema_version") == [(schema.NEWEST,)]
    assert file.folder() == before


@pytest.mark.parametrize(
    ("version", "call", "error"),
    [
        ("0000", "open", SchemaOutdated),
        ("9999", "open", SchemaTooNew),
        ("9999", "migrate", SchemaTooNew),
    ],
)
def test_another_layout_is_left_untouched(
    file: File, run: Run, version: str, call: str, error: type[Exception]
) -> None:
    """Another layout is refused in one line, and no byte in the folder changes."""
    run(file.store().migrate())
    file.change(SET_VERSION, version)
    before = file.folder()

    with pytest.raises(error) as refusal:
        run(getattr(file.store(), call)())

    assert file.folder() == before
    assert version in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.fixture
def next_release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Turns this software into a release with another layout, with these lines in its migration."""
    return layouts.next_release(monkeypatch, tmp_path)


def test_an_older_layout_is_upgraded_with_its_data(
    file: File, run: Run, store: SqliteStore, next_release: Callable[[str], None]
) -> None:
    """`open` refuses it; `migrate`, and `build_app` if told to, bring it up to date."""
    run(store.write(file.add(file.item("a"), note("n", "a")), now=file.NOW))
    run(store.close())
    next_release("")
    with pytest.raises(SchemaOutdated, match="statusthing migrate"):
        run(file.store().open())

    app = build_app(file.store(), migrate=True)
    run(lifespan(app))

    assert file.rows("SELECT version_num FROM statusthing_schema_version") == [("9999",)]
    assert file.rows("SELECT id, name, about FROM statusthing_items") == [("a", "a", "")]
    assert file.rows("SELECT id, item_id FROM statusthing_notes") == [("n", "a")]
    assert file.rows("PRAGMA foreign_key_check") == []


def test_an_upgrade_that_fails_changes_nothing(
    file: File, run: Run, store: SqliteStore, next_release: Callable[[str], None]
) -> None:
    """All steps are one transaction, so the old layout and its data are still there."""
    run(store.write(file.add(file.item("a")), now=file.NOW))
    run(store.close())
    newest = schema.NEWEST
    next_release('    raise LookupError("half way")')
    with pytest.raises(LookupError):
        run(file.store().migrate())

    assert file.rows("SELECT version_num FROM statusthing_schema_version") == [(newest,)]
    assert file.rows("SELECT id, name, description FROM statusthing_items") == [("a", "a", "")]


@pytest.mark.parametrize("layout", layouts.OLDER)
def test_what_older_releases_laid_out_becomes_the_newest(
    file: File, run: Run, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """What an older release laid out is brought up to date, and keeps its data and its log."""
    layouts.older_release(monkeypatch, layout)
    run(file.store().migrate())
    for statement in layouts.FILL:
        file.change(statement)
    monkeypatch.undo()
    run(file.store().migrate())
    store = file.store()
    run(store.open())
    run(store.write(file.add(file.item("b")), now=file.NOW))
    log = run(store.read(lambda transaction: transaction.find(Query(Change))))
    run(store.close())

    assert (log[0], log[1].subject) == (layouts.FILLED, "b")
    assert file.rows("SELECT version_num FROM statusthing_schema_version") == [(schema.NEWEST,)]
    assert file.items() == ["a", "b"]


async def lifespan(app: Any) -> None:
    """Start an application and shut it down."""
    events = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, str]:
        return {"type": next(events)}

    async def send(message: dict[str, str]) -> None:
        assert message["type"].endswith(".complete"), message

    await app({"type": "lifespan"}, receive, send)


def test_a_newer_layout_in_the_log_alone_is_seen(file: File, run: Run) -> None:
    """A newer layout is seen even if a killed program left it in the write-ahead log."""
    run(file.store().migrate())
    with closing(sqlite3.connect(file.path)) as killed:
        killed.execute(SET_VERSION, ["9999"])
        killed.commit()
        left = file.folder()
    (file.path.parent / "statusthing.db").write_bytes(left["statusthing.db"])
    (file.path.parent / "statusthing.db-wal").write_bytes(left["statusthing.db-wal"])

    with pytest.raises(SchemaTooNew):
        run(file.store().open())

    after = file.folder()
    assert after["statusthing.db"] == left["statusthing.db"]
    assert after["statusthing.db-wal"] == left["statusthing.db-wal"]


@pytest.mark.parametrize("call", ["open", "migrate"])
@pytest.mark.parametrize("content", ["tables", "text"])
def test_what_is_not_ours_is_left_untouched(file: File, run: Run, call: str, content: str) -> None:
    """Another program's database, or a file that is none, is refused with one clear line."""
    if content == "tables":
        file.change("CREATE TABLE accounts (id INTEGER)")
    else:
        file.path.write_text("Dear diary, " * 100)
    before = file.folder()

    with pytest.raises(UserMistake) as mistake:
        run(getattr(file.store(), call)())

    assert file.folder() == before
    assert "\n" not in str(mistake.value)


def test_a_file_has_one_path(file: File, run: Run) -> None:
    """A file with hard links is refused: each path would have a write-ahead log of its own."""
    run(file.store().migrate())
    os.link(file.path, file.path.with_name("link.db"))
    for path in (file.path, file.path.with_name("link.db")):
        with pytest.raises(UserMistake, match="hard links"):
            run(SqliteStore(path).open())


def test_an_empty_file_is_an_empty_store(file: File, run: Run) -> None:
    """An empty file, such as `tempfile` or `touch` make, is opened as an empty store."""
    file.path.touch()
    store = file.store()
    run(store.open())

    assert store.schema.created
    run(store.close())


def test_the_folder_must_be_there(file: File, run: Run) -> None:
    """A missing folder is refused and not created, because the path may be mistyped."""
    store = SqliteStore(file.path.parent / "none" / "statusthing.db")

    with pytest.raises(UserMistake, match="does not exist"):
        run(store.open())


def test_a_folder_is_no_file(file: File, run: Run) -> None:
    """A path that names a folder is refused as a folder."""
    with pytest.raises(UserMistake, match="is a folder"):
        run(SqliteStore(file.path.parent).open())


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Give up the power of root, to whom every file is open."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("file_mode", "folder_mode"),
    [(0o000, 0o777), (0o444, 0o777), (0o666, 0o555)],
    ids=["unreadable", "unwritable", "folder unwritable"],
)
def test_permissions_are_asked_for(run: Run, file_mode: int, folder_mode: int) -> None:
    """A file that this user cannot read or write is a mistake, reported in one clear line."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "statusthing.db"
        run(SqliteStore(path).migrate())
        (folder / "statusthing.db-lock").chmod(0o666)
        path.chmod(file_mode)
        folder.chmod(folder_mode)

        with ordinary_user(), pytest.raises(UserMistake) as mistake:
            run(SqliteStore(path).open())

        folder.chmod(0o700)

    assert "\n" not in str(mistake.value)
    assert "statusthing.db" in str(mistake.value)
