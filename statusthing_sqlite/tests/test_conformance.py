"""The rules that every store obeys, on SQLite."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import pytest

from statusthing.sql import schema
from statusthing.store import Store
from statusthing.testing import Capabilities, StoreConformance

if TYPE_CHECKING:
    from statusthing_sqlite.tests.conftest import File

VERSIONS = {"older": "0000", "current": schema.NEWEST, "newer": "9999"}


class TestSqliteStore(StoreConformance):
    """Claims everything."""

    capabilities = Capabilities(persistent=True, shared=True, layouts=True, unreachable=True)

    @pytest.fixture
    def factory(self, file: File) -> Callable[[], Store]:
        """Make stores on the file."""
        return file.store

    @pytest.fixture
    def relabel(self, file: File) -> Callable[[str], None]:
        """Change the version in the file."""

        def relabel(label: str) -> None:
            file.change("UPDATE statusthing_schema_version SET version_num = ?", VERSIONS[label])

        return relabel

    @pytest.fixture
    def outage(self, file: File) -> Callable[[], AbstractContextManager[None]]:
        """Move the file away for a while."""

        @contextlib.contextmanager
        def outage() -> Iterator[None]:
            away = file.path.with_name("away.db")
            file.path.rename(away)
            yield
            away.rename(file.path)

        return outage
