"""The numbered rules of `statusthing.store`, over every store.

Everything goes through the contract alone, so that a new store runs these tests by adding one line
to `STORES`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statusthing.errors import (
    AlreadyExists,
    InUse,
    MissingReference,
    NestedUnit,
    NotFound,
    StoreClosed,
    UnloggedWrite,
    VersionConflict,
)
from statusthing.log import Action, Change, describe
from statusthing.memory import MemoryStore
from statusthing.model import RECORDS, Item, KeptAnswer, Note, Record, Status, StatusKind
from statusthing.store import Query, Range, Store, Transaction
from statusthing_sqlite import SqliteStore

T = TypeVar("T")

SECONDS = 10.0  # the bound of everything that is waited for
NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
TICK = timedelta(microseconds=1)

STORES: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(),
    "sqlite": lambda folder: SqliteStore(folder / "statusthing.db"),
}


class Client:
    """Calls a store from an event loop of its own, which runs only while a call does."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._runner = asyncio.Runner()
        self.run = self._runner.run

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Run a unit that reads."""
        return self.run(self.store.read(work))

    def write(self, work: Callable[[Transaction], T], now: datetime = NOW) -> T:
        """Run a unit that may write."""
        return self.run(self.store.write(work, now=now))

    def add(self, *records: Record) -> None:
        """Add records in one unit, and log them."""
        self.write(lambda transaction: add(transaction, *records))

    def head(self) -> int:
        """Return the head."""
        return self.read(lambda transaction: transaction.revision)

    def find(self, kind: type[Any], **parts: Any) -> list[Any]:
        """Find what a query asks for."""
        return list(self.read(lambda transaction: transaction.find(Query(kind, **parts))))

    def ids(self, kind: type[Any], **parts: Any) -> list[str]:
        """Find the ids of what a query asks for."""
        return [record.id for record in self.find(kind, **parts)]

    def close(self) -> None:
        """Close the store, and the loop."""
        self.run(self.store.close())
        self._runner.close()


@pytest.fixture(params=STORES)
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Makes the store, not yet open."""
    return lambda: STORES[request.param](tmp_path)


@pytest.fixture
def client(make_store: Callable[[], Store]) -> Iterator[Client]:
    """Calls an open, empty store."""
    client = Client(make_store())
    client.run(client.store.open())
    yield client
    client.close()


def add(transaction: Transaction, *records: Record, public: bool = True) -> None:
    """Add records, and log those of logged types."""
    logged = 0
    for record in records:
        transaction.add(record)
        if RECORDS[type(record)].logged:
            log(transaction, logged, record, public=public)
            logged += 1


def log(transaction: Transaction, seq: int, record: Record, *, public: bool = True) -> None:
    """Append that the record was added."""
    transaction.append(
        Change(
            revision=transaction.revision,
            seq=seq,
            at=transaction.now,
            actor="test",
            action=Action.ADDED,
            kind=type(record).__name__,
            subject=record.id,
            before=None,
            after=describe(record),
            public=public,
        )
    )


def status(id: str, minutes: int = 0, **fields: Any) -> Status:
    """Make a status, so many minutes after the first."""
    at = NOW + timedelta(minutes=minutes)
    fields = {"name": id, "kind": StatusKind.UP, **fields}
    return Status(id=id, created=at, updated=at, **fields)


def item(id: str, minutes: int = 0, **fields: Any) -> Item:
    """Make an item."""
    at = NOW + timedelta(minutes=minutes)
    return Item(id=id, created=at, updated=at, **({"name": id} | fields))


def note(id: str, minutes: int = 0, **fields: Any) -> Note:
    """Make a note about the item `i`."""
    at = NOW + timedelta(minutes=minutes)
    return Note(id=id, created=at, updated=at, **({"item_id": "i", "text": id} | fields))


def kept(id: str, minutes: int = 0, **fields: Any) -> KeptAnswer:
    """Make a kept answer that expires an hour after it was made."""
    at = NOW + timedelta(minutes=minutes)
    expires = at + timedelta(hours=1)
    fields = {"digest": "d", "answer": "{}", "expires": expires, **fields}
    return KeptAnswer(id=id, created=at, updated=at, **fields)


class TestUnits:
    """R1 to R8."""

    def test_a_read_sees_one_snapshot(self, client: Client) -> None:
        """R1: a reading unit does not see what is committed while it runs."""

        def work(transaction: Transaction) -> tuple[int, int]:
            before = transaction.count(Query(Item))
            with ThreadPoolExecutor(1) as pool:
                writing = client.store.write(lambda other: add(other, item("i")), now=NOW)
                pool.submit(asyncio.run, writing).result(SECONDS)
            return before, transaction.count(Query(Item))

        counts = client.read(work)

        assert counts == (0, 0)
        assert client.ids(Item) == ["i"]

    def test_a_write_sees_its_own_changes(self, client: Client) -> None:
        """R1: a unit reads what it has written."""

        def work(transaction: Transaction) -> list[Item | int]:
            add(transaction, item("i"))
            return [transaction.get(Item, "i"), transaction.count(Query(Item))]

        assert client.write(work) == [item("i"), 1]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, NotFound("Item", "x")])
    def test_a_unit_that_raises_leaves_no_trace(
        self, client: Client, error: type[BaseException] | BaseException
    ) -> None:
        """R2: the unit's error, of any class, reaches the caller, and nothing it wrote stays."""

        def work(transaction: Transaction) -> None:
            add(transaction, item("i"), kept("k"))
            raise error

        # Inside a task of its own, KeyboardInterrupt would stop the loop.
        async def catch() -> BaseException | None:
            try:
                await client.store.write(work, now=NOW)
            except BaseException as caught:  # noqa: BLE001 - which one it is, is what is tested
                return caught
            return None

        caught = client.run(catch())

        assert caught is error or (isinstance(error, type) and isinstance(caught, error))
        assert (client.ids(Item), client.ids(KeptAnswer), client.find(Change)) == ([], [], [])
        assert client.head() == 0

    def test_a_unit_may_go_on_after_a_refusal(self, client: Client) -> None:
        """R2, R10: a refused record does not undo anything else in the unit."""

        def work(transaction: Transaction) -> None:
            add(transaction, item("i"))
            with contextlib.suppress(AlreadyExists):
                transaction.add(item("j", name="i"))
            with contextlib.suppress(NotFound):
                transaction.remove(Item, "none")

        client.write(work)

        assert client.ids(Item) == ["i"]

    def test_writes_from_many_threads_lose_nothing(self, client: Client) -> None:
        """R4, R8: read-modify-write from several threads and loops adds up."""
        client.add(item("i"))

        def count_up(transaction: Transaction) -> None:
            old = transaction.get(Item, "i")
            new = msgspec.structs.replace(old, position=old.position + 1, version=old.version + 1)
            transaction.replace(new, expect=old.version)
            log(transaction, 0, new)

        async def several() -> None:
            writes = (client.store.write(count_up, now=NOW) for _ in range(20))
            await asyncio.gather(*writes)

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(asyncio.run, several()) for _ in range(4)]:
                done.result(SECONDS)

        assert client.read(lambda transaction: transaction.get(Item, "i")).position == 80
        assert [change.revision for change in client.find(Change)] == list(range(1, 82))

    @pytest.mark.parametrize("outer", ["read", "write"])
    @pytest.mark.parametrize("inner", ["read", "write"])
    def test_a_unit_inside_a_unit_is_refused(self, client: Client, outer: str, inner: str) -> None:
        """R6: the inner unit raises, instead of waiting for the outer one forever."""
        calls: dict[str, Callable[[Callable[[Transaction], Any]], Any]] = {
            "read": client.store.read,
            "write": lambda work: client.store.write(work, now=NOW),
        }

        def work(_: Transaction) -> None:
            calls[inner](lambda transaction: transaction.revision).send(None)

        with pytest.raises(NestedUnit):
            client.run(calls[outer](work))

        assert client.head() == 0

    def test_a_write_that_was_cancelled_first_is_dropped(self, client: Client) -> None:
        """R7: a write that is cancelled before it starts does not run at all."""

        async def cancel() -> None:
            task = asyncio.create_task(
                client.store.write(lambda transaction: add(transaction, item("i")), now=NOW)
            )
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        client.run(cancel())
        client.add(item("j"))

        assert client.ids(Item) == ["j"]

    def test_a_cancelled_write_is_whole_or_nothing(self, client: Client) -> None:
        """R7: whenever the caller cancels, records and log agree."""

        async def cancel(n: int) -> None:
            def work(transaction: Transaction) -> None:
                add(transaction, item(f"a{n:02}"), item(f"b{n:02}"))

            task = asyncio.create_task(client.store.write(work, now=NOW))
            for _ in range(n % 7):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        async def cancel_all() -> None:
            await asyncio.gather(*(cancel(n) for n in range(40)))

        client.run(cancel_all())
        client.write(lambda _: None)  # what had begun comes before it

        changes = client.find(Change)
        assert sorted(client.ids(Item)) == sorted(change.subject for change in changes)
        assert sorted({c.revision for c in changes}) == list(range(1, len(changes) // 2 + 1))

    def test_a_forked_child_is_refused(self, client: Client) -> None:
        """R8: in a child, every call raises StoreClosed; the parent's store still works."""
        client.add(item("i"))
        calls: list[Callable[[], Any]] = [
            lambda: client.store.read(lambda transaction: transaction.revision),
            lambda: client.store.write(lambda transaction: transaction.revision, now=NOW),
            lambda: client.store.wait(0),
        ]

        child = os.fork()
        if not child:
            refused = 0
            for call in calls:
                try:
                    call().send(None)
                except StoreClosed:
                    refused += 1
                except BaseException:  # noqa: BLE001 - the child must not run on into the tests
                    os._exit(1)
            os._exit(0 if refused == len(calls) else 1)
        _, ended = os.waitpid(child, 0)
        client.add(item("j"))

        assert os.waitstatus_to_exitcode(ended) == 0
        assert client.ids(Item) == ["i", "j"]


SAMPLES: list[Record] = [
    status("s", name=" Ünï\u0301\U0001f600\n", kind=StatusKind.DECOMM, color="#000000", version=7),
    item("i", name="", description="d", status_id="s", position=-3),
    item("none", status_id=None),
    note("n", text="'; --\t\\\""),
    kept("k", answer='{"a":"é"}', expires=datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
]


class TestRecords:
    """R9 to R13."""

    @pytest.mark.parametrize("sample", SAMPLES, ids=lambda record: type(record).__name__)
    def test_a_record_comes_back_as_it_was(self, client: Client, sample: Record) -> None:
        """R9: every field comes back exact to the code point and the microsecond."""
        client.add(*SAMPLES)

        back = client.read(lambda transaction: transaction.get(type(sample), sample.id))

        assert back == sample
        assert back.created.tzinfo is UTC
        assert client.find(type(sample), where={"id": sample.id}) == [sample]

    def test_every_record_type_is_kept(self) -> None:
        """R9: the samples include every record type."""
        assert {type(sample) for sample in SAMPLES} == set(RECORDS)

    def test_a_change_comes_back_as_it_was(self, client: Client) -> None:
        """R9: the log keeps every field of a change."""
        change = Change(
            revision=1,
            seq=0,
            at=NOW,
            actor="süß",
            action=Action.REPLACED,
            kind="Item",
            subject="i",
            before={"a": [1, None, {"b": 1.5}]},
            after=None,
            public=False,
        )

        def work(transaction: Transaction) -> None:
            transaction.add(item("i"))
            transaction.append(change)

        client.write(work)

        assert client.find(Change) == [change]

    def test_a_stored_change_cannot_be_changed(self, client: Client) -> None:
        """R9: changing what was passed in or returned does not change what is stored."""
        details = {"name": "a"}

        def work(transaction: Transaction) -> None:
            transaction.add(item("i"))
            transaction.append(
                Change(
                    revision=1,
                    seq=0,
                    at=NOW,
                    actor="a",
                    action=Action.ADDED,
                    kind="Item",
                    subject="i",
                    before=None,
                    after=details,
                    public=True,
                )
            )

        client.write(work)
        details["name"] = "b"
        [found] = client.find(Change)
        assert found.after == {"name": "a"}
        found.after["name"] = "c"

        assert client.find(Change)[0].after == {"name": "a"}

    def test_an_id_is_taken_once(self, client: Client) -> None:
        """R10: `add` refuses an id that exists, before it looks at other fields."""
        client.add(item("i"))

        with pytest.raises(AlreadyExists) as refusal:
            client.add(item("i", status_id="none"))

        assert (refusal.value.kind, refusal.value.field, refusal.value.value) == ("Item", "id", "i")

    def test_a_unique_value_is_taken_once(self, client: Client) -> None:
        """R10, R11: `add` and `replace` refuse a name that another record has."""
        client.add(item("i", name="x"), item("j", name="y"))

        with pytest.raises(AlreadyExists) as by_add:
            client.add(item("k", name="x"))
        with pytest.raises(AlreadyExists) as by_replace:
            client.write(lambda transaction: transaction.replace(item("j", name="x"), expect=1))

        for error in (by_add.value, by_replace.value):
            assert (error.kind, error.field, error.value) == ("Item", "name", "x")

    def test_unique_text_is_compared_by_code_point(self, client: Client) -> None:
        """R10: names that differ in case, accents, composition or blanks are different."""
        names = ["a", "A", "é", "e\u0301", "a ", "ß", "ss", ""]
        client.add(*(item(f"i{n}", name=name) for n, name in enumerate(names)))

        assert len(client.find(Item)) == len(names)

    def test_a_reference_leads_somewhere(self, client: Client) -> None:
        """R10, R11: `add` and `replace` refuse a reference to nothing, naming the field."""
        client.add(item("i"))

        with pytest.raises(MissingReference) as by_add:
            client.add(item("j", status_id="s"))
        with pytest.raises(MissingReference) as by_replace:
            client.write(
                lambda transaction: transaction.replace(item("i", status_id="s"), expect=1)
            )

        for error in (by_add.value, by_replace.value):
            assert (error.kind, error.id, error.field) == ("Status", "s", "status_id")

    def test_replace_writes_the_whole_record(self, client: Client) -> None:
        """R11: after `replace`, every field is that of the new record."""
        client.add(item("i", description="old", position=1))
        new = item("i", minutes=3, name="new", version=2)

        def work(transaction: Transaction) -> None:
            transaction.replace(new, expect=1)
            log(transaction, 0, new)

        client.write(work)

        assert client.find(Item) == [new]

    def test_replace_refuses_what_is_not_there(self, client: Client) -> None:
        """R11: `replace` raises NotFound, with the kind and the id."""
        with pytest.raises(NotFound) as refusal:
            client.write(lambda transaction: transaction.replace(item("i"), expect=1))

        assert (refusal.value.kind, refusal.value.id) == ("Item", "i")

    def test_replace_refuses_another_version(self, client: Client) -> None:
        """R11: `replace` raises VersionConflict with both versions, before any other refusal."""
        client.add(item("i", version=3), item("j"))

        with pytest.raises(VersionConflict) as refusal:
            client.write(lambda transaction: transaction.replace(item("i", name="j"), expect=2))

        assert (refusal.value.expected, refusal.value.actual) == (2, 3)

    def test_remove_refuses_what_is_not_there(self, client: Client) -> None:
        """R12: `remove` raises NotFound for an id that does not exist."""
        with pytest.raises(NotFound):
            client.write(lambda transaction: transaction.remove(Item, "i"))

    def test_remove_refuses_what_others_refer_to(self, client: Client) -> None:
        """R12: `remove` raises InUse, with the number of records that refer to the record."""
        client.add(status("s"), *(item(f"i{n}", status_id="s") for n in range(3)))

        with pytest.raises(InUse) as refusal:
            client.write(lambda transaction: transaction.remove(Status, "s"))

        assert (refusal.value.kind, refusal.value.id, refusal.value.count) == ("Status", "s", 3)

    def test_remove_takes_the_record_away(self, client: Client) -> None:
        """R12: the record is gone, and its id and name are free again."""
        client.add(item("i"))

        def work(transaction: Transaction) -> None:
            transaction.remove(Item, "i")
            add(transaction, item("i"))

        client.write(work)

        assert client.ids(Item) == ["i"]

    def test_remove_where_takes_the_first_in_order(self, client: Client) -> None:
        """R13: `remove_where` removes at most `limit` matches, oldest first, and counts them."""
        client.add(kept("c", 1), kept("b", 2), kept("a", 0), kept("z", 90))
        expired = Query(KeptAnswer, where={"expires": Range(lt=NOW + timedelta(hours=2))})

        removed = [
            client.write(lambda transaction: transaction.remove_where(expired, limit=2))
            for _ in range(3)
        ]

        assert removed == [2, 1, 0]
        assert client.ids(KeptAnswer) == ["z"]

    def test_remove_where_thins_the_log(self, client: Client) -> None:
        """R13: removing old changes affects neither the head nor newer changes."""
        client.add(item("a"), item("b"))
        client.add(item("c"))

        old = Query(Change, where={"revision": Range(lt=2)})
        removed = client.write(lambda transaction: transaction.remove_where(old, limit=10))

        assert removed == 2
        assert [change.subject for change in client.find(Change)] == ["c"]
        assert client.head() == 2

    def test_remove_where_leaves_logged_types_alone(self, client: Client) -> None:
        """R13: `remove_where` for a logged type is a mistake in the program."""
        client.add(item("i"))

        with pytest.raises(TypeError):
            client.write(lambda transaction: transaction.remove_where(Query(Item), limit=1))

        assert client.ids(Item) == ["i"]


class TestQueries:
    """R14 to R17."""

    @pytest.mark.parametrize(
        ("where", "ids"),
        [
            ({}, "abcd"),
            ({"position": 1}, "ab"),
            ({"status_id": None}, "cd"),
            ({"status_id": "s"}, "a"),
            ({"status_id": "none"}, ""),
            ({"status_id": frozenset({"s", "t", "x"})}, "ab"),
            ({"status_id": frozenset({"s", None})}, "acd"),
            ({"status_id": frozenset({None})}, "cd"),
            ({"status_id": frozenset()}, ""),
            ({"status_id": Range(ge="t")}, "b"),
            ({"status_id": Range()}, "ab"),
            ({"position": Range(ge=1, lt=2)}, "ab"),
            ({"position": Range(lt=1)}, ""),
            ({"position": Range(ge=2)}, "cd"),
            ({"created": NOW + timedelta(minutes=1)}, "b"),
            ({"created": frozenset({NOW, NOW + timedelta(minutes=3)})}, "ad"),
            ({"created": Range(ge=NOW + timedelta(minutes=1) + TICK)}, "cd"),
            ({"position": 1, "status_id": "t"}, "b"),
            ({"position": 2, "status_id": "t"}, ""),
        ],
        # Not `str`: the order of a set changes from process to process, and xdist compares names.
        ids=lambda value: value if isinstance(value, str) else "-".join(value),
    )
    def test_conditions(self, client: Client, where: dict[str, Any], ids: str) -> None:
        """R14: equality, None, sets and ranges are joined by AND; None is in no range."""
        client.add(
            status("s"),
            status("t"),
            item("a", 0, status_id="s", position=1),
            item("b", 1, status_id="t", position=1),
            item("c", 2, position=2),
            item("d", 3, position=2),
        )

        assert client.ids(Item, where=where) == list(ids)
        assert client.read(lambda transaction: transaction.count(Query(Item, where))) == len(ids)

    def test_conditions_on_an_enumeration(self, client: Client) -> None:
        """R14: an enumeration is compared by equality and by membership."""
        client.add(status("a"), status("b", kind=StatusKind.DOWN))

        assert client.ids(Status, where={"kind": StatusKind.DOWN}) == ["b"]
        assert client.ids(Status, where={"kind": frozenset(StatusKind)}) == ["a", "b"]

    def test_a_set_may_be_large(self, client: Client) -> None:
        """R14: a set may have more values than any database takes as parameters."""
        client.add(item("7"))

        found = client.ids(Item, where={"id": frozenset(map(str, range(50_000)))})

        assert found == ["7"]

    def test_records_come_by_creation_then_id(self, client: Client) -> None:
        """R15: records created at the same time are in the order of their ids' code points."""
        ids = ["a", "Z", "b", "~", "-", "0", "_", "a-", "aa"]
        client.add(item("later", 1), *(item(id) for id in ids), item("earlier", -1))

        assert client.ids(Item) == ["earlier", *sorted(ids), "later"]
        assert client.ids(Item, descending=True) == ["later", *sorted(ids, reverse=True), "earlier"]

    def test_changes_come_by_number(self, client: Client) -> None:
        """R15: changes are in the order of `(revision, seq)`, which `after` takes too."""
        client.add(*(item(f"b{n:02}") for n in range(12)))
        client.add(item("a"))

        numbers = [(change.revision, change.seq) for change in client.find(Change)]
        rest = client.find(Change, after=(1, 10))

        assert numbers == [*((1, n) for n in range(12)), (2, 0)]
        assert [(change.revision, change.seq) for change in rest] == [(1, 11), (2, 0)]

    @pytest.mark.parametrize("descending", [False, True])
    def test_pages_add_up_to_the_list(self, client: Client, descending: bool) -> None:  # noqa: FBT001
        """R15: `after` continues strictly behind a key, also one that is not there."""
        client.add(*(item(f"{n}", n // 3) for n in range(10)))
        pages: list[Item] = []
        while True:
            after = (pages[-1].created, pages[-1].id) if pages else None
            page = client.find(Item, descending=descending, after=after, limit=3)
            if not page:
                break
            pages += page

        assert pages == client.find(Item, descending=descending)
        assert client.ids(Item, after=(NOW + timedelta(minutes=2), "zzz")) == ["9"]

    def test_the_newest_of_each_group(self, client: Client) -> None:
        """R16: the last n of each value are found, in the order of the query."""
        client.add(item("i"), item("j"), item("k"))
        client.add(
            *(note(f"i{n}", n) for n in range(4)),
            *(note(f"j{n}", n, item_id="j") for n in range(1)),
        )
        per_item: dict[str, Any] = {
            "newest_per": ("item_id", 2),
            "where": {"item_id": frozenset("ijk")},
        }

        assert client.ids(Note, **per_item) == ["j0", "i2", "i3"]
        assert client.ids(Note, **per_item, descending=True, limit=2) == ["i3", "i2"]
        assert client.read(lambda transaction: transaction.count(Query(Note, **per_item))) == 3

    def test_count_ignores_the_page(self, client: Client) -> None:
        """R17: neither `limit` nor `after` changes the count."""
        client.add(*(item(f"{n}") for n in range(5)))
        query = Query(Item, limit=1, after=(NOW, "3"))

        assert client.read(lambda transaction: transaction.count(query)) == 5


class TestLog:
    """R18 to R22."""

    def test_an_empty_store_has_head_0(self, client: Client) -> None:
        """R18: an empty store has head 0, and its first unit gets revision 1."""
        assert client.head() == 0
        assert client.write(lambda transaction: transaction.revision) == 1

    def test_revisions_have_no_gaps(self, client: Client) -> None:
        """R18: units that fail, or log nothing, use up no revision."""
        client.add(item("a"))
        client.write(lambda _: None)
        client.add(kept("k"))
        with pytest.raises(AlreadyExists):
            client.add(item("b"), item("a"))
        client.add(item("c"), item("d"))

        assert [(c.revision, c.seq, c.subject) for c in client.find(Change)] == [
            (1, 0, "a"),
            (2, 0, "c"),
            (2, 1, "d"),
        ]
        assert client.head() == 2

    @pytest.mark.parametrize(
        "work",
        [
            lambda transaction: transaction.add(item("j")),
            lambda transaction: transaction.replace(item("i", version=2), expect=1),
            lambda transaction: transaction.remove(Item, "i"),
            lambda transaction: log(transaction, 0, item("i")),
            lambda transaction: log(transaction, 1, item("i")),
            lambda transaction: [add(transaction, item("j")), log(transaction, 0, item("j"))],  # type: ignore[func-returns-value]
        ],
        ids=["add", "replace", "remove", "no change", "gap", "twice"],
    )
    def test_records_and_log_agree(
        self, client: Client, work: Callable[[Transaction], Any]
    ) -> None:
        """R19: a unit whose changes and log entries do not match, or are miscounted, fails."""
        client.add(item("i"))

        with pytest.raises(UnloggedWrite):
            client.write(work)

        assert client.find(Item) == [item("i")]
        assert client.head() == len(client.find(Change)) == 1

    def test_time_never_goes_back(self, client: Client) -> None:
        """R20: a unit's time is after that of the last change, whatever the clock says."""
        clocks = [NOW, NOW, NOW - timedelta(days=1), NOW + timedelta(days=1)]
        times = []
        for n, clock in enumerate(clocks):

            def work(transaction: Transaction, n: int = n) -> datetime:
                add(transaction, item(f"{n}"))
                return transaction.now

            times.append(client.write(work, now=clock))

        assert times == [NOW, NOW + TICK, NOW + 2 * TICK, NOW + timedelta(days=1)]
        assert client.read(lambda transaction: transaction.now) == times[-1]

    def test_private_changes_leave_the_public_revision(self, client: Client) -> None:
        """R21: the public revision is the last one that has a public change, wherever in it."""

        def public_revision() -> int:
            return client.read(lambda transaction: transaction.public_revision)

        def mixed(transaction: Transaction) -> None:
            for seq, id in enumerate("cd"):
                transaction.add(item(id))
                log(transaction, seq, item(id), public=id == "c")

        seen = [public_revision()]
        client.write(lambda transaction: add(transaction, item("a"), public=True))
        seen.append(public_revision())
        client.write(lambda transaction: add(transaction, item("b"), public=False))
        seen.append(public_revision())
        client.write(mixed)
        seen.append(public_revision())

        assert seen == [0, 1, 1, 3]

    def test_wait_returns_at_once_when_the_head_is_above(self, client: Client) -> None:
        """R22: `wait` returns at once if the head is above `after` already."""
        client.add(item("a"))
        client.add(item("b"))

        assert client.run(asyncio.wait_for(client.store.wait(1), SECONDS)) == 2

    def test_wait_is_woken_from_another_loop(self, client: Client) -> None:
        """R22, R8: a new head wakes those who wait on any loop, whoever made it."""

        def waiting() -> int:
            return asyncio.run(asyncio.wait_for(client.store.wait(0), SECONDS))

        with ThreadPoolExecutor(3) as pool:
            heads = [pool.submit(waiting) for _ in range(3)]
            client.add(item("a"))

            assert [head.result(SECONDS) for head in heads] == [1, 1, 1]

    def test_unlogged_writes_wake_nobody(self, client: Client) -> None:
        """R22, R18: only a new head ends a wait, and cancelling it is harmless."""

        async def work() -> int:
            given_up = asyncio.create_task(client.store.wait(0))
            waiting = asyncio.create_task(client.store.wait(0))
            await asyncio.sleep(0)
            await client.store.write(lambda transaction: add(transaction, kept("k")), now=NOW)
            given_up.cancel()
            await asyncio.wait([given_up])
            assert not waiting.done()
            await client.store.write(lambda transaction: add(transaction, item("i")), now=NOW)
            return await asyncio.wait_for(waiting, SECONDS)

        assert client.run(work()) == 1

    def test_close_ends_waiting(self, client: Client) -> None:
        """R22: closing the store ends a wait with StoreClosed."""

        async def work() -> None:
            waiting = asyncio.create_task(client.store.wait(0))
            await asyncio.sleep(0)
            await client.store.close()
            with pytest.raises(StoreClosed):
                await asyncio.wait_for(waiting, SECONDS)

        client.run(work())


class TestLife:
    """R23 and R24."""

    def test_opening_and_closing_again_does_nothing(self, client: Client) -> None:
        """R23: the data is still there, even in the same store object."""
        client.add(item("i"))
        for call in ("open", "migrate", "close", "close", "open"):
            client.run(getattr(client.store, call)())

        assert client.ids(Item) == ["i"]

    def test_many_may_open_at_once(self, make_store: Callable[[], Store]) -> None:
        """R23: tasks that find a store closed open it once."""
        client = Client(make_store())

        async def open_all() -> None:
            await asyncio.gather(*(client.store.open() for _ in range(8)))

        client.run(open_all())

        assert client.head() == 0
        client.close()

    @pytest.mark.parametrize("state", ["never opened", "closed"])
    def test_a_store_that_is_not_open_refuses(
        self, make_store: Callable[[], Store], state: str
    ) -> None:
        """R24: every call to a store that is not open raises StoreClosed."""
        client = Client(make_store())
        if state == "closed":
            client.run(client.store.open())
            client.run(client.store.close())

        with pytest.raises(StoreClosed):
            client.read(lambda transaction: transaction.revision)
        with pytest.raises(StoreClosed):
            client.write(lambda transaction: transaction.revision)
        with pytest.raises(StoreClosed):
            client.run(client.store.wait(0))
        client.close()

    def test_a_reading_unit_cannot_write(self, client: Client) -> None:
        """R24: trying to write is a mistake in the program, and changes nothing."""
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

    def test_closing_while_others_read_and_write(self, client: Client) -> None:
        """R24: each call either completes or raises StoreClosed; none hangs."""
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

        with ThreadPoolExecutor(3) as pool:
            busy_ones = [pool.submit(asyncio.run, busy(name)) for name in range(3)]
            assert going.wait(SECONDS)
            client.run(client.store.close())
            done = sum(one.result(SECONDS) for one in busy_ones)
        client.run(client.store.open())

        # The last write of each may have been acknowledged and its read refused.
        assert done <= client.head() <= done + 3


_IDS = st.sampled_from(["a", "b", "c", "B", "é"])
_MINUTES = st.integers(0, 2)
_INSTANTS = st.builds(lambda minutes: NOW + timedelta(minutes=minutes), st.integers(-1, 3))
_NAMES = st.sampled_from(["x", "y", "X", "ß"])
_RECORDS = st.one_of(
    st.builds(status, _IDS, _MINUTES, name=_NAMES, kind=st.sampled_from(list(StatusKind)[:3])),
    st.builds(
        item, _IDS, _MINUTES, name=_NAMES, status_id=st.none() | _IDS, position=st.integers(-1, 1)
    ),
    st.builds(note, _IDS, _MINUTES, item_id=_IDS),
    st.builds(kept, _IDS, _MINUTES, expires=_INSTANTS),
)
_VALUES = {
    "created": _INSTANTS,
    "id": _IDS,
    "name": _NAMES,
    "position": st.integers(-1, 1),
    "status_id": _IDS,
    "item_id": _IDS,
    "expires": _INSTANTS,
}
_NULLABLE = {"status_id"}


def _wants(field: str) -> st.SearchStrategy[Any]:
    values = _VALUES[field]
    maybe = st.none() | values if field in _NULLABLE else values
    return st.one_of(
        maybe,
        st.frozensets(maybe, max_size=3),
        st.builds(Range, ge=st.none() | values, lt=st.none() | values),
    )


@st.composite
def _queries(draw: st.DrawFn, kinds: list[type[Record]]) -> Query[Any]:
    kind = draw(st.sampled_from(kinds))
    fields = sorted(set(_VALUES) & set(kind.__struct_fields__))
    asked = draw(st.lists(st.sampled_from(fields), max_size=2, unique=True))
    return Query(
        kind,
        {field: draw(_wants(field)) for field in asked},
        descending=draw(st.booleans()),
        after=draw(st.none() | st.tuples(_INSTANTS, _IDS)),
        limit=draw(st.none() | st.integers(0, 4)),
        newest_per=draw(st.none() | st.tuples(st.sampled_from(fields), st.integers(1, 2))),
    )


_KINDS = st.sampled_from(list(RECORDS))
_QUERIES = _queries(list(RECORDS))
_UNLOGGED = _queries([kind for kind, spec in RECORDS.items() if not spec.logged])
_STEPS = st.one_of(
    st.tuples(st.just("add"), _RECORDS),
    st.tuples(st.just("add"), _RECORDS),
    st.tuples(st.just("replace"), _RECORDS, st.integers(1, 2)),
    st.tuples(st.just("remove"), _KINDS, _IDS),
    st.tuples(st.just("get"), _KINDS, _IDS),
    st.tuples(st.just("find"), _QUERIES),
    st.tuples(st.just("find"), _QUERIES),
    st.tuples(st.just("count"), _QUERIES),
    st.tuples(st.just("remove_where"), _UNLOGGED, st.integers(0, 3)),
)


class _Outcomes(Exception):
    """Carries the results of the steps out of a unit, which thereby leaves no trace."""


def _take(transaction: Transaction, steps: list[tuple[Any, ...]]) -> list[Any]:
    outcomes: list[Any] = []
    for call, *arguments in steps:
        named = {"replace": "expect", "remove_where": "limit"}.get(call)
        keywords = {named: arguments.pop()} if named else {}
        try:
            outcome = getattr(transaction, call)(*arguments, **keywords)
        except (AlreadyExists, MissingReference, NotFound, InUse, VersionConflict) as refusal:
            outcome = (type(refusal), vars(refusal))
        outcomes.append(list(outcome) if call == "find" else outcome)
    return [*outcomes, *(list(transaction.find(Query(kind))) for kind in RECORDS)]


def _outcomes(client: Client, steps: list[tuple[Any, ...]]) -> Any:
    def work(transaction: Transaction) -> None:
        raise _Outcomes(_take(transaction, steps))

    with pytest.raises(_Outcomes) as outcomes:
        client.write(work)
    return outcomes.value.args[0]


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(_STEPS, min_size=1, max_size=25))
def test_every_store_answers_as_the_reference(client: Client, steps: list[tuple[Any, ...]]) -> None:
    """R2, R9-R17: every step gives the reference's result or error, and is undone."""
    reference = Client(MemoryStore())
    reference.run(reference.store.open())

    assert _outcomes(client, steps) == _outcomes(reference, steps)
    assert all(client.find(kind) == [] for kind in RECORDS)
    reference.close()
