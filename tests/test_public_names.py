"""What a program may import: it is named, it is documented, and nobody has to guess."""

from __future__ import annotations

import ast
import types
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

import statusthing
import statusthing_postgres
import statusthing_sqlite
from statusthing.access import PERMISSIONS
from statusthing.service import OPERATIONS, messages
from statusthing.v1 import services_pb2

Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

GENERATED = {"v1", "versions"}
"""Folders of code that a tool writes, or whose modules are steps of a migration."""

NO_RPCS = {
    *("GetSettings", "UpdateSettings", "GetOverview", "GetNames", "CountNotes"),
    *("PostUpdate", "MoveItem", "ReplaceStatus", "GetAccounts", "GetToken"),
}
"""The operations of the service that are no RPCs."""

ONLY_PAGES = {
    *("CheckHealth", "GetAsset", "ViewPage", "SignIn", "SignOut", "SetUp", "ViewAdmin"),
    *("ListSessions", "EndSession"),
}
"""What pages do and the service has no operation for."""


def modules() -> Iterator[tuple[str, Path]]:
    """Return the name and the file of every module that a person wrote."""
    for package in ("statusthing", "statusthing_sqlite", "statusthing_postgres"):
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if not GENERATED.intersection(parts) and not path.stem.endswith("_pb2"):
                yield ".".join((package, *parts)).removesuffix(".__init__"), path


MODULES = dict(modules())


def public(node: Definition, name: str) -> Iterator[tuple[str, Definition]]:
    """Return a definition and the public ones in it, by name."""
    yield name, node
    for inner in node.body:
        if isinstance(inner, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if inner.name.startswith("_") or not isinstance(node, ast.Module | ast.ClassDef):
                continue
            yield from public(inner, f"{name}.{inner.name}")


@pytest.mark.parametrize(
    "package",
    [statusthing, statusthing_sqlite, statusthing_postgres],
    ids=lambda each: each.__name__,
)
def test_all_is_true_and_complete(package: types.ModuleType) -> None:
    """`__all__` lists, once each, the names that a package defines or takes from its modules."""
    for name in package.__all__:
        assert getattr(package, name) is not None
    imported = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }

    assert len(package.__all__) == len(set(package.__all__))
    assert imported - {"annotations", "Any", "TYPE_CHECKING"} <= set(package.__all__)


def test_another_name_is_an_attribute_error() -> None:
    """A misspelt name is still an AttributeError, although `build_app` is loaded late."""
    name = "buildapp"
    with pytest.raises(AttributeError, match=r"^module 'statusthing' has no attribute 'buildapp'$"):
        getattr(statusthing, name)


@pytest.mark.parametrize(("name", "path"), MODULES.items(), ids=MODULES)
def test_what_can_be_imported_is_documented(name: str, path: Path) -> None:
    """Every public module, class, function and method has a docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))

    assert [each for each, node in public(tree, name) if not ast.get_docstring(node)] == []


def test_every_operation_has_a_row_of_permission() -> None:
    """Every operation has a permission, and so has what only pages do, and nothing else."""
    assert PERMISSIONS.keys() == ONLY_PAGES | {operation.name for operation in OPERATIONS.values()}


def test_every_request_has_an_operation() -> None:
    """Every request has an operation that takes it."""
    requests = set(messages.Request.__subclasses__())

    assert requests == OPERATIONS.keys()


def test_every_rpc_has_an_operation() -> None:
    """The contract and the table name the same RPCs, in the same services."""
    rpcs = {
        (service.name, method.name)
        for service in services_pb2.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }

    assert rpcs == {(each.service, each.name) for each in OPERATIONS.values() if each.service}
    assert {each.name for each in OPERATIONS.values() if not each.service} == NO_RPCS
