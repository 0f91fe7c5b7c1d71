"""The one table of operations.

An operation takes a request, checks everything that can be checked without the store, and returns
the unit of work that does the rest: over a `Transaction` where it only reads, over a `Unit` where
it writes. Its name is also its RPC's, and that of the row of `statusthing.access.PERMISSIONS` that
guards it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from statusthing.model import View
from statusthing.service import (
    audit,
    items,
    messages,
    notes,
    order,
    overview,
    settings,
    statuses,
    tokens,
    users,
)
from statusthing.service.messages import Request


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One row.

    Attributes:
        name: the RPC's name.
        service: the service that the RPC belongs to, without the package; empty for what is no RPC.
        request: the type of its request.
        response: the type of its response.
        prepare: the operation itself.
        writes: whether it may change anything.
        ids: how many fresh ids a unit of it may need.
        personal: whether `prepare` takes the principal too.
        passwords: whether its request may hold one, which is hashed before the unit.
        about_callers: whether it may change what a caller may do.
    """

    name: str
    service: str
    request: type[Request]
    response: type[View]
    prepare: Callable[..., Callable[[Any], View]]
    writes: bool
    ids: int = 0
    personal: bool = False
    passwords: bool = False
    about_callers: bool = False


def _row(
    service: str,
    name: str,
    prepare: Callable[..., Callable[[Any], View]],
    *,
    writes: bool = True,
    **more: Any,
) -> Operation:
    return Operation(
        name=name,
        service=service,
        request=getattr(messages, f"{name}Request"),
        response=getattr(messages, f"{name}Response"),
        prepare=prepare,
        writes=writes,
        **more,
    )


_ITEMS, _STATUSES, _NOTES = "ItemsService", "StatusService", "NotesService"
_USERS, _TOKENS, _AUDIT = "UsersService", "TokensService", "AuditService"

OPERATIONS: Mapping[type[Request], Operation] = MappingProxyType(
    {
        row.request: row
        for row in (
            _row(_ITEMS, "GetItem", items.get_item, writes=False),
            _row(_ITEMS, "ListItems", items.list_items, writes=False),
            _row(_ITEMS, "AddItem", items.add_item, ids=3),
            _row(_ITEMS, "UpdateItem", items.update_item),
            _row(_ITEMS, "DeleteItem", items.delete_item),
            _row(_STATUSES, "GetStatus", statuses.get_status, writes=False),
            _row(_STATUSES, "ListStatus", statuses.list_statuses, writes=False),
            _row(_STATUSES, "AddStatus", statuses.add_status, ids=1),
            _row(_STATUSES, "UpdateStatus", statuses.update_status),
            _row(_STATUSES, "DeleteStatus", statuses.delete_status),
            _row(_NOTES, "GetNote", notes.get_note, writes=False),
            _row(_NOTES, "ListNotes", notes.list_notes, writes=False),
            _row(_NOTES, "AddNote", notes.add_note, ids=1),
            _row(_NOTES, "UpdateNote", notes.update_note),
            _row(_NOTES, "DeleteNote", notes.delete_note),
            _row(_USERS, "GetUser", users.get_user, writes=False),
            _row(_USERS, "ListUsers", users.list_users, writes=False),
            _row(_USERS, "AddUser", users.add_user, ids=1, passwords=True),
            _row(_USERS, "UpdateUser", users.update_user, passwords=True, about_callers=True),
            _row(_USERS, "DeleteUser", users.delete_user, about_callers=True),
            _row(
                _USERS,
                "ChangePassword",
                users.change_password,
                passwords=True,
                about_callers=True,
            ),
            _row(_USERS, "WhoAmI", users.who_am_i, writes=False, personal=True),
            _row(_TOKENS, "ListTokens", tokens.list_tokens, writes=False),
            _row(_TOKENS, "AddToken", tokens.add_token, ids=1),
            _row(_TOKENS, "RevokeToken", tokens.revoke_token, about_callers=True),
            _row(_AUDIT, "ListAuditEntries", audit.list_entries, writes=False),
            _row("", "GetSettings", settings.get_settings, writes=False),
            _row("", "UpdateSettings", settings.update_settings),
            _row("", "GetOverview", overview.get_overview, writes=False),
            _row("", "CountNotes", overview.count_notes, writes=False),
            _row("", "GetNames", overview.get_names, writes=False),
            _row("", "GetAccounts", users.get_accounts, writes=False),
            _row("", "GetToken", tokens.get_token, writes=False),
            _row("", "PostUpdate", items.post_update, ids=1),
            _row("", "MoveItem", order.move_item),
            _row("", "ReplaceStatus", statuses.replace_status),
        )
    }
)
