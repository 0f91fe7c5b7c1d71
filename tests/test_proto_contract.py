"""The published protobuf contract: names, numbers and types that clients rely on.

Changing a row of these tables breaks existing programs; additions are new rows.
"""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from statusthing.v1 import services_pb2, types_pb2

ENUMS = {
    "StatusKind": [
        "STATUS_KIND_UNKNOWN",
        "STATUS_KIND_UP",
        "STATUS_KIND_DOWN",
        "STATUS_KIND_WARNING",
        "STATUS_KIND_UNAVAILABLE",
        "STATUS_KIND_AVAILABLE",
        "STATUS_KIND_INVESTIGATING",
        "STATUS_KIND_OBSERVING",
        "STATUS_KIND_CREATED",
        "STATUS_KIND_ONLINE",
        "STATUS_KIND_OFFLINE",
        "STATUS_KIND_DECOMM",
    ],
    "Role": ["ROLE_UNSPECIFIED", "ROLE_VIEWER", "ROLE_EDITOR", "ROLE_ADMIN"],
}
"""Enum -> its values, numbered from 0."""

TYPES = {
    "Timestamps": """
        1 created: google.protobuf.Timestamp
        2 updated: google.protobuf.Timestamp
        3 deleted: google.protobuf.Timestamp
    """,
    "Item": """
        1 id: string
        2 name: string
        3 description: string
        4 status: Status
        5 notes: repeated Note
        15 timestamps: Timestamps
        16 version: uint32
        17 position: int32
    """,
    "Status": """
        1 id: string
        2 name: string
        3 description: string
        4 color: string
        5 kind: StatusKind
        15 timestamps: Timestamps
        16 version: uint32
    """,
    "Note": """
        1 id: string
        2 text: string
        3 item_id: string
        15 timestamps: Timestamps
        16 version: uint32
    """,
    "User": """
        1 id: string
        2 username: string
        3 password: string
        4 first_name: string
        5 last_name: string
        6 email_address: string
        7 last_login: google.protobuf.Timestamp
        8 avatar_url: string
        9 role: Role
        10 disabled: bool
        15 timestamps: Timestamps
        16 version: uint32
    """,
    "Token": """
        1 id: string
        2 name: string
        3 role: Role
        4 user_id: string
        5 expires: google.protobuf.Timestamp
        6 last_used: google.protobuf.Timestamp
        15 timestamps: Timestamps
        16 version: uint32
    """,
    "AuditEntry": """
        1 id: string
        2 time: google.protobuf.Timestamp
        3 actor: string
        4 address: string
        5 correlation_id: string
        6 action: string
        7 kind: string
        8 subject: string
        9 before: string
        10 after: string
    """,
}
"""Message of types.proto -> its fields."""

REQUESTS = {
    "GetItemRequest": "1 item_id: string",
    "GetItemResponse": "1 item: Item",
    "ListItemsRequest": """
        1 status_ids: repeated string
        2 kinds: repeated StatusKind
        12 page_size: uint32
        13 page_token: string
        14 extended: bool
    """,
    "ListItemsResponse": """
        1 items: repeated Item
        2 next_page_token: string
    """,
    "AddItemRequest": """
        1 name: string
        2 description: string
        3 initial_status_id: string
        4 initial_status: Status
        5 initial_note_text: string
        6 position: int32
        15 request_id: string
    """,
    "AddItemResponse": "1 item: Item",
    "UpdateItemRequest": """
        1 item_id: string
        2 name: string
        3 description: string
        4 status_id: string
        5 position: int32
        14 update_mask: google.protobuf.FieldMask
        15 expected_version: uint32
    """,
    "UpdateItemResponse": "",
    "DeleteItemRequest": """
        1 item_id: string
        15 expected_version: uint32
    """,
    "DeleteItemResponse": "",
    "GetStatusRequest": "1 status_id: string",
    "GetStatusResponse": "1 status: Status",
    "ListStatusRequest": """
        1 kinds: repeated StatusKind
        12 page_size: uint32
        13 page_token: string
    """,
    "ListStatusResponse": """
        1 statuses: repeated Status
        2 next_page_token: string
    """,
    "AddStatusRequest": """
        1 name: string
        2 description: string
        3 color: string
        4 kind: StatusKind
        15 request_id: string
    """,
    "AddStatusResponse": "1 status: Status",
    "UpdateStatusRequest": """
        1 status_id: string
        2 name: string
        3 description: string
        4 color: string
        5 kind: StatusKind
        14 update_mask: google.protobuf.FieldMask
        15 expected_version: uint32
    """,
    "UpdateStatusResponse": "",
    "DeleteStatusRequest": """
        1 status_id: string
        15 expected_version: uint32
    """,
    "DeleteStatusResponse": "",
    "GetNoteRequest": "1 note_id: string",
    "GetNoteResponse": "1 note: Note",
    "ListNotesRequest": """
        1 item_id: string
        12 page_size: uint32
        13 page_token: string
    """,
    "ListNotesResponse": """
        1 notes: repeated Note
        2 next_page_token: string
    """,
    "AddNoteRequest": """
        1 item_id: string
        2 note_text: string
        15 request_id: string
    """,
    "AddNoteResponse": "1 note: Note",
    "UpdateNoteRequest": """
        1 note_id: string
        2 note_text: string
        14 update_mask: google.protobuf.FieldMask
        15 expected_version: uint32
    """,
    "UpdateNoteResponse": "",
    "DeleteNoteRequest": """
        1 note_id: string
        15 expected_version: uint32
    """,
    "DeleteNoteResponse": "",
    "GetUserRequest": "1 user_id: string",
    "GetUserResponse": "1 user: User",
    "ListUsersRequest": """
        12 page_size: uint32
        13 page_token: string
    """,
    "ListUsersResponse": """
        1 users: repeated User
        2 next_page_token: string
    """,
    "AddUserRequest": """
        1 username: string
        2 password: string
        3 first_name: string
        4 last_name: string
        5 email_address: string
        6 avatar_url: string
        7 role: Role
        15 request_id: string
    """,
    "AddUserResponse": "1 user: User",
    "UpdateUserRequest": """
        1 user_id: string
        2 username: string
        3 password: string
        4 first_name: string
        5 last_name: string
        6 email_address: string
        7 avatar_url: string
        8 role: Role
        9 disabled: bool
        14 update_mask: google.protobuf.FieldMask
        15 expected_version: uint32
    """,
    "UpdateUserResponse": "",
    "DeleteUserRequest": """
        1 user_id: string
        15 expected_version: uint32
    """,
    "DeleteUserResponse": "",
    "ChangePasswordRequest": """
        1 current_password: string
        2 new_password: string
    """,
    "ChangePasswordResponse": "",
    "WhoAmIRequest": "",
    "WhoAmIResponse": """
        1 name: string
        2 role: Role
        3 user: User
        4 token: Token
    """,
    "ListTokensRequest": """
        1 user_id: string
        12 page_size: uint32
        13 page_token: string
    """,
    "ListTokensResponse": """
        1 tokens: repeated Token
        2 next_page_token: string
    """,
    "AddTokenRequest": """
        1 name: string
        2 role: Role
        3 expires: google.protobuf.Timestamp
        15 request_id: string
    """,
    "AddTokenResponse": """
        1 token: Token
        2 secret: string
    """,
    "RevokeTokenRequest": "1 token_id: string",
    "RevokeTokenResponse": "",
    "ListAuditEntriesRequest": """
        12 page_size: uint32
        13 page_token: string
    """,
    "ListAuditEntriesResponse": """
        1 entries: repeated AuditEntry
        2 next_page_token: string
    """,
}
"""Message of services.proto -> its fields."""

SERVICES = {
    "ItemsService": ["GetItem", "ListItems", "AddItem", "UpdateItem", "DeleteItem"],
    "StatusService": ["GetStatus", "ListStatus", "AddStatus", "UpdateStatus", "DeleteStatus"],
    "NotesService": ["GetNote", "ListNotes", "AddNote", "UpdateNote", "DeleteNote"],
    "UsersService": [
        "GetUser",
        "ListUsers",
        "AddUser",
        "UpdateUser",
        "DeleteUser",
        "ChangePassword",
        "WhoAmI",
    ],
    "TokensService": ["ListTokens", "AddToken", "RevokeToken"],
    "AuditService": ["ListAuditEntries"],
}
"""Service -> its rpcs; each takes <Rpc>Request and answers <Rpc>Response."""

SCALARS = {
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_UINT32: "uint32",
}

FILES = [types_pb2.DESCRIPTOR, services_pb2.DESCRIPTOR]
MESSAGES = {name: message for file in FILES for name, message in file.message_types_by_name.items()}
METHODS: list[MethodDescriptor] = [
    method
    for service in services_pb2.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]


def _describe(field: FieldDescriptor) -> str:
    """Return a field as the tables write it."""
    named = field.message_type or field.enum_type
    type_name = named.full_name.removeprefix("statusthing.v1.") if named else SCALARS[field.type]
    return f"{field.number} {field.name}: {'repeated ' * field.is_repeated}{type_name}"


def test_files_are_where_clients_look() -> None:
    """Files and package have the names that clients import, and the files are proto3."""
    assert [file.name for file in FILES] == [
        "statusthing/v1/types.proto",
        "statusthing/v1/services.proto",
    ]
    assert {file.package for file in FILES} == {"statusthing.v1"}


def test_messages_are_the_expected_ones() -> None:
    """Each file defines the messages of its table and no others."""
    assert set(types_pb2.DESCRIPTOR.message_types_by_name) == TYPES.keys()
    assert set(services_pb2.DESCRIPTOR.message_types_by_name) == REQUESTS.keys()


@pytest.mark.parametrize("name", [*TYPES, *REQUESTS])
def test_fields_have_their_names_numbers_and_types(name: str) -> None:
    """A message has the fields of the table, and no others."""
    fields = (TYPES | REQUESTS)[name]
    expected = [line.strip() for line in fields.strip().splitlines()]

    assert [_describe(field) for field in MESSAGES[name].fields_by_number.values()] == expected


@pytest.mark.parametrize("name", MESSAGES)
def test_no_field_has_presence_of_its_own(name: str) -> None:
    """Scalar fields are plain proto3 fields: empty means not given, for every client."""
    scalars = [field for field in MESSAGES[name].fields if field.message_type is None]

    assert [field.name for field in scalars if field.has_presence] == []


def test_enums_have_their_values() -> None:
    """The enums have the values of the table, numbered from 0, and no others."""
    enums: dict[str, EnumDescriptor] = dict(types_pb2.DESCRIPTOR.enum_types_by_name.items())

    assert {
        name: [(value.number, value.name) for value in enum.values] for name, enum in enums.items()
    } == {name: list(enumerate(values)) for name, values in ENUMS.items()}
    assert services_pb2.DESCRIPTOR.enum_types_by_name == {}


def test_services_are_the_expected_ones() -> None:
    """The services have the rpcs of the table and no others."""
    services = services_pb2.DESCRIPTOR.services_by_name

    assert {
        name: [method.name for method in service.methods] for name, service in services.items()
    } == SERVICES
    assert types_pb2.DESCRIPTOR.services_by_name == {}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_rpcs_take_and_return_messages_of_their_name(method: MethodDescriptor) -> None:
    """Every rpc is unary, and its messages are named after it."""
    assert method.input_type.name == f"{method.name}Request"
    assert method.output_type.name == f"{method.name}Response"
    assert (method.client_streaming, method.server_streaming) == (False, False)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_only_reads_are_marked_free_of_side_effects(method: MethodDescriptor) -> None:
    """Get, List and WhoAmI can be called with Connect GET; no write can."""
    reads = method.name.startswith(("Get", "List", "WhoAmI"))
    marked = method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS

    assert marked == reads
