"""A plugin of pytest: failures quote the rules at stake, and a summary counts those that held.

`StoreConformance` registers it on first use. Under pytest-xdist, whose main process imports no
tests, the `conftest.py` at the root says `pytest_plugins = ["statusthing.testing.report"]`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable
from typing import Any

import pytest

from statusthing.testing.rules import RULES, citation

_PROPERTY = "statusthing.testing"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the rules to a test's report, and their text to what it raised."""
    cited = citation(getattr(item, "function", None))
    parent = item.getparent(pytest.Class)
    if cited is not None and parent is not None:
        if call.when == "setup":
            # A fixture that calls `pytest.fail` finds fault with the class, not with the store.
            error = call.excinfo and call.excinfo.value
            about = {
                "class": parent.nodeid,
                "rules": [] if isinstance(error, pytest.fail.Exception) else list(cited.rules),
                "compares": cited.compares,
                "not claimed": parent.obj.capabilities.unclaimed(),
            }
            # Unlike other attributes, these reach the main process of pytest-xdist.
            item.user_properties.append((_PROPERTY, about))
        if call.excinfo is not None and not isinstance(call.excinfo.value, pytest.skip.Exception):
            for number in cited.rules:
                call.excinfo.value.add_note(f"R{number}: {RULES[number]}")
    return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line for each class: how many rules held, which did not, what was not claimed."""
    passed: defaultdict[str, set[int]] = defaultdict(set)
    failed: defaultdict[str, set[int]] = defaultdict(set)
    doubted: defaultdict[str, set[int]] = defaultdict(set)
    unclaimed: dict[str, list[str]] = {}
    red: set[str] = set()
    for category in ("passed", "failed", "error"):
        for about in _cited(terminalreporter.stats.get(category, [])):
            name = about["class"]
            unclaimed[name] = about["not claimed"]
            if category == "passed":
                passed[name].update(about["rules"])
            else:
                red.add(name)
                (doubted if about["compares"] else failed)[name].update(about["rules"])
    if unclaimed:
        terminalreporter.section("store conformance")
    for name, missing in sorted(unclaimed.items()):
        terminalreporter.write_line(
            f"{name.rpartition('::')[2]}: "
            f"{_result(passed[name], failed[name], doubted[name], missing)}",
            red=name in red,
            green=name not in red,
        )


def _cited(reports: Iterable[Any]) -> Iterable[dict[str, Any]]:
    return (
        about
        for report in reports
        for name, about in getattr(report, "user_properties", ())  # a failed collection has none
        if name == _PROPERTY
    )


def _result(passed: set[int], failed: set[int], doubted: set[int], unclaimed: list[str]) -> str:
    parts = [f"{len(passed - failed - doubted)} of {len(RULES)} rules held"]
    for title, rules in (
        ("not held", failed),
        ("in doubt (comparison with the memory store)", doubted - failed),
        ("not checked", RULES.keys() - passed - failed - doubted),
    ):
        if rules:
            parts.append(f"{title}: {', '.join(f'R{number}' for number in sorted(rules))}")
    if unclaimed:
        parts.append(f"not claimed: {', '.join(unclaimed)}")
    return "; ".join(parts)
