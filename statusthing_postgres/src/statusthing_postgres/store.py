"""PostgreSQL as a store: for several processes, on several machines.

* One connection of a process writes. Its transactions lock the one row of the head, which puts the
  writers of all processes in one line, in the order of the log.
* Reads see one snapshot (REPEATABLE READ), on a few connections that threads keep: waiting for a
  server must not hold up the event loop.
* Each commit that moves the head notifies the other processes, which listen while somebody waits.
* When the answer to a COMMIT was lost, the table of commits tells what became of it.
* Nobody waits longer than five seconds for a server that is away. Once it could not be reached, it
  is left alone for half a second.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from datetime import timedelta
from typing import Any

import msgspec
import psycopg
import sqlalchemy
from sqlalchemy import (
    JSON,
    ColumnElement,
    Engine,
    NullPool,
    Text,
    UpdateBase,
    any_,
    bindparam,
    cast,
    column,
    create_engine,
    delete,
    exists,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, Insert, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateSchema

from statusthing.errors import StoreUnavailable, UserMistake
from statusthing.sql import schema
from statusthing.sql.database import Rows
from statusthing.sql.head import Head, moving
from statusthing.sql.session import Bound, Session
from statusthing.sql.store import Opened, SqlStore
from statusthing.sql.tables import TABLES, commits, head
from statusthing.sql.transaction import CANNOT_SERVE
from statusthing.sql.types import Array
from statusthing_postgres.address import Address, parse
from statusthing_postgres.connection import Connection, connect, connect_for_migration
from statusthing_postgres.readers import PooledReaders

_log = logging.getLogger("statusthing.postgres")

AWAY_SECONDS = 0.5
"""For how long a server that could not be reached is not asked again."""

LISTEN_SECONDS = 0.25
"""How often those who listen look at the head all the same, in case nobody notifies them."""

_TICK = timedelta(microseconds=1)
_FORGOTTEN_AFTER = timedelta(days=30)  # writers that have not committed since are gone

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_REFUSALS = frozenset({"23503", "23505"})  # of a foreign key, and of a unique one
_MISTAKES = {
    "25006": "is read-only: name its primary, or several hosts and target_session_attrs=read-write",
    "3F000": "has no schema for this user to create tables in: name one with ?schema=",
    "42501": "does not let this user create or use the tables: grant that, or name another schema",
}


def _insert_all(kind: type[Any], *conditions: ColumnElement[bool]) -> Insert:
    table = TABLES[kind]
    columns = [column(name, each.type) for name, each in table.c.items()]
    given = cast(bindparam(kind.__name__, type_=Text), JSON)
    rows = func.json_to_recordset(given).table_valued(*columns).render_derived(with_types=True)
    return insert(table).from_select(table.c.keys(), select(*rows.c).where(*conditions))


_INSERT_ALL = {kind: _insert_all(kind) for kind in TABLES}

_HELD = (
    select(head.c.revision)
    .where(head.c.revision == bindparam("before_is"), head.c.time == bindparam("before_time_is"))
    .with_for_update()
    .cte("held")
)
_IS_HELD = exists(select(_HELD.c.revision))


def _sign(*conditions: ColumnElement[bool]) -> Insert:
    values = {"writer": "signer", "number": "signed", "revision": "revision_is", "time": "time_is"}
    given = (bindparam(name, type_=commits.c[column].type) for column, name in values.items())
    signed = insert(commits).from_select([*values], select(*given).where(*conditions))
    return signed.on_conflict_do_update(
        index_elements=[commits.c.writer],
        set_={name: signed.excluded[name] for name in ("number", "revision", "time")},
    )


_SIGN = _sign()


@functools.cache
def _end(kinds: tuple[type[Any], ...]) -> UpdateBase:
    """Make the statement that inserts rows and moves the head, if it is still where it was.

    It may be a transaction of its own: it takes the writers' lock, and does nothing if somebody
    else has written.
    """
    inserts = (_insert_all(kind, _IS_HELD).cte(f"new_{kind.__name__}") for kind in kinds)
    return (
        update(head)
        .where(head.c.revision == select(_HELD.c.revision).scalar_subquery())
        .values(
            revision=bindparam("revision_is"),
            public_revision=bindparam("public_revision_is"),
            time=bindparam("time_is"),
        )
        .returning(func.pg_notify("statusthing", ""))
        .add_cte(_sign(_IS_HELD).cte("signed"), *inserts)
    )


_FORGET = delete(commits).where(commits.c.time < bindparam("before", type_=commits.c.time.type))
_SIGNATURE = select(commits.c.number).where(
    commits.c.writer == bindparam("signer"), commits.c.revision == bindparam("revision_is")
)
_REVISION = str(select(head.c.revision))
_IS_THERE = "SELECT 1 FROM pg_database WHERE datname = coalesce(%(dbname)s, current_user)"
_DURABILITY = "SELECT " + ", ".join(
    f"current_setting('{name}') AS {name}" for name in ("fsync", "synchronous_commit")
)


class PostgresStore(SqlStore):
    """Keeps everything in one schema of a PostgreSQL database, beside what else is in it.

    Args:
        url: `postgresql://user:password@host:5432/database`, with several hosts, separated by
            commas, and the parameters of libpq if need be; `schema` names the schema, which `open`
            makes if it is not there.

    Raises:
        UserMistake: it is not such a URL.
    """

    remote = True
    patience_seconds = 5.0
    watch_seconds = 0.0
    make_readers = PooledReaders

    def __init__(self, url: str) -> None:
        self._address: Address = parse(url)
        super().__init__(self._address.url)
        self._engine = _make_engine(self._connect)
        self._away: psycopg.OperationalError | None = None  # why it was left alone last
        self._away_until = 0.0
        self._writer = ""
        self._number = 0
        self._revision = 0

    @staticmethod
    def member(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        """Pass the set as the text of an array, and let PostgreSQL take it apart.

        psycopg takes lists too, but to convert one of a thousand ids takes it longer than
        PostgreSQL takes to find what they name.
        """
        bound = bindparam(name, type_=Array(column.type, _array_text))
        return column == any_(cast(bound, ARRAY(column.type)))

    def refused(self, error: DBAPIError) -> bool:
        """Decide by the SQLSTATE."""
        return _code(error.orig) in _REFUSALS

    def connect_reader(self) -> Session:
        """Open a connection for reading."""
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        return Session(self._engine.connect(), lambda: begin, together=True)

    def connect_writer(self) -> Session:
        """Open the connection that writes."""
        begin = "BEGIN ISOLATION LEVEL READ COMMITTED"
        return Session(self._engine.connect(), lambda: begin, together=True)

    def writer_lock(self) -> AbstractContextManager[None]:
        """Leave it to the lock on the head's row."""
        return nullcontext()

    def inserting(self, session: Session, rows: Rows) -> list[Bound]:
        """Insert those of one type with one statement, whatever their number."""
        return [
            session.bind(_INSERT_ALL[kind], _texts({kind: each}))
            for kind, each in rows.items()
            if each
        ]

    def ending(self, session: Session, rows: Rows, before: Head, head: Head) -> list[Bound]:
        """Insert, sign the commit, and if the head moves, notify those who wait for it."""
        self._number += 1
        self._revision = head.revision
        values = {f"{name}_is": value for name, value in msgspec.structs.asdict(head).items()}
        values |= {"signer": self._writer, "signed": self._number}
        values |= {"before_is": before.revision, "before_time_is": before.time}
        if head == before:
            ending = [*self.inserting(session, rows), session.bind(_SIGN, values)]
        else:
            kinds = tuple(kind for kind, each in rows.items() if each)
            ending = [session.bind(_end(kinds), values | _texts(rows))]
        if self._number == 1:
            forgotten = {"before": head.time - _FORGOTTEN_AFTER}
            ending.insert(0, session.bind(_FORGET, forgotten))
        return ending

    def was_committed(self, session: Session, head: Head) -> bool:
        """Look for the signature, and if it is not there, see to it that it cannot come.

        The head's time, one microsecond later, is none that a statement on its way has ever seen.
        """
        signature = {"signer": self._writer, "revision_is": self._revision}
        if session.value(_SIGNATURE, signature) == self._number:
            return True
        later = msgspec.structs.replace(head, time=head.time + _TICK)
        session.conclude([moving(session, later)])
        return False

    async def open(self) -> None:
        """Make the store ready; see `SqlStore.open`."""
        with self._mistakes():
            await super().open()

    async def migrate(self) -> None:
        """Bring the layout up to date; see `SqlStore.migrate`."""
        with self._mistakes():
            await super().migrate()

    def find_version(self) -> str | None:
        """Look at the layout."""
        with self._engine.connect() as connection:
            self._warn(connection)
            return schema.find_version(connection, alone=False)

    def upgrade(self) -> bool:
        """Migrate in one transaction, which holds an advisory lock of the database."""
        engine = _make_engine(lambda: connect_for_migration(self._address))
        with engine.begin() as connection:
            connection.execute(
                text("SELECT pg_advisory_xact_lock(hashtextextended('statusthing', 0))")
            )
            name = self._address.schema
            # Asked first, because IF NOT EXISTS wants the right to create it even if it is there.
            if name is not None and not sqlalchemy.inspect(connection).has_schema(name):
                connection.execute(CreateSchema(name))
            version = schema.find_version(connection, alone=False)
            schema.check_not_newer(version)
            if version != schema.NEWEST:
                schema.upgrade(connection)
        return version is None

    def heads(self) -> Generator[int]:
        """Listen; and look now and then, because a lost connection loses notifications."""
        try:
            with closing(self._connect()) as connection:
                connection.execute("LISTEN statusthing")
                while True:
                    [revision] = connection.execute(_REVISION).fetchone() or [0]
                    yield revision
                    for _ in connection.notifies(timeout=LISTEN_SECONDS, stop_after=1):
                        pass
        except psycopg.Error as error:
            raise StoreUnavailable(CANNOT_SERVE) from error

    def _begin(self) -> Opened:
        self._writer = uuid.uuid4().hex
        self._number = 0
        return super()._begin()

    def _connect(self) -> Connection:
        if time.monotonic() < self._away_until:
            raise StoreUnavailable(CANNOT_SERVE) from self._away
        try:
            connection = connect(self._address)
        except psycopg.OperationalError as error:
            self._leave_alone(error)
            raise
        away, self._away = self._away, None
        if away is not None and self._open is not None:
            _log.warning("the database %s is back", self.url)
        connection.on_timeout = self._leave_alone
        return connection

    def _leave_alone(self, error: psycopg.OperationalError) -> None:
        if self._away is None and self._open is not None:
            _log.error("the database %s is away: %s", self.url, " ".join(str(error).split()))
        self._away = error
        self._away_until = time.monotonic() + AWAY_SECONDS

    def _warn(self, connection: sqlalchemy.Connection) -> None:
        for name, value in connection.exec_driver_sql(_DURABILITY).mappings().one().items():
            if value == "off":
                _log.warning(
                    "PostgreSQL runs with %s=off: what StatusThing has acknowledged is lost when "
                    "the server's machine stops; turn it on",
                    name,
                )

    @contextlib.contextmanager
    def _mistakes(self) -> Iterator[None]:
        """Turn errors that the operator can fix into UserMistake."""
        try:
            yield
        except StoreUnavailable as error:
            cause = error.__cause__
            if not isinstance(cause, psycopg.Error):
                raise
            problem = self._explain(cause)
            if problem is None:
                raise StoreUnavailable(f"cannot use the database {self.url}") from cause
            raise UserMistake(problem) from cause

    def _explain(self, error: psycopg.Error) -> str | None:
        """Say what the operator has to put right; None if it may pass by itself."""
        if (code := error.sqlstate) is not None:
            return f"the database {self.url} {_MISTAKES[code]}" if code in _MISTAKES else None
        # libpq does not tell the code of an error that answers the start of a connection, only its
        # text, which is in the server's language.
        text = " ".join(str(error).split())
        for host in self._hosts():
            if not _is_known(host):
                return f"the host {host!r} in {self.url} is not known: is it spelled right?"
        try:
            with connect(self._address, dbname="postgres") as connection:
                there = connection.execute(_IS_THERE, self._address.parameters).fetchone()
        except psycopg.Error:
            there = True
        if not there:
            return f"the database of {self.url} is not there: create it ({text})"
        if error.pgconn is not None and _is_refused(error.pgconn, text):
            return f"the server of {self.url} refuses this user, or its password ({text})"
        return None

    def _hosts(self) -> list[str]:
        if "hostaddr" in self._address.parameters:
            return []
        return str(self._address.parameters.get("host", "")).split(",")


def from_url(url: str) -> PostgresStore:
    """Make a store from a URL of PostgreSQL's; see `PostgresStore`."""
    return PostgresStore(url)


def _is_refused(pgconn: psycopg.pq.abc.PGconn, text: str) -> bool:
    """Tell whether it was the user that a server did not let in: it names that user then."""
    return pgconn.needs_password or (pgconn.used_password and pgconn.user.decode() in text)


def _make_engine(connect: Callable[[], Connection]) -> Engine:
    return create_engine(
        "postgresql+psycopg://",
        creator=connect,
        poolclass=NullPool,
        hide_parameters=True,  # keeps user content out of error logs
        use_native_hstore=False,  # spares a query on connecting
    )


def _texts(rows: Rows) -> dict[str, str]:
    """Write the rows of each type as JSON, which PostgreSQL takes apart."""
    return {
        kind.__name__: msgspec.json.encode([row.parameters for row in each]).decode()
        for kind, each in rows.items()
        if each
    }


def _array_text(values: list[Any]) -> str:
    # https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO
    quoted = ['"' + _escaped(str(value)) + '"' for value in values]
    return "{" + ",".join(quoted) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"")


def _code(error: object) -> str | None:
    return getattr(error, "sqlstate", None)


def _is_known(host: str) -> bool:
    if not host or host.startswith("/"):  # a folder with a socket
        return True
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
