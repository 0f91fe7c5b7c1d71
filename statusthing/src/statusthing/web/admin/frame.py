"""What every page of the admin UI has around it: where one can go, and what was just done."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from statusthing.access import permitted
from statusthing.web.accounts import own_path, see_other
from statusthing.web.site import Site
from statusthing.web.urls import prefix_of


class Tab(NamedTuple):
    """A place in the navigation.

    Attributes:
        name: of the route.
        label: what it is called.
        operation: is what one has to be permitted to see it.
    """

    name: str
    label: str
    operation: str


TABS = (
    Tab("admin", "Items", "ViewAdmin"),
    Tab("statuses", "Statuses", "ViewAdmin"),
    Tab("users", "Users", "ListUsers"),
    Tab("tokens", "Tokens", "ListTokens"),
    Tab("settings", "Settings", "UpdateSettings"),
    Tab("changes", "Changes", "ListAuditEntries"),
    Tab("profile", "Profile", "ListSessions"),
)

DONE: Mapping[str, str] = MappingProxyType(
    {
        "item-added": "The item was added.",
        "item-saved": "The item was saved.",
        "item-deleted": "The item was deleted.",
        "item-moved": "The item was moved.",
        "item-stayed": "The item was not moved: the list has changed meanwhile.",
        "update-posted": "The update was posted.",
        "note-saved": "The note was saved.",
        "note-deleted": "The note was deleted.",
        "status-added": "The status was added.",
        "status-saved": "The status was saved.",
        "status-deleted": "The status was deleted.",
        "user-added": "The user was added.",
        "user-saved": "The user was saved.",
        "user-deleted": "The user was deleted, with their tokens and sessions.",
        "token-revoked": "The token was revoked: it does not work any more.",
        "password-changed": "The password was changed. All other sessions have ended.",
        "session-ended": "That browser was signed out.",
        "sessions-ended": "You are signed out everywhere else.",
        "settings-saved": "The settings were saved. The public page has them already.",
    }
)
"""What a page may say was done, by the code in its address: nobody can put other words there."""


def page(
    site: Site, request: Request, template: str, /, *, tab: str, status: int = 200, **context: Any
) -> Response:
    """Return a page of the admin UI.

    Args:
        site: has the templates.
        request: what it answers.
        template: extends `admin/layout.html`.
        tab: the name of the one of `TABS` that it belongs to.
        status: of HTTP.
        context: what else the template uses; all may use `may`, a function from an operation to
            whether the one who asks is permitted to carry it out.
    """
    principal, access = request.state.principal, site.st.access

    def may(operation: str) -> bool:
        return permitted(principal, operation, access)

    return site.page(
        request,
        template,
        status=status,
        tabs=[each for each in TABS if may(each.operation)],
        tab=tab,
        signs_out=bool(principal.session_id),
        done=DONE.get(request.query_params.get("done", ""), ""),
        may=may,
        **context,
    )


def done(
    site: Site,
    request: Request,
    code: str,
    /,
    *,
    to: str,
    back: str = "",
    fragment: str = "",
    **parameters: str,
) -> Response:
    """Go on to a page, which then says what was done.

    Args:
        site: has the URLs.
        request: what this answers.
        code: one of `DONE`.
        to: the name of the page's route.
        back: a path and query of this site, from a form; it wins over `to`, unless it leads
            elsewhere.
        fragment: the id of the element to show.
        parameters: those of the route.
    """
    path, _, query = own_path(back, prefix_of(request.scope)).partition("?")
    path = path or site.url(request)(to, None, **parameters)
    kept = [pair for pair in parse_qsl(query) if pair[0] != "done"]
    after = f"#{quote(fragment)}" if fragment else ""
    return see_other(f"{path}?{urlencode([*kept, ('done', code)])}{after}")
