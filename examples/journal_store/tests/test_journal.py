"""What is special to the journal: its file, crashes, and what an operator may meet."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from statusthing import StatusThing
from statusthing.errors import (
    SchemaOutdated,
    SchemaTooNew,
    StatusThingError,
    StoreError,
    StoreUnavailable,
    UserMistake,
)
from statusthing.log import Change
from statusthing.model import RECORDS, Item, KeptAnswer
from statusthing.store import Query, Range, Transaction
from statusthing_journal import JournalStore, from_url

Run = Callable[[Coroutine[Any, Any, Any]], Any]

SECONDS = 10.0  # the bound of everything that is waited for
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs coroutines on one event loop."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is to be."""
    return tmp_path / "status.jsonl"


@pytest.fixture
def st(path: Path, run: Run) -> Iterator[StatusThing]:
    """The service over an open store, with one item."""
    service = StatusThing(JournalStore(path))
    run(service.store.open())
    run(service.items.add(name="first"))
    yield service
    run(service.store.close())


def everything(tx: Transaction) -> list[Any]:
    """Return all that a store holds."""
    kinds: tuple[type[Any], ...] = (*RECORDS, Change)
    rows: list[Any] = [list(tx.find(Query(kind))) for kind in kinds]
    return [tx.revision, tx.public_revision, tx.now, *rows]


async def reopened(path: Path) -> list[Any]:
    """Return all that is in a journal."""
    store = JournalStore(path)
    await store.open()
    try:
        return await store.read(everything)
    finally:
        await store.close()


async def names(path: Path) -> list[str]:
    """Return the names of the items in a journal."""
    async with StatusThing(JournalStore(path)) as service:
        return [item.name for item in await service.items.list()]


# What is in the file


def test_a_unit_is_a_line(st: StatusThing, path: Path, run: Run) -> None:
    """Each unit that writes adds one line of JSON, whatever it did."""
    before = path.read_text()
    run(st.items.add(name="é"))
    added = path.read_text().removeprefix(before)

    assert added.count("\n") == 1
    assert [row["kind"] for row in json.loads(added)["put"]] == ["Item", "Change"]


def test_a_unit_that_writes_nothing_adds_nothing(st: StatusThing, path: Path, run: Run) -> None:
    """Neither a unit that is refused nor one that only looks touches the file."""
    before = path.read_bytes()
    with pytest.raises(StatusThingError):
        run(st.items.add(name="first"))
    run(st.store.write(lambda tx: tx.count(Query(Item)), now=NOW))

    assert path.read_bytes() == before


def test_everything_is_read_back(st: StatusThing, path: Path, run: Run) -> None:
    """What was added, replaced, removed one by one and swept is the same in the next process."""
    item = run(st.items.add(name="second", initial_note_text="note", request_id="key"))
    run(st.items.update(item.id, description="new"))
    run(st.items.add(name="third", request_id="other key"))
    run(st.items.delete(item.id))

    def sweep(tx: Transaction) -> tuple[int, int]:
        old = Query(Change, where={"revision": Range(lt=3)})
        return tx.remove_where(old, limit=3), tx.remove_where(Query(KeptAnswer), limit=1)

    swept = run(st.store.write(sweep, now=NOW))
    before = run(st.store.read(everything))
    run(st.store.close())

    assert swept == (3, 1)
    assert run(reopened(path)) == before


def test_units_run_off_the_event_loop(st: StatusThing, run: Run) -> None:
    """A unit that writes, and so its way to the disk, is on another thread than its caller."""
    writer = run(st.store.write(lambda _: threading.get_ident(), now=NOW))

    assert writer != threading.get_ident()


def test_any_error_of_a_unit_reaches_its_caller(st: StatusThing, run: Run) -> None:
    """Even StopIteration, which no future of asyncio takes, ends the call."""
    with pytest.raises(RuntimeError, match="StopIteration"):
        run(asyncio.wait_for(st.store.write(lambda _: next(iter(())), now=NOW), SECONDS))


# Crashes

PROGRAM = """
import asyncio, os, signal, sys
from statusthing import StatusThing
from statusthing_journal import JournalStore

async def main():
    service = StatusThing(JournalStore(sys.argv[1]))
    await service.store.open()
    for n in range(5):
        await service.items.add(name=f"{n}")
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize(("end", "code"), [("killed", -signal.SIGKILL), ("left open", 0)])
def test_what_was_acknowledged_outlives_the_process(
    path: Path, run: Run, end: str, code: int
) -> None:
    """A program that is killed, or ends without closing the store, has lost nothing."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, path, end],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=SECONDS,
        check=False,
    )

    assert ended.returncode == code
    assert run(names(path)) == ["0", "1", "2", "3", "4"]


def test_a_torn_line_never_was(st: StatusThing, path: Path, run: Run) -> None:
    """Wherever a crash cuts the last line short, the units before it are there, and go on."""
    before = path.read_bytes()
    run(st.items.add(name="second"))
    run(st.store.close())
    whole = path.read_bytes()
    for end in range(len(before), len(whole), 97):
        path.write_bytes(whole[:end])
        assert run(names(path)) == ["first"]

    path.write_bytes(whole[:-1])
    service = StatusThing(JournalStore(path))
    run(service.store.open())
    run(service.items.add(name="other"))
    run(service.store.close())

    assert run(names(path)) == ["first", "other"]
    assert path.read_bytes().startswith(before)


@pytest.mark.parametrize("size", [0, 1, 20])
def test_a_crash_at_the_very_start_leaves_an_empty_store(path: Path, run: Run, size: int) -> None:
    """A first line that is not there whole is written again."""
    run(reopened(path))
    whole = path.read_bytes()
    path.write_bytes(whole[:size])
    store = JournalStore(path)
    run(store.open())
    created = store.schema.created
    run(store.close())

    assert created
    assert path.read_bytes() == whole


# Failures


def test_a_full_disk_fails_one_unit_and_leaves_no_trace(
    st: StatusThing, path: Path, run: Run
) -> None:
    """A write that the system refuses halfway is undone; reads, and later writes, go well."""
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))
    try:
        with pytest.raises(StoreUnavailable) as failure:
            run(st.items.add(name="second"))
        left, listed = path.read_bytes(), run(st.items.list())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    run(st.items.add(name="third"))
    run(st.store.close())

    assert isinstance(failure.value.__cause__, OSError)
    assert failure.value.__cause__.errno == errno.EFBIG
    assert left == before
    assert [item.name for item in listed] == ["first"]
    assert run(names(path)) == ["first", "third"]


def test_nothing_is_acknowledged_before_it_is_durable(
    st: StatusThing, path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk does not confirm, writes fail; none of them turns up later."""

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "no disk")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        for name in ("second", "third"):
            with pytest.raises(StoreUnavailable):
                run(st.items.add(name=name))
        left = path.read_bytes()
    run(st.items.add(name="fourth"))
    run(st.store.close())

    assert path.read_bytes().startswith(left)
    assert run(names(path)) == ["first", "fourth"]


@pytest.mark.parametrize("line", [1, 2])
def test_a_damaged_line_is_named_and_left(st: StatusThing, path: Path, run: Run, line: int) -> None:
    """The error has the file and the number of the line, and the file is not touched."""
    run(st.items.add(name="second"))
    run(st.store.close())
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(b'":', b'";', 1)
    path.write_bytes(b"".join(lines) + b"torn")
    before = path.read_bytes()

    with pytest.raises(StoreError, match=rf"status\.jsonl: line {line} is damaged"):
        run(reopened(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"hello", b"hello\n", b"{}\n", b"SQLite format 3\0\n\xff"])
def test_the_file_of_another_program_is_left(path: Path, run: Run, content: bytes) -> None:
    """What never was a journal is refused, and not cut off as torn."""
    path.write_bytes(content)

    with pytest.raises(StoreError, match="line 1 is damaged, or not of a journal"):
        run(reopened(path))
    assert path.read_bytes() == content


# Layouts


def relabelled(path: Path, **numbers: int | None) -> bytes:
    """Change numbers in the first line; None takes one away. Return the content."""
    first, rest = path.read_bytes().split(b"\n", 1)
    layout = json.loads(first)
    merged = {**layout["numbers"], **numbers}
    layout["numbers"] = {kind: n for kind, n in merged.items() if n is not None}
    path.write_bytes(json.dumps(layout).encode() + b"\n" + rest)
    return path.read_bytes()


def test_an_older_journal_is_brought_up_to_date(st: StatusThing, path: Path, run: Run) -> None:
    """One from before there were kept answers is refused, until `migrate` adds a line to it."""
    before = run(st.store.read(everything))
    run(st.store.close())
    content = relabelled(path, KeptAnswer=None)

    with pytest.raises(SchemaOutdated, match=r"status\.jsonl: run `statusthing migrate`$"):
        run(reopened(path))
    assert path.read_bytes() == content
    run(JournalStore(path).migrate())
    assert path.read_bytes().startswith(content)
    assert run(reopened(path)) == before


@pytest.mark.parametrize("numbers", [{"Item": 2}, {"journal": 2}, {"Incident": 1}])
def test_a_newer_journal_is_refused(
    st: StatusThing, path: Path, run: Run, numbers: dict[str, int]
) -> None:
    """A number or a kind that is not known yet is an error, for `migrate` as well."""
    run(st.store.close())
    content = relabelled(path, **numbers)

    for call in (reopened(path), JournalStore(path).migrate()):
        with pytest.raises(SchemaTooNew, match="of a newer version: install that version"):
            run(call)
    assert path.read_bytes() == content


# Several openers


def test_a_second_opener_is_refused(st: StatusThing, path: Path, run: Run) -> None:
    """While a store has the file open, no other has; afterwards one may."""
    for call in (reopened(path), JournalStore(path).migrate()):
        with pytest.raises(StoreUnavailable, match=r"is in use by another process$"):
            run(call)
    run(st.store.close())

    assert run(names(path)) == ["first"]


def test_a_forked_child_does_not_keep_the_file(st: StatusThing, path: Path, run: Run) -> None:
    """Once the store is closed the file is free, even if a child was forked meanwhile."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    run(st.store.close())
    listed = run(names(path))
    os.close(writer)
    os.close(reader)
    os.waitpid(child, 0)

    assert listed == ["first"]


# Where it is


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("journal:///status.jsonl", "status.jsonl"),
        ("journal:///a%20b%3F%23%25%C3%A9.jsonl", "a b?#%é.jsonl"),
        ("journal:///%FF.jsonl", os.fsdecode(b"\xff.jsonl")),
    ],
)
def test_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, url: str, file: str
) -> None:
    """Three slashes mean a path from the folder that the program was in."""
    monkeypatch.chdir(tmp_path)
    store = from_url(url)
    monkeypatch.chdir("/")
    run(store.open())
    run(store.close())

    assert (tmp_path / file).is_file()
    assert store.url == url


def test_an_absolute_path(path: Path, run: Run) -> None:
    """Four slashes mean an absolute path."""
    store = from_url(f"journal:///{path}")
    run(store.open())
    run(store.close())

    assert path.is_file()
    assert store.url == f"journal:///{path}" == JournalStore(path).url


@pytest.mark.parametrize(
    "url",
    [
        "journal:",
        "journal://",
        "journal:///",
        "journal://status.jsonl",
        "journal://user:secret@host/status.jsonl",
        "journal:///status.jsonl?fsync=no",
        "journal:///status.jsonl#part",
        "journal://[::1/status.jsonl",
    ],
)
def test_anything_else_is_a_mistake(url: str) -> None:
    """One sentence says what to write instead, and repeats no password."""
    with pytest.raises(UserMistake) as mistake:
        from_url(url)

    assert "\n" not in str(mistake.value)
    assert "secret" not in str(mistake.value)


@pytest.mark.parametrize("place", ["missing/status.jsonl", "."])
def test_an_impossible_place_is_a_mistake(tmp_path: Path, run: Run, place: str) -> None:
    """A folder that does not exist, or a folder itself, is named in one line."""
    with pytest.raises(UserMistake, match=r"^the journal \S+ cannot be opened: [^\n]+$"):
        run(reopened(tmp_path / place))
