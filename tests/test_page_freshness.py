"""How fresh the public pages are, what a client may keep, and what is shown without the store."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import sqlite3
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.conftest import SERVE

from statusthing import StatusKind, StatusThing, build_app, open_store
from statusthing.app import App
from statusthing.errors import StoreUnavailable, UserMistake
from statusthing.log import Action, Change, describe
from statusthing.memory import MemoryStore
from statusthing.model import Status
from statusthing.service.board import Board
from statusthing.web.shelf import FILE, Shelf

if TYPE_CHECKING:
    from tests.conftest import Server
    from tests.postgres import Postgres

Serve = Callable[..., AbstractContextManager["Server"]]
Act = Callable[[httpx.AsyncClient], Awaitable[Any]]

BASE = "http://127.0.0.1"
SECONDS = 10.0  # the bound of everything that is waited for
OTHERS_SECONDS = 0.25  # how soon the writes of other processes show


class Weak(MemoryStore):
    """A store that can be away, and counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.boards = 0

    async def read(self, work: Any) -> Any:
        """Read, unless it is away."""
        if self.away:
            raise StoreUnavailable("the database at 10.1.2.3 is away")
        found = await super().read(work)
        self.boards += isinstance(found, Board)
        return found

    async def wait(self, after: int) -> int:
        """Wait, unless it is away."""
        if self.away:
            raise StoreUnavailable("the database at 10.1.2.3 is away")
        return await super().wait(after)

    async def open(self) -> None:
        """Open, unless it is away."""
        if self.away:
            raise StoreUnavailable("the database at 10.1.2.3 is away")
        await super().open()


def use(app: App, act: Act) -> Any:
    """Do something with a client of an application."""

    async def main() -> Any:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with app, httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            return await act(client)

    return asyncio.run(main())


async def until(client: httpx.AsyncClient, text: str, *, there: bool = True) -> float:
    """Ask for the page until a text is there, or gone; return how many seconds that took."""
    began = time.monotonic()
    while (text in (await client.get("/")).text) is not there:
        assert time.monotonic() < began + SECONDS
        await asyncio.sleep(0.005)
    return time.monotonic() - began


# What a client may keep


@pytest.mark.parametrize(
    "path", ["/", "/?q=API", "/items/{id}", "/status.json", "/palette.css?accent=000000"]
)
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_a_client_that_has_it_gets_304(path: str, encoding: str) -> None:
    """Each form has a strong ETag of its own, and the answer to it has no body."""
    app = build_app(MemoryStore())

    async def act(client: httpx.AsyncClient) -> list[httpx.Response]:
        item = await app.st.items.add(name="API", description="x" * 2000)
        url = path.replace("{id}", item.id)
        client.headers["accept-encoding"] = encoding
        first = await client.get(url)
        tag = first.headers["etag"]
        conditions = [tag, f'"other", W/{tag}', "*", '"other"']
        return [
            first,
            *[await client.get(url, headers={"if-none-match": each}) for each in conditions],
        ]

    first, *answers = use(app, act)

    assert first.headers["etag"].startswith('"')
    assert first.headers["vary"] == "Accept-Encoding"
    assert "set-cookie" not in first.headers
    assert [each.status_code for each in answers] == [304, 304, 304, 200]
    assert [each.content for each in answers[:3]] == [b""] * 3
    assert {each.headers["etag"] for each in answers} == {first.headers["etag"]}


def test_both_forms_hold_the_same_and_head_has_their_headers() -> None:
    """The compressed form is the whole one; a HEAD has all headers, and nothing else."""
    app = build_app(MemoryStore())

    async def act(client: httpx.AsyncClient) -> list[httpx.Response]:
        client.headers["accept-encoding"] = "identity"
        plain = await client.get("/")
        head = await client.head("/")
        client.headers["accept-encoding"] = "br, gzip;q=0.5"
        async with client.stream("GET", "/") as packed:
            raw = b"".join([part async for part in packed.aiter_raw()])
        client.headers["accept-encoding"] = "gzip;q=0"
        refused = await client.get("/")
        assert gzip.decompress(raw) == plain.content
        return [plain, head, packed, refused]

    plain, head, packed, refused = use(app, act)

    assert head.headers == plain.headers
    assert head.content == b""
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["etag"] != plain.headers["etag"]
    assert int(packed.headers["content-length"]) < len(plain.content)
    assert "content-encoding" not in refused.headers
    assert plain.headers["cache-control"] == "public, no-cache"


def test_every_process_gives_a_page_the_same_etag(tmp_path: Path) -> None:
    """Behind one address, it does not matter which of several answers."""
    url = f"sqlite:///{tmp_path}/x.db"
    tags = set()
    for _ in range(2):

        async def act(client: httpx.AsyncClient) -> str:
            return str((await client.get("/")).headers["etag"])

        tags.add(use(build_app(open_store(url), defaults=True), act))

    assert len(tags) == 1


# Freshness


def test_own_writes_show_at_once() -> None:
    """The first request after a write was acknowledged has it."""
    app = build_app(MemoryStore())

    async def act(client: httpx.AsyncClient) -> list[bool]:
        seen = []
        for number in range(20):
            await app.st.items.add(name=f"item {number}.")
            seen.append(f"item {number}." in (await client.get("/")).text)
        return seen

    assert all(use(app, act))


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_what_other_processes_write_shows_within_a_quarter_of_a_second(
    kind: str, tmp_path: Path, postgres: Postgres
) -> None:
    """Another service over the same data stands for another process: they share nothing."""

    async def act(client: httpx.AsyncClient, other: StatusThing) -> list[float]:
        taken = []
        await client.get("/")
        for number in range(5):
            await other.items.add(name=f"item {number}.")
            taken.append(await until(client, f"item {number}."))
        return taken

    async def over(url: str) -> list[float]:
        app = build_app(open_store(url))
        transport = httpx.ASGITransport(app)
        async with (
            app,
            httpx.AsyncClient(transport=transport, base_url=BASE) as client,
            StatusThing(open_store(url)) as other,
        ):
            return await act(client, other)

    if kind == "sqlite":
        taken = asyncio.run(over(f"sqlite:///{tmp_path}/x.db"))
    else:
        with postgres.database() as url:
            taken = asyncio.run(over(url))

    assert sorted(taken)[len(taken) // 2] < OTHERS_SECONDS


def test_a_private_change_leaves_the_page_alone() -> None:
    """A change that no visitor may see makes no new page and no new ETag."""
    store = Weak()
    app = build_app(store)

    async def act(client: httpx.AsyncClient) -> tuple[str, str, int]:
        status = await app.st.statuses.add(name="Fine", kind=StatusKind.UP)
        before = (await client.get("/")).headers["etag"]
        boards = store.boards

        def hidden(tx: Any) -> None:
            record = tx.get(Status, status.id)
            after = Status(
                id=record.id,
                created=record.created,
                updated=tx.now,
                version=2,
                name="Secret",
                kind=StatusKind.UP,
            )
            tx.replace(after, expect=1)
            tx.append(
                Change(
                    revision=tx.revision,
                    seq=0,
                    at=tx.now,
                    actor="a",
                    action=Action.REPLACED,
                    kind="Status",
                    subject=record.id,
                    before=describe(record),
                    after=describe(after),
                    public=False,
                )
            )

        await store.write(hidden, now=app.st.now())
        app.st.written = await app.st.revision()
        after = (await client.get("/")).headers["etag"]
        return before, after, store.boards - boards

    before, after, boards = use(app, act)

    assert after == before
    assert boards == 0


def test_many_requests_after_a_change_cause_one_reading() -> None:
    """A hundred visitors at once have the board read once."""
    store = Weak()
    app = build_app(store)

    async def act(client: httpx.AsyncClient) -> tuple[int, set[str]]:
        await client.get("/")
        await app.st.items.add(name="API")
        before = store.boards
        answers = await asyncio.gather(*(client.get("/") for _ in range(100)))
        return store.boards - before, {each.headers["etag"] for each in answers}

    boards, tags = use(app, act)

    assert boards == 1
    assert len(tags) == 1


def test_the_number_of_queries_does_not_depend_on_the_number_of_items(tmp_path: Path) -> None:
    """The board of ten items takes as many statements as that of a thousand."""
    counts = []
    for items in (10, 1_000):
        seen: list[str] = []
        connect = sqlite3.connect

        def traced(
            *arguments: Any, connect: Any = connect, seen: list[str] = seen, **options: Any
        ) -> Any:
            connection = connect(*arguments, **options)
            connection.set_trace_callback(seen.append)
            return connection

        async def count(url: str, items: int = items, seen: list[str] = seen) -> int:
            async with StatusThing(open_store(url)) as st:
                for number in range(items):
                    await st.items.add(name=f"item {number}", initial_note_text="a note")
                await st.board()
                seen.clear()
                assert len((await st.board()).items) == items
                return len([each for each in seen if each.startswith("SELECT")])

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sqlite3, "connect", traced)
            counts.append(asyncio.run(count(f"sqlite:///{tmp_path}/{items}.db")))

    assert counts[0] == counts[1] <= 6


# While the store is away


def test_without_the_store_the_last_page_stays_and_says_so() -> None:
    """It is marked, tells when it was known to be right, and is replaced once the store is back."""
    store = Weak()
    app = build_app(store)

    async def act(client: httpx.AsyncClient) -> list[httpx.Response]:
        item = await app.st.items.add(name="API", initial_note_text="a note")
        fresh = await client.get("/")
        store.away = True
        await until(client, "Last known status.")
        paths = ("/", "/status.json", f"/items/{item.id}", "/?q=api", "/items/nope")
        stale = [await client.get(path) for path in paths]
        store.away = False
        await app.st.items.add(name="Mail")
        await until(client, "Last known status.", there=False)
        return [fresh, *stale, await client.get("/")]

    fresh, page, status, item, filtered, missing, back = use(app, act)

    assert [each.status_code for each in (page, status, item, filtered)] == [200] * 4
    assert missing.status_code == 404
    assert status.json()["stale"] is True
    assert status.json()["known"]
    assert "a note" in item.text
    assert "Last known status." in filtered.text
    assert page.headers["etag"] != fresh.headers["etag"]
    assert "10.1.2.3" not in page.text + status.text
    assert "Mail" in back.text


def test_with_nothing_known_the_page_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """A browser gets 503 and a sentence, and the operator the reason."""
    store = Weak()
    app = build_app(store)

    async def main() -> list[httpx.Response]:
        store.away = True
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            away = await client.get("/")
            store.away = False
            answers = [away, await client.get("/")]
            await app.__aexit__()
            return answers

    away, back = asyncio.run(main())

    assert (away.status_code, back.status_code) == (503, 200)
    assert int(away.headers["retry-after"]) > 0
    assert "is not known right now" in away.text
    assert "10.1.2.3" not in away.text
    assert "10.1.2.3" in caplog.text


def test_a_restart_without_the_store_shows_what_was_kept(tmp_path: Path) -> None:
    """The board is in a file that only its owner may read, and pages are made of it."""
    store = Weak()
    folder = tmp_path / "cache"
    app = build_app(store, cache_dir=folder)

    async def write(client: httpx.AsyncClient) -> str:
        await app.st.items.add(name="Before the end", initial_note_text="a note")
        return (await client.get("/")).text

    async def read(client: httpx.AsyncClient) -> tuple[str, str]:
        kept = (await client.get("/")).text
        store.away = False
        await until(client, "Last known status.", there=False)
        return kept, (await client.get("/")).text

    use(app, write)
    store.away = True
    kept, back = use(build_app(store, cache_dir=folder), read)

    assert (folder / FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == [FILE]
    assert "Before the end" in kept
    assert "Last known status." in kept
    assert "Before the end" in back


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[]", b'{"format":99,"store":"memory://","board":null}']
)
def test_a_damaged_file_is_ignored(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said in the log, and the application starts as if there were none."""
    (tmp_path / FILE).write_bytes(content)

    async def act(client: httpx.AsyncClient) -> httpx.Response:
        return await client.get("/")

    answer = use(build_app(MemoryStore(), cache_dir=tmp_path), act)

    assert answer.status_code == 200
    assert "is ignored" in caplog.text


def test_the_file_of_another_store_is_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What another store holds is never shown."""
    folder = tmp_path / "cache"

    async def act(client: httpx.AsyncClient) -> str:
        return (await client.get("/")).text

    use(build_app(open_store(f"sqlite:///{tmp_path}/one.db"), cache_dir=folder), act)
    store = Weak()
    app = build_app(store, cache_dir=folder)
    store.away = True

    with pytest.raises(StoreUnavailable):
        use(app, act)
    assert "of another store" in caplog.text


def test_a_folder_that_cannot_be_used_is_a_mistake(tmp_path: Path) -> None:
    """The operator learns it at the start, in one line."""
    (tmp_path / "file").touch()

    with pytest.raises(UserMistake, match="cannot keep pages in"):
        build_app(MemoryStore(), cache_dir=tmp_path / "file")


def test_the_command_serves_what_was_kept(run: Serve, tmp_path: Path) -> None:
    """Nothing answers at the address of its database when it starts, and the page is there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"postgresql://nobody@127.0.0.1:{port}/nothing"

    async def board() -> Board:
        async with StatusThing(MemoryStore()) as st:
            await st.items.add(name="Kept for later")
            return await st.board()

    kept = asyncio.run(board())
    asyncio.run(Shelf(tmp_path / "cache", open_store(url).url).save(kept))
    options = (f"--store={url}", f"--cache-dir={tmp_path}/cache")
    with run(*SERVE, *options) as server, server.http() as http:
        page = http.get("/").text
        ready = http.get("/readyz")

    assert "Kept for later" in page
    assert "Last known status." in page
    assert ready.status_code == 503


def test_closing_ends_the_watch() -> None:
    """However soon an application is closed, nothing of it goes on."""

    async def act(client: httpx.AsyncClient) -> None:
        await client.get("/")

    async def main() -> list[str]:
        app = build_app(MemoryStore())
        for _ in range(5):
            transport = httpx.ASGITransport(app)
            async with app, httpx.AsyncClient(transport=transport, base_url=BASE) as client:
                await act(client)
        return [task.get_name() for task in asyncio.all_tasks() if "statusthing" in task.get_name()]

    assert asyncio.run(main()) == []


def test_nobody_waits_for_a_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page comes, and is not taken for an old one, while the disk takes its time."""
    is_ready = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _: is_ready.wait(SECONDS))
    app = build_app(MemoryStore(), cache_dir=tmp_path)

    async def act(client: httpx.AsyncClient) -> list[str]:
        pages = []
        for name in ("first", "second"):
            await app.st.items.add(name=name)
            pages.append((await client.get("/")).text)
            assert not (tmp_path / FILE).exists()
        is_ready.set()
        return pages

    first, second = use(app, act)

    assert "first" in first
    assert "second" in second
    assert "Last known status." not in second
    assert b"second" in (tmp_path / FILE).read_bytes()


# What it costs


def test_looking_for_many_texts_fills_no_memory() -> None:
    """What is kept of pages that strangers asked for has a limit, however large each is."""
    app = build_app(MemoryStore())

    async def act(client: httpx.AsyncClient) -> int:
        for number in range(100):
            await app.st.items.add(name=f"item {number}", description="x" * 2_000)
        await client.get("/")
        tracemalloc.start()
        for number in range(200):  # of 200 kB each
            await client.get("/", params={"q": "x" * (1 + number)})
        return tracemalloc.get_traced_memory()[0]

    try:
        assert use(app, act) < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_event_loops_that_take_turns_have_one_watch_each() -> None:
    """However often a program changes between two event loops, no more tasks remain."""
    app = build_app(MemoryStore())
    loops = [asyncio.new_event_loop() for _ in range(2)]

    async def write_and_read(name: str) -> str:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            await app.st.items.add(name=name)
            return (await client.get("/")).text

    def watches() -> int:
        return sum(task.get_name() == "statusthing-pages" for task in asyncio.all_tasks())

    async def calm() -> None:
        end = time.monotonic() + SECONDS
        while watches() > 1:
            assert time.monotonic() < end
            await asyncio.sleep(0.005)

    async def leave() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    try:
        loops[0].run_until_complete(app.st.store.open())
        for number, loop in enumerate(loops * 5):
            assert f"item {number}" in loop.run_until_complete(write_and_read(f"item {number}"))
        for loop in loops:
            loop.run_until_complete(calm())
    finally:
        for loop in loops:
            loop.run_until_complete(leave())
            loop.close()
