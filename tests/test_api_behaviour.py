"""What callers can rely on, whatever the store and the protocol: one server, JSON and gRPC."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo

if TYPE_CHECKING:
    from tests.conftest import Client, Result, Server

MISSING = None
"""In a table: the field is left out."""

EM_SPACE = "\u2003"
ASTRAL = "\U0001f600"  # one code point, two UTF-16 units, four bytes
UP = "STATUS_KIND_UP"
DOWN = "STATUS_KIND_DOWN"

REQUIRED_TEXT = [
    ("AddItem", "name"),
    ("AddItem", "initial_status.name"),
    ("AddStatus", "name"),
    ("AddNote", "note_text"),
    ("UpdateNote", "note_text"),
]

ID_FIELDS = {
    "GetItem": "item_id",
    "UpdateItem": "item_id",
    "DeleteItem": "item_id",
    "GetStatus": "status_id",
    "UpdateStatus": "status_id",
    "DeleteStatus": "status_id",
    "GetNote": "note_id",
    "ListNotes": "item_id",
    "AddNote": "item_id",
    "UpdateNote": "note_id",
    "DeleteNote": "note_id",
}

UNKNOWN_IDS = [
    "019a0000-0000-7000-8000-000000000000",
    "no such id",
    "x" * 65,
    "../../etc",
    "' OR 1=1 --",
    ASTRAL,
    "nul\0",
    # gRPC clients take 8 KiB of headers, where the message of an error travels.
    pytest.param("x" * 20_000, id="20 kB"),
    pytest.param("x" * 1_000_000, id="1 MB"),
]

EXACT_TEXTS = [
    "plain",
    " leading and trailing ",
    "\N{FAMILY}\N{ZERO WIDTH JOINER}\N{WOMAN} \N{PILE OF POO}",
    "\N{RIGHT-TO-LEFT OVERRIDE}\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "e\N{COMBINING ACUTE ACCENT} is not \N{LATIN SMALL LETTER E WITH ACUTE}",
    "\N{ZERO WIDTH NO-BREAK SPACE}marked",
    "no-break\N{NO-BREAK SPACE}space",
    "<script>alert('&amp;')</script> \\ \" %s {}",
    "\uffff\U0010ffff",
]


def unique(text: str = "name") -> str:
    """Return a text that no other test uses, which begins with this one."""
    return f"{text} {uuid.uuid4().hex}"


def add_item(client: Client, **fields: Any) -> dict[str, Any]:
    """Add an item of a name of its own, and return it."""
    item: dict[str, Any] = client.ok("AddItem", **{"name": unique(), **fields})["item"]
    return item


def add_status(client: Client, **fields: Any) -> dict[str, Any]:
    """Add a status of a name of its own, and return it."""
    added = client.ok("AddStatus", **{"name": unique(), "kind": UP, **fields})
    status: dict[str, Any] = added["status"]
    return status


def add_note(client: Client, item_id: str, text: str = "a note") -> dict[str, Any]:
    """Add a note, and return it."""
    note: dict[str, Any] = client.ok("AddNote", item_id=item_id, note_text=text)["note"]
    return note


def get_item(client: Client, id: str) -> dict[str, Any]:
    """Return an item as it is now."""
    item: dict[str, Any] = client.ok("GetItem", item_id=id)["item"]
    return item


def get_status(client: Client, id: str) -> dict[str, Any]:
    """Return a status as it is now."""
    status: dict[str, Any] = client.ok("GetStatus", status_id=id)["status"]
    return status


def get_note(client: Client, id: str) -> dict[str, Any]:
    """Return a note as it is now."""
    note: dict[str, Any] = client.ok("GetNote", note_id=id)["note"]
    return note


def ids(records: list[dict[str, Any]]) -> list[str]:
    """Return the ids of records, in their order."""
    return [record["id"] for record in records]


def everything(client: Client) -> tuple[Any, ...]:
    """Return all that the server holds, and the head revision."""
    items = client.call("ListItems", extended=True)
    assert items.code == "ok", items
    return items.revision, items.body, client.ok("ListStatus")


def head(client: Client) -> int:
    """Return the head revision."""
    revision = client.call("ListStatus", page_size=1).revision
    assert revision is not None
    return revision


def nested(field: str, value: object) -> dict[str, Any]:
    """Return the request fields that set `field`, `initial_status.name` for a nested one."""
    if value is MISSING:
        return {}
    outer, _, inner = field.partition(".")
    return {outer: {inner: value} if inner else value}


VALID: dict[str, Callable[[Client], dict[str, Any]]] = {
    "AddItem": lambda _: {"name": unique()},
    "AddStatus": lambda _: {"name": unique(), "kind": UP},
    "AddNote": lambda client: {"item_id": add_item(client)["id"], "note_text": "a note"},
    "GetNote": lambda client: {"note_id": add_note(client, add_item(client)["id"])["id"]},
    "UpdateNote": lambda client: {**valid(client, "GetNote"), "note_text": "another text"},
    "DeleteNote": lambda client: valid(client, "GetNote"),
    "ListItems": lambda _: {},
    "ListStatus": lambda _: {},
    **dict.fromkeys(
        ("GetItem", "UpdateItem", "DeleteItem", "ListNotes"),
        lambda client: {"item_id": add_item(client)["id"]},
    ),
    **dict.fromkeys(
        ("GetStatus", "UpdateStatus", "DeleteStatus"),
        lambda client: {"status_id": add_status(client)["id"]},
    ),
}


def valid(client: Client, rpc: str) -> dict[str, Any]:
    """Return the fields of a request that succeeds, on records made for it."""
    return VALID[rpc](client)


def changed(client: Client, rpc: str, field: str, value: object) -> dict[str, Any]:
    """Return the fields of a request that is right but for one field."""
    fields = valid(client, rpc)
    outer, _, inner = field.partition(".")
    if inner:
        status = {"name": unique(), "kind": UP}
        status.pop(inner, None)
        fields[outer] = {**status, **nested(inner, value)}
    else:
        fields.pop(outer, None)
        fields |= nested(field, value)
    return fields


def refused(result: Result, field: str) -> bool:
    """Tell whether a call was refused as invalid because of this field alone."""
    return (result.code, result.fields) == ("invalid_argument", [field])


# Required fields and ids


@pytest.mark.parametrize("value", [MISSING, "", "  \t", EM_SPACE], ids=repr)
@pytest.mark.parametrize(("rpc", "field"), REQUIRED_TEXT)
def test_required_text_cannot_be_blank(client: Client, rpc: str, field: str, value: object) -> None:
    """Required text that is missing, empty or blank is refused, and the error names the field."""
    fields = changed(client, rpc, field, value)

    assert refused(client.call(rpc, **fields), field)


@pytest.mark.parametrize("value", ["  \t", EM_SPACE], ids=repr)
@pytest.mark.parametrize(
    ("rpc", "field"),
    [("AddItem", "initial_note_text"), ("UpdateItem", "name"), ("UpdateStatus", "name")],
)
def test_optional_text_cannot_be_blank(client: Client, rpc: str, field: str, value: str) -> None:
    """Text that may be left out, but not be blank, is refused, and the error names the field."""
    fields = valid(client, rpc) | {field: value}

    assert refused(client.call(rpc, **fields), field)


@pytest.mark.parametrize("value", [MISSING, 0, "STATUS_KIND_UNKNOWN", 12, -1], ids=repr)
@pytest.mark.parametrize(
    ("rpc", "field"), [("AddStatus", "kind"), ("AddItem", "initial_status.kind")]
)
def test_a_kind_is_required(client: Client, rpc: str, field: str, value: object) -> None:
    """A kind that is missing, unknown or outside the enum is refused, with the field's name."""
    fields = changed(client, rpc, field, value)

    assert refused(client.call(rpc, **fields), field)


@pytest.mark.parametrize("value", [0, 12, -1])
@pytest.mark.parametrize("rpc", ["ListItems", "ListStatus"])
def test_a_filter_takes_known_kinds_only(client: Client, rpc: str, value: int) -> None:
    """Kind 0 and kinds outside the enum are refused in filters too."""
    result = client.call(rpc, kinds=[1, value])

    assert refused(result, "kinds")


def test_an_update_takes_known_kinds_only(client: Client) -> None:
    """A status cannot change to a kind outside the enum."""
    status = add_status(client)

    assert refused(client.call("UpdateStatus", status_id=status["id"], kind=12), "kind")


@pytest.mark.parametrize("value", [MISSING, ""])
@pytest.mark.parametrize(("rpc", "field"), ID_FIELDS.items())
def test_an_id_is_required(client: Client, rpc: str, field: str, value: object) -> None:
    """A request that does not say which record it is about is refused."""
    fields = changed(client, rpc, field, value)

    assert refused(client.call(rpc, **fields), field)


@pytest.mark.parametrize("id", UNKNOWN_IDS)
@pytest.mark.parametrize(("rpc", "field"), ID_FIELDS.items())
def test_an_unknown_id_is_not_found(client: Client, rpc: str, field: str, id: str) -> None:
    """An id that no record has, in whatever form, is NOT_FOUND, with a reason for programs."""
    text = {"note_text": "a text"} if rpc in {"AddNote", "UpdateNote"} else {}

    result = client.call(rpc, **{field: id}, **text)

    assert result.code == "not_found"
    assert result.detail(ErrorInfo).domain == "statusthing"


@pytest.mark.parametrize("id", UNKNOWN_IDS)
def test_an_unknown_id_in_a_filter_matches_nothing(client: Client, id: str) -> None:
    """A filter with an id that no status has matches nothing, and is not an error."""
    status = add_status(client)
    item = add_item(client, initial_status_id=status["id"])

    assert client.ok("ListItems", status_ids=[id]) == {}
    assert ids(client.ok("ListItems", status_ids=[id, status["id"]])["items"]) == [item["id"]]


def test_an_id_belongs_to_one_kind_of_record(client: Client) -> None:
    """The id of an item does not find a status or a note."""
    item = add_item(client)

    assert client.call("GetStatus", status_id=item["id"]).code == "not_found"
    assert client.call("GetNote", note_id=item["id"]).code == "not_found"


@pytest.mark.parametrize(
    ("rpc", "fields", "field"),
    [
        ("UpdateItem", {"item_id": "gone", "name": " "}, "name"),
        ("UpdateItem", {"item_id": "gone", "update_mask": "nope"}, "update_mask"),
        ("UpdateStatus", {"status_id": "gone", "color": "nope"}, "color"),
        ("AddNote", {"item_id": "gone"}, "note_text"),
        ("UpdateNote", {"note_id": "gone"}, "note_text"),
        ("ListNotes", {"item_id": "gone", "page_token": "nope"}, "page_token"),
        ("AddItem", {"name": "\0", "initial_status_id": "gone"}, "name"),
    ],
)
def test_validation_comes_before_existence(
    client: Client, rpc: str, fields: dict[str, Any], field: str
) -> None:
    """A request that is wrong whatever the store holds is refused as invalid."""
    assert refused(client.call(rpc, **fields), field)


# Names


def test_an_item_name_is_taken_once(client: Client) -> None:
    """A second item of the same name is refused, and nothing of it is written."""
    item = add_item(client)
    before = everything(client)

    result = client.call(
        "AddItem",
        name=item["name"],
        initial_note_text="a note",
        initial_status={"name": unique(), "kind": UP},
    )

    assert result.code == "already_exists"
    assert result.detail(ErrorInfo).domain == "statusthing"
    assert everything(client) == before


def test_a_status_name_is_taken_once(client: Client) -> None:
    """A second status of the same name is refused, even when it is added with an item."""
    status = add_status(client)
    fields = {"name": status["name"], "kind": DOWN}

    assert client.call("AddStatus", **fields).code == "already_exists"
    assert client.call("AddItem", name=unique(), initial_status=fields).code == "already_exists"


@pytest.mark.parametrize(
    ("rpc", "field", "add"),
    [("UpdateItem", "item_id", add_item), ("UpdateStatus", "status_id", add_status)],
)
def test_a_record_cannot_take_the_name_of_another(
    client: Client, rpc: str, field: str, add: Any
) -> None:
    """A rename to a taken name is refused; a record's own name and a freed one are fine."""
    first, second = add(client), add(client)
    id = {field: second["id"]}

    assert client.call(rpc, **id, name=first["name"]).code == "already_exists"
    client.ok(rpc, **id, name=second["name"])
    client.ok(rpc, **id, name=unique())
    assert add(client, name=second["name"])["name"] == second["name"]


@pytest.mark.parametrize("add", [add_item, add_status])
def test_names_are_compared_exactly(client: Client, add: Any) -> None:
    """Names that differ in case, blanks or composition are different names."""
    name = unique("Caf\N{LATIN SMALL LETTER E WITH ACUTE}")
    names = [
        name,
        name.upper(),
        f" {name}",
        f"{name} ",
        name.replace("\N{LATIN SMALL LETTER E WITH ACUTE}", "e\N{COMBINING ACUTE ACCENT}"),
        f"{name}\N{ZERO WIDTH SPACE}",
    ]

    assert [add(client, name=each)["name"] for each in names] == names


def test_an_item_and_a_status_may_share_a_name(client: Client) -> None:
    """A name is taken within its kind of record only."""
    name = unique()

    assert add_item(client, name=name)["name"] == add_status(client, name=name)["name"]


def test_a_deleted_record_gives_its_name_back(client: Client) -> None:
    """A name is free once its record is gone."""
    item, status = add_item(client), add_status(client)
    client.ok("DeleteItem", item_id=item["id"])
    client.ok("DeleteStatus", status_id=status["id"])

    assert add_item(client, name=item["name"])["id"] != item["id"]
    assert add_status(client, name=status["name"])["id"] != status["id"]


# Text


@pytest.mark.parametrize("text", EXACT_TEXTS, ids=ascii)
def test_text_comes_back_exactly(client: Client, text: str) -> None:
    """Names, descriptions and notes are neither trimmed nor normalised."""
    name = unique(text) + text
    status = {"name": name, "kind": UP, "description": text}
    added = add_item(
        client, name=name, description=text, initial_status=status, initial_note_text=text
    )

    item = get_item(client, added["id"])

    assert item == added
    assert (item["name"], item["description"]) == (name, text)
    assert (item["status"]["name"], item["status"]["description"]) == (name, text)
    assert item["notes"][0]["text"] == text


def test_descriptions_and_notes_have_lines(client: Client) -> None:
    """Tab, LF and CR are kept in descriptions and notes."""
    text = "\tone\r\ntwo\n\nthree\r"
    item = add_item(client, description=text, initial_note_text=text)
    status = add_status(client, description=text)

    found = get_item(client, item["id"])

    assert (found["description"], found["notes"][0]["text"]) == (text, text)
    assert get_status(client, status["id"])["description"] == text


TEXT_FIELDS = [
    ("AddItem", "name"),
    ("AddItem", "description"),
    ("AddItem", "initial_note_text"),
    ("AddItem", "initial_status.name"),
    ("AddItem", "initial_status.description"),
    ("UpdateItem", "name"),
    ("UpdateItem", "description"),
    ("AddStatus", "name"),
    ("AddStatus", "description"),
    ("UpdateStatus", "name"),
    ("UpdateStatus", "description"),
    ("AddNote", "note_text"),
    ("UpdateNote", "note_text"),
]
LIMITS = {"name": 200, "description": 2_000, "text": 10_000}


@pytest.mark.parametrize("control", ["\0", "\x0b", "\x1b", "\x7f", "\x85"], ids=ascii)
@pytest.mark.parametrize(("rpc", "field"), TEXT_FIELDS)
def test_control_characters_are_refused(client: Client, rpc: str, field: str, control: str) -> None:
    """Characters of the Unicode category Cc are refused in every text."""
    fields = changed(client, rpc, field, f"a{control}b")

    assert refused(client.call(rpc, **fields), field)


@pytest.mark.parametrize("control", ["\t", "\n", "\r"], ids=ascii)
@pytest.mark.parametrize("where", ["a{}b", "{}b", "a{}"])
@pytest.mark.parametrize(("rpc", "field"), [row for row in TEXT_FIELDS if "name" in row[1]])
def test_a_name_is_one_line(client: Client, rpc: str, field: str, where: str, control: str) -> None:
    """A name has no tabs and no line breaks, not even at its ends."""
    fields = changed(client, rpc, field, where.format(control))

    assert refused(client.call(rpc, **fields), field)


@pytest.mark.parametrize("character", ["x", ASTRAL])
@pytest.mark.parametrize(("rpc", "field"), TEXT_FIELDS)
def test_lengths_are_counted_in_code_points(
    client: Client, rpc: str, field: str, character: str
) -> None:
    """The longest text is accepted, however many bytes it has; one more code point is not."""
    limit = next(limit for end, limit in LIMITS.items() if field.endswith(end))
    start = uuid.uuid4().hex
    longest = start + character * (limit - len(start))

    fits = client.call(rpc, **changed(client, rpc, field, longest))
    too_long = client.call(rpc, **changed(client, rpc, field, longest + character))

    assert fits.code == "ok"
    assert refused(too_long, field)


# Colours


@pytest.mark.parametrize(
    "color",
    ["#abc", "#ABC", "#5dfc0a", "#5DFC0A", "red", "RebeccaPurple", "LIGHTGOLDENRODYELLOW", "grey"],
)
def test_a_color_is_kept_as_given(client: Client, color: str) -> None:
    """Hexadecimal and named colours are valid in any case, and come back as they were given."""
    status = add_status(client, color=color)

    assert get_status(client, status["id"])["color"] == color


@pytest.mark.parametrize(
    "color",
    [
        *("transparent", "currentcolor", "currentColor", "canvas", "ButtonText", "inherit"),
        *("#ggg", "#12", "#1234", "#12345", "#1234567", "#12345678", "123456", "#", "nope"),
        *(" red", "red ", "#fff\n", "rgb(0,0,0)", "red;", "url(x)", "#\uff11\uff12\uff13", " "),
    ],
)
@pytest.mark.parametrize(
    ("rpc", "field"),
    [("AddStatus", "color"), ("UpdateStatus", "color"), ("AddItem", "initial_status.color")],
)
def test_what_is_no_color_is_refused(client: Client, rpc: str, field: str, color: str) -> None:
    """Everything that is not a colour is refused, system colours and keywords included."""
    fields = changed(client, rpc, field, color)

    assert refused(client.call(rpc, **fields), field)


def test_a_status_without_a_color_gets_the_default(client: Client) -> None:
    """The default colour is #5DFC0A."""
    assert add_status(client)["color"] == "#5DFC0A"


# Kinds


@pytest.mark.parametrize(
    ("number", "name"),
    [
        *((1, "UP"), (2, "DOWN"), (3, "WARNING"), (4, "UNAVAILABLE"), (5, "AVAILABLE")),
        *((6, "INVESTIGATING"), (7, "OBSERVING"), (8, "CREATED"), (9, "ONLINE"), (10, "OFFLINE")),
        (11, "DECOMM"),
    ],
)
def test_a_kind_is_given_by_name_or_number(client: Client, number: int, name: str) -> None:
    """Every kind can be given either way, and is returned by name."""
    by_name = add_status(client, kind=f"STATUS_KIND_{name}")
    by_number = add_status(client, kind=number)

    assert by_name["kind"] == by_number["kind"] == f"STATUS_KIND_{name}"


def test_a_new_server_has_the_default_statuses(client: Client) -> None:
    """A new server has the default statuses, in their order."""
    statuses = client.ok("ListStatus")["statuses"][:8]

    assert [(each["name"], each["kind"], each["color"]) for each in statuses] == [
        ("UP", "STATUS_KIND_UP", "#5DFC0A"),
        ("ONLINE", "STATUS_KIND_ONLINE", "#5DFC0A"),
        ("CREATED", "STATUS_KIND_CREATED", "#5DFC0A"),
        ("DOWN", "STATUS_KIND_DOWN", "#FF0000"),
        ("OFFLINE", "STATUS_KIND_OFFLINE", "#FF0000"),
        ("WARNING", "STATUS_KIND_WARNING", "#EEEB8D"),
        ("INVESTIGATING", "STATUS_KIND_INVESTIGATING", "#EEEB8D"),
        ("OBSERVING", "STATUS_KIND_OBSERVING", "#EEEB8D"),
    ]


# Adding items


def test_a_new_item_has_what_it_was_given(client: Client) -> None:
    """AddItem returns the item as GetItem and ListItems do."""
    status = add_status(client, kind=DOWN, description="really", color="red")

    item = add_item(
        client,
        description="what it is",
        initial_status_id=status["id"],
        initial_note_text="first",
        position=-7,
    )

    times = item["timestamps"]
    assert item["status"] == status
    assert [note["text"] for note in item["notes"]] == ["first"]
    assert item["notes"][0]["itemId"] == item["id"]
    assert (item["description"], item["position"], item["version"]) == ("what it is", -7, 1)
    assert times["created"] == times["updated"]
    assert "deleted" not in times
    assert get_item(client, item["id"]) == item
    listed = client.ok("ListItems", status_ids=[status["id"]], extended=True)
    assert listed == {"items": [item]}


def test_the_least_item_is_a_name(client: Client) -> None:
    """An item needs only a name, and what was not given is left out of the answer."""
    assert set(add_item(client)) == {"id", "name", "timestamps", "version"}


def test_the_status_id_wins_over_the_status(client: Client) -> None:
    """If both are given, the existing status is used and no other is added."""
    status = add_status(client)
    before = client.ok("ListStatus")

    item = add_item(
        client,
        initial_status_id=status["id"],
        initial_status={"name": unique(), "kind": DOWN},
    )

    assert item["status"] == status
    assert client.ok("ListStatus") == before


def test_an_unused_status_is_not_looked_at(client: Client) -> None:
    """If the existing status is used, the contents of the other one do not matter."""
    status = add_status(client)

    item = add_item(client, initial_status_id=status["id"], initial_status={"color": "nope"})

    assert item["status"] == status


def test_an_item_can_bring_its_status(client: Client) -> None:
    """The status is added with the item; the server gives it an id, times and a version."""
    name = unique()
    given = {"name": name, "kind": DOWN, "description": "why", "color": "#123", "version": 9}

    status = add_item(client, initial_status=given)["status"]

    assert {key: status[key] for key in given} == {**given, "version": 1}
    assert get_status(client, status["id"]) == status


@pytest.mark.parametrize("length", [1, 64])
def test_a_new_status_can_have_an_id_of_its_own(client: Client, length: int) -> None:
    """A new status gets the id that was asked for, if that is free."""
    id = f"A.z_9~-{uuid.uuid4().hex}".ljust(64, "0") if length == 64 else free_letter(client)

    status = add_item(client, initial_status={"id": id, "name": unique(), "kind": UP})["status"]

    assert status["id"] == id
    assert get_status(client, id) == status


def free_letter(client: Client) -> str:
    """Return an id of one character that no status has."""
    taken = ids(client.ok("ListStatus")["statuses"])
    return next(letter for letter in "abcdefgh" if letter not in taken)


@pytest.mark.parametrize(
    "id", ["a b", "a/b", "x" * 65, "\N{LATIN SMALL LETTER E WITH ACUTE}", "a\n"]
)
def test_the_id_of_a_new_status_is_well_formed(client: Client, id: str) -> None:
    """Malformed ids are refused, and the error names the field."""
    status = {"id": id, "name": unique(), "kind": UP}

    result = client.call("AddItem", name=unique(), initial_status=status)

    assert refused(result, "initial_status.id")


def test_an_existing_id_reuses_its_status(client: Client) -> None:
    """The existing status is used as it is, whatever other fields were given."""
    status = add_status(client)
    given = {"id": status["id"], "name": unique(), "kind": DOWN, "color": "red"}

    assert add_item(client, initial_status=given)["status"] == status
    assert add_item(client, initial_status={"id": status["id"]})["status"] == status
    assert get_status(client, status["id"]) == status


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"initial_status_id": "gone", "initial_note_text": "a note"}, "not_found"),
        ({"initial_status": {"name": "UP", "kind": 1}}, "already_exists"),
        ({"initial_status": {"name": "new", "kind": 0}}, "invalid_argument"),
        (
            {"initial_status": {"name": "new", "kind": 1}, "initial_note_text": " "},
            "invalid_argument",
        ),
        ({"initial_status": {"id": "free-id"}}, "invalid_argument"),
        ({"initial_note_text": "a note", "description": "\0"}, "invalid_argument"),
    ],
)
def test_an_item_that_fails_leaves_nothing(
    client: Client, fields: dict[str, Any], code: str
) -> None:
    """No part of an AddItem is written if any part fails, and no revision is used up."""
    before = everything(client)

    result = client.call("AddItem", name=unique(), **fields)

    assert result.code == code
    assert everything(client) == before


# Updates


UPDATES = [
    ("Item", "name", "a new name"),
    ("Item", "description", "another description"),
    ("Item", "position", 3),
    ("Status", "name", "a new name"),
    ("Status", "description", "another description"),
    ("Status", "color", "blue"),
    ("Status", "kind", "STATUS_KIND_DECOMM"),
    ("Note", "note_text", "another text"),
]
KINDS: dict[str, tuple[str, Any, Any]] = {
    "Item": ("item_id", add_item, get_item),
    "Status": ("status_id", add_status, get_status),
    "Note": (
        "note_id",
        lambda client: add_note(client, add_item(client)["id"]),
        get_note,
    ),
}


@pytest.mark.parametrize("masked", [False, True], ids=["", "mask"])
@pytest.mark.parametrize(("kind", "field", "value"), UPDATES)
def test_an_update_changes_one_field(
    client: Client, kind: str, field: str, value: Any, *, masked: bool
) -> None:
    """Only the given field changes, along with the version and the time."""
    id_field, add, get = KINDS[kind]
    before = add(client)
    value = unique(value) if field == "name" else value
    mask = {"update_mask": "noteText" if kind == "Note" else field} if masked else {}

    answer = client.ok(f"Update{kind}", **{id_field: before["id"], field: value}, **mask)

    after = get(client, before["id"])
    shown = "text" if kind == "Note" else field
    assert answer == {}
    assert after["timestamps"].pop("updated") != before["timestamps"].pop("updated")
    assert after == {**before, shown: value, "version": 2}


def test_an_item_changes_its_status(client: Client) -> None:
    """An item can be given another status, with and without a mask."""
    first, second = add_status(client), add_status(client)
    item = add_item(client)

    client.ok("UpdateItem", item_id=item["id"], status_id=first["id"])
    assert get_item(client, item["id"])["status"] == first
    client.ok("UpdateItem", item_id=item["id"], status_id=second["id"], update_mask="statusId")
    assert get_item(client, item["id"])["status"] == second


def test_several_fields_change_in_one_version(client: Client) -> None:
    """An update of several fields is one change."""
    item, status = add_item(client), add_status(client)

    client.ok("UpdateItem", item_id=item["id"], description="x", status_id=status["id"], position=2)

    after = get_item(client, item["id"])
    assert (after["description"], after["status"], after["position"]) == ("x", status, 2)
    assert after["version"] == 2


@pytest.mark.parametrize(
    ("kind", "field", "path", "cleared"),
    [
        ("Item", "description", "description", {}),
        ("Item", "status", "statusId", {}),
        ("Item", "position", "position", {}),
        ("Status", "description", "description", {}),
        ("Status", "color", "color", {"color": "#5DFC0A"}),
    ],
)
def test_a_mask_clears_what_it_names(
    client: Client, kind: str, field: str, path: str, cleared: dict[str, Any]
) -> None:
    """A path in the mask sets its field even when it is empty; others stay."""
    id_field, add, get = KINDS[kind]
    full: dict[str, Any] = {"description": "something"}
    if kind == "Item":
        full |= {"initial_status_id": add_status(client)["id"], "position": 5}
    else:
        full |= {"color": "red"}
    before = add(client, **full)

    client.ok(f"Update{kind}", **{id_field: before["id"]}, update_mask=path)

    after = get(client, before["id"])
    del before[field], before["timestamps"], after["timestamps"]
    assert after == {**before, **cleared, "version": 2}


@pytest.mark.parametrize(
    ("kind", "path", "field"),
    [
        ("Item", "name", "name"),
        ("Status", "name", "name"),
        ("Status", "kind", "kind"),
        ("Note", "noteText", "note_text"),
    ],
)
def test_a_mask_cannot_empty_what_is_required(
    client: Client, kind: str, path: str, field: str
) -> None:
    """Names, kinds and the text of notes cannot be emptied."""
    id_field, add, get = KINDS[kind]
    before = add(client)

    result = client.call(f"Update{kind}", **{id_field: before["id"]}, update_mask=path)

    assert refused(result, field)
    assert get(client, before["id"]) == before


@pytest.mark.parametrize(
    "path",
    [
        "nope",
        "id",
        "version",
        "timestamps",
        "name.x",
        "description,nope",
        pytest.param("x" * 1_000_000, id="1 MB"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_path_is_refused(client: Client, kind: str, path: str) -> None:
    """A mask with a path that cannot be set is refused as a whole."""
    id_field, add, get = KINDS[kind]
    before = add(client)
    text = {"note_text": "another"} if kind == "Note" else {}

    result = client.call(f"Update{kind}", **{id_field: before["id"]}, **text, update_mask=path)

    assert refused(result, "update_mask")
    assert get(client, before["id"]) == before


def test_a_mask_leaves_out_what_it_does_not_name(client: Client) -> None:
    """Fields that are given but not in the mask are ignored."""
    item = add_item(client, description="old")

    client.ok(
        "UpdateItem", item_id=item["id"], description="new", position=4, update_mask="position"
    )

    after = get_item(client, item["id"])
    assert (after["description"], after["position"]) == ("old", 4)


@pytest.mark.parametrize("mask", [{}, {"update_mask": ""}], ids=["missing", "empty"])
@pytest.mark.parametrize("kind", ["Item", "Status"])
def test_an_update_without_fields_changes_nothing(
    client: Client, kind: str, mask: dict[str, str]
) -> None:
    """Such an update succeeds, and adds nothing to the log."""
    id_field, add, get = KINDS[kind]
    before = add(client)
    revision = head(client)

    answer = client.call(f"Update{kind}", **{id_field: before["id"]}, **mask)

    assert (answer.code, answer.body, answer.revision) == ("ok", {}, revision)
    assert get(client, before["id"]) == before


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_to_what_is_stored_changes_nothing(client: Client, kind: str) -> None:
    """Such an update succeeds, and keeps the version, the time and the revision."""
    id_field, add, get = KINDS[kind]
    before = add(client)
    same = {"note_text": before["text"]} if kind == "Note" else {"name": before["name"]}
    revision = head(client)

    answer = client.call(f"Update{kind}", **{id_field: before["id"]}, **same)

    assert (answer.code, answer.body, answer.revision) == ("ok", {}, revision)
    assert get(client, before["id"]) == before


def test_an_item_cannot_take_an_unknown_status(client: Client) -> None:
    """An update with an unknown status is refused, and none of it is written."""
    before = add_item(client)

    result = client.call("UpdateItem", item_id=before["id"], name=unique(), status_id="gone")

    assert result.code == "not_found"
    assert get_item(client, before["id"]) == before


@pytest.mark.parametrize("expected", [1, 3, 2**32 - 1])
@pytest.mark.parametrize("verb", ["Update", "Delete"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stale_version_is_refused(client: Client, kind: str, verb: str, expected: int) -> None:
    """A change based on an older version of the record is refused."""
    id_field, add, get = KINDS[kind]
    id = add(client)["id"]
    text = {"note_text": "second"} if kind == "Note" else {"name": unique()}
    client.ok(f"Update{kind}", **{id_field: id}, **text)
    before = get(client, id)
    third = {} if verb == "Delete" else {next(iter(text)): unique()}

    result = client.call(f"{verb}{kind}", **{id_field: id}, **third, expected_version=expected)

    assert result.code == "aborted"
    assert result.detail(ErrorInfo).domain == "statusthing"
    assert get(client, id) == before


@pytest.mark.parametrize("kind", KINDS)
def test_the_present_version_is_accepted(client: Client, kind: str) -> None:
    """A caller that has seen the current version may change and delete the record."""
    id_field, add, get = KINDS[kind]
    id = add(client)["id"]
    text = {"note_text": "second"} if kind == "Note" else {"name": unique()}

    client.ok(f"Update{kind}", **{id_field: id}, **text, expected_version=1)

    assert get(client, id)["version"] == 2
    assert client.ok(f"Delete{kind}", **{id_field: id}, expected_version=2) == {}
    assert client.call(f"Get{kind}", **{id_field: id}).code == "not_found"


# What a write moves


def test_notes_do_not_move_their_item(client: Client) -> None:
    """Adding, changing or deleting a note leaves the version and time of its item alone."""
    item = add_item(client)
    note = add_note(client, item["id"])
    other = add_note(client, item["id"])

    client.ok("UpdateNote", note_id=note["id"], note_text="another text")
    client.ok("DeleteNote", note_id=note["id"])

    assert get_item(client, item["id"]) == {**item, "notes": [other]}


def test_a_status_and_its_items_move_apart(client: Client) -> None:
    """Changing a status does not change its items' versions, nor the other way round."""
    item = add_item(client, initial_status={"name": unique(), "kind": UP})
    status_id = item["status"]["id"]

    client.ok("UpdateStatus", status_id=status_id, description="new")
    moved = get_item(client, item["id"])
    client.ok("UpdateItem", item_id=item["id"], description="new")

    status = get_status(client, status_id)
    assert moved == {**item, "status": status}
    assert status["version"] == 2
    assert get_item(client, item["id"])["status"] == status


def test_times_are_those_of_the_write(client: Client) -> None:
    """`created` stays, and every change has a later `updated`."""
    item = add_item(client)
    times = [item["timestamps"]]
    for position in (1, 2):
        client.ok("UpdateItem", item_id=item["id"], position=position)
        times.append(get_item(client, item["id"])["timestamps"])

    moments = [nanoseconds(each["updated"]) for each in times]
    assert {each["created"] for each in times} == {times[0]["created"]}
    assert moments == sorted(set(moments))


def nanoseconds(text: str) -> int:
    """Read a time of an answer."""
    moment = Timestamp()
    moment.FromJsonString(text)
    return moment.ToNanoseconds()


# The revision


def test_every_write_makes_one_revision(client: Client) -> None:
    """Every answer has the head it saw or made, and a write adds one, whatever its size."""
    first = head(client)
    added = client.call(
        "AddItem",
        name=unique(),
        initial_status={"name": unique(), "kind": UP},
        initial_note_text="a note",
    )
    id = added.body["item"]["id"]

    read = client.call("GetItem", item_id=id)
    updated = client.call("UpdateItem", item_id=id, position=1)
    deleted = client.call("DeleteItem", item_id=id)

    assert [each.revision for each in (added, read, updated, deleted)] == [
        first + 1,
        first + 1,
        first + 2,
        first + 3,
    ]


def test_a_refused_write_uses_up_no_revision(client: Client) -> None:
    """A refused write leaves the head where it was."""
    before = head(client)

    client.call("AddItem", name="")
    client.call("DeleteItem", item_id="gone")

    assert head(client) == before


# Deleting


def test_a_deleted_item_takes_its_notes_along(client: Client) -> None:
    """The item and its notes can no longer be found, but its status can."""
    item = add_item(
        client, initial_status={"name": unique(), "kind": UP}, initial_note_text="a note"
    )
    note = item["notes"][0]

    assert client.ok("DeleteItem", item_id=item["id"]) == {}
    assert client.call("GetItem", item_id=item["id"]).code == "not_found"
    assert client.call("GetNote", note_id=note["id"]).code == "not_found"
    assert client.call("ListNotes", item_id=item["id"]).code == "not_found"
    assert client.call("DeleteItem", item_id=item["id"]).code == "not_found"
    assert get_status(client, item["status"]["id"]) == item["status"]


@pytest.mark.parametrize("count", [1, 3])
def test_a_status_in_use_cannot_be_deleted(client: Client, count: int) -> None:
    """The error says how many items have the status; once none has, it can be deleted."""
    status = add_status(client)
    items = [add_item(client, initial_status_id=status["id"]) for _ in range(count)]

    result = client.call("DeleteStatus", status_id=status["id"])

    assert result.code == "failed_precondition"
    assert str(count) in result.message.replace(status["id"], "").replace(status["name"], "")
    assert result.detail(ErrorInfo).domain == "statusthing"
    for item in items:
        client.ok("UpdateItem", item_id=item["id"], update_mask="statusId")
    assert client.ok("DeleteStatus", status_id=status["id"]) == {}


# Lists


def test_a_list_is_in_the_order_of_creation(client: Client) -> None:
    """Lists keep the order of creation, whatever the names, positions and later changes."""
    status = add_status(client)
    added = [
        add_item(client, name=unique(letter), initial_status_id=status["id"], position=position)
        for letter, position in (("c", 1), ("a", 3), ("b", 2))
    ]
    client.ok("UpdateItem", item_id=added[0]["id"], position=9)

    listed = client.ok("ListItems", status_ids=[status["id"]])["items"]

    assert ids(listed) == ids(added)


def test_a_list_has_notes_only_where_asked_for(client: Client) -> None:
    """Without `extended`, items have no notes but are otherwise as GetItem returns them."""
    status = add_status(client)
    item = add_item(client, initial_status_id=status["id"], initial_note_text="a note")
    bare = {key: value for key, value in item.items() if key != "notes"}

    assert client.ok("ListItems", status_ids=[status["id"]]) == {"items": [bare]}
    assert client.ok("ListItems", status_ids=[status["id"]], extended=True) == {"items": [item]}


def test_filters_of_items_combine(client: Client) -> None:
    """An item matches any of the statuses, any of the kinds, and both filters if both are given."""
    up, down, warning = (
        add_status(client, kind=kind) for kind in (UP, DOWN, "STATUS_KIND_WARNING")
    )
    of_up, of_down, of_warning = (
        add_item(client, initial_status_id=status["id"])["id"] for status in (up, down, warning)
    )
    bare = add_item(client)["id"]
    both = [up["id"], down["id"]]

    def listed(**filters: object) -> set[str]:
        found = client.ok("ListItems", **filters).get("items", [])
        return {of_up, of_down, of_warning, bare}.intersection(ids(found))

    assert listed() == {of_up, of_down, of_warning, bare}
    assert listed(status_ids=both) == {of_up, of_down}
    assert listed(kinds=[UP, "STATUS_KIND_WARNING"]) == {of_up, of_warning}
    assert listed(status_ids=both, kinds=[2, 3]) == {of_down}
    assert listed(status_ids=[up["id"]], kinds=[2]) == set()


def test_statuses_are_filtered_by_kind(client: Client) -> None:
    """ListStatus returns the statuses of any of the kinds."""
    added = [add_status(client, kind=kind)["id"] for kind in (4, 5, 11)]

    def listed(*kinds: int) -> list[str]:
        found = ids(client.ok("ListStatus", kinds=kinds)["statuses"])
        return [id for id in found if id in added]

    assert listed() == added
    assert listed(4) == added[:1]
    assert listed(11, 4, 4) == [added[0], added[2]]


def test_a_list_without_matches_is_empty(client: Client) -> None:
    """The answer is an empty message."""
    item = add_item(client)

    assert client.ok("ListNotes", item_id=item["id"]) == {}


@pytest.mark.parametrize("size", [1, 2, 3, 4, 1_000])
def test_pages_make_up_the_list(client: Client, size: int) -> None:
    """Every page but the last has a token; together they are the list, each record once."""
    status = add_status(client)
    added = [add_item(client, initial_status_id=status["id"])["id"] for _ in range(4)]
    found, token, pages = [], "", 0
    while token or not pages:
        answer = client.ok("ListItems", status_ids=[status["id"]], page_size=size, page_token=token)
        found += ids(answer["items"])
        token, pages = answer.get("nextPageToken", ""), pages + 1

    assert found == added
    assert pages == -(-4 // size)


def test_pages_hold_while_records_come_and_go(client: Client) -> None:
    """A token continues after the record it was given for, even if that has been deleted."""
    item = add_item(client)
    notes = [add_note(client, item["id"], str(number)) for number in range(4)]
    page = client.ok("ListNotes", item_id=item["id"], page_size=2)
    for note in notes[:2]:
        client.ok("DeleteNote", note_id=note["id"])
    notes.append(add_note(client, item["id"], "4"))

    rest = client.ok("ListNotes", item_id=item["id"], page_token=page["nextPageToken"])

    assert page["notes"] == notes[:2]
    assert rest == {"notes": notes[2:]}


def test_statuses_come_in_pages(client: Client) -> None:
    """ListStatus returns pages as the other lists do."""
    whole = client.ok("ListStatus")["statuses"]

    first = client.ok("ListStatus", page_size=3)
    rest = client.ok("ListStatus", page_token=first["nextPageToken"])

    assert first["statuses"] + rest["statuses"] == whole
    assert len(first["statuses"]) == 3


@pytest.mark.parametrize("token", ["nope", "AAAA", "WzFd", "e30=", EM_SPACE, "x" * 5_000])
@pytest.mark.parametrize("rpc", ["ListItems", "ListStatus", "ListNotes"])
def test_a_made_up_page_token_is_refused(client: Client, rpc: str, token: str) -> None:
    """A token that no list returned is invalid."""
    fields = valid(client, rpc)

    assert refused(client.call(rpc, **fields, page_token=token), "page_token")


@pytest.mark.parametrize("id", ["nul\0", "no such id", ASTRAL, "\ud800"], ids=ascii)
def test_a_page_token_for_an_impossible_id_is_refused(client: Client, id: str) -> None:
    """A token that was changed to continue behind an id that no record can have is invalid."""
    token = client.ok("ListStatus", page_size=1)["nextPageToken"]
    after, _, digest = json.loads(base64.urlsafe_b64decode(token))
    forged = base64.urlsafe_b64encode(json.dumps([after, id, digest]).encode()).decode()

    assert refused(client.call("ListStatus", page_token=forged), "page_token")


@pytest.fixture(scope="module")
def long_item(server: Server) -> str:
    """The id of an item with 1 001 notes, whose texts are the numbers from 0."""
    with server.grpc() as client:
        id: str = add_item(client)["id"]
        for number in range(1_001):
            add_note(client, id, str(number))
    return id


@pytest.mark.parametrize("size", [1_000, 1_001, 2**32 - 1])
def test_a_page_has_at_most_a_thousand(client: Client, long_item: str, size: int) -> None:
    """A larger page size means 1 000."""
    page = client.ok("ListNotes", item_id=long_item, page_size=size)
    rest = client.ok("ListNotes", item_id=long_item, page_token=page["nextPageToken"])

    assert len(page["notes"]) == 1_000
    assert [note["text"] for note in rest["notes"]] == ["1000"]


def test_page_size_0_asks_for_all(client: Client, long_item: str) -> None:
    """Without a page size the list is complete, oldest first."""
    listed = client.ok("ListNotes", item_id=long_item)

    assert [note["text"] for note in listed["notes"]] == [str(number) for number in range(1_001)]
    assert set(listed) == {"notes"}


# Notes


def test_an_item_brings_its_newest_hundred_notes(client: Client) -> None:
    """GetItem and an extended list return them oldest first, beside items with fewer."""
    status = add_status(client)
    item, other = (add_item(client, initial_status_id=status["id"]) for _ in range(2))
    notes = [add_note(client, item["id"], str(number)) for number in range(103)]
    few = add_note(client, other["id"])

    listed = client.ok("ListItems", status_ids=[status["id"]], extended=True)["items"]

    assert get_item(client, item["id"])["notes"] == notes[-100:]
    assert [each["notes"] for each in listed] == [notes[-100:], [few]]
    assert client.ok("ListNotes", item_id=item["id"])["notes"] == notes


def test_two_notes_may_have_the_same_text(client: Client) -> None:
    """Two notes with the same text are two separate notes."""
    item = add_item(client, initial_note_text="same")

    second, third = add_note(client, item["id"], "same"), add_note(client, item["id"], "same")

    assert get_item(client, item["id"])["notes"] == [*item["notes"], second, third]
    assert second["id"] != third["id"]


def test_a_note_knows_its_item(client: Client) -> None:
    """A note is found by its id, and is changed and deleted without affecting others."""
    item = add_item(client)
    note, other = add_note(client, item["id"], "one"), add_note(client, item["id"], "two")

    assert get_note(client, note["id"]) == note
    assert (note["itemId"], note["text"], note["version"]) == (item["id"], "one", 1)
    client.ok("UpdateNote", note_id=note["id"], note_text="three")
    assert client.ok("DeleteNote", note_id=note["id"]) == {}
    assert client.ok("ListNotes", item_id=item["id"]) == {"notes": [other]}


# Idempotency keys


SHORT_KEYS = map(chr, range(33, 127))


@pytest.mark.parametrize("rpc", ["AddItem", "AddStatus", "AddNote"])
@pytest.mark.parametrize("length", [1, 128])
def test_a_repeated_add_happens_once(client: Client, rpc: str, length: int) -> None:
    """A repeat gets the first answer, and nothing is written."""
    key = next(SHORT_KEYS) if length == 1 else uuid.uuid4().hex.ljust(length, "~")
    fields = valid(client, rpc) | {"request_id": key}

    first = client.call(rpc, **fields)
    again = client.call(rpc, **fields)

    assert first.code == "ok"
    assert (again.code, again.body) == ("ok", first.body)
    assert again.revision == first.revision == head(client)


def test_a_repeat_gets_the_first_answer_of_a_changed_record(client: Client) -> None:
    """The answer is the first one, even if the item has been changed or deleted since."""
    fields = {"name": unique(), "request_id": unique("key"), "initial_note_text": "a note"}
    first = client.ok("AddItem", **fields)
    id = first["item"]["id"]
    client.ok("UpdateItem", item_id=id, name=unique())
    changed = client.ok("AddItem", **fields)
    client.ok("DeleteItem", item_id=id)

    assert changed == client.ok("AddItem", **fields) == first


@pytest.mark.parametrize("rpc", ["AddItem", "AddStatus", "AddNote"])
def test_a_key_is_for_one_request(client: Client, rpc: str) -> None:
    """The same key with other contents is refused, and nothing is written."""
    key = {"request_id": unique("key")}
    client.ok(rpc, **valid(client, rpc), **key)
    other = valid(client, rpc)
    revision = head(client)

    assert refused(client.call(rpc, **other, **key), "request_id")
    assert head(client) == revision


def test_a_key_belongs_to_its_rpc(client: Client) -> None:
    """The same key in another RPC stands for another request."""
    fields = {"name": unique(), "request_id": unique("key")}

    assert client.call("AddItem", **fields).code == "ok"
    assert client.call("AddStatus", **fields, kind=UP).code == "ok"


def test_a_failure_is_not_kept(client: Client) -> None:
    """After a failure, the same request with the same key can succeed."""
    item = add_item(client)
    fields = {"name": item["name"], "request_id": unique("key")}
    failed = client.call("AddItem", **fields)
    client.ok("DeleteItem", item_id=item["id"])

    assert failed.code == "already_exists"
    assert client.call("AddItem", **fields).code == "ok"


@pytest.mark.parametrize(
    "key", ["x" * 129, "a\nb", "\x7f", "\N{LATIN SMALL LETTER E WITH ACUTE}", ASTRAL], ids=ascii
)
@pytest.mark.parametrize("rpc", ["AddItem", "AddStatus", "AddNote"])
def test_a_key_is_printable_ascii(client: Client, rpc: str, key: str) -> None:
    """Keys with other characters are refused, and the error names the field."""
    assert refused(client.call(rpc, **valid(client, rpc), request_id=key), "request_id")


def test_a_key_holds_across_protocols(server: Server) -> None:
    """A request sent over JSON and repeated over gRPC takes effect once."""
    fields = {"name": unique(), "request_id": unique("key")}
    with server.json() as over_json, server.grpc() as over_grpc:
        first, again = over_json.call("AddItem", **fields), over_grpc.call("AddItem", **fields)

    assert (first.code, again.code) == ("ok", "ok")
    assert again.body["item"]["id"] == first.body["item"]["id"]
    assert again.revision == first.revision
