"""A server over memory, at its root and under a prefix, whose store can be away.

It is away as long as there is a file `away` in the folder that the server runs in. A token for
callers is printed first, and then what `tests.conftest.serving` waits for.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from starlette.applications import Starlette
from starlette.routing import Mount
from tests.first_run import announce
from tests.tokens import add_token

from statusthing import build_app
from statusthing.errors import StoreUnavailable
from statusthing.memory import MemoryStore
from statusthing.server import run
from statusthing.store import Transaction
from statusthing.web.settings import PageSettings

T = TypeVar("T")

PREFIX = "/x/y"
AWAY = Path("away")
SETTINGS = PageSettings(
    title="Example",
    description="How our services are, and what we do about it.",
    logo_url="data:image/svg+xml,<svg%20xmlns='http://www.w3.org/2000/svg'%20viewBox='0,0,9,9'>"
    "<circle%20cx='4.5'%20cy='4.5'%20r='4'%20fill='teal'/></svg>",
    links="Help https://example.com/help\nWrite to us mailto:help@example.com",
    footer="Example Ltd, since 1999",
)


class Leaving(MemoryStore):
    """A store that cannot be read while there is the file."""

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run a unit that only reads."""
        if os.access(AWAY, os.F_OK):
            raise StoreUnavailable("it is away")
        return await super().read(work)


def main() -> None:
    """Make the application, and serve it."""
    store = Leaving()
    is_away = AWAY.exists()
    AWAY.unlink(missing_ok=True)
    token = asyncio.run(add_token(store))
    if is_away:
        AWAY.touch()
    print("token", token, flush=True)  # noqa: T201 - for the tests
    app = build_app(store, settings=SETTINGS)
    host = Starlette(
        routes=[Mount(PREFIX, app), Mount("", app)],
        lifespan=lambda _: app,
    )
    run(host, addr="127.0.0.1:0", on_start=announce)
