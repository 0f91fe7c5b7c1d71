"""Who may import whom.

The table describes the architecture: for each part of the software, the other parts and the
libraries that it may import. Imports in functions and for type checkers count as well. The tests
fail if a module has no row, or if a row allows more than its modules import.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec, resolve_name
from pathlib import Path

import pytest

Imports = tuple[set[str], set[str]]
"""Parts of this software, and libraries."""

PROTOBUF = {"google.protobuf", "connectrpc"}

ALLOWED: dict[str, Imports] = {
    # The domain
    "statusthing.errors": (set(), set()),
    "statusthing.model": (set(), {"msgspec"}),
    "statusthing.colors": (set(), set()),
    "statusthing.log": ({"model"}, {"msgspec"}),
    "statusthing.access": ({"errors", "model"}, {"msgspec"}),
    "statusthing.store": ({"errors", "log", "model"}, {"msgspec"}),
    "statusthing.service": (
        {"access", "colors", "errors", "log", "model", "store"},
        {"argon2", "msgspec", "uuid_utils"},
    ),
    # Stores
    "statusthing.wakeup": ({"errors"}, set()),
    "statusthing.memory": ({"errors", "log", "model", "store", "wakeup"}, {"msgspec"}),
    "statusthing.sql": (
        {"errors", "log", "model", "store", "wakeup"},
        {"msgspec", "sqlalchemy", "alembic"},
    ),
    "statusthing_sqlite": ({"errors", "sql"}, {"sqlalchemy"}),
    "statusthing_postgres": ({"errors", "sql", "store"}, {"msgspec", "psycopg", "sqlalchemy"}),
    "statusthing.registry": ({"errors", "store"}, set()),
    "statusthing.testing": (
        {"errors", "log", "memory", "model", "store"},
        {"hypothesis", "msgspec", "pytest"},
    ),
    # The wire and the web, which know the service and never a store
    "statusthing.asgi": (set(), set()),
    "statusthing.identity": ({"access", "asgi", "errors", "service"}, set()),
    "statusthing.proxies": ({"asgi", "errors"}, set()),
    "statusthing.safety": (set(), set()),
    "statusthing.v1": (set(), PROTOBUF | {"pyqwest"}),
    "statusthing.rpc": (
        {"access", "asgi", "errors", "identity", "limits", "model", "service", "v1"},
        PROTOBUF | {"msgspec", "google.rpc", "protobuf"},
    ),
    "statusthing.web": (
        {
            "access",
            "asgi",
            "colors",
            "errors",
            "identity",
            "limits",
            "model",
            "service",
            "setup_file",
        },
        {"jinja2", "markdown_it", "markupsafe", "msgspec", "nh3", "starlette"},
    ),
    # Composition
    "statusthing.app": (
        {
            "access",
            "asgi",
            "errors",
            "identity",
            "proxies",
            "rpc",
            "safety",
            "service",
            "store",
            "web",
        },
        {"starlette"},
    ),
    "statusthing.limits": (set(), set()),
    "statusthing.exchange": ({"asgi"}, {"hypercorn"}),
    "statusthing.frames": ({"limits"}, {"h2"}),
    "statusthing.http1": ({"asgi", "exchange", "limits"}, {"hypercorn", "h11"}),
    "statusthing.http2": (
        {"asgi", "exchange", "frames", "limits"},
        {"hypercorn", "h2", "hyperframe"},
    ),
    "statusthing.connections": ({"http1", "http2", "limits"}, {"hypercorn", "h2"}),
    "statusthing.server": (
        {"asgi", "connections", "errors", "exchange", "http1", "http2", "limits"},
        {"hypercorn"},
    ),
    "statusthing.setup_file": (set(), set()),
    "statusthing.tls": ({"errors"}, set()),
    "statusthing.workers": ({"limits", "server"}, set()),
    "statusthing.logformat": (set(), {"msgspec", "structlog"}),
    "statusthing.cli": (
        {
            "",
            "access",
            "app",
            "errors",
            "identity",
            "logformat",
            "memory",
            "model",
            "registry",
            "server",
            "service",
            "setup_file",
            "store",
            "tls",
            "workers",
        },
        {"click", "msgspec"},
    ),
    "statusthing.__main__": ({"cli"}, set()),
    "statusthing": ({"access", "app", "errors", "model", "registry", "service"}, set()),
}

PARTS = {part.removeprefix("statusthing.") for part in ALLOWED} | {""}
NAMESPACES = {"google"}  # whose packages come from several libraries


def folder(package: str) -> Path:
    """Return where a package is installed."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def imported(source: str, package: str) -> Iterator[str]:
    """Return the full name of everything that a module of a package imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def of_the_software(package: str, root: Path) -> dict[str, Imports]:
    """Return what each part of a package imports.

    A part of the core is a module or a package at its top; a store distribution is one part.
    """
    parts: defaultdict[str, Imports] = defaultdict(lambda: (set(), set()))
    for path in root.rglob("*.py"):
        part = package
        if package == "statusthing" and path != root / "__init__.py":
            part += "." + path.relative_to(root).with_suffix("").parts[0]
        own, libraries = parts[part]
        inside = ".".join([package, *path.parent.relative_to(root).parts])
        for name in imported(path.read_text(encoding="utf-8"), inside):
            first, second, *_ = [*name.split("."), ""]
            if first == "statusthing":
                own.add(second if second in PARTS else "")
            elif first in NAMESPACES:
                libraries.add(f"{first}.{second}")
            elif first not in sys.stdlib_module_names and first != package:
                libraries.add(first)
        own.discard(part.partition(".")[2] or "__init__")
    return dict(parts)


FOUND = {
    part: imports
    for package in ("statusthing", "statusthing_sqlite", "statusthing_postgres")
    for part, imports in of_the_software(package, folder(package)).items()
}


def test_every_part_has_a_row() -> None:
    """A new module fails the test until the table says where it belongs."""
    assert FOUND.keys() == ALLOWED.keys()


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_knows_what_its_row_says(part: str) -> None:
    """No module imports a part or a library that its row does not list; no row lists more."""
    assert FOUND[part] == ALLOWED[part]


def test_a_breach_is_seen_wherever_it_hides(tmp_path: Path) -> None:
    """New modules count, even inside packages, and so do late and type-checking imports."""
    source = """
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from statusthing import memory, StatusThing
        def late():
            import sqlalchemy.orm
            from google.rpc import code_pb2
            from .. import sql
            from . import sibling
    """
    (tmp_path / "new").mkdir()
    path = tmp_path / "new" / "module.py"
    path.write_text("if True:" + source, encoding="utf-8")

    assert of_the_software("statusthing", tmp_path) == {
        "statusthing.new": ({"memory", "sql", ""}, {"sqlalchemy", "google.rpc"})
    }


@pytest.mark.parametrize(
    "program",
    [
        "import statusthing",
        "import statusthing.memory",
        "from statusthing import StatusThing, open_store; open_store('memory://')",
    ],
)
def test_a_program_without_the_wire_loads_none_of_it(program: str) -> None:
    """A program that calls the service in process loads no wire, web or database code."""
    heavy = """sqlalchemy alembic starlette jinja2 markdown_it nh3 hypercorn h2 connectrpc
        google.protobuf google.rpc protobuf click structlog argon2 statusthing.v1
        statusthing.app"""
    code = f"{program}; import sys; print(*(sys.modules.keys() & {heavy.split()}))"
    loaded = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )

    assert loaded.stdout.split() == []
