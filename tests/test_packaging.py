"""What the distributions promise to those who install them."""

from __future__ import annotations

import tomllib
from importlib.metadata import entry_points, metadata, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path.parent for path in ROOT.glob("*/pyproject.toml"))
FLOORS = {">=", "==", "~="}

each_distribution = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def _load(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def _project(folder: Path) -> dict[str, Any]:
    project: dict[str, Any] = _load(folder)["project"]
    return project


def _requirements(folder: Path) -> list[Requirement]:
    content = _load(folder)
    project = content.get("project", {})
    texts = [
        *content.get("build-system", {}).get("requires", []),
        *project.get("dependencies", []),
        *(text for extra in project.get("optional-dependencies", {}).values() for text in extra),
        *(text for group in content.get("dependency-groups", {}).values() for text in group),
    ]
    return [Requirement(text) for text in texts if isinstance(text, str)]


def test_all_distributions_are_here() -> None:
    """The other tests in this module see every distribution in the repository."""
    names = [folder.name for folder in FOLDERS]

    assert names == ["statusthing", "statusthing_postgres", "statusthing_sqlite"]


def test_versions_are_equal() -> None:
    """All distributions have the same version, which is the installed one."""
    declared = {_project(folder)["name"]: _project(folder)["version"] for folder in FOLDERS}

    assert len(set(declared.values())) == 1
    assert declared == {name: version(name) for name in declared}


def test_python_versions_are_equal() -> None:
    """All distributions run on the same versions of Python."""
    assert {_project(folder)["requires-python"] for folder in FOLDERS} == {">=3.11"}


@pytest.mark.parametrize("folder", [ROOT, *FOLDERS], ids=lambda folder: folder.name)
def test_each_dependency_has_a_floor(folder: Path) -> None:
    """Every requirement has a lower bound: the oldest version the project was tested with."""
    open_ended = [
        str(requirement)
        for requirement in _requirements(folder)
        if not FLOORS & {part.operator for part in requirement.specifier}
    ]

    assert _requirements(folder)
    assert open_ended == []


@each_distribution
def test_plugins_accept_the_core_beside_them(folder: Path) -> None:
    """A distribution that depends on the core accepts the core of its own version."""
    own = _project(folder)["version"]
    cores = [wanted for wanted in _requirements(folder) if wanted.name == "statusthing"]

    assert len(cores) == (folder.name != "statusthing")
    assert all(core.specifier.contains(own) for core in cores)


@each_distribution
def test_the_licence_is_named_and_included(folder: Path) -> None:
    """Each distribution names the licence and carries the text that the repository has."""
    project = _project(folder)

    assert metadata(project["name"])["License-Expression"] == "Apache-2.0"
    assert project["license-files"] == ["LICENSE"]
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@each_distribution
def test_data_files_are_installed(folder: Path) -> None:
    """Every file beside the sources, such as py.typed, is part of the installed package."""
    source = folder / "src" / folder.name
    data = {
        path.relative_to(source)
        for path in source.rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }

    assert Path("py.typed") in data
    assert [str(path) for path in data if not (files(folder.name) / str(path)).is_file()] == []


def test_stores_are_found_by_scheme() -> None:
    """The entry points name a callable for each scheme that the distributions bring."""
    found = {entry.name: entry.load() for entry in entry_points(group="statusthing.stores")}

    assert {"memory", "postgres", "postgresql", "sqlite"} <= found.keys()
    assert all(callable(store) for store in found.values())
