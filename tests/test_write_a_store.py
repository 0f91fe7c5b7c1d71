"""`docs/howto/write-a-store.md` is executed: its blocks make up a store, and its commands use it.

The blocks are put together in a folder outside the repository, and are what the example has. What
is installed is what was put together, and it is found as any plugin is.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from tests.conftest import Server

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "howto" / "write-a-store.md"
EXAMPLE = ROOT / "examples" / "journal_store"
SECONDS = 100  # for a command; the conformance kit is the longest

DOCUMENTED = {"errors", "log", "memory", "model", "store", "testing", "wakeup"}
"""The modules of StatusThing that a store may import from."""

_FILE = re.compile(r"^`([\w./]+)`(?:, continued)?:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SERVE = "statusthing serve"


def written() -> dict[str, str]:
    """Return the files that the blocks of the page make up, by their path in the distribution.

    Blocks that follow one another are apart as Python's style asks: a method by one empty line, and
    all else by two.
    """
    files: dict[str, str] = {}
    for name, text in _FILE.findall(PAGE.read_text()):
        if name in files:
            files[name] += "\n" if text.startswith(" ") else "\n\n"
        files[name] = files.get(name, "") + text
    return files


def blocks(language: str) -> list[str]:
    """Return the blocks of a language that are no part of a file."""
    return [
        text for found, text in _BLOCK.findall(_FILE.sub("", PAGE.read_text())) if found == language
    ]


class Workplace(NamedTuple):
    """A folder with the store as the page has it, and what commands need to find it installed."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str) -> str:
        """Run a command, which has to succeed, and return what it printed."""
        ended = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The store, written down and installed by the commands of the page, beside what is here."""
    folder = tmp_path_factory.mktemp("workplace")
    installed = folder / "installed"
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(installed),
    }
    place = Workplace(folder, environment)
    _, make_folders, install, _ = blocks("sh")
    place.run("bash", "-euc", make_folders)
    for name, text in written().items():
        (folder / "journal_store" / name).write_text(text)
    install, _ = install.splitlines()
    options = ["--quiet", "--no-deps", "--no-build-isolation", f"--target={installed}"]
    place.run(*shlex.split(install), *options)
    return place


def test_the_page_builds_the_example() -> None:
    """Put together, the blocks of the page are the files of the example, and none is left out."""
    files = written()

    assert {name: (EXAMPLE / name).read_text() for name in files} == files
    assert files.keys() >= {
        "pyproject.toml",
        "tests/test_conformance.py",
        *(path.relative_to(EXAMPLE).as_posix() for path in EXAMPLE.glob("src/**/*.py")),
    }


def test_the_rules_are_shown(workplace: Workplace) -> None:
    """The command that shows the rules shows the first and the last of them."""
    shown = workplace.run(*shlex.split(blocks("sh")[0]))

    assert "**R1**" in shown
    assert "**R24**" in shown


def test_the_store_passes_the_kit(workplace: Workplace) -> None:
    """The conformance tests of the page pass, outside the repository, on what is installed."""
    command = shlex.split(blocks("sh")[2].splitlines()[1])
    printed = workplace.run(*command, "-p", "no:cacheprovider", "-W", "error")

    assert re.search(r"^TestJournalStore: 24 of 24 rules held", printed, re.MULTILINE)


def test_the_command_lists_the_store(workplace: Workplace) -> None:
    """The entry point is found, and is the one of the store's URL."""
    printed = workplace.run(*shlex.split(blocks("sh")[3].splitlines()[0]))

    assert "* journal:  statusthing-journal 0.1.0" in printed.splitlines()


@pytest.fixture
def served(
    workplace: Workplace,
    run: Callable[..., AbstractContextManager[Server]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], AbstractContextManager[Server]]:
    """Serves by the command of the page, on a free port, each time with the same file."""
    monkeypatch.setenv("PYTHONPATH", workplace.environment["PYTHONPATH"])
    program, serve, *store = shlex.split(blocks("sh")[3].splitlines()[1])
    place = Workplace(tmp_path, workplace.environment)
    token = place.run(program, "token", "create", "tests", "--role=editor", *store).strip()
    command = Path(sys.executable).with_name(program)
    return lambda: run(command, serve, *store, "--addr=127.0.0.1:0", token=token)


def test_the_server_keeps_its_data_there(
    served: Callable[[], AbstractContextManager[Server]], tmp_path: Path
) -> None:
    """What one server has acknowledged is what the next one answers."""
    with served() as server, server.json() as client:
        data = server.data
        item = client.ok("AddItem", name="Website")["item"]
    with served() as server, server.json() as client:
        found = client.ok("GetItem", item_id=item["id"])["item"]
        statuses = client.ok("ListStatus")["statuses"]

    assert data == "journal:///status.jsonl"
    assert found == item
    assert len(statuses) == 8
    assert (tmp_path / "status.jsonl").read_text().startswith('{"type":"layout"')


def test_the_program_prints_what_is_shown(workplace: Workplace) -> None:
    """The program that opens the store by its URL prints what is shown."""
    program, _ = blocks("python")

    assert workplace.run("python", "-W", "error", "-c", program) == blocks("text")[0]


def test_the_application_serves(workplace: Workplace) -> None:
    """The application over the store answers with the default statuses."""
    _, program = blocks("python")
    call = """
import asyncio, httpx

async def main():
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        answer = await http.post("/statusthing.v1.StatusService/ListStatus", json={})
    print(len(answer.json()["statuses"]))
    await app.st.store.close()

asyncio.run(main())
"""
    program = program.replace("status.jsonl", "embedded.jsonl")

    assert workplace.run("python", "-W", "error", "-c", program + call) == "8\n"


def test_every_block_is_executed() -> None:
    """There are no more blocks than those that the tests above use."""
    others = [language for language, _ in _BLOCK.findall(_FILE.sub("", PAGE.read_text()))]

    assert sorted(others) == ["python", "python", "sh", "sh", "sh", "sh", "text"]


def foreign_names(source: str) -> Iterator[str]:
    """Return what a module takes from StatusThing that is not documented."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("statusthing."))
        elif isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("statusthing."):
            module = f"{node.module}".removeprefix("statusthing.")
            if module not in DOCUMENTED:
                yield f"{node.module}"
            yield from (alias.name for alias in node.names if alias.name.startswith("_"))
        elif isinstance(node, ast.Attribute) and re.match(r"_(?!_)", node.attr):
            yield from [node.attr] if ast.unparse(node.value) != "self" else []


@pytest.mark.parametrize(
    "path",
    [*EXAMPLE.glob("src/**/*.py"), EXAMPLE / "tests" / "test_conformance.py"],
    ids=lambda path: path.name,
)
def test_the_store_uses_documented_names_only(path: Path) -> None:
    """The example imports from documented modules, and touches nobody's private names."""
    assert list(foreign_names(path.read_text())) == []


def test_a_private_name_would_be_seen() -> None:
    """The check above sees other modules, private names and private attributes."""
    source = """
import statusthing.sql.store
from statusthing import service
from statusthing.service.unit import Unit
from statusthing.memory import _satisfies, State
from statusthing_journal.lines import encode
State()._tables
self._own
"""

    assert list(foreign_names(source)) == [
        "statusthing.sql.store",
        "statusthing",
        "statusthing.service.unit",
        "_satisfies",
        "_tables",
    ]
