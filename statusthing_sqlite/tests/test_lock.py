"""The lock that keeps the writers of several processes apart."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from statusthing.errors import StoreUnavailable
from statusthing.store import Transaction
from statusthing_sqlite import SqliteStore
from statusthing_sqlite.lock import held

if TYPE_CHECKING:
    from statusthing_sqlite.tests.conftest import File

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_one_holds_it_at_a_time(tmp_path: Path) -> None:
    """A second taker waits in vain for as long as it said, and gets the lock once it is free."""
    path = tmp_path / "lock"
    with held(path, 1), pytest.raises(StoreUnavailable), held(path, 0.01):
        pass
    with held(path, 0):
        pass


def test_the_writer_holds_it_around_each_batch(file: File, store: SqliteStore, run: Run) -> None:
    """While a unit runs nobody else can take the lock, and afterwards anybody can."""
    path = file.path.with_name("statusthing.db-lock")

    def work(_: Transaction) -> bool:
        try:
            with held(path, 0):
                return False
        except StoreUnavailable:
            return True

    was_taken = run(store.write(work, now=file.NOW))

    assert was_taken
    with held(path, 1):
        pass
