"""Signing in, signing out, and making the first admin."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from statusthing import setup_file
from statusthing.errors import (
    AlreadyExists,
    InvalidArgument,
    PermissionDenied,
    RequestError,
    TooBusy,
    TooManyAttempts,
    Unauthenticated,
)
from statusthing.identity import names_loopback, origin_of
from statusthing.service.credentials import LONGEST
from statusthing.web.admin.editing import Form, refused
from statusthing.web.failures import sentence
from statusthing.web.forms import read_form
from statusthing.web.site import Site
from statusthing.web.urls import prefix_of, quoted

_OWN_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")  # printable ASCII without a backslash
_SEE_OTHER = 303
_ONLY_HERE = "with devmode, sign in at localhost or at a loopback address, such as 127.0.0.1"

_NOT_SIGNED_IN: dict[type[RequestError], int] = {
    Unauthenticated: 401,
    TooManyAttempts: 429,
    TooBusy: 503,
}


def see_other(url: str) -> Response:
    """Send a browser to another page, which it gets with GET."""
    return RedirectResponse(url, _SEE_OTHER, {"cache-control": "no-store"})


def own_path(text: str, prefix: str) -> str:
    """Return a path to go on to if it leads to this site, and nowhere else; else nothing.

    Args:
        text: what a request says.
        prefix: under which the application is mounted.
    """
    return text if _OWN_PATH.fullmatch(text) and text.startswith(f"{quoted(prefix)}/") else ""


async def sign_in_page(site: Site, request: Request) -> Response:
    """Show the form to sign in with; who is signed in already goes on."""
    following = own_path(request.query_params.get("next", ""), prefix_of(request.scope))
    if request.state.principal.user_id:
        return see_other(following or site.url(request)("admin"))
    return site.page(request, "accounts/sign_in.html", next=following, form=Form({}))


async def sign_in(site: Site, request: Request) -> Response:
    """Sign somebody in, with a new session.

    In devmode there may be an account that everybody knows the password of, so that a page of
    another site would sign in with it, if it could make its name resolve to this machine.
    """
    if site.devmode and not names_loopback(request.scope):
        raise PermissionDenied(_ONLY_HERE)
    form = await read_form(request)
    following = own_path(form.get("next", ""), prefix_of(request.scope))
    username = form.get("username", "")
    try:
        await site.ready()
        secret = await site.st.accounts.sign_in(
            username,
            form.get("password", ""),
            origin=origin_of(request.scope),
            user_agent=request.headers.get("user-agent", ""),
        )
    except (Unauthenticated, TooManyAttempts, TooBusy) as error:
        return _not_signed_in(site, request, username, following, error)
    await _end_old(site, request)
    return _signed_in(site, request, secret, following or site.url(request)("admin"))


async def sign_out(site: Site, request: Request) -> Response:
    """End the session of a browser."""
    await _end_old(site, request)
    answer = see_other(site.url(request)("sign_in"))
    set_session(site, request, answer, "")
    return answer


async def setup_page(site: Site, request: Request) -> Response:
    """Show the form that makes the first admin, to who has the link."""
    token = request.query_params.get("token", "")
    await site.ready()
    await site.st.setup.check(token)
    return site.page(request, "accounts/setup.html", token=token, form=Form({}))


async def set_up(site: Site, request: Request) -> Response:
    """Make the first admin, and sign them in."""
    typed = await read_form(request)
    # A script may post to the link as it is.
    token = typed.get("token", "") or request.query_params.get("token", "")
    try:
        await site.ready()
        secret = await site.st.setup.complete(
            token,
            username=typed.get("username", ""),
            email_address=typed.get("email_address", "") or typed.get("email", ""),
            password=typed.get("password", ""),
            origin=origin_of(request.scope),
            user_agent=request.headers.get("user-agent", ""),
        )
    except (InvalidArgument, AlreadyExists, TooBusy) as error:
        form = refused(typed, error)
        return site.page(request, "accounts/setup.html", status=form.status, token=token, form=form)
    if site.setup_file is not None:
        setup_file.remove(site.setup_file, token)
    return _signed_in(site, request, secret, site.url(request)("admin"))


def _not_signed_in(
    site: Site, request: Request, username: str, following: str, refusal: RequestError
) -> Response:
    headers = {}
    if isinstance(refusal, TooManyAttempts):
        headers["retry-after"] = str(refusal.seconds)
    elif isinstance(refusal, TooBusy):
        headers["retry-after"] = "1"
    elif isinstance(refusal, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return site.page(
        request,
        "accounts/sign_in.html",
        status=_NOT_SIGNED_IN[type(refusal)],
        headers=headers,
        next=following,
        form=Form({"username": username}, {"": sentence(refusal)}),
    )


async def _end_old(site: Site, request: Request) -> None:
    """End the session that a browser has had so far, if any."""
    if request.state.principal.session_id:
        await site.st.accounts.sign_out(request.state.principal)


def _signed_in(site: Site, request: Request, secret: str, following: str) -> Response:
    answer = see_other(following)
    set_session(site, request, answer, secret)
    return answer


def set_session(site: Site, request: Request, answer: Response, secret: str) -> None:
    """Have a browser keep the secret of a new session; an empty one takes it away."""
    is_secure = request.scope.get("scheme") == "https"
    answer.set_cookie(
        site.callers.cookie_name(request.scope),
        secret,
        max_age=int(LONGEST.total_seconds()) if secret else 0,
        # Browsers take `__Host-` cookies for all of a host only.
        path="/" if is_secure else quoted(prefix_of(request.scope)) or "/",
        secure=is_secure,
        httponly=True,
        samesite="lax",
    )
