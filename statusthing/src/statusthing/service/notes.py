"""The operations on notes."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from statusthing.model import Item, Note, note_view
from statusthing.service import checks, pages
from statusthing.service.messages import (
    AddNoteRequest,
    AddNoteResponse,
    DeleteNoteRequest,
    DeleteNoteResponse,
    GetNoteRequest,
    GetNoteResponse,
    ListNotesRequest,
    ListNotesResponse,
    UpdateNoteRequest,
    UpdateNoteResponse,
)
from statusthing.service.unit import Unit, existing, possible
from statusthing.store import Transaction


def get_note(request: GetNoteRequest) -> Callable[[Transaction], GetNoteResponse]:
    """Return a note."""
    id = checks.required_id("note_id", request.note_id)

    def work(tx: Transaction) -> GetNoteResponse:
        return GetNoteResponse(note=note_view(existing(tx, Note, id)))

    return work


def list_notes(request: ListNotesRequest) -> Callable[[Transaction], ListNotesResponse]:
    """Return an item's notes, oldest first."""
    id = checks.required_id("item_id", request.item_id)
    page = pages.page_request(request, id)

    def work(tx: Transaction) -> ListNotesResponse:
        item = existing(tx, Item, id)
        found, token = pages.find_page(tx, Note, {"item_id": item.id}, page)
        return ListNotesResponse(
            notes=tuple(note_view(note) for note in found), next_page_token=token
        )

    return work


def add_note(request: AddNoteRequest) -> Callable[[Unit], AddNoteResponse]:
    """Add a note to an item."""
    id = checks.required_id("item_id", request.item_id)
    text = checks.note_text("note_text", request.note_text)

    def work(unit: Unit) -> AddNoteResponse:
        # Nobody looks for the item first: the store refuses a note on nothing (R10).
        note = unit.create(Note, item_id=possible(Item, id), text=text)
        return AddNoteResponse(note=note_view(note))

    return work


def update_note(request: UpdateNoteRequest) -> Callable[[Unit], UpdateNoteResponse]:
    """Change a note's text."""
    id = checks.required_id("note_id", request.note_id)
    text = checks.note_text("note_text", request.note_text)
    checks.mask(request.update_mask, ("note_text",))

    def work(unit: Unit) -> UpdateNoteResponse:
        note = unit.current(Note, id, request.expected_version)
        unit.change(note, msgspec.structs.replace(note, text=text))
        return UpdateNoteResponse()

    return work


def delete_note(request: DeleteNoteRequest) -> Callable[[Unit], DeleteNoteResponse]:
    """Remove a note."""
    id = checks.required_id("note_id", request.note_id)

    def work(unit: Unit) -> DeleteNoteResponse:
        unit.remove(unit.current(Note, id, request.expected_version))
        return DeleteNoteResponse()

    return work
