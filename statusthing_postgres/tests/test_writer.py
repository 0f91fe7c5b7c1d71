"""Group commit: what was acknowledged stands in the database once, and nothing else does."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.units import NOW, SECONDS, add, change_of, item, note, status, together, until

from statusthing.errors import (
    AlreadyExists,
    InUse,
    MissingReference,
    RequestError,
    StoreClosed,
)
from statusthing.model import Item, KeptAnswer, Record
from statusthing.store import Query, Transaction
from statusthing_postgres import PostgresStore

if TYPE_CHECKING:
    from statusthing_postgres.tests.conftest import Database

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_units_that_come_together_share_a_commit(
    database: Database, store: PostgresStore, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten units cost one commit, and get ten revisions."""
    monkeypatch.setattr("statusthing.sql.writer.BATCH_SECONDS", SECONDS)
    run(together(store, *(add(item(f"i{n}")) for n in range(10))))

    assert database.commits() == [1]
    assert database.revisions() == [*range(1, 11), 10]


def test_a_unit_that_comes_alone_has_a_commit_of_its_own(
    database: Database, store: PostgresStore, run: Run
) -> None:
    """Each writer keeps one row that counts its commits."""
    for n in range(5):
        run(store.write(add(item(f"i{n}")), now=NOW))

    assert database.commits() == [5]


def test_writers_that_are_gone_are_forgotten(database: Database, run: Run) -> None:
    """A new writer removes the rows of those that have not committed for thirty days."""
    found = []
    for days in (0, 29, 30, 31):
        store = database.store()
        run(store.open())
        run(store.write(add(item(f"i{days}")), now=NOW + timedelta(days=days)))
        run(store.close())
        found.append(len(database.commits()))

    assert found == [1, 2, 3, 3]


def test_a_unit_that_raises_is_undone_alone(
    database: Database, store: PostgresStore, run: Run
) -> None:
    """The units before and after it in its batch are kept, with revisions without a gap."""

    def fail(transaction: Transaction) -> None:
        add(item("b"))(transaction)
        raise ValueError

    answers = run(together(store, add(item("a")), fail, add(item("c"))))

    assert [type(answer) for answer in answers] == [type(None), ValueError, type(None)]
    assert database.items() == ["a", "c"]
    assert database.revisions() == [1, 2, 2]


def test_a_cancelled_unit_is_dropped_alone(
    database: Database, store: PostgresStore, run: Run
) -> None:
    """A caller that gives up while its unit is queued disturbs nobody."""
    answers = run(together(store, *(add(item(id)) for id in "abc"), cancel=1))

    assert isinstance(answers[1], asyncio.CancelledError)
    assert database.items() == ["a", "c"]
    assert database.revisions() == [1, 2, 2]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, StopIteration])
def test_the_writer_survives_what_units_raise(
    database: Database, store: PostgresStore, error: type[BaseException]
) -> None:
    """Whatever a unit raises goes to its caller; the next one is served."""

    def fail(_: Transaction) -> None:
        raise error

    with pytest.raises((error, RuntimeError)):  # which StopIteration becomes in a coroutine
        asyncio.run(store.write(fail, now=NOW))
    asyncio.run(store.write(add(item("a")), now=NOW))

    assert database.items() == ["a"]


class Unit:
    """A unit that tries changes, and goes on when one is refused.

    Attributes:
        runs: how often it was run.
        refusals: what it met in its last run.
    """

    def __init__(self, *changes: Callable[[Transaction], Record | None]) -> None:
        self._changes = changes
        self.runs = 0
        self.refusals: list[RequestError] = []

    def __call__(self, transaction: Transaction) -> list[str]:
        """Run, and return the ids of all items."""
        self.runs += 1
        self.refusals = []
        seq = 0
        for change in self._changes:
            try:
                changed = change(transaction)
            except RequestError as error:
                self.refusals.append(error)
            else:
                if changed is not None:
                    transaction.append(change_of(transaction, seq, changed))
                    seq += 1
        return [each.id for each in transaction.find(Query(Item))]


def adding(record: Record) -> Callable[[Transaction], Record]:
    """Make a change that adds a record."""

    def change(transaction: Transaction) -> Record:
        transaction.add(record)
        return record

    return change


def removing(record: Record) -> Callable[[Transaction], Record]:
    """Make a change that removes a record."""

    def change(transaction: Transaction) -> Record:
        transaction.remove(type(record), record.id)
        return record

    return change


def replacing(record: Record) -> Callable[[Transaction], Record]:
    """Make a change that replaces version 1 of a record."""

    def change(transaction: Transaction) -> Record:
        transaction.replace(record, expect=1)
        return record

    return change


REFUSED: dict[str, tuple[Callable[[Transaction], Record], type[RequestError], dict[str, Any]]] = {
    "taken id": (adding(item("there", name="x")), AlreadyExists, {"field": "id"}),
    "taken name": (adding(item("x", name="there")), AlreadyExists, {"field": "name"}),
    "no such status": (
        adding(item("x", status_id="gone")),
        MissingReference,
        {"field": "status_id"},
    ),
    "no such item": (adding(note("x", "gone")), MissingReference, {"field": "item_id"}),
    "name taken by another": (
        replacing(item("other", name="there")),
        AlreadyExists,
        {"field": "name"},
    ),
    "in use": (removing(status("used")), InUse, {"count": 1}),
}
"""A change that is refused, and how."""


@pytest.fixture
def filled(store: PostgresStore, run: Run) -> PostgresStore:
    """The store with a status, and an item that uses it, and another item, at revision 1."""
    records = status("used"), item("there", status_id="used"), item("other")
    run(store.write(add(*records), now=NOW))
    return store


@pytest.fixture
def rival(database: Database, run: Run) -> Iterator[PostgresStore]:
    """Another store on the database, which writes too."""
    store = database.store()
    run(store.open())
    yield store
    run(store.close())


@pytest.mark.parametrize(("change", "error", "says"), REFUSED.values(), ids=REFUSED)
def test_a_unit_may_go_on_after_a_refusal(
    database: Database,
    filled: PostgresStore,
    run: Run,
    *,
    change: Callable[[Transaction], Record],
    error: type[RequestError],
    says: dict[str, Any],
) -> None:
    """What it did before and does afterwards takes effect exactly once."""
    unit = Unit(adding(item("before")), change, adding(item("behind")))
    seen = run(filled.write(unit, now=NOW))

    [refusal] = unit.refusals
    assert type(refusal) is error
    assert {name: getattr(refusal, name) for name in says} == says
    assert seen == sorted(["before", "behind", "other", "there"])
    assert database.items() == seen
    assert database.revisions() == [1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(("change", "error", "says"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_that_is_raised_undoes_the_unit(
    database: Database,
    filled: PostgresStore,
    run: Run,
    *,
    change: Callable[[Transaction], Record],
    error: type[RequestError],
    says: dict[str, Any],
) -> None:
    """The refusal reaches the caller, and nothing of the unit is left."""

    def work(transaction: Transaction) -> None:
        add(item("before"))(transaction)
        change(transaction)

    with pytest.raises(error) as refusal:
        run(filled.write(work, now=NOW))

    assert {name: getattr(refusal.value, name) for name in says} == says
    assert database.items() == ["other", "there"]
    assert database.revisions() == [1, 1, 1, 1]


def test_several_refusals_in_one_unit(database: Database, filled: PostgresStore, run: Run) -> None:
    """However many changes of a unit are refused, it is run twice, and the others take effect."""
    refused = [change for change, _, _ in REFUSED.values()]
    unit = Unit(*refused, adding(item("a")), *refused, adding(item("b")), *refused)
    run(filled.write(unit, now=NOW))

    assert unit.runs == 2
    assert [type(each) for each in unit.refusals] == [error for _, error, _ in REFUSED.values()] * 3
    assert database.items() == ["a", "b", "other", "there"]
    assert database.revisions() == [1, 1, 1, 2, 2, 2]


def test_refusals_among_several_units(database: Database, filled: PostgresStore, run: Run) -> None:
    """Units that are refused something, and those that are not, do not disturb each other."""
    refused = REFUSED["taken name"][0]
    units = [
        Unit(adding(item("a"))),
        Unit(adding(item("b")), refused, adding(item("c"))),
        Unit(refused),
        Unit(adding(item("d"))),
        Unit(refused, adding(item("e")), refused),
        Unit(adding(item("f"))),
    ]
    answers = run(together(filled, *units))

    # The third changes nothing, and so has no revision.
    assert [len(answer) for answer in answers] == [3, 5, 5, 6, 7, 8]
    # With each refusal, the batch is halved; the refused unit is at last run alone, carefully.
    assert max(unit.runs for unit in units) <= 5
    assert [len(unit.refusals) for unit in units] == [0, 1, 1, 0, 2, 0]
    assert database.items() == [*"abcdef", "other", "there"]
    assert database.revisions() == [1, 1, 1, 2, 3, 3, 4, 5, 6, 6]


def test_a_unit_that_is_run_again_may_raise(
    database: Database, filled: PostgresStore, run: Run
) -> None:
    """What a unit raises after a refusal that it took reaches its caller, and undoes it."""

    def work(transaction: Transaction) -> None:
        add(item("before"))(transaction)
        with contextlib.suppress(AlreadyExists):
            transaction.add(item("x", name="there"))
        raise LookupError

    answers = run(together(filled, add(item("a")), work, add(item("b"))))

    assert [type(answer) for answer in answers] == [type(None), LookupError, type(None)]
    assert database.items() == ["a", "b", "other", "there"]


def test_a_record_may_come_back(database: Database, filled: PostgresStore, run: Run) -> None:
    """After a refusal a unit finds what it changed before, and may change it again."""
    unit = Unit(
        removing(item("other")),
        REFUSED["taken name"][0],
        adding(item("other", description="again")),
        replacing(item("other", description="and again", version=2)),
    )
    run(filled.write(unit, now=NOW))

    found = run(filled.read(lambda transaction: transaction.get(Item, "other")))
    assert (found.description, found.version) == ("and again", 2)
    assert database.revisions() == [1, 1, 1, 2, 2, 2, 2]


def test_a_write_that_changes_nothing_commits_nothing(
    database: Database, filled: PostgresStore, run: Run
) -> None:
    """A `write` that only reads, or does not find what to remove, leaves every row as it was."""
    before = database.content()
    run(filled.write(lambda transaction: transaction.count(Query(Item)), now=NOW))
    with contextlib.suppress(AlreadyExists):
        run(filled.write(REFUSED["taken id"][0], now=NOW))

    assert database.content() == before


def test_what_is_not_logged_is_committed_too(
    database: Database, store: PostgresStore, run: Run
) -> None:
    """A unit that writes only such records commits, and leaves the head where it is."""
    answer = KeptAnswer(id="k", created=NOW, updated=NOW, digest="", answer="{}", expires=NOW)
    run(store.write(lambda transaction: transaction.add(answer), now=NOW))

    assert database.rows("SELECT id FROM statusthing_kept_answers") == [("k",)]
    assert database.revisions() == [0]
    assert database.commits() == [1]


def test_writes_in_a_row_take_one_statement_each(
    database: Database, filled: PostgresStore, run: Run, executed: list[str]
) -> None:
    """Once a writer has seen that nobody else writes, what its units add takes one round trip."""

    def work(transaction: Transaction) -> None:
        transaction.get(Item, "there")
        add(item(f"{transaction.revision}"))(transaction)

    def fail(transaction: Transaction) -> None:
        transaction.get(Item, "there")
        raise LookupError

    executed.clear()
    for _ in range(5):
        run(filled.write(work, now=NOW))
    began = [text.split()[0] for text in executed]
    assert began == ["BEGIN", "SELECT", "WITH", "COMMIT", *["WITH"] * 4]

    with pytest.raises(LookupError):
        run(filled.write(fail, now=NOW))
    executed.clear()
    run(filled.write(work, now=NOW))
    assert [text.split()[0] for text in executed] == ["WITH"]
    assert database.items() == [*"234567", "other", "there"]
    assert database.revisions() == [1, 1, 1, *range(2, 8), 7]


def test_a_writer_that_was_idle_asks_for_the_head_first(
    filled: PostgresStore, run: Run, executed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection may have been lost meanwhile, which is no reason for an unknown outcome."""
    monkeypatch.setattr("statusthing.sql.writer.FRESH_SECONDS", 0)
    executed.clear()
    for n in range(3):
        run(filled.write(add(item(f"{n}")), now=NOW))

    assert [text.split()[0] for text in executed] == ["BEGIN", "WITH", "COMMIT"] * 3


def test_units_that_ran_on_an_old_head_run_again(
    database: Database, filled: PostgresStore, rival: PostgresStore, run: Run
) -> None:
    """What was run on the head that this writer left behind counts for nothing if others moved."""
    runs: list[int] = []

    def work(transaction: Transaction) -> None:
        runs.append(transaction.revision)
        add(item(f"mine {transaction.revision}"))(transaction)

    for _ in range(3):
        run(filled.write(work, now=NOW))
    run(rival.write(add(item("theirs")), now=NOW))
    run(together(filled, work, work))

    assert runs[:4] == [2, 3, 4, 5]
    assert runs[-2:] == [6, 7]
    assert database.items() == [*(f"mine {n}" for n in (2, 3, 4, 6, 7)), "other", "theirs", "there"]
    assert database.revisions() == [1, 1, 1, *range(2, 8), 7]


def test_a_unit_that_fails_on_the_new_head_takes_no_others_with_it(
    database: Database, filled: PostgresStore, rival: PostgresStore, run: Run
) -> None:
    """A batch that is run again has several units, of which the first may now be the one to go."""

    def work(transaction: Transaction) -> None:
        version = transaction.get(Item, "other").version
        add(item("first"))(transaction)
        assert transaction.find(Query(Item))
        if version > 1:
            raise LookupError

    def read_and_add(transaction: Transaction) -> None:
        transaction.get(Item, "other")
        add(item(f"{transaction.revision}"))(transaction)

    for _ in range(3):
        run(filled.write(read_and_add, now=NOW))
    run(rival.write(Unit(replacing(item("other", description="new", version=2))), now=NOW))
    answers = run(together(filled, work, add(item("a")), add(item("b"))))

    assert [type(answer) for answer in answers] == [LookupError, type(None), type(None)]
    assert database.items() == [*"234", "a", "b", "other", "there"]
    assert database.revisions() == [1, 1, 1, *range(2, 8), 7]


def test_a_unit_that_takes_no_error_seriously_runs_on_the_new_head(
    filled: PostgresStore, rival: PostgresStore, run: Run
) -> None:
    """That the head has moved is no error of the unit, and it cannot keep it to itself."""
    runs: list[int] = []

    def work(transaction: Transaction) -> int:
        runs.append(transaction.revision)
        with contextlib.suppress(Exception):
            transaction.find(Query(Item))
        return transaction.revision

    for n in range(3):
        run(filled.write(add(item(f"{n}")), now=NOW))
    run(rival.write(add(item("theirs")), now=NOW))

    assert run(filled.write(work, now=NOW)) == 6
    assert runs == [5, 6]


def test_a_text_that_cannot_be_stored_fails_its_own_unit(
    database: Database, filled: PostgresStore, run: Run
) -> None:
    """The others of its batch are served."""
    answers = run(together(filled, add(item("a")), add(item("\ud800")), add(item("b"))))

    assert isinstance(answers[1], Exception)
    assert database.items() == ["a", "b", "other", "there"]


def test_what_is_not_logged_is_not_written_on_an_old_head(
    database: Database, filled: PostgresStore, rival: PostgresStore, run: Run
) -> None:
    """Such a write moves no head, and is made on the one that is there all the same."""
    kept = KeptAnswer(id="k", created=NOW, updated=NOW, digest="", answer="{}", expires=NOW)

    def work(transaction: Transaction) -> int:
        transaction.add(kept)
        return transaction.revision

    for n in range(3):
        run(filled.write(add(item(f"{n}")), now=NOW))
    run(rival.write(add(item("theirs")), now=NOW))

    assert run(filled.write(work, now=NOW)) == 6
    assert database.rows("SELECT id FROM statusthing_kept_answers") == [("k",)]


def refuses(store: PostgresStore) -> bool:
    """Tell whether the store is no longer open."""
    try:
        return store.schema.version == ""
    except StoreClosed:
        return True


def test_close_finishes_what_is_queued(database: Database, run: Run) -> None:
    """Writes queued before `close` are acknowledged, and all of them are in the database."""

    async def work() -> list[Any]:
        store = database.store()
        await store.open()
        go = threading.Event()
        units = [add(item(f"i{n}")) for n in range(200)]
        tasks = [
            asyncio.create_task(store.write(unit, now=NOW))
            for unit in [lambda _: bool(go.wait(SECONDS)), *units]
        ]
        await asyncio.sleep(0)
        closing = asyncio.create_task(store.close())
        while not refuses(store):  # noqa: ASYNC110 - the store tells nobody when it begins to close
            await asyncio.sleep(0)
        go.set()
        await closing
        return await asyncio.gather(*tasks)

    assert run(work()) == [True, *[None] * 200]
    assert len(database.items()) == 200
    assert database.revisions() == [*range(1, 201), 200]
    until(lambda: not database.backends())
