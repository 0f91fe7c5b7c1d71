"""Who is asking, found out from an ASGI scope, before a body is read."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from statusthing.access import ANONYMOUS, Origin, Principal
from statusthing.asgi import Scope, correlation_id
from statusthing.errors import PermissionDenied, Unauthenticated
from statusthing.service.accounts import Accounts
from statusthing.service.credentials import TOKEN_PREFIX

Identify = Callable[[Scope], Awaitable[Principal | None]]
"""The login of a host program: returns the principal of a request, or None for anonymous.

It is called once for a request, before the body is read; for what everybody may see, it is not
called. What it raises is an internal error, and never an anonymous caller.
"""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_SAME_SITE = frozenset({"same-origin", "none"})
_HIDDEN = "__Host-"


class Callers:
    """Finds out who is asking.

    Args:
        accounts: whom credentials belong to.
        ready: is awaited before they are asked.
        identify: the host's own login, in place of sessions.
        cookie_name: of sessions; over TLS with `__Host-` before it.
        origins: those whose pages may make every call that their visitors may.
    """

    def __init__(
        self,
        accounts: Accounts,
        ready: Callable[[], Awaitable[None]],
        identify: Identify | None,
        cookie_name: str,
        origins: frozenset[str],
    ) -> None:
        self._accounts = accounts
        self._ready = ready
        self._identify = identify
        self._cookie_name = cookie_name
        self._origins = origins

    @property
    def has_sessions(self) -> bool:
        """Whether people sign in here, and not at the host."""
        return self._identify is None

    async def of_call(self, scope: Scope) -> Principal:
        """Return the principal of an RPC. Only `Authorization`, or the host's login, counts.

        Raises:
            Unauthenticated: there are credentials, and they are not valid.
            PermissionDenied: a page of another site had a browser send the host's cookies.
        """
        return await self._by_header(scope) or await self._by_host(scope) or ANONYMOUS

    async def of_page(self, scope: Scope) -> Principal:
        """Return the principal of a request of a page: a session counts too.

        A cookie of a session that is over counts as none.

        Raises:
            Unauthenticated: there are credentials in a header, and they are not valid.
            PermissionDenied: a page of another site had a browser send this.
        """
        check_same_origin(scope)
        principal = await self._by_header(scope) or await self._by_host(scope)
        if principal is None and self.has_sessions and (secret := self.session_secret(scope)):
            await self._ready()
            try:
                principal = await self._accounts.by_session(secret)
            except Unauthenticated:
                principal = None
        return principal or ANONYMOUS

    async def _by_header(self, scope: Scope) -> Principal | None:
        given = _header(scope, b"authorization")
        if given is None:
            return None
        scheme, _, secret = given.partition(" ")
        if scheme.lower() == "bearer" and (
            self.has_sessions or secret.strip().startswith(TOKEN_PREFIX)
        ):
            await self._ready()
            return await self._accounts.by_token(secret.strip())
        if self.has_sessions:
            raise Unauthenticated("credentials have to be `Bearer` and a token")
        return None  # the host's own

    async def _by_host(self, scope: Scope) -> Principal | None:
        if self._identify is None:
            return None
        principal = await self._identify(scope)
        if principal is not None and _header(scope, b"origin") not in self._origins:
            check_same_origin(scope)
        return principal

    def session_secret(self, scope: Scope) -> str:
        """Return the secret in the cookie of a session; empty without one."""
        return _cookies(scope).get(self.cookie_name(scope), "")

    def cookie_name(self, scope: Scope) -> str:
        """Return how the cookie of a session is called.

        Over TLS browsers see to it that none but this host sets `__Host-` cookies:
        https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Set-Cookie#cookie_prefixes
        """
        return (_HIDDEN if scope.get("scheme") == "https" else "") + self._cookie_name


def origin_of(scope: Scope) -> Origin:
    """Return where a request came from."""
    client = scope.get("client")
    return Origin(address=client[0] if client else "", correlation_id=correlation_id.get())


def check_same_origin(scope: Scope) -> None:
    """Refuse what a page of another site may have had a browser send with its cookies.

    Browsers say where an unsafe request comes from: all of today's in `Sec-Fetch-Site`, older ones
    in `Origin`. One with a cookie that says neither is refused too.

    Raises:
        PermissionDenied: it does not come from a page of this site.
    """
    if scope["method"] in SAFE_METHODS:
        return
    site, origin = _header(scope, b"sec-fetch-site"), _header(scope, b"origin")
    if site is not None:
        allowed = site in _SAME_SITE
    elif origin is not None:
        host = _header(scope, b"host")
        allowed = bool(host) and origin.partition("://")[2].lower() == (host or "").lower()
    else:
        allowed = _header(scope, b"cookie") is None
    if not allowed:
        raise PermissionDenied("this request does not come from a page of this site")


def is_loopback(host: str) -> bool:
    """Return whether a host name or address means this machine and nothing else."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def names_loopback(scope: Scope) -> bool:
    """Return whether a request asks for this machine by a name of no other machine.

    A page of another site can have its own name resolve to a loopback address, and is then of the
    same origin as what answers there: https://en.wikipedia.org/wiki/DNS_rebinding
    """
    try:
        return is_loopback(urlsplit(f"//{_header(scope, b'host') or ''}").hostname or "")
    except ValueError:
        return False


def _header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


def _cookies(scope: Scope) -> dict[str, str]:
    """Return the cookies of a request, of several with one name the first.

    Browsers send the most specific one first, https://www.rfc-editor.org/rfc/rfc6265#section-5.4.
    """
    found: dict[str, str] = {}
    for key, value in scope["headers"]:
        if key == b"cookie":
            for pair in value.decode("latin-1").split(";"):
                name, _, content = pair.strip().partition("=")
                found.setdefault(name, content)
    return found
