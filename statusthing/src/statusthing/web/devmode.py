"""What only people who edit the pages need: being told that a file was edited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from statusthing.web import assets, templates

LOOK_SECONDS = 0.3
"""How often the files are looked at while a page is open."""


async def edits() -> AsyncIterator[bytes]:
    """Yield an event each time that a template or an asset was edited."""
    before = _times()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        after = _times()
        if after != before:
            before = after
            yield b"event: reload\ndata:\n\n"


def _times() -> Mapping[str, int]:
    """Return when each file was written, in nanoseconds."""
    return {
        str(path): path.stat().st_mtime_ns
        for folder in (templates.FOLDER, assets.FOLDER)
        for path in folder.rglob("*")
        if path.is_file()
    }
