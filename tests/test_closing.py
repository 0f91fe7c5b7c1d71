"""Closing an application while its pages follow what happens in the store."""

from __future__ import annotations

import asyncio

import pytest
from tests.accounts import awaited
from tests.sites import site

SECONDS = 10.0  # the bound of everything that is waited for


@pytest.mark.parametrize("steps", range(8))
@awaited
async def test_closing_just_after_a_write_ends(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However far the pages have come with learning of it."""
    monkeypatch.setattr("statusthing.web.live.LOOK_SECONDS", 0)

    async def main() -> None:
        async with site() as here, here.client() as client:
            await client.get("/")
            for _ in range(20):
                await asyncio.sleep(0)
            await here.st.items.add(name="api")
            for _ in range(steps):
                await asyncio.sleep(0)

    await asyncio.wait_for(main(), SECONDS)
