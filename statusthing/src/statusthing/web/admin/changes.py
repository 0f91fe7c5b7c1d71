"""The page about what was changed: by whom, when, from where, and from what to what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import groupby
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from statusthing.model import Role, StatusKind
from statusthing.service.messages import (
    AuditEntry,
    GetNamesRequest,
    GetNamesResponse,
    ListAuditEntriesRequest,
    ListAuditEntriesResponse,
)
from statusthing.web.admin.frame import page
from statusthing.web.forms import LABELS
from statusthing.web.headline import KINDS
from statusthing.web.site import Site
from statusthing.web.templates import time_element

PAGE = 50
"""How many entries a page has."""

LONGEST = 300
"""How many characters of a value are shown."""

_VERBS: Mapping[str, str] = MappingProxyType({"replaced": "changed", "removed": "deleted"})
"""What an action is called, where it is not by its name."""

_UNLOGGED = "set a new password for"
"""What a change of a user was if the log has nothing that is different: it has no passwords."""

_KINDS: Mapping[str, str] = MappingProxyType({"Note": "note on"})
"""What a record's type is called before the record's name, where it is not by itself."""

_UNSEEN = frozenset({"id", "created", "updated", "version", "last_login"})
"""The fields that say nothing that anybody has decided."""

_CALLED = frozenset({"name", "username", "item_id"})
"""The fields that say what a record is called, or a note's item."""

_INSTANTS = frozenset({"expires"})
"""The fields that hold an instant, as RFC 3339 has it."""

_NAMED: Mapping[str, str] = MappingProxyType(
    {"item_id": "item_ids", "status_id": "status_ids", "user_id": "user_ids"}
)
"""The fields with an id, and where to ask what it is called."""

_WORDS: Mapping[str, str] = MappingProxyType(
    {
        **{kind.value: each.label for kind, each in KINDS.items()},
        **{role.value: role.name.capitalize() for role in Role},
        StatusKind.UNKNOWN.value: "None",
    }
)
"""What the values of fields are called, where they are not by themselves."""


class Field(NamedTuple):
    """A field, before and after; None where there is nothing."""

    label: str
    before: str | None
    after: str | None


class Entry(NamedTuple):
    """What happened to one record.

    Attributes:
        verb: what was done.
        kind: the record's type.
        name: what the record is called; a note by its item.
        fields: what is different about it.
    """

    verb: str
    kind: str
    name: str
    fields: list[Field]


class Step(NamedTuple):
    """What happened at once: the entries of one revision, or a failed attempt to sign in."""

    at: datetime | None
    actor: str
    address: str
    failed: bool
    entries: list[Entry]


async def listing(site: Site, request: Request) -> Response:
    """Show what was changed, newest first, page by page."""
    token = request.query_params.get("before", "")
    found: ListAuditEntriesResponse = await site.run(
        request, ListAuditEntriesRequest(page_size=PAGE, page_token=token)
    )
    rows = [(entry, _data(entry.before), _data(entry.after)) for entry in found.entries]
    names = await _names(site, request, rows)
    steps = [
        _step(list(group), names)
        for _, group in groupby(rows, key=lambda row: row[0].id.partition(".")[0])
    ]
    return page(
        site,
        request,
        "admin/changes/list.html",
        tab="changes",
        steps=steps,
        before=token,
        older=found.next_page_token,
    )


_Row = tuple[AuditEntry, dict[str, Any], dict[str, Any]]


def _data(text: str) -> dict[str, Any]:
    return msgspec.json.decode(text, type=dict[str, Any]) if text else {}


async def _names(site: Site, request: Request, rows: Iterable[_Row]) -> dict[str, str]:
    """Return what the records are called that the rows mention by id, as far as it is known."""
    known: dict[str, str] = {}
    wanted: dict[str, set[str]] = {ids: set() for ids in _NAMED.values()}
    for entry, *sides in rows:
        for data in sides:
            if name := data.get("name") or data.get("username"):
                known.setdefault(entry.subject, name)  # the newest comes first
            for field, ids in _NAMED.items():
                if id := data.get(field):
                    wanted[ids].add(id)
    asked = GetNamesRequest(**{ids: tuple(found) for ids, found in wanted.items()})
    found: GetNamesResponse = await site.run(request, asked)
    return known | found.names


def _step(rows: list[_Row], names: Mapping[str, str]) -> Step:
    first = rows[0][0]
    is_failure = first.action == "failed to sign in"
    return Step(
        at=first.time,
        actor=(first.subject if is_failure else first.actor) or "somebody unknown",
        address=first.address,
        failed=is_failure,
        entries=[] if is_failure else [_entry(row, names) for row in reversed(rows)],
    )


def _entry(row: _Row, names: Mapping[str, str]) -> Entry:
    entry, before, after = row
    data = after or before
    name = data.get("name") or data.get("username") or names.get(data.get("item_id", ""), "")
    fields = list(_fields(before, after, names))
    is_password = (entry.kind, entry.action, fields) == ("User", "replaced", [])
    return Entry(
        verb=_UNLOGGED if is_password else _VERBS.get(entry.action, entry.action),
        kind=_KINDS.get(entry.kind, entry.kind.lower()),
        name=_short(name),
        fields=fields,
    )


def _fields(
    before: Mapping[str, Any], after: Mapping[str, Any], names: Mapping[str, str]
) -> Iterator[Field]:
    """Yield what is different, in the order of the record.

    Of what was added or deleted, what it is called is said already, and what is no or zero says
    nothing.
    """
    whole = {} if before and after else after or before
    for field in after or before:
        tell = _at if field in _INSTANTS else _told
        old, new = (tell(data.get(field), names) for data in (before, after))
        if field in _UNSEEN or old == new:
            continue
        if whole and (field in _CALLED or not whole[field]):
            continue
        label = LABELS.get(field) or field.removesuffix("_id").replace("_", " ").capitalize()
        yield Field(label, old, new)


def _told(value: object, names: Mapping[str, str]) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    return _short(names.get(text) or _WORDS.get(text) or text)


def _at(value: str | None, _: Mapping[str, str]) -> str | None:
    return value and time_element(datetime.fromisoformat(value))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
