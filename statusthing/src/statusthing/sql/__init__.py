"""What the stores on SQL databases share: tables, statements, the group-commit writer, migrations.

A store distribution derives from `statusthing.sql.store.SqlStore` and says how its database is
reached and locked. Needs the extra `statusthing[sql]`.
"""
