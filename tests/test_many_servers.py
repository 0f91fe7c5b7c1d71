"""Two servers, which are processes of their own, over one database."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.postgres import Postgres

from statusthing import open_store
from statusthing.log import Change
from statusthing.store import Query

if TYPE_CHECKING:
    from tests.conftest import Client, Server

Serve = Callable[..., AbstractContextManager["Server"]]

SECONDS = 10.0  # the bound of everything that is waited for


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/shared.db"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.database() as made:
        yield made


@pytest.fixture
def servers(url: str, serve_shared: Serve) -> Iterator[list[Server]]:
    """Two servers over it."""
    with ExitStack() as stack:
        yield [stack.enter_context(serve_shared(f"--store={url}")) for _ in range(2)]


@pytest.fixture
def clients(servers: list[Server]) -> Iterator[list[Client]]:
    """A client of each."""
    with ExitStack() as stack:
        yield [stack.enter_context(server.json()) for server in servers]


def test_what_one_acknowledged_the_other_shows(clients: list[Client]) -> None:
    """A write at one server is seen by the very next read at the other, and so in turn."""
    item = clients[0].ok("AddItem", name="api")["item"]
    for n, (writer, reader) in enumerate(itertools.islice(itertools.permutations(clients), 2)):
        for m in range(20):
            text = f"{n} {m}"
            writer.ok("UpdateItem", item_id=item["id"], description=text)

            assert reader.ok("GetItem", item_id=item["id"])["item"]["description"] == text


def test_both_have_one_schema_and_one_set_of_defaults(clients: list[Client]) -> None:
    """Servers that start over an empty database make the defaults once."""
    first, second = (client.ok("ListStatus")["statuses"] for client in clients)

    assert first == second
    assert len(first) == 8


def test_all_writes_have_one_order(url: str, clients: list[Client]) -> None:
    """Writes at both at once get revisions without gaps, which are the order of the log."""
    item = clients[0].ok("AddItem", name="api")["item"]

    def write(client: Client, name: str) -> list[tuple[int | None, str]]:
        texts = [f"{name} {n}" for n in range(60)]
        answers = [client.call("AddNote", item_id=item["id"], note_text=text) for text in texts]
        assert {answer.code for answer in answers} == {"ok"}
        return [(answer.revision, answer.body["note"]["text"]) for answer in answers]

    with ThreadPoolExecutor(2) as pool:
        written = sorted(itertools.chain(*pool.map(write, clients, ["one", "other"])))
    notes = [client.ok("ListNotes", item_id=item["id"])["notes"] for client in clients]
    changes = asyncio.run(log(url))
    logged = [each.after["text"] for each in changes if each.after and each.kind == "Note"]

    assert [revision for revision, _ in written] == list(range(5, 125))
    assert notes[0] == notes[1]
    assert [note["text"] for note in notes[0]] == [text for _, text in written]
    assert logged == [text for _, text in written]
    assert [change.at for change in changes] == sorted(change.at for change in changes)


async def log(url: str) -> list[Change]:
    """Read the log, without a server."""
    store = open_store(url)
    await store.open()
    try:
        return list(await store.read(lambda tx: tx.find(Query(Change))))
    finally:
        await store.close()


def test_a_change_at_one_ends_a_wait_elsewhere(url: str, clients: list[Client]) -> None:
    """Who waits for the next revision in one process hears of a write in another."""

    async def work() -> list[int]:
        store = open_store(url)
        await store.open()
        heads = []
        try:
            for n in range(5):
                head = await store.read(lambda tx: tx.revision)
                waiting = asyncio.create_task(store.wait(head))
                await asyncio.to_thread(clients[n % 2].ok, "AddItem", name=f"item {n}")
                heads.append(await asyncio.wait_for(waiting, SECONDS) - head)
        finally:
            await store.close()
        return heads

    assert asyncio.run(work()) == [1] * 5


def test_one_goes_on_when_the_other_is_killed(url: str, clients: list[Client]) -> None:
    """A program that is killed in the midst of writing leaves no lock and no half of anything."""
    program = [sys.executable, "-c", WRITE_ON, url]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(20):
            writer.stdout.readline()
        writer.kill()
    clients[1].ok("AddItem", name="after")
    items = clients[0].ok("ListItems", extended=True)["items"]

    assert items[-1]["name"] == "after"
    assert len(items) > 20
    assert all(len(item["notes"]) == 1 for item in items[:-1])


WRITE_ON = """
import asyncio, itertools, sys
from statusthing import StatusThing, open_store

async def write_on():
    async with StatusThing(open_store(sys.argv[1])) as st:
        for n in itertools.count():
            await st.items.add(name=f"item {n}", initial_note_text="new")
            print(n, flush=True)

asyncio.run(write_on())
"""
