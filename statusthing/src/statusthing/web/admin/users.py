"""The pages about users."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from statusthing.errors import InvalidArgument, RequestError
from statusthing.model import Role, UserView
from statusthing.service.messages import (
    AddUserRequest,
    DeleteUserRequest,
    GetAccountsRequest,
    GetUserRequest,
    ListTokensRequest,
    ListUsersRequest,
    UpdateUserRequest,
)
from statusthing.web.admin.editing import (
    REFUSALS,
    Form,
    asking,
    blank,
    editing,
    expected_version,
    refused,
)
from statusthing.web.admin.frame import done, page
from statusthing.web.forms import read_form
from statusthing.web.site import Site

ROLES: Mapping[str, str] = MappingProxyType(
    {
        "viewer": "Viewer: sees everything, changes nothing",
        "editor": "Editor: changes items, statuses and notes",
        "admin": "Admin: also manages users, tokens and settings",
    }
)
"""What a role may do, by how forms write it."""

PAGE_SIZE = 50

_TAB = "users"
_TEXTS = ("username", "first_name", "last_name", "email_address", "avatar_url")
_NAMED_TOKENS = 20


def role_named(name: str) -> Role:
    """Read a role as forms write it.

    Raises:
        InvalidArgument: there is no such role.
    """
    if name not in ROLES:
        raise InvalidArgument("role", "is none of those that there are: choose one")
    return Role[name.upper()]


async def listing(site: Site, request: Request) -> Response:
    """List the users."""
    after = request.query_params.get("after", "")
    found = await site.run(request, ListUsersRequest(page_size=PAGE_SIZE, page_token=after))
    ids = tuple(user.id for user in found.users)
    states = await site.run(request, GetAccountsRequest(user_ids=ids))
    return page(
        site,
        request,
        "admin/users/list.html",
        tab=_TAB,
        users=found.users,
        accounts=states.accounts,
        roles=ROLES,
        after=after,
        following=found.next_page_token,
        devmode=site.devmode,
        signs_in_here=site.callers.has_sessions,
    )


async def new(site: Site, request: Request) -> Response:
    """Show the form that adds a user."""
    return _new_page(site, request, blank(role="viewer"))


async def add(site: Site, request: Request) -> Response:
    """Add a user."""
    typed = await read_form(request)
    try:
        await site.run(
            request,
            AddUserRequest(
                **_texts(typed),
                role=role_named(typed.get("role", "")),
                password=typed.get("password", ""),
                request_id=typed.get("request_id", ""),
            ),
        )
    except REFUSALS as error:
        return _new_page(site, request, refused(typed, error))
    return done(site, request, "user-added", to=_TAB)


def _new_page(site: Site, request: Request, form: Form) -> Response:
    return page(
        site,
        request,
        "admin/users/new.html",
        tab=_TAB,
        status=form.status,
        form=form,
        roles=ROLES,
    )


async def edit(site: Site, request: Request) -> Response:
    """Show the form that edits a user."""
    return await _edit_page(site, request)


async def save(site: Site, request: Request) -> Response:
    """Save a user that was edited; the password only if there is a new one."""
    typed = await read_form(request)
    password = typed.get("password", "")
    try:
        await site.run(
            request,
            UpdateUserRequest(
                user_id=request.path_params["id"],
                **_texts(typed),
                role=role_named(typed.get("role", "")),
                disabled=typed.get("disabled") == "yes",
                password=password,
                update_mask=(*_TEXTS, "role", "disabled", *(["password"] if password else [])),
                expected_version=expected_version(typed),
            ),
        )
    except REFUSALS as error:
        return await _edit_page(site, request, typed, error)
    return done(site, request, "user-saved", to=_TAB)


async def _edit_page(
    site: Site,
    request: Request,
    typed: Mapping[str, str] | None = None,
    error: RequestError | None = None,
) -> Response:
    user = await _user(site, request)
    now = {
        **{field: getattr(user, field) for field in _TEXTS},
        "role": user.role.name.lower(),
        "disabled": "yes" if user.disabled else "",
    }
    form = editing(now, user.version, typed, error)
    return page(
        site,
        request,
        "admin/users/edit.html",
        tab=_TAB,
        status=form.status,
        form=form,
        user=user,
        roles=ROLES,
        names={**ROLES, "yes": "Yes"},
    )


async def ask_delete(site: Site, request: Request) -> Response:
    """Ask before a user is deleted, and say what goes along."""
    return await _delete_page(site, request)


async def delete(site: Site, request: Request) -> Response:
    """Delete a user, their tokens and their sessions."""
    typed = await read_form(request)
    try:
        await site.run(
            request,
            DeleteUserRequest(
                user_id=request.path_params["id"], expected_version=expected_version(typed)
            ),
        )
    except REFUSALS as error:
        return await _delete_page(site, request, typed, error)
    return done(site, request, "user-deleted", to=_TAB)


async def _delete_page(
    site: Site,
    request: Request,
    typed: Mapping[str, str] | None = None,
    error: RequestError | None = None,
) -> Response:
    user = await _user(site, request)
    tokens = await site.run(request, ListTokensRequest(user_id=user.id, page_size=_NAMED_TOKENS))
    form = asking(user.version, typed, error)
    return page(
        site,
        request,
        "admin/users/delete.html",
        tab=_TAB,
        status=form.status,
        form=form,
        user=user,
        tokens=[token.name for token in tokens],
        has_more=bool(tokens.next_page_token),
    )


async def _user(site: Site, request: Request) -> UserView:
    found = await site.run(request, GetUserRequest(user_id=request.path_params["id"]))
    user: UserView = found.user
    return user


def _texts(typed: Mapping[str, str]) -> dict[str, Any]:
    return {field: typed.get(field, "") for field in _TEXTS}
