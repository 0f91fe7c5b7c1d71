"""A server on a SQLite file that is killed without warning, again and again.

Each client lists what was acknowledged, and that list alone decides: what is on it has to be in the
file. A request without an answer is sent again after the restart; it may have been done or not, but
not by half.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from tests.tokens import add_token

from statusthing.log import Action, Change, describe
from statusthing.model import Item, Note, Record, Status, Token
from statusthing.store import Query, Transaction
from statusthing_sqlite import SqliteStore

SECONDS = 10.0  # the bound of everything that is waited for
FILES = 5
KILLS = 10  # for each file
CLIENTS = 4
ANSWERS = range(1, 50)  # how many come before a kill
WRITES_OF_A_START = (1, 4, 8, 12, 16, 20)  # after how many it is killed

KINDS: tuple[type[Record], ...] = (Status, Item, Note, Token)

WRITES = {
    "ItemsService/AddItem": [
        (Action.ADDED, "Status"),
        (Action.ADDED, "Item"),
        (Action.ADDED, "Note"),
    ],
    "NotesService/AddNote": [(Action.ADDED, "Note")],
    "ItemsService/UpdateItem": [(Action.REPLACED, "Item")],
    "ItemsService/DeleteItem": [
        (Action.REMOVED, "Note"),
        (Action.REMOVED, "Note"),
        (Action.REMOVED, "Item"),
    ],
}
"""The whole of what each request of the clients writes, as the log has it."""

DEFAULTS = [(Action.ADDED, "Status")] * 8
TOKEN = [(Action.ADDED, "Token")]


@dataclass(frozen=True)
class Acknowledged:
    """A request whose answer has arrived.

    Attributes:
        text: what its records are called, which tells it from all others of the same RPC.
        ids: those of the records that it added.
        revision: what the answer said; None if the request had been sent before the server was
            killed, and may have been done then.
    """

    rpc: str
    text: str
    ids: list[str]
    revision: int | None


class Client:
    """Sends one request after another, each until it is acknowledged."""

    def __init__(self, name: str) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.sent = False  # whether the present request has been sent already
        self.requests = self.make_requests(name)
        self.rpc, self.fields = next(self.requests)

    def make_requests(self, name: str) -> Generator[tuple[str, dict[str, Any]], dict[str, Any]]:
        """Yield each RPC and its fields; is sent the answer."""
        for number in itertools.count():
            self.text = f"{name} {number}"
            key = {"request_id": self.text}
            status = {"name": self.text, "kind": "STATUS_KIND_UP"}
            item = {"name": self.text, "initial_status": status, "initial_note_text": self.text}
            answer = yield "ItemsService/AddItem", item | key
            id = {"item_id": answer["item"]["id"]}
            yield "NotesService/AddNote", id | {"note_text": self.text} | key
            yield "ItemsService/UpdateItem", id | {"description": self.text}
            yield "ItemsService/DeleteItem", id

    def work(self, port: int, token: str, answered: Callable[[], None]) -> None:
        """Send requests until the server is gone."""
        headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
        with closing(HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as http:
            while True:
                repeated, self.sent = self.sent, True
                try:
                    path, body = f"/statusthing.v1.{self.rpc}", json.dumps(self.fields)
                    http.request("POST", path, body, headers)
                    response = http.getresponse()
                    answer = response.read().decode()
                except (OSError, HTTPException):
                    return
                gone = repeated and self.rpc == "ItemsService/DeleteItem"
                assert response.status == 200 or (gone and response.status == 404), answer
                revision = int(response.headers["statusthing-revision"])
                self.acknowledge(answer, None if repeated else revision)
                answered()

    def acknowledge(self, answer: str, revision: int | None) -> None:
        """List an answer, and turn to the next request."""
        ids = sorted(re.findall(r'"id":"([^"]+)"', answer))
        self.acknowledged.append(Acknowledged(self.rpc, self.text, ids, revision))
        self.rpc, self.fields = self.requests.send(json.loads(answer))
        self.sent = False


class File:
    """A database file, and the servers on it, each of which is killed in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "statusthing.db"
        self.log = folder / "serve.log"

    @contextmanager
    def starting(self) -> Iterator[subprocess.Popen[str]]:
        """Start a server."""
        command = (sys.executable, "-m", "statusthing", "serve", "--addr=127.0.0.1:0")
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*command, f"--store=sqlite:///{self.path}"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            yield process
        finally:
            process.kill()
            process.communicate(timeout=SECONDS)

    @contextmanager
    def serving(self) -> Iterator[tuple[subprocess.Popen[str], int]]:
        """Start a server, and wait for the port that it listens on."""
        with self.starting() as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on "), self.log.read_text()
            yield process, int(line.rpartition(":")[2])

    def until_written(self, unless: Callable[[], bool] = lambda: False) -> None:
        """Wait until the database is written to, or something else holds."""
        before = self.state()
        end = time.monotonic() + SECONDS
        while self.state() == before and not unless():
            assert time.monotonic() < end

    def state(self) -> dict[str, tuple[int, int]]:
        """Return what changes when something is written: the sizes and times of the files."""
        found = {}
        for part in self.folder.glob("statusthing.db*"):
            with suppress(FileNotFoundError):
                stat = part.stat()
                found[part.name] = (stat.st_size, stat.st_mtime_ns)
        return found


@pytest.fixture
def file(tmp_path: Path) -> File:
    """A place for a database."""
    return File(tmp_path)


@pytest.mark.parametrize("seed", range(FILES))
def test_killed_while_clients_write(file: File, seed: int) -> None:
    """Every acknowledged write is in the file, once, and no write is there in part.

    Kills come by turns right after an answer and when the file is written to next.
    """
    moments = random.Random(seed)  # noqa: S311 - no secret
    clients = [Client(f"client {number}") for number in range(CLIENTS)]
    token = asyncio.run(add_token(SqliteStore(file.path)))
    with ThreadPoolExecutor(CLIENTS) as pool:
        for number in range(KILLS):
            with file.serving() as (process, port):
                check(file, clients, TOKEN, DEFAULTS)
                end = partial(kill, file, process, within_a_write=number % 2 == 1)
                answered = countdown(moments.choice(ANSWERS), end)
                working = [pool.submit(client.work, port, token, answered) for client in clients]
                for each in working:
                    each.result()
                assert process.wait(SECONDS) == -signal.SIGKILL
    with file.serving():
        check(file, clients, TOKEN, DEFAULTS)

    assert all(client.acknowledged for client in clients)
    assert "Traceback" not in file.log.read_text()


def kill(file: File, process: subprocess.Popen[str], *, within_a_write: bool) -> None:
    """Kill a server, now or when it writes next."""
    if within_a_write:
        file.until_written()
    process.kill()


def countdown(count: int, act: Callable[[], object]) -> Callable[[], None]:
    """Return a function that acts once, when it has been called so many times."""
    calls = itertools.count(1)

    def call() -> None:
        if next(calls) == count:
            act()

    return call


@pytest.mark.parametrize("writes", WRITES_OF_A_START)
def test_killed_while_it_lays_out_the_file(file: File, writes: int) -> None:
    """The next server finds or makes the default statuses, each of them once."""
    with file.starting() as process:
        for _ in range(writes):
            file.until_written(unless=lambda: has_started(process))
        assert process.poll() is None
    with file.serving():
        check(file, [], DEFAULTS)


def has_started(process: subprocess.Popen[str]) -> bool:
    """Tell whether a server says that it is there."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], 0)
    return bool(readable)


def check(file: File, clients: Sequence[Client], *first: list[tuple[Action, str]]) -> None:
    """Compare what is in a file with what its clients know, and with what came before them."""
    head, log, records = asyncio.run(contents(file.path))
    units: defaultdict[int, list[Change]] = defaultdict(list)
    for change in log:
        units[change.revision].append(change)
    assert list(units) == [*range(1, head + 1)]
    assert [effect(units.pop(number)) for number in range(1, len(first) + 1)] == [*first]

    done: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for revision, unit in units.items():
        rpcs = [rpc for rpc, whole in WRITES.items() if effect(unit) == whole]
        texts = {text(change) for change in unit}
        assert (len(rpcs), len(texts)) == (1, 1), unit
        done[rpcs[0], texts.pop()].append(revision)
    for each in itertools.chain.from_iterable(client.acknowledged for client in clients):
        revisions = done.pop((each.rpc, each.text), [])
        assert len(revisions) == 1, each
        assert each.revision in {None, *revisions}, each
        assert each.ids in ([], sorted(change.subject for change in units[revisions[0]])), each
    unanswered = {(client.rpc, client.text) for client in clients if client.sent}
    assert done.keys() <= unanswered
    assert all(len(revisions) == 1 for revisions in done.values())

    assert replayed(log) == records
    with closing(sqlite3.connect(file.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def effect(unit: Sequence[Change]) -> list[tuple[Action, str]]:
    """Return what a unit did, in order."""
    assert [change.seq for change in unit] == [*range(len(unit))]
    return [(change.action, change.kind) for change in unit]


def text(change: Change) -> str:
    """Return what the record of an entry is called."""
    record = change.after or change.before or {}
    return str(record.get("text") or record["name"])


Rows = dict[str, dict[str, dict[str, Any]]]
"""Kind to id to record."""


def replayed(log: Sequence[Change]) -> Rows:
    """Return the records that a log leads to."""
    rows: Rows = {kind.__name__: {} for kind in KINDS}
    for change in log:
        assert rows[change.kind].pop(change.subject, None) == change.before
        if change.after is not None:
            rows[change.kind][change.subject] = change.after
    return rows


async def contents(path: Path) -> tuple[int, Sequence[Change], Rows]:
    """Read the head, the log and the records of a file."""

    def read(tx: Transaction) -> tuple[int, Sequence[Change], Rows]:
        found = {kind.__name__: tx.find(Query(kind)) for kind in KINDS}
        rows = {
            kind: {record.id: describe(record) for record in records}
            for kind, records in found.items()
        }
        return tx.revision, tx.find(Query(Change)), rows

    store = SqliteStore(path)
    await store.open()
    try:
        return await store.read(read)
    finally:
        await store.close()
