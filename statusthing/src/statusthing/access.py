"""Who acts, and the one table of who may do what.

A principal is whoever an operation runs for. `rpc` and `web` find out who that is and ask the
table before they read a body; the service asks again in every operation and is the authority.
An operation without a row is refused to everybody.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from statusthing.errors import PermissionDenied, Unauthenticated


class Role(enum.IntEnum):
    """What a principal may do; each role includes the ones below it."""

    ANYBODY = 0
    VIEWER = 1
    EDITOR = 2
    ADMIN = 3


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Whom an operation runs for.

    Attributes:
        name: how the log names them; also the scope of their idempotency keys.
        role: what they may do.
    """

    name: str
    role: Role


ANONYMOUS = Principal(name="anonymous", role=Role.ANYBODY)
"""A caller who did not say who they are."""

TRUSTED = Principal(name="program", role=Role.ADMIN)
"""The embedding program itself."""


PERMISSIONS: Mapping[str, Role] = MappingProxyType(
    {
        "GetItem": Role.ANYBODY,
        "ListItems": Role.ANYBODY,
        "AddItem": Role.EDITOR,
        "UpdateItem": Role.EDITOR,
        "DeleteItem": Role.EDITOR,
        "GetStatus": Role.ANYBODY,
        "ListStatus": Role.ANYBODY,
        "AddStatus": Role.EDITOR,
        "UpdateStatus": Role.EDITOR,
        "DeleteStatus": Role.EDITOR,
        "GetNote": Role.ANYBODY,
        "ListNotes": Role.ANYBODY,
        "AddNote": Role.EDITOR,
        "UpdateNote": Role.EDITOR,
        "DeleteNote": Role.EDITOR,
    }
)


def require(principal: Principal, operation: str) -> None:
    """Let the principal pass, or refuse.

    Raises:
        Unauthenticated: the operation needs a role, and the caller is anonymous.
        PermissionDenied: the caller's role is too low.
    """
    needed = PERMISSIONS.get(operation)
    if needed is not None and principal.role >= needed:
        return
    if principal.role == Role.ANYBODY:
        msg = f"{operation} needs credentials"
        raise Unauthenticated(msg)
    msg = f"{principal.name} may not call {operation}"
    raise PermissionDenied(msg)
