"""Runs the steps over the connection that the caller handed over, inside its transaction."""

from __future__ import annotations

from alembic import context

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    version_table=attributes["version_table"],
    # SQLite changes tables by copying them; see Alembic's "batch" mode.
    render_as_batch=True,
    # All steps or none: the transaction around them all is the caller's.
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
