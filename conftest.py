"""Makes the tests of every distribution import that distribution, and not its folder.

In the importlib mode pytest names `statusthing_sqlite/tests/test_store.py` by its path,
`statusthing_sqlite.tests.test_store`, and makes the parents that are not imported yet out of
folders: an empty package `statusthing_sqlite` that hides the installed one. Each distribution whose
folder has tests of its own is therefore imported first, here.
https://docs.pytest.org/en/stable/explanation/pythonpath.html
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.postgres import Postgres, any_server

import statusthing_postgres  # noqa: F401
import statusthing_sqlite  # noqa: F401

pytest_plugins = [
    "statusthing.testing.report",  # prints what the conformance kit found, spread or not
    "tests.browser",
]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server that tests share; each makes a database of its own."""
    with any_server() as server:
        yield server
