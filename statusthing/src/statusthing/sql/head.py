"""The one row of the head, what the log has come to: each transaction begins with reading it."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import bindparam, select, update

from statusthing.sql.session import Bound, Session
from statusthing.sql.tables import head

READ = select(head.c.revision, head.c.public_revision, head.c.time)
LOCK = READ.with_for_update()
MOVE = update(head).values(
    {name: bindparam(name) for name in ("revision", "public_revision", "time")}
)


class Head(msgspec.Struct, frozen=True):
    """What the row holds."""

    revision: int
    public_revision: int
    time: datetime


def begin(session: Session, *, lock: bool = False) -> Head:
    """Begin a transaction, and return the head.

    Args:
        session: where.
        lock: keep other writers away from the head, where the database locks rows.
    """
    [found] = session.begin(Head, LOCK if lock else READ)
    return found


def moving(session: Session, head: Head) -> Bound:
    """Make the statement that writes the head."""
    return session.bind(MOVE, msgspec.structs.asdict(head))
