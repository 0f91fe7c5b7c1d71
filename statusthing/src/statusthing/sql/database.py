"""Where SQL databases differ, as far as reading and writing meet it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.exc import DBAPIError

from statusthing.sql.session import Session


class Database(ABC):
    """How a database is reached and locked, and what it says in its own way."""

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
