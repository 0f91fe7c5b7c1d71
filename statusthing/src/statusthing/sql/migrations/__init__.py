"""The history of the tables, for Alembic. Run by `statusthing.sql.schema`."""
