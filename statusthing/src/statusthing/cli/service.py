"""The service over the store of a command, which other processes may serve at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from statusthing.access import Principal, Role
from statusthing.errors import UserMistake
from statusthing.memory import MemoryStore
from statusthing.registry import failures_named, open_store
from statusthing.service import StatusThing

T = TypeVar("T")

COMMAND_LINE = Principal(name="command line", role=Role.ADMIN)
"""Who acts, for the log: whoever may open the store."""


def with_service(store: str, work: Callable[[StatusThing], Awaitable[T]]) -> T:
    """Open a store, do something with the service over it, and close it again.

    Raises:
        UserMistake: no other process could see what is done there.
        SchemaMismatch: it was laid out by another version.
        StatusThingError: see `failures_named`.
    """
    chosen = open_store(store)
    if isinstance(chosen, MemoryStore):
        msg = f"{chosen.url} is the memory of one process: name the store that a server keeps"
        raise UserMistake(msg)

    async def run() -> T:
        async with StatusThing(chosen) as st:
            return await work(st)

    with failures_named(store):
        return asyncio.run(run())
