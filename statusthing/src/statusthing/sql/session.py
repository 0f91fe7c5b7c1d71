"""A connection, whose statements are executed on the driver's own cursor.

SQLAlchemy makes the connection, every statement, its text, and the conversions of values. It would
also execute the statements, but then makes several objects for each execution and each row, which
takes longer than SQLite takes to find a record. So each statement is compiled once, and from then
on the driver is given its text and converted values. This works with any driver of PEP 249 that
SQLAlchemy has a dialect for, as long as the text does not depend on the values.
https://peps.python.org/pep-0249/
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, TypeVar, cast

from sqlalchemy import Connection, Dialect, Select, UpdateBase
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError

T = TypeVar("T")

Statement = Select[Any] | UpdateBase

Parameters = Sequence[Any] | Mapping[str, Any]


class Bound(NamedTuple):
    """A statement with its parameters, as the driver takes them."""

    text: str
    parameters: Parameters


_COMMIT = Bound("COMMIT", ())


class Session:
    """A connection, for one thread at a time.

    What the driver raises is raised as SQLAlchemy's DBAPIError, as its own execution would.

    Args:
        connection: SQLAlchemy's, which nothing else uses.
        begin: returns the statement that begins a transaction; may raise StoreUnavailable.
        together: whether the driver takes several statements at once, if they have no parameters.

    Attributes:
        no_begin: why a transaction that was put off last could not begin.
    """

    def __init__(
        self, connection: Connection, begin: Callable[[], str], *, together: bool = False
    ) -> None:
        self._connection = connection
        self._dialect = connection.dialect
        self._error = connection.dialect.loaded_dbapi.Error
        self._begin = begin
        self._together = together
        self._put_off: Callable[[], object] | None = None
        self.no_begin: BaseException | None = None
        # Not SQLAlchemy's proxy for it, through which each call would go.
        self._driver = cast("DBAPIConnection", connection.connection.dbapi_connection)
        self._cursor = self._driver.cursor()

    def find(
        self, kind: Callable[..., T], statement: Select[Any], parameters: Mapping[str, Any]
    ) -> Sequence[T]:
        """Return the rows that are found, each as a struct whose fields are named as the columns.

        Args:
            kind: the type of the struct.
            statement: what to execute.
            parameters: a value for each parameter.
        """
        self._execute(statement, parameters)
        return self._found(kind, statement)

    def value(self, statement: Select[Any], parameters: Mapping[str, Any]) -> Any:
        """Return the one integer or text of the one row that is found, or None without a row."""
        self._execute(statement, parameters)
        [[value]] = self._call(self._cursor.fetchall) or [[None]]
        return value

    def change(self, statement: UpdateBase, parameters: Mapping[str, Any]) -> int:
        """Change rows, and return how many."""
        self._execute(statement, parameters)
        changed: int = self._cursor.rowcount
        return changed

    def bind(self, statement: UpdateBase, parameters: Mapping[str, Any]) -> Bound:
        """Convert parameters now, for `change_all`."""
        prepared = _prepare(statement, self._dialect)
        return Bound(prepared.text, prepared.bind(parameters))

    def change_all(self, changes: Sequence[Bound]) -> None:
        """Execute statements one after the other: one message to a server, if the driver can."""
        self.begin_now()
        self._call(self._change_all, changes)

    def conclude(self, changes: Sequence[Bound]) -> bool:
        """Execute the last statements of a transaction and commit it, as `change_all` does.

        Where its beginning was put off to now, there has to be one statement only, which is the
        whole transaction.

        Returns:
            False, if that one found nothing to change.
        """
        if self._put_off is None:
            # Not the driver's own, with which psycopg would wait before the others' answers.
            self._call(self._change_all, [*changes, _COMMIT])
            return True
        self._put_off = None
        [(text, parameters)] = changes
        self._call(self._cursor.execute, text, parameters)
        return bool(self._cursor.rowcount)

    def _change_all(self, changes: Sequence[Bound]) -> None:
        driver: Any = self._driver
        with driver.pipeline() if self._together else nullcontext():
            for text, parameters in changes:
                self._cursor.execute(text, parameters)

    def put_off(self, begin: Callable[[], object]) -> None:
        """Have `begin` called when there is something to execute, and not before."""
        self._put_off = begin

    def begin_now(self) -> None:
        """Begin the transaction, if that was put off."""
        if self._put_off is not None:
            begin, self._put_off = self._put_off, None
            try:
                begin()
            except BaseException as error:
                # In the midst of a unit, which may make what it likes of that.
                self.no_begin = error
                raise

    def begin(self, kind: Callable[..., T], statement: Select[Any]) -> Sequence[T]:
        """Begin a transaction, and return the first rows that are found in it.

        That is one message to a server and back, if the driver can.
        """
        self.no_begin = None
        text = self._begin()
        if self._together:
            self.run(f"{text}; {_prepare(statement, self._dialect).text}")
            self._cursor.nextset()
        else:
            self.run(text)
            self._execute(statement, {})
        return self._found(kind, statement)

    def commit(self) -> None:
        """Commit the transaction."""
        self._call(self._driver.commit)

    def rollback(self) -> None:
        """Undo the transaction, unless the database has done so already."""
        self._put_off = None
        self._call(self._driver.rollback)

    def run(self, text: str) -> None:
        """Execute a text that has no parameters and finds nothing."""
        self.begin_now()
        self._call(self._cursor.execute, text)

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        self._connection.invalidate()
        self._connection.close()

    def _found(self, kind: Callable[..., T], statement: Select[Any]) -> Sequence[T]:
        return _maker(kind, statement, self._dialect)(self._call(self._cursor.fetchall))

    def _execute(self, statement: Statement, parameters: Mapping[str, Any]) -> None:
        self.begin_now()
        prepared = _prepare(statement, self._dialect)
        self._call(self._cursor.execute, prepared.text, prepared.bind(parameters))

    def _call(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except self._error as error:
            text = next((each for each in arguments if isinstance(each, str)), None)
            raise DBAPIError.instance(
                text,
                None,
                error,
                self._error,
                hide_parameters=True,
                connection_invalidated=self._dialect.is_disconnect(error, self._driver, None),
                dialect=self._dialect,
            ) from error


class _Prepared:
    """A statement as a driver takes it."""

    def __init__(self, statement: Statement, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.text = compiled.string
        self._constants = {n: value for n, value in compiled.params.items() if value is not None}
        self._positional = compiled.positional
        self._converted = [
            (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
            for name in compiled.positiontup or compiled.params
        ]

    def bind(self, values: Mapping[str, Any]) -> Parameters:
        """Convert values, and put them into the order that the text has, or name them."""
        values = {**self._constants, **values}
        if self._positional:
            return [
                values[name] if convert is None else convert(values[name])
                for name, convert in self._converted
            ]
        return {
            name: values[name] if convert is None else convert(values[name])
            for name, convert in self._converted
        }


@functools.lru_cache(maxsize=512)
def _prepare(statement: Statement, dialect: Dialect) -> _Prepared:
    return _Prepared(statement, dialect)


@functools.lru_cache(maxsize=512)
def _maker(
    kind: Callable[..., T], statement: Select[Any], dialect: Dialect
) -> Callable[[Sequence[Any]], Sequence[T]]:
    """Return a function that makes structs from rows.

    It is compiled from a text that names the columns, as the standard library does for its named
    tuples. Arguments whose names are found out at run time take five times as long to pass, which
    was most of what it cost to read a long list.
    """
    converts = {}
    values = []
    arguments = []
    for n, (name, column) in enumerate(statement.selected_columns.items()):
        convert = column.type.dialect_impl(dialect).result_processor(dialect, None)
        converts[f"convert{n}"] = convert
        values.append(f"value{n}")
        arguments.append(f"{name}=convert{n}(value{n})" if convert else f"{name}=value{n}")
    text = f"lambda rows: [kind({', '.join(arguments)}) for {', '.join(values)} in rows]"
    make: Callable[[Sequence[Any]], Sequence[T]] = eval(text, {"kind": kind, **converts})  # noqa: S307
    return make
