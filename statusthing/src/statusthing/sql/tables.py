"""The tables: one for each record type, with a column for each field, the log, and its head.

Columns stand in the order of the fields, so that a row unpacks into its record. The migrations lay
these tables out; a test holds both to the same result, and the columns to the fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
)
from sqlalchemy import (
    text as sql_text,
)

from statusthing.log import Action, Change
from statusthing.model import (
    FailedSignIn,
    Item,
    KeptAnswer,
    Note,
    Role,
    Session,
    Settings,
    SetupLink,
    Status,
    StatusKind,
    Throttle,
    Token,
    TokenUse,
    User,
)
from statusthing.sql.types import Choice, Instant, Json, text

PREFIX = "statusthing_"

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _record(name: str, *own: Column[Any]) -> Table:
    """Make a record type's table; its first index serves the order of every list."""
    table = Table(
        PREFIX + name,
        metadata,
        Column("id", text(), primary_key=True),
        Column("created", Instant, nullable=False),
        Column("updated", Instant, nullable=False),
        Column("version", BigInteger, nullable=False),
        *own,
    )
    Index(None, table.c.created, table.c.id)
    return table


statuses = _record(
    "statuses",
    Column("name", text(), nullable=False, unique=True),
    Column("description", text(), nullable=False),
    Column("color", text(), nullable=False),
    Column("kind", Choice(StatusKind), nullable=False, index=True),
)

items = _record(
    "items",
    Column("name", text(), nullable=False, unique=True),
    Column("description", text(), nullable=False),
    Column("status_id", text(), ForeignKey(statuses.c.id), index=True),
    Column("position", BigInteger, nullable=False),
)

notes = _record(
    "notes",
    Column("item_id", text(), ForeignKey(items.c.id), nullable=False),
    Column("text", text(), nullable=False),
)
Index(None, notes.c.item_id, notes.c.created, notes.c.id)

settings = _record(
    "settings",
    *(
        Column(name, text(), nullable=False)
        for name in ("title", "description", "logo_url", "accent_color", "links", "footer")
    ),
)

users = _record(
    "users",
    Column("username", text(), nullable=False, unique=True),
    Column("password_hash", text(), nullable=False),
    Column("first_name", text(), nullable=False),
    Column("last_name", text(), nullable=False),
    Column("email_address", text(), nullable=False),
    Column("avatar_url", text(), nullable=False),
    Column("role", Choice(Role), nullable=False, index=True),
    Column("disabled", Boolean, nullable=False),
    Column("development", Boolean, nullable=False),
    Column("last_login", Instant),
)

tokens = _record(
    "tokens",
    Column("name", text(), nullable=False),
    Column("digest", text(), nullable=False, unique=True),
    Column("role", Choice(Role), nullable=False),
    Column("user_id", text(), ForeignKey(users.c.id), index=True),
    Column("expires", Instant),
)


def _expiring(name: str, *own: Column[Any]) -> Table:
    """Make the table of a record type that is forgotten after a while."""
    return _record(name, *own, Column("expires", Instant, nullable=False, index=True))


sessions = _expiring(
    "sessions",
    Column("user_id", text(), nullable=False, index=True),
    Column("address", text(), nullable=False),
    Column("user_agent", text(), nullable=False),
)
token_uses = _expiring("token_uses")
setup_links = _expiring("setup_links")
throttles = _expiring("throttles", Column("failures", BigInteger, nullable=False))
failed_sign_ins = _expiring(
    "failed_sign_ins",
    Column("username", text(), nullable=False),
    Column("address", text(), nullable=False),
    Column("correlation_id", text(), nullable=False),
)
kept_answers = _expiring(
    "kept_answers",
    Column("digest", text(), nullable=False),
    Column("answer", text(), nullable=False),
)

changes = Table(
    PREFIX + "changes",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("actor", text(), nullable=False),
    Column("action", Choice(Action), nullable=False),
    Column("kind", text(), nullable=False),
    Column("subject", text(), nullable=False),
    Column("before", Json),
    Column("after", Json),
    Column("public", Boolean, nullable=False),
    # With defaults for the entries that older software wrote.
    Column("address", text(), nullable=False, server_default=sql_text("''")),
    Column("correlation_id", text(), nullable=False, server_default=sql_text("''")),
)

head = Table(
    PREFIX + "head",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="single"), primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("public_revision", BigInteger, nullable=False),
    Column("time", Instant, nullable=False),
)

# Which commit was each writer's last: `Database.was_committed` asks, after an answer was lost.
commits = Table(
    PREFIX + "commits",
    metadata,
    Column("writer", text(), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("time", Instant, nullable=False),
)

TABLES: Mapping[type[Any], Table] = MappingProxyType(
    {
        Status: statuses,
        Item: items,
        Note: notes,
        Settings: settings,
        User: users,
        Token: tokens,
        Session: sessions,
        TokenUse: token_uses,
        SetupLink: setup_links,
        Throttle: throttles,
        FailedSignIn: failed_sign_ins,
        KeptAnswer: kept_answers,
        Change: changes,
    }
)
