"""A store on a database of the test's own, and a look at it with the driver alone."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool
from tests import units
from tests.postgres import Postgres

from statusthing_postgres import PostgresStore


class Database:
    """A database, and the calls that tests make of it.

    Args:
        url: of it, with the user and the password of its owner.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = urlsplit(url).path[1:]

    def with_(
        self,
        *,
        user: str | None = None,
        password: str | None = None,
        host: str | None = None,
        name: str | None = None,
        **parameters: str,
    ) -> str:
        """Return its URL with other parts; without a password where that is empty."""
        parts = urlsplit(self.url)
        user = parts.username if user is None else user
        password = parts.password if password is None else password
        netloc = f"{user}:{quote(password or '', safe='')}" if password else f"{user}"
        return parts._replace(
            netloc=f"{netloc}@{parts.netloc.rpartition('@')[2] if host is None else host}",
            path=f"/{self.name if name is None else name}",
            query=urlencode(parameters, quote_via=quote),
        ).geturl()

    def store(self, **parameters: str) -> PostgresStore:
        """Make a store on the database."""
        return PostgresStore(self.with_(**parameters))

    def rows(self, sql: str, *values: Any) -> list[Any]:
        """Ask PostgreSQL itself, without the store; or change something."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def items(self) -> list[str]:
        """The ids of the items that stand in the database."""
        return [id for [id] in self.rows("SELECT id FROM statusthing_items ORDER BY id")]

    def revisions(self) -> list[int]:
        """The numbers of the changes that stand in the database, and at last the head."""
        numbers = "SELECT revision FROM statusthing_changes ORDER BY revision, seq"
        return [
            n for [n] in self.rows(numbers) + self.rows("SELECT revision FROM statusthing_head")
        ]

    def tables(self) -> list[tuple[str, str]]:
        """The schema and the name of every table of any program."""
        return self.rows(
            "SELECT schemaname, tablename FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2"
        )

    def content(self) -> dict[tuple[str, str], list[Any]]:
        """Every table of any program, with its columns and rows."""
        return {
            (schema, name): self.rows(f'SELECT t.ctid, t.xmin, t FROM "{schema}"."{name}" t')
            for schema, name in self.tables()
        }

    def backends(self, query: str = "%") -> list[int]:
        """The process of each connection of a store whose last statement was like `query`."""
        return [
            pid
            for [pid] in self.rows(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'statusthing' AND query LIKE %s ORDER BY pid",
                query,
            )
        ]

    def commits(self) -> list[int]:
        """How many commits each writer has made, in the order of their last ones."""
        counted = "SELECT number FROM statusthing_commits ORDER BY time"
        return [number for [number] in self.rows(counted)]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `tests/program.py` on the database."""
        return units.start(self.url, *arguments)


@pytest.fixture
def server(postgres: Postgres) -> Database:
    """The database that every server has; nothing is put into it."""
    return Database(postgres.url("postgres"))


@pytest.fixture
def empty(postgres: Postgres) -> Iterator[Database]:
    """An empty database."""
    with postgres.database() as url:
        yield Database(url)


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> Iterator[str]:
    """The name of a database that is laid out, to which nobody connects."""
    with postgres.database() as url:
        asyncio.run(PostgresStore(url).migrate())
        yield Database(url).name


@pytest.fixture
def database(postgres: Postgres, template: str) -> Iterator[Database]:
    """A database that is laid out."""
    with postgres.database(template) as url:
        yield Database(url)


@pytest.fixture
def make_user(postgres: Postgres, empty: Database) -> Iterator[Callable[..., str]]:
    """Makes users, who may do with the database what is granted to them, and returns their URLs."""
    names = []

    def make(*grants: str) -> str:
        name = f"user_{secrets.token_hex(8)}"
        postgres.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
        names.append(name)
        for grant in grants:
            empty.rows(grant.format(user=name, database=empty.name))
        return empty.with_(user=name, password=name)

    yield make
    for name in names:
        empty.rows(f"DROP OWNED BY {name} CASCADE")
        postgres.execute(f"DROP ROLE {name}")


@pytest.fixture
def run() -> Iterator[Callable[..., Any]]:
    """Runs coroutines on one event loop."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def executed() -> list[str]:
    """The text of each statement that was executed on `connections`."""
    return []


@pytest.fixture
def connections(executed: list[str]) -> Iterator[list[psycopg.Connection[Any]]]:
    """Every connection that a store has opened for reading or writing, the newest one last."""
    opened: list[psycopg.Connection[Any]] = []

    class Recording(psycopg.Cursor[Any]):
        def execute(self, query: Any, *arguments: Any, **keywords: Any) -> Any:
            executed.append(query)
            return super().execute(query, *arguments, **keywords)

    def note(connection: psycopg.Connection[Any], _: object) -> None:
        opened.append(connection)
        connection.cursor_factory = Recording

    event.listen(Pool, "connect", note)
    yield opened
    event.remove(Pool, "connect", note)


@pytest.fixture
def store(
    database: Database,
    run: Callable[..., Any],
    connections: list[psycopg.Connection[Any]],  # noqa: ARG001 - there before they are opened
) -> Iterator[PostgresStore]:
    """An open store on the database."""
    store = database.store()
    run(store.open())
    yield store
    run(store.close())
