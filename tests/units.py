"""Records, units of work and processes for the tests of stores on databases."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from statusthing.log import Action, Change, describe
from statusthing.model import Item, Note, Record, Status, StatusKind
from statusthing.store import Store, Transaction

SECONDS = 10.0  # the bound of everything that is waited for
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def item(id: str, **fields: Any) -> Item:
    """Make an item, by default named as its id."""
    return Item(id=id, created=NOW, updated=NOW, **({"name": id} | fields))


def status(id: str) -> Status:
    """Make a status."""
    return Status(id=id, name=id, kind=StatusKind.UP, created=NOW, updated=NOW)


def note(id: str, item_id: str) -> Note:
    """Make a note."""
    return Note(id=id, item_id=item_id, text="Looking into it.", created=NOW, updated=NOW)


def add(*records: Record) -> Callable[[Transaction], None]:
    """Make a unit that adds records and logs them."""

    def work(transaction: Transaction) -> None:
        for seq, record in enumerate(records):
            transaction.add(record)
            transaction.append(change_of(transaction, seq, record))

    return work


def change_of(transaction: Transaction, seq: int, record: Record) -> Change:
    """Make the entry about a record that is added."""
    return Change(
        revision=transaction.revision,
        seq=seq,
        at=transaction.now,
        actor="test",
        action=Action.ADDED,
        kind=type(record).__name__,
        subject=record.id,
        before=None,
        after=describe(record),
        public=True,
    )


async def together(
    store: Store, *units: Callable[[Transaction], Any], cancel: int | None = None
) -> list[Any]:
    """Queue units while the writer is busy, so that they share a commit; cancel one of them.

    Returns:
        What each unit returned or raised.
    """
    begun, go = threading.Event(), threading.Event()

    def hold(_: Transaction) -> None:
        begun.set()
        assert go.wait(SECONDS)

    holding = asyncio.create_task(store.write(hold, now=NOW))
    await asyncio.to_thread(begun.wait, SECONDS)
    tasks = [asyncio.create_task(store.write(unit, now=NOW)) for unit in units]
    await asyncio.sleep(0)
    if cancel is not None:
        tasks[cancel].cancel()
        await asyncio.sleep(0)
    go.set()
    _, *answers = await asyncio.gather(holding, *tasks, return_exceptions=True)
    return answers


def start(url: str, *arguments: str) -> subprocess.Popen[str]:
    """Start `program.py` on a store."""
    return subprocess.Popen(
        [sys.executable, Path(__file__).with_name("program.py"), url, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process or thread brings about."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
