"""Every address that a browser or a probe may ask for, in one table.

To add a page: a row here, a handler `async def handler(site, request) -> Response`, and a template
that extends `layout.html`. Handlers and templates write URLs by the name of a row, see
`statusthing.web.urls`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from statusthing.access import ANONYMOUS, Principal, permitted, require
from statusthing.asgi import ASGIApp, Receive, Scope, Send
from statusthing.web import accounts, events, files, probes, public
from statusthing.web.admin import (
    changes,
    items,
    notes,
    profile,
    settings,
    statuses,
    tokens,
    users,
)
from statusthing.web.failures import Missing, WrongMethod, failed, wants_html
from statusthing.web.site import Site

Handler = Callable[[Site, Request], Awaitable[Response]]

_READ = ("GET", "HEAD")
_POST = ("POST",)


class Row(NamedTuple):
    """One address.

    Attributes:
        name: what URLs are built by.
        path: below the prefix, with parameters as `{name}`.
        methods: of HTTP.
        handler: answers.
        operation: whose row in `statusthing.access.PERMISSIONS` guards it.
        known: whether it is of interest who asks, even if anybody may.
    """

    name: str
    path: str
    methods: tuple[str, ...]
    handler: Handler
    operation: str
    known: bool = True


ROUTES = (
    Row("front", "/", _READ, public.front, "ViewPage", known=False),
    Row("item", "/items/{id}", _READ, public.item, "ViewPage", known=False),
    Row("status", "/status.json", _READ, public.status, "ViewPage", known=False),
    Row("events", "/events", _READ, events.events, "ViewPage", known=False),
    Row("palette", "/palette.css", _READ, files.palette, "GetAsset", known=False),
    Row("asset", "/static/{name}", _READ, files.asset, "GetAsset", known=False),
    Row("reloads", "/devmode/reloads", _READ, events.reloads, "GetAsset", known=False),
    Row("healthz", "/healthz", _READ, probes.healthz, "CheckHealth", known=False),
    Row("readyz", "/readyz", _READ, probes.readyz, "CheckHealth", known=False),
    Row("admin", "/admin", _READ, items.listing, "ViewAdmin"),
    Row("sign_in_page", "/admin/login", _READ, accounts.sign_in_page, "SignIn"),
    Row("sign_in", "/admin/login", _POST, accounts.sign_in, "SignIn"),
    Row("sign_out", "/admin/logout", _POST, accounts.sign_out, "SignOut"),
    Row("new_item", "/admin/items/new", _READ, items.new, "AddItem"),
    Row("add_item", "/admin/items/new", _POST, items.add, "AddItem"),
    Row("edit_item", "/admin/items/{id}/edit", _READ, items.edit, "UpdateItem"),
    Row("save_item", "/admin/items/{id}/edit", _POST, items.save, "UpdateItem"),
    Row("ask_item", "/admin/items/{id}/delete", _READ, items.ask_delete, "DeleteItem"),
    Row("delete_item", "/admin/items/{id}/delete", _POST, items.delete, "DeleteItem"),
    Row("new_update", "/admin/items/{id}/update", _READ, items.new_update, "PostUpdate"),
    Row("post_update", "/admin/items/{id}/update", _POST, items.post_update, "PostUpdate"),
    Row("move_item", "/admin/items/{id}/move", _POST, items.move, "MoveItem"),
    Row("notes", "/admin/items/{id}/notes", _READ, notes.listing, "ViewAdmin"),
    Row("edit_note", "/admin/notes/{id}/edit", _READ, notes.edit, "UpdateNote"),
    Row("save_note", "/admin/notes/{id}/edit", _POST, notes.save, "UpdateNote"),
    Row("ask_note", "/admin/notes/{id}/delete", _READ, notes.ask_delete, "DeleteNote"),
    Row("delete_note", "/admin/notes/{id}/delete", _POST, notes.delete, "DeleteNote"),
    Row("changes", "/admin/changes", _READ, changes.listing, "ListAuditEntries"),
    Row("statuses", "/admin/statuses", _READ, statuses.listing, "ViewAdmin"),
    Row("new_status", "/admin/statuses/new", _READ, statuses.new, "AddStatus"),
    Row("add_status", "/admin/statuses/new", _POST, statuses.add, "AddStatus"),
    Row("edit_status", "/admin/statuses/{id}/edit", _READ, statuses.edit, "UpdateStatus"),
    Row("save_status", "/admin/statuses/{id}/edit", _POST, statuses.save, "UpdateStatus"),
    Row("ask_status", "/admin/statuses/{id}/delete", _READ, statuses.ask_delete, "DeleteStatus"),
    Row("delete_status", "/admin/statuses/{id}/delete", _POST, statuses.delete, "DeleteStatus"),
    Row("users", "/admin/users", _READ, users.listing, "ListUsers"),
    Row("new_user", "/admin/users/new", _READ, users.new, "AddUser"),
    Row("add_user", "/admin/users/new", _POST, users.add, "AddUser"),
    Row("edit_user", "/admin/users/{id}/edit", _READ, users.edit, "UpdateUser"),
    Row("save_user", "/admin/users/{id}/edit", _POST, users.save, "UpdateUser"),
    Row("ask_user", "/admin/users/{id}/delete", _READ, users.ask_delete, "DeleteUser"),
    Row("delete_user", "/admin/users/{id}/delete", _POST, users.delete, "DeleteUser"),
    Row("tokens", "/admin/tokens", _READ, tokens.listing, "ListTokens"),
    Row("new_token", "/admin/tokens/new", _READ, tokens.new, "AddToken"),
    Row("add_token", "/admin/tokens/new", _POST, tokens.add, "AddToken"),
    Row("ask_token", "/admin/tokens/{id}/revoke", _READ, tokens.ask_revoke, "RevokeToken"),
    Row("revoke_token", "/admin/tokens/{id}/revoke", _POST, tokens.revoke, "RevokeToken"),
    Row("settings", "/admin/settings", _READ, settings.edit, "UpdateSettings"),
    Row("save_settings", "/admin/settings", _POST, settings.save, "UpdateSettings"),
    Row("profile", "/admin/profile", _READ, profile.show, "ListSessions"),
    Row("change_password", "/admin/profile", _POST, profile.change_password, "ChangePassword"),
    Row("end_session", "/admin/profile/sessions", _POST, profile.end_session, "EndSession"),
    Row("end_others", "/admin/profile/others", _POST, profile.end_others, "EndSession"),
    Row("setup_page", "/setup", _READ, accounts.setup_page, "SetUp"),
    Row("set_up", "/setup", _POST, accounts.set_up, "SetUp"),
)

_OPEN = frozenset({"CheckHealth", "GetAsset"})
"""What is there whoever asks."""

_OWN_LOGIN = frozenset({"SignIn", "SignOut", "SetUp"})
"""What is there only as long as people sign in here, and not at the host."""

PATHS = {row.name: row.path for row in ROUTES}


def routes(site: Site) -> list[Route]:
    """Return the routes of a site: one for each path, whatever its methods."""
    by_path: dict[str, dict[str, Row]] = {}
    for row in ROUTES:
        by_path.setdefault(row.path, {}).update(dict.fromkeys(row.methods, row))
    return [Route(path, _Address(site, rows)) for path, rows in by_path.items()]


class _Address:
    """Answers the requests for one path.

    Args:
        site: whose.
        rows: what answers, by method.

    Attributes:
        rows: as given.
    """

    def __init__(self, site: Site, rows: Mapping[str, Row]) -> None:
        self.rows = rows
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        answer = await self._answer(request)
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        row = self.rows.get(request.method)
        if row is None:
            return failed(self._site, request, WrongMethod(self.rows))
        try:
            request.state.principal = await _admitted(self._site, row, request)
            if row.known:
                await self._site.look()
            return await row.handler(self._site, request)
        except Exception as error:  # noqa: BLE001 - each becomes a page
            return failed(self._site, request, error)


async def _admitted(site: Site, row: Row, request: Request) -> Principal:
    """Return who asks, if they may, before the body is read.

    What everybody may see does not depend on whether the store can tell whose session it is. Who
    shows a token there wants to know if it is not valid.
    """
    access = site.st.access
    if row.operation in _OWN_LOGIN and not site.callers.has_sessions:
        raise Missing
    if not row.known and permitted(ANONYMOUS, row.operation, access):
        has_token = request.headers.get("authorization", "").lower().startswith("bearer ")
        if row.operation in _OPEN or not has_token:
            return ANONYMOUS
    principal = await site.callers.of_page(request.scope)
    require(principal, row.operation, access)
    return principal


def or_missing(site: Site, otherwise: ASGIApp) -> ASGIApp:
    """Return what answers where there is no route.

    Args:
        site: whose page about it a browser gets.
        otherwise: answers everybody else.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in _READ and wants_html(scope):
            response: Any = failed(site, Request(scope), Missing())
            await response(scope, receive, send)
        else:
            await otherwise(scope, receive, send)

    return answer
