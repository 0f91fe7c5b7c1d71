"""The vocabulary of ASGI, https://asgi.readthedocs.io/en/latest/specs/main.html."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

STOPPING = "statusthing.stopping"
"""The key, in the state that the lifespan shares, of an `asyncio.Event`.

`statusthing.server` sets it when it is to stop. Answers that go on until their client has enough
should end then.
"""

WHOLE = "statusthing.whole"
"""A key in a message with a part of a request: true if no more of it will come.

`statusthing.server` sets it if it says later that the request has ended, because the client has to
take the answers to earlier ones first.
"""

correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")
"""Tells the request that is being answered apart, in the log and in the audit trail."""


def mounted_path(scope: Scope) -> str:
    """Return the path of a request without the prefix under which the application is mounted."""
    path: str = scope["path"]
    root_path = scope.get("root_path", "")
    return path.removeprefix(root_path) if path.startswith(f"{root_path}/") else path
