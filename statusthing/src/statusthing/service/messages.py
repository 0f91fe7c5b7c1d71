"""What operations take and give: one struct for each request and response message of the contract.

Requests carry the fields of their message under the same names; an empty value means "not given",
as in proto3. A `kind` may be a `StatusKind` or its number. Responses encode to the JSON of their
message.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from statusthing.model import ItemView, NoteView, StatusKind, StatusView, Timestamps, View

Kind = StatusKind | int


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The base of all requests."""


class StatusInput(msgspec.Struct, frozen=True, kw_only=True):
    """A status that is to be made along with an item, or an existing one's id.

    What the server decides itself (`timestamps`, `version`) may be there and is ignored.
    """

    id: str = ""
    name: str = ""
    description: str = ""
    color: str = ""
    kind: Kind = 0
    timestamps: Timestamps | None = None
    version: int = 0


class GetItemRequest(Request, frozen=True, kw_only=True):
    """Ask for one item."""

    item_id: str = ""


class ListItemsRequest(Request, frozen=True, kw_only=True):
    """Ask for items, narrowed by statuses and kinds; `extended` brings their notes."""

    status_ids: Sequence[str] = ()
    kinds: Sequence[Kind] = ()
    page_size: int = 0
    page_token: str = ""
    extended: bool = False


class AddItemRequest(Request, frozen=True, kw_only=True):
    """Add an item, with a status and a first note where given."""

    name: str = ""
    description: str = ""
    initial_status_id: str = ""
    initial_status: StatusInput | None = None
    initial_note_text: str = ""
    position: int = 0
    request_id: str = ""


class UpdateItemRequest(Request, frozen=True, kw_only=True):
    """Change an item's own fields."""

    item_id: str = ""
    name: str = ""
    description: str = ""
    status_id: str = ""
    position: int = 0
    update_mask: Sequence[str] = ()
    expected_version: int = 0


class DeleteItemRequest(Request, frozen=True, kw_only=True):
    """Delete an item and its notes."""

    item_id: str = ""
    expected_version: int = 0


class GetStatusRequest(Request, frozen=True, kw_only=True):
    """Ask for one status."""

    status_id: str = ""


class ListStatusRequest(Request, frozen=True, kw_only=True):
    """Ask for statuses, narrowed by kinds."""

    kinds: Sequence[Kind] = ()
    page_size: int = 0
    page_token: str = ""


class AddStatusRequest(Request, frozen=True, kw_only=True):
    """Add a status."""

    name: str = ""
    description: str = ""
    color: str = ""
    kind: Kind = 0
    request_id: str = ""


class UpdateStatusRequest(Request, frozen=True, kw_only=True):
    """Change a status."""

    status_id: str = ""
    name: str = ""
    description: str = ""
    color: str = ""
    kind: Kind = 0
    update_mask: Sequence[str] = ()
    expected_version: int = 0


class DeleteStatusRequest(Request, frozen=True, kw_only=True):
    """Delete a status that no item has."""

    status_id: str = ""
    expected_version: int = 0


class GetNoteRequest(Request, frozen=True, kw_only=True):
    """Ask for one note."""

    note_id: str = ""


class ListNotesRequest(Request, frozen=True, kw_only=True):
    """Ask for the notes of an item."""

    item_id: str = ""
    page_size: int = 0
    page_token: str = ""


class AddNoteRequest(Request, frozen=True, kw_only=True):
    """Add a note to an item."""

    item_id: str = ""
    note_text: str = ""
    request_id: str = ""


class UpdateNoteRequest(Request, frozen=True, kw_only=True):
    """Change a note's text."""

    note_id: str = ""
    note_text: str = ""
    update_mask: Sequence[str] = ()
    expected_version: int = 0


class DeleteNoteRequest(Request, frozen=True, kw_only=True):
    """Delete a note."""

    note_id: str = ""
    expected_version: int = 0


class Answer(msgspec.Struct, frozen=True):
    """A response, and the head revision that it was read or written at."""

    response: Any
    revision: int


class GetItemResponse(View, frozen=True, kw_only=True):
    """One item."""

    item: ItemView


class ListItemsResponse(View, frozen=True, kw_only=True):
    """A page of items; iterating gives the items."""

    items: tuple[ItemView, ...] = ()
    next_page_token: str = ""

    def __iter__(self) -> Iterator[ItemView]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


class AddItemResponse(View, frozen=True, kw_only=True):
    """The item as it was added."""

    item: ItemView


class UpdateItemResponse(View, frozen=True, kw_only=True):
    """Nothing: the update is done."""


class DeleteItemResponse(View, frozen=True, kw_only=True):
    """Nothing: the item is gone."""


class GetStatusResponse(View, frozen=True, kw_only=True):
    """One status."""

    status: StatusView


class ListStatusResponse(View, frozen=True, kw_only=True):
    """A page of statuses; iterating gives the statuses."""

    statuses: tuple[StatusView, ...] = ()
    next_page_token: str = ""

    def __iter__(self) -> Iterator[StatusView]:
        return iter(self.statuses)

    def __len__(self) -> int:
        return len(self.statuses)


class AddStatusResponse(View, frozen=True, kw_only=True):
    """The status as it was added."""

    status: StatusView


class UpdateStatusResponse(View, frozen=True, kw_only=True):
    """Nothing: the update is done."""


class DeleteStatusResponse(View, frozen=True, kw_only=True):
    """Nothing: the status is gone."""


class GetNoteResponse(View, frozen=True, kw_only=True):
    """One note."""

    note: NoteView


class ListNotesResponse(View, frozen=True, kw_only=True):
    """A page of notes, oldest first; iterating gives the notes."""

    notes: tuple[NoteView, ...] = ()
    next_page_token: str = ""

    def __iter__(self) -> Iterator[NoteView]:
        return iter(self.notes)

    def __len__(self) -> int:
        return len(self.notes)


class AddNoteResponse(View, frozen=True, kw_only=True):
    """The note as it was added."""

    note: NoteView


class UpdateNoteResponse(View, frozen=True, kw_only=True):
    """Nothing: the update is done."""


class DeleteNoteResponse(View, frozen=True, kw_only=True):
    """Nothing: the note is gone."""
