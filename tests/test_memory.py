"""What is special to the memory store; `test_memory_conformance.py` has the rules of all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest

from statusthing import StatusThing, open_store
from statusthing.errors import NestedUnit, StoreClosed, UserMistake
from statusthing.memory import MemoryStore, from_url
from statusthing.model import Item
from statusthing.store import Query, Transaction

SECONDS = 10.0  # the bound of everything that is waited for


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """Give the test an event loop."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def service(runner: asyncio.Runner) -> StatusThing:
    """Give the test a service over an open store with one item."""
    service = StatusThing(MemoryStore())
    runner.run(service.store.open())
    runner.run(service.items.add(name="first"))
    return service


def names(tx: Transaction) -> list[str]:
    """Return the names of all items."""
    return [item.name for item in tx.find(Query(Item))]


def elsewhere(service: StatusThing, name: str) -> None:
    """Add an item from another thread, on an event loop of its own, and wait for it."""
    thread = threading.Thread(target=lambda: asyncio.run(add(service, name)), daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive()


async def add(service: StatusThing, name: str) -> None:
    """Add an item."""
    await service.items.add(name=name)


def test_its_url_makes_a_store() -> None:
    """`memory://` makes a new store each time, which is not open yet."""
    one, other = open_store("memory://"), open_store("memory://")

    assert isinstance(one, MemoryStore)
    assert one is not other
    assert one.url == "memory://"
    with pytest.raises(StoreClosed):
        asyncio.run(one.read(names))


@pytest.mark.parametrize(
    "url", ["memory:", "memory:/", "memory:///", "memory://name", "memory://?a=b", "memory://#a"]
)
def test_its_url_takes_nothing_else(url: str) -> None:
    """A URL with anything after `memory://` is a mistake."""
    with pytest.raises(UserMistake, match=r"^memory:// takes nothing behind it$"):
        from_url(url)
    with pytest.raises(UserMistake):
        open_store(url)


def test_a_reader_keeps_its_snapshot_while_others_write(
    runner: asyncio.Runner, service: StatusThing
) -> None:
    """A write that is acknowledged while a unit reads does not change what that unit sees."""

    def reading(tx: Transaction) -> tuple[list[str], int, list[str], int]:
        before = names(tx), tx.revision
        elsewhere(service, "second")
        return *before, names(tx), tx.revision

    assert runner.run(service.store.read(reading)) == (["first"], 1, ["first"], 1)
    assert runner.run(service.store.read(names)) == ["first", "second"]


def test_readers_do_not_wait_for_a_writer(runner: asyncio.Runner, service: StatusThing) -> None:
    """While a unit writes, another thread reads the state from before it."""
    seen: list[list[str]] = []

    def reader() -> None:
        seen.append(asyncio.run(service.store.read(names)))

    def writing(tx: Transaction) -> None:
        item = tx.get(Item, tx.find(Query(Item))[0].id)
        tx.remove(Item, item.id)
        thread = threading.Thread(target=reader, daemon=True)
        thread.start()
        thread.join(SECONDS)
        tx.add(item)
        raise LookupError

    with pytest.raises(LookupError):
        runner.run(service.store.write(writing, now=datetime.now(UTC)))
    assert seen == [["first"]]


def test_a_refused_inner_unit_leaves_the_outer_one_whole(
    runner: asyncio.Runner, service: StatusThing
) -> None:
    """A unit that catches NestedUnit goes on, and the store serves the next one."""

    def reading(tx: Transaction) -> Sequence[str]:
        # The memory store never waits, so that one step runs its coroutines to their end.
        for inner in (service.store.read(names), service.items.add(name="inner")):
            with pytest.raises(NestedUnit):
                inner.send(None)
        return names(tx)

    assert runner.run(service.store.read(reading)) == ["first"]
    assert runner.run(service.store.read(names)) == ["first"]


def test_what_a_reader_got_is_its_own(runner: asyncio.Runner, service: StatusThing) -> None:
    """Changing the sequence that `find` returned changes nothing in the store."""
    found = runner.run(service.store.read(lambda tx: tx.find(Query(Item))))
    assert isinstance(found, list)
    found.clear()

    assert runner.run(service.store.read(names)) == ["first"]


def test_the_data_lives_as_long_as_the_object(runner: asyncio.Runner, service: StatusThing) -> None:
    """Closing keeps the data for the next `open` of the same object, and of no other."""
    runner.run(service.store.close())
    runner.run(service.store.open())
    other = MemoryStore()
    runner.run(other.open())

    assert runner.run(service.store.read(names)) == ["first"]
    assert runner.run(service.store.wait(0)) == 1
    assert runner.run(other.read(names)) == []
