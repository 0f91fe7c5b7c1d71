"""What callers prove with who they are: secrets, and what the store says of them now.

Secrets are random and long, so a plain SHA-256 is as good as a slow hash, and one look-up finds
them. Only that digest is ever stored.
"""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib
from datetime import datetime, timedelta

from statusthing.access import Principal, Role
from statusthing.errors import NotFound, Unauthenticated
from statusthing.model import Session, Token, User
from statusthing.store import Query, Transaction

TOKEN_PREFIX = "st_"  # noqa: S105 - what secrets begin with is none

IDLE = timedelta(hours=12)
"""After how long without a request a session ends."""

LONGEST = timedelta(days=7)
"""After how long a session ends in any case."""

_BYTES = 32
_DIGITS = string.digits + string.ascii_letters
_SECRET_DIGITS, _CHECK_DIGITS = 43, 6  # what 256 and 32 bits take

_UNKNOWN = "these credentials are not valid, or not any more"


def new_secret() -> str:
    """Return 256 random bits, for a cookie."""
    return secrets.token_urlsafe(_BYTES)


def new_token_secret() -> str:
    """Return the secret of a token.

    It begins with TOKEN_PREFIX, so that scanners of source code find it, and ends with a checksum,
    so that a mistyped one is no question to the store.
    """
    body = _written(int.from_bytes(secrets.token_bytes(_BYTES)), _SECRET_DIGITS)
    return f"{TOKEN_PREFIX}{body}{_checksum(body)}"


def is_token_secret(text: str) -> bool:
    """Return whether a text can be the secret of a token."""
    body = text[len(TOKEN_PREFIX) : -_CHECK_DIGITS]
    return (
        text.startswith(TOKEN_PREFIX)
        and text.isascii()
        and len(body) == _SECRET_DIGITS
        and text.endswith(_checksum(body))
    )


def digest(secret: str) -> str:
    """Return what is stored of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "backslashreplace")).hexdigest()


def _checksum(body: str) -> str:
    return _written(zlib.crc32(body.encode()), _CHECK_DIGITS)


def _written(number: int, digits: int) -> str:
    found = []
    for _ in range(digits):
        number, digit = divmod(number, len(_DIGITS))
        found.append(_DIGITS[digit])
    return "".join(reversed(found))


def of_token(tx: Transaction, token: Token, now: datetime, *, devmode: bool) -> Principal:
    """Return whom a token stands for now.

    Raises:
        Unauthenticated: it has expired, or its owner may do nothing.
    """
    if token.expires is not None and token.expires <= now:
        raise Unauthenticated(_UNKNOWN)
    if token.user_id is None:
        return Principal(name=f"token {token.name}", role=token.role, token_id=token.id)
    owner = _enabled(tx, token.user_id, devmode=devmode)
    return Principal(
        name=f"{owner.username} with token {token.name}",
        role=min(token.role, owner.role),
        user_id=owner.id,
        token_id=token.id,
    )


def of_session(tx: Transaction, session: Session, now: datetime, *, devmode: bool) -> Principal:
    """Return whom a session belongs to.

    Raises:
        Unauthenticated: it is over, or its user may do nothing.
    """
    if session.expires <= now:
        raise Unauthenticated(_UNKNOWN)
    user = _enabled(tx, session.user_id, devmode=devmode)
    return Principal(name=user.username, role=user.role, user_id=user.id, session_id=session.id)


def found_token(tx: Transaction, secret: str) -> Token:
    """Return the token with a secret, or raise Unauthenticated."""
    for token in tx.find(Query(Token, {"digest": digest(secret)})):
        return token
    raise Unauthenticated(_UNKNOWN)


def found_session(tx: Transaction, id: str) -> Session:
    """Return a session, or raise Unauthenticated."""
    for session in tx.find(Query(Session, {"id": id})):
        return session
    raise Unauthenticated(_UNKNOWN)


def renewed(tx: Transaction, principal: Principal, now: datetime, *, devmode: bool) -> Principal:
    """Return the principal as the store knows them now, in the unit that they write in.

    Raises:
        Unauthenticated: their token or session is over, or their account may do nothing.
    """
    if principal.token_id:
        try:
            token = tx.get(Token, principal.token_id)
        except NotFound as error:
            raise Unauthenticated(_UNKNOWN) from error
        return of_token(tx, token, now, devmode=devmode)
    if principal.session_id:
        session = found_session(tx, principal.session_id)
        return of_session(tx, session, now, devmode=devmode)
    return principal


def _enabled(tx: Transaction, id: str, *, devmode: bool) -> User:
    try:
        user = tx.get(User, id)
    except NotFound as error:
        raise Unauthenticated(_UNKNOWN) from error
    if not may_sign_in(user, devmode=devmode):
        raise Unauthenticated(_UNKNOWN)
    return user


def may_sign_in(user: User, *, devmode: bool) -> bool:
    """Return whether a user may do anything at all: the account of a devmode may only in one."""
    return not user.disabled and (devmode or not user.development)


def has_admin(tx: Transaction, *, devmode: bool) -> bool:
    """Return whether there is an admin who may sign in: whether setup is done."""
    return any(
        may_sign_in(user, devmode=devmode)
        for user in tx.find(Query(User, {"role": Role.ADMIN, "disabled": False}))
    )
