"""The rules for values, whatever the store holds. Each refusal names the field.

Lengths are counted in code points. Text is never changed: no trimming, no normalisation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from statusthing.colors import canonical
from statusthing.errors import InvalidArgument
from statusthing.model import Role, StatusKind
from statusthing.service.messages import Kind, RoleInput

MAX_NAME = 200
MAX_DESCRIPTION = 2_000
MAX_NOTE = 10_000
MAX_REQUEST_ID = 128
MAX_EMAIL = 254
MAX_URL = 2_000
MAX_IMAGE = 100_000

_LINE_BREAKING = "\t\n\r"
_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_KINDS = tuple(StatusKind)
_ROLES = tuple(Role)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_WEB_URL = re.compile(r"https?://[^\s/][^\s]*", re.IGNORECASE)
_OWN_IMAGE = re.compile(r"/(?![/\\])[^\s\\]*|data:image/(?:png|jpeg|gif|webp|svg\+xml)[;,][^\s]*")
_LINK = re.compile(r"\S.* (?:https?://[^\s/]\S*|mailto:\S+@\S+)")


def name(field: str, value: str) -> str:
    """Require a name: one line, not blank, at most MAX_NAME code points."""
    _text(field, value, MAX_NAME, allowed="")
    if len(value.splitlines()) > 1 or value.endswith(("\u2028", "\u2029")):
        raise InvalidArgument(field, "must be one line")
    return _not_blank(field, value)


def description(field: str, value: str) -> str:
    """Require a description: possibly empty, at most MAX_DESCRIPTION code points."""
    return _text(field, value, MAX_DESCRIPTION, allowed=_LINE_BREAKING)


def note_text(field: str, value: str) -> str:
    """Require a note's text: not blank, at most MAX_NOTE code points."""
    return _not_blank(field, _text(field, value, MAX_NOTE, allowed=_LINE_BREAKING))


def color(field: str, value: str) -> str:
    """Require `#rgb`, `#rrggbb` or a colour that CSS names, in any case."""
    if canonical(value) is None:
        raise InvalidArgument(field, "must be #rgb, #rrggbb or a named CSS colour")
    return value


def kind(field: str, value: Kind) -> StatusKind:
    """Require a kind other than unknown, given as itself or by number."""
    found = _KINDS[value] if isinstance(value, int) and 0 <= value < len(_KINDS) else value
    if not isinstance(found, StatusKind):
        raise InvalidArgument(field, "is not a status kind")
    if found is StatusKind.UNKNOWN:
        raise InvalidArgument(field, "is required and cannot be STATUS_KIND_UNKNOWN")
    return found


def kinds(field: str, values: Iterable[Kind]) -> frozenset[StatusKind]:
    """Require every kind of a filter."""
    return frozenset(kind(field, value) for value in values)


def role(field: str, value: RoleInput) -> Role:
    """Require a role, given as itself or by number."""
    found = _ROLES[value] if isinstance(value, int) and 0 <= value < len(_ROLES) else value
    if not isinstance(found, Role):
        raise InvalidArgument(field, "is not a role")
    if found is Role.ANYBODY:
        raise InvalidArgument(field, "is required and cannot be ROLE_UNSPECIFIED")
    return found


def line(field: str, value: str) -> str:
    """Require one line, possibly empty, of at most MAX_NAME code points."""
    return name(field, value) if value else value


def email(field: str, value: str) -> str:
    """Require an email address, or nothing."""
    if _text(field, value, MAX_EMAIL, allowed="") and not _EMAIL.fullmatch(value):
        raise InvalidArgument(field, "must be an email address, such as ada@example.com")
    return value


def web_url(field: str, value: str) -> str:
    """Require a URL of a web page, or nothing."""
    if _text(field, value, MAX_URL, allowed="") and not _WEB_URL.fullmatch(value):
        raise InvalidArgument(field, "must be a URL that begins with https:// or http://")
    return value


def own_image(field: str, value: str) -> str:
    """Require the URL of an image that takes no request to another site, or nothing."""
    if _text(field, value, MAX_IMAGE, allowed="") and not _OWN_IMAGE.fullmatch(value):
        raise InvalidArgument(
            field,
            "must be a path on this site, such as /logo.svg, or a data:image/ URL, without spaces: "
            "in base64 it has none",
        )
    return value


def links(field: str, value: str) -> str:
    """Require a link on each line: what it is called, a space, and its URL."""
    for number, text in enumerate(description(field, value).splitlines(), 1):
        if text.strip() and not _LINK.fullmatch(text.strip()):
            raise InvalidArgument(
                field, f"must have a label and a URL on line {number}: Help https://example.com"
            )
    return value


def required_id(field: str, value: str) -> str:
    """Require an id to be there; whether it can exist is for the store to say."""
    if not value:
        raise InvalidArgument(field, "is required")
    return value


def new_id(field: str, value: str) -> str:
    """Require an id that a caller chose for a new record to be well-formed."""
    if not _ID.fullmatch(value):
        raise InvalidArgument(field, "must be 1 to 64 of the characters A-Z a-z 0-9 . _ ~ -")
    return value


def can_exist(id: str) -> bool:
    """Return whether a record can have that id at all, so that a store never meets another."""
    return _ID.fullmatch(id) is not None


def possible_ids(field: str, ids: Sequence[str]) -> frozenset[str]:
    """Return the ids of a filter that records can have; the others match nothing."""
    _not_text(field, ids)
    return frozenset(filter(can_exist, ids))


def request_id(field: str, value: str) -> str:
    """Require an idempotency key to be empty or 1 to MAX_REQUEST_ID printable ASCII characters."""
    if len(value) > MAX_REQUEST_ID or not (value.isascii() and value.isprintable()):
        raise InvalidArgument(field, f"must be 1 to {MAX_REQUEST_ID} printable ASCII characters")
    return value


def int32(field: str, value: int) -> int:
    """Require a whole number of 32 bits with a sign."""
    return _whole(field, value, range(-(2**31), 2**31))


def uint32(field: str, value: int) -> int:
    """Require a whole number of 32 bits without a sign."""
    return _whole(field, value, range(2**32))


def _whole(field: str, value: int, within: range) -> int:
    if type(value) is not int or value not in within:
        problem = f"must be a whole number from {within.start} to {within.stop - 1}"
        raise InvalidArgument(field, problem)
    return value


def mask(paths: Sequence[str], allowed: Iterable[str]) -> frozenset[str]:
    """Require every path of an update mask to be one that can be set."""
    _not_text("update_mask", paths)
    settable = tuple(allowed)
    for path in paths:
        if path not in settable:
            raise InvalidArgument(
                "update_mask", f"has the unknown path {path!r}; it takes {', '.join(settable)}"
            )
    return frozenset(paths)


def _not_text(field: str, values: Sequence[str]) -> None:
    if isinstance(values, str):  # a sequence too, of its characters
        raise InvalidArgument(field, "must be a sequence of strings")


def _not_blank(field: str, value: str) -> str:
    if not value.strip():
        raise InvalidArgument(field, "is required and cannot be blank")
    return value


_PROBLEMS: Mapping[str, str] = MappingProxyType(
    {"Cc": "has a control character", "Cs": "has a lone surrogate"}
)


def _text(field: str, value: str, longest: int, *, allowed: str) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(field, "must be a string")
    if len(value) > longest:
        raise InvalidArgument(field, f"has {len(value)} characters; {longest} are allowed")
    if not value.isprintable():  # only then can one of the refused categories be in it
        for character in value:
            problem = _PROBLEMS.get(unicodedata.category(character))
            if problem is not None and character not in allowed:
                raise InvalidArgument(field, f"{problem}, U+{ord(character):04X}")
    return value
