"""The log: one entry for each record that was added, replaced or removed, in one total order.

Entries are numbered `(revision, seq)`: a revision is one unit of work that changed something, `seq`
counts its changes from 0. Revisions have no gaps. Everything that follows the state of a store over
time reads this log; nothing else has to be kept in step with the records.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

import msgspec

from statusthing.model import RECORDS, Record


class Action(enum.Enum):
    """What happened to the subject."""

    ADDED = "added"
    REPLACED = "replaced"
    REMOVED = "removed"
    SIGNED_IN = "signed in"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One entry.

    Attributes:
        revision: the revision that the whole unit of work shares.
        seq: its place within the revision, from 0.
        at: when, in UTC; never earlier than the entry before it.
        actor: who asked, as `Principal.name` says it.
        action: what happened.
        kind: the record's type, `Item` for one.
        subject: the record's id.
        before: the record as it was, as flat JSON-able data; None where it was added.
        after: the record as it is now; None where it was removed.
        public: whether an anonymous visitor may see that this happened.
        address: from where they asked, an IP address; empty where that is unknown.
        correlation_id: of the request, which the log of the server has too; empty outside of one.
    """

    revision: int
    seq: int
    at: datetime
    actor: str
    action: Action
    kind: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    public: bool
    address: str = ""
    correlation_id: str = ""


def describe(record: Record) -> dict[str, Any]:
    """Turn a record into what the log keeps of it: JSON-able data, without what is secret."""
    data: dict[str, Any] = msgspec.to_builtins(record)
    for field in RECORDS[type(record)].secret:
        del data[field]
    return data
