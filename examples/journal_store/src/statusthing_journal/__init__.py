"""A store for StatusThing that keeps everything in a file of JSON lines."""

from __future__ import annotations

from statusthing_journal.store import JournalStore, from_url

__all__ = ["JournalStore", "from_url"]
