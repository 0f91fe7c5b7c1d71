"""What a browser gets instead of a page: each error says what happened and what one can do."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from statusthing import errors
from statusthing.web.answers import SECURITY, UNKEPT
from statusthing.web.site import Site
from statusthing.web.templates import where

_log = logging.getLogger("statusthing.web")


class Missing(errors.RequestError):
    """There is no such page."""


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


_AWAY = Failure(
    503,
    "The status is not known right now",
    "The server is running, but cannot read its data, and has no earlier state to show. "
    "Try again in a moment.",
    MappingProxyType({"retry-after": "5"}),
)

FAILURES: Mapping[type[Exception], Failure] = MappingProxyType(
    {
        Missing: Failure(
            404, "There is no such page", "It may have been moved, or the address has a mistake."
        ),
        errors.NotFound: Failure(
            404, "There is no such page", "What it was about may have been deleted."
        ),
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
    found = next((FAILURES[each] for each in type(error).__mro__ if each in FAILURES), None)
    detail = ""
    if found is None:
        correlation_id = secrets.token_hex(8)
        _log.error(
            "unexpected error, correlation id %s",
            correlation_id,
            exc_info=error,
            extra={"correlation_id": correlation_id},
        )
        text = f"The operator can find out why with this id: {correlation_id}"
        found = Failure(500, "Something went wrong here", text)
        detail = where(error) if site.devmode else ""
    elif found is _AWAY:
        _log.error("the store cannot serve: %s", errors.with_cause(error))
    try:
        return site.page(
            request,
            "error.html",
            status=found.status,
            headers=found.headers,
            title=found.title,
            text=found.text,
            detail=detail,
        )
    except Exception:  # noqa: BLE001 - the layout itself may be what is broken
        _log.exception("the page about an error failed")
        return PlainTextResponse(
            f"{found.title}. {found.text}\n{detail}",
            status_code=found.status,
            headers={"cache-control": UNKEPT, **SECURITY, **found.headers},
        )
