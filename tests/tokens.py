"""Tokens for servers under test.

As a program it is the command `statusthing`, with a store `remembered://` besides: a memory store
that has a token already, which is printed first. No other process could put one there.
"""

from __future__ import annotations

import asyncio

from statusthing import Role, StatusThing, register
from statusthing.memory import MemoryStore
from statusthing.store import Store

REMEMBERED = "remembered://"


async def add_token(store: Store, role: Role = Role.ADMIN) -> str:
    """Add a token to a store that is not open, and return its secret."""
    async with StatusThing(store) as st:
        return (await st.tokens.add(name="tests", role=role)).secret


def main() -> None:
    """Make the store, and run the command."""
    from statusthing import cli  # noqa: PLC0415 - only the program needs it

    store = MemoryStore()
    print("token", asyncio.run(add_token(store)), flush=True)  # noqa: T201 - for the tests
    register(REMEMBERED.removesuffix("://"), lambda _: store)
    cli.main()


if __name__ == "__main__":
    main()
