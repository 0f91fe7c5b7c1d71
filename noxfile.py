"""The checks of the repository, each runnable alone: `nox -s lint`.

`nox -s tests` runs the tests and then every other check, so it is the one command before a change
is handed in. With arguments it runs pytest alone: `nox -s tests -- tests/test_packaging.py -x`.
`nox -s bench` is no check and stands apart.
"""

from __future__ import annotations

import difflib
import sys
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2026.10"
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests"]

ROOT = Path(__file__).parent
DISTRIBUTIONS = ["./statusthing", "./statusthing_sqlite", "./statusthing_postgres"]
SOURCES = ROOT / "statusthing" / "src"
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_connect.py")


def _group(name: str) -> list[str]:
    """Return the requirements of a dependency group of the root pyproject.toml."""
    project = nox.project.load_toml(ROOT / "pyproject.toml")
    return list(nox.project.dependency_groups(project, name))


@nox.session
def tests(session: nox.Session) -> None:
    """Run pytest on the installed distributions, then the other sessions."""
    if not session.posargs:
        for other in ("lint", "typing", "proto", "wheels"):
            session.notify(other)
    session.install(*DISTRIBUTIONS, *_group("test"))
    session.run("pytest", *(session.posargs or ["--numprocesses=2"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install(*_group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types of everything here, and of a user's program against the installed package."""
    session.install(*DISTRIBUTIONS, *_group("typing"))
    session.run("mypy")
    with session.chdir("tests/typing"):
        session.run("mypy", "--config-file=", "--strict", "user_program.py")


@nox.session
def proto(session: nox.Session) -> None:
    """Compare the generated code with proto/; `nox -s proto -- --write` brings it up to date."""
    session.install(*_group("proto"))
    if "--write" in session.posargs:
        _generate(session, SOURCES)
        return
    with tempfile.TemporaryDirectory() as folder:
        _generate(session, Path(folder))
        differences = _differences(SOURCES, Path(folder))
    if differences:
        session.error(
            f"the generated code is not what proto/ generates:\n\n{differences}\n"
            "If the change of proto/ is meant, run: nox -s proto -- --write"
        )


def _generate(session: nox.Session, target: Path) -> None:
    """Generate the messages and services below `target`."""
    session.run(
        "python",
        *("-m", "grpc_tools.protoc", "-Iproto"),
        f"--plugin=protoc-gen-connectrpc={Path(session.bin) / 'protoc-gen-connectrpc'}",
        *(f"--python_out={target}", f"--pyi_out={target}"),
        *(f"--connectrpc_out={target}", "--connectrpc_opt=protobuf=google"),
        *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "proto").rglob("*.proto"))),
    )


def _differences(committed: Path, generated: Path) -> str:
    """Return a readable difference of the generated modules in two folders, empty if none."""
    texts: list[dict[str, list[str]]] = [
        {
            str(path.relative_to(folder)): path.read_text(encoding="utf-8").splitlines()
            for pattern in GENERATED
            for path in folder.rglob(pattern)
        }
        for folder in (committed, generated)
    ]
    old, new = texts
    return "\n".join(
        line[:200]
        for name in sorted(old.keys() | new.keys())
        for line in difflib.unified_diff(
            *(old.get(name, []), new.get(name, [])),
            *(f"committed/{name}", f"generated/{name}"),
            lineterm="",
        )
    )


@nox.session
def bench(session: nox.Session) -> None:
    """Measure how fast it is; `nox -s bench -- --write` brings the documentation up to date."""
    session.install(*DISTRIBUTIONS, *_group("bench"))
    session.run("python", "-m", "bench", *session.posargs)


@nox.session(venv_backend="none")
def wheels(session: nox.Session) -> None:
    """Build the wheels, install them far from the repository, and use the server they bring."""
    with tempfile.TemporaryDirectory() as folder:
        venv, built = Path(folder, "venv"), Path(folder, "wheels")
        session.run(sys.executable, "-m", "venv", str(venv))
        python = str(venv / "bin" / "python")
        pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        session.run(*pip, "wheel", "--no-deps", f"--wheel-dir={built}", *DISTRIBUTIONS)
        session.run(*pip, "install", *(str(wheel) for wheel in built.glob("*.whl")))
        check = ROOT / "tests" / "wheel_check.py"
        with session.chdir(folder):
            session.run(python, "-I", str(check), str(ROOT), str(built))
