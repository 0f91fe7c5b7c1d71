"""The benchmark works. How fast anything is does not matter here."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.requirements import closure

if TYPE_CHECKING:
    from tests.conftest import Server

Serve = Callable[..., AbstractContextManager["Server"]]

ROOT = Path(__file__).parents[1]
SECONDS = 60  # the bound of everything that is waited for

LOAD = """
import sys
from bench import load

client, address, path, size = sys.argv[1:]
body = b"{}" if client == "sockets" else b""
came = getattr(load, client)(address, load.Call(path, [body], int(size)), 0.1)
print(came.calls, came.errors)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the root of the repository, where it finds the benchmark, and without wrk."""
    return subprocess.run(
        (sys.executable, *arguments),
        cwd=ROOT,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_everything_is_measured_without_an_error() -> None:
    """Each measure of calls has all figures of each program, and no call failed."""
    ended = run("-m", "bench", "--brief")
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")
    ]
    measures = {line.pop("measure"): line for line in lines}
    calls = ["GetItem", "GetItem, gRPC", "AddNote"]
    pages = ["page", "page, 304"]
    on_postgres = ["GetItem, PostgreSQL", "AddNote, PostgreSQL"]

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert list(measures) == [
        *("import", "serve", "ListItems", "list of items", *pages, *calls[:2]),
        *("GetItem, with a token", *calls[2:], "page, 1 000 items"),
        *("ListItems, PostgreSQL", *on_postgres, "wait"),
    ]
    assert all(measures[name]["statusthing"]["errors"] == 0 for name in on_postgres)
    assert list(measures["GetItem, with a token"]) == [
        *("statusthing", "anonymous", "statusthing/anonymous")
    ]
    assert all(measures[name]["statusthing"]["errors"] == 0 for name in pages)
    for measure in (measures[name] for name in calls):
        assert list(measure) == [
            *("statusthing", "echo", "bare"),
            *("statusthing/echo", "statusthing/bare"),
        ]
        for program in ("statusthing", "echo", "bare"):
            assert measure[program].pop("errors") == 0
        assert {frozenset(figures) for figures in measure.values()} == {
            frozenset(
                {
                    *("rps", "p50_ms", "p99_ms"),
                    *("cpu_seconds", "cpu_us_per_call", "resident_mib"),
                }
            )
        }


@pytest.mark.parametrize("client", ["sockets", "grpc_channel"])
def test_calls_that_fail_are_counted(client: str, serve: Serve) -> None:
    """A refused call and an answer of an unexpected size are errors, after which a client stops."""
    with serve("--store=memory://") as server:
        refused = run(
            "-c", LOAD, client, server.address, "/statusthing.v1.ItemsService/GetItem", "2"
        )
        items = "/statusthing.v1.ItemsService/ListItems"
        large = run("-c", LOAD, client, server.address, items, "100")
        good = run("-c", LOAD, client, server.address, items, "2")
    calls, errors = map(int, good.stdout.split())

    assert refused.stdout.split() == ["8", "8"], refused.stderr
    assert large.stdout.split() == ["8", "8"], large.stderr
    assert errors == 0
    assert calls >= 8


def test_its_dependency_group_has_what_it_imports() -> None:
    """`nox -s bench` installs the distributions and that group, and nothing else."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    installed = "statusthing", "statusthing-sqlite", "statusthing-postgres"
    there = closure(*installed, *(Requirement(each).name for each in groups["bench"]))
    providers = importlib.metadata.packages_distributions()
    own = {"bench", "tests", *sys.stdlib_module_names}
    wanting = {
        f"{path.name}: {module}"
        for path in [*(ROOT / "bench").glob("*.py"), ROOT / "tests" / "postgres.py"]
        for module in _imported(path) - own
        if there.isdisjoint(map(canonicalize_name, providers.get(module, [module])))
    }

    assert not wanting


def _imported(path: Path) -> set[str]:
    """Return the top-level names of the modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}
