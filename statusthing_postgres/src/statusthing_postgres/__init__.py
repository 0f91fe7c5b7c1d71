"""The PostgreSQL store of StatusThing."""

from __future__ import annotations

from statusthing_postgres.store import PostgresStore, from_url

__all__ = ["PostgresStore", "from_url"]
