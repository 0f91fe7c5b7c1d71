"""Connections to the database, none of which waits for long.

A server that is gone without a word, or that stands still, answers nothing, and neither the kernel
nor PostgreSQL notices for minutes. So every answer has a time by which it has to come; after that
the connection is closed, which psycopg reports as it does every lost connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.abc import PQGen

from statusthing_postgres.address import Address

T = TypeVar("T")

ANSWER_SECONDS = 2.0
"""How long the server may take for one answer."""

CONNECT_SECONDS = 2
"""How long connecting to one of the hosts may take; libpq takes no less."""

MIGRATION_SECONDS = 600.0
"""How long the server may take for one step of a migration."""

_SETTINGS = {
    # Somewhat less than ours, so that a server that is merely busy says so and stays connected.
    "statement_timeout": f"{ANSWER_SECONDS * 900:.0f}ms",
    "lock_timeout": f"{ANSWER_SECONDS * 800:.0f}ms",
    # What a client leaves behind that is gone without a word would keep the writers' lock.
    "idle_in_transaction_session_timeout": "5s",
}


_OPEN = frozenset({psycopg.pq.TransactionStatus.INTRANS, psycopg.pq.TransactionStatus.INERROR})


def _do_nothing(_: psycopg.OperationalError) -> None:
    pass


class Connection(psycopg.Connection[Any]):
    """A connection that closes when an answer takes too long.

    Attributes:
        answer_seconds: how long an answer may take.
        on_timeout: is called when one took longer.
    """

    answer_seconds = ANSWER_SECONDS
    on_timeout: Callable[[psycopg.OperationalError], None] = staticmethod(_do_nothing)

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait for an answer, by default for `answer_seconds`; psycopg calls it for each one.

        Raises:
            psycopg.errors.ConnectionTimeout: it did not come in time.
            psycopg.Error: as always.
        """
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        end = time.monotonic() + self.answer_seconds
        try:
            return super().wait(gen, interval, self.answer_seconds)
        except psycopg.OperationalError as error:
            if error.sqlstate is not None or time.monotonic() < end:
                raise
            # Whatever comes now would be taken for the next answer.
            self.pgconn.finish()
            msg = f"the server did not answer within {self.answer_seconds:g} seconds"
            late = psycopg.errors.ConnectionTimeout(msg)
            self.on_timeout(late)
            raise late from error

    @contextmanager
    def pipeline(self) -> Iterator[psycopg.Pipeline]:
        """Send statements without waiting for answers, which all come at the end.

        An error after which the transaction is not known to be open may hide a COMMIT that was
        carried out: the connection is closed then, so that it counts as lost.
        """
        first: BaseException | None = None
        try:
            with super().pipeline() as pipeline:
                try:
                    yield pipeline
                except psycopg.Error as error:
                    first = error  # not raised in there: psycopg would log what follows from it
        except BaseException as error:  # noqa: BLE001 - raised below
            first = first or error
        if first is not None:
            if self.pgconn.transaction_status not in _OPEN:
                self.pgconn.finish()
            raise first


def connect(address: Address, **parameters: Any) -> Connection:
    """Connect for reading and writing, outside any transaction.

    Args:
        address: of the database.
        parameters: of libpq, in place of those of the address.

    Raises:
        psycopg.OperationalError: it cannot be reached, or refuses.
    """
    connection = _connect(address, **parameters)
    _set(connection, _SETTINGS)
    return connection


def connect_for_migration(address: Address) -> Connection:
    """Connect for changing the layout, which may take long; as `connect` otherwise."""
    connection = _connect(address)
    connection.answer_seconds = MIGRATION_SECONDS
    connection.autocommit = False
    return connection


def _connect(address: Address, **parameters: Any) -> Connection:
    settled: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "fallback_application_name": "statusthing",
        **address.parameters,
        **parameters,
    }
    connection = Connection.connect(autocommit=True, **settled)
    if address.schema is not None:
        identifier = sql.Identifier(address.schema).as_string(connection)
        _set(connection, {"search_path": identifier})
    return connection


def _set(connection: Connection, settings: dict[str, str]) -> None:
    calls = ", ".join(["set_config(%s, %s, false)"] * len(settings))
    values = [part for setting in settings.items() for part in setting]
    try:
        connection.execute(f"SELECT {calls}".encode(), values)
    except BaseException:
        connection.close()
        raise
