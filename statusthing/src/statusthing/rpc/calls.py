"""The call that is being answered: what those who answer it know of the request around it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

import msgspec

from statusthing.access import ANONYMOUS, Principal
from statusthing.asgi import STOPPING, Scope
from statusthing.rpc.errors import stopping

T = TypeVar("T")


class Call(msgspec.Struct):
    """A request that is an RPC.

    Attributes:
        scope: its ASGI scope.
        principal: who makes it, once that is known.
        failure: what is wrong with it, to be said once it is known who makes it.
        left: whether the client has gone.
    """

    scope: Scope
    principal: Principal = ANONYMOUS
    failure: Exception | None = None
    left: bool = False


current: ContextVar[Call] = ContextVar("call")


async def until_stopping(waiting: Coroutine[Any, Any, T]) -> T:
    """Wait, as a stream does between two messages, but no longer than the server runs.

    Under a server that has no `STOPPING`, a stream goes on until it is cancelled.

    Args:
        waiting: what to wait for.

    Returns:
        What it returns.

    Raises:
        ConnectError: `unavailable`, because the server has been told to stop.
    """
    event: asyncio.Event | None = current.get().scope.get("state", {}).get(STOPPING)
    if event is None:
        return await waiting
    wanted = asyncio.ensure_future(waiting)
    stop = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((wanted, stop), return_when=asyncio.FIRST_COMPLETED)
        if wanted.done():
            return wanted.result()
        raise stopping()
    finally:
        wanted.cancel()
        stop.cancel()
