"""Connections that break at the worst moment, and servers that stop or stand still.

Whatever happens, a write that was acknowledged has taken effect once, and nobody waits for long.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from typing import Any

import psutil
import psycopg
import pytest
from statusthing_postgres.tests.proxy import Proxy, proxied
from tests.postgres import OwnPostgres, Postgres, own_server
from tests.units import NOW, SECONDS, add, item

from statusthing.errors import OutcomeUnknown, StoreUnavailable
from statusthing.log import Change
from statusthing.model import Item, KeptAnswer
from statusthing.store import Query, Transaction
from statusthing_postgres import PostgresStore

Run = Callable[[Coroutine[Any, Any, Any]], Any]

PATIENCE_SECONDS = 5.5  # what is promised, and what a busy machine may take besides


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database."""
    with postgres.database() as url:
        yield url


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    """A proxy in front of that database."""
    with proxied(url) as proxy:
        yield proxy


@pytest.fixture
def store(proxy: Proxy, run: Run) -> Iterator[PostgresStore]:
    """An open store that reaches its database through the proxy."""
    store = PostgresStore(proxy.url)
    run(store.open())
    yield store
    run(store.close())


@pytest.fixture(scope="module")
def own() -> Iterator[OwnPostgres]:
    """A server that tests may stop."""
    with own_server() as server:
        yield server


def keep(id: str) -> Callable[[Transaction], None]:
    """Make a unit that changes nothing that is logged."""
    kept = KeptAnswer(id=id, created=NOW, updated=NOW, digest="", answer="{}", expires=NOW)
    return lambda transaction: transaction.add(kept)


def every(number: int) -> Callable[[], bool]:
    """Make a fault that strikes with every so-manieth COMMIT."""
    commits = itertools.count(1)
    return lambda: next(commits) % number == 0


async def items(store: PostgresStore) -> list[str]:
    """The ids of all items."""
    return sorted(each.id for each in await store.read(lambda tx: tx.find(Query(Item))))


async def revisions(store: PostgresStore) -> list[int]:
    """The numbers of all changes, and at last the head."""
    changes = await store.read(lambda tx: tx.find(Query(Change)))
    return [*(change.revision for change in changes), await store.read(lambda tx: tx.revision)]


async def write_all(store: PostgresStore, ids: list[str], at_once: int) -> None:
    """Add items, some at a time."""
    for n in range(0, len(ids), at_once):
        writes = (store.write(add(item(id)), now=NOW) for id in ids[n : n + at_once])
        await asyncio.gather(*writes)


# Connections that break


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("at_once", [1, 5])
def test_a_commit_without_an_answer_takes_effect_once(
    proxy: Proxy, store: PostgresStore, run: Run, moment: str, at_once: int
) -> None:
    """Whether the server got the COMMIT or not, the caller's write is there, once."""
    ids = [f"i{n:02}" for n in range(40)]
    setattr(proxy, moment, every(3))
    run(write_all(store, ids, at_once))
    proxy.before = proxy.after = lambda: False

    assert proxy.cuts >= 40 / at_once / 3 - 1
    assert run(items(store)) == ids
    assert run(revisions(store)) == [*range(1, 41), 40]


def test_what_was_given_up_takes_no_effect_later(
    proxy: Proxy, store: PostgresStore, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement that was on its way when it was found not to have committed comes to nothing."""
    run(write_all(store, ["a", "b", "c"], at_once=1))
    runs = itertools.count(1)

    def work(transaction: Transaction) -> None:
        if next(runs) > 1:
            raise LookupError  # so that nothing else moves the head either
        add(item("late"))(transaction)

    monkeypatch.setattr("statusthing_postgres.connection.Connection.answer_seconds", 0.5)
    proxy.late = lambda: proxy.cuts == 0
    with pytest.raises(LookupError):
        run(store.write(work, now=NOW))
    proxy.deliver()

    assert proxy.cuts == 1
    assert run(items(store)) == ["a", "b", "c"]
    assert run(revisions(store)) == [1, 2, 3, 3]
    run(store.write(add(item("d")), now=NOW))
    assert run(revisions(store)) == [1, 2, 3, 4, 4]


def test_an_unlogged_commit_without_an_answer_takes_effect(
    proxy: Proxy, store: PostgresStore, run: Run
) -> None:
    """What became of a commit is known even if it did not move the head."""
    proxy.after = every(1)
    run(store.write(keep("k"), now=NOW))
    proxy.after = lambda: False

    assert proxy.cuts == 1
    assert run(store.read(lambda tx: tx.count(Query(KeptAnswer)))) == 1


def test_another_writer_meanwhile_confuses_nobody(
    proxy: Proxy, url: str, store: PostgresStore, run: Run
) -> None:
    """Another process that commits before the question is put does not change the answer."""
    other = PostgresStore(url)
    run(other.open())
    lost = threading.Event()

    def cut() -> bool:
        if lost.is_set():
            return False
        lost.set()
        proxy.refusing = True
        return True

    async def work() -> None:
        writing = asyncio.create_task(store.write(add(item("mine")), now=NOW))
        assert await asyncio.to_thread(lost.wait, SECONDS)
        for n in range(5):
            await other.write(add(item(f"other {n}")), now=NOW)
        proxy.refusing = False
        await writing

    proxy.after = cut
    run(work())
    run(other.close())

    assert run(items(store)) == ["mine", *(f"other {n}" for n in range(5))]
    assert run(revisions(store)) == [*range(1, 7), 6]


def test_an_outcome_that_cannot_be_known_is_said_to_be_unknown(
    proxy: Proxy, store: PostgresStore, run: Run
) -> None:
    """If the server does not come back in time, the caller hears just that, within 5 seconds."""

    def cut() -> bool:
        proxy.refusing = True
        return True

    proxy.after = cut
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown) as unknown:
        run(store.write(add(item("a")), now=NOW))
    waited = time.monotonic() - began
    proxy.after, proxy.refusing = lambda: False, False
    run(until_it_serves(store))

    assert waited < PATIENCE_SECONDS
    assert unknown.value.__cause__ is not None
    assert run(items(store)) == ["a"]
    assert run(revisions(store)) == [1, 1]


def test_an_end_by_the_server_after_a_commit_is_no_failure(
    url: str, postgres: Postgres, run: Run
) -> None:
    """A server that ends the connection while a COMMIT is answered makes nobody a liar."""
    store = PostgresStore(url)
    run(store.open())
    over = threading.Event()
    ids = [f"i{n:03}" for n in range(300)]
    acknowledged: list[str] = []
    unknown: list[str] = []

    def end_connections() -> None:
        name = url.rpartition("/")[2]
        with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
            while not over.wait(0.005):
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = %s AND query LIKE ANY(%s)",
                    [name, ["%COMMIT%", "WITH held AS %"]],
                )

    async def write(id: str) -> None:
        with contextlib.suppress(StoreUnavailable):
            try:
                await store.write(add(item(id)), now=NOW)
            except OutcomeUnknown:
                unknown.append(id)
            else:
                acknowledged.append(id)

    async def write_them() -> None:
        for n in range(0, len(ids), 4):
            await asyncio.gather(*map(write, ids[n : n + 4]))

    ending = threading.Thread(target=end_connections)
    ending.start()
    run(write_them())
    over.set()
    ending.join(SECONDS)
    run(until_it_serves(store))
    found = run(items(store))
    changes = run(revisions(store))
    run(store.close())

    assert set(acknowledged) <= set(found) <= {*acknowledged, *unknown}
    assert changes == [*range(1, len(found) + 1), len(found)]


def test_a_server_that_is_away_costs_nothing_to_wait_for(run: Run) -> None:
    """Those who wait do so without work while nobody can be reached."""
    with own_server() as server, server.database() as url:
        store = PostgresStore(url)
        run(store.open())

        async def wait_in_vain() -> float:
            waiting = asyncio.create_task(store.wait(0))
            await asyncio.to_thread(server.stop)
            began = time.process_time()
            await asyncio.wait([waiting], timeout=2)
            return time.process_time() - began

        assert run(wait_in_vain()) < 0.5
        server.start()
        run(store.close())


async def until_it_serves(store: PostgresStore) -> None:
    """Wait until a unit that writes runs."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            await store.write(lambda tx: tx.revision, now=NOW)
            await store.read(lambda tx: tx.revision)
        except StoreUnavailable:
            assert time.monotonic() < end
        else:
            return


def test_connections_that_broke_while_idle_are_replaced_unseen(
    url: str, postgres: Postgres, run: Run
) -> None:
    """After every connection was ended, the next read and the next write succeed at once."""
    store = PostgresStore(url)
    run(store.open())
    for n in range(3):
        run(store.write(add(item(f"i{n}")), now=NOW))
        run(store.read(lambda tx: tx.revision))
        ended = postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{url.rpartition('/')[2]}'"
        )
        assert len(ended) >= 2
    assert run(items(store)) == ["i0", "i1", "i2"]

    run(store.close())


def test_those_who_wait_outlive_a_lost_connection(
    url: str, postgres: Postgres, store: PostgresStore, run: Run
) -> None:
    """Who listens, listens again, and hears of what was committed in between."""
    other = PostgresStore(url)
    run(other.open())

    async def work() -> int:
        waiting = asyncio.create_task(store.wait(0))
        listening = f"SELECT pid FROM pg_stat_activity WHERE datname = '{url.rpartition('/')[2]}'"
        listening += " AND query LIKE '%statusthing_head%' AND state = 'idle'"
        end = time.monotonic() + SECONDS
        while not await asyncio.to_thread(postgres.execute, listening):
            assert time.monotonic() < end
        await asyncio.to_thread(
            postgres.execute, f"SELECT pg_terminate_backend(pid) FROM ({listening}) AS listening"
        )
        await other.write(add(item("a")), now=NOW)
        return await asyncio.wait_for(waiting, SECONDS)

    assert run(work()) == 1
    run(other.close())


# Reads that wait


def test_a_full_pool_has_a_clear_answer(
    url: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that finds all connections busy for too long fails, and is not run afterwards."""
    monkeypatch.setattr(PostgresStore, "patience_seconds", 0.5)
    store = PostgresStore(url)
    run(store.open())
    go = threading.Event()
    ran: list[int] = []

    async def work() -> list[Any]:
        busy = [
            asyncio.create_task(store.read(lambda _: go.wait(SECONDS) and None)) for _ in range(4)
        ]
        late = [asyncio.create_task(store.read(lambda _, n=n: ran.append(n))) for n in range(3)]  # type: ignore[misc]
        answers = await asyncio.gather(*late, return_exceptions=True)
        go.set()
        await asyncio.gather(*busy, return_exceptions=True)
        await store.read(lambda tx: tx.revision)
        return answers

    answers = run(work())
    run(store.close())

    assert [type(answer) for answer in answers] == [StoreUnavailable] * 3
    assert "busy" in str(answers[0])
    assert ran == []


# Servers that stand still or stop


def everything(server: OwnPostgres) -> list[psutil.Process]:
    """The processes of a server."""
    parent = psutil.Process(server.pid)
    return [parent, *parent.children(recursive=True)]


def test_nobody_waits_for_a_server_that_stands_still(own: OwnPostgres, run: Run) -> None:
    """Reads, writes and new stores fail within 5 seconds; all works again once it goes on."""

    async def timed(call: Coroutine[Any, Any, Any]) -> tuple[float, object]:
        began = time.monotonic()
        try:
            outcome = await call
        except StoreUnavailable as error:
            outcome = type(error)
        return time.monotonic() - began, outcome

    async def work(store: PostgresStore, new: PostgresStore) -> list[tuple[float, object]]:
        calls: list[Coroutine[Any, Any, Any]] = []
        for n in range(10):
            calls.append(store.read(lambda tx: tx.revision))
            calls.append(store.write(add(item(f"frozen {n}")), now=NOW))
        calls.append(new.open())
        return await asyncio.gather(*map(timed, calls))

    with own.database() as url:
        store = PostgresStore(url)
        run(store.open())
        run(store.write(add(item("before")), now=NOW))
        frozen = everything(own)
        for process in frozen:
            process.send_signal(signal.SIGSTOP)
        try:
            outcomes = run(work(store, PostgresStore(url)))
        finally:
            for process in frozen:
                process.send_signal(signal.SIGCONT)
        run(until_it_serves(store))
        run(store.write(add(item("thereafter")), now=NOW))
        found = run(items(store))
        run(store.close())

    assert max(seconds for seconds, _ in outcomes) < PATIENCE_SECONDS
    assert {outcome for _, outcome in outcomes} <= {StoreUnavailable, OutcomeUnknown}
    assert found[0] == "before"
    assert found[-1] == "thereafter"


def test_a_restart_loses_nothing_that_was_acknowledged(own: OwnPostgres, run: Run) -> None:
    """Through crashes of the server, writes fail or are there, once, in one order."""
    acknowledged: list[str] = []
    unknown: list[str] = []
    over = threading.Event()

    async def write_on(store: PostgresStore) -> None:
        for n in itertools.count():
            if over.is_set():
                return
            id = f"i{n:06}"
            try:
                await store.write(add(item(id)), now=NOW + timedelta(seconds=n))
            except OutcomeUnknown:
                unknown.append(id)
            except StoreUnavailable:
                pass
            else:
                acknowledged.append(id)

    with own.database() as url:
        store = PostgresStore(url)
        run(store.open())
        writer = threading.Thread(target=lambda: asyncio.run(write_on(store)))
        writer.start()
        for _ in range(4):
            grows(acknowledged)
            own.stop(signal.SIGQUIT)
            own.start()
        grows(acknowledged)
        over.set()
        writer.join(SECONDS)
        found = run(items(store))
        changes = run(revisions(store))
        run(store.close())

    assert set(acknowledged) <= set(found) <= {*acknowledged, *unknown}
    assert changes == [*range(1, len(found) + 1), len(found)]


def grows(some: list[Any]) -> None:
    """Wait until a list has grown."""
    size = len(some)
    end = time.monotonic() + SECONDS
    while len(some) < size + 20:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_of_several_hosts_the_one_that_can_write_is_taken(url: str, run: Run) -> None:
    """A dead host and one that is read-only, as after a failover, are passed over."""
    with own_server("default_transaction_read_only=on") as standby:
        at = url.rpartition("@")[2]
        hosts = f"127.0.0.1:1,127.0.0.1:{standby.port},{at.partition('/')[0]}"
        several = url.replace(at.partition("/")[0], hosts) + "?target_session_attrs=read-write"
        store = PostgresStore(several)
        run(store.open())
        run(store.write(add(item("a")), now=NOW))
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT id FROM statusthing_items").fetchall()
        run(store.close())

    assert found == [("a",)]
    assert hosts in store.url
