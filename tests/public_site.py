"""A server over memory, at its root and under a prefix, whose store can be away.

It is away as long as there is a file `away` in the folder that the server runs in. A token for
callers is printed first, and then what `tests.conftest.serving` waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from starlette.applications import Starlette
from starlette.routing import Mount

from statusthing import build_app
from statusthing.errors import StoreUnavailable
from statusthing.memory import MemoryStore
from statusthing.server import run
from statusthing.store import Transaction

T = TypeVar("T")

PREFIX = "/x/y"


class Leaving(MemoryStore):
    """A store that cannot be read while there is the file."""

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run a unit that only reads."""
        if Path("away").exists():
            raise StoreUnavailable("it is away")
        return await super().read(work)


def announce(url: str) -> None:
    """Print what the tests wait for."""
    print("listening on", url, flush=True)  # noqa: T201 - for the tests
    print("data in memory", flush=True)  # noqa: T201 - for the tests


def main() -> None:
    """Make the application, and serve it."""
    from tests.tokens import add_token  # noqa: PLC0415 - in the test's process it is not needed

    store = Leaving()
    away = Path("away").exists()
    Path("away").unlink(missing_ok=True)
    token = asyncio.run(add_token(store))
    if away:
        Path("away").touch()
    print("token", token, flush=True)  # noqa: T201 - for the tests
    app = build_app(store)
    host = Starlette(
        routes=[Mount(PREFIX, app), Mount("", app)],
        lifespan=lambda _: app,
    )
    run(host, addr="127.0.0.1:0", on_start=announce)
