"""The domain: what a store keeps, and what a caller sees.

**Records** (`Item`, `Status`, `Note`, ...) are flat, immutable and complete: a store keeps them
whole and replaces them whole. **Views** (`ItemView`, `StatusView`, `NoteView`) are what operations
return: shaped and spelled like the API's JSON, an item with its status and its notes inside.
`RECORDS` describes every record type to the stores, so that a new type needs no new store method.

All instants are timezone-aware and in UTC, with microseconds. All text is kept exactly as given.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import msgspec


class StatusKind(enum.Enum):
    """What a status means to the software, whatever it is called. Values are the wire's names.

    The order is the wire's numbering, from 0.
    """

    UNKNOWN = "STATUS_KIND_UNKNOWN"
    UP = "STATUS_KIND_UP"
    DOWN = "STATUS_KIND_DOWN"
    WARNING = "STATUS_KIND_WARNING"
    UNAVAILABLE = "STATUS_KIND_UNAVAILABLE"
    AVAILABLE = "STATUS_KIND_AVAILABLE"
    INVESTIGATING = "STATUS_KIND_INVESTIGATING"
    OBSERVING = "STATUS_KIND_OBSERVING"
    CREATED = "STATUS_KIND_CREATED"
    ONLINE = "STATUS_KIND_ONLINE"
    OFFLINE = "STATUS_KIND_OFFLINE"
    DECOMM = "STATUS_KIND_DECOMM"


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(instant: datetime) -> int:
    """Count the microseconds since EPOCH, exactly: how instants are stored and handed out."""
    return (instant - EPOCH) // _MICROSECOND


def instant(microseconds: int) -> datetime:
    """Return the instant so many microseconds after EPOCH; OverflowError beyond the year 9999."""
    return EPOCH + microseconds * _MICROSECOND


DEFAULT_COLOR = "#5DFC0A"


# gc=False: immutable records cannot form reference cycles, and an answer makes and drops thousands.
# https://jcristharif.com/msgspec/structs.html#disabling-garbage-collection-advanced


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What every record has.

    Attributes:
        id: unique within its kind; `[A-Za-z0-9._~-]`, 1 to 64 characters.
        created: when it was added; with `id` the order of every list.
        updated: when it was last changed.
        version: 1 when added, one more with each change.
    """

    id: str
    created: datetime
    updated: datetime
    version: int = 1


class Status(Record, frozen=True, kw_only=True):
    """A state that items can be in: a name that its makers chose, and a kind."""

    name: str
    description: str = ""
    color: str = DEFAULT_COLOR
    kind: StatusKind


class Item(Record, frozen=True, kw_only=True):
    """A thing whose status is published. `position` orders pages, lowest first."""

    name: str
    description: str = ""
    status_id: str | None = None
    position: int = 0


class Note(Record, frozen=True, kw_only=True):
    """An update about an item."""

    item_id: str
    text: str


class KeptAnswer(Record, frozen=True, kw_only=True):
    """The stored answer to a request with an idempotency key.

    Its id is a digest of caller, RPC and key.

    Attributes:
        digest: SHA-256 of the request, in hexadecimal.
        answer: the response as JSON.
        expires: when it may be forgotten.
    """

    digest: str
    answer: str
    expires: datetime


class RecordSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a store has to know about a record type.

    Attributes:
        unique: fields whose values must be unique; None is exempt.
        references: field to the type whose id it holds; None refers to nothing.
        indexes: further fields that queries ask for.
        logged: whether a change to such a record is a change of the store's history. A type that is
            not logged has an `expires` field.
        upgrades: one function for each time that the fields changed since the first release; it
            takes the fields as JSON-able data of the numbering before it, and returns them for the
            next. See `statusthing.store.unpack`.
    """

    unique: tuple[str, ...] = ()
    references: Mapping[str, type[Record]] = MappingProxyType({})
    indexes: tuple[str, ...] = ()
    logged: bool = True
    upgrades: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = ()

    @property
    def schema(self) -> int:
        """The number of the fields as they are now, from 1."""
        return len(self.upgrades) + 1


RECORDS: Mapping[type[Record], RecordSpec] = MappingProxyType(
    {
        Status: RecordSpec(unique=("name",), indexes=("kind",)),
        Item: RecordSpec(unique=("name",), references=MappingProxyType({"status_id": Status})),
        Note: RecordSpec(references=MappingProxyType({"item_id": Item})),
        KeptAnswer: RecordSpec(indexes=("expires",), logged=False),
    }
)


class View(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename="camel", omit_defaults=True):
    """The base of all that callers see: encodes to the proto3 JSON of its message."""


class Timestamps(View, frozen=True, kw_only=True):
    """When a record was added and last changed; `deleted` is never set."""

    created: datetime | None = None
    updated: datetime | None = None
    deleted: datetime | None = None


class StatusView(View, frozen=True, kw_only=True):
    """A status as callers see it."""

    id: str = ""
    name: str = ""
    description: str = ""
    color: str = ""
    kind: StatusKind = StatusKind.UNKNOWN
    timestamps: Timestamps | None = None
    version: int = 0


class NoteView(View, frozen=True, kw_only=True):
    """A note as callers see it."""

    id: str = ""
    text: str = ""
    item_id: str = ""
    timestamps: Timestamps | None = None
    version: int = 0


class ItemView(View, frozen=True, kw_only=True):
    """An item as callers see it: with its status, and its notes oldest first where asked for."""

    id: str = ""
    name: str = ""
    description: str = ""
    status: StatusView | None = None
    notes: tuple[NoteView, ...] = ()
    timestamps: Timestamps | None = None
    version: int = 0
    position: int = 0


def status_view(status: Status) -> StatusView:
    """Return the view of a status."""
    return StatusView(
        id=status.id,
        name=status.name,
        description=status.description,
        color=status.color,
        kind=status.kind,
        timestamps=Timestamps(created=status.created, updated=status.updated),
        version=status.version,
    )


def note_view(note: Note) -> NoteView:
    """Return the view of a note."""
    return NoteView(
        id=note.id,
        text=note.text,
        item_id=note.item_id,
        timestamps=Timestamps(created=note.created, updated=note.updated),
        version=note.version,
    )


def item_view(
    item: Item, status: StatusView | None = None, notes: tuple[NoteView, ...] = ()
) -> ItemView:
    """Return the view of an item with its status and its notes."""
    return ItemView(
        id=item.id,
        name=item.name,
        description=item.description,
        status=status,
        notes=notes,
        timestamps=Timestamps(created=item.created, updated=item.updated),
        version=item.version,
        position=item.position,
    )
