"""What Hypothesis makes units of: steps over few ids and names, so that they meet."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
from hypothesis import strategies as st

from statusthing.errors import (
    AlreadyExists,
    InUse,
    MissingReference,
    NotFound,
    VersionConflict,
)
from statusthing.log import Change
from statusthing.model import RECORDS, Record, Settings, StatusKind
from statusthing.store import Query, Range, Transaction
from statusthing.testing.samples import NOW, change, item, kept, note, status

Step = tuple[Any, ...]

_IDS = st.sampled_from(["a", "B", "é"])
_MINUTES = st.integers(0, 1)
_INSTANTS = st.builds(lambda minutes: NOW + timedelta(minutes=minutes), st.integers(-1, 2))
_NAMES = st.sampled_from(["x", "X", "ß"])
_RECORDS = st.one_of(
    st.builds(status, _IDS, _MINUTES, name=_NAMES, kind=st.sampled_from(list(StatusKind)[:3])),
    st.builds(
        item, _IDS, _MINUTES, name=_NAMES, status_id=st.none() | _IDS, position=st.integers(-1, 1)
    ),
    st.builds(note, _IDS, _MINUTES, item_id=_IDS),
    st.builds(kept, _IDS, _MINUTES, expires=_INSTANTS),
)
_VALUES = {
    "created": _INSTANTS,
    "id": _IDS,
    "name": _NAMES,
    "position": st.integers(-1, 1),
    "status_id": _IDS,
    "item_id": _IDS,
    "expires": _INSTANTS,
}
_NULLABLE = {"status_id"}


def _wants(field: str) -> st.SearchStrategy[Any]:
    values = _VALUES[field]
    maybe = st.none() | values if field in _NULLABLE else values
    return st.one_of(
        maybe,
        st.frozensets(maybe, max_size=3),
        st.builds(Range, ge=st.none() | values, lt=st.none() | values),
    )


@st.composite
def _queries(draw: st.DrawFn, kinds: list[type[Record]]) -> Query[Any]:
    kind = draw(st.sampled_from(kinds))
    fields = sorted(set(_VALUES) & set(kind.__struct_fields__))
    asked = draw(st.lists(st.sampled_from(fields), max_size=2, unique=True))
    return Query(
        kind,
        {field: draw(_wants(field)) for field in asked},
        descending=draw(st.booleans()),
        after=draw(st.none() | st.tuples(_INSTANTS, _IDS)),
        limit=draw(st.none() | st.integers(0, 4)),
        newest_per=draw(st.none() | st.tuples(st.sampled_from(fields), st.integers(1, 2))),
    )


_KINDS = st.sampled_from(list(RECORDS))
_UNLOGGED = _queries([kind for kind, spec in RECORDS.items() if not spec.logged])

QUERIES = _queries(list(RECORDS))

STEPS: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("add"), _RECORDS),
    st.tuples(st.just("add"), _RECORDS),
    st.tuples(st.just("replace"), _RECORDS, st.integers(1, 2)),
    st.tuples(st.just("remove"), _KINDS, _IDS),
    st.tuples(st.just("get"), _KINDS, _IDS),
    st.tuples(st.just("find"), QUERIES),
    st.tuples(st.just("find"), QUERIES),
    st.tuples(st.just("count"), QUERIES),
    st.tuples(st.just("remove_where"), _UNLOGGED, st.integers(0, 3)),
)

_REFUSALS = (AlreadyExists, MissingReference, NotFound, InUse, VersionConflict)
_KEYWORDS = {"replace": "expect", "remove_where": "limit"}


def take(transaction: Transaction, steps: list[Step], head: int = 0) -> list[Any]:
    """Take steps in a unit, and log them; return what came of each, and what it all came to.

    Args:
        transaction: the unit's.
        steps: each the name of a method and its arguments.
        head: what to count revisions from.
    """
    outcomes: list[Any] = []
    logged = 0
    for call, *arguments in steps:
        keywords = {_KEYWORDS[call]: arguments.pop()} if call in _KEYWORDS else {}
        try:
            outcome = getattr(transaction, call)(*arguments, **keywords)
        except _REFUSALS as refusal:
            outcome = (type(refusal), vars(refusal))
        else:
            subject = _subject(call, arguments)
            if subject is not None:
                public = subject.id in {"a", "B"}
                transaction.append(change(transaction, logged, subject, public=public))
                logged += 1
        outcomes.append(list(outcome) if call == "find" else outcome)
    return outcomes + everything(transaction, head)


def everything(transaction: Transaction, head: int = 0) -> list[Any]:
    """Return all that a transaction can see, with revisions counted from `head`."""
    return [
        transaction.revision - head,
        transaction.public_revision - head,
        transaction.now,
        *(list(transaction.find(Query(kind))) for kind in RECORDS),
        *(
            msgspec.structs.replace(each, revision=each.revision - head)
            for each in transaction.find(Query(Change, {"revision": Range(ge=head + 1)}))
        ),
    ]


def _subject(call: str, arguments: list[Any]) -> Record | None:
    """Return the record of a logged type that a step changed, if it did."""
    if call in {"add", "replace"}:
        record: Record = arguments[0]
    elif call == "remove":
        kind, id = arguments
        record = Settings(id=id, created=NOW, updated=NOW)
    else:
        return None
    kind = arguments[0] if call == "remove" else type(record)
    return record if RECORDS[kind].logged else None
