"""Where SQL databases differ, as far as reading and writing meet it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from sqlalchemy import ColumnElement
from sqlalchemy.exc import DBAPIError

from statusthing.sql.head import Head, moving
from statusthing.sql.session import Bound, Session

Rows = Mapping[type[Any], Sequence[Bound]]
"""Rows to insert, by type, in the order in which they are inserted."""


class Database(ABC):
    """How a database is reached and locked, and what it says in its own way.

    Attributes:
        remote: whether statements travel to a server, and so had better go together; such a
            server aborts the transaction of a statement that it refuses, back to a savepoint.
        patience_seconds: the longest that a write waits for its answer; None for databases that
            cannot be away.
    """

    remote: ClassVar[bool] = False
    patience_seconds: ClassVar[float | None] = None

    @staticmethod
    @abstractmethod
    def member(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        """Make the condition that a column's value is in the set bound to `name`, of any size."""

    @abstractmethod
    def refused(self, error: DBAPIError) -> bool:
        """Tell, by its code, whether an error is the refusal of a unique or foreign key."""

    @abstractmethod
    def connect_reader(self) -> Session:
        """Open a connection that cannot write, and whose transactions see one snapshot."""

    @abstractmethod
    def connect_writer(self) -> Session:
        """Open the connection that writes; its transactions take the write lock as they begin."""

    @abstractmethod
    def writer_lock(self) -> AbstractContextManager[None]:
        """Hold off other processes, where the database's own locks are not enough.

        Held whenever the writer's connection does something. Raises StoreUnavailable.
        """

    def inserting(self, session: Session, rows: Rows) -> list[Bound]:
        """Make the statements that insert rows; as they are, each inserts one."""
        return [row for each in rows.values() for row in each]

    def ending(self, session: Session, rows: Rows, before: Head, head: Head) -> list[Bound]:
        """Make the last statements of a transaction, which insert rows and write down the head."""
        moves = [] if head == before else [moving(session, head)]
        return self.inserting(session, rows) + moves

    def was_committed(self, session: Session, head: Head) -> bool:
        """Tell whether the transaction whose end was made last has been committed.

        Asked under the lock, over a new connection, when the old one was lost with that end. If it
        has not, it must not be from now on, although it may still be on its way to the server.

        Args:
            session: where a transaction has begun, which this may commit.
            head: as it was found there.
        """
        return False
