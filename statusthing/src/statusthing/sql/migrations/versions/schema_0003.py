"""Accounts, what is remembered of callers for a while, settings; and from where changes came."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _record(name: str, *own: sa.schema.SchemaItem) -> None:
    op.create_table(
        f"statusthing_{name}",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        *own,
        sa.PrimaryKeyConstraint("id", name=f"pk_statusthing_{name}"),
    )
    _index(name, "created", "id")


def _index(name: str, *columns: str) -> None:
    op.create_index(
        f"ix_statusthing_{name}_{'_'.join(columns)}", f"statusthing_{name}", list(columns)
    )


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def upgrade() -> None:
    """Add the tables, and two columns to the log."""
    _record(
        "settings",
        *_text("title", "description", "logo_url", "accent_color", "links", "footer"),
    )

    _record(
        "users",
        *_text("username", "password_hash", "first_name", "last_name", "email_address"),
        *_text("avatar_url"),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("development", sa.Boolean, nullable=False),
        sa.Column("last_login", sa.BigInteger, nullable=True),
        sa.UniqueConstraint("username", name="uq_statusthing_users_username"),
    )
    _index("users", "role")

    _record(
        "tokens",
        *_text("name", "digest"),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("user_id", TEXT, nullable=True),
        sa.Column("expires", sa.BigInteger, nullable=True),
        sa.UniqueConstraint("digest", name="uq_statusthing_tokens_digest"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["statusthing_users.id"], name="fk_statusthing_tokens_user_id"
        ),
    )
    _index("tokens", "user_id")

    _record("sessions", *_text("user_id", "address", "user_agent"), _expires())
    _index("sessions", "user_id")
    _record("token_uses", _expires())
    _record("setup_links", _expires())
    _record("throttles", sa.Column("failures", sa.BigInteger, nullable=False), _expires())
    _record("failed_sign_ins", *_text("username", "address", "correlation_id"), _expires())
    for name in ("sessions", "token_uses", "setup_links", "throttles", "failed_sign_ins"):
        _index(name, "expires")

    for name in ("address", "correlation_id"):
        op.add_column(
            "statusthing_changes",
            sa.Column(name, TEXT, nullable=False, server_default=sa.text("''")),
        )


def _expires() -> sa.Column[int]:
    return sa.Column("expires", sa.BigInteger, nullable=False)
