"""The rules that every store obeys, on PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from tests.postgres import Postgres

from statusthing.sql import schema
from statusthing.store import Store
from statusthing.testing import Capabilities, StoreConformance
from statusthing_postgres import PostgresStore

VERSIONS = {"older": "0000", "current": schema.NEWEST, "newer": "9999"}


class TestPostgresStore(StoreConformance):
    """Claims everything."""

    capabilities = Capabilities(persistent=True, shared=True, layouts=True, unreachable=True)

    @pytest.fixture
    def url(self, postgres: Postgres) -> Iterator[str]:
        """A fresh database."""
        with postgres.database() as url:
            yield url

    @pytest.fixture
    def factory(self, url: str) -> Callable[[], Store]:
        """Make stores on the database."""
        return lambda: PostgresStore(url)

    @pytest.fixture
    def relabel(self, postgres: Postgres, url: str) -> Callable[[str], None]:
        """Change the version in the database."""

        def relabel(label: str) -> None:
            postgres.execute(
                f"UPDATE statusthing_schema_version SET version_num = '{VERSIONS[label]}'",
                url.rpartition("/")[2],
            )

        return relabel

    @pytest.fixture
    def outage(self, postgres: Postgres, url: str) -> Callable[[], AbstractContextManager[None]]:
        """Let nobody connect for a while."""
        name = url.rpartition("/")[2]

        @contextlib.contextmanager
        def outage() -> Iterator[None]:
            postgres.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            postgres.execute(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )
            yield
            postgres.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

        return outage
