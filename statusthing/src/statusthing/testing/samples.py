"""Records to keep, and units that log what they do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from statusthing.log import Action, Change, describe
from statusthing.model import (
    RECORDS,
    FailedSignIn,
    Item,
    KeptAnswer,
    Note,
    Record,
    Role,
    Session,
    Settings,
    SetupLink,
    Status,
    StatusKind,
    Throttle,
    Token,
    TokenUse,
    User,
)
from statusthing.store import Transaction

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
TICK = timedelta(microseconds=1)


def status(id: str, minutes: int = 0, **fields: Any) -> Status:
    """Make a status, so many minutes after NOW."""
    at = NOW + timedelta(minutes=minutes)
    fields = {"name": id, "kind": StatusKind.UP, "created": at, "updated": at, **fields}
    return Status(id=id, **fields)


def item(id: str, minutes: int = 0, **fields: Any) -> Item:
    """Make an item."""
    at = NOW + timedelta(minutes=minutes)
    fields = {"name": id, "created": at, "updated": at, **fields}
    return Item(id=id, **fields)


def note(id: str, minutes: int = 0, **fields: Any) -> Note:
    """Make a note about the item `i`."""
    at = NOW + timedelta(minutes=minutes)
    fields = {"item_id": "i", "text": id, "created": at, "updated": at, **fields}
    return Note(id=id, **fields)


def kept(id: str, minutes: int = 0, **fields: Any) -> KeptAnswer:
    """Make a kept answer that expires an hour after it was made."""
    at = NOW + timedelta(minutes=minutes)
    fields = {"created": at, "updated": at, "expires": at + timedelta(hours=1), **fields}
    return KeptAnswer(id=id, **{"digest": "d", "answer": "{}", **fields})


_FIRST = datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
_MADE: dict[str, Any] = {"created": NOW, "updated": NOW + TICK}

SAMPLES: tuple[Record, ...] = (
    status("s", name=" Ünï\u0301\U0001f600\n", kind=StatusKind.DECOMM, color="#000000", version=7),
    item("i", name="", description="d", status_id="s", position=-3),
    item("none", status_id=None),
    note("n", text="'; --\t\\\""),
    Settings(id="settings", title=" ", links="a https://a.example\nb b", version=3, **_MADE),
    User(
        id="u",
        username="Ünï\u0301",
        password_hash="$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA",  # noqa: S106 - of no password
        email_address="'@\"",
        role=Role.VIEWER,
        disabled=True,
        last_login=_FIRST,
        **_MADE,
    ),
    User(id="v", username="v", password_hash="", role=Role.ADMIN, development=True, **_MADE),
    Token(id="t", name="", digest="d", role=Role.EDITOR, user_id="u", expires=_FIRST, **_MADE),
    Token(id="w", name="\u2028", digest="e", role=Role.ADMIN, **_MADE),
    Session(id="x", user_id="u", address="::1", user_agent="\n", expires=_FIRST, **_MADE),
    TokenUse(id="t", expires=_FIRST, **_MADE),
    SetupLink(id="l", expires=_FIRST, **_MADE),
    Throttle(id="r", failures=2**40, expires=_FIRST, **_MADE),
    FailedSignIn(
        id="f", username="", address="192.0.2.1", correlation_id="0a", expires=_FIRST, **_MADE
    ),
    kept("k", answer='{"a":"é"}', expires=_FIRST),
)
"""One record of every type, at least, that is easily spoilt."""

TEXTS = (
    "",
    " ",
    "a",
    "a ",
    "A",
    "é",  # composed
    "e\u0301",  # decomposed
    "\u1e69",
    "s\u0323\u0307",
    "s\u0307\u0323",
    "ß",
    "ss",
    "\u212a",  # KELVIN SIGN, which some comparisons take for K
    "K",
    "\u05e9\u05dc\u05d5\u05dd \u202eabc\u202c",  # right to left
    "\u0645\u0631\u062d\u0628\u0627",
    "\u1100\u1161",  # a syllable in letters
    "\uac00",  # and composed
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001f3f3\ufe0f",
    "\x01\x1f\x7f\x85\u2028\u2029",
    "\r\n\t\v\f",
    "\r",
    "\ufeffa",
    "\ufffd",
    "\uffff",
    "\U00010000",
    "\U00020000",
    "\U00030000",
    "\U000e0001",
    "\U000f0000",
    "\U0010ffff",
    "\\ \\n %s {} $1 ? :a ' \" ; --",
    "x" * 10_000,
)
"""Texts that are all different, from every plane, and easily taken for one another."""

INSTANTS = (
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    datetime(1582, 10, 10, 1, 2, 3, 4, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 30, 0, 1, tzinfo=UTC),  # an hour that clocks in Europe skip
    datetime(2026, 3, 29, 1, 30, 0, 999_999, tzinfo=UTC),
    datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
)
"""Instants, earliest first, that are easily rounded or out of somebody's range."""


def add(transaction: Transaction, *records: Record, public: bool = True) -> None:
    """Add records, and log those of logged types."""
    logged = 0
    for record in records:
        transaction.add(record)
        if RECORDS[type(record)].logged:
            log(transaction, logged, record, public=public)
            logged += 1


def log(transaction: Transaction, seq: int, record: Record, *, public: bool = True) -> None:
    """Append an entry about a record."""
    transaction.append(change(transaction, seq, record, public=public))


def change(transaction: Transaction, seq: int, record: Record, **fields: Any) -> Change:
    """Make an entry about a record: that it was added, unless `fields` say otherwise."""
    fields = {"action": Action.ADDED, "before": None, "after": describe(record), **fields}
    return Change(
        **{
            "revision": transaction.revision,
            "seq": seq,
            "at": transaction.now,
            "actor": "test",
            "kind": type(record).__name__,
            "subject": record.id,
            "public": True,
            **fields,
        }
    )


def count_up(transaction: Transaction) -> int:
    """Raise the position of the item `i` by one, and return what it was."""
    old = transaction.get(Item, "i")
    new = msgspec.structs.replace(old, position=old.position + 1, version=old.version + 1)
    transaction.replace(new, expect=old.version)
    log(transaction, 0, new)
    return old.position
