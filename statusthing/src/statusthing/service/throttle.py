"""Slowing down those who guess passwords. Only failures count, and they count in all processes.

Nobody is locked out of their account by others: what is refused is an address, alone or together
with an account. An account that is tried from many addresses only answers later.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

import msgspec

from statusthing.access import Origin
from statusthing.errors import TooManyAttempts
from statusthing.model import FailedSignIn, Throttle
from statusthing.store import Query, Range, Transaction

WINDOW = timedelta(minutes=15)
"""How long failures count, from the first one on."""

FAILURES: Mapping[str, int] = MappingProxyType({"account and address": 10, "address": 100})
"""How many failures within WINDOW there may be, for each scope that is refused."""

UNHURRIED = 10
"""After how many failures within WINDOW, from any address, an account answers later."""

LATEST_SECONDS = 5.0
"""The most that it answers later; a tenth of a second for the first failure too many."""

KEPT_FOR = timedelta(days=30)
"""How long a failed attempt can be looked up."""

MOST_KEPT = 10_000
"""How many of them are kept; the oldest ones make room."""

_SWEEP = 100
_IPV6_PREFIX = 64  # what one subscriber has


def network(address: str) -> str:
    """Return what counts as one address: an IPv4 address, or the /64 network of an IPv6 one."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((int(ip), _IPV6_PREFIX), strict=False))
    return str(ip)


def _scopes(account: str, address: str) -> Iterator[tuple[str, str]]:
    """Return each scope that an attempt counts in, and the id of its record."""
    account, address = account.casefold(), network(address)
    for scope, parts in (
        ("account and address", (account, address)),
        ("address", (address,)),
        ("account", (account,)),
    ):
        key = repr((scope, *parts)).encode("utf-8", "backslashreplace")
        yield scope, hashlib.sha256(key).hexdigest()


def check(tx: Transaction, account: str, address: str, now: datetime) -> float:
    """Return how many seconds to wait before an attempt is looked at.

    Args:
        tx: a transaction.
        account: what names the account, whether there is one or not.
        address: from where the attempt comes.
        now: the present.

    Raises:
        TooManyAttempts: it is not looked at.
    """
    ids = dict(_scopes(account, address))
    found = {
        throttle.id: throttle
        for throttle in tx.find(Query(Throttle, {"id": frozenset(ids.values())}))
        if throttle.expires > now
    }
    for scope, most in FAILURES.items():
        throttle = found.get(ids[scope])
        if throttle is not None and throttle.failures >= most:
            raise TooManyAttempts(-(-(throttle.expires - now) // timedelta(seconds=1)))
    of_account = found.get(ids["account"])
    more = (0 if of_account is None else of_account.failures) - UNHURRIED
    return min(0.1 * 2 ** min(more, 10), LATEST_SECONDS) if more >= 0 else 0.0


def count_failure(tx: Transaction, account: str, address: str, now: datetime) -> None:
    """Count a failure."""
    for _, id in _scopes(account, address):
        before = next(iter(tx.find(Query(Throttle, {"id": id}))), None)
        if before is not None and before.expires > now:
            more = msgspec.structs.replace(
                before, failures=before.failures + 1, updated=tx.now, version=before.version + 1
            )
            tx.replace(more, expect=before.version)
            continue
        if before is not None:
            tx.remove(Throttle, id)
        tx.add(Throttle(id=id, created=tx.now, updated=tx.now, failures=1, expires=now + WINDOW))
    tx.remove_where(Query(Throttle, {"expires": Range(lt=now)}), limit=_SWEEP)


def keep_failure(tx: Transaction, id: str, username: str, origin: Origin, now: datetime) -> None:
    """Keep a failed attempt, for those who look for them."""
    tx.add(
        FailedSignIn(
            id=id,
            created=tx.now,
            updated=tx.now,
            username=username,
            address=origin.address,
            correlation_id=origin.correlation_id,
            expires=now + KEPT_FOR,
        )
    )
    tx.remove_where(Query(FailedSignIn, {"expires": Range(lt=now)}), limit=_SWEEP)
    too_many = tx.count(Query(FailedSignIn)) - MOST_KEPT
    if too_many > 0:
        tx.remove_where(Query(FailedSignIn), limit=too_many)
