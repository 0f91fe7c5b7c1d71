"""What a browser gets instead of a page: each error says what happened and what one can do."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import Scope

from statusthing import errors, limits
from statusthing.asgi import correlation_id, mounted_path
from statusthing.web.answers import SECURITY, UNKEPT
from statusthing.web.forms import LABELS, SECRET, FormTooSlow
from statusthing.web.site import Site
from statusthing.web.templates import where
from statusthing.web.urls import prefix_of, quoted

_log = logging.getLogger("statusthing.web")


class Missing(errors.RequestError):
    """There is no such page."""


class WrongMethod(errors.RequestError):
    """The page is there, but not for this method of HTTP.

    Args:
        allowed: the methods that it is there for.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        methods = ", ".join(sorted(allowed))
        super().__init__(f"this address takes {methods}")
        self.headers = {"allow": methods}


class Failure(NamedTuple):
    """How an error is told.

    Attributes:
        status: of HTTP.
        title: what happened.
        text: what one can do.
        headers: further ones.
    """

    status: int
    title: str
    text: str
    headers: Mapping[str, str] = MappingProxyType({})


_CODES = MappingProxyType(
    {
        400: "invalid_argument",
        401: "unauthenticated",
        403: "permission_denied",
        404: "not_found",
        405: "unimplemented",
        503: "unavailable",
    }
)
"""What programs are told instead of a title, as the API spells it."""

_SEE_OTHER = 303
_UNKNOWN = 401

_PRIVATE = ("/admin", "/setup")
"""What the paths begin with of pages that never had an earlier state to show."""

_AWAY = Failure(
    503,
    "The status is not known right now",
    "The server is running, but cannot read its data, and has no earlier state to show. "
    "Try again in a moment.",
    MappingProxyType({"retry-after": "5"}),
)

FAILURES: Mapping[type[Exception], Failure] = MappingProxyType(
    {
        WrongMethod: Failure(405, "This cannot be done here", ""),
        FormTooSlow: Failure(
            408,
            "The form took too long to arrive",
            f"It has to be here within {limits.BODY_SECONDS:g} seconds.",
        ),
        Missing: Failure(
            404, "There is no such page", "It may have been moved, or the address has a mistake."
        ),
        errors.NotFound: Failure(
            404, "There is no such page", "What it was about may have been deleted."
        ),
        errors.Unauthenticated: Failure(
            401,
            "Sign in to see this",
            "This page is not for everybody, or your session is over.",
            MappingProxyType({"www-authenticate": "Bearer"}),
        ),
        errors.SetupLinkInvalid: Failure(
            403,
            "This setup link does not work",
            "A link is good for 24 hours, until there is an admin. The server makes another one "
            "when it starts again; or make an account with: statusthing user add NAME --role admin",
        ),
        errors.PermissionDenied: Failure(403, "You may not do this", ""),
        errors.InvalidArgument: Failure(
            400, "This address makes no sense", "Go to the front page and start from there."
        ),
        errors.StoreUnavailable: _AWAY,
        errors.SchemaMismatch: _AWAY,
        errors.UserMistake: _AWAY,
    }
)
"""By class of error; a subclass is told as its class is."""


def failed(site: Site, request: Request, error: Exception) -> Response:
    """Return the page about an error.

    What was not foreseen is logged with a correlation id, and the page tells no more than that id.
    In devmode it also tells where a template failed.
    """
    if isinstance(error, errors.Unauthenticated) and _can_sign_in(site, request):
        scope = request.scope
        here = quoted(prefix_of(scope) + mounted_path(scope))
        query = f"?{request.url.query}" if request.url.query else ""
        signing_in = site.url(request)("sign_in_page", query={"next": here + query})
        return RedirectResponse(signing_in, _SEE_OTHER, {"cache-control": UNKEPT})
    found = next((FAILURES[each] for each in type(error).__mro__ if each in FAILURES), None)
    detail = ""
    if found is None:
        id = correlation_id.get()
        _log.error(
            "unexpected error, correlation id %s", id, exc_info=error, extra={"correlation_id": id}
        )
        text = f"The operator can find out why with this id: {id}"
        found = Failure(500, "Something went wrong here", text)
        detail = where(error) if site.devmode else ""
    else:
        found = _refined(site, request, error, found)
    is_program = isinstance(error, WrongMethod) and not wants_html(request.scope)
    if is_program or request.url.path.endswith(".json"):
        return JSONResponse(
            {"code": _CODES.get(found.status, "internal"), "message": found.text or found.title},
            found.status,
            {"cache-control": UNKEPT, **SECURITY, **found.headers},
        )
    try:
        return site.page(
            request,
            "error.html",
            status=found.status,
            headers=found.headers,
            title=found.title,
            text=found.text,
            detail=detail,
            can_sign_in=found.status == _UNKNOWN and site.callers.has_sessions,
            typed=_typed(request),
        )
    except Exception:  # noqa: BLE001 - the layout itself may be what is broken
        _log.exception("the page about an error failed")
        return PlainTextResponse(
            f"{found.title}. {found.text}\n{detail}",
            status_code=found.status,
            headers={"cache-control": UNKEPT, **SECURITY, **found.headers},
        )


def _refined(site: Site, request: Request, error: Exception, found: Failure) -> Failure:
    """Return how an error is told, with what only its request and itself can say."""
    is_form = request.method == "POST"
    match error:
        case _ if found is _AWAY:
            _log.error("the store cannot serve: %s", errors.with_cause(error))
            if mounted_path(request.scope).startswith(_PRIVATE):
                sends = ": your browser then sends the form again" if is_form else ""
                return found._replace(
                    title="The data cannot be reached right now",
                    text=f"Reload this page in a moment{sends}.",
                )
        case errors.Unauthenticated():
            at = "" if site.callers.has_sessions else " at the application that this is part of"
            kept = f"To keep what you typed, sign in{at} in another tab, then go back and send it"
            to_do = kept if is_form else f"Sign in{at}, then open it"
            return found._replace(text=f"{found.text} {to_do} again.")
        case errors.InvalidArgument() if is_form:
            return Failure(400, "This form cannot be read", sentence(error))
        case errors.PermissionDenied() | WrongMethod():
            headers = getattr(error, "headers", found.headers)
            return found._replace(text=found.text or sentence(error), headers=headers)
        case errors.NotFound() if _typed(request):
            return found._replace(
                title="This does not exist any more",
                text="Somebody else has deleted it, perhaps while you were editing it.",
            )
    return found


def _typed(request: Request) -> list[tuple[str, str]]:
    """Return what somebody typed into a form that could not be carried out, to be kept."""
    typed: Mapping[str, str] = getattr(request.state, "typed", {})
    return [
        (LABELS[field], text)
        for field, text in typed.items()
        if text and field in LABELS and field not in SECRET
    ]


def sentence(error: Exception) -> str:
    """Return what an error says as a sentence; how long to wait in minutes, as people count."""
    text = str(error)
    if isinstance(error, errors.TooManyAttempts):
        minutes = -(-error.seconds // 60)
        time = "1 minute" if minutes == 1 else f"{minutes} minutes"
        text = f"too many attempts failed, try again in {time}"
    return f"{text[:1].upper()}{text[1:]}."


def _can_sign_in(site: Site, request: Request) -> bool:
    return (
        site.callers.has_sessions
        and request.method in {"GET", "HEAD"}
        and wants_html(request.scope)
        and "authorization" not in request.headers
    )


def wants_html(scope: Scope) -> bool:
    """Tell whether it is a browser that opens a page: other clients do not name HTML."""
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])
