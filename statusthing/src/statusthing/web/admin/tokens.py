"""The pages about tokens.

The secret of a token is in the answer to the form that adds it, and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import Response

from statusthing.errors import InvalidArgument
from statusthing.service.messages import (
    AddTokenRequest,
    GetAccountsRequest,
    GetTokenRequest,
    ListTokensRequest,
    RevokeTokenRequest,
)
from statusthing.web.admin.editing import REFUSALS, Form, asking, blank, refused
from statusthing.web.admin.frame import done, page
from statusthing.web.admin.users import PAGE_SIZE, ROLES, role_named
from statusthing.web.forms import read_form
from statusthing.web.site import Site
from statusthing.web.urls import prefix_of

LIVES: Mapping[str, str] = MappingProxyType(
    {"7": "In 7 days", "30": "In 30 days", "90": "In 90 days", "365": "In a year", "never": "Never"}
)
"""After how many days a token can end, by how forms write it."""

_TAB = "tokens"
_CONFLICT = 409
_AGAIN = (
    "This form was sent before, and its token was added then. Its secret was shown that time only: "
    "if you do not have it, revoke that token and add another one."
)
_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]+")


async def listing(site: Site, request: Request) -> Response:
    """List the tokens."""
    after = request.query_params.get("after", "")
    found = await site.run(request, ListTokensRequest(page_size=PAGE_SIZE, page_token=after))
    owners = tuple({token.user_id for token in found.tokens if token.user_id})
    accounts = await site.run(request, GetAccountsRequest(user_ids=owners))
    return page(
        site,
        request,
        "admin/tokens/list.html",
        tab=_TAB,
        tokens=found.tokens,
        owners=accounts.accounts,
        after=after,
        following=found.next_page_token,
        now=site.st.now(),
    )


async def new(site: Site, request: Request) -> Response:
    """Show the form that adds a token."""
    return _new_page(site, request, blank(role="editor", expires="90"))


async def add(site: Site, request: Request) -> Response:
    """Add a token, and show its secret this once."""
    typed = await read_form(request)
    try:
        added = await site.run(
            request,
            AddTokenRequest(
                name=typed.get("name", ""),
                role=role_named(typed.get("role", "")),
                expires=_end(site, typed.get("expires", "")),
                request_id=typed.get("request_id", ""),
            ),
        )
    except REFUSALS as error:
        form = refused(typed, error)
        # That it differs is no news: when the token is to end is reckoned anew each time.
        is_again = isinstance(error, InvalidArgument) and error.field == "request_id"
        return _new_page(site, request, _sent_again(form) if is_again else form)
    if not added.secret:
        return _new_page(site, request, _sent_again(blank(**typed)))
    return page(
        site,
        request,
        "admin/tokens/added.html",
        tab=_TAB,
        token=added.token,
        secret=added.secret,
        address=_address(request),
    )


def _sent_again(form: Form) -> Form:
    return form._replace(problems={"": _AGAIN}, status=_CONFLICT)


def _end(site: Site, lives: str) -> datetime | None:
    if lives not in LIVES:
        raise InvalidArgument("expires", "is none of those that there are: choose one")
    return None if lives == "never" else site.st.now() + timedelta(days=int(lives))


def _address(request: Request) -> str:
    """Return where a program finds the API, as far as this request can tell."""
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        host = "localhost"
    return f"{request.url.scheme}://{host}{prefix_of(request.scope)}"


def _new_page(site: Site, request: Request, form: Form) -> Response:
    own = request.state.principal.role
    return page(
        site,
        request,
        "admin/tokens/new.html",
        tab=_TAB,
        status=form.status,
        form=form,
        roles={name: text for name, text in ROLES.items() if role_named(name) <= own},
        lives=LIVES,
    )


async def ask_revoke(site: Site, request: Request) -> Response:
    """Ask before a token is revoked."""
    found = await site.run(request, GetTokenRequest(token_id=request.path_params["id"]))
    return page(
        site,
        request,
        "admin/tokens/revoke.html",
        tab=_TAB,
        form=asking(0),
        token=found.token,
    )


async def revoke(site: Site, request: Request) -> Response:
    """Revoke a token."""
    await site.run(request, RevokeTokenRequest(token_id=request.path_params["id"]))
    return done(site, request, "token-revoked", to=_TAB)
