"""Layouts of databases: what is in one, and those of earlier and of coming releases."""

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

from statusthing.log import Action, Change
from statusthing.model import EPOCH
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


OLDER = [f"{number:04}" for number in range(1, int(schema.NEWEST))]
"""The layouts that there have been."""

FILL = (
    """
    INSERT INTO statusthing_items (id, created, updated, version, name, description, position)
    VALUES ('a', 0, 0, 1, 'api', '', 0)
    """,
    """
    INSERT INTO statusthing_changes
        (revision, seq, at, actor, action, kind, subject, before, after, public)
    VALUES (1, 0, 0, 'jane', 'added', 'Item', 'a', NULL, '{"id":"a"}', TRUE)
    """,
    "UPDATE statusthing_head SET revision = 1, public_revision = 1",
)
"""Adds an item to a database of an older layout, as the software of that time did."""

FILLED = Change(
    revision=1,
    seq=0,
    at=EPOCH,
    actor="jane",
    action=Action.ADDED,
    kind="Item",
    subject="a",
    before=None,
    after={"id": "a"},
    public=True,
)
"""What the log has of that."""


def older_release(patch: pytest.MonkeyPatch, layout: str) -> None:
    """Turn this software into a release with an older layout."""

    def lay_out(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", schema.SCRIPTS)
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        config.attributes["version_table"] = "statusthing_schema_version"
        command.upgrade(config, layout)

    patch.setattr(schema, "NEWEST", layout)
    patch.setattr(schema, "upgrade", lay_out)


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
