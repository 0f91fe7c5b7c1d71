"""Deadlines and cancellation: a call that is too late, or that nobody waits for, does not begin.

When run as a program, this file serves a store on SQLite that says when a write is queued.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest

from statusthing import Principal, Role, StatusThing, build_app, server
from statusthing.errors import DeadlineExceeded
from statusthing.memory import MemoryStore
from statusthing.service.messages import AddItemRequest, ListItemsRequest
from statusthing.v1 import services_pb2
from statusthing_sqlite import SqliteStore

if TYPE_CHECKING:
    from tests.conftest import Server

Serving = Callable[..., AbstractContextManager["Server"]]

SECONDS = 10.0  # the bound of everything that is waited for
ADD = "/statusthing.v1.ItemsService/AddItem"
LIST = "/statusthing.v1.ItemsService/ListItems"
SOON = 100  # milliseconds


class Announcing(SqliteStore):
    """A store that says when a write is queued."""

    def __init__(self, path: str | Path, announce: Callable[[], None]) -> None:
        super().__init__(path)
        self._announce = announce

    async def write(self, work: Any, *, now: Any) -> Any:
        """Run a unit that may write."""
        self._announce()
        return await super().write(work, now=now)


async def editor(_: Any) -> Principal:
    """Whoever asks is an editor, without the store being asked about them."""
    return Principal(name="editor", role=Role.EDITOR)


def main() -> None:
    """Serve `statusthing.db`; the log has a line for each write that is queued."""
    logging.basicConfig(level=logging.INFO)
    log = logging.getLogger()
    store = Announcing("statusthing.db", lambda: log.info("queued"))

    def started(url: str) -> None:
        print(f"listening on {url}\ndata in {store.url}", flush=True)  # noqa: T201 - as `serve` does

    server.run(build_app(store, identify=editor), addr="127.0.0.1:0", on_start=started)


@contextmanager
def held(database: Path) -> Iterator[None]:
    """Keep everybody from writing, as another process that writes does."""
    with database.with_name(f"{database.name}-lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection = sqlite3.connect(database, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield
        finally:
            connection.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end


def names_after_one_more(running: Server) -> list[str]:
    """Add an item, which comes after all that is queued, and return the names of all there are."""
    with running.json() as client:
        client.ok("AddItem", name="after")
        return [item["name"] for item in client.ok("ListItems")["items"]]


# Writes that wait for the writer


def by_json(running: Server) -> str:
    """Call as plain HTTP does."""
    headers = {"connect-timeout-ms": str(SOON), **running.credentials}
    response = httpx.post(running.url + ADD, json={"name": "late"}, headers=headers)
    assert response.status_code == 504
    return str(response.json()["code"])


def by_proto(running: Server) -> str:
    """Call as Connect's clients do."""
    headers = {"connect-timeout-ms": str(SOON), "content-type": "application/proto"}
    headers |= running.credentials
    content = services_pb2.AddItemRequest(name="late").SerializeToString()
    response = httpx.post(running.url + ADD, content=content, headers=headers)
    assert response.status_code == 504
    return str(response.json()["code"])


def by_grpc_web(running: Server) -> str:
    """Call as gRPC-Web does; 4 is DEADLINE_EXCEEDED."""
    headers = {"grpc-timeout": f"{SOON}m", "content-type": "application/grpc-web+proto"}
    headers |= running.credentials
    message = services_pb2.AddItemRequest(name="late").SerializeToString()
    content = b"\0" + len(message).to_bytes(4, "big") + message
    response = httpx.post(running.url + ADD, content=content, headers=headers)
    assert b"grpc-status: 4\r\n" in response.content
    return "deadline_exceeded"


def by_grpc(running: Server) -> str:
    """Call as gRPC does; its client does not wait for the server to say that it is too late."""
    with grpc.insecure_channel(running.address) as channel:
        grpc.channel_ready_future(channel).result(SECONDS)
        call = channel.unary_unary(
            ADD,
            request_serializer=services_pb2.AddItemRequest.SerializeToString,
            response_deserializer=services_pb2.AddItemResponse.FromString,
        )
        ended = call.future(
            services_pb2.AddItemRequest(name="late"),
            timeout=SOON / 1_000,
            metadata=running.metadata,
        )
        return str(ended.code().name.lower())


@pytest.mark.parametrize("call", [by_json, by_proto, by_grpc_web, by_grpc])
def test_a_write_that_waits_too_long_is_not_done(
    serve: Serving, tmp_path: Path, call: Callable[[Server], str]
) -> None:
    """The caller is told in time, and once the writer is free again nothing is written."""
    with serve() as running:
        with held(tmp_path / "statusthing.db"):
            assert call(running) == "deadline_exceeded"

        assert names_after_one_more(running) == ["after"]


def test_a_busy_server_begins_no_write_that_is_too_late(tmp_path: Path) -> None:
    """Deadlines hold even while the event loop, which watches them, does something else."""
    database = tmp_path / "statusthing.db"
    queued: asyncio.Queue[None] = asyncio.Queue()
    store = Announcing(database, lambda: queued.put_nowait(None))

    def add_from_another_loop() -> None:
        """Add an item, which comes after all that is queued."""
        asyncio.run(StatusThing(store).items.add(name="after"))

    async def use() -> tuple[list[httpx.Response], httpx.Response]:
        transport = httpx.ASGITransport(build_app(store, identify=editor))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await client.post(LIST, json={})
            with held(database):
                headers = {"connect-timeout-ms": str(SOON)}
                calls = [
                    asyncio.create_task(client.post(ADD, json={"name": name}, headers=headers))
                    for name in ("one", "two", "three")
                ]
                for _ in calls:
                    await asyncio.wait_for(queued.get(), SECONDS)
                # From here on the loop is busy, until the writer has been through its queue.
                too_late = time.monotonic() + SOON / 1_000
                until(lambda: time.monotonic() > too_late)
            other = threading.Thread(target=add_from_another_loop)
            other.start()
            other.join()
            return await asyncio.gather(*calls), await client.post(LIST, json={})

    responses, listed = asyncio.run(use())

    assert [response.status_code for response in responses] == [504, 504, 504]
    assert [item["name"] for item in listed.json()["items"]] == ["after"]


def test_a_write_that_grpc_cancels_is_not_done(run: Serving, tmp_path: Path) -> None:
    """A call that its client cancels while it waits for the writer is dropped."""
    with run(sys.executable, __file__) as running:
        with held(tmp_path / "statusthing.db"), grpc.insecure_channel(running.address) as channel:
            message = services_pb2.AddItemRequest(name="cancelled").SerializeToString()
            grpc.channel_ready_future(channel).result(SECONDS)
            unary_unary: Any = channel.unary_unary
            call = unary_unary(ADD).future(message, timeout=SECONDS)
            until(lambda: "queued" in running.log.read_text())
            call.cancel()
            until(lambda: f"POST {ADD}" in running.log.read_text())

        assert names_after_one_more(running) == ["after"]


def test_a_write_whose_client_hangs_up_is_not_done(run: Serving, tmp_path: Path) -> None:
    """Over HTTP/1.1, closing the connection is how a client cancels."""
    body = json.dumps({"name": "cancelled"})
    with run(sys.executable, __file__) as running:
        request = (
            f"POST {ADD} HTTP/1.1\r\nhost: {running.address}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}"
        )
        host, _, port = running.address.partition(":")
        with held(tmp_path / "statusthing.db"):
            with socket.create_connection((host, int(port)), timeout=SECONDS) as client:
                client.sendall(request.encode())
                until(lambda: "queued" in running.log.read_text())
            until(lambda: f"POST {ADD}" in running.log.read_text())

        assert names_after_one_more(running) == ["after"]


# Calls that wait for something else


def posts(app: Any, *requests: tuple[str, dict[str, str]]) -> list[httpx.Response]:
    """Send calls without fields to an application, all at once."""

    async def use() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            calls = (client.post(path, json={}, headers=headers) for path, headers in requests)
            async with asyncio.timeout(SECONDS):
                return await asyncio.gather(*calls)

    return asyncio.run(use())


LATE = {"connect-timeout-ms": str(SOON)}


@pytest.mark.parametrize("path", [LIST, ADD])
def test_a_deadline_holds_while_it_is_found_out_who_asks(path: str) -> None:
    """A login that does not answer does not keep the caller waiting."""

    async def identify(_: object) -> None:
        await asyncio.Event().wait()

    (response,) = posts(build_app(MemoryStore(), identify=identify), (path, LATE))

    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")


def test_a_deadline_holds_while_the_store_opens() -> None:
    """Whoever cannot wait gives up alone: the store goes on opening for the others, once."""

    class Slow(MemoryStore):
        opened = 0

        async def open(self) -> None:
            self.opened += 1
            await given_up.wait()
            await super().open()

    given_up = asyncio.Event()
    store = Slow()
    app = build_app(store, defaults=True)

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        given_up.set()

    hasty, patient = posts(watched, (LIST, LATE), (LIST, {}))

    assert (hasty.status_code, hasty.json()["code"]) == (504, "deadline_exceeded")
    assert (patient.status_code, patient.headers["statusthing-revision"]) == (200, "1")
    assert store.opened == 1


# In this process


@pytest.mark.parametrize("request_", [AddItemRequest(name="late"), ListItemsRequest()])
def test_what_is_too_late_is_not_begun(request_: Any) -> None:
    """Neither reads nor writes begin when their deadline has passed."""

    async def use() -> int:
        async with StatusThing(MemoryStore()) as st:
            with pytest.raises(DeadlineExceeded) as caught:
                await st.run(request_, deadline=time.monotonic())
            assert caught.value.revision is None
            return await st.revision()

    assert asyncio.run(use()) == 0


def test_a_unit_that_gets_its_turn_too_late_does_nothing() -> None:
    """The deadline counts when the store runs the unit, not when it was handed over."""

    class Late(MemoryStore):
        async def write(self, work: Any, *, now: Any) -> Any:
            until(lambda: time.monotonic() > deadline)
            return await super().write(work, now=now)

    async def use() -> int:
        async with StatusThing(Late()) as st:
            with pytest.raises(DeadlineExceeded):
                await st.run(AddItemRequest(name="late"), deadline=deadline)
            return await st.revision()

    deadline = time.monotonic() + SOON / 1_000

    assert asyncio.run(use()) == 0


def test_a_deadline_ahead_changes_nothing() -> None:
    """With time left, reads and writes are carried out."""

    async def use() -> int:
        async with StatusThing(MemoryStore()) as st:
            deadline = time.monotonic() + SECONDS
            await st.run(AddItemRequest(name="in time"), deadline=deadline)
            return (await st.run(ListItemsRequest(), deadline=deadline)).revision

    assert asyncio.run(use()) == 1


if __name__ == "__main__":
    main()
