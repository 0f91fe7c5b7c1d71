"""The layout of the database: which one is there, and how it becomes the newest.

The layouts are one line of Alembic revisions, named by four digits that count up, so that older and
newer can be told apart without knowing the other software. Alembic is imported when there is
something to migrate only.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, column, inspect, select, table

from statusthing.errors import SchemaMismatch, SchemaOutdated, SchemaTooNew, UserMistake
from statusthing.sql.tables import PREFIX

NEWEST = "0003"
"""The layout that this code works with."""

SCRIPTS = "statusthing:sql/migrations"
"""Where the steps from layout to layout are, as Alembic names a folder of a package."""

_VERSION_TABLE = f"{PREFIX}schema_version"
_VERSION: Select[Any] = select(column("version_num")).select_from(table(_VERSION_TABLE))


def find_version(connection: Connection, *, alone: bool = True) -> str | None:
    """Return the name of the layout, or None where there is none yet.

    Args:
        connection: to the database.
        alone: whether the database has to be ours alone; otherwise only tables that are named as
            ours count.

    Raises:
        UserMistake: there are tables, but no layout of ours.
    """
    names = inspect(connection).get_table_names()
    if not any(alone or name.startswith(PREFIX) for name in names):
        return None
    if _VERSION_TABLE in names:
        for [version] in connection.execute(_VERSION):
            return str(version)
    raise UserMistake("the database holds the tables of another program: name one of its own")


def check_not_newer(version: str | None) -> None:
    """Raise SchemaTooNew for a layout that only newer software knows."""
    if version is not None and version > NEWEST:
        msg = (
            f"the data has the layout {version}, this software knows those up to {NEWEST}: "
            "install the newer version"
        )
        raise SchemaTooNew(msg)


def check(version: str | None) -> None:
    """Raise SchemaOutdated or SchemaTooNew unless the layout is the newest, or there is none."""
    check_not_newer(version)
    if version is not None and version < NEWEST:
        msg = (
            f"the data has the layout {version}, this software needs {NEWEST}: "
            "run `statusthing migrate`"
        )
        raise SchemaOutdated(msg)


def upgrade(connection: Connection) -> None:
    """Bring the layout up to the newest, in the transaction that the connection is in.

    Raises:
        SchemaMismatch: no step leads there from the layout that is found.
    """
    from alembic import command  # noqa: PLC0415 - costs more than all the rest of a start
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    # Without it Alembic would split the option above at spaces and colons, with a warning.
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = _VERSION_TABLE
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        msg = f"the layout of the data cannot be brought up to {NEWEST}: {error}"
        raise SchemaMismatch(msg) from error
