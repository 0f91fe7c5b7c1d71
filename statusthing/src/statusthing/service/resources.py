"""`StatusThing.items`, `.statuses` and `.notes`: the operations as methods, for use in process.

Arguments are named as the fields of the requests; one that is left out means what an empty field
means there. `principal` says whom an operation runs for, by default the program itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from statusthing.access import TRUSTED, Principal
from statusthing.model import ItemView, NoteView, StatusView
from statusthing.service import messages as m


class Run(Protocol):
    """Carries out a request: `StatusThing.run`."""

    async def __call__(self, request: m.Request, *, principal: Principal) -> m.Answer:
        """Return the answer."""


class Items:
    """The operations on items."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def get(self, item_id: str, *, principal: Principal = TRUSTED) -> ItemView:
        """Return an item with its status and its newest 100 notes, oldest first.

        Raises:
            NotFound: there is none.
        """
        answer = await self._run(m.GetItemRequest(item_id=item_id), principal=principal)
        item: ItemView = answer.response.item
        return item

    async def list(
        self,
        *,
        status_ids: Sequence[str] = (),
        kinds: Sequence[m.Kind] = (),
        extended: bool = False,
        page_size: int = 0,
        page_token: str = "",
        principal: Principal = TRUSTED,
    ) -> m.ListItemsResponse:
        """Return the items that satisfy every filter, oldest first.

        Args:
            status_ids: any of these statuses.
            kinds: a status of any of these kinds.
            extended: bring each item's newest 100 notes along.
            page_size: at most so many, up to 1 000; 0 for all, up to 10 000.
            page_token: `next_page_token` of the page before.
            principal: whom it runs for.

        Raises:
            InvalidArgument: a kind is invalid, or the token is not from this list.
            TooManyResults: all would be more than 10 000.
        """
        answer = await self._run(
            m.ListItemsRequest(
                status_ids=status_ids,
                kinds=kinds,
                extended=extended,
                page_size=page_size,
                page_token=page_token,
            ),
            principal=principal,
        )
        response: m.ListItemsResponse = answer.response
        return response

    async def add(
        self,
        *,
        name: str,
        description: str = "",
        initial_status_id: str = "",
        initial_status: m.StatusInput | None = None,
        initial_note_text: str = "",
        position: int = 0,
        request_id: str = "",
        principal: Principal = TRUSTED,
    ) -> ItemView:
        """Add an item.

        Args:
            name: one line of at most 200 characters, unique among items.
            description: at most 2 000 characters.
            initial_status_id: the status it has.
            initial_status: or a status to make, or to find by its id.
            initial_note_text: a first note, at most 10 000 characters.
            position: its place on pages, lowest first.
            request_id: an idempotency key; a repeat within 24 hours gets the first answer.
            principal: whom it runs for.

        Raises:
            InvalidArgument: a value breaks a rule.
            AlreadyExists: the name is taken.
            NotFound: there is no such status.
        """
        answer = await self._run(
            m.AddItemRequest(
                name=name,
                description=description,
                initial_status_id=initial_status_id,
                initial_status=initial_status,
                initial_note_text=initial_note_text,
                position=position,
                request_id=request_id,
            ),
            principal=principal,
        )
        item: ItemView = answer.response.item
        return item

    async def update(
        self,
        item_id: str,
        *,
        name: str = "",
        description: str = "",
        status_id: str = "",
        position: int = 0,
        update_mask: Sequence[str] = (),
        expected_version: int = 0,
        principal: Principal = TRUSTED,
    ) -> None:
        """Change the fields that are given, or exactly those that `update_mask` names.

        Args:
            item_id: the item.
            name: see `add`.
            description: see `add`; with the mask an empty one clears it.
            status_id: the status it has now; with the mask an empty one takes the status away.
            position: see `add`.
            update_mask: the names of the fields to set, even to nothing.
            expected_version: the version that the change is based on; 0 for whichever it is.
            principal: whom it runs for.

        Raises:
            InvalidArgument: a value breaks a rule.
            NotFound: there is no such item, or no such status.
            AlreadyExists: the name is taken.
            VersionConflict: the item has another version.
        """
        await self._run(
            m.UpdateItemRequest(
                item_id=item_id,
                name=name,
                description=description,
                status_id=status_id,
                position=position,
                update_mask=update_mask,
                expected_version=expected_version,
            ),
            principal=principal,
        )

    async def delete(
        self, item_id: str, *, expected_version: int = 0, principal: Principal = TRUSTED
    ) -> None:
        """Delete an item and its notes.

        Raises:
            NotFound: there is none.
            VersionConflict: it has another version.
        """
        await self._run(
            m.DeleteItemRequest(item_id=item_id, expected_version=expected_version),
            principal=principal,
        )


class Statuses:
    """The operations on statuses."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def get(self, status_id: str, *, principal: Principal = TRUSTED) -> StatusView:
        """Return a status.

        Raises:
            NotFound: there is none.
        """
        answer = await self._run(m.GetStatusRequest(status_id=status_id), principal=principal)
        status: StatusView = answer.response.status
        return status

    async def list(
        self,
        *,
        kinds: Sequence[m.Kind] = (),
        page_size: int = 0,
        page_token: str = "",
        principal: Principal = TRUSTED,
    ) -> m.ListStatusResponse:
        """Return the statuses of any of these kinds, oldest first.

        Pages, arguments and errors are those of `Items.list`.
        """
        answer = await self._run(
            m.ListStatusRequest(kinds=kinds, page_size=page_size, page_token=page_token),
            principal=principal,
        )
        response: m.ListStatusResponse = answer.response
        return response

    async def add(
        self,
        *,
        name: str,
        kind: m.Kind,
        description: str = "",
        color: str = "",
        request_id: str = "",
        principal: Principal = TRUSTED,
    ) -> StatusView:
        """Add a status.

        Args:
            name: one line of at most 200 characters, unique among statuses.
            kind: what it means.
            description: at most 2 000 characters.
            color: `#rgb`, `#rrggbb` or a colour that CSS names; empty for `#5DFC0A`.
            request_id: an idempotency key; a repeat within 24 hours gets the first answer.
            principal: whom it runs for.

        Raises:
            InvalidArgument: a value breaks a rule.
            AlreadyExists: the name is taken.
        """
        answer = await self._run(
            m.AddStatusRequest(
                name=name, kind=kind, description=description, color=color, request_id=request_id
            ),
            principal=principal,
        )
        status: StatusView = answer.response.status
        return status

    async def update(
        self,
        status_id: str,
        *,
        name: str = "",
        description: str = "",
        color: str = "",
        kind: m.Kind = 0,
        update_mask: Sequence[str] = (),
        expected_version: int = 0,
        principal: Principal = TRUSTED,
    ) -> None:
        """Change the fields that are given, or exactly those that `update_mask` names.

        Raises:
            InvalidArgument: a value breaks a rule.
            NotFound: there is no such status.
            AlreadyExists: the name is taken.
            VersionConflict: the status has another version.
        """
        await self._run(
            m.UpdateStatusRequest(
                status_id=status_id,
                name=name,
                description=description,
                color=color,
                kind=kind,
                update_mask=update_mask,
                expected_version=expected_version,
            ),
            principal=principal,
        )

    async def delete(
        self, status_id: str, *, expected_version: int = 0, principal: Principal = TRUSTED
    ) -> None:
        """Delete a status that no item has.

        Raises:
            NotFound: there is none.
            InUse: items have it.
            VersionConflict: it has another version.
        """
        await self._run(
            m.DeleteStatusRequest(status_id=status_id, expected_version=expected_version),
            principal=principal,
        )


class Notes:
    """The operations on notes."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def get(self, note_id: str, *, principal: Principal = TRUSTED) -> NoteView:
        """Return a note.

        Raises:
            NotFound: there is none.
        """
        answer = await self._run(m.GetNoteRequest(note_id=note_id), principal=principal)
        note: NoteView = answer.response.note
        return note

    async def list(
        self,
        item_id: str,
        *,
        page_size: int = 0,
        page_token: str = "",
        principal: Principal = TRUSTED,
    ) -> m.ListNotesResponse:
        """Return an item's notes, oldest first; pages as in `Items.list`.

        Raises:
            NotFound: there is no such item.
        """
        answer = await self._run(
            m.ListNotesRequest(item_id=item_id, page_size=page_size, page_token=page_token),
            principal=principal,
        )
        response: m.ListNotesResponse = answer.response
        return response

    async def add(
        self,
        item_id: str,
        note_text: str,
        *,
        request_id: str = "",
        principal: Principal = TRUSTED,
    ) -> NoteView:
        """Add a note to an item.

        Args:
            item_id: the item.
            note_text: 1 to 10 000 characters.
            request_id: an idempotency key; a repeat within 24 hours gets the first answer.
            principal: whom it runs for.

        Raises:
            InvalidArgument: a value breaks a rule.
            NotFound: there is no such item.
        """
        answer = await self._run(
            m.AddNoteRequest(item_id=item_id, note_text=note_text, request_id=request_id),
            principal=principal,
        )
        note: NoteView = answer.response.note
        return note

    async def update(
        self,
        note_id: str,
        note_text: str,
        *,
        expected_version: int = 0,
        principal: Principal = TRUSTED,
    ) -> None:
        """Change a note's text.

        Args:
            note_id: the note.
            note_text: 1 to 10 000 characters.
            expected_version: the version that the change is based on; 0 for whichever it is.
            principal: whom it runs for.

        Raises:
            InvalidArgument: the text is blank or too long.
            NotFound: there is no such note.
            VersionConflict: it has another version.
        """
        await self._run(
            m.UpdateNoteRequest(
                note_id=note_id, note_text=note_text, expected_version=expected_version
            ),
            principal=principal,
        )

    async def delete(
        self, note_id: str, *, expected_version: int = 0, principal: Principal = TRUSTED
    ) -> None:
        """Delete a note.

        Raises:
            NotFound: there is none.
            VersionConflict: it has another version.
        """
        await self._run(
            m.DeleteNoteRequest(note_id=note_id, expected_version=expected_version),
            principal=principal,
        )
