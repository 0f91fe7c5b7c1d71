"""The domain: what a store keeps, and what a caller sees.

**Records** (`Item`, `Status`, `Note`, ...) are flat, immutable and complete: a store keeps them
whole and replaces them whole. **Views** (`ItemView`, `StatusView`, `NoteView`) are what operations
return: shaped and spelled like the API's JSON, an item with its status and its notes inside.
`RECORDS` describes every record type to the stores, so that a new type needs no new store method.

All instants are timezone-aware and in UTC, with microseconds. All text is kept exactly as given.
"""

from __future__ import annotations

import enum
import functools
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


@functools.total_ordering
class Role(enum.Enum):
    """What somebody may do; each role includes the ones before it. Values are the wire's names.

    The order is the wire's numbering, from 0.

    Attributes:
        rank: its place in that order.
    """

    ANYBODY = "ROLE_UNSPECIFIED"
    VIEWER = "ROLE_VIEWER"
    EDITOR = "ROLE_EDITOR"
    ADMIN = "ROLE_ADMIN"

    def __init__(self, _: str) -> None:
        self.rank = len(type(self).__members__)

    def __lt__(self, other: Role) -> bool:
        return self.rank < other.rank


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(instant: datetime) -> int:
    """Count the microseconds since EPOCH, exactly: how instants are stored and handed out."""
    return (instant - EPOCH) // _MICROSECOND


def instant(microseconds: int) -> datetime:
    """Return the instant so many microseconds after EPOCH; OverflowError beyond the year 9999."""
    return EPOCH + microseconds * _MICROSECOND


DEFAULT_COLOR = "#5DFC0A"


_UNSEEN = frozenset(
    {"password", "current_password", "new_password", "password_hash", "digest", "secret"}
)


def repr_without_secrets(struct: msgspec.Struct) -> str:
    """Write a struct as `repr` does, with `...` for what nobody may read in a log."""
    fields = (
        f"{field}={'...' if field in _UNSEEN else repr(getattr(struct, field))}"
        for field in struct.__struct_fields__
    )
    return f"{type(struct).__name__}({', '.join(fields)})"


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

    __repr__ = repr_without_secrets


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


class User(Record, frozen=True, kw_only=True):
    """Somebody who can sign in.

    Attributes:
        username: unique, and what they sign in with.
        password_hash: of argon2id, in its own encoding; a secret.
        first_name: theirs.
        last_name: theirs.
        email_address: theirs; empty if unknown.
        avatar_url: of a picture.
        role: what they may do.
        disabled: whether they may do nothing at present.
        development: whether the account was made by `--devmode`, outside of which it is dead.
        last_login: when they signed in last. Signing in is logged, but moves neither `updated` nor
            `version`: nobody has edited the record.
    """

    username: str
    password_hash: str
    first_name: str = ""
    last_name: str = ""
    email_address: str = ""
    avatar_url: str = ""
    role: Role
    disabled: bool = False
    development: bool = False
    last_login: datetime | None = None


class Token(Record, frozen=True, kw_only=True):
    """What a program proves with who it is.

    Attributes:
        name: says what it is for.
        digest: SHA-256 of the secret, in hexadecimal; unique, and a secret.
        role: what it may do, at most: it never exceeds its owner.
        user_id: its owner; None for one that was made at the command line.
        expires: when it ends; None for never.
    """

    name: str
    digest: str
    role: Role
    user_id: str | None = None
    expires: datetime | None = None


class Settings(Record, frozen=True, kw_only=True):
    """How the pages present themselves; there is one such record at most, with the id `settings`.

    Attributes:
        title: of the site.
        description: what it is about, in a sentence.
        logo_url: of a picture: a path on this site, or a `data:image/` URL.
        accent_color: as `Status.color`.
        links: one a line, `Label https://url`.
        footer: a line of text.
    """

    title: str = ""
    description: str = ""
    logo_url: str = ""
    accent_color: str = ""
    links: str = ""
    footer: str = ""


class Session(Record, frozen=True, kw_only=True):
    """A browser that somebody is signed in with; `updated` is when it was last seen.

    Its id is the SHA-256, in hexadecimal, of the secret in its cookie.

    Attributes:
        user_id: who is signed in.
        address: from where they signed in.
        user_agent: what the browser calls itself.
        expires: when the session ends unless it is seen again.
    """

    user_id: str
    address: str
    user_agent: str
    expires: datetime


class TokenUse(Record, frozen=True, kw_only=True):
    """When a token was used last, `updated`, to the minute. Its id is that of the token."""

    expires: datetime


class SetupLink(Record, frozen=True, kw_only=True):
    """Lets whoever has its secret make the first admin. Its id is the secret's SHA-256."""

    expires: datetime


class Throttle(Record, frozen=True, kw_only=True):
    """How often signing in has failed, `failures` times until `expires`, for one of several scopes.

    Its id is a digest of the scope.
    """

    failures: int
    expires: datetime


class FailedSignIn(Record, frozen=True, kw_only=True):
    """An attempt to sign in that failed.

    Attributes:
        username: the account's; empty for a name that no account has, which may be anything: people
            type passwords into the wrong field.
        address: from where.
        correlation_id: of the request, which the log of the server has too.
        expires: when it may be forgotten.
    """

    username: str
    address: str
    correlation_id: str
    expires: datetime


class RecordSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a store has to know about a record type.

    Attributes:
        unique: fields whose values must be unique; None is exempt.
        references: field to the type whose id it holds; None refers to nothing.
        indexes: further fields that queries ask for.
        logged: whether a change to such a record is a change of the store's history. A type that is
            not logged has an `expires` field.
        public: whether an anonymous visitor may see that such a record has changed.
        secret: fields that enter neither the log nor a view.
        upgrades: one function for each time that the fields changed since the first release; it
            takes the fields as JSON-able data of the numbering before it, and returns them for the
            next. See `statusthing.store.unpack`.
    """

    unique: tuple[str, ...] = ()
    references: Mapping[str, type[Record]] = MappingProxyType({})
    indexes: tuple[str, ...] = ()
    logged: bool = True
    public: bool = False
    secret: tuple[str, ...] = ()
    upgrades: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = ()

    @property
    def schema(self) -> int:
        """The number of the fields as they are now, from 1."""
        return len(self.upgrades) + 1


_EXPIRING = RecordSpec(indexes=("expires",), logged=False)

RECORDS: Mapping[type[Record], RecordSpec] = MappingProxyType(
    {
        Status: RecordSpec(unique=("name",), indexes=("kind",), public=True),
        Item: RecordSpec(
            unique=("name",), references=MappingProxyType({"status_id": Status}), public=True
        ),
        Note: RecordSpec(references=MappingProxyType({"item_id": Item}), public=True),
        Settings: RecordSpec(public=True),
        User: RecordSpec(unique=("username",), indexes=("role",), secret=("password_hash",)),
        Token: RecordSpec(
            unique=("digest",),
            references=MappingProxyType({"user_id": User}),
            secret=("digest",),
        ),
        Session: RecordSpec(indexes=("expires", "user_id"), logged=False),
        TokenUse: _EXPIRING,
        SetupLink: _EXPIRING,
        Throttle: _EXPIRING,
        FailedSignIn: _EXPIRING,
        KeptAnswer: _EXPIRING,
    }
)


class View(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename="camel", omit_defaults=True):
    """The base of all that callers see: encodes to the proto3 JSON of its message."""

    __repr__ = repr_without_secrets


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


class UserView(View, frozen=True, kw_only=True):
    """A user as callers see it. `password` is part of the message and always empty."""

    id: str = ""
    username: str = ""
    password: str = ""
    first_name: str = ""
    last_name: str = ""
    email_address: str = ""
    last_login: datetime | None = None
    avatar_url: str = ""
    role: Role = Role.ANYBODY
    disabled: bool = False
    timestamps: Timestamps | None = None
    version: int = 0


class TokenView(View, frozen=True, kw_only=True):
    """A token as callers see it, without its secret."""

    id: str = ""
    name: str = ""
    role: Role = Role.ANYBODY
    user_id: str = ""
    expires: datetime | None = None
    last_used: datetime | None = None
    timestamps: Timestamps | None = None
    version: int = 0


def user_view(user: User) -> UserView:
    """Return the view of a user."""
    return UserView(
        id=user.id,
        username=user.username,
        first_name=user.first_name,
        last_name=user.last_name,
        email_address=user.email_address,
        last_login=user.last_login,
        avatar_url=user.avatar_url,
        role=user.role,
        disabled=user.disabled,
        timestamps=Timestamps(created=user.created, updated=user.updated),
        version=user.version,
    )


def token_view(token: Token, last_used: datetime | None = None) -> TokenView:
    """Return the view of a token."""
    return TokenView(
        id=token.id,
        name=token.name,
        role=token.role,
        user_id=token.user_id or "",
        expires=token.expires,
        last_used=last_used,
        timestamps=Timestamps(created=token.created, updated=token.updated),
        version=token.version,
    )
