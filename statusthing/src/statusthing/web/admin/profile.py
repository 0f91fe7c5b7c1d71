"""The page about oneself: the password, and the browsers that are signed in.

It is for those who have signed in here. A token, and whoever the host's own login names, have
nothing here to change.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from statusthing.access import Principal
from statusthing.errors import InvalidArgument, PermissionDenied, TooManyAttempts
from statusthing.identity import origin_of
from statusthing.service.messages import ChangePasswordRequest
from statusthing.web.accounts import set_session
from statusthing.web.admin.editing import REFUSALS, Form, refused
from statusthing.web.admin.frame import done, page
from statusthing.web.browsers import browser
from statusthing.web.failures import sentence
from statusthing.web.forms import read_form
from statusthing.web.site import Site

_TAB = "profile"
_TOO_MANY = 429


async def show(site: Site, request: Request) -> Response:
    """Show who is signed in, and with which browsers."""
    return await _page(site, request, Form({}))


async def change_password(site: Site, request: Request) -> Response:
    """Change one's own password; this browser goes on with a new session, all others end."""
    principal = _signed_in(request)
    typed = await read_form(request)
    current, new = typed.get("current_password", ""), typed.get("new_password", "")
    change = ChangePasswordRequest(current_password=current, new_password=new)
    try:
        await site.run(request, change)
    except PermissionDenied:
        return await _page(
            site, request, refused({}, InvalidArgument("current_password", "is wrong"))
        )
    except TooManyAttempts as error:
        return await _throttled(site, request, error)
    except REFUSALS as error:
        return await _page(site, request, refused({}, error))
    answer = done(site, request, "password-changed", to=_TAB)
    secret = await site.st.accounts.renew_session(
        principal,
        origin=origin_of(request.scope),
        user_agent=request.headers.get("user-agent", ""),
    )
    set_session(site, request, answer, secret)
    return answer


async def end_session(site: Site, request: Request) -> Response:
    """Sign one of one's browsers out."""
    principal = _signed_in(request)
    typed = await read_form(request)
    await site.st.accounts.end_session(principal, typed.get("session", ""))
    return done(site, request, "session-ended", to=_TAB)


async def end_others(site: Site, request: Request) -> Response:
    """Sign all of one's browsers out but this one."""
    await site.st.accounts.end_other_sessions(_signed_in(request))
    return done(site, request, "sessions-ended", to=_TAB)


async def _throttled(site: Site, request: Request, error: TooManyAttempts) -> Response:
    answer = await _page(site, request, Form({}, {"": sentence(error)}, _TOO_MANY))
    answer.headers["retry-after"] = str(error.seconds)
    return answer


async def _page(site: Site, request: Request, form: Form) -> Response:
    own = request.state.principal
    found = await site.st.accounts.sessions(own) if own.session_id else ()
    sessions = [
        (each, browser(each.user_agent), each.id == own.session_id) for each in reversed(found)
    ]
    return page(
        site,
        request,
        "admin/profile.html",
        tab=_TAB,
        status=form.status,
        form=form,
        sessions=sorted(sessions, key=lambda each: not each[2]),
    )


def _signed_in(request: Request) -> Principal:
    principal: Principal = request.state.principal
    if not principal.session_id:
        msg = f"{principal.name} has not signed in here, and has nothing here to change"
        raise PermissionDenied(msg)
    return principal
