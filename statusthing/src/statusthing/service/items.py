"""The operations on items."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from statusthing.errors import InvalidArgument
from statusthing.model import (
    Item,
    Note,
    NoteView,
    Status,
    StatusView,
    item_view,
    note_view,
    status_view,
)
from statusthing.service import checks, pages
from statusthing.service.messages import (
    AddItemRequest,
    AddItemResponse,
    DeleteItemRequest,
    DeleteItemResponse,
    GetItemRequest,
    GetItemResponse,
    ListItemsRequest,
    ListItemsResponse,
    PostUpdateRequest,
    PostUpdateResponse,
    UpdateItemRequest,
    UpdateItemResponse,
)
from statusthing.service.statuses import initial_status
from statusthing.service.unit import Unit, existing, given
from statusthing.store import Query, Transaction

NEWEST_NOTES = 100
"""How many notes an item brings along."""


def get_item(request: GetItemRequest) -> Callable[[Transaction], GetItemResponse]:
    """Return an item with its status and its newest notes, oldest first."""
    id = checks.required_id("item_id", request.item_id)

    def work(tx: Transaction) -> GetItemResponse:
        item = existing(tx, Item, id)
        status = status_view(tx.get(Status, item.status_id)) if item.status_id else None
        newest = tx.find(
            Query(Note, where={"item_id": item.id}, descending=True, limit=NEWEST_NOTES)
        )
        notes = tuple(note_view(note) for note in reversed(newest))
        return GetItemResponse(item=item_view(item, status, notes))

    return work


def list_items(request: ListItemsRequest) -> Callable[[Transaction], ListItemsResponse]:
    """Return the items that satisfy every filter, in the order they were added."""
    kinds = checks.kinds("kinds", request.kinds)
    status_ids = checks.possible_ids("status_ids", request.status_ids)
    page = pages.page_request(
        request, sorted(kind.value for kind in kinds), sorted(request.status_ids)
    )

    def work(tx: Transaction) -> ListItemsResponse:
        where: dict[str, frozenset[str]] = {}
        if request.status_ids:
            where["status_id"] = status_ids
        if kinds:
            statuses = _statuses(tx, {"kind": kinds})
            known = frozenset(statuses)
            where["status_id"] = where.get("status_id", known) & known
        items, token = pages.find_page(tx, Item, where, page)
        if not kinds:
            used = frozenset(item.status_id for item in items if item.status_id)
            statuses = _statuses(tx, {"id": used})
        notes: dict[str, tuple[NoteView, ...]] = {}
        if request.extended:
            # Asking for all notes is cheaper than asking for those of every item.
            whole = not (where or page.after or token)
            notes = _newest_notes(
                tx, {} if whole else {"item_id": frozenset(item.id for item in items)}
            )
        return ListItemsResponse(
            items=tuple(
                item_view(
                    item,
                    statuses[item.status_id] if item.status_id else None,
                    notes.get(item.id, ()),
                )
                for item in items
            ),
            next_page_token=token,
        )

    return work


def add_item(request: AddItemRequest) -> Callable[[Unit], AddItemResponse]:
    """Add an item, with its status and its first note in the same unit."""
    name = checks.name("name", request.name)
    description = checks.description("description", request.description)
    position = checks.int32("position", request.position)
    text = request.initial_note_text
    if text:
        checks.note_text("initial_note_text", text)
    make_status = None
    if request.initial_status is not None and not request.initial_status_id:
        make_status = initial_status(request.initial_status)

    def work(unit: Unit) -> AddItemResponse:
        status = None
        if request.initial_status_id:
            status = existing(unit.tx, Status, request.initial_status_id)
        elif make_status is not None:
            status = make_status(unit)
        item = unit.create(
            Item,
            name=name,
            description=description,
            status_id=status.id if status else None,
            position=position,
        )
        notes: tuple[NoteView, ...] = ()
        if text:
            notes = (note_view(unit.create(Note, item_id=item.id, text=text)),)
        shown = status_view(status) if status else None
        return AddItemResponse(item=item_view(item, shown, notes))

    return work


def update_item(request: UpdateItemRequest) -> Callable[[Unit], UpdateItemResponse]:
    """Change the fields that are given, or exactly those that the mask names."""
    id = checks.required_id("item_id", request.item_id)
    fields: dict[str, Any] = given(request, ("name", "description", "status_id", "position"))
    if "name" in fields:
        checks.name("name", fields["name"])
    if "description" in fields:
        checks.description("description", fields["description"])
    if "position" in fields:
        checks.int32("position", fields["position"])
    if "status_id" in fields:
        fields["status_id"] = fields["status_id"] or None

    def work(unit: Unit) -> UpdateItemResponse:
        item = unit.current(Item, id, request.expected_version)
        status_id = fields.get("status_id")
        if status_id is not None:
            existing(unit.tx, Status, status_id)
        unit.change(item, msgspec.structs.replace(item, **fields))
        return UpdateItemResponse()

    return work


def delete_item(request: DeleteItemRequest) -> Callable[[Unit], DeleteItemResponse]:
    """Remove an item, and its notes with it."""
    id = checks.required_id("item_id", request.item_id)

    def work(unit: Unit) -> DeleteItemResponse:
        item = unit.current(Item, id, request.expected_version)
        for note in unit.tx.find(Query(Note, where={"item_id": item.id})):
            unit.remove(note)
        unit.remove(item)
        return DeleteItemResponse()

    return work


def post_update(request: PostUpdateRequest) -> Callable[[Unit], PostUpdateResponse]:
    """Say what is new about an item: a note, another status, or both in the same unit."""
    id = checks.required_id("item_id", request.item_id)
    if request.note_text:
        checks.note_text("note_text", request.note_text)
    elif not request.status_id:
        raise InvalidArgument("note_text", "is required unless another status is chosen")

    def work(unit: Unit) -> PostUpdateResponse:
        item = existing(unit.tx, Item, id)
        if request.status_id:
            status = existing(unit.tx, Status, request.status_id)
            unit.change(item, msgspec.structs.replace(item, status_id=status.id))
        note = None
        if request.note_text:
            note = note_view(unit.create(Note, item_id=item.id, text=request.note_text))
        return PostUpdateResponse(note=note)

    return work


def _statuses(tx: Transaction, where: Mapping[str, Any]) -> dict[str, StatusView]:
    return {status.id: status_view(status) for status in tx.find(Query(Status, where=where))}


def _newest_notes(tx: Transaction, where: Mapping[str, Any]) -> dict[str, tuple[NoteView, ...]]:
    grouped: defaultdict[str, list[NoteView]] = defaultdict(list)
    for note in tx.find(Query(Note, where=where, newest_per=("item_id", NEWEST_NOTES))):
        grouped[note.item_id].append(note_view(note))
    return {item: tuple(notes) for item, notes in grouped.items()}
