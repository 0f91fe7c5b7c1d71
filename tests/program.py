"""What tests of stores run in processes of their own: `program.py URL TASK [ARGUMENT]`."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

import msgspec

from statusthing import open_store
from statusthing.log import Action, Change, describe
from statusthing.model import Item
from statusthing.store import Transaction


def count_up(transaction: Transaction) -> None:
    """Add 1 to the position of the item `counter`."""
    old = transaction.get(Item, "counter")
    new = msgspec.structs.replace(old, position=old.position + 1, version=old.version + 1)
    transaction.replace(new, expect=old.version)
    transaction.append(
        Change(
            revision=transaction.revision,
            seq=0,
            at=transaction.now,
            actor="test",
            action=Action.REPLACED,
            kind="Item",
            subject=new.id,
            before=describe(old),
            after=describe(new),
            public=True,
        )
    )


async def main() -> None:
    """Do the task."""
    url, task, *arguments = sys.argv[1:]
    store = open_store(url)
    await store.open()
    if task == "open":
        print(store.schema.created, "alembic" in sys.modules)  # noqa: T201 - for the test
    if task == "count":
        for _ in range(int(arguments[0]) // 3):
            writes = (store.write(count_up, now=datetime.now(UTC)) for _ in range(3))
            await asyncio.gather(*writes)
    if task == "leave":
        # Without closing: as a program does that embeds the store and knows no lifespan.
        await store.write(count_up, now=datetime.now(UTC))
        await store.read(lambda transaction: transaction.revision)
        return
    await store.close()


asyncio.run(main())
