"""The command over stores that other distributions bring, good and bad."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.plugins import BROKEN, SHARED, WORKING, install

from statusthing.sql import schema

if TYPE_CHECKING:
    from tests.conftest import Server

Run = Callable[..., AbstractContextManager["Server"]]

STATUSTHING = Path(sys.executable).with_name("statusthing")
URL = "acme://ada:hunter2@db.example/kept?token=s3cret"

REFUSING = """
from statusthing.errors import UserMistake

def make(url):
    raise UserMistake(f"cannot use\\n{url.rpartition('/')[0]}")
"""

FAILING = """
from statusthing_sqlite import SqliteStore

class Failing(SqliteStore):
    async def {method}(self):
        raise OSError("no disk for\\nada:hunter2")

def make(url):
    return Failing("kept.db")
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A folder for plugins, which the command finds."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    return folder


def statusthing(plugins: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, with the plugins installed."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("STATUSTHING_")}
    return subprocess.run(
        [STATUSTHING, *arguments],
        cwd=plugins.parent,
        env=clean | {"PYTHONPATH": str(plugins)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_the_command_serves_any_store(plugins: Path, run: Run) -> None:
    """`serve` takes a plugin's URL, with several processes too where its store allows it."""
    install(plugins, source=SHARED)
    store = "--store=acme://kept.db"
    command = [str(STATUSTHING), "serve", "--addr=127.0.0.1:0", store, "--workers=2"]
    token = statusthing(plugins, "token", "create", "tests", "--role=editor", store).stdout.strip()

    with (
        run("env", f"PYTHONPATH={plugins}", *command, token=token) as server,
        server.json() as client,
    ):
        added = client.ok("AddItem", name="api")["item"]

        assert client.ok("GetItem", item_id=added["id"]) == {"item": added}


def test_the_command_migrates_any_store(plugins: Path) -> None:
    """`migrate` takes a plugin's URL."""
    install(plugins, source=SHARED)
    ended = statusthing(plugins, "migrate", "--store=acme://kept.db")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"data in sqlite:///kept.db is laid out as version {schema.NEWEST}\n"


def test_migrating_memory_succeeds(plugins: Path) -> None:
    """There is nothing to do for a store in memory, and that is no mistake."""
    ended = statusthing(plugins, "migrate", "--store=memory://")

    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_store_of_one_process_has_one_worker(plugins: Path) -> None:
    """`serve` refuses several processes for a plugin's store that is not shared."""
    install(plugins)
    ended = statusthing(plugins, "serve", "--addr=127.0.0.1:0", "--store=acme://x", "--workers=2")

    assert ended.returncode == 2
    assert ended.stderr == (
        "statusthing: acme://x is of use to one process only: take another store, or --workers 1\n"
    )


@pytest.mark.parametrize("command", ["serve", "migrate"])
@pytest.mark.parametrize(
    ("installed", "code", "says"),
    [
        ({}, 2, "no store for acme: URLs is installed"),
        (
            {"acme-one": WORKING, "acme-two": WORKING},
            2,
            "acme: URLs are claimed by acme-one 1.2 and acme-two 1.2",
        ),
        (
            {"acme-store": BROKEN},
            1,
            """cannot be loaded (ModuleNotFoundError("No module named 'acme_driver'"))""",
        ),
        (
            {"acme-store": "def make(url): raise ValueError(url)"},
            1,
            "from acme-store 1.2, fails (StatusThingError('ValueError: ",
        ),
        (
            {"acme-store": "make = repr"},
            1,
            "from acme-store 1.2, makes a str, which is no store",
        ),
        ({"acme-store": REFUSING}, 2, "cannot use acme://***@db.example\n"),
    ],
    ids=["unknown", "clash", "unloadable", "failing", "no store", "refusing"],
)
def test_the_command_ends_with_one_line(
    plugins: Path, command: str, installed: dict[str, str], code: int, says: str
) -> None:
    """A user's mistake ends with 2, a broken plugin with 1; one line, without a secret."""
    for name, source in installed.items():
        install(plugins, name, source=source)
    ended = statusthing(plugins, command, "--store", URL)

    assert ended.returncode == code
    assert ended.stderr.startswith("statusthing: ")
    assert ended.stderr.count("\n") == 1
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "hunter2" not in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize("method", ["migrate", "open"])
@pytest.mark.parametrize(
    "command",
    [["serve", "--addr=127.0.0.1:0"], ["serve", "--addr=127.0.0.1:0", "--workers=2"], ["migrate"]],
    ids=["serve", "workers", "migrate"],
)
def test_what_nobody_expected_is_one_line(plugins: Path, command: list[str], method: str) -> None:
    """A store that raises anything is named, with the error and its place, and without secrets."""
    install(plugins, source=FAILING.format(method=method))
    ended = statusthing(plugins, *command, "--store", URL)

    assert ended.returncode == 1
    assert ended.stderr == (
        "statusthing: failed with the store for acme: URLs, from acme-store 1.2, at "
        f"{plugins}/acme_store.py:6 (StatusThingError('OSError: no disk for ***:***'))\n"
    )
    assert ended.stdout == ""


@pytest.mark.parametrize("arguments", [[URL], ["serve", URL], ["serve", "--addr", URL]])
def test_a_url_in_the_wrong_place_shows_no_password(plugins: Path, arguments: list[str]) -> None:
    """An argument that the command cannot use is named without user and password."""
    ended = statusthing(plugins, *arguments)

    assert ended.returncode == 2
    assert "acme://***@db.example" in ended.stderr


def test_a_template_stays_readable(plugins: Path) -> None:
    """What a URL should look like is shown as it is, although it has the form of a secret."""
    ended = statusthing(plugins, "migrate", "--store=postgresql://u:s3cr3t@pw@h/x")

    assert ended.returncode == 2
    assert "postgresql://user:password@host:5432/database" in ended.stderr


@pytest.mark.parametrize(
    "url",
    [
        "acme://ada:hunter2@db/a@b",
        "acme://ada:p@ss@hunter2@db/x",
        "acme://ada:p ss hunter2@db/x",
        "acme://nobody@db,acme://ada:hunter2@db/x",
    ],
)
def test_every_secret_that_was_given_is_hidden(plugins: Path, url: str) -> None:
    """However a message quotes a URL, what may be its user and password is not in it."""
    install(plugins, source=REFUSING)
    ended = statusthing(plugins, "migrate", "--store", url)

    assert ended.returncode == 2
    assert "://***@" in ended.stderr
    assert "hunter2" not in ended.stderr


def test_stores_lists_plugins_without_loading_them(plugins: Path) -> None:
    """A broken one is listed, that of --store has an asterisk, and a clash exclamation marks."""
    install(plugins, "broken-store", version="0.1", scheme="broken", source=BROKEN)
    install(plugins, "acme-one", version="1.0", source=BROKEN)
    install(plugins, "acme-two", version="2.0", source=BROKEN)
    listed = statusthing(plugins, "stores", "--store=BROKEN:x")
    clashing = statusthing(plugins, "stores", f"--store={URL}")
    expected = ["! acme:  acme-one 1.0", "! acme:  acme-two 2.0", "* broken:  broken-store 0.1"]

    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.splitlines()[:3] == expected
    assert clashing.stdout.splitlines()[:2] == expected[:2]
    assert "*" not in clashing.stdout
