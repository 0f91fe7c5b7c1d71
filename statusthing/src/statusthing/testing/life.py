"""The life of a store: R23 and R24."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from statusthing.errors import SchemaOutdated, SchemaTooNew, StoreClosed, StoreUnavailable
from statusthing.model import Item, KeptAnswer
from statusthing.store import Query, Store, Transaction
from statusthing.testing.client import SECONDS, Client, start
from statusthing.testing.rules import rule
from statusthing.testing.samples import NOW, add, item, kept, log


class Life:
    """R23 and R24."""

    @rule(23)
    def test_opening_and_closing_again_does_nothing(self, client: Client) -> None:
        """The data is still there, even in the same store object."""
        client.add(item("i"))
        for call in ("open", "migrate", "close", "close", "open"):
            client.run(getattr(client.store, call)())

        assert client.ids(Item) == ["i"]

    @rule(23)
    def test_many_may_open_at_once(self, factory: Callable[[], Store]) -> None:
        """Tasks that find a store closed open it once."""
        with contextlib.closing(Client(factory())) as client:

            async def open_all() -> None:
                await asyncio.gather(*(client.store.open() for _ in range(8)))

            client.run(open_all())

            assert client.head() == 0

    @rule(24)
    @pytest.mark.parametrize("state", ["never opened", "closed"])
    def test_a_store_that_is_not_open_refuses(
        self, factory: Callable[[], Store], state: str
    ) -> None:
        """Every call to a store that is not open raises StoreClosed."""
        with contextlib.closing(Client(factory())) as client:
            if state == "closed":
                client.run(client.store.open())
                client.run(client.store.close())

            with pytest.raises(StoreClosed):
                client.read(lambda transaction: transaction.revision)
            with pytest.raises(StoreClosed):
                client.write(lambda transaction: transaction.revision)
            with pytest.raises(StoreClosed):
                client.run(client.store.wait(0))

    @rule(24)
    def test_a_reading_unit_cannot_write(self, client: Client) -> None:
        """Trying to write is a mistake in the program, and changes nothing."""
        units: list[Callable[[Transaction], Any]] = [
            lambda transaction: transaction.add(item("i")),
            lambda transaction: transaction.replace(item("i"), expect=1),
            lambda transaction: transaction.remove(Item, "i"),
            lambda transaction: transaction.remove_where(Query(KeptAnswer), limit=1),
            lambda transaction: log(transaction, 0, item("i")),
        ]
        for work in units:
            with pytest.raises(TypeError):
                client.read(work)

        assert client.ids(Item) == []

    @rule(24)
    def test_closing_while_others_read_and_write(self, client: Client) -> None:
        """Each call either completes or raises StoreClosed; none hangs."""
        going = threading.Event()

        async def busy(name: int) -> int:
            done = 0
            with contextlib.suppress(StoreClosed):
                for n in range(10_000):
                    id = f"{name}-{n}"
                    await client.store.write(lambda tx, id=id: add(tx, item(id)), now=NOW)  # type: ignore[misc]
                    await client.store.read(lambda transaction: transaction.count(Query(Item)))
                    done += 1
                    going.set()
            return done

        busy_ones = [start(busy(name)) for name in range(3)]
        assert going.wait(SECONDS)
        client.run(client.store.close())
        done = sum(one.result(SECONDS) for one in busy_ones)
        client.run(client.store.open())

        # The last write of each may have been acknowledged and its read refused.
        assert done <= client.head() <= done + 3

    @rule(23, needs="persistent")
    def test_open_tells_whether_it_made_the_layout(self, factory: Callable[[], Store]) -> None:
        """The first `open` laid it out, and the second found it so."""
        created = []
        for _ in range(2):
            with Client(factory()) as client:
                created.append(client.store.schema.created)

        assert created == [True, False]

    @rule(23, needs="persistent")
    def test_migrate_leaves_the_newest_layout_alone(self, factory: Callable[[], Store]) -> None:
        """`migrate` works on a store that is not open, lays out an empty one, and keeps data."""
        with asyncio.Runner() as runner:
            runner.run(factory().migrate())
            with Client(factory()) as client:
                client.add(item("i"))
            runner.run(factory().migrate())

        with Client(factory()) as client:
            assert (client.ids(Item), client.head()) == (["i"], 1)

    @rule(23, needs="layouts")
    @pytest.mark.parametrize(
        ("label", "calls", "error"),
        [
            ("older", ["open", "open"], SchemaOutdated),
            ("newer", ["open", "migrate", "open"], SchemaTooNew),
        ],
        ids=["older", "newer"],
    )
    def test_another_layout_is_left_untouched(
        self,
        factory: Callable[[], Store],
        relabel: Callable[[str], None],
        label: str,
        calls: list[str],
        error: type[Exception],
    ) -> None:
        """It is refused, again and again, and everything is there once its version is put right."""
        with Client(factory()) as client:
            client.add(item("i"), kept("k"))
            version = client.store.schema.version
        relabel(label)
        with asyncio.Runner() as runner:
            for call in calls:
                with pytest.raises(error):
                    runner.run(getattr(factory(), call)())
        relabel("current")

        with Client(factory()) as client:
            assert (client.store.schema.version, client.store.schema.created) == (version, False)
            assert (client.ids(Item), client.ids(KeptAnswer), client.head()) == (["i"], ["k"], 1)

    @rule(24, needs="unreachable")
    def test_an_outage_is_told_and_passes(
        self, client: Client, outage: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """While the data is away, calls raise StoreUnavailable; soon after, they succeed again."""
        client.add(item("a"))
        with outage():
            with pytest.raises(StoreUnavailable) as reading:
                client.head()
            with pytest.raises(StoreUnavailable) as writing:
                client.add(item("b"))

        for error in (reading.value, writing.value):
            assert not isinstance(error, StoreClosed)
            assert error.__cause__ or not error.__context__, "chained to the driver's error"
        client.wait_until_served()
        assert client.ids(Item) == ["a"]
        client.add(item("c"))
        assert client.ids(Item) == ["a", "c"]
        assert client.head() == 2
