"""What the lines of a journal say. Each is a JSON object, and most stand for a unit of work."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from statusthing.errors import SchemaTooNew, StoreError
from statusthing.memory import State, Writing, identity
from statusthing.model import EPOCH
from statusthing.store import pack, schemas, unpack


class Layout(msgspec.Struct, frozen=True, tag="layout", forbid_unknown_fields=True):
    """How to read the lines behind this one, which is the first, or was added by an upgrade.

    Attributes:
        numbers: the number of each kind that is packed, and of the journal's own lines.
    """

    numbers: dict[str, int]


class Unit(msgspec.Struct, frozen=True, tag="unit", forbid_unknown_fields=True):
    """What a unit of work did, and the head behind it.

    Attributes:
        put: the rows that it added or replaced, packed.
        removed: the kind and the key of each row that it removed.
    """

    put: list[dict[str, Any]]
    removed: list[tuple[str, str | tuple[int, int]]]
    revision: int
    public_revision: int
    time: datetime


LAYOUT = Layout({"journal": 1, **schemas()})


def unit_of(writing: Writing, state: State) -> Unit:
    """Note what a transaction has done, and the state that it led to."""
    touched = writing.touched.items()
    return Unit(
        put=[pack(row) for _, row in touched if row is not None],
        removed=[(kind.__name__, key) for (kind, key), row in touched if row is None],
        revision=state.revision,
        public_revision=state.public_revision,
        time=state.time,
    )


def encode(line: Layout | Unit) -> bytes:
    """Write a line, with its end."""
    return msgspec.json.encode(line) + b"\n"


def replay(lines: list[bytes]) -> tuple[State, Layout | None]:
    """Do again what the lines say, from the first one on, and return the last layout among them.

    Raises:
        SchemaTooNew: newer software wrote one of them.
        StoreError: one of them is damaged; the message has its number.
    """
    tables: dict[type[Any], dict[Any, Any]] = {kind: {} for kind in State().tables}
    kinds = {kind.__name__: kind for kind in tables}
    head = Unit([], [], revision=0, public_revision=0, time=EPOCH)
    layout = None
    for number, text in enumerate(lines, start=1):
        try:
            line = msgspec.json.decode(text, type=Layout | Unit)
            if isinstance(line, Layout):
                _check_not_newer(line)
                layout = line
                continue
            for data in line.put:
                row = unpack(data)
                tables[type(row)][identity(row)] = row
            for kind, key in line.removed:
                tables[kinds[kind]].pop(key, None)
            head = line
        except SchemaTooNew:
            raise
        except (KeyError, ValueError, StoreError) as error:
            msg = f"line {number} is damaged, or not of a journal: {error}"
            raise StoreError(msg) from error
    state = State(
        tables=tables,
        revision=head.revision,
        public_revision=head.public_revision,
        time=head.time,
    )
    return state, layout


def _check_not_newer(layout: Layout) -> None:
    for kind, number in layout.numbers.items():
        if number > LAYOUT.numbers.get(kind, 0):
            msg = f"the journal holds {kind} {number}, of a newer version: install that version"
            raise SchemaTooNew(msg)
