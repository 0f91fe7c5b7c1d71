"""Who is asking, found out from an ASGI scope."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Awaitable, Callable

from statusthing.access import ANONYMOUS, Principal, Role
from statusthing.asgi import Scope
from statusthing.errors import Unauthenticated

Identify = Callable[[Scope], Awaitable[Principal | None]]
"""Returns the principal of a request, or None for anonymous; called before the body is read."""

LOOPBACK_EDITOR = Principal(name="loopback", role=Role.EDITOR)
"""Whoever sits at this machine."""

_AUTHORITY = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|([0-9A-Za-z.-]+))(?::[0-9]{0,5})?")
_FORWARDED = (b"forwarded", b"x-forwarded-")


async def loopback_identity(scope: Scope) -> Principal | None:
    """Treat a POST from this machine as an editor's, and every other request as anonymous.

    A GET stays anonymous so that its answer may be cached.

    The address of the peer and the name in `Host` must both be loopback: the first keeps out the
    network, the second keeps out web pages that had their own name resolve to this machine (DNS
    rebinding). A request that a proxy forwarded counts as remote.

    Raises:
        Unauthenticated: the request has credentials, and this rule issues none.
    """
    hosts = []
    forwarded = False
    for name, value in scope["headers"]:
        if name == b"authorization":
            raise Unauthenticated("these credentials are not known here")
        if name == b"host":
            hosts.append(value)
        forwarded |= name.startswith(_FORWARDED)
    peer = scope.get("client")
    local = (
        scope["method"] == "POST"
        and not forwarded
        and peer is not None
        and is_loopback(peer[0])
        and len(hosts) == 1
        and is_loopback(_without_port(hosts[0]))
    )
    return LOOPBACK_EDITOR if local else ANONYMOUS


@functools.lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """Return whether a host name or address means this machine and nothing else."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _without_port(authority: bytes) -> str:
    match = _AUTHORITY.fullmatch(authority)
    return "" if match is None else (match[1] or match[2]).decode("ascii")
