"""What operations take and give: one struct for each request and response message of the contract.

Requests carry the fields of their message under the same names; an empty value means "not given",
as in proto3. A `kind` may be a `StatusKind` or its number. Responses encode to the JSON of their
message.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from statusthing.model import (
    ItemView,
    NoteView,
    Role,
    StatusKind,
    StatusView,
    Timestamps,
    TokenView,
    UserView,
    View,
    repr_without_secrets,
)

Kind = StatusKind | int
RoleInput = Role | int


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The base of all requests."""

    __repr__ = repr_without_secrets


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


class GetUserRequest(Request, frozen=True, kw_only=True):
    """Ask for one user."""

    user_id: str = ""


class ListUsersRequest(Request, frozen=True, kw_only=True):
    """Ask for users."""

    page_size: int = 0
    page_token: str = ""


class AddUserRequest(Request, frozen=True, kw_only=True):
    """Add a user."""

    username: str = ""
    password: str = ""
    first_name: str = ""
    last_name: str = ""
    email_address: str = ""
    avatar_url: str = ""
    role: RoleInput = 0
    request_id: str = ""


class UpdateUserRequest(Request, frozen=True, kw_only=True):
    """Change a user; a new password, a new role and disabling end their sessions."""

    user_id: str = ""
    username: str = ""
    password: str = ""
    first_name: str = ""
    last_name: str = ""
    email_address: str = ""
    avatar_url: str = ""
    role: RoleInput = 0
    disabled: bool = False
    update_mask: Sequence[str] = ()
    expected_version: int = 0


class DeleteUserRequest(Request, frozen=True, kw_only=True):
    """Delete a user, their tokens and their sessions."""

    user_id: str = ""
    expected_version: int = 0


class ChangePasswordRequest(Request, frozen=True, kw_only=True):
    """Change the caller's own password."""

    current_password: str = ""
    new_password: str = ""


class WhoAmIRequest(Request, frozen=True, kw_only=True):
    """Ask whom the server takes the caller for."""


class ListTokensRequest(Request, frozen=True, kw_only=True):
    """Ask for tokens, all or those of one user."""

    user_id: str = ""
    page_size: int = 0
    page_token: str = ""


class AddTokenRequest(Request, frozen=True, kw_only=True):
    """Add a token, which belongs to the caller."""

    name: str = ""
    role: RoleInput = 0
    expires: datetime | None = None
    request_id: str = ""


class RevokeTokenRequest(Request, frozen=True, kw_only=True):
    """Revoke a token."""

    token_id: str = ""


class ListAuditEntriesRequest(Request, frozen=True, kw_only=True):
    """Ask for what was done and by whom, newest first."""

    page_size: int = 0
    page_token: str = ""


class GetSettingsRequest(Request, frozen=True, kw_only=True):
    """Ask how the pages present themselves."""


class UpdateSettingsRequest(Request, frozen=True, kw_only=True):
    """Change how the pages present themselves."""

    title: str = ""
    description: str = ""
    logo_url: str = ""
    accent_color: str = ""
    links: str = ""
    footer: str = ""
    update_mask: Sequence[str] = ()
    expected_version: int = 0


class GetOverviewRequest(Request, frozen=True, kw_only=True):
    """Ask for a page of items in the order of pages, and for all statuses.

    Attributes:
        text: is in the name or the description, whatever the case.
        kind: of the status; `UNKNOWN` for items without one; None for all.
        status_id: the status.
        page: from 1.
        page_size: how many items a page has.
    """

    text: str = ""
    kind: StatusKind | None = None
    status_id: str = ""
    page: int = 1
    page_size: int = 100


class CountNotesRequest(Request, frozen=True, kw_only=True):
    """Ask how many notes an item has."""

    item_id: str = ""


class GetNamesRequest(Request, frozen=True, kw_only=True):
    """Ask what items, statuses and users are called; what does not exist has no name."""

    item_ids: Sequence[str] = ()
    status_ids: Sequence[str] = ()
    user_ids: Sequence[str] = ()


class GetAccountsRequest(Request, frozen=True, kw_only=True):
    """Ask what the API does not tell of accounts, for the pages of admins."""

    user_ids: Sequence[str] = ()


class GetTokenRequest(Request, frozen=True, kw_only=True):
    """Ask for one token, without its secret."""

    token_id: str = ""


class PostUpdateRequest(Request, frozen=True, kw_only=True):
    """Add a note to an item and give it another status, or one of both."""

    item_id: str = ""
    status_id: str = ""
    note_text: str = ""
    request_id: str = ""


class MoveItemRequest(Request, frozen=True, kw_only=True):
    """Have an item stand before another one, or after it; `after` says which."""

    item_id: str = ""
    other_id: str = ""
    after: bool = False


class ReplaceStatusRequest(Request, frozen=True, kw_only=True):
    """Give the items of a status another one, or none, and delete it."""

    status_id: str = ""
    replacement_id: str = ""
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


class GetUserResponse(View, frozen=True, kw_only=True):
    """One user."""

    user: UserView


class ListUsersResponse(View, frozen=True, kw_only=True):
    """A page of users; iterating gives the users."""

    users: tuple[UserView, ...] = ()
    next_page_token: str = ""

    def __iter__(self) -> Iterator[UserView]:
        return iter(self.users)

    def __len__(self) -> int:
        return len(self.users)


class AddUserResponse(View, frozen=True, kw_only=True):
    """The user as they were added."""

    user: UserView


class UpdateUserResponse(View, frozen=True, kw_only=True):
    """Nothing: the update is done."""


class DeleteUserResponse(View, frozen=True, kw_only=True):
    """Nothing: the user is gone."""


class ChangePasswordResponse(View, frozen=True, kw_only=True):
    """Nothing: the password is changed, and the caller's sessions are over."""


class WhoAmIResponse(View, frozen=True, kw_only=True):
    """Whom the server takes the caller for.

    Attributes:
        name: how the log names them.
        role: what they may do now.
        user: their account; None for who has none in the store.
        token: the token that they have shown, if any.
    """

    name: str = ""
    role: Role = Role.ANYBODY
    user: UserView | None = None
    token: TokenView | None = None


class ListTokensResponse(View, frozen=True, kw_only=True):
    """A page of tokens; iterating gives the tokens."""

    tokens: tuple[TokenView, ...] = ()
    next_page_token: str = ""

    def __iter__(self) -> Iterator[TokenView]:
        return iter(self.tokens)

    def __len__(self) -> int:
        return len(self.tokens)


class AddTokenResponse(View, frozen=True, kw_only=True):
    """The token as it was added, and its secret, which nobody can be told again."""

    token: TokenView
    secret: str = ""


class RevokeTokenResponse(View, frozen=True, kw_only=True):
    """Nothing: the token is dead."""


class AuditEntry(View, frozen=True, kw_only=True):
    """Something that was done, or an attempt to sign in that failed.

    Attributes:
        id: of the entry; `17.0` for the first change of revision 17.
        time: when.
        actor: who did it; empty where nobody is known.
        address: from where, an IP address.
        correlation_id: of the request.
        action: `added`, `replaced`, `removed`, `signed in` or `failed to sign in`.
        kind: of the record, `Item` for one.
        subject: the record's id; for an attempt to sign in the username, if there is such a user.
        before: the record as it was, as JSON without secrets; empty where it was added.
        after: the record as it is since; empty where it was removed.
    """

    id: str = ""
    time: datetime | None = None
    actor: str = ""
    address: str = ""
    correlation_id: str = ""
    action: str = ""
    kind: str = ""
    subject: str = ""
    before: str = ""
    after: str = ""


class ListAuditEntriesResponse(View, frozen=True, kw_only=True):
    """A page of entries, newest first; iterating gives the entries."""

    entries: tuple[AuditEntry, ...] = ()
    next_page_token: str = ""

    def __iter__(self) -> Iterator[AuditEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


class SettingsView(View, frozen=True, kw_only=True):
    """How the pages present themselves; see `statusthing.model.Settings`."""

    title: str = ""
    description: str = ""
    logo_url: str = ""
    accent_color: str = ""
    links: str = ""
    footer: str = ""
    version: int = 0


class GetSettingsResponse(View, frozen=True, kw_only=True):
    """The settings; all empty, with version 0, as long as nobody has set any."""

    settings: SettingsView


class UpdateSettingsResponse(View, frozen=True, kw_only=True):
    """Nothing: the update is done."""


class StatusUse(View, frozen=True, kw_only=True):
    """A status, and how many items have it."""

    status: StatusView
    items: int = 0


class GetOverviewResponse(View, frozen=True, kw_only=True):
    """A page of items, with all statuses.

    Attributes:
        items: each with its status and its newest note.
        statuses: in the order they were added.
        total: how many items there are.
        matching: how many satisfy every filter.
        page: which page this is: the last one, if there are fewer than were asked for.
        pages: how many there are, at least 1.
        item_before, item_after: the ids of the items next to the page; empty where it ends.
        last_position: that of the last item of all.
    """

    items: tuple[ItemView, ...] = ()
    statuses: tuple[StatusUse, ...] = ()
    total: int = 0
    matching: int = 0
    page: int = 1
    pages: int = 1
    item_before: str = ""
    item_after: str = ""
    last_position: int = 0


class CountNotesResponse(View, frozen=True, kw_only=True):
    """How many notes there are."""

    count: int = 0


class GetNamesResponse(View, frozen=True, kw_only=True):
    """What things are called, by their ids."""

    names: dict[str, str] = msgspec.field(default_factory=dict)


class AccountView(View, frozen=True, kw_only=True):
    """An account, in short.

    Attributes:
        username: what it is called.
        disabled: whether it may do nothing at present.
        development: whether `--devmode` made it, outside of which it is dead.
    """

    username: str = ""
    disabled: bool = False
    development: bool = False


class GetAccountsResponse(View, frozen=True, kw_only=True):
    """Accounts, by their ids; those that do not exist are not among them."""

    accounts: dict[str, AccountView] = msgspec.field(default_factory=dict)


class GetTokenResponse(View, frozen=True, kw_only=True):
    """One token."""

    token: TokenView


class PostUpdateResponse(View, frozen=True, kw_only=True):
    """The note, if there is one."""

    note: NoteView | None = None


class MoveItemResponse(View, frozen=True, kw_only=True):
    """Nothing."""


class ReplaceStatusResponse(View, frozen=True, kw_only=True):
    """How many items got the other status."""

    items: int = 0
