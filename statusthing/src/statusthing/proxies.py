"""Who is at the other end, behind proxies that are trusted to say so.

A proxy is trusted by its address. What anybody else says in these headers is ignored.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from statusthing.asgi import Scope
from statusthing.errors import UserMistake

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SCHEMES = frozenset({"http", "https"})


def networks(given: Iterable[str]) -> Sequence[_Network]:
    """Return the networks of trusted proxies.

    Args:
        given: addresses, such as `10.0.0.7`, and networks, such as `10.0.0.0/8`.

    Raises:
        UserMistake: one of them is neither.
    """
    found = []
    for text in given:
        try:
            found.append(ipaddress.ip_network(text.strip()))
        except ValueError as error:
            msg = (
                f"a trusted proxy must be an address or a network, such as 10.0.0.7 or 10.0.0.0/8, "
                f"not {text!r}"
            )
            raise UserMistake(msg) from error
    return tuple(found)


class Proxies:
    """The proxies that are trusted.

    Args:
        trusted: see `networks`.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        self._networks = networks(trusted)
        self._is_trusted = lru_cache(maxsize=1024)(self._contains)

    def seen_through(self, scope: Scope) -> Scope:
        """Return a request as its first trusted proxy has received it.

        The client is the last address in `X-Forwarded-For` that is no trusted proxy's, the scheme
        and the host are those of `X-Forwarded-Proto` and `X-Forwarded-Host`.
        """
        client = scope.get("client")
        if not self._networks or not client or not self._is_trusted(client[0]):
            return scope
        said = _forwarded(scope)
        seen = dict(scope)
        for address in reversed(said[b"x-forwarded-for"]):
            if not _is_address(address):
                break
            seen["client"] = (address, 0)
            if not self._is_trusted(address):
                break
        for scheme in said[b"x-forwarded-proto"][-1:]:
            if scheme.lower() in _SCHEMES:
                seen["scheme"] = scheme.lower()
        for host in said[b"x-forwarded-host"][-1:]:
            seen["headers"] = [
                *(pair for pair in scope["headers"] if pair[0] != b"host"),
                (b"host", host.encode("latin-1")),
            ]
        return seen

    def _contains(self, address: str) -> bool:
        try:
            ip: Any = ipaddress.ip_address(address)
        except ValueError:
            return False
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return any(ip in network for network in self._networks)


def _forwarded(scope: Scope) -> dict[bytes, list[str]]:
    said: dict[bytes, list[str]] = {
        b"x-forwarded-for": [],
        b"x-forwarded-proto": [],
        b"x-forwarded-host": [],
    }
    for name, value in scope["headers"]:
        if name in said:
            said[name] += [each.strip() for each in value.decode("latin-1").split(",")]
    return said


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
