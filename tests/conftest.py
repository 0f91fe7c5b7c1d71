"""A real server process, and callers of one interface that speak JSON or gRPC to it.

Tests that take `client` run over every store and both protocols. They share the servers, so each
makes records of its own, under names that no other test uses. All callers send the token of an
admin, except those of `server.anonymous`.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import os
import select
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, chdir, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Protocol, TypeVar

import grpc
import httpx
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status as RpcStatus
from tests import tokens

from statusthing.registry import open_store
from statusthing.v1 import services_pb2

SECONDS = 10.0  # the bound of everything that is waited for
START_SECONDS = 30.0  # of a process that starts, besides others that start at the same time

METHODS = {
    method.name: method
    for service in services_pb2.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}

# https://connectrpc.com/docs/protocol#error-codes
HTTP_STATUS = {
    "ok": 200,
    "invalid_argument": 400,
    "failed_precondition": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "aborted": 409,
    "already_exists": 409,
    "resource_exhausted": 429,
    "unavailable": 503,
    "deadline_exceeded": 504,
    "internal": 500,
}

SERVE = (str(Path(sys.executable).with_name("statusthing")), "serve", "--addr=127.0.0.1:0")
"""The command, on a free port; the store is wanting."""

DEFAULT_STORE = "sqlite:///statusthing.db"
MEMORY = "memory://"

JSON = "application/json"

M = TypeVar("M", bound=Message)


def path_of(rpc: str) -> str:
    """Return the path of an RPC, which is the same in every protocol."""
    return f"/{METHODS[rpc].containing_service.full_name}/{rpc}"


@dataclass(frozen=True)
class Result:
    """What a call came to: `code` is "ok", or the error's name in lower case.

    `body` is the answer as proto3 JSON; `message` and `details` are those of the error.
    """

    code: str
    body: dict[str, Any]
    revision: int | None = None
    message: str = ""
    details: tuple[AnyMessage, ...] = ()

    def detail(self, kind: type[M]) -> M:
        """Return the one detail, which has to be of that kind."""
        (detail,) = self.details
        found = kind()
        assert detail.Unpack(found), detail.type_url
        return found

    @property
    def fields(self) -> list[str]:
        """The request fields that the error blames."""
        return [violation.field for violation in self.detail(BadRequest).field_violations]


class Caller(Protocol):
    """Calls an RPC with the fields of its request."""

    def __call__(self, rpc: str, /, **fields: Any) -> Result:
        """Return what the call came to."""


class Client:
    """Calls RPCs through one protocol."""

    def __init__(self, caller: Caller) -> None:
        self.call = caller

    def ok(self, rpc: str, /, **fields: Any) -> dict[str, Any]:
        """Return the answer to a call that has to succeed."""
        result = self.call(rpc, **fields)
        assert result.code == "ok", result
        return result.body


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        url: where it says it listens.
        data: where it says its data is.
        log: the file that its standard error goes to.
        pid: the number of its process.
        token: what its callers send; empty if they are anonymous.
    """

    url: str
    data: str
    log: Path
    pid: int
    token: str

    @property
    def anonymous(self) -> Server:
        """The same server, for callers who do not say who they are."""
        return replace(self, token="")

    @property
    def credentials(self) -> dict[str, str]:
        """The headers that say who is calling."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The same for gRPC."""
        return tuple(self.credentials.items())

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return self.url.removeprefix("http://")

    @contextmanager
    def http(self, **headers: str) -> Iterator[httpx.Client]:
        """An HTTP/1.1 client that adds these headers to its requests."""
        headers = self.credentials | headers
        with httpx.Client(base_url=self.url, headers=headers, timeout=SECONDS) as client:
            yield client

    @contextmanager
    def json(self) -> Iterator[Client]:
        """A client that posts JSON."""
        with self.http() as http:

            def call(rpc: str, /, **fields: Any) -> Result:
                return json_result(http.post(path_of(rpc), json=fields))

            yield Client(call)

    @contextmanager
    def grpc(self, **options: str | int) -> Iterator[Client]:
        """A client that speaks gRPC, with these options of its channel (`grpc.` left out)."""
        settings = [
            ("grpc.use_local_subchannel_pool", 1),
            *((f"grpc.{name}", value) for name, value in options.items()),
        ]
        with grpc.insecure_channel(self.address, options=settings) as channel:

            def call(rpc: str, /, **fields: Any) -> Result:
                request = ParseDict(fields, request_of(rpc))
                return grpc_result(channel, rpc, request, self.metadata)

            yield Client(call)

    @contextmanager
    def withstanding(self, *, mebibytes: float) -> Iterator[None]:
        """An attack, during which another client has to get the right answers all the while.

        It calls over a connection that it keeps, and over a new one each time. After the attack,
        the server has no file open that it had not before, and no traceback in its log.

        Args:
            mebibytes: how much more memory than before the server may need, at its peak.
        """
        logged = self.log.stat().st_size
        with self.grpc() as kept:
            item = kept.ok("AddItem", name=f"neighbour {uuid.uuid4()}")["item"]

            def call() -> None:
                assert kept.ok("GetItem", item_id=item["id"]) == {"item": item}
                with closing(HTTPConnection(self.address, timeout=SECONDS)) as connection:
                    body = json.dumps({"item_id": item["id"]})
                    connection.request("POST", path_of("GetItem"), body, {"content-type": JSON})
                    answer = ParseDict(
                        json.load(connection.getresponse()), services_pb2.GetItemResponse()
                    )
                    assert MessageToDict(answer) == {"item": item}  # written as gRPC's is

            call()
            files = self.open_files()
            # https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html: 5 resets the peak.
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")
            before = self._memory("VmRSS")
            with repeated(call):
                yield
        assert self._memory("VmHWM") - before <= mebibytes
        assert "Traceback" not in self.log.read_text()[logged:]
        deadline = time.monotonic() + SECONDS
        while self.open_files() >= files:  # `kept` was one of them
            assert time.monotonic() < deadline, f"these stay open: {self._files()}"

    def open_files(self) -> int:
        """How many files the process has open; each connection is one.

        Those of the database do not count: each thread that reads it has its own, from when it
        first does.
        """
        return sum(".db" not in name for name in self._files())

    def _files(self) -> list[str]:
        """What the process has open: paths, and `socket:` with a number."""
        found = []
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                found.append(str(link.readlink()))
        return sorted(found)

    def _memory(self, figure: str) -> float:
        """A figure of the process's memory, in MiB."""
        (line,) = (
            line
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines()
            if line.startswith(f"{figure}:")
        )
        return int(line.split()[1]) / 1024


@contextmanager
def repeated(call: Callable[[], None]) -> Iterator[None]:
    """Make calls in another thread all the while, and one after that; none may raise."""
    over = threading.Event()

    def call_on() -> None:
        last = False
        while not last:
            last = over.wait(0.05)
            call()

    with ThreadPoolExecutor(1) as pool:
        calls = pool.submit(call_on)
        try:
            yield
        finally:
            over.set()
        calls.result()


def json_result(response: httpx.Response) -> Result:
    """Read an answer to a JSON call; the HTTP status has to be that of the code."""
    body = response.json()
    code = "ok" if response.is_success else body["code"]
    assert response.headers["content-type"] == "application/json"
    assert response.status_code == HTTP_STATUS[code], response.text
    if code == "ok":
        return Result(code, body, int(response.headers["statusthing-revision"]))
    details = tuple(
        AnyMessage(
            type_url=f"type.googleapis.com/{detail['type']}",
            value=base64.b64decode(detail["value"] + "=="),
        )
        for detail in body.get("details", ())
    )
    return Result(code, {}, message=body["message"], details=details)


def grpc_result(
    channel: grpc.Channel, rpc: str, request: Message, metadata: tuple[tuple[str, str], ...]
) -> Result:
    """Make a gRPC call, and read what it came to."""
    method = METHODS[rpc]
    response = getattr(services_pb2, method.output_type.name)
    call = channel.unary_unary(
        path_of(rpc),
        request_serializer=type(request).SerializeToString,
        response_deserializer=response.FromString,
    )
    ended = call.future(request, timeout=SECONDS, metadata=metadata)
    code = ended.code().name.lower()
    if code == "ok":
        revision = int(dict(ended.initial_metadata())["statusthing-revision"])
        return Result(code, MessageToDict(ended.result()), revision)
    status = RpcStatus.FromString(
        dict(ended.trailing_metadata()).get("grpc-status-details-bin", b"")
    )
    return Result(code, {}, message=ended.details(), details=tuple(status.details))


def request_of(rpc: str) -> Message:
    """Return an empty request."""
    request: Message = getattr(services_pb2, METHODS[rpc].input_type.name)()
    return request


def serving_store(folder: Path, *command: str) -> AbstractContextManager[Server]:
    """Run a command `... serve --store=URL` in `folder`, over a store with a token for its callers.

    Without `--store` it is the command's own default.
    """
    named = (part.removeprefix("--store=") for part in command if part.startswith("--store="))
    url = next(named, DEFAULT_STORE)
    if url == MEMORY:
        start = command.index("serve")
        others = (part for part in command[start:] if not part.startswith("--store="))
        program = (sys.executable, tokens.__file__, *others, f"--store={tokens.REMEMBERED}")
        return serving(folder, *program, token=None)
    with chdir(folder):
        token = asyncio.run(tokens.add_token(open_store(url)))
    return serving(folder, *command, token=token)


@contextmanager
def serving(folder: Path, *command: str, token: str | None = "") -> Iterator[Server]:
    """Run a command that serves, in `folder`; it has to end well when it is told to.

    Args:
        folder: where it runs.
        command: it, with its arguments.
        token: what callers send; None if the command prints it.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STATUSTHING_")}
    # So that glibc gives back what is free, and no attack hides in what an earlier one has left:
    # https://man7.org/linux/man-pages/man3/mallopt.3.html
    environment["MALLOC_MMAP_THRESHOLD_"] = str(512 * 1024)
    log = folder / "serve.log"
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            bufsize=0,  # so that `select` tells about every line
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    try:
        if token is None:
            token = printed(process, "token ", log)
        url = printed(process, "listening on ", log)
        yield Server(url, printed(process, "data in ", log), log, process.pid, token)
    finally:
        process.terminate()
        try:
            process.wait(SECONDS)
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == 0, log.read_text()


def printed(process: subprocess.Popen[bytes], start: str, log: Path) -> str:
    """Wait for the next line that the process prints, and return what comes after `start`."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    line = process.stdout.readline().decode().rstrip("\n") if ready else ""
    assert line.startswith(start), (line, log.read_text())
    return line.removeprefix(start)


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., AbstractContextManager[Server]]:
    """Runs a server of the test's own, with the options given, its data in `tmp_path`."""
    return lambda *options: serving_store(tmp_path, *SERVE, *options)


@pytest.fixture(scope="session")
def serve_shared(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., AbstractContextManager[Server]]:
    """Runs a server that tests share, with the options given, its data in a folder of its own."""
    return lambda *options: serving_store(tmp_path_factory.mktemp("server"), *SERVE, *options)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., AbstractContextManager[Server]]:
    """Runs a program that serves, in `tmp_path`; its callers send `token=`, if any."""
    return functools.partial(serving, tmp_path)


STORES: dict[str, Callable[[Path, pytest.FixtureRequest], AbstractContextManager[str]]] = {
    "memory": lambda *_: nullcontext(MEMORY),
    "sqlite": lambda folder, _: nullcontext(f"sqlite:///{folder}/statusthing.db"),
    "postgres": lambda _, request: request.getfixturevalue("postgres").database(),
}
"""Makes a place for the data of each store, and yields its URL."""


@pytest.fixture(scope="session", params=STORES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The server that tests share, over each store."""
    folder = tmp_path_factory.mktemp("server")
    with (
        STORES[request.param](folder, request) as url,
        serving_store(folder, *SERVE, f"--store={url}") as running,
    ):
        yield running


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that the tests of a module attack."""
    with serving_store(tmp_path_factory.mktemp("target"), *SERVE, "--devmode") as running:
        # Hashing the password of the development account takes memory once, after the start.
        deadline = time.monotonic() + START_SECONDS
        while "development account" not in running.log.read_text():
            assert time.monotonic() < deadline, "there is no development account"
        yield running


@pytest.fixture(scope="session")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server to attack that has five items, each with a megabyte of notes."""
    with serving_store(tmp_path_factory.mktemp("stocked"), *SERVE) as running:
        with running.json() as client:
            for number in range(5):
                item = client.ok("AddItem", name=f"item {number}")["item"]
                for _ in range(25):
                    client.ok("AddNote", item_id=item["id"], note_text="\N{GRINNING FACE}" * 10_000)
        yield running


@pytest.fixture(scope="session")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server to attack that waits a second for what others wait for half a minute or more."""
    seconds = {"HEADER": 0.5, "BODY": 0.5, "UNFINISHED": 1.0, "STALLED": 1.0}
    with serving_store(tmp_path_factory.mktemp("impatient"), *with_limits(seconds)) as running:
        yield running


@pytest.fixture(scope="session")
def brisk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server to attack that closes a connection without a call after a second."""
    with serving_store(tmp_path_factory.mktemp("brisk"), *with_limits({"IDLE": 1.0})) as running:
        yield running


@pytest.fixture(scope="session")
def careless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose hashes of passwords cost next to nothing, for tests that set thousands."""
    command = changed("service.passwords", MEMORY_KIB=8, PASSES=1)
    with serving_store(tmp_path_factory.mktemp("careless"), *command) as running:
        yield running


def with_limits(seconds: dict[str, float]) -> tuple[str, ...]:
    """The command to serve with other limits of time than usual."""
    return changed("limits", **{f"{name}_SECONDS": value for name, value in seconds.items()})


def changed(module: str, **constants: float) -> tuple[str, ...]:
    """The command to serve with other constants in a module than it has."""
    changes = "".join(f"m.{name} = {value}\n" for name, value in constants.items())
    program = f"import statusthing.{module} as m\nfrom statusthing import cli\n{changes}cli.main()"
    return (sys.executable, "-c", program, *SERVE[1:])


@pytest.fixture(scope="session", params=["json", "grpc"])
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[Client]:
    """Calls the shared server through each protocol."""
    with getattr(server, request.param)() as caller:
        yield caller


@pytest.fixture(scope="session")
def http(server: Server) -> Iterator[httpx.Client]:
    """Sends plain HTTP/1.1 requests to the shared server."""
    with server.http() as caller:
        yield caller


@pytest.fixture(scope="session")
def visitor(server: Server) -> Iterator[httpx.Client]:
    """Does as `http`, without credentials."""
    with server.anonymous.http() as caller:
        yield caller
