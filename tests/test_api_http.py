"""What HTTP adds: which requests are answered at all, with which status, and who is let in."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from statusthing.service.credentials import new_token_secret
from statusthing.v1 import services_pb2

if TYPE_CHECKING:
    from tests.conftest import Server

SECONDS = 10.0
LIMIT = 4 * 2**20  # bytes of a message
JSON = {"content-type": "application/json"}
ITEMS = "/statusthing.v1.ItemsService"
STATUSES = "/statusthing.v1.StatusService"
NOTES = "/statusthing.v1.NotesService"
RPCS = [
    f"/{service.full_name}/{method.name}"
    for service in services_pb2.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
READS = [path for path in RPCS if path.rpartition("/")[2].startswith(("Get", "List", "WhoAmI"))]
WRITES = [path for path in RPCS if path not in READS]

# https://connectrpc.com/docs/protocol#error-codes
CODES = {
    *("canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found"),
    *("already_exists", "permission_denied", "resource_exhausted", "failed_precondition"),
    *("aborted", "out_of_range", "unimplemented", "internal", "unavailable", "data_loss"),
    "unauthenticated",
}


def unique() -> str:
    """Return a name that no other test uses."""
    return f"name {uuid.uuid4().hex}"


def error_code(response: httpx.Response) -> str:
    """Return the code of an error, which has to be the JSON error object."""
    body = response.json()
    assert response.headers["content-type"] == "application/json"
    assert set(body) <= {"code", "message", "details"}
    assert body["code"] in CODES
    assert isinstance(body["message"], str)
    assert body["message"]
    return str(body["code"])


def post(http: httpx.Client, path: str, body: str | bytes, **headers: str) -> httpx.Response:
    """Post a JSON body exactly as it is given."""
    return http.post(path, content=body, headers={**JSON, **headers})


def add_item(http: httpx.Client, **fields: object) -> dict[str, Any]:
    """Add an item of a name of its own, and return it."""
    response = http.post(f"{ITEMS}/AddItem", json={"name": unique(), **fields})
    assert response.status_code == 200, response.text
    item: dict[str, Any] = response.json()["item"]
    return item


def get(http: httpx.Client, path: str, message: object, **headers: str) -> httpx.Response:
    """Read through a GET request."""
    query = {"connect": "v1", "encoding": "json", "message": json.dumps(message)}
    return http.get(path, params=query, headers=headers)


# Answers


def test_an_answer_is_json(http: httpx.Client) -> None:
    """Names are camelCase, enums go by name, times are RFC 3339 in UTC; no cache keeps it."""
    status = {"name": unique(), "kind": 2}

    response = http.post(
        f"{ITEMS}/AddItem",
        json={"name": unique(), "initial_status": status, "initial_note_text": "a note"},
    )

    item = response.json()["item"]
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["statusthing-revision"].isdecimal()
    assert int(response.headers["content-length"]) == response.num_bytes_downloaded
    assert item["status"]["kind"] == "STATUS_KIND_DOWN"
    assert item["notes"][0]["itemId"] == item["id"]
    assert item["timestamps"]["created"].endswith("Z")


@pytest.mark.parametrize("path", READS)
def test_a_read_by_post_is_not_cached(http: httpx.Client, path: str) -> None:
    """Every answer to a POST says no-store, even an error."""
    assert post(http, path, "{}").headers["cache-control"] == "no-store"


def test_the_least_answer_is_an_empty_object(http: httpx.Client) -> None:
    """Updates and deletions answer `{}`."""
    body = {"itemId": add_item(http)["id"]}

    assert http.post(f"{ITEMS}/UpdateItem", json=body).text == "{}"
    assert http.post(f"{ITEMS}/DeleteItem", json=body).text == "{}"


@pytest.mark.parametrize(
    "type_",
    ["application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"],
)
def test_json_may_have_parameters(http: httpx.Client, type_: str) -> None:
    """A content type is JSON in any case and with a charset of UTF-8."""
    response = http.post(f"{ITEMS}/ListItems", content="{}", headers={"content-type": type_})

    assert response.status_code == 200


# Requests that no RPC sees


@pytest.mark.parametrize(
    "path",
    [
        f"{ITEMS}/Nope",
        f"{ITEMS}/",
        ITEMS,
        f"{ITEMS}/additem",
        f"{ITEMS}/AddItem/",
        f"{ITEMS}/AddStatus",
        "/statusthing.v1.NopeService/AddItem",
        "/statusthing.v2.ItemsService/AddItem",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_an_unknown_rpc_is_404(http: httpx.Client, method: str, path: str) -> None:
    """An unknown RPC gets 404 and the error object, whatever the verb."""
    response = http.request(method, path, content="{}", headers=JSON)

    assert (response.status_code, error_code(response)) == (404, "unimplemented")


@pytest.mark.parametrize("path", ["/nope", "/index.php", "/healthz/x"])
def test_an_unknown_page_is_404(http: httpx.Client, path: str) -> None:
    """Any other address is not found."""
    assert http.get(path).status_code == 404


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", [f"{ITEMS}/GetItem", f"{ITEMS}/AddItem"])
def test_another_verb_is_405(http: httpx.Client, path: str, method: str) -> None:
    """The answer names the verbs that are allowed."""
    response = http.request(method, path, content="{}", headers=JSON)

    allowed = {"GET", "POST"} if path in READS else {"POST"}
    assert response.status_code == 405
    assert set(response.headers["allow"].replace(" ", "").split(",")) == allowed
    assert method == "HEAD" or error_code(response)


@pytest.mark.parametrize("path", WRITES)
@pytest.mark.parametrize("query", ["", "?encoding=json&message=%7B%7D"])
def test_a_write_by_get_is_405(http: httpx.Client, path: str, query: str) -> None:
    """Nothing can be written by following a link."""
    response = http.get(path + query)

    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert error_code(response)


@pytest.mark.parametrize("query", ["", "?encoding=json", "?connect=v1"])
def test_a_read_without_a_message_is_405(http: httpx.Client, query: str) -> None:
    """A GET has to include its request."""
    response = http.get(f"{ITEMS}/ListItems{query}")

    assert response.status_code == 405
    assert "POST" in response.headers["allow"]
    assert error_code(response)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": ""},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/jsonx"},
        {"content-type": "application/xml"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", [f"{ITEMS}/ListItems", f"{ITEMS}/AddItem"])
def test_another_content_type_is_415(
    http: httpx.Client, path: str, headers: dict[str, str]
) -> None:
    """Other content types are refused, those that a web form can send included."""
    response = http.post(path, content="{}", headers=headers)

    assert response.status_code == 415
    assert error_code(response)


# The order of checks


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("PUT", f"{ITEMS}/Nope", {"content-type": "text/plain"}, "{", 404),
        ("PUT", f"{ITEMS}/AddItem", {"content-type": "text/plain"}, "{", 405),
        ("POST", f"{ITEMS}/AddItem", {"content-type": "text/plain"}, "{", 415),
        ("POST", f"{ITEMS}/AddItem", JSON, "{", 401),
        ("POST", f"{ITEMS}/AddItem", JSON, "x" * (LIMIT + 1), 401),
    ],
)
def test_who_is_asking_comes_after_what_is_asked(
    visitor: httpx.Client, method: str, path: str, *, headers: Any, body: str, status: int
) -> None:
    """The order is address, verb, content type, caller; nothing of the body is looked at."""
    assert visitor.request(method, path, content=body, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (f"{ITEMS}/AddItem", "x" * (LIMIT + 1), 429),
        (f"{ITEMS}/UpdateItem", '{"itemId":"gone","name":', 400),
        (f"{ITEMS}/UpdateItem", '{"itemId":"gone","name":" "}', 400),
        (f"{ITEMS}/UpdateItem", '{"itemId":"gone","name":"x"}', 404),
    ],
)
def test_the_first_fault_of_a_body_is_answered(
    http: httpx.Client, path: str, body: str, status: int
) -> None:
    """The order is size, form, values, existence."""
    assert post(http, path, body).status_code == status


@pytest.mark.parametrize("path", [f"{ITEMS}/Nope", f"{ITEMS}/DeleteItem", f"{STATUSES}/ListStatus"])
def test_a_connection_outlives_an_early_refusal(server: Server, path: str) -> None:
    """An answer before the body leaves the connection usable, or says that it closes."""
    host, _, port = server.address.partition(":")
    first = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: x\r\ncontent-length: 2\r\n"
    first += "content-type: application/json\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=SECONDS) as client:
        client.sendall(first.encode())
        refusal = HTTPResponse(client)
        refusal.begin()
        refusal.read()
        following, closes = b"", refusal.getheader("connection") == "close"
        if not closes:
            client.sendall(b"{}GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            following = client.recv(2**16)

    assert refusal.status in {401, 404}
    assert closes or following.startswith(b"HTTP/1.1 200 ")


# Bodies


@pytest.mark.parametrize(
    "body",
    [
        *("", " ", "[]", "null", "true", "5", '"text"', "{", "}", "{}{}", "{},", "nope", "{'a':1}"),
        *('{"name":}', '{"name":"x",}', '{name:"x"}', '{"name":"x"} x', "\0", "[{}]", "// x"),
        *('{"name":"\x01"}', '{"name":"\\q"}', '{"position":NaN}', '{"position":01}'),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("path", [f"{ITEMS}/AddItem", f"{ITEMS}/ListItems"])
def test_a_body_is_one_json_object(http: httpx.Client, path: str, body: str) -> None:
    """A body that is anything else is an invalid argument."""
    response = post(http, path, body)

    assert (response.status_code, error_code(response)) == (400, "invalid_argument")


@pytest.mark.parametrize(
    "body",
    [b'{"name":"\xff"}', b'{"name":"\xed\xa0\x80"}', b'{"name":"\xc0\x80"}', "{}".encode("utf-16")],
)
def test_json_is_utf_8(http: httpx.Client, body: bytes) -> None:
    """A body that is not UTF-8 is an invalid argument."""
    response = post(http, f"{ITEMS}/AddItem", body)

    assert (response.status_code, error_code(response)) == (400, "invalid_argument")


@pytest.mark.parametrize("opening", ["[", '{"name":', '{"initialStatus":'])
def test_deep_nesting_is_refused(http: httpx.Client, opening: str) -> None:
    """A body that would exhaust the stack is an invalid argument."""
    response = post(http, f"{ITEMS}/AddItem", opening * 100_000)

    assert (response.status_code, error_code(response)) == (400, "invalid_argument")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (f"{ITEMS}/AddItem", '{"name":5}', "name"),
        (f"{ITEMS}/AddItem", '{"name":{}}', "name"),
        (f"{ITEMS}/AddItem", '{"name":["x"]}', "name"),
        (f"{ITEMS}/AddItem", '{"name":true}', "name"),
        (f"{ITEMS}/AddItem", '{"name":"x","initialStatus":"UP"}', "initial_status"),
        (f"{ITEMS}/AddItem", '{"name":"x","initialStatus":[]}', "initial_status"),
        (
            f"{ITEMS}/AddItem",
            '{"name":"x","initialStatus":{"name":1,"kind":1}}',
            "initial_status.name",
        ),
        (f"{ITEMS}/AddItem", '{"name":"x","position":"x"}', "position"),
        (f"{ITEMS}/AddItem", '{"name":"x","position":1.5}', "position"),
        (f"{ITEMS}/AddItem", '{"name":"x","position":true}', "position"),
        (f"{ITEMS}/AddItem", '{"name":"x","position":2147483648}', "position"),
        (f"{ITEMS}/AddItem", '{"name":"x","position":-2147483649}', "position"),
        (f"{ITEMS}/AddItem", '{"name":"x","position":1e400}', "position"),
        (f"{ITEMS}/ListItems", '{"statusIds":"x"}', "status_ids"),
        (f"{ITEMS}/ListItems", '{"statusIds":{}}', "status_ids"),
        (f"{ITEMS}/ListItems", '{"extended":"true"}', "extended"),
        (f"{ITEMS}/ListItems", '{"extended":1}', "extended"),
        (f"{ITEMS}/ListItems", '{"pageSize":-1}', "page_size"),
        (f"{ITEMS}/ListItems", '{"pageSize":4294967296}', "page_size"),
        (f"{ITEMS}/ListItems", '{"pageSize":1.5}', "page_size"),
        (f"{ITEMS}/UpdateItem", '{"itemId":"x","updateMask":["name"]}', "update_mask"),
        (f"{ITEMS}/UpdateItem", '{"itemId":"x","updateMask":{"paths":["name"]}}', "update_mask"),
        (f"{ITEMS}/UpdateItem", '{"itemId":"x","expectedVersion":-1}', "expected_version"),
    ],
)
def test_a_wrong_type_is_refused(http: httpx.Client, path: str, body: str, field: str) -> None:
    """A value of the wrong type is an invalid argument, and the error names the field."""
    response = post(http, path, body)

    assert (response.status_code, error_code(response)) == (400, "invalid_argument")
    assert fields_of(response) == [field]


def fields_of(response: httpx.Response) -> list[str]:
    """Return the fields that an error blames."""
    (detail,) = response.json()["details"]
    assert detail["type"] == "google.rpc.BadRequest"
    bad = BadRequest.FromString(base64.b64decode(detail["value"] + "=="))
    return [violation.field for violation in bad.field_violations]


@pytest.mark.parametrize(
    "kind", ['"1"', "1.5", "true", "false", "99", "-1", '"NOPE"', '"up"', '""', "[]"]
)
@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (f"{STATUSES}/AddStatus", '{"name":"x","kind":%s}', "kind"),
        (f"{STATUSES}/ListStatus", '{"kinds":[%s]}', "kinds"),
        (
            f"{ITEMS}/AddItem",
            '{"name":"x","initialStatus":{"name":"x","kind":%s}}',
            "initial_status.kind",
        ),
    ],
)
def test_an_enum_is_a_name_or_a_whole_number(
    http: httpx.Client, path: str, body: str, field: str, kind: str
) -> None:
    """Any other value, or one outside the enum, is refused, and the error names the field."""
    response = post(http, path, body % kind)

    assert (response.status_code, error_code(response)) == (400, "invalid_argument")
    assert fields_of(response) == [field]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{ITEMS}/GetItem", '{"itemId":"x","nope":1}'),
        (f"{ITEMS}/GetItem", '{"itemID":"x"}'),
        (f"{ITEMS}/GetItem", '{"itemId":"x","":null}'),
        (f"{ITEMS}/ListItems", '{"name":"x"}'),
        (f"{ITEMS}/AddItem", '{"name":"x","initialStatus":{"name":"x","kind":1,"nope":1}}'),
    ],
)
def test_an_unknown_field_is_refused(http: httpx.Client, path: str, body: str) -> None:
    """A misspelt field is an invalid argument and is not silently ignored."""
    response = post(http, path, body)

    assert (response.status_code, error_code(response)) == (400, "invalid_argument")


@pytest.mark.parametrize(
    "body",
    [
        '{"itemId":"x","item_id":"x"}',
        '{"itemId":"x","itemId":"x"}',
        '{"item_id":"x","itemId":null}',
    ],
)
def test_a_field_is_given_once(http: httpx.Client, body: str) -> None:
    """A field that is there twice, in one spelling or two, is an invalid argument."""
    response = post(http, f"{ITEMS}/GetItem", body)

    assert (response.status_code, error_code(response)) == (400, "invalid_argument")


@pytest.mark.parametrize("text", [r'"\ud800"', r'"a\udc00b"', r'"\udc00\ud800"'])
@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"{ITEMS}/AddItem", "name"),
        (f"{ITEMS}/GetItem", "itemId"),
        (f"{STATUSES}/AddStatus", "color"),
        (f"{ITEMS}/ListItems", "pageToken"),
    ],
)
def test_lone_surrogates_are_refused(http: httpx.Client, path: str, field: str, text: str) -> None:
    """Text with half of a surrogate pair is refused."""
    response = post(http, path, f'{{"{field}":{text}}}')

    assert (response.status_code, error_code(response)) == (400, "invalid_argument")


def test_a_lone_surrogate_in_a_filter_is_refused(http: httpx.Client) -> None:
    """The same goes for the elements of a list."""
    response = post(http, f"{ITEMS}/ListItems", r'{"statusIds":["a","\ud800"]}')

    assert (response.status_code, error_code(response)) == (400, "invalid_argument")


def test_escaped_text_is_text(http: httpx.Client) -> None:
    """An escaped surrogate pair is one character."""
    response = post(http, f"{ITEMS}/AddItem", f'{{"name":"\\ud83d\\ude00 \\u0061 {unique()}"}}')

    assert response.json()["item"]["name"].startswith("\U0001f600 a ")


@pytest.mark.parametrize("spelling", ["camelCase", "snake_case"])
def test_both_spellings_are_accepted(http: httpx.Client, spelling: str) -> None:
    """Fields may have their JSON names or those of the .proto files."""
    note = {"camelCase": "initialNoteText", "snake_case": "initial_note_text"}[spelling]

    assert add_item(http, **{note: "a note"})["notes"][0]["text"] == "a note"


def test_null_is_unset(http: httpx.Client) -> None:
    """A field that is null counts as left out, even if it is required."""
    item = add_item(
        http,
        description=None,
        initialStatusId=None,
        initialStatus=None,
        initialNoteText=None,
        position=None,
        requestId=None,
    )
    update = {"itemId": item["id"], "name": None, "updateMask": None, "expectedVersion": None}
    filters = {"statusIds": [item["id"]], "kinds": None, "pageSize": None, "extended": None}

    assert set(item) == {"id", "name", "timestamps", "version"}
    assert http.post(f"{ITEMS}/UpdateItem", json=update).text == "{}"
    assert http.post(f"{ITEMS}/ListItems", json=filters).text == "{}"
    assert fields_of(http.post(f"{ITEMS}/AddItem", json={"name": None})) == ["name"]
    kindless = http.post(f"{STATUSES}/AddStatus", json={"name": unique(), "kind": None})
    assert fields_of(kindless) == ["kind"]


@pytest.mark.parametrize("body", ['{"kinds":[null]}', '{"statusIds":[null]}'])
def test_null_is_no_element(http: httpx.Client, body: str) -> None:
    """An element of a list cannot be null."""
    response = post(http, f"{ITEMS}/ListItems", body)

    assert (response.status_code, error_code(response)) == (400, "invalid_argument")


def test_numbers_may_be_text(http: httpx.Client) -> None:
    """The JSON mapping of proto3 accepts whole numbers as text, and with a decimal point."""
    assert add_item(http, position="-3")["position"] == -3
    assert post(http, f"{ITEMS}/ListItems", '{"pageSize":1.0}').status_code == 200


def test_what_the_server_sets_may_be_sent_back(http: httpx.Client) -> None:
    """A status can be used in a request exactly as it was returned."""
    first = add_item(http, initialStatus={"name": unique(), "kind": 1})

    second = add_item(http, initialStatus=first["status"])

    assert second["status"] == first["status"]


# Sizes


def sized(size: int) -> bytes:
    """Return a valid JSON body of that many bytes."""
    return b"{" + b" " * (size - 2) + b"}"


def test_a_body_of_the_limit_is_read(http: httpx.Client) -> None:
    """A body of exactly 4 MiB is accepted."""
    assert post(http, f"{STATUSES}/ListStatus", sized(LIMIT)).status_code == 200


@pytest.mark.parametrize("path", [f"{STATUSES}/ListStatus", f"{ITEMS}/AddItem"])
def test_a_body_over_the_limit_is_429(http: httpx.Client, path: str) -> None:
    """A body of 4 MiB and one byte is refused."""
    response = post(http, path, sized(LIMIT + 1))

    assert (response.status_code, error_code(response)) == (429, "resource_exhausted")


def test_a_chunked_body_over_the_limit_is_429(http: httpx.Client) -> None:
    """The limit holds without a content-length too."""
    chunks = iter([b" " * 2**16] * 65)

    response = http.post(f"{STATUSES}/ListStatus", content=chunks, headers=JSON)

    assert (response.status_code, error_code(response)) == (429, "resource_exhausted")


def test_a_compressed_body_is_read(http: httpx.Client) -> None:
    """A body may be sent with gzip, up to the limit."""
    body = gzip.compress(sized(LIMIT))

    response = post(http, f"{STATUSES}/ListStatus", body, **{"content-encoding": "gzip"})

    assert response.status_code == 200


@pytest.mark.parametrize("size", [LIMIT + 1, 64 * 2**20])
def test_a_body_that_inflates_over_the_limit_is_429(http: httpx.Client, size: int) -> None:
    """The limit applies to the decompressed message, however small the body is."""
    body = gzip.compress(sized(size))

    response = post(http, f"{STATUSES}/ListStatus", body, **{"content-encoding": "gzip"})

    assert (response.status_code, error_code(response)) == (429, "resource_exhausted")


def test_a_broken_compressed_body_is_400(http: httpx.Client) -> None:
    """A body that cannot be decompressed is an invalid argument."""
    response = post(http, f"{ITEMS}/ListItems", b"{}", **{"content-encoding": "gzip"})

    assert (response.status_code, error_code(response)) == (400, "invalid_argument")


def test_an_oversize_grpc_message_is_refused(server: Server) -> None:
    """The limit applies to gRPC, and other calls on the connection go on."""
    with server.grpc(max_send_message_length=-1) as client:
        refused = client.call("AddItem", name=unique(), description="x" * LIMIT)

        assert refused.code == "resource_exhausted"
        assert client.call("ListStatus").code == "ok"


# Deadlines


NO_TIME = {"connect-timeout-ms": "0"}


@pytest.mark.parametrize("path", [f"{ITEMS}/ListItems", f"{ITEMS}/AddItem"])
def test_a_deadline_that_has_passed_is_504(http: httpx.Client, path: str) -> None:
    """A call without any time left is not carried out."""
    name = unique()

    response = post(http, path, "{}" if path in READS else json.dumps({"name": name}), **NO_TIME)

    assert (response.status_code, error_code(response)) == (504, "deadline_exceeded")
    assert name not in http.post(f"{ITEMS}/ListItems", json={}).text


def test_a_deadline_that_has_passed_is_504_by_get(http: httpx.Client) -> None:
    """A call whose request is complete from the start is refused as well."""
    response = get(http, f"{ITEMS}/ListItems", {}, **NO_TIME)

    assert (response.status_code, error_code(response)) == (504, "deadline_exceeded")


def test_a_deadline_holds_while_the_body_is_read(server: Server) -> None:
    """A caller that does not finish its body in time gets the error."""
    host, _, port = server.address.partition(":")
    head = f"POST {ITEMS}/ListItems HTTP/1.1\r\nhost: {server.address}\r\ncontent-length: 2\r\n"
    head += "content-type: application/json\r\nconnect-timeout-ms: 100\r\n\r\n{"
    with socket.create_connection((host, int(port)), timeout=SECONDS) as client:
        client.sendall(head.encode())

        assert client.recv(2**16).startswith(b"HTTP/1.1 504 ")


def test_a_deadline_ahead_changes_nothing(http: httpx.Client) -> None:
    """A call with enough time is carried out."""
    response = post(http, f"{ITEMS}/ListItems", "{}", **{"connect-timeout-ms": "10000"})

    assert response.status_code == 200


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "99999999999"])
def test_a_malformed_deadline_is_400(http: httpx.Client, value: str) -> None:
    """A deadline has at most ten digits."""
    response = post(http, f"{ITEMS}/ListItems", "{}", **{"connect-timeout-ms": value})

    assert (response.status_code, error_code(response)) == (400, "invalid_argument")


# Reading by GET


def requests_of(http: httpx.Client) -> list[tuple[str, dict[str, object]]]:
    """Return a request for each RPC that reads."""
    status = {"name": unique(), "kind": 1}
    item = add_item(http, initialStatus=status, initialNoteText="a note")
    return [
        (f"{ITEMS}/GetItem", {"itemId": item["id"]}),
        (f"{ITEMS}/ListItems", {"statusIds": [item["status"]["id"]]}),
        (f"{STATUSES}/GetStatus", {"statusId": item["status"]["id"]}),
        (f"{STATUSES}/ListStatus", {"kinds": ["STATUS_KIND_UP"]}),
        (f"{NOTES}/GetNote", {"noteId": item["notes"][0]["id"]}),
        (f"{NOTES}/ListNotes", {"itemId": item["id"]}),
    ]


def test_a_read_by_get_answers_as_by_post(http: httpx.Client, visitor: httpx.Client) -> None:
    """Every RPC that reads works as a GET, and a cache may keep and revalidate the answer."""
    for path, message in requests_of(http):
        response = get(visitor, path, message)

        assert response.status_code == 200
        assert response.json() == http.post(path, json=message).json()
        assert response.headers["cache-control"] == "public, no-cache"
        assert "authorization" in response.headers["vary"].lower()
        assert response.headers["etag"]
        assert response.headers["statusthing-revision"].isdecimal()


def test_a_read_by_get_with_a_token_is_not_kept(http: httpx.Client) -> None:
    """What somebody may see because of who they are is for nobody else."""
    for path, message in requests_of(http):
        response = get(http, path, message, **{"if-none-match": "*"})

        assert response.status_code == 200
        assert response.json() == http.post(path, json=message).json()
        assert response.headers["cache-control"] == "no-store"
        assert "etag" not in response.headers


def test_a_message_may_be_base64(http: httpx.Client) -> None:
    """Connect clients send binary and long messages this way."""
    id = add_item(http)["id"]
    as_json = json.dumps({"itemId": id}).encode()
    as_proto = services_pb2.GetItemRequest(item_id=id).SerializeToString()

    def read(encoding: str, message: bytes) -> httpx.Response:
        text = base64.urlsafe_b64encode(message).decode().rstrip("=")
        query = {"connect": "v1", "encoding": encoding, "base64": "1", "message": text}
        return http.get(f"{ITEMS}/GetItem", params=query)

    assert read("json", as_json).json()["item"]["id"] == id
    answer = services_pb2.GetItemResponse.FromString(read("proto", as_proto).content)
    assert answer.item.id == id


def test_an_unchanged_answer_is_304(http: httpx.Client, visitor: httpx.Client) -> None:
    """A client that has the answer with this ETag gets no second copy until a write."""
    id = add_item(http)["id"]
    path, message = f"{ITEMS}/GetItem", {"itemId": id}
    tag = get(visitor, path, message).headers["etag"]
    condition = {"if-none-match": tag}

    unchanged = get(visitor, path, message, **condition)
    http.post(f"{ITEMS}/UpdateItem", json={"itemId": id, "description": "new"})
    changed = get(visitor, path, message, **condition)

    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["etag"] == tag
    assert "authorization" in unchanged.headers["vary"].lower()
    assert unchanged.headers["cache-control"] == "public, no-cache"
    assert (changed.status_code, changed.json()["item"]["description"]) == (200, "new")
    assert changed.headers["etag"] != tag


def test_a_tag_does_not_depend_on_the_time(visitor: httpx.Client) -> None:
    """The same answer has the same tag a second later, even if it is compressed."""
    path, end = f"{STATUSES}/ListStatus", time.time() + 1.1
    tags = set()
    while time.time() < end:
        answer = get(visitor, path, {})
        tags.add((answer.headers["content-encoding"], answer.headers["etag"]))

    assert len(tags) == 1
    assert "gzip" in tags.pop()


@pytest.mark.parametrize("form", ["*", "{}", "W/{}", '"other", {}', '"other",{}'])
def test_conditions_come_in_several_forms(visitor: httpx.Client, form: str) -> None:
    """Lists, weak tags and `*` are understood (RFC 9110, section 13.1.2)."""
    path = f"{STATUSES}/ListStatus"
    tag = get(visitor, path, {}).headers["etag"]
    condition = form.format(tag.removeprefix("W/"))

    response = get(visitor, path, {}, **{"if-none-match": condition})

    assert response.status_code == 304


def test_different_answers_have_different_tags(visitor: httpx.Client) -> None:
    """At one revision, each encoding of an answer has its own tag."""
    query = {"connect": "v1", "message": "", "base64": "1"}

    tags = {
        visitor.get(f"{STATUSES}/ListStatus", params=query | {"encoding": encoding}).headers.get(
            "etag", encoding
        )
        for encoding in ("json", "proto")
    }

    assert len(tags) == 2


@pytest.mark.parametrize(
    ("message", "status"), [({"itemId": "gone"}, 404), ({}, 400), ({"nope": 1}, 400), ([], 400)]
)
def test_an_error_by_get_is_not_kept(visitor: httpx.Client, message: object, status: int) -> None:
    """Errors are the same as by POST, and no cache may keep them."""
    response = get(visitor, f"{ITEMS}/GetItem", message)

    assert response.status_code == status
    assert error_code(response)
    assert response.headers["cache-control"] == "no-store"
    assert "etag" not in response.headers


# Other encodings


def test_protobuf_over_post(http: httpx.Client) -> None:
    """Connect clients may post and receive protobuf; errors are still JSON."""
    headers = {"content-type": "application/proto"}
    name = unique()
    request = services_pb2.AddItemRequest(name=name, position=-1)

    added = http.post(f"{ITEMS}/AddItem", content=request.SerializeToString(), headers=headers)
    again = http.post(f"{ITEMS}/AddItem", content=request.SerializeToString(), headers=headers)
    empty = http.post(f"{ITEMS}/ListItems", content=b"", headers=headers)

    item = services_pb2.AddItemResponse.FromString(added.content).item
    assert added.headers["content-type"] == "application/proto"
    assert (item.name, item.position) == (name, -1)
    assert (again.status_code, error_code(again)) == (409, "already_exists")
    assert name in services_pb2.ListItemsResponse.FromString(empty.content).items[-1].name


@pytest.mark.parametrize("body", [b"\xff", b"\x0a\xff", b"\x0a\x02\xff\xfe", b"\x0a\x05abc"])
def test_malformed_protobuf_is_400(http: httpx.Client, body: bytes) -> None:
    """Bytes that are not a message, or text that is not UTF-8, are an invalid argument."""
    headers = {"content-type": "application/proto"}

    response = http.post(f"{ITEMS}/AddItem", content=body, headers=headers)

    assert (response.status_code, error_code(response)) == (400, "invalid_argument")


def test_grpc_web(http: httpx.Client) -> None:
    """A browser's gRPC-Web client gets a message and its trailers."""
    message = services_pb2.ListStatusRequest(page_size=1).SerializeToString()
    framed = b"\0" + len(message).to_bytes(4, "big") + message
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}

    response = http.post(f"{STATUSES}/ListStatus", content=framed, headers=headers)

    length = int.from_bytes(response.content[1:5], "big")
    answer = services_pb2.ListStatusResponse.FromString(response.content[5 : 5 + length])
    trailers = response.content[5 + length :]
    assert (response.status_code, response.content[0], trailers[0]) == (200, 0, 0x80)
    assert response.headers["content-type"].startswith("application/grpc-web")
    assert len(answer.statuses) == 1
    assert b"grpc-status: 0" in trailers.lower().replace(b"status:0", b"status: 0")


def grpc_code(channel: grpc.Channel, path: str, message: bytes = b"", **options: Any) -> object:
    """Make a call with a message exactly as given, and return its status code."""
    unary_unary: Any = channel.unary_unary
    return unary_unary(path).future(message, timeout=SECONDS, **options).code()


def test_malformed_grpc_messages_are_invalid(server: Server) -> None:
    """Bytes that are not a message are an invalid argument, as over HTTP."""
    with grpc.insecure_channel(server.address) as channel:
        code = grpc_code(channel, f"{ITEMS}/AddItem", b"\x0a\xff", metadata=server.metadata)

    assert code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "path", [f"{ITEMS}/Nope", "/statusthing.v1.NopeService/AddItem", "/nope", "/nope/nope"]
)
def test_an_unknown_grpc_method_is_unimplemented(server: Server, path: str) -> None:
    """An unknown method is UNIMPLEMENTED, and other calls on the connection go on."""
    with grpc.insecure_channel(server.address) as channel:
        codes = [grpc_code(channel, each) for each in (path, f"{STATUSES}/ListStatus")]

    assert codes == [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.OK]


# Errors in data


def test_an_error_has_details(http: httpx.Client) -> None:
    """A validation error names fields; any other error has a reason in this project's domain."""
    invalid = http.post(f"{ITEMS}/AddItem", json={})
    missing = http.post(f"{ITEMS}/GetItem", json={"itemId": "gone"})

    (detail,) = missing.json()["details"]
    info = ErrorInfo.FromString(base64.b64decode(detail["value"] + "=="))
    assert fields_of(invalid) == ["name"]
    assert detail["type"] == "google.rpc.ErrorInfo"
    assert info.domain == "statusthing"
    assert info.reason.replace("_", "").isupper()
    assert "=" not in detail["value"]


# Who is let in


SENT_FROM = [
    {},
    {"host": "localhost"},
    {"host": "[::1]:9000"},
    {"host": "status.example.com"},
    {"host": "192.0.2.1:9000"},
    {"forwarded": "for=192.0.2.1"},
    {"x-forwarded-for": "127.0.0.1"},
    {"x-forwarded-host": "localhost"},
    {"x-forwarded-proto": "https"},
]
"""Headers about where a request comes from, of which none gives or takes a right."""


@pytest.mark.parametrize("headers", SENT_FROM, ids=str)
@pytest.mark.parametrize("path", WRITES)
def test_a_write_needs_credentials(
    visitor: httpx.Client, path: str, headers: dict[str, str]
) -> None:
    """Nobody may write who does not say who they are, callers on this machine included."""
    response = post(visitor, path, "{}", **headers)

    assert (response.status_code, error_code(response)) == (401, "unauthenticated")
    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("headers", SENT_FROM, ids=str)
def test_a_read_needs_none(visitor: httpx.Client, headers: dict[str, str]) -> None:
    """Everybody may read without credentials."""
    assert post(visitor, f"{STATUSES}/ListStatus", "{}", **headers).status_code == 200


@pytest.mark.parametrize("headers", SENT_FROM, ids=str)
def test_a_token_counts_from_everywhere(http: httpx.Client, headers: dict[str, str]) -> None:
    """A caller with a token writes under every name, and through every proxy."""
    body = json.dumps({"name": unique()})

    assert post(http, f"{ITEMS}/AddItem", body, **headers).status_code == 200


@pytest.mark.parametrize("form", ["bearer {}", "BEARER {}", "Bearer  {}"])
def test_a_token_may_be_written_in_several_ways(
    server: Server, visitor: httpx.Client, form: str
) -> None:
    """The scheme counts in any case (RFC 9110, section 11.1), and any spaces behind it."""
    response = post(
        visitor, f"{STATUSES}/ListStatus", "{}", authorization=form.format(server.token)
    )

    assert response.status_code == 200


@pytest.mark.parametrize(
    "form",
    [
        *("Bearer nonsense", "bearer nonsense", "Bearer", "Basic dTpw", "nonsense", ""),
        *("{}", "Basic {}", "Bearer {}0", "Bearer {},{}", "Bearer st_{}"),
    ],
)
@pytest.mark.parametrize("path", [f"{ITEMS}/ListItems", f"{ITEMS}/AddItem"])
def test_bad_credentials_are_refused(
    server: Server, visitor: httpx.Client, path: str, form: str
) -> None:
    """Invalid credentials are refused, even for reads."""
    credentials = form.format(*[server.token] * 2)

    response = post(visitor, path, json.dumps({}), authorization=credentials)

    assert (response.status_code, error_code(response)) == (401, "unauthenticated")
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert server.token not in response.text


def test_a_token_that_nobody_made_is_refused(visitor: httpx.Client) -> None:
    """It takes more than to know how a token looks."""
    made_up = new_token_secret()

    response = post(visitor, f"{ITEMS}/ListItems", "{}", authorization=f"Bearer {made_up}")

    assert (response.status_code, error_code(response)) == (401, "unauthenticated")


def test_bad_credentials_are_refused_by_get(visitor: httpx.Client) -> None:
    """A GET with invalid credentials is refused too, and no cache keeps the refusal."""
    response = get(visitor, f"{ITEMS}/ListItems", {}, authorization="Bearer nonsense")

    assert (response.status_code, error_code(response)) == (401, "unauthenticated")
    assert response.headers["cache-control"] == "no-store"


def test_grpc_callers_without_credentials_read_only(server: Server) -> None:
    """A call without metadata reads, and is told what it lacks for writing."""
    with server.anonymous.grpc() as client:
        assert client.call("AddItem", name=unique()).code == "unauthenticated"
        assert client.call("ListStatus").code == "ok"


def test_grpc_metadata_counts_as_headers(server: Server) -> None:
    """Bad credentials are noticed in metadata too."""
    with grpc.insecure_channel(server.address) as channel:
        code = grpc_code(channel, f"{ITEMS}/ListItems", metadata=(("authorization", "x"),))

    assert code is grpc.StatusCode.UNAUTHENTICATED


def test_visitors_learn_the_revision_of_what_they_may_see(
    serve: Callable[..., AbstractContextManager[Server]],
) -> None:
    """A new token moves the head, and nothing that those without credentials are told."""
    with serve() as server, server.json() as admin, server.anonymous.json() as visitor:
        seen = visitor.call("ListStatus").revision
        admin.ok("AddToken", name="robot", role="ROLE_EDITOR")
        missing = visitor.call("GetItem", item_id="gone")

        assert visitor.call("ListStatus").revision == seen
        assert admin.call("ListStatus").revision == (seen or 0) + 1
        assert missing.code == "not_found"


# Pages


def test_health(http: httpx.Client) -> None:
    """Both probes answer 200 while the process and its store work."""
    alive, ready = http.get("/healthz"), http.get("/readyz")

    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
    assert ready.status_code == 200


def test_the_front_page_is_html(http: httpx.Client) -> None:
    """A visitor of the root address gets a page."""
    response = http.get("/")

    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")


# Starting again


def test_a_restart_shows_the_same_data(
    serve: Callable[..., AbstractContextManager[Server]],
) -> None:
    """What was acknowledged before the server was stopped is there when it is back."""
    options = ("--store=sqlite:///kept.db",)
    with (
        serve(*options) as first,
        first.json() as client,
        first.anonymous.json() as visitor,
    ):
        status = client.ok("AddStatus", name="fine", kind=1)["status"]
        item = client.ok("AddItem", name="api", initial_status_id=status["id"])["item"]
        note = client.ok("AddNote", item_id=item["id"], note_text="a note")["note"]
        before = visitor.call("ListItems", extended=True)
        statuses = client.ok("ListStatus")
    with serve(*options) as second, second.anonymous.json() as visitor:
        after = visitor.call("ListItems", extended=True)

        assert second.data == first.data
        assert after == before
        assert after.body == {"items": [{**item, "notes": [note]}]}
        assert visitor.ok("ListStatus") == statuses


# Reflection


SERVICES = {
    f"statusthing.v1.{name}Service"
    for name in ("Audit", "Items", "Notes", "Status", "Tokens", "Users")
}


def test_devmode_lists_the_services(serve: Callable[..., AbstractContextManager[Server]]) -> None:
    """Both versions of server reflection list the services and return their descriptors."""
    with (
        serve("--store=memory://", "--devmode") as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        database = ProtoReflectionDescriptorDatabase(channel)

        assert SERVICES.issubset(database.get_services())
        found = database.FindFileContainingSymbol("statusthing.v1.ItemsService")
        assert found.package == "statusthing.v1"
        for version in ("v1", "v1alpha"):
            assert SERVICES.issubset(listed(channel, version))


def test_reflection_needs_no_credentials(
    serve: Callable[..., AbstractContextManager[Server]],
) -> None:
    """Reflection answers callers from elsewhere too."""
    options = [("grpc.default_authority", "status.example.com")]
    with (
        serve("--store=memory://", "--devmode") as server,
        grpc.insecure_channel(server.address, options=options) as channel,
    ):
        assert SERVICES.issubset(listed(channel, "v1"))


def listed(channel: grpc.Channel, version: str) -> set[str]:
    """Ask one version of reflection for the services; their messages are alike."""
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = call(iter([request]), timeout=SECONDS)
    return {service.name for service in answer.list_services_response.service}


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_is_off_by_default(server: Server, version: str) -> None:
    """Without --devmode there is no reflection service."""
    path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"

    with grpc.insecure_channel(server.address) as channel:
        code = grpc_code(channel, path)

    assert code is grpc.StatusCode.UNIMPLEMENTED
