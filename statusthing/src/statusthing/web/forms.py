"""What is in a form, read strictly and within a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from statusthing import limits
from statusthing.errors import InvalidArgument, RequestError
from statusthing.model import Role

MOST_BYTES = 512 * 1024
"""How large the body of a form may be: enough for a logo within the settings, old and new."""

FEW_BYTES = 32 * 1024
"""How large it may be of whoever is not known: enough to sign in with the longest password.

Thousands may send some at once, and `limits.BODIES_BYTES` does not count forms.
"""

MOST_FIELDS = 1_000

_TYPE = "application/x-www-form-urlencoded"

LABELS: Mapping[str, str] = MappingProxyType(
    {
        "name": "Name",
        "description": "Description",
        "status_id": "Status",
        "replacement_id": "Move its items to",
        "position": "Position",
        "note_text": "Note",
        "initial_note_text": "First note",
        "color": "Colour",
        "kind": "Kind",
        "username": "Username",
        "password": "Password",
        "current_password": "Current password",
        "new_password": "New password",
        "first_name": "First name",
        "last_name": "Last name",
        "email_address": "Email address",
        "avatar_url": "Picture",
        "role": "Role",
        "disabled": "Disabled",
        "expires": "Expires",
        "title": "Title",
        "logo_url": "Logo",
        "accent_color": "Accent colour",
        "links": "Links",
        "footer": "Footer",
    }
)
"""What the fields of forms are called, by their names, which are those of the requests."""

SECRET = frozenset({"password", "current_password", "new_password", "token"})
"""The fields that are never shown again."""


class FormTooSlow(RequestError):
    """A form took too long to arrive."""


async def read_form(request: Request) -> Mapping[str, str]:
    """Return the fields of a form, of several with one name the last.

    Line breaks, which browsers send as CR LF, come back as LF. What was read stays with the request
    as `state.typed`, so that a page about an error can give it back.

    Raises:
        InvalidArgument: it is no form, or too large.
        FormTooSlow: it has not come within `limits.BODY_SECONDS`.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != _TYPE:
        raise InvalidArgument("", f"a form has to be sent as {_TYPE}")
    most = FEW_BYTES if request.state.principal.role is Role.ANYBODY else MOST_BYTES
    body = bytearray()
    try:
        async with asyncio.timeout(limits.BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise InvalidArgument("", f"the form is larger than {most} bytes")
    except TimeoutError as error:
        raise FormTooSlow from error
    except ClientDisconnect as error:
        raise InvalidArgument("", "the form did not arrive") from error
    if body.count(b"&") >= MOST_FIELDS:
        raise InvalidArgument("", f"the form has more than {MOST_FIELDS} fields")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
        )
    except ValueError as error:
        raise InvalidArgument("", "the form cannot be read: it has to be UTF-8") from error
    request.state.typed = {name: value.replace("\r\n", "\n") for name, value in pairs}
    typed: Mapping[str, str] = request.state.typed
    return typed
