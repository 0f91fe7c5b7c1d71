"""The operations on users."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from statusthing.access import Principal, Role
from statusthing.errors import (
    InvalidArgument,
    LastAdmin,
    PermissionDenied,
    Unauthenticated,
    VersionConflict,
)
from statusthing.model import Session, Token, TokenUse, User, user_view
from statusthing.service import checks, pages, tokens
from statusthing.service.messages import (
    AccountView,
    AddUserRequest,
    AddUserResponse,
    ChangePasswordRequest,
    ChangePasswordResponse,
    DeleteUserRequest,
    DeleteUserResponse,
    GetAccountsRequest,
    GetAccountsResponse,
    GetUserRequest,
    GetUserResponse,
    ListUsersRequest,
    ListUsersResponse,
    UpdateUserRequest,
    UpdateUserResponse,
    WhoAmIRequest,
    WhoAmIResponse,
)
from statusthing.service.passwords import password
from statusthing.service.unit import Unit, existing, given
from statusthing.store import Query, Transaction

MOST_SESSIONS = 1_000
"""How many sessions a user may have; when they sign in once more, the oldest one ends."""

_CHECKS: Mapping[str, Callable[[str, Any], Any]] = MappingProxyType(
    {
        "username": checks.name,
        "first_name": checks.line,
        "last_name": checks.line,
        "email_address": checks.email,
        "avatar_url": checks.web_url,
        "role": checks.role,
    }
)


def get_user(request: GetUserRequest) -> Callable[[Transaction], GetUserResponse]:
    """Return a user."""
    id = checks.required_id("user_id", request.user_id)

    def work(tx: Transaction) -> GetUserResponse:
        return GetUserResponse(user=user_view(existing(tx, User, id)))

    return work


def list_users(request: ListUsersRequest) -> Callable[[Transaction], ListUsersResponse]:
    """Return the users, in the order they were added."""
    page = pages.page_request(request)

    def work(tx: Transaction) -> ListUsersResponse:
        found, token = pages.find_page(tx, User, {}, page)
        return ListUsersResponse(
            users=tuple(user_view(user) for user in found), next_page_token=token
        )

    return work


def get_accounts(request: GetAccountsRequest) -> Callable[[Transaction], GetAccountsResponse]:
    """Return accounts in short: one query."""
    ids = checks.possible_ids("user_ids", request.user_ids)

    def work(tx: Transaction) -> GetAccountsResponse:
        return GetAccountsResponse(
            accounts={
                user.id: AccountView(
                    username=user.username, disabled=user.disabled, development=user.development
                )
                for user in tx.find(Query(User, {"id": ids}))
            }
        )

    return work


def who_am_i(_: WhoAmIRequest, principal: Principal) -> Callable[[Transaction], WhoAmIResponse]:
    """Return whom the caller is taken for."""

    def work(tx: Transaction) -> WhoAmIResponse:
        users = tx.find(Query(User, {"id": principal.user_id})) if principal.user_id else ()
        shown = tx.find(Query(Token, {"id": principal.token_id})) if principal.token_id else ()
        return WhoAmIResponse(
            name=principal.name,
            role=principal.role,
            user=next((user_view(user) for user in users), None),
            token=next(iter(tokens.views(tx, shown)), None),
        )

    return work


def add_user(request: AddUserRequest) -> Callable[[Unit], AddUserResponse]:
    """Add a user."""
    fields = {field: check(field, getattr(request, field)) for field, check in _CHECKS.items()}
    password("password", request.password, request.username)

    def work(unit: Unit) -> AddUserResponse:
        _check_not_above(unit, fields["role"])
        user = unit.create(User, password_hash=unit.password_hash, **fields)
        return AddUserResponse(user=user_view(user))

    return work


def update_user(request: UpdateUserRequest) -> Callable[[Unit], UpdateUserResponse]:
    """Change the fields that are given, or exactly those that the mask names."""
    id = checks.required_id("user_id", request.user_id)
    fields: dict[str, Any] = given(request, (*_CHECKS, "password", "disabled"))
    fields = {
        field: _CHECKS[field](field, value) if field in _CHECKS else value
        for field, value in fields.items()
    }
    if "disabled" in fields and not isinstance(fields["disabled"], bool):
        raise InvalidArgument("disabled", "must be true or false")
    has_password = fields.pop("password", None) is not None
    if has_password:
        password("password", request.password)

    def work(unit: Unit) -> UpdateUserResponse:
        before = unit.current(User, id, request.expected_version)
        if has_password:
            password("password", request.password, fields.get("username", before.username))
            fields["password_hash"] = unit.password_hash
        _check_not_above(unit, fields.get("role", Role.ANYBODY))
        if before.id == unit.principal.user_id and fields.get("role", before.role) > before.role:
            raise PermissionDenied("nobody raises their own role")
        after = msgspec.structs.replace(before, **fields)
        if _is_admin(before) and not _is_admin(after):
            _check_another_admin(unit, before)
        unit.change(before, after)
        if has_password or after.role is not before.role or after.disabled:
            end_sessions(unit, id)
        return UpdateUserResponse()

    return work


def delete_user(request: DeleteUserRequest) -> Callable[[Unit], DeleteUserResponse]:
    """Remove a user, with their tokens and their sessions."""
    id = checks.required_id("user_id", request.user_id)

    def work(unit: Unit) -> DeleteUserResponse:
        user = unit.current(User, id, request.expected_version)
        if _is_admin(user):
            _check_another_admin(unit, user)
        remove_user(unit, user)
        return DeleteUserResponse()

    return work


def change_password(request: ChangePasswordRequest) -> Callable[[Unit], ChangePasswordResponse]:
    """Change the caller's own password, which ends all of their sessions."""
    if not request.current_password:
        raise InvalidArgument("current_password", "is required")
    password("new_password", request.new_password)

    def work(unit: Unit) -> ChangePasswordResponse:
        before = own_account(unit.tx, unit.principal)
        password("new_password", request.new_password, before.username)
        if before.password_hash != unit.proven_hash:
            raise VersionConflict("User", before.id, expected=0, actual=before.version)
        unit.change(before, msgspec.structs.replace(before, password_hash=unit.password_hash))
        end_sessions(unit, before.id)
        return ChangePasswordResponse()

    return work


def sets_password(request: AddUserRequest | UpdateUserRequest) -> bool:
    """Return whether a request sets a password, which a mask can keep it from."""
    paths = request.update_mask if isinstance(request, UpdateUserRequest) else ()
    return bool(request.password) and (not paths or "password" in paths)


def own_account(tx: Transaction, principal: Principal) -> User:
    """Return the account of a principal.

    Raises:
        PermissionDenied: they have none in the store.
    """
    if not principal.user_id:
        msg = f"{principal.name} has no account here, and no password"
        raise PermissionDenied(msg)
    for user in tx.find(Query(User, {"id": principal.user_id})):
        return user
    raise Unauthenticated("this account does not exist any more")


def remove_user(unit: Unit, user: User) -> None:
    """Remove a user, with their tokens and their sessions."""
    tokens = unit.tx.find(Query(Token, {"user_id": user.id}))
    for token in tokens:
        unit.remove(token)
    if ids := frozenset(token.id for token in tokens):
        unit.tx.remove_where(Query(TokenUse, {"id": ids}), limit=len(ids))
    end_sessions(unit, user.id)
    unit.remove(user)


def end_sessions(unit: Unit, user_id: str) -> None:
    """End all sessions of a user."""
    unit.tx.remove_where(Query(Session, {"user_id": user_id}), limit=MOST_SESSIONS)


def _is_admin(user: User) -> bool:
    return user.role is Role.ADMIN and not user.disabled and not user.development


def _check_another_admin(unit: Unit, user: User) -> None:
    others = unit.tx.find(Query(User, {"role": Role.ADMIN, "disabled": False}))
    if not any(_is_admin(other) and other.id != user.id for other in others):
        raise LastAdmin(user.username)


def _check_not_above(unit: Unit, role: Role) -> None:
    if role > unit.principal.role:
        msg = f"{unit.principal.name} may not give a role above their own"
        raise PermissionDenied(msg)
