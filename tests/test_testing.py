"""The conformance kit is tested: it checks every rule, and it catches stores that break one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from statusthing.model import RECORDS
from statusthing.testing import StoreConformance
from statusthing.testing.rules import RULES, Citation, citation
from statusthing.testing.samples import SAMPLES
from tests.broken_stores import BROKEN

pytest_plugins = "pytester"

NARROW = 3
"""A test that cites more rules says too little about which one is broken."""

IN_MEMORY = """
import pytest
from statusthing.testing import Capabilities, StoreConformance
from tests import broken_stores

stores = {{store.__name__: store for store in broken_stores.BROKEN}} | vars(broken_stores)

class TestStore(StoreConformance):
    capabilities = Capabilities({claims})

    @pytest.fixture
    def factory(self):
        return stores[{store!r}]
"""
ON_DISK = """
import pytest
from statusthing.testing import Capabilities, StoreConformance
from tests import broken_stores

class TestStore(StoreConformance):
    capabilities = Capabilities({claims})

    @pytest.fixture
    def disk(self):
        return broken_stores.Disk()

    @pytest.fixture
    def factory(self, disk):
        return lambda: broken_stores.{store}(disk)

    @pytest.fixture
    def relabel(self, disk):
        return disk.relabel

    @pytest.fixture
    def outage(self, disk):
        return disk.outage
"""
EVERYTHING = "persistent=True, shared=True, layouts=True, unreachable=True"


def tests_of_the_kit() -> Iterator[tuple[str, Citation]]:
    """Return each test's name with what it cites."""
    for name in dir(StoreConformance):
        cited = citation(getattr(StoreConformance, name))
        if cited is not None:
            yield name, cited


def test_every_rule_is_checked() -> None:
    """Every rule is cited by a test of the kit, and no test cites a rule that does not exist."""
    cited = {number for _, citation in tests_of_the_kit() for number in citation.rules}

    assert list(RULES) == [*range(1, len(RULES) + 1)]
    assert cited == RULES.keys()


def test_every_test_of_the_kit_cites_a_rule() -> None:
    """No test is without a rule: it would be missing in the summary."""
    tests = {name for name in dir(StoreConformance) if name.startswith("test_")}

    assert tests == {name for name, citation in tests_of_the_kit() if citation.rules}


def test_every_record_type_is_sampled() -> None:
    """The samples that have to come back equal include every record type."""
    assert {type(sample) for sample in SAMPLES} == set(RECORDS)


@pytest.fixture
def kit(pytester: pytest.Pytester) -> Callable[..., pytest.RunResult]:
    """Runs tests of the kit on a store of `broken_stores`, as its author would."""

    def run(module: str, store: str, claims: str, *arguments: str) -> pytest.RunResult:
        path = pytester.makepyfile(test_store=module.format(store=store, claims=claims))
        return pytester.runpytest_inprocess(
            "--strict-markers",
            "-pno:cacheprovider",
            f"-opythonpath={ROOT}",
            *(f"{path.name}::TestStore::{name}" for name in arguments),
        )

    return run


def narrow(rule: int) -> list[str]:
    """Return the tests that are about that rule, and not about many others."""
    return [
        name
        for name, cited in tests_of_the_kit()
        if rule in cited.rules and len(cited.rules) <= NARROW
    ]


def failures(result: pytest.RunResult) -> list[str]:
    """Return the names of the tests that failed."""
    return re.findall(r"^(?:FAILED|ERROR) \S+::TestStore::(\w+)", result.stdout.str(), re.MULTILINE)


@pytest.mark.parametrize(
    ("store", "rule"), BROKEN.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_a_broken_store_is_caught(kit: Run, store: type[Sound], rule: int) -> None:
    """A test that is about the broken rule fails, and quotes it."""
    result = kit(IN_MEMORY, store.__name__, "", *narrow(rule))

    assert failures(result)
    result.stdout.fnmatch_lines([f"E * R{rule}: {RULES[rule][:30]}*", "*not held: *R{rule}*"])
