"""The class that the author of a store derives from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Literal

import pytest

from statusthing.log import Change
from statusthing.store import Store
from statusthing.testing import report
from statusthing.testing.client import Client
from statusthing.testing.life import Life
from statusthing.testing.log import Log
from statusthing.testing.machine import Machines
from statusthing.testing.queries import Queries
from statusthing.testing.records import Records
from statusthing.testing.rules import Capabilities, citation
from statusthing.testing.units import Units
from statusthing.testing.writers import Writers


# pytest begins with the tests of the last base.
class StoreConformance(Machines, Life, Log, Queries, Records, Writers, Units):
    """Checks every numbered rule of `statusthing.store`.

    A subclass, whose name begins with `Test`, overrides the fixture `factory`, and for what its
    store can do beyond the least `capabilities` and the fixtures that they ask for.
    """

    capabilities: ClassVar[Capabilities] = Capabilities()

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        unclaimed = cls.capabilities.unclaimed()
        for name in dir(StoreConformance):
            test = getattr(StoreConformance, name)
            cited = citation(test)
            if cited is not None and cited.needs is not None and name not in vars(cls):
                # pytest does not collect None: such a test is neither run nor skipped.
                setattr(cls, name, None if cited.needs in unclaimed else test)
        for name in vars(Machines):
            if name.startswith("test_"):
                # pytest ends with what the class itself defines last: these quote many rules.
                setattr(cls, name, getattr(cls, name))

    @pytest.fixture
    def factory(self) -> Callable[[], Store]:
        """Return a function that makes stores, not yet open, all on the same, fresh data.

        The data of a store that is not persistent is in the store itself.
        """
        pytest.fail("override the fixture `factory`: a function that makes stores", pytrace=False)

    @pytest.fixture
    def relabel(self) -> Callable[[Literal["older", "current", "newer"]], None]:
        """Return a function that writes another version of the layout into the data (`layouts`).

        It is called while no store is open, and need not change anything but the version.
        """
        pytest.fail("who claims `layouts` overrides the fixture `relabel`", pytrace=False)

    @pytest.fixture
    def outage(self) -> Callable[[], AbstractContextManager[None]]:
        """Return a function that makes a context in which the data is away (`unreachable`).

        The store is open before, in and after it.
        """
        pytest.fail("who claims `unreachable` overrides the fixture `outage`", pytrace=False)

    @pytest.fixture
    def client(self, factory: Callable[[], Store]) -> Iterator[Client]:
        """A caller of an open, empty store."""
        with Client(factory()) as client:
            # A head without a log is a mistake of the store, which a test tells.
            if client.head() and client.find(Change):
                pytest.fail("factory: the data has to be empty at the first open", pytrace=False)
            yield client

    @pytest.fixture
    def shared_factory(self, factory: Callable[[], Store]) -> Callable[[], Store]:
        """The fixture `factory`, if its stores say that they may share their data (`shared`)."""
        if not factory().shared:
            pytest.fail("claimed is shared=True, and the store says shared=False", pytrace=False)
        return factory

    @pytest.fixture
    def other(self, client: Client, shared_factory: Callable[[], Store]) -> Iterator[Client]:
        """A caller of another store on the data of `client` (`shared`)."""
        with Client(shared_factory()) as other:
            yield other

    @pytest.fixture
    def clients(self, client: Client, request: pytest.FixtureRequest) -> list[Client]:
        """Callers of as many stores on the same data as the class claims can be open."""
        if self.capabilities.shared:
            return [client, request.getfixturevalue("other")]
        return [client]

    @pytest.fixture(autouse=True)
    def _reported(self, request: pytest.FixtureRequest) -> None:
        plugins = request.config.pluginmanager
        if not plugins.is_registered(report):
            plugins.register(report, report.__name__)
