"""Records as JSON-able data, as generic stores keep them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusthing import store
from statusthing.errors import SchemaTooNew, StoreError
from statusthing.log import Action, Change
from statusthing.model import RECORDS, Item, Note, Record, RecordSpec
from statusthing.store import pack, schemas, unpack

FIELDS: Mapping[tuple[str, int], str] = {
    ("Status", 1): "id created updated version name description color kind",
    ("Item", 1): "id created updated version name description status_id position",
    ("Note", 1): "id created updated version item_id text",
    ("Settings", 1): (
        "id created updated version title description logo_url accent_color links footer"
    ),
    ("User", 1): (
        "id created updated version username password_hash first_name last_name email_address "
        "avatar_url role disabled development last_login"
    ),
    ("Token", 1): "id created updated version name digest role user_id expires",
    ("Session", 1): "id created updated version user_id address user_agent expires",
    ("TokenUse", 1): "id created updated version expires",
    ("SetupLink", 1): "id created updated version expires",
    ("Throttle", 1): "id created updated version failures expires",
    ("FailedSignIn", 1): "id created updated version username address correlation_id expires",
    ("KeptAnswer", 1): "id created updated version digest answer expires",
    ("Change", 1): "revision seq at actor action kind subject before after public",
    ("Change", 2): (
        "revision seq at actor action kind subject before after public address correlation_id"
    ),
}
"""The fields of each schema. Data of it is kept somewhere: rows are added, and never changed."""

KINDS: tuple[type[Any], ...] = (*RECORDS, Change)
ITEM = Item(
    id="i",
    created=datetime(2026, 3, 1, tzinfo=UTC),
    updated=datetime(2026, 3, 1, 12, 30, 0, 1, tzinfo=UTC),
    version=2,
    name="Website",
)
PACKED: Mapping[str, Any] = {
    "kind": "Item",
    "schema": 1,
    "fields": {
        "id": "i",
        "created": "2026-03-01T00:00:00Z",
        "updated": "2026-03-01T12:30:00.000001Z",
        "version": 2,
        "name": "Website",
        "description": "",
        "status_id": None,
        "position": 0,
    },
}

TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=5,
)
TYPES: Mapping[Any, st.SearchStrategy[Any]] = {
    datetime: st.datetimes(timezones=st.just(UTC)),
    str: TEXT,
    str | None: st.none() | TEXT,
    int: st.integers(-(2**63), 2**63 - 1),
    dict[str, Any] | None: st.none() | st.dictionaries(TEXT, JSON),
}


def rows(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Make any row of a kind, by the types of its fields."""
    fields = {
        field.name: TYPES[field.type] if field.type in TYPES else st.from_type(field.type)
        for field in msgspec.structs.fields(kind)
    }
    return st.builds(kind, **fields)


@given(row=st.one_of([rows(kind) for kind in KINDS]))
def test_everything_comes_back_through_json(row: Record | Change) -> None:
    """Any record or change, packed, written as JSON and read, is equal to what it was."""
    back = unpack(json.loads(json.dumps(pack(row))))

    assert back == row
    assert type(back) is type(row)


@pytest.mark.parametrize("year", [1, 1969, 1970, 9999])
def test_instants_are_exact_and_in_utc(year: int) -> None:
    """The first and the last microsecond of a year come back, with the same time zone."""
    first = datetime(year, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
    last = datetime(year, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    back = unpack(pack(msgspec.structs.replace(ITEM, created=first, updated=last)))

    assert isinstance(back, Item)
    assert (back.created, back.updated) == (first, last)
    assert back.created.tzinfo is UTC


def test_the_packed_form_is_fixed() -> None:
    """A record is packed as it is in the data that stores have kept."""
    assert pack(ITEM) == PACKED
    assert unpack(PACKED) == ITEM


def test_a_packed_change_is_apart_from_it() -> None:
    """Changing what was packed does not change the packed data."""
    details: dict[str, Any] = {"names": ["a"]}
    change = Change(
        revision=1,
        seq=0,
        at=ITEM.created,
        actor="a",
        action=Action.ADDED,
        kind="Item",
        subject="i",
        before=None,
        after=details,
        public=True,
    )
    packed = pack(change)
    details["names"].append("b")

    assert packed["fields"]["after"] == {"names": ["a"]}


def test_no_schema_changes_without_a_new_number() -> None:
    """The fields of each kind are those of its number: other fields need an upgrade."""
    now = {
        (kind.__name__, schemas()[kind.__name__]): " ".join(kind.__struct_fields__)
        for kind in KINDS
    }

    assert now == {key: FIELDS.get(key) for key in now}


def test_every_number_has_a_row() -> None:
    """The table has the fields of every schema that `unpack` can upgrade from."""
    numbers = {(kind, n) for kind, newest in schemas().items() for n in range(1, newest + 1)}

    assert FIELDS.keys() == numbers


@pytest.fixture
def third_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items in their third schema: `name` was `title` first, and then there was no `position`."""

    def name(fields: dict[str, Any]) -> dict[str, Any]:
        fields["name"] = fields.pop("title")
        return fields

    def position(fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "position": len(fields["name"])}

    records = dict(RECORDS) | {Item: RecordSpec(upgrades=(name, position))}
    monkeypatch.setattr(store, "RECORDS", records)


def older(number: int) -> dict[str, Any]:
    """Return the packed item as the older schemas of `third_schema` have it."""
    fields = dict(PACKED["fields"])
    del fields["position"]
    if number == 1:
        fields["title"] = fields.pop("name")
    return {"kind": "Item", "schema": number, "fields": fields}


@pytest.mark.usefixtures("third_schema")
@pytest.mark.parametrize("number", [1, 2])
def test_an_older_schema_is_upgraded(number: int) -> None:
    """Data of an older schema goes through the upgrades from there on, in order."""
    data = older(number)

    assert unpack(data) == msgspec.structs.replace(ITEM, position=len("Website"))
    assert data == older(number)


@pytest.mark.usefixtures("third_schema")
def test_the_number_counts_the_upgrades() -> None:
    """What is packed now has the number behind the last upgrade, and needs none to come back."""
    others = dict.fromkeys((kind.__name__ for kind in RECORDS), 1)

    assert schemas() == {**others, "Item": 3, "Change": 2}
    assert pack(ITEM) == {**PACKED, "schema": 3}
    assert unpack(pack(ITEM)) == ITEM


@pytest.mark.usefixtures("third_schema")
def test_an_upgrade_that_finds_no_field_reports_damage() -> None:
    """An upgrade that stumbles over damaged data is no defect of the program."""
    with pytest.raises(StoreError, match=r"^a packed Item of schema 1 is damaged: 'title'$"):
        unpack({**older(2), "schema": 1})


@pytest.mark.parametrize(("kind", "schema"), [("Item", 2), ("Change", 3), ("Incident", 1)])
def test_newer_data_is_told_apart(kind: str, schema: int) -> None:
    """A number or a kind that only newer software knows raises SchemaTooNew."""
    message = rf"^the data holds a {kind} of schema {schema}: install the newer version$"
    with pytest.raises(SchemaTooNew, match=message):
        unpack({**PACKED, "kind": kind, "schema": schema})


@pytest.mark.parametrize(
    "data",
    [
        {},
        [],
        "Item",
        None,
        {"kind": "Item"},
        {**PACKED, "kind": None},
        {**PACKED, "schema": "1"},
        {**PACKED, "schema": 0},
        {**PACKED, "schema": -1},
        {**PACKED, "fields": []},
        {**PACKED, "fields": {}},
        {**PACKED, "kind": "Note"},
        {**PACKED, "fields": {"name": 7}},
    ],
    ids=str,
)
def test_damaged_data_is_a_store_error(data: Any) -> None:
    """What `pack` does not make raises StoreError, with one line that says what is wrong."""
    with pytest.raises(StoreError) as damage:
        unpack(data)

    assert not isinstance(damage.value, SchemaTooNew)
    assert "\n" not in str(damage.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": 7}, "is damaged: Expected `str`, got `int` - at `$.name`"),
        ({"created": "yesterday"}, "is damaged: Invalid RFC3339 encoded datetime - at `$.created`"),
        ({"colour": "red"}, "lacks, or should not have: colour"),
    ],
)
def test_damaged_fields_are_named(change: dict[str, Any], problem: str) -> None:
    """The message names the kind, its schema, and the field."""
    fields = {**PACKED["fields"], **change}
    with pytest.raises(StoreError) as damage:
        unpack({**PACKED, "fields": fields})

    assert str(damage.value) == f"a packed Item of schema 1 {problem}"


@pytest.mark.parametrize("field", ["description", "version", "status_id"])
def test_a_missing_field_is_not_made_up(field: str) -> None:
    """A field that has a default in new records does not get it in kept ones."""
    fields = dict(PACKED["fields"])
    del fields[field]

    with pytest.raises(StoreError, match=field):
        unpack({**PACKED, "fields": fields})


def test_the_kinds_are_different() -> None:
    """A row comes back as the kind that it was packed as, whatever fields others have."""
    note = Note(id="n", created=ITEM.created, updated=ITEM.updated, item_id="i", text="t")

    assert {type(unpack(pack(row))) for row in (ITEM, note)} == {Item, Note}
