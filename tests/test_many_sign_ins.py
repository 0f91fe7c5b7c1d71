"""Hundreds who sign in at once, at a server that also has an API to answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
from tests.accounts import PASSWORD
from tests.conftest import SECONDS, Server
from tests.sites import SAME

from statusthing import StatusThing, open_store
from statusthing.access import Role
from statusthing.service.passwords import AT_ONCE, WAITING

ATTEMPTS = 200
MOST_MEBIBYTES = 150


async def _add_ada(url: str) -> None:
    async with StatusThing(open_store(url)) as st:
        await st.users.add(username="ada", password=PASSWORD, role=Role.ADMIN)


async def _sign_in(url: str) -> list[httpx.Response]:
    """Send the form many times at once, each from an address of its own, over its connection.

    Every other time the password is wrong.
    """
    limits = httpx.Limits(max_connections=ATTEMPTS)
    async with httpx.AsyncClient(base_url=url, timeout=3 * SECONDS, limits=limits) as client:

        async def send(number: int) -> httpx.Response:
            headers = {**SAME, "x-forwarded-for": f"198.51.{number // 250}.{number % 250}"}
            form = {"username": "ada", "password": PASSWORD + "!" * (number % 2)}
            return await client.post("/admin/login", data=form, headers=headers)

        return await asyncio.gather(*(send(number) for number in range(ATTEMPTS)))


def test_two_hundred_sign_ins_at_once(
    serve: Callable[..., AbstractContextManager[Server]], tmp_path: Path
) -> None:
    """Some get in, the others are asked to come back, and the API answers all the while."""
    asyncio.run(_add_ada(f"sqlite:///{tmp_path}/statusthing.db"))
    with (
        serve("--trusted-proxy=127.0.0.1") as server,
        server.withstanding(mebibytes=MOST_MEBIBYTES),
    ):
        answers = asyncio.run(_sign_in(server.url))

    count = Counter(answer.status_code for answer in answers)
    assert set(count) == {303, 401, 503}
    assert count[303] + count[401] >= AT_ONCE + WAITING
    for answer in answers:
        if answer.status_code == 503:
            assert answer.headers["retry-after"] == "1"
            assert "set-cookie" not in answer.headers
