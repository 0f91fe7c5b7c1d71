"""The `statusthing` command: what it prints, how it ends, and what it makes of mistakes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.command import STATUSTHING, is_one_clear_line, statusthing

from statusthing import cli

DOCS = Path(__file__).parents[1] / "docs"
ITEMS = "/statusthing.v1.ItemsService/"

Serve = Callable[..., AbstractContextManager[Any]]


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    """A taken port gives exit code 2, one line with the address, and no database left behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = statusthing(tmp_path, "serve", "--addr", address)

    assert ended.returncode == 2
    assert is_one_clear_line(ended.stderr), ended.stderr
    assert address in ended.stderr
    assert ended.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["serve", "--store", "mysql://root:hunter2@db/x"], "no store for mysql: URLs"),
        (["serve", "--store", "statusthing.db"], "a store URL needs a scheme"),
        (["serve", "--store", ""], "a store URL needs a scheme"),
        (["serve", "--store", "memory://somewhere"], "takes nothing behind it"),
        (["serve", "--store", "sqlite:///no/such/folder/x.db"], "no/such/folder"),
        (["serve", "--store", "sqlite:///x.db?mode=fast"], "takes no parameters"),
        (["serve", "--addr", "0.0.0.0:9000"], "without TLS"),
        (["serve", "--addr", "example.com:9000", "--devmode"], "with --devmode"),
        (["serve", "--devmode", "--trusted-proxy=10.0.0.0/8"], "does not go with"),
        (["serve", "--addr", "127.0.0.1"], "must be HOST:PORT"),
        (["serve", "--addr", "nonsense"], "must be HOST:PORT"),
        (["serve", "--addr", "127.0.0.1:99999"], "99999"),
        (["serve", "--addr", "127.0.0.1:http"], "http"),
        (["serve", "--prot", "1"], "--prot"),
        (["serve", "more"], "more"),
        (["serve", "\x1b[31mred"], "(\\x1b[31mred)"),
        (["server"], "server"),
        (["migrate", "--store", "sqlite:////no/such/folder/x.db"], "/no/such/folder"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_mistakes_are_one_clear_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    """Every mistake gives exit code 2 and one clear line: no traceback, no password."""
    ended = statusthing(tmp_path, *arguments)

    assert ended.returncode == 2, ended.stderr
    assert is_one_clear_line(ended.stderr), ended.stderr
    assert says in ended.stderr
    assert "hunter2" not in ended.stderr


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    """Somebody else's file is refused with one line, and is not changed."""
    file = tmp_path / "letter.txt"
    file.write_text("Dear all,\n" * 1_000)
    ended = statusthing(tmp_path, "serve", "--addr=127.0.0.1:0", "--store=sqlite:///letter.txt")

    assert ended.returncode == 2
    assert is_one_clear_line(ended.stderr), ended.stderr
    assert file.read_text() == "Dear all,\n" * 1_000
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_well_and_nothing_is_lost(tmp_path: Path, stop: signal.Signals) -> None:
    """SIGINT and SIGTERM give exit code 0, and a restart shows all acknowledged writes."""
    items = []
    made = statusthing(
        tmp_path, "token", "create", "tests", "--role=editor", "--store=sqlite:///data.db"
    )
    headers = {"authorization": f"Bearer {made.stdout.strip()}"}
    for turn in range(2):
        process = subprocess.Popen(
            [STATUSTHING, "serve", "--addr", "127.0.0.1:0", "--store", "sqlite:///data.db"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("listening on ").strip()
        assert process.stdout.readline() == "data in sqlite:///data.db\n"
        if turn == 0:
            fields = {"name": "api"}
            added = httpx.post(f"{url}{ITEMS}AddItem", json=fields, headers=headers).json()
        items.append(httpx.post(f"{url}{ITEMS}ListItems", json={}).json()["items"])
        process.send_signal(stop)
        _, stderr = process.communicate(timeout=20)

        assert process.returncode == 0, stderr
        assert "Traceback" not in stderr

    assert items == [[added["item"]], [added["item"]]]


def test_options_also_come_from_the_environment(tmp_path: Path) -> None:
    """`STATUSTHING_STORE` can replace `--store`, and the command line wins."""
    by_environment = statusthing(tmp_path, "migrate", STATUSTHING_STORE="sqlite:///e.db")
    typed = statusthing(
        tmp_path, "migrate", "--store", "sqlite:///t.db", STATUSTHING_STORE="sqlite:///e.db"
    )

    assert by_environment.stdout.startswith("data in sqlite:///e.db ")
    assert typed.stdout.startswith("data in sqlite:///t.db ")


@pytest.mark.parametrize(
    "option",
    ["STORE", "ADDR", "API_ADDR", "ACCESS", "CERTFILE", "KEYFILE", "SETUP_FILE", "WORKERS"],
)
def test_an_empty_variable_is_a_mistake(tmp_path: Path, option: str) -> None:
    """It is refused, and not taken for one that is not set; no database is left behind."""
    ended = statusthing(tmp_path, "serve", **{f"STATUSTHING_{option}": ""})

    assert ended.returncode == 2
    assert ended.stderr == (
        f"statusthing: STATUSTHING_{option} is empty: give it a value, or remove it\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_empty_variable_that_is_not_used_does_no_harm(tmp_path: Path) -> None:
    """The command line wins; an empty switch is off, and an empty list has nothing in it."""
    names = ("STORE", "DEVMODE", "CORS_ORIGIN", "TRUSTED_PROXY", "INSECURE_HTTP")
    empty = {f"STATUSTHING_{name}": "" for name in names}
    migrated = statusthing(tmp_path, "migrate", "--store=memory://", **empty)
    served = statusthing(tmp_path, "serve", "--store=memory://", "--addr=0.0.0.0:1", **empty)

    assert migrated.returncode == 0
    assert "without TLS" in served.stderr


def test_migrate_can_be_repeated(tmp_path: Path) -> None:
    """The second time it does nothing, and no default statuses are added."""
    first, second = (
        statusthing(tmp_path, "migrate", "--store", "sqlite:///data.db") for _ in range(2)
    )

    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout == second.stdout
    assert first.stderr == second.stderr


def test_stores_lists_what_is_installed(tmp_path: Path) -> None:
    """Each scheme is listed with its distribution and version, and that of --store is marked."""
    ended = statusthing(tmp_path, "stores", "--store", "memory://")

    assert {"* memory:  statusthing 0.1.0", "  sqlite:  statusthing-sqlite 0.1.0"} <= set(
        ended.stdout.splitlines()
    )


def test_stores_prints_what_is_shown(tmp_path: Path) -> None:
    """The reference shows what is printed where the distributions of this repository are there."""
    page = (DOCS / "reference" / "cli.md").read_text()
    _, _, after = page.partition("## statusthing stores")
    shown = after.split("```")[1].removeprefix("text\n")

    assert statusthing(tmp_path, "stores").stdout == shown


def test_version_and_help(tmp_path: Path) -> None:
    """Both options print their text and exit with 0; the help names every command."""
    version = statusthing(tmp_path, "--version")
    usage = statusthing(tmp_path, "--help")

    assert version.stdout == "statusthing, version 0.1.0\n"
    assert all(command in usage.stdout for command in cli.command.commands)


@pytest.mark.parametrize("group", [[], ["user"], ["token"]], ids=" ".join)
def test_no_summary_of_a_command_is_cut(tmp_path: Path, group: list[str]) -> None:
    """The list of commands has a whole sentence for each."""
    summaries = statusthing(tmp_path, *group, "--help").stdout.partition("Commands:\n")[2]

    assert "..." not in summaries


def test_the_help_has_variables_and_an_example(tmp_path: Path) -> None:
    """The help of a command names the variable of every option, and shows a store's URL."""
    usage = statusthing(tmp_path, "serve", "--help").stdout
    named = set(re.findall(r"STATUSTHING_(\w+)", usage))

    options = cli.command.commands["serve"].params
    assert named == {
        name.removeprefix("STATUSTHING_") for option in options for name in option.envvar or ()
    }
    assert len(named) >= 13
    assert "sqlite:////srv/statusthing.db" in usage


def test_no_command_shows_how_to_go_on(tmp_path: Path) -> None:
    """Without a command, the usage is printed on stderr, and the exit code is 2."""
    ended = statusthing(tmp_path)

    assert ended.returncode == 2
    assert "\n  serve " in ended.stderr


def test_the_log_is_json_where_nobody_watches(serve: Serve) -> None:
    """Each line on stderr is a JSON object; requests have a method, path, status and code."""
    with serve("--store=memory://") as server, server.http() as http:
        http.get("/healthz?token=secret")
        http.get("/état")
        http.post(f"{ITEMS}GetItem", json={"itemId": "none"})
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    requests = [line for line in lines if line["logger"] == "statusthing.request"]

    assert [(line["event"], line["code"]) for line in requests] == [
        ("GET /healthz 200", "ok"),
        ("GET /état 404", "unimplemented"),
        (f"POST {ITEMS}GetItem 404", "not_found"),
    ]
    time = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
    assert all(time.fullmatch(line["timestamp"]) for line in lines)


def test_the_log_is_readable_on_a_terminal(tmp_path: Path) -> None:
    """On a terminal a line is text for people, not JSON."""
    controller, terminal = os.openpty()
    process = subprocess.Popen(
        [STATUSTHING, "serve", "--addr", "127.0.0.1:0", "--store", "memory://"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
    )
    assert process.stdout is not None
    url = process.stdout.readline().removeprefix("listening on ").strip()
    httpx.get(f"{url}/healthz")
    process.terminate()
    process.communicate(timeout=20)
    os.close(terminal)
    shown = os.read(controller, 100_000).decode()
    os.close(controller)

    assert "GET /healthz 200" in shown
    assert '{"event"' not in shown
