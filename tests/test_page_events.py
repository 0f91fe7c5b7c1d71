"""Server-sent events: what an open page is told, when, and how many may listen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from statusthing import Role, build_app, limits
from statusthing.app import App
from statusthing.asgi import STOPPING
from statusthing.memory import MemoryStore
from statusthing.web import events, renderer, templates

if TYPE_CHECKING:
    from tests.conftest import Server

Serve = Callable[..., AbstractContextManager["Server"]]

SECONDS = 10.0  # the bound of everything that is waited for


class Listener:
    """A client of a stream.

    Attributes:
        start: the first message of the answer, once it has come.
        ended: whether the answer has ended.
    """

    def __init__(self) -> None:
        self.start: dict[str, Any] = {}
        self.ended = False
        self._parts: asyncio.Queue[bytes] = asyncio.Queue()

    async def send(self, message: dict[str, Any]) -> None:
        """Take a message of the answer."""
        if message["type"] == "http.response.start":
            self.start = message
        else:
            self.ended = not message.get("more_body", False)
            self._parts.put_nowait(message.get("body", b""))

    async def next(self) -> str:
        """Return the next part."""
        async with asyncio.timeout(SECONDS):
            return (await self._parts.get()).decode()


@asynccontextmanager
async def listening(
    app: App, path: str = "/events", stop: asyncio.Event | None = None, token: str = ""
) -> AsyncIterator[Listener]:
    """Listen to a stream; leaving tells the application that the client has gone."""
    listener = Listener()
    left = asyncio.Event()
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {token}".encode())] if token else [],
        "state": {} if stop is None else {STOPPING: stop},
    }
    task = asyncio.create_task(app(scope, receive, listener.send))
    try:
        yield listener
    finally:
        left.set()
        async with asyncio.timeout(SECONDS):
            await task


def use(act: Callable[[App], Awaitable[Any]], **options: Any) -> Any:
    """Do something with an application."""

    async def main() -> Any:
        app = build_app(MemoryStore(), **options)
        async with app:
            return await act(app)

    return asyncio.run(main())


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let events follow each other quickly."""
    monkeypatch.setattr(events, "PAUSE_SECONDS", 0.01)


def test_a_page_learns_the_revision_at_once_and_every_newer_one() -> None:
    """It is told the public revision, and nothing else, whoever wrote."""

    async def act(app: App) -> tuple[dict[str, Any], list[str]]:
        await app.st.items.add(name="secret name")
        async with listening(app) as listener:
            parts = [await listener.next(), await listener.next()]
            await app.st.items.add(name="another secret")
            parts.append(await listener.next())
            return listener.start, parts

    start, parts = use(act)

    assert start["status"] == 200
    assert dict(start["headers"])[b"content-type"].startswith(b"text/event-stream")
    assert dict(start["headers"])[b"cache-control"] == b"no-store"
    assert parts == ["retry: 3000\n\n", "id: 1\ndata: 1\n\n", "id: 2\ndata: 2\n\n"]


def test_whoever_may_not_see_the_page_any_more_learns_of_no_change() -> None:
    """A private stream ends with the token that it began with, before the next revision."""

    async def act(app: App) -> tuple[list[str], bool]:
        await app.st.items.add(name="API")
        added = await app.st.tokens.add(name="wall", role=Role.VIEWER)
        async with listening(app, token=added.secret) as listener:
            parts = [await listener.next(), await listener.next()]
            await app.st.tokens.revoke(added.token.id)
            await app.st.items.add(name="another")
            return [*parts, await listener.next()], listener.ended

    parts, ended = use(act, access="private")

    assert parts == ["retry: 3000\n\n", "id: 1\ndata: 1\n\n", ""]
    assert ended


def test_a_page_that_comes_back_learns_what_it_missed() -> None:
    """A new stream begins with the present revision."""

    async def act(app: App) -> list[str]:
        first = []
        for number in range(3):
            await app.st.items.add(name=f"item {number}")
            async with listening(app) as listener:
                await listener.next()
                first.append(await listener.next())
        return first

    assert use(act) == [f"id: {number}\ndata: {number}\n\n" for number in (1, 2, 3)]


def test_silence_is_broken_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands between keeps a connection open on which something comes."""
    monkeypatch.setattr(events, "KEEP_ALIVE_SECONDS", 0.05)

    async def act(app: App) -> list[str]:
        async with listening(app) as listener:
            return [await listener.next() for _ in range(4)]

    assert use(act)[-2:] == [":\n\n", ":\n\n"]


def test_there_is_a_most_of_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """A further one is told to come back; one that has left makes room."""
    monkeypatch.setattr(limits, "EVENT_STREAMS", 2)

    async def act(app: App) -> tuple[list[int], dict[bytes, bytes]]:
        statuses = []
        async with listening(app) as first, listening(app) as second:
            await first.next()
            await second.next()
            async with listening(app) as third:
                await third.next()
            statuses += [each.start["status"] for each in (first, second, third)]
        async with listening(app) as fourth:
            await fourth.next()
        return [*statuses, fourth.start["status"]], dict(third.start["headers"])

    statuses, headers = use(act)

    assert statuses == [200, 200, 503, 200]
    assert int(headers[b"retry-after"]) > 0


def test_streams_end_when_the_server_stops() -> None:
    """The end is a clean one, at once."""

    async def act(app: App) -> bool:
        stop = asyncio.Event()
        async with listening(app, stop=stop) as listener:
            await listener.next()
            await listener.next()
            stop.set()
            while not listener.ended:
                await listener.next()
            return listener.ended

    assert use(act)


def test_the_command_stops_while_pages_listen(serve: Serve) -> None:
    """An open page does not keep the server from stopping at once."""
    with serve("--store=memory://") as server, server.http() as http:
        with server.json() as client:
            client.ok("AddItem", name="API")
        stream = http.stream("GET", "/events")
        lines = stream.__enter__().iter_lines()

        assert [next(lines), next(lines)] == ["retry: 3000", ""]
        assert next(lines).startswith("id: ")


def test_a_page_comes_anew_after_an_edit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In devmode, a page is told that a file was edited."""
    monkeypatch.setattr(templates, "FOLDER", tmp_path)
    monkeypatch.setattr(renderer, "FOLDER", tmp_path)

    async def act(app: App) -> list[str]:
        async with listening(app, "/devmode/reloads") as listener:
            parts = [await listener.next()]
            await asyncio.sleep(0)
            (tmp_path / "new.html").write_text("new")
            return [*parts, await listener.next()]

    assert use(act, devmode=True) == ["retry: 3000\n\n", "event: reload\ndata:\n\n"]


def test_an_installed_package_says_why_pages_do_not_follow_edits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without sources there is nothing to edit, and no stream that waits for it."""
    monkeypatch.setattr(renderer, "FOLDER", Path("/lib/site-packages/statusthing/web/templates"))

    async def act(app: App) -> int:
        async with listening(app, "/devmode/reloads") as listener:
            await listener.next()
            status: int = listener.start["status"]
            return status

    assert use(act, devmode=True) == 404
    assert "pip install -e" in caplog.text
    assert "/lib/site-packages/statusthing" in caplog.text
