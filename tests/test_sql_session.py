"""Executing statements on the cursors of drivers that take their parameters in different ways."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import IntegrityError, OperationalError

from statusthing.model import Note, Status, StatusKind
from statusthing.sql import statements
from statusthing.sql.session import Session
from statusthing.sql.tables import metadata
from statusthing.store import Query
from statusthing_sqlite import SqliteStore

AT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(params=["qmark", "named"])
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A session whose driver takes values by their place, or by their name."""
    engine = create_engine("sqlite://", paramstyle=request.param, hide_parameters=True)
    connection = engine.connect()
    metadata.create_all(connection)
    connection.commit()
    session = Session(connection, lambda: "BEGIN")
    yield session
    session.close()
    engine.dispose()


def status(id: str) -> Status:
    """Make a status."""
    return Status(id=id, name=id, kind=StatusKind.UP, created=AT, updated=AT)


def add(session: Session, *records: Status | Note) -> None:
    """Add records."""
    for record in records:
        fields = {name: getattr(record, name) for name in record.__struct_fields__}
        assert session.change(statements.INSERT[type(record)], fields) == 1


def test_a_record_comes_back_equal(session: Session) -> None:
    """Values of every type are converted on the way in and on the way out."""
    add(session, status("a"))

    assert session.find(Status, statements.GET[Status], {"id_is": "a"}) == [status("a")]
    assert session.find(Status, statements.GET[Status], {"id_is": "b"}) == []


def test_a_value(session: Session) -> None:
    """The one value of a row is returned, or None where there is no row."""
    add(session, status("a"))

    assert session.value(statements.VERSION[Status], {"id_is": "a"}) == 1
    assert session.value(statements.VERSION[Status], {"id_is": "b"}) is None


def test_changes_are_counted(session: Session) -> None:
    """A statement that changes rows returns how many."""
    add(session, status("a"))

    assert session.change(statements.REMOVE[Status], {"id_is": "a"}) == 1
    assert session.change(statements.REMOVE[Status], {"id_is": "a"}) == 0


def test_values_that_belong_to_the_statement(session: Session) -> None:
    """What a statement says itself, as LIMIT 1, needs no parameter."""
    notes = [
        Note(id=f"{item}{n}", item_id=item, text="", created=AT, updated=AT)
        for item in "ab"
        for n in range(3)
    ]
    add(session, *notes)
    query = Query(Note, {"item_id": frozenset("ab")}, newest_per=("item_id", 2))
    shape, parameters = statements.shape_and_parameters(query)
    found = session.find(Note, statements.find(shape, SqliteStore.member), parameters)

    assert [note.id for note in found] == ["a1", "a2", "b1", "b2"]


def test_a_transaction(session: Session) -> None:
    """What was rolled back is gone, and what was committed stays."""
    query = Query(Status)
    find = statements.find(statements.shape_and_parameters(query)[0], SqliteStore.member)
    first = session.begin(Status, find)
    add(session, status("a"))
    session.commit()
    second = session.begin(Status, find)
    add(session, status("b"))
    session.rollback()

    assert (first, second) == ([], [status("a")])
    assert session.find(Status, find, {}) == [status("a")]


def test_errors_are_those_of_sqlalchemy(session: Session) -> None:
    """What the driver raises is raised as its kin in SQLAlchemy, without the values."""
    add(session, status("secret"))
    with pytest.raises(IntegrityError) as refused:
        add(session, status("secret"))
    with pytest.raises(OperationalError):
        session.run("SELECT nothing FROM nowhere")

    assert isinstance(refused.value.orig, sqlite3.IntegrityError)
    assert refused.value.__cause__ is refused.value.orig
    assert "secret" not in str(refused.value)
