"""The conformance kit is tested: it checks every rule, and it catches stores that break one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.broken_disks import BROKEN_ON_DISK
from tests.broken_stores import BROKEN

from statusthing.model import RECORDS
from statusthing.testing import Capabilities, StoreConformance
from statusthing.testing.rules import RULES, citation
from statusthing.testing.samples import SAMPLES

Run = Callable[..., pytest.RunResult]
ROOT = Path(__file__).parents[1]

pytest_plugins = "pytester"

NARROW = 3
"""A test that cites more rules says too little about which one is broken."""

IN_MEMORY = """
import pytest
from statusthing.testing import Capabilities, StoreConformance
from tests import broken_stores

stores = vars(broken_stores) | {{store.__name__: store for store in broken_stores.BROKEN}}

class TestStore(StoreConformance):
    capabilities = Capabilities({claims})

    @pytest.fixture
    def factory(self):
        return stores[{store!r}]
"""
STALE = """
import pytest
from statusthing.testing import StoreConformance
from tests import broken_disks

DISK = broken_disks.Disk()

class TestStore(StoreConformance):
    @pytest.fixture
    def factory(self):
        return lambda: broken_disks.{store}(DISK)
"""
ON_DISK = """
import pytest
from statusthing.testing import Capabilities, StoreConformance
from tests import broken_disks

class TestStore(StoreConformance):
    capabilities = Capabilities({claims})

    @pytest.fixture
    def disk(self):
        return broken_disks.Disk()

    @pytest.fixture
    def factory(self, disk):
        return lambda: broken_disks.{store}(disk)

    @pytest.fixture
    def relabel(self, disk):
        return disk.relabel

    @pytest.fixture
    def outage(self, disk):
        return disk.outage
"""
RANDOM = (
    "test_a_unit_gets_the_answers_of_the_reference",
    "test_a_history_is_that_of_the_reference",
)
EVERYTHING = "persistent=True, shared=True, layouts=True, unreachable=True"


KIT = {
    name: cited
    for name in dir(StoreConformance)
    if (cited := citation(getattr(StoreConformance, name))) is not None
}
"""The tests of the kit, and what each cites."""


def test_every_rule_is_checked() -> None:
    """Every rule is cited by a test of the kit, and no test cites a rule that does not exist."""
    numbers = {number for cited in KIT.values() for number in cited.rules}

    assert list(RULES) == [*range(1, len(RULES) + 1)]
    assert numbers == RULES.keys()


def test_every_test_of_the_kit_cites_a_rule() -> None:
    """No test is without a rule: it would be missing in the summary."""
    tests = {name for name in dir(StoreConformance) if name.startswith("test_")}

    assert tests == {name for name, cited in KIT.items() if cited.rules}


def test_every_record_type_is_sampled() -> None:
    """The samples that have to come back equal include every record type."""
    assert {type(sample) for sample in SAMPLES} == set(RECORDS)


def each(broken: Mapping[Any, int]) -> list[Any]:
    """Return the cases of a test: each store with its rule, named after the store."""
    return [pytest.param(store.__name__, rule, id=store.__name__) for store, rule in broken.items()]


@pytest.fixture
def kit(pytester: pytest.Pytester) -> Run:
    """Runs tests of the kit on a store of `broken_stores`, as its author would."""

    def run(module: str, store: str, claims: str, *arguments: str) -> pytest.RunResult:
        path = pytester.makepyfile(test_store=module.format(store=store, claims=claims))
        return pytester.runpytest_inprocess(
            "--strict-markers",
            "-pno:cacheprovider",
            f"-opythonpath={ROOT}",
            *([f"{path.name}::TestStore::{name}" for name in arguments] or [path.name]),
        )

    return run


def narrow(rule: int, *, claimed: bool) -> list[str]:
    """Return the tests that are about that rule, and not about many others."""
    return [
        name
        for name, cited in KIT.items()
        if rule in cited.rules and len(cited.rules) <= NARROW and (claimed or cited.needs is None)
    ]


def check_caught(result: pytest.RunResult, rule: int) -> None:
    """Check that a test failed, and that its report and the summary name the rule."""
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"*R{rule}: {RULES[rule][:30]}*", "TestStore: *not held: *"])
    [summary] = [line for line in result.outlines if line.startswith("TestStore: ")]
    [not_held] = [part for part in summary.split("; ") if part.startswith("not held: ")]
    assert f"R{rule}" in not_held.removeprefix("not held: ").split(", ")


@pytest.mark.parametrize(("store", "rule"), each(BROKEN))
def test_a_broken_store_is_caught(kit: Run, store: str, rule: int) -> None:
    """A test that is about the broken rule fails, and quotes it."""
    check_caught(kit(IN_MEMORY, store, "", *narrow(rule, claimed=False)), rule)


@pytest.mark.parametrize(("store", "rule"), each(BROKEN_ON_DISK))
def test_a_broken_claim_is_caught(kit: Run, store: str, rule: int) -> None:
    """What a store claims and does wrong is caught just so."""
    check_caught(kit(ON_DISK, store, EVERYTHING, *narrow(rule, claimed=True)), rule)


@pytest.mark.parametrize("store", ["WrongOrder", "BelievesTheClock"])
def test_random_histories_catch_broken_stores(kit: Run, store: str) -> None:
    """The comparisons with the reference catch stores on their own, and show the steps."""
    result = kit(IN_MEMORY, store, "", *RANDOM)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*R2: A write happens whole or not at all.*"])


def test_what_only_a_comparison_convicts_is_in_doubt(kit: Run) -> None:
    """One bug is one rule that is not held, and the rules that comparisons cite are in doubt."""
    result = kit(IN_MEMORY, "IgnoresExpect", "")

    result.stdout.fnmatch_lines(
        [
            "E *Failed: DID NOT RAISE *VersionConflict*",
            (
                "TestStore: 10 of 24 rules held; not held: R11; "
                "in doubt (comparison with the memory store): R1, R2, R4, R7, R9, R10, R12, R13, "
                "R14, R15, R16, R17; not checked: R3; not claimed: *"
            ),
        ]
    )


@pytest.mark.parametrize("test", RANDOM)
def test_a_forgotten_rollback_is_told(kit: Run, test: str) -> None:
    """The comparisons look for traces of undone units before they compare anything else."""
    result = kit(IN_MEMORY, "LosesRollback", "", test)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*the data is not what it was before a unit that raised (R2)*"])
    result.stdout.no_fnmatch_line("*FlakyFailure*")


def test_comparisons_run_last(pytester: pytest.Pytester) -> None:
    """What quotes many rules fails after what quotes few, whatever is claimed."""
    path = pytester.makepyfile(ON_DISK.format(store="OnDisk", claims=EVERYTHING))
    items, _ = pytester.inline_genitems("-pno:cacheprovider", f"-opythonpath={ROOT}", path)

    assert tuple(each.name for each in items[-2:]) == RANDOM


def test_a_false_claim_convicts_one_rule(kit: Run) -> None:
    """If stores are not shared as claimed, only R4 suffers from it."""
    result = kit(IN_MEMORY, "Sound", "shared=True")

    result.stdout.fnmatch_lines(
        ["TestStore: 22 of 24 rules held; not held: R4; not checked: R3; *"]
    )


def test_data_that_is_not_fresh_is_told(kit: Run) -> None:
    """A fixture whose stores find what another test left is at fault, and no rule is."""
    first, second = "test_a_read_sees_one_snapshot", "test_opening_and_closing_again_does_nothing"
    result = kit(STALE, "OnDisk", "", first, second)

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "factory: the data has to be empty at the first open",
            "TestStore: 1 of 24 rules held; not checked: R2, *",
        ]
    )


def test_a_store_that_claims_everything_passes(kit: Run) -> None:
    """A sound store passes every test, and the summary says so."""
    result = kit(ON_DISK, "OnDisk", EVERYTHING)

    result.assert_outcomes(passed=result.parseoutcomes()["passed"])
    result.stdout.fnmatch_lines([f"TestStore: {len(RULES)} of {len(RULES)} rules held"])


def test_what_is_not_claimed_is_left_out_and_said(kit: Run) -> None:
    """Its tests are not collected, and the summary names it and what was not checked."""
    result = kit(IN_MEMORY, "Sound", "", *narrow(22, claimed=False))

    result.assert_outcomes(passed=result.parseoutcomes()["passed"])
    [summary] = [line for line in result.outlines if line.startswith("TestStore: ")]
    assert "; not checked: R1, R2, R3, " in summary
    assert summary.endswith("; not claimed: persistent, shared, layouts, unreachable")


@pytest.mark.parametrize("capability", msgspec.structs.fields(Capabilities), ids=lambda f: f.name)
def test_a_capability_turns_tests_on(capability: msgspec.structs.FieldInfo) -> None:
    """Exactly the tests that need a capability are there only if it is claimed."""
    claiming = type(
        "Claiming", (StoreConformance,), {"capabilities": Capabilities(**{capability.name: True})}
    )
    needing = {name for name, cited in KIT.items() if cited.needs == capability.name}
    present = {name for name, cited in KIT.items() if cited.needs and getattr(claiming, name)}

    assert needing
    assert present == needing


def test_every_capability_is_documented() -> None:
    """The reference has a row for each capability, and for nothing else."""
    page = (ROOT / "docs" / "reference" / "conformance-kit.md").read_text(encoding="utf-8")

    documented = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert documented == list(Capabilities.__struct_fields__)


def test_a_subclass_may_claim_more() -> None:
    """What one class leaves out, a class derived from it can have again."""

    class Less(StoreConformance):
        pass

    class More(Less):
        capabilities = Capabilities(persistent=True)

    name = "test_data_outlives_the_store"
    assert getattr(Less, name) is None
    assert getattr(More, name) is getattr(StoreConformance, name)


@pytest.mark.parametrize(
    ("claims", "test", "message"),
    [
        (
            "persistent=True",
            "test_data_outlives_the_store",
            "*a persistent store finds what was added before*",
        ),
        (
            "shared=True",
            "test_shared_is_what_is_claimed",
            "*claimed is shared=True, and the store says shared=False*",
        ),
        *(
            (
                "shared=True",
                test,
                "claimed is shared=True, and the store says shared=False",
            )
            for test in (
                "test_stores_see_what_others_acknowledged",
                "test_many_stores_may_open_at_once",
                "test_a_history_is_that_of_the_reference",
            )
        ),
        (
            "layouts=True",
            "test_another_layout_is_left_untouched",
            "who claims `layouts` overrides the fixture `relabel`",
        ),
        (
            "unreachable=True",
            "test_an_outage_is_told_and_passes",
            "who claims `unreachable` overrides the fixture `outage`",
        ),
    ],
    ids=[
        "persistent",
        "shared",
        "shared, by two stores",
        "shared, by many",
        "shared, in a comparison",
        "layouts",
        "unreachable",
    ],
)
def test_a_false_claim_is_told(kit: Run, claims: str, test: str, message: str) -> None:
    """Who claims what the store cannot do, or gives no fixture for it, is told so."""
    result = kit(IN_MEMORY, "Sound", claims, test)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([message])


def test_a_failure_shows_values_and_the_rule(kit: Run) -> None:
    """The report has what was found, what was expected, and the text of the rule."""
    result = kit(IN_MEMORY, "WrongOrder", "", "test_records_come_by_creation_then_id")

    result.stdout.fnmatch_lines(
        [
            "E *AssertionError: assert [[]'earlier'*] == [[]'earlier'*",
            "E *R15: Records come in the order*",
            "TestStore: 0 of 24 rules held; not held: R15; not checked: R1, *",
        ]
    )


def test_the_author_who_forgets_the_fixture_is_told(pytester: pytest.Pytester) -> None:
    """Without a fixture `factory`, each test says what is missing."""
    pytester.makepyfile(
        "from statusthing.testing import StoreConformance\nclass TestStore(StoreConformance): pass"
    )
    result = pytester.runpytest_inprocess("-pno:cacheprovider", "-k", "head_0")

    result.stdout.fnmatch_lines(["override the fixture `factory`: a function that makes stores"])


@pytest.mark.parametrize("arguments", [[], ["-n2"]], ids=["one process", "xdist"])
def test_the_kit_works_in_a_project_of_its_own(
    pytester: pytest.Pytester, arguments: list[str]
) -> None:
    """Default settings, warnings as errors, elsewhere: all passes, and the summary is there."""
    pytester.makepyfile(
        """
        import pytest
        from statusthing.memory import MemoryStore
        from statusthing.testing import StoreConformance

        class TestStore(StoreConformance):
            @pytest.fixture
            def factory(self):
                return MemoryStore
        """
    )
    pytester.makeconftest('pytest_plugins = ["statusthing.testing.report"]' if arguments else "")
    result = pytester.runpytest_subprocess(
        "-Werror", "--strict-markers", "-k", "head_0 or at_once", *arguments, timeout=60
    )

    result.assert_outcomes(passed=result.parseoutcomes()["passed"])
    result.stdout.fnmatch_lines(["TestStore: * of 24 rules held; not checked: *"])
