"""The examples, run as their docstrings say, with requests through them."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import runpy
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.tokens import add_token

from statusthing import build_app, registry
from statusthing_sqlite import SqliteStore

if TYPE_CHECKING:
    from tests.conftest import Server

Run = Callable[..., AbstractContextManager["Server"]]
Serve = Callable[[], AbstractContextManager["Server"]]

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PAGE = ROOT / "docs" / "howto" / "build-your-own-server.md"
PROGRAMS = sorted(EXAMPLES.glob("*.py"))
SECONDS = 30  # the bound of everything that is waited for
PREFIX = "/status/statusthing.v1"


@contextmanager
def uvicorn(folder: Path, application: str) -> Iterator[str]:
    """Serve an example with uvicorn on a free port; its store opens before, and closes after."""
    command = [
        *(sys.executable, "-W", "error", "-m", "uvicorn", application),
        *("--app-dir", str(EXAMPLES), "--port", "0"),
    ]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(SECONDS, process.kill)
        watchdog.start()
        assert process.stderr is not None
        logged = ""
        try:
            while not (found := re.search(r"running on (http://\S+)", logged)):
                line = process.stderr.readline()
                assert line, logged
                logged += line
            assert (folder / "statusthing.db").exists()
            yield found[1]
        finally:
            process.terminate()
            logged += process.stderr.read()
            watchdog.cancel()
    assert "Application shutdown complete" in logged, logged
    assert "Traceback" not in logged


def add_item(url: str, prefix: str, **options: Any) -> httpx.Response:
    """Add an item over HTTP, with the credentials in the options, if any."""
    return httpx.post(
        f"{url}{prefix}.ItemsService/AddItem", json={"name": "api"}, timeout=SECONDS, **options
    )


def items(url: str, prefix: str) -> list[str]:
    """Return the names of all items, read over HTTP."""
    listed = httpx.post(f"{url}{prefix}.ItemsService/ListItems", json={}, timeout=SECONDS)
    return [item["name"] for item in listed.json().get("items", [])]


def reported(folder: Path, *arguments: str, store: str) -> subprocess.CompletedProcess[str]:
    """Run the example that cron runs."""
    return subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / "in_process.py", *arguments],
        cwd=folder,
        env=os.environ | {"STATUSTHING_STORE": store},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


# A server of one's own


@pytest.fixture
def own_server(run: Run, tmp_path: Path) -> Serve:
    """Runs the example on a free port, over a store that has a token."""

    def serve() -> AbstractContextManager[Server]:
        token = asyncio.run(add_token(SqliteStore(tmp_path / "statusthing.db")))
        return run(sys.executable, str(EXAMPLES / "own_server.py"), "127.0.0.1:0", token=token)

    return serve


def test_an_own_server_answers_json_and_grpc(own_server: Serve) -> None:
    """What is added through one protocol is found through the other."""
    with own_server() as server:
        with server.grpc() as client:
            added = client.ok("AddItem", name="api")["item"]
        with server.json() as client:
            found = client.ok("GetItem", item_id=added["id"])["item"]
            statuses = client.ok("ListStatus")["statuses"]

    assert found["name"] == "api"
    assert len(statuses) == 8


def test_an_own_server_opens_its_store_first(run: Run, tmp_path: Path) -> None:
    """When it says where it listens, the store is open; what cannot be opened is found at once."""
    with run(sys.executable, str(EXAMPLES / "own_server.py"), "127.0.0.1:0"):
        opened = (tmp_path / "statusthing.db-wal").exists()

    assert opened


def test_an_own_server_has_its_own_page(own_server: Serve) -> None:
    """The extra route reads the same store; pages and probes of StatusThing are beside it."""
    with own_server() as server, server.anonymous.http() as http:
        refused = add_item(server.url, "/statusthing.v1")
        added = add_item(server.url, "/statusthing.v1", headers=server.credentials)
        hello, page, ready = (http.get(path) for path in ("/hello", "/", "/readyz"))

    assert (refused.status_code, added.status_code) == (401, 200)
    assert hello.text == "Items: 1\n"
    assert page.headers["content-type"].startswith("text/html")
    assert ready.json() == {"status": "ok"}


# In other frameworks


def test_in_fastapi_who_signs_in_may_write(tmp_path: Path) -> None:
    """Strangers may only read, although they are on this machine, and their users are known."""
    with uvicorn(tmp_path, "mount_in_fastapi:app") as url:
        refused = add_item(url, PREFIX)
        wrong = add_item(url, PREFIX, auth=("ada", "byron"))
        added = add_item(url, PREFIX, auth=("ada", "lovelace"))
        listed = items(url, PREFIX)

    for answer in (refused, wrong):
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert added.status_code == 200
    assert listed == ["api"]


def test_in_fastapi_the_login_is_that_of_the_application(tmp_path: Path) -> None:
    """The application's own route knows the same users, and nobody else."""
    logins = [None, ("ada", "lovelace"), ("ada", "byron"), ("eve", "")]
    with uvicorn(tmp_path, "mount_in_fastapi:app") as url:
        answers = [httpx.get(f"{url}/whoami", auth=auth, timeout=SECONDS) for auth in logins]

    assert [(answer.status_code, answer.text) for answer in answers] == [
        (401, '{"detail":"Not authenticated"}'),
        (200, '"ada"'),
        (401, '{"detail":"wrong user or password"}'),
        (401, '{"detail":"wrong user or password"}'),
    ]


@pytest.fixture
def django(tmp_path: Path) -> Iterator[str]:
    """Serves the example for Django, whose only user is made as its docstring says."""
    for command in (["migrate"], ["createsuperuser", "--noinput"]):
        subprocess.run(
            [sys.executable, EXAMPLES / "mount_in_django.py", *command],
            cwd=tmp_path,
            env=os.environ
            | {
                "DJANGO_SUPERUSER_USERNAME": "ada",
                "DJANGO_SUPERUSER_PASSWORD": "lovelace",
                "DJANGO_SUPERUSER_EMAIL": "ada@example.com",
            },
            capture_output=True,
            timeout=SECONDS,
            check=True,
        )
    with uvicorn(tmp_path, "mount_in_django:application") as url:
        yield url


def signed_in_to_django(url: str, http: httpx.Client, password: str) -> httpx.Response:
    """Fill in the form of the example, and return the page to which that leads."""
    form = http.get(f"{url}/login/").text
    fields = {"username": "ada", "password": password}
    [fields["csrfmiddlewaretoken"]] = re.findall(r'csrfmiddlewaretoken" value="(\w+)"', form)
    return http.post(f"{url}/login/", data=fields)


def test_in_django_paths_decide(django: str) -> None:
    """StatusThing answers below its prefix, and Django everywhere else."""
    listed = items(django, PREFIX)
    ready, hello, missing = (
        httpx.get(f"{django}{path}", timeout=SECONDS)
        for path in ("/status/readyz", "/hello/", "/statusthing.v1.ItemsService/ListItems")
    )

    assert listed == []
    assert ready.json() == {"status": "ok"}
    assert hello.text == "Hello from Django, AnonymousUser.\n"
    assert missing.status_code == 404


def test_in_django_the_login_is_that_of_the_project(django: str) -> None:
    """Whoever has signed in to Django may write, from its own pages only; strangers may not."""
    with httpx.Client(timeout=SECONDS, follow_redirects=True) as http:
        signed_in_to_django(django, http, "byron")
        wrong = add_item(django, PREFIX, cookies=http.cookies)
        hello = signed_in_to_django(django, http, "lovelace")
        elsewhere = {"sec-fetch-site": "cross-site"}
        forged = add_item(django, PREFIX, cookies=http.cookies, headers=elsewhere)
        here = {"sec-fetch-site": "same-origin"}
        added = add_item(django, PREFIX, cookies=http.cookies, headers=here)
        stranger = add_item(django, PREFIX, headers=here)

    assert hello.text == "Hello from Django, ada.\n"
    assert [each.status_code for each in (wrong, forged, added, stranger)] == [401, 403, 200, 401]
    assert items(django, PREFIX) == ["api"]


# Without HTTP


def test_a_report_is_shown_by_a_running_server(run: Run, tmp_path: Path) -> None:
    """A server that has the same store open shows the item, its status and the notes at once."""
    with (
        run(sys.executable, str(EXAMPLES / "own_server.py"), "127.0.0.1:0") as server,
        server.json() as client,
    ):
        for status, text in (("UP", "All files are copied."), ("DOWN", "The disk is full.")):
            ended = reported(tmp_path, "Backup", status, text, store=server.data)
            assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
        [item] = client.ok("ListItems", extended=True)["items"]

    assert (item["name"], item["status"]["name"]) == ("Backup", "DOWN")
    assert [note["text"] for note in item["notes"]] == [
        "All files are copied.",
        "The disk is full.",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["Backup"], "usage: in_process.py ITEM STATUS TEXT\n"),
        (["Backup", "FINE", "x"], "no status is named FINE: choose from UP, ONLINE, "),
    ],
)
def test_a_report_that_cannot_be_made_says_why(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    """The exit code is 1, and one line says what is wrong."""
    ended = reported(tmp_path, *arguments, store="sqlite:///here.db")

    assert ended.returncode == 1
    assert ended.stderr.startswith(says)
    assert ended.stderr.count("\n") == 1


def test_a_report_to_no_store_is_a_mistake(tmp_path: Path) -> None:
    """A URL that cannot work gives exit code 2 and one line, as it does for the command."""
    ended = reported(tmp_path, "Backup", "UP", "x", store="bogus")

    assert ended.returncode == 2
    assert ended.stderr.startswith("in_process.py: a store URL needs a scheme")
    assert ended.stderr.count("\n") == 1


# What is said about them


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_an_example_says_how_to_run_it(program: Path) -> None:
    """The docstring has the command, and everything that the program imports and that it needs."""
    tree = ast.parse(program.read_text())
    docstring = ast.get_docstring(tree) or ""
    imported = {
        (node.module or "").partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    needed = imported - set(sys.stdlib_module_names) - {"starlette"}  # which statusthing needs

    assert program.stem in re.findall(r"^    .*?(\w+)(?:\.py|:\w+)", docstring, re.MULTILINE)
    assert {name for name in needed if f"`{name}`" not in docstring} == set()
    assert f"({program.name})" in (EXAMPLES / "README.md").read_text()


def blocks() -> list[str]:
    """Return the programs on the page about servers of one's own."""
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_page_shows_what_is_in_the_examples() -> None:
    """Every program on the page but the last is a part of an example."""
    sources = [program.read_text() for program in PROGRAMS]
    elsewhere = [block for block in blocks() if not any(block in source for source in sources)]

    assert elsewhere == blocks()[-1:]


def test_the_page_has_every_argument() -> None:
    """The table names what `build_app` takes besides the store, and nothing else."""
    rows = re.findall(r"^\| (`.*?) \|", PAGE.read_text(), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]

    assert named == list(inspect.signature(build_app).parameters)[1:]


def test_the_store_of_the_page_is_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last program on the page runs, and gets its own store."""
    monkeypatch.setattr(registry, "_registered", {})
    program = tmp_path / "program.py"
    program.write_text(blocks()[-1])

    assert runpy.run_path(str(program))["store"].url == "inhouse://"
