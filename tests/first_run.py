"""A server over memory whose first admin is yet to be made: `first_run.py`.

The path and query of a setup link are in the file `setup`, in the folder that it runs in.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from statusthing import build_app
from statusthing.memory import MemoryStore
from statusthing.server import run

STORE = MemoryStore()


async def link() -> str:
    """Make a setup link."""
    app = build_app(STORE, defaults=True)
    async with app:
        return await app.st.setup_link() or ""


def announce(url: str) -> None:
    """Print what `tests.conftest.serving` waits for."""
    print("listening on", url, flush=True)  # noqa: T201 - for the tests
    print("data in memory", flush=True)  # noqa: T201 - for the tests


if __name__ == "__main__":
    Path("setup").write_text(asyncio.run(link()), encoding="utf-8")
    run(build_app(STORE, setup_file=Path("setup")), addr="127.0.0.1:0", on_start=announce)
