"""The SQLite store of StatusThing."""

from __future__ import annotations

from statusthing_sqlite.store import SqliteStore, from_url

__all__ = ["SqliteStore", "from_url"]
