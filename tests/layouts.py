"""Layouts of databases: what is in one, and those of the first and of a coming release."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, inspect

from statusthing.sql import migrations, schema
from statusthing.sql.tables import metadata

_NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{newest}"


def upgrade():
    # Not something that SQLite can alter: the table, which notes refer to, is copied.
    with op.batch_alter_table("statusthing_items") as items:
        items.alter_column("description", new_column_name="about", existing_type=sa.Text())
{more}
"""


def next_release(patch: pytest.MonkeyPatch, folder: Path) -> Callable[[str], None]:
    """Make what turns this software into a release with another layout.

    Args:
        patch: undoes it.
        folder: for the migrations.

    Returns:
        A function, which is given lines to extend the new migration with.
    """

    def turn(more: str) -> None:
        scripts = folder / "migrations"
        shutil.copytree(Path(migrations.__file__).parent, scripts)
        (scripts / "versions" / "schema_9999.py").write_text(
            _NEXT.format(newest=schema.NEWEST, more=more)
        )
        patch.setattr(schema, "SCRIPTS", str(scripts))
        patch.setattr(schema, "NEWEST", "9999")

    return turn


def first_release(patch: pytest.MonkeyPatch) -> None:
    """Turn this software into its first release."""
    patch.setattr(schema, "NEWEST", "0001")
    patch.setattr(schema, "upgrade", _lay_out_the_first)


def _lay_out_the_first(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", schema.SCRIPTS)
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = "statusthing_schema_version"
    command.upgrade(config, "0001")


def difference(engine: Engine) -> list[Any]:
    """Return how a database differs from what `tables` says, in Alembic's eyes."""
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"version_table": "statusthing_schema_version", "compare_server_default": True},
        )
        return list(compare_metadata(context, metadata))


def described(engine: Engine) -> dict[str, list[Any]]:
    """Return what makes up each of our tables, down to the names of the constraints."""
    found = inspect(engine)
    return {
        table: [
            found.get_pk_constraint(table),
            found.get_unique_constraints(table),
            found.get_check_constraints(table),
            found.get_foreign_keys(table),
            found.get_indexes(table),
            [
                (column["name"], str(column["type"]), column["nullable"], column.get("identity"))
                for column in found.get_columns(table)
            ],
        ]
        for table in metadata.tables
    }
