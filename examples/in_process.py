"""No HTTP at all: a program that cron runs, and that reports how a job ended.

It needs `statusthing` and `statusthing-sqlite`:

    python in_process.py Backup UP "All files are copied."
    python in_process.py Backup DOWN "The disk is full."

It gives the item the status of that name, and adds a note. The item is made if it is new. The
data is in the store that `STATUSTHING_STORE` names, by default `sqlite:///statusthing.db`; a server
may have it open at the same time, and shows the change at once.
"""

from __future__ import annotations

import asyncio
import os
import sys

from statusthing import StatusThing, open_store
from statusthing.errors import SchemaMismatch, UserMistake


async def report(item_name: str, status_name: str, text: str) -> None:
    """Say in the store how an item is, and why."""
    store = open_store(os.environ.get("STATUSTHING_STORE", "sqlite:///statusthing.db"))
    async with StatusThing(store) as st:
        await st.add_default_statuses()  # does nothing where something was written before
        statuses = {status.name: status.id for status in await st.statuses.list()}
        if status_name not in statuses:
            sys.exit(f"no status is named {status_name}: choose from {', '.join(statuses)}")
        items = {item.name: item.id for item in await st.items.list()}
        item_id = items.get(item_name) or (await st.items.add(name=item_name)).id
        await st.items.update(item_id, status_id=statuses[status_name])
        await st.notes.add(item_id, text)


if __name__ == "__main__":
    try:
        [item_name, status_name, text] = sys.argv[1:]
    except ValueError:
        sys.exit("usage: in_process.py ITEM STATUS TEXT")
    try:
        asyncio.run(report(item_name, status_name, text))
    except (UserMistake, SchemaMismatch) as mistake:
        print(f"in_process.py: {mistake}", file=sys.stderr)
        sys.exit(2)
