"""The first layout: records, the log, and its head."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Lay out an empty database."""
    op.create_table(
        "statusthing_statuses",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("color", TEXT, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_statusthing_statuses"),
        sa.UniqueConstraint("name", name="uq_statusthing_statuses_name"),
    )
    op.create_index("ix_statusthing_statuses_created_id", "statusthing_statuses", ["created", "id"])
    op.create_index("ix_statusthing_statuses_kind", "statusthing_statuses", ["kind"])

    op.create_table(
        "statusthing_items",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("status_id", TEXT, nullable=True),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_statusthing_items"),
        sa.UniqueConstraint("name", name="uq_statusthing_items_name"),
        sa.ForeignKeyConstraint(
            ["status_id"], ["statusthing_statuses.id"], name="fk_statusthing_items_status_id"
        ),
    )
    op.create_index("ix_statusthing_items_created_id", "statusthing_items", ["created", "id"])
    op.create_index("ix_statusthing_items_status_id", "statusthing_items", ["status_id"])

    op.create_table(
        "statusthing_notes",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("item_id", TEXT, nullable=False),
        sa.Column("text", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_statusthing_notes"),
        sa.ForeignKeyConstraint(
            ["item_id"], ["statusthing_items.id"], name="fk_statusthing_notes_item_id"
        ),
    )
    op.create_index("ix_statusthing_notes_created_id", "statusthing_notes", ["created", "id"])
    op.create_index(
        "ix_statusthing_notes_item_id_created_id",
        "statusthing_notes",
        ["item_id", "created", "id"],
    )

    op.create_table(
        "statusthing_kept_answers",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("answer", TEXT, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_statusthing_kept_answers"),
    )
    op.create_index(
        "ix_statusthing_kept_answers_created_id", "statusthing_kept_answers", ["created", "id"]
    )
    op.create_index("ix_statusthing_kept_answers_expires", "statusthing_kept_answers", ["expires"])

    op.create_table(
        "statusthing_changes",
        sa.Column("revision", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("before", sa.Text, nullable=True),
        sa.Column("after", sa.Text, nullable=True),
        sa.Column("public", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("revision", "seq", name="pk_statusthing_changes"),
    )

    head = op.create_table(
        "statusthing_head",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("public_revision", sa.BigInteger, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_statusthing_head"),
        sa.CheckConstraint("id = 1", name="ck_statusthing_head_single"),
    )
    op.bulk_insert(head, [{"id": 1, "revision": 0, "public_revision": 0, "time": 0}])
