"""The board: everything that the public pages show, read in one unit of few queries.

The pages belong to nobody in particular. They are made once for all visitors, and whoever serves
them asks the table of `statusthing.access` first.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import msgspec

from statusthing.errors import InvalidArgument
from statusthing.log import Change
from statusthing.model import (
    Item,
    ItemView,
    Note,
    NoteView,
    Status,
    instant,
    item_view,
    microseconds,
    note_view,
    status_view,
)
from statusthing.service.checks import can_exist
from statusthing.service.messages import SettingsView
from statusthing.service.order import ordered
from statusthing.service.settings import current, settings_view
from statusthing.service.unit import existing
from statusthing.store import Query, Transaction

NEWEST = 3
"""How many notes an item has on the board."""

NOTES = 20
"""How many notes a page of an item's notes has."""

_CURSOR = re.compile(r"([0-9]{1,18})\.(.+)")


class Heads(NamedTuple):
    """Where a store is.

    Attributes:
        revision: the head.
        public_revision: the last revision with a change that an anonymous visitor may see.
    """

    revision: int
    public_revision: int


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to see at one revision.

    Attributes:
        revision, public_revision: see `Heads`.
        changed: when the public revision was made; None before the first.
        taken: when the board was read.
        settings: how the pages present themselves.
        items: in the order of pages: by position, then age. Each with its status and its newest
            `NEWEST` notes, oldest first.
    """

    revision: int
    public_revision: int
    changed: datetime | None
    taken: datetime
    settings: SettingsView = SettingsView()
    items: tuple[ItemView, ...]


class ItemNotes(msgspec.Struct, frozen=True, kw_only=True):
    """An item and a page of its notes.

    Attributes:
        item: with its status, and without notes.
        notes: newest first.
        older: what to ask for next as `before`; empty if these are the oldest notes.
    """

    item: ItemView
    notes: tuple[NoteView, ...]
    older: str


def heads(tx: Transaction) -> Heads:
    """Return where the store is."""
    return Heads(tx.revision, tx.public_revision)


def board(taken: datetime) -> Callable[[Transaction], Board]:
    """Read the board: at most six queries, whatever there is.

    Args:
        taken: the present.
    """

    def work(tx: Transaction) -> Board:
        statuses = {status.id: status_view(status) for status in tx.find(Query(Status))}
        notes: defaultdict[str, list[NoteView]] = defaultdict(list)
        for note in tx.find(Query(Note, newest_per=("item_id", NEWEST))):
            notes[note.item_id].append(note_view(note))
        return Board(
            revision=tx.revision,
            public_revision=tx.public_revision,
            changed=_changed(tx),
            taken=taken,
            settings=settings_view(current(tx)),
            items=tuple(
                item_view(
                    item,
                    statuses[item.status_id] if item.status_id else None,
                    tuple(notes.get(item.id, ())),
                )
                for item in ordered(tx.find(Query(Item)))
            ),
        )

    return work


def _changed(tx: Transaction) -> datetime | None:
    last = tx.find(Query(Change, where={"revision": tx.public_revision}, limit=1))
    return last[0].at if last else None


def item_notes(item_id: str, before: str) -> Callable[[Transaction], ItemNotes]:
    """Read an item and some of its notes.

    Args:
        item_id: the item.
        before: `older` of the page before; empty for the newest notes.

    Raises:
        InvalidArgument: no page has such an `older`.
    """
    after = _key(before) if before else None

    def work(tx: Transaction) -> ItemNotes:
        item = existing(tx, Item, item_id)
        status = status_view(tx.get(Status, item.status_id)) if item.status_id else None
        found = tx.find(
            Query(Note, where={"item_id": item.id}, descending=True, after=after, limit=NOTES + 1)
        )
        notes = tuple(note_view(note) for note in found[:NOTES])
        more = len(found) > NOTES
        return ItemNotes(
            item=item_view(item, status),
            notes=notes,
            older=f"{microseconds(found[NOTES - 1].created)}.{found[NOTES - 1].id}" if more else "",
        )

    return work


def _key(before: str) -> tuple[datetime, str]:
    match = _CURSOR.fullmatch(before)
    if match is None or not can_exist(match[2]):
        raise InvalidArgument("before", "is not one that this list returned")
    try:
        return instant(int(match[1])), match[2]
    except OverflowError:
        raise InvalidArgument("before", "is not one that this list returned") from None
