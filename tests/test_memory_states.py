"""The parts of the memory store that other stores are made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from statusthing.errors import UnloggedWrite
from statusthing.log import Action, Change, describe
from statusthing.memory import Reading, State, Writing, identity
from statusthing.model import EPOCH, Item, KeptAnswer, Record
from statusthing.store import Query

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def item(id: str, **fields: Any) -> Item:
    """Make an item."""
    return Item(id=id, created=NOW, updated=NOW, **({"name": id} | fields))


def kept(id: str) -> KeptAnswer:
    """Make a kept answer."""
    return KeptAnswer(id=id, created=NOW, updated=NOW, digest="d", answer="{}", expires=NOW)


def change(revision: int, record: Record) -> Change:
    """Make the first change of a revision."""
    return Change(
        revision=revision,
        seq=0,
        at=NOW,
        actor="test",
        action=Action.ADDED,
        kind=type(record).__name__,
        subject=record.id,
        before=None,
        after=describe(record),
        public=True,
    )


def committed(*records: Record) -> State:
    """Return the state with some records, the first of which is logged."""
    unit = Writing(State(), NOW)
    for record in records:
        unit.add(record)
    unit.append(change(1, records[0]))
    return unit.commit()


def test_a_state_begins_empty() -> None:
    """The state of a store that nobody wrote to has head 0, no time yet, and no rows."""
    tx = Reading(State())

    assert (tx.revision, tx.public_revision, tx.now) == (0, 0, EPOCH)
    assert [tx.find(Query(kind)) for kind in State().tables] == [[]] * len(State().tables)


def test_a_unit_leaves_the_state_that_it_starts_from() -> None:
    """What a unit writes is in the state that `commit` returns, and not in the one before."""
    before = committed(item("a"))
    unit = Writing(before, NOW)
    unit.replace(item("a", name="b", version=2), expect=1)
    unit.append(change(2, item("a")))
    after = unit.commit()

    assert [Reading(state).get(Item, "a").name for state in (before, after)] == ["a", "b"]
    assert [state.revision for state in (before, after)] == [1, 2]
    assert after.time == before.time + timedelta(microseconds=1)


def test_a_unit_tells_what_it_touched() -> None:
    """Each row that the unit put or removed is there once, as the unit leaves it."""
    unit = Writing(committed(item("a"), item("b"), kept("k")), NOW)
    unit.replace(item("a", name="c", version=2), expect=1)
    unit.replace(item("a", name="d", version=3), expect=2)
    unit.remove(Item, "b")
    unit.remove_where(Query(KeptAnswer), limit=1)
    unit.append(change(2, item("a")))

    assert unit.touched == {
        (Item, "a"): item("a", name="d", version=3),
        (Item, "b"): None,
        (KeptAnswer, "k"): None,
        (Change, (2, 0)): change(2, item("a")),
    }


def test_a_unit_that_writes_nothing_touches_nothing() -> None:
    """A unit that only reads, or is refused, has touched nothing and commits the same rows."""
    before = committed(item("a"))
    unit = Writing(before, NOW)
    unit.get(Item, "a")

    assert unit.touched == {}
    assert unit.commit() == before


def test_what_was_touched_makes_up_the_state() -> None:
    """Rows are found in the tables of the committed state by the keys that the unit tells."""
    unit = Writing(State(), NOW)
    unit.add(item("a"))
    unit.append(change(1, item("a")))
    tables = unit.commit().tables

    assert {key: tables[key[0]][key[1]] for key in unit.touched} == unit.touched
    assert [identity(row) for row in unit.touched.values()] == [key for _, key in unit.touched]


def test_a_unit_that_does_not_log_is_refused_at_its_end() -> None:
    """R19: `commit` makes no state out of a unit whose changes and log do not agree."""
    unit = Writing(State(), NOW)
    unit.add(item("a"))

    with pytest.raises(UnloggedWrite):
        unit.commit()
