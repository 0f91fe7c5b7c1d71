"""Every statement that a transaction executes, each built once.

Building a statement costs more than executing it. The fixed ones are made on import; the statement
of a query is made once for its shape: what is asked of which field, and not with which values.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Delete,
    FromClause,
    Integer,
    Select,
    Subquery,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from statusthing.log import Change
from statusthing.sql.tables import TABLES
from statusthing.store import Query, Range

Member = Callable[[ColumnElement[Any], str], ColumnElement[bool]]
"""Makes the condition that a column's value is in the set bound to the parameter of that name.

It must be one text for sets of every size.
"""

GET = {
    kind: select(*table.c).where(table.c.id == bindparam("id_is"))
    for kind, table in TABLES.items()
    if kind is not Change
}
VERSION = {
    kind: select(table.c.version).where(table.c.id == bindparam("id_is"))
    for kind, table in TABLES.items()
    if kind is not Change
}
INSERT = {kind: insert(table) for kind, table in TABLES.items()}
REPLACE = {
    kind: update(table).where(
        table.c.id == bindparam("id_is"), table.c.version == bindparam("version_is")
    )
    for kind, table in TABLES.items()
    if kind is not Change
}
REMOVE = {
    kind: delete(table).where(table.c.id == bindparam("id_is"))
    for kind, table in TABLES.items()
    if kind is not Change
}


class Shape(msgspec.Struct, frozen=True):
    """What a query's statement depends on. `tests` pairs fields with keys of `_TESTS`."""

    kind: type[Any]
    tests: tuple[tuple[str, str], ...]
    descending: bool = False
    after: bool = False
    limit: bool = False
    newest_per: str | None = None


def shape_and_parameters(query: Query[Any]) -> tuple[Shape, dict[str, Any]]:
    """Part a query into the shape of its statement and the values to execute it with."""
    tests: list[tuple[str, str]] = []
    parameters: dict[str, Any] = {}
    for field, want in query.where.items():
        for test, value in _tests(want):
            tests.append((field, test))
            if test not in _VALUELESS:
                parameters[f"{field}_{test}"] = value
    if query.after is not None:
        parameters["after_0"], parameters["after_1"] = query.after
    if query.limit is not None:
        parameters["most"] = query.limit
    newest_per = None
    if query.newest_per is not None:
        newest_per, parameters["newest"] = query.newest_per
    shape = Shape(
        query.kind,
        tuple(tests),
        query.descending,
        query.after is not None,
        query.limit is not None,
        newest_per,
    )
    return shape, parameters


_VALUELESS = frozenset({"none", "some"})


def _tests(want: Any) -> list[tuple[str, Any]]:
    if want is None:
        return [("none", None)]
    if isinstance(want, frozenset):
        return [("in_or_none" if None in want else "in", want - {None})]
    if isinstance(want, Range):
        sides = [(side, getattr(want, side)) for side in ("ge", "lt")]
        return [side for side in sides if side[1] is not None] or [("some", None)]
    return [("is", want)]


def _bound(column: ColumnElement[Any], name: str) -> BindParameter[Any]:
    return bindparam(name, type_=column.type)


_TESTS: Mapping[str, Callable[[ColumnElement[Any], str, Member], ColumnElement[bool]]] = {
    "is": lambda column, name, _: column == _bound(column, name),
    "none": lambda column, _, __: column.is_(None),
    "some": lambda column, _, __: column.is_not(None),
    "in": lambda column, name, member: member(column, name),
    "in_or_none": lambda column, name, member: or_(member(column, name), column.is_(None)),
    "ge": lambda column, name, _: column >= _bound(column, name),
    "lt": lambda column, name, _: column < _bound(column, name),
}


@functools.lru_cache(maxsize=512)
def find(shape: Shape, member: Member) -> Select[Any]:
    """Make the statement that finds the rows of a query, as R14-R16 say."""
    return _select(shape, member, TABLES[shape.kind].c.keys())


@functools.lru_cache(maxsize=512)
def count(shape: Shape, member: Member) -> Select[Any]:
    """Make the statement that counts the rows of a query; no `after` or `limit` in its shape."""
    rows = _select(shape, member, _key(shape.kind), ordered=False)
    return select(func.count()).select_from(rows.subquery())


@functools.lru_cache(maxsize=512)
def remove_where(shape: Shape, member: Member) -> Delete:
    """Make the statement that removes the rows of a query."""
    table = TABLES[shape.kind]
    names = ["revision", "seq"] if shape.kind is Change else ["id"]
    rows = _select(shape, member, names)
    return delete(table).where(tuple_(*(table.c[name] for name in names)).in_(rows))


def _large_groups(shape: Shape, group: Column[Any], member: Member) -> Subquery:
    """Find the groups with more matching rows than are kept, and the key of the first one kept.

    Most groups are small: finding out which are not costs little, and numbering all rows much.
    """
    table = TABLES[shape.kind]
    other = table.alias()
    newest = (
        select(other)
        .where(_same(other.c[group.name], group), *_conditions(shape, other, member))
        .order_by(*(other.c[name].desc() for name in _key(shape.kind)))
        .limit(1)
        .offset(bindparam("newest", type_=Integer) - 1)
        .correlate(table)
    )
    first = [
        newest.with_only_columns(other.c[name]).scalar_subquery().label(name)
        for name in _key(shape.kind)
    ]
    return (
        select(group.label("group"), *first)
        .where(*_conditions(shape, table, member))
        .group_by(group)
        .having(func.count() > bindparam("newest", type_=Integer))
        .subquery()
    )


def _same(column: ColumnElement[Any], other: Column[Any]) -> ColumnElement[bool]:
    # PostgreSQL has no fast way to join by IS NOT DISTINCT FROM, so only where there can be NULL.
    return column.is_not_distinct_from(other) if other.nullable else column == other


def _conditions(shape: Shape, table: FromClause, member: Member) -> list[ColumnElement[bool]]:
    return [_TESTS[test](table.c[field], f"{field}_{test}", member) for field, test in shape.tests]


def _key(kind: type[Any]) -> list[str]:
    return ["revision", "seq"] if kind is Change else ["created", "id"]


def _select(shape: Shape, member: Member, names: list[str], *, ordered: bool = True) -> Select[Any]:
    table = TABLES[shape.kind]
    key = [table.c[name] for name in _key(shape.kind)]
    statement = select(*(table.c[name] for name in names)).where(*_conditions(shape, table, member))
    if shape.newest_per is not None:
        group = table.c[shape.newest_per]
        large = _large_groups(shape, group, member)
        first = [large.c[column.name] for column in key]
        statement = statement.outerjoin_from(table, large, _same(large.c.group, group)).where(
            or_(first[0].is_(None), tuple_(*key) >= tuple_(*first))
        )
    if shape.after:
        place = tuple_(*key)
        reached = tuple_(*(_bound(column, f"after_{n}") for n, column in enumerate(key)))
        statement = statement.where(place < reached if shape.descending else place > reached)
    if ordered:
        statement = statement.order_by(
            *(column.desc() if shape.descending else column.asc() for column in key)
        )
    if shape.limit:
        statement = statement.limit(bindparam("most", type_=Integer))
    return statement
