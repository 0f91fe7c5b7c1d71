"""Random units, one by one and in long histories, compared with the reference store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, given, settings, stateful
from hypothesis import strategies as st

from statusthing.memory import MemoryStore
from statusthing.model import RECORDS, KeptAnswer
from statusthing.store import Query, Store, Transaction
from statusthing.testing.client import Client
from statusthing.testing.rules import Capabilities, rule
from statusthing.testing.samples import NOW, item, kept, log
from statusthing.testing.steps import QUERIES, STEPS, Step, everything, take

_SETTINGS = settings(deadline=None, derandomize=True, database=None)
_UNITS = st.lists(STEPS, min_size=3, max_size=8)
_TRACES = "the data is not what it was before a unit that raised (R2)"


class _Undone(Exception):
    """Carries what came of the steps out of a unit, which thereby leaves no trace."""


class Machines:
    """Everything that a unit can see, do, or be refused."""

    capabilities: ClassVar[Capabilities]

    @rule(2, 9, 10, 11, 12, 13, 14, 15, 16, 17, compares=True)
    def test_a_unit_gets_the_answers_of_the_reference(self, client: Client) -> None:
        """Every step gives the reference's result or error, and all of them are undone."""
        before = client.read(everything)

        @settings(_SETTINGS, max_examples=100)
        @given(st.lists(STEPS, min_size=8, max_size=25))
        def compare(steps: list[Step]) -> None:
            with Client(MemoryStore()) as reference:
                expected = _undone(reference, steps)
            found = _undone(client, steps)

            assert client.read(everything) == before, _TRACES
            assert found == expected

        compare()

    @rule(1, 2, 4, 7, compares=True)
    def test_a_history_is_that_of_the_reference(
        self, factory: Callable[[], Store], clients: list[Client]
    ) -> None:
        """Many units, some undone, some cancelled, at several stores, add up to the reference's."""
        stateful.run_state_machine_as_test(
            # Whatever makes a machine will do.
            partial(_History, clients, factory if self.capabilities.persistent else None),  # type: ignore[arg-type]
            # A shorter example of a failure may take Hypothesis minutes to find.
            settings=settings(
                _SETTINGS, max_examples=30, stateful_step_count=10, phases=[Phase.generate]
            ),
        )


class _History(stateful.RuleBasedStateMachine):
    """Does the same to the store under test and to the reference.

    Histories follow one another on the same data: each begins with removing all records, and counts
    revisions from there.

    Args:
        clients: who takes turns in calling the store.
        reopened: makes the store that takes the place of one that is closed; None to open that
            again.
    """

    def __init__(self, clients: list[Client], reopened: Callable[[], Store] | None) -> None:
        super().__init__()
        self._clients = clients
        self._reopened = reopened
        self._reference = Client(MemoryStore())
        self._reference.run(self._reference.store.open())
        self._clock = clients[0].read(lambda transaction: transaction.now) + timedelta(days=1)
        self._head = clients[0].write(_clear, now=self._clock)
        self._base = self._reference.write(_clear, now=self._clock)

    def teardown(self) -> None:
        """Let the reference go."""
        self._reference.close()

    @stateful.rule(steps=_UNITS, who=st.integers(0, 1), minutes=st.integers(-3, 3))
    def commit(self, steps: list[Step], who: int, minutes: int) -> None:
        """Commit a unit, whose clock goes forwards or backwards."""
        self._clock += timedelta(minutes=minutes)
        expected = self._reference.write(lambda tx: take(tx, steps, self._base), now=self._clock)
        found = self._who(who).write(lambda tx: take(tx, steps, self._head), now=self._clock)

        assert found == expected

    @stateful.rule(steps=_UNITS, who=st.integers(0, 1))
    def undo(self, steps: list[Step], who: int) -> None:
        """Raise at the end of a unit."""
        client = self._who(who)
        before = client.read(lambda tx: everything(tx, self._head))
        expected = _undone(self._reference, steps, self._base, now=self._clock)
        found = _undone(client, steps, self._head, now=self._clock)

        assert client.read(lambda tx: everything(tx, self._head)) == before, _TRACES
        assert found == expected

    @stateful.rule(steps=_UNITS, who=st.integers(0, 1), turns=st.integers(0, 5))
    def cancel(self, steps: list[Step], who: int, turns: int) -> None:
        """Cancel a write sooner or later; the unit happened whole, or not at all."""
        client = self._who(who)
        happened: list[bool] = []

        def work(transaction: Transaction, head: int) -> list[Any]:
            return take(transaction, [*steps, ("add", kept("cancelled"))], head)

        def settle(transaction: Transaction) -> None:
            for record in transaction.find(Query(KeptAnswer, {"id": "cancelled"})):
                transaction.remove(KeptAnswer, record.id)
                happened.append(True)

        async def write() -> None:
            writing = client.store.write(lambda tx: work(tx, self._head), now=self._clock)
            task = asyncio.create_task(writing)
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        client.run(write())
        client.write(settle, now=self._clock)
        if happened:
            self._reference.write(lambda tx: work(tx, self._base), now=self._clock)
            self._reference.write(settle, now=self._clock)

    @stateful.rule(query=QUERIES, who=st.integers(0, 1))
    def find(self, query: Query[Any], who: int) -> None:
        """Find and count."""
        expected = self._reference.read(lambda tx: (list(tx.find(query)), tx.count(query)))

        assert self._who(who).read(lambda tx: (list(tx.find(query)), tx.count(query))) == expected

    @stateful.rule(who=st.integers(0, 1))
    def reopen(self, who: int) -> None:
        """Close a store, and open it again or another one in its place."""
        client = self._who(who)
        client.run(client.store.close())
        if self._reopened is not None:
            client.store = self._reopened()
        client.run(client.store.open())

    @stateful.invariant()
    def all_is_as_in_the_reference(self) -> None:
        """At every store, all records, the log and the head are those of the reference."""
        expected = self._reference.read(lambda tx: everything(tx, self._base))
        for client in self._clients:
            assert client.read(lambda tx: everything(tx, self._head)) == expected

    def _who(self, number: int) -> Client:
        return self._clients[number % len(self._clients)]


def _undone(client: Client, steps: list[Step], head: int = 0, now: datetime = NOW) -> Any:
    """Return what came of steps in a unit that raises at its end."""

    def work(transaction: Transaction) -> None:
        raise _Undone(take(transaction, steps, head))

    with pytest.raises(_Undone) as undone:
        client.write(work, now=now)
    return undone.value.args[0]


def _clear(transaction: Transaction) -> int:
    """Remove all records, but for one that shows that the log goes on; return the revision."""
    seq = 0
    for kind in reversed(tuple(RECORDS)):  # records before those that they refer to
        for record in transaction.find(Query(kind)):
            transaction.remove(kind, record.id)
            if RECORDS[kind].logged:
                log(transaction, seq, record)
                seq += 1
    transaction.add(item("first"))
    log(transaction, seq, item("first"))
    return transaction.revision
