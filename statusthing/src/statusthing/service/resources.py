"""`StatusThing.items`, `.users` and the others: the operations as methods, for use in process.

Arguments are named as the fields of the requests; one that is left out means what an empty field
means there. `principal` says whom an operation runs for, by default the program itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from statusthing.access import TRUSTED, Principal
from statusthing.model import ItemView, NoteView, StatusView, UserView
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


class Users:
    """The operations on users."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def get(self, user_id: str, *, principal: Principal = TRUSTED) -> UserView:
        """Return a user.

        Raises:
            NotFound: there is none.
        """
        answer = await self._run(m.GetUserRequest(user_id=user_id), principal=principal)
        user: UserView = answer.response.user
        return user

    async def list(
        self, *, page_size: int = 0, page_token: str = "", principal: Principal = TRUSTED
    ) -> m.ListUsersResponse:
        """Return the users, oldest first; pages as in `Items.list`."""
        answer = await self._run(
            m.ListUsersRequest(page_size=page_size, page_token=page_token), principal=principal
        )
        response: m.ListUsersResponse = answer.response
        return response

    async def add(
        self,
        *,
        username: str,
        password: str,
        role: m.RoleInput,
        first_name: str = "",
        last_name: str = "",
        email_address: str = "",
        avatar_url: str = "",
        request_id: str = "",
        principal: Principal = TRUSTED,
    ) -> UserView:
        """Add a user.

        Args:
            username: one line of at most 200 characters, unique among users.
            password: 8 characters to 4 096 bytes, none of the most common ones.
            role: what they may do.
            first_name: one line of at most 200 characters.
            last_name: as `first_name`.
            email_address: of at most 254 characters.
            avatar_url: of a picture, `https://` or `http://`.
            request_id: an idempotency key; a repeat within 24 hours gets the first answer.
            principal: whom it runs for.

        Raises:
            InvalidArgument: a value breaks a rule.
            AlreadyExists: the username is taken.
            TooBusy: too many passwords are being hashed.
        """
        answer = await self._run(
            m.AddUserRequest(
                username=username,
                password=password,
                role=role,
                first_name=first_name,
                last_name=last_name,
                email_address=email_address,
                avatar_url=avatar_url,
                request_id=request_id,
            ),
            principal=principal,
        )
        user: UserView = answer.response.user
        return user

    async def update(
        self,
        user_id: str,
        *,
        username: str = "",
        password: str = "",
        first_name: str = "",
        last_name: str = "",
        email_address: str = "",
        avatar_url: str = "",
        role: m.RoleInput = 0,
        disabled: bool = False,
        update_mask: Sequence[str] = (),
        expected_version: int = 0,
        principal: Principal = TRUSTED,
    ) -> None:
        """Change the fields that are given, or exactly those that `update_mask` names.

        A new password, a new role and disabling end the sessions of the user. `disabled` is undone
        by naming it in the mask.

        Raises:
            InvalidArgument: a value breaks a rule.
            NotFound: there is no such user.
            AlreadyExists: the username is taken.
            LastAdmin: nobody could manage users any more.
            VersionConflict: the user has another version.
            TooBusy: too many passwords are being hashed.
        """
        await self._run(
            m.UpdateUserRequest(
                user_id=user_id,
                username=username,
                password=password,
                first_name=first_name,
                last_name=last_name,
                email_address=email_address,
                avatar_url=avatar_url,
                role=role,
                disabled=disabled,
                update_mask=update_mask,
                expected_version=expected_version,
            ),
            principal=principal,
        )

    async def delete(
        self, user_id: str, *, expected_version: int = 0, principal: Principal = TRUSTED
    ) -> None:
        """Delete a user, their tokens and their sessions.

        Raises:
            NotFound: there is none.
            LastAdmin: nobody could manage users any more.
            VersionConflict: they have another version.
        """
        await self._run(
            m.DeleteUserRequest(user_id=user_id, expected_version=expected_version),
            principal=principal,
        )

    async def change_password(
        self, current_password: str, new_password: str, *, principal: Principal
    ) -> None:
        """Change the password of a principal's own account, which ends all of its sessions.

        Raises:
            InvalidArgument: the new password is not good enough.
            PermissionDenied: the current one is wrong, or the principal has no account.
            TooManyAttempts: it was wrong too often.
            TooBusy: too many passwords are being hashed.
        """
        await self._run(
            m.ChangePasswordRequest(current_password=current_password, new_password=new_password),
            principal=principal,
        )


class Tokens:
    """The operations on tokens."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def list(
        self,
        *,
        user_id: str = "",
        page_size: int = 0,
        page_token: str = "",
        principal: Principal = TRUSTED,
    ) -> m.ListTokensResponse:
        """Return tokens, oldest first, all or those of a user; pages as in `Items.list`."""
        answer = await self._run(
            m.ListTokensRequest(user_id=user_id, page_size=page_size, page_token=page_token),
            principal=principal,
        )
        response: m.ListTokensResponse = answer.response
        return response

    async def add(
        self,
        *,
        name: str,
        role: m.RoleInput,
        expires: datetime | None = None,
        request_id: str = "",
        principal: Principal = TRUSTED,
    ) -> m.AddTokenResponse:
        """Add a token; the answer has the secret, which nobody is told again.

        Args:
            name: what it is for, one line of at most 200 characters.
            role: what it may do, at most that of the principal.
            expires: when it ends, with a time zone; None for never.
            request_id: an idempotency key; a repeat gets the token without the secret.
            principal: whom it runs for; the token belongs to their account if they have one.

        Raises:
            InvalidArgument: a value breaks a rule.
            PermissionDenied: the role is above that of the principal.
        """
        answer = await self._run(
            m.AddTokenRequest(name=name, role=role, expires=expires, request_id=request_id),
            principal=principal,
        )
        response: m.AddTokenResponse = answer.response
        return response

    async def revoke(self, token_id: str, *, principal: Principal = TRUSTED) -> None:
        """Revoke a token, at once in this process and within a second in every other.

        Raises:
            NotFound: there is none.
        """
        await self._run(m.RevokeTokenRequest(token_id=token_id), principal=principal)


class Settings:
    """The settings of the pages."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def get(self, *, principal: Principal = TRUSTED) -> m.SettingsView:
        """Return the settings; all are empty, with version 0, until somebody sets some."""
        answer = await self._run(m.GetSettingsRequest(), principal=principal)
        settings: m.SettingsView = answer.response.settings
        return settings

    async def update(
        self,
        *,
        title: str = "",
        description: str = "",
        logo_url: str = "",
        accent_color: str = "",
        links: str = "",
        footer: str = "",
        update_mask: Sequence[str] = (),
        expected_version: int = 0,
        principal: Principal = TRUSTED,
    ) -> None:
        """Change the settings that are given, or exactly those that `update_mask` names.

        Args:
            title: of the site, one line of at most 200 characters.
            description: what the site is about, at most 2 000 characters.
            logo_url: a path on this site, or a `data:image/` URL of at most 100 000 characters.
            accent_color: as the colour of a status.
            links: one a line: a label, a space, and a URL; at most 2 000 characters.
            footer: one line of at most 200 characters.
            update_mask: the names of the fields to set, even to nothing.
            expected_version: the version that the change is based on; 0 for whichever it is.
            principal: whom it runs for.

        Raises:
            InvalidArgument: a value breaks a rule.
            VersionConflict: the settings have another version.
        """
        await self._run(
            m.UpdateSettingsRequest(
                title=title,
                description=description,
                logo_url=logo_url,
                accent_color=accent_color,
                links=links,
                footer=footer,
                update_mask=update_mask,
                expected_version=expected_version,
            ),
            principal=principal,
        )


class Audit:
    """What was done, by whom and from where."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def list(
        self, *, page_size: int = 0, page_token: str = "", principal: Principal = TRUSTED
    ) -> m.ListAuditEntriesResponse:
        """Return entries, newest first: every change, and the attempts to sign in that failed.

        Args:
            page_size: at most so many, up to 1 000; 0 for 100.
            page_token: `next_page_token` of the page before.
            principal: whom it runs for.
        """
        answer = await self._run(
            m.ListAuditEntriesRequest(page_size=page_size, page_token=page_token),
            principal=principal,
        )
        response: m.ListAuditEntriesResponse = answer.response
        return response
