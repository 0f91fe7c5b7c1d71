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
from statusthing.model import Role

__all__ = ["ANONYMOUS", "PERMISSIONS", "TRUSTED", "Access", "Origin", "Principal", "Role"]


class Access(enum.Enum):
    """Who may read items, statuses, notes and the pages that show them."""

    PUBLIC = "public"
    """Everybody."""

    PRIVATE = "private"
    """Those who are known, from the role of a viewer upwards."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Whom an operation runs for.

    Attributes:
        name: how the log names them.
        role: what they may do.
        user_id: the user it is; empty for everybody who has no account in the store.
        token_id: the token that they have shown; empty without one.
        session_id: the session that their browser has; empty without one.
    """

    name: str
    role: Role
    user_id: str = ""
    token_id: str = ""
    session_id: str = ""

    @property
    def key(self) -> str:
        """Tells principals apart, whatever they are renamed to."""
        return self.token_id or self.user_id or self.name


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request came from, for the log.

    Attributes:
        address: the IP address of the client; empty where nobody is at the other end.
        correlation_id: of the request, which the log of the server has too.
    """

    address: str = ""
    correlation_id: str = ""


HERE = Origin()
"""The origin of what this process does of its own accord."""

ANONYMOUS = Principal(name="anonymous", role=Role.ANYBODY)
"""A caller who did not say who they are."""

TRUSTED = Principal(name="program", role=Role.ADMIN)
"""The embedding program itself."""


def _row(public: Role, private: Role | None = None) -> Mapping[Access, Role]:
    return MappingProxyType({Access.PUBLIC: public, Access.PRIVATE: private or public})


_OPEN = _row(Role.ANYBODY)
_READ = _row(Role.ANYBODY, Role.VIEWER)
_KNOWN = _row(Role.VIEWER)
_EDIT = _row(Role.EDITOR)
_ADMIN = _row(Role.ADMIN)

PERMISSIONS: Mapping[str, Mapping[Access, Role]] = MappingProxyType(
    {
        "GetItem": _READ,
        "ListItems": _READ,
        "AddItem": _EDIT,
        "UpdateItem": _EDIT,
        "DeleteItem": _EDIT,
        "GetStatus": _READ,
        "ListStatus": _READ,
        "AddStatus": _EDIT,
        "UpdateStatus": _EDIT,
        "DeleteStatus": _EDIT,
        "GetNote": _READ,
        "ListNotes": _READ,
        "AddNote": _EDIT,
        "UpdateNote": _EDIT,
        "DeleteNote": _EDIT,
        "GetSettings": _READ,
        "UpdateSettings": _ADMIN,
        "WhoAmI": _KNOWN,
        "ChangePassword": _KNOWN,
        "GetUser": _ADMIN,
        "ListUsers": _ADMIN,
        "AddUser": _ADMIN,
        "UpdateUser": _ADMIN,
        "DeleteUser": _ADMIN,
        "ListTokens": _ADMIN,
        "AddToken": _ADMIN,
        "RevokeToken": _ADMIN,
        "ListAuditEntries": _ADMIN,
        # What only pages offer
        "CheckHealth": _OPEN,
        "GetAsset": _OPEN,
        "ViewPage": _READ,
        "SignIn": _OPEN,
        "SignOut": _OPEN,
        "SetUp": _OPEN,
        "ViewAdmin": _KNOWN,
        "GetOverview": _KNOWN,
        "CountNotes": _KNOWN,
        "GetNames": _ADMIN,
        "GetAccounts": _ADMIN,
        "GetToken": _ADMIN,
        "PostUpdate": _EDIT,
        "MoveItem": _EDIT,
        "ReplaceStatus": _EDIT,
        "ListSessions": _KNOWN,
        "EndSession": _KNOWN,
    }
)
"""Operation to the least role that may carry it out, for each `Access`."""


def permitted(principal: Principal, operation: str, access: Access = Access.PUBLIC) -> bool:
    """Return whether the principal may carry out the operation."""
    needed = PERMISSIONS.get(operation)
    return needed is not None and principal.role.rank >= needed[access].rank


def require(principal: Principal, operation: str, access: Access = Access.PUBLIC) -> None:
    """Let the principal pass, or refuse.

    Raises:
        Unauthenticated: the operation needs a role, and the caller is anonymous.
        PermissionDenied: the caller's role is too low.
    """
    if permitted(principal, operation, access):
        return
    if principal.role is Role.ANYBODY:
        msg = f"{operation} needs credentials"
        raise Unauthenticated(msg)
    msg = f"{principal.name} may not call {operation}"
    raise PermissionDenied(msg)
