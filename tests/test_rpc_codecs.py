"""The codecs against protobuf's own: same messages, same JSON, no field forgotten."""

from __future__ import annotations

import json
import types
import typing
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from google.protobuf import json_format
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from statusthing.errors import InvalidArgument
from statusthing.model import (
    ItemView,
    NoteView,
    Role,
    StatusKind,
    StatusView,
    Timestamps,
    TokenView,
    UserView,
)
from statusthing.rpc.health_pb2 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListResponse,
)
from statusthing.rpc.json_codec import JsonCodec
from statusthing.rpc.proto_codec import INPUTS, ProtoCodec, message_type
from statusthing.rpc.reflection_pb2 import ServerReflectionRequest
from statusthing.service import OPERATIONS
from statusthing.service.messages import (
    AddItemRequest,
    AddStatusRequest,
    AuditEntry,
    ListItemsRequest,
    StatusInput,
)
from statusthing.v1 import services_pb2

JSON, PROTO = JsonCodec(), ProtoCodec()
REQUESTS = [row.request for row in OPERATIONS.values() if row.service]
RESPONSES = [row.response for row in OPERATIONS.values() if row.service]
MESSAGES = [HealthCheckRequest, ServerReflectionRequest]  # of services that are not the domain's
VIEWS = [ItemView, StatusView, NoteView, UserView, TokenView, AuditEntry, Timestamps]

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
instants = st.integers(-62_135_000_000, 253_402_000_000).map(
    lambda seconds: datetime.fromtimestamp(seconds, UTC)
) | st.datetimes(timezones=st.just(UTC))


def structs(kind: Any) -> st.SearchStrategy[Any]:
    """Build values of a field's type, or of a struct with all of its fields."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        fields = {name: structs(hints[name]) for name in kind.__struct_fields__}
        return st.builds(kind, **fields)
    if typing.get_origin(kind) is tuple:
        return st.lists(structs(typing.get_args(kind)[0]), max_size=3).map(tuple)
    if typing.get_origin(kind) is types.UnionType:
        return st.one_of(*(structs(each) for each in typing.get_args(kind)))
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: text,
        int: st.integers(min_value=0, max_value=2**31 - 1),
        bool: st.booleans(),
        StatusKind: st.sampled_from(StatusKind),
        Role: st.sampled_from(Role),
        datetime: instants,
        type(None): st.none(),
    }
    return simple[kind]


def same_json(ours: Any, theirs: Any, descriptor: Any) -> bool:
    """Compare two JSON values of a message; times by when they are, not by their digits."""
    if descriptor is Timestamp.DESCRIPTOR:
        parsed = Timestamp(), Timestamp()
        for timestamp, value in zip(parsed, (ours, theirs), strict=True):
            timestamp.FromJsonString(value)
        return parsed[0] == parsed[1]
    if ours.keys() != theirs.keys():
        return False
    for field in descriptor.fields:
        one, other = ours.get(field.json_name), theirs.get(field.json_name)
        if field.message_type is None or one is None:
            same = one == other
        elif field.is_repeated:
            same = len(one) == len(other) and all(
                same_json(a, b, field.message_type) for a, b in zip(one, other, strict=True)
            )
        else:
            same = same_json(one, other, field.message_type)
        if not same:
            return False
    return True


@pytest.mark.parametrize("kind", RESPONSES, ids=lambda kind: str(kind.__name__))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_responses_encode_as_protobuf_would(kind: type[Any], data: st.DataObject) -> None:
    """Both codecs encode the same message, and the JSON is what protobuf writes for it."""
    response = data.draw(structs(kind))
    message = message_type(kind).FromString(PROTO.encode(response))
    theirs = json.loads(json_format.MessageToJson(message))
    ours = json.loads(JSON.encode(response))

    assert same_json(ours, theirs, message.DESCRIPTOR)
    assert json_format.Parse(JSON.encode(response), message_type(kind)()) == message


@pytest.mark.parametrize("kind", REQUESTS + MESSAGES, ids=lambda kind: str(kind.__name__))
@settings(max_examples=40, deadline=None)
@given(data=st.data(), proto_names=st.booleans(), numbers=st.booleans())
def test_requests_decode_as_protobuf_would(
    kind: type[Any], data: st.DataObject, *, proto_names: bool, numbers: bool
) -> None:
    """A request that protobuf wrote, in either spelling, is read as the same request."""
    message = data.draw(messages(kind if issubclass(kind, Message) else message_type(kind)))
    written = json_format.MessageToJson(
        message, preserving_proto_field_name=proto_names, use_integers_for_enums=numbers
    )

    assert JSON.decode(written.encode(), kind) == PROTO.decode(message.SerializeToString(), kind)


def messages(kind: type[Message]) -> st.SearchStrategy[Message]:
    """Build messages with any of their fields."""
    if kind is Timestamp:
        return instants.map(_timestamp)
    if kind is FieldMask:
        names = st.sampled_from(["name", "status_id", "description", "note_text"])
        return st.lists(names).map(lambda paths: FieldMask(paths=paths))
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for field in kind.DESCRIPTOR.fields:
        if field.message_type is not None:
            one: st.SearchStrategy[Any] = messages(_class(field.message_type))
        elif field.enum_type is not None:
            one = st.sampled_from([value.number for value in field.enum_type.values])
        else:
            one = {
                field.TYPE_STRING: text,
                field.TYPE_BOOL: st.booleans(),
                field.TYPE_UINT32: st.integers(0, 2**32 - 1),
                field.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
            }[field.type]
        fields[field.name] = st.lists(one, max_size=3) if field.is_repeated else one
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: kind(**given))


def test_messages_encode_as_protobuf_would() -> None:
    """Messages of services that are not the domain's are written as protobuf writes them."""
    response = HealthListResponse(statuses={"": HealthCheckResponse(status="NOT_SERVING")})

    assert json.loads(JSON.encode(response)) == json.loads(json_format.MessageToJson(response))
    assert HealthListResponse.FromString(PROTO.encode(response)) == response


def _class(descriptor: Any) -> type[Message]:
    found: type[Message] = GetMessageClass(descriptor)
    return found


def _timestamp(instant: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(instant)
    return timestamp


@pytest.mark.parametrize(
    "kind", [*REQUESTS, *RESPONSES, *VIEWS, *INPUTS.values()], ids=lambda kind: str(kind.__name__)
)
def test_every_field_of_every_message_is_mapped(kind: type[Any]) -> None:
    """A struct has exactly the fields of its message, so that none can be forgotten."""
    fields = message_type(kind).DESCRIPTOR.fields

    assert set(kind.__struct_fields__) == {field.name for field in fields}


def test_every_message_of_the_contract_has_a_struct() -> None:
    """Every request and response of the services belongs to an operation."""
    asked = {
        method.input_type.name
        for service in services_pb2.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }

    assert {kind.__name__ for kind in REQUESTS} == asked


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"kind": 1.5}', "kind"),
        ('{"kind": true}', "kind"),
        ('{"kind": "1"}', "kind"),
        ('{"kind": "NOPE"}', "kind"),
        ('{"name": 5}', "name"),
        ('{"name": ["a"]}', "name"),
        ('{"name": {"a": 1}}', "name"),
        ('{"name": "\\ud800"}', ""),
        ('{"name": "a", "name": "b"}', ""),
        ('{"name": "a:b", "name": "c:d"}', ""),
        ('{"name": "a", "\\u006eame": "b"}', ""),
        ('{"name": null, "name": null}', ""),
        ('{"nmae": "a"}', "nmae"),
        ('{"requestId": "a", "request_id": "a"}', "request_id"),
        ("[]", ""),
        ("null", ""),
        ("true", ""),
        ('"text"', ""),
        ("{", ""),
        ("{} {}", ""),
        ("", ""),
        ("NaN", ""),
        ('{"name": NaN}', ""),
        ("[" * 100_000, ""),
        ('{"name":' * 100_000, ""),
        ("\ufeff{}", ""),
    ],
)
def test_what_is_no_request_is_refused_by_name(body: str, field: str) -> None:
    """JSON that is malformed, lax or misspelt is refused, and the error names the field."""
    with pytest.raises(InvalidArgument) as caught:
        JSON.decode(body.encode("utf-8", "surrogatepass"), AddStatusRequest)

    assert caught.value.field == field


@pytest.mark.parametrize("text", [":", "::", '":', '":"', '{"name":1}', "\\u003a", "\\:"])
def test_colons_in_values_are_no_fields(text: str) -> None:
    """A field that is given once is read, whatever its text looks like."""
    body = {"name": text, "initialStatus": {"name": text, "description": text}}

    request = JSON.decode(json.dumps(body).encode(), AddItemRequest)

    assert request.name == text
    assert request.initial_status == StatusInput(name=text, description=text)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"initialStatus": {"name": "a", "name": "b"}}', "initial_status"),
        ('{"initialStatus": {"nmae": "a"}}', "initial_status.nmae"),
        (
            '{"initialStatus": {"timestamps": {"created": "soon"}}}',
            "initial_status.timestamps.created",
        ),
        ('{"initialStatus": {"timestamps": []}}', "initial_status.timestamps"),
        ('{"initialStatus": {"name": "a"}, "initialStatus": {"name": "b"}}', ""),
    ],
)
def test_what_is_within_a_message_is_refused_by_its_path(body: str, field: str) -> None:
    """The error names the whole path to a field of an inner message."""
    with pytest.raises(InvalidArgument) as caught:
        JSON.decode(body.encode(), AddItemRequest)

    assert caught.value.field == field


def test_bytes_that_are_no_utf8_are_refused() -> None:
    """JSON that is not UTF-8 is refused (RFC 8259, section 8.1)."""
    with pytest.raises(InvalidArgument):
        JSON.decode(b'{"name": "\xff"}', REQUESTS[0])


@settings(max_examples=200, deadline=None)
@given(part=st.binary(min_size=1, max_size=40), kind=st.sampled_from(REQUESTS))
def test_many_bytes_are_read_or_refused(part: bytes, kind: type[Any]) -> None:
    """Whatever repeats itself for 50 000 bytes is a request, or an invalid argument."""
    with suppress(InvalidArgument):
        PROTO.decode(part * (50_000 // len(part)), kind)


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (services_pb2.ListItemsRequest(status_ids=["x" * 2**20]), {"status_ids": ("x" * 2**20,)}),
        (
            services_pb2.ListItemsRequest(kinds=["STATUS_KIND_DOWN"] * 1_000),
            {"kinds": (2,) * 1_000},
        ),
        (services_pb2.ListItemsRequest(status_ids=["x" * 60] * 1_000), {}),
    ],
)
def test_large_messages_are_read(request_: Message, fields: dict[str, Any]) -> None:
    """It is how many elements a list has that counts, and not how large they are."""
    found = PROTO.decode(request_.SerializeToString(), ListItemsRequest)

    assert {name: getattr(found, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (services_pb2.ListItemsRequest(status_ids=[""] * 1_001), "status_ids"),
        (services_pb2.ListItemsRequest(kinds=["STATUS_KIND_UP"] * 1_001), "kinds"),
        (services_pb2.ListItemsRequest(kinds=["STATUS_KIND_UP"] * 20_000), "kinds"),
        (services_pb2.ListItemsRequest(status_ids=[""] * 20_000), ""),
        (services_pb2.UpdateItemRequest(update_mask=FieldMask(paths=["a"] * 1_001)), "update_mask"),
        (services_pb2.UpdateItemRequest(update_mask=FieldMask(paths=["a"] * 20_000)), ""),
    ],
)
def test_long_lists_are_refused(request_: Message, field: str) -> None:
    """The error names the field, unless there is so much that the message was not even parsed."""
    [kind] = [kind for kind in REQUESTS if kind.__name__ == request_.DESCRIPTOR.name]
    with pytest.raises(InvalidArgument) as caught:
        PROTO.decode(request_.SerializeToString(), kind)

    assert caught.value.field == field


@pytest.mark.parametrize("value", ["-1", "4294967296", "1.5", "true", '"x"', '" 1"', '""', "1e400"])
def test_whole_numbers_have_a_range(value: str) -> None:
    """A page size has to be an unsigned 32-bit integer."""
    with pytest.raises(InvalidArgument, match="page_size must be a whole number from 0 to"):
        JSON.decode(f'{{"pageSize": {value}}}'.encode(), ListItemsRequest)


@pytest.mark.parametrize("value", ["10", '"10"', "10.0", "1e1"])
def test_whole_numbers_have_several_spellings(value: str) -> None:
    """As in the proto3 JSON mapping, a whole number may be a string, a decimal or 1e1."""
    assert JSON.decode(f'{{"pageSize": {value}}}'.encode(), ListItemsRequest).page_size == 10
