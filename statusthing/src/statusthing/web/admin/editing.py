"""Forms as they are shown: what was typed, what is wrong with it, and what changed meanwhile."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from statusthing import errors
from statusthing.web.failures import sentence
from statusthing.web.forms import LABELS

REFUSALS = (
    errors.InvalidArgument,
    errors.AlreadyExists,
    errors.NotFound,
    errors.VersionConflict,
    errors.InUse,
    errors.LastAdmin,
    errors.TooBusy,
)
"""What a form is shown again for."""

_STATUS: Mapping[type[Exception], int] = MappingProxyType(
    {errors.InvalidArgument: 400, errors.TooBusy: 503}
)
_CONFLICT = 409

_CHOSEN: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"Status": ("replacement_id", "status_id")}
)
"""The fields in which a record of a kind is chosen: whichever of them the form has."""

_SAID: Mapping[type[Exception], str] = MappingProxyType(
    {
        errors.InUse: "It came into use meanwhile. Choose what becomes of what uses it.",
        errors.VersionConflict: "Somebody else changed it meanwhile. Look at it again first.",
    }
)

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Clash(NamedTuple):
    """A field that somebody else changed while a form was open.

    Attributes:
        field: its name.
        was: what it was when the form was opened.
        now: what it is now.
        yours: what was typed; None where the field was left as it was.
    """

    field: str
    was: str
    now: str
    yours: str | None


class Form(NamedTuple):
    """A form to show.

    Attributes:
        values: what is in it, by field.
        problems: what is wrong, by field, each as the end of a sentence that starts with the
            field's label; what concerns no field is a whole sentence, under "".
        status: of HTTP, for the page.
        was: what was in it when it was opened, for a record that is edited.
        version: of the record that it edits.
        clashes: what changed meanwhile.
        request_id: an idempotency key for what it adds.
    """

    values: Mapping[str, str]
    problems: Mapping[str, str] = _NOTHING
    status: int = 200
    was: Mapping[str, str] = _NOTHING
    version: int = 0
    clashes: tuple[Clash, ...] = ()
    request_id: str = ""


def blank(**values: str) -> Form:
    """Return a form for something new.

    Args:
        values: what is in it to begin with.
    """
    return Form(values, request_id=secrets.token_hex(16))


def refused(typed: Mapping[str, str], error: errors.RequestError) -> Form:
    """Return the form for something new again, after it was refused.

    Args:
        typed: what was sent.
        error: one of `REFUSALS`.
    """
    return blank(**typed)._replace(problems=_problems(error, typed), status=_status(error))


def editing(
    now: Mapping[str, str],
    version: int,
    typed: Mapping[str, str] | None = None,
    error: errors.RequestError | None = None,
) -> Form:
    """Return the form that edits a record.

    After a conflict it has what was typed, and in the fields that only others changed, what they
    made of them; it can be sent again on top of that.

    Args:
        now: the record's fields as they are.
        version: that of the record.
        typed: what was sent; None if the form is opened.
        error: one of `REFUSALS`, for which it comes again.
    """
    # As a browser sends them back.
    now = {field: text.replace("\r\n", "\n").replace("\r", "\n") for field, text in now.items()}
    if typed is None or error is None:
        return Form(now, was=now, version=version)
    if not isinstance(error, errors.VersionConflict):
        was = {field: typed.get(_was(field), now[field]) for field in now}
        return Form(typed, _problems(error, typed), _status(error), was, expected_version(typed))
    values = dict(typed)
    clashes = []
    for field, new in now.items():
        yours, old = typed.get(field, ""), typed.get(_was(field), "")
        if new in (old, yours):
            continue
        if yours == old:
            values[field] = new
        clashes.append(Clash(field, old, new, None if yours == old else yours))
    return Form(values, {}, _CONFLICT, now, version, tuple(clashes))


def asking(
    version: int,
    typed: Mapping[str, str] | None = None,
    error: errors.RequestError | None = None,
) -> Form:
    """Return the form that asks before a record is deleted.

    Args:
        version: of the record.
        typed: what was sent; None if the form is opened.
        error: one of `REFUSALS`, for which it comes again.
    """
    if error is None:
        return Form({}, version=version)
    return Form(typed or {}, _problems(error, typed or {}), _status(error), version=version)


def expected_version(typed: Mapping[str, str]) -> int:
    """Return the version of the record that a form was opened with.

    Raises:
        InvalidArgument: it is not one.
    """
    text = typed.get("expected_version", "")
    if len(text) <= 18 and text.isdecimal() and text.isascii():  # noqa: PLR2004 - fits 64 bits
        return int(text)
    raise errors.InvalidArgument("", "the form does not say what it was opened with: open it again")


def whole(field: str, text: str) -> int:
    """Return the whole number that somebody typed; how large it may be is for the service to say.

    Raises:
        InvalidArgument: it is not one.
    """
    text = text.strip()
    if len(text) <= 20 and text.removeprefix("-").isdecimal() and text.isascii():  # noqa: PLR2004 - digits of 64 bits
        return int(text)
    raise errors.InvalidArgument(field, "must be a whole number")


def _was(field: str) -> str:
    return f"was.{field}"


def _status(error: errors.RequestError) -> int:
    return _STATUS.get(type(error), _CONFLICT)


def _chosen(kind: str, typed: Mapping[str, str]) -> str:
    return next((field for field in _CHOSEN.get(kind, ()) if typed.get(field)), "")


def _problems(error: errors.RequestError, typed: Mapping[str, str]) -> dict[str, str]:
    match error:
        case errors.InvalidArgument(field=field) if field in LABELS:
            return {field: error.problem}
        case errors.AlreadyExists(field=field) if field in LABELS:
            return {field: "is taken already: choose another"}
        case errors.NotFound(kind=kind) if chosen := _chosen(kind, typed):
            return {chosen: "does not exist any more: choose another"}
        case errors.InvalidArgument(field="request_id"):
            return {"": "This form was sent before, with something else in it. Send it once more."}
    return {"": _SAID.get(type(error)) or sentence(error)}
