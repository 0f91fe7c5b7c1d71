"""The documentation's examples are executed, and its statements compared with the code.

Ids and times in the answers shown stand for any id and any time. The port 9000 stands for the port
of the server under test.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import re
import runpy
import sqlite3
import subprocess
import sys
import venv
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import httpx
import pytest
from starlette.types import ASGIApp
from tests.requirements import closure
from tests.tokens import add_token

from statusthing import Role, StatusKind, cli, limits
from statusthing.access import PERMISSIONS, Access
from statusthing.registry import installed
from statusthing.rpc.errors import CODES
from statusthing.service import (
    OPERATIONS,
    audit,
    checks,
    idempotency,
    items,
    pages,
    passwords,
    throttle,
)
from statusthing.sql.writer import FRESH_SECONDS, SETTLE_SECONDS
from statusthing.web.headline import KINDS, Level, headline
from statusthing.web.routes import ROUTES
from statusthing.web.settings import DEFAULTS
from statusthing_postgres import PostgresStore
from statusthing_postgres.connection import ANSWER_SECONDS, CONNECT_SECONDS, MIGRATION_SECONDS
from statusthing_postgres.readers import CONNECTIONS
from statusthing_postgres.store import AWAY_SECONDS, LISTEN_SECONDS
from statusthing_sqlite import SqliteStore

if TYPE_CHECKING:
    from tests.conftest import Server

Serve = Callable[..., AbstractContextManager["Server"]]

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
API = ROOT / "docs" / "reference" / "api.md"
PUBLIC = ROOT / "docs" / "reference" / "pages.md"
CLI = ROOT / "docs" / "reference" / "cli.md"
PAGES = sorted(
    path
    for pattern in ("*.md", "*/README.md", "docs/**/*.md", ".github/**/*.md")
    for path in ROOT.glob(pattern)
)
SECONDS = 30  # the bound of everything that is waited for
DOCUMENTED_ADDRESS = "127.0.0.1:9000"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^]]*\]\(([^)\s]+)\)")
_VARIABLE = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z"
)  # ids and times


class Block(NamedTuple):
    """A fenced block: its language and its text."""

    language: str
    text: str


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a page, or of a part of one."""
    return [Block(*found) for found in _FENCE.findall(text)]


def section(page: Path, title: str) -> str:
    """Return a section of a page: from its heading to the next of the same level or above."""
    text = _FENCE.sub(lambda found: found[0].replace("#", "\0"), page.read_text())
    start = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert start is not None, f"{page.name} has no section {title}"
    rest = text[start.end() :]
    end = re.search(rf"^#{{1,{len(start[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start() if end else None].replace("\0", "#")


def tables(text: str) -> list[list[list[str]]]:
    """Return the tables of a text, each as rows of cells, without its head."""
    found = re.findall(r"^\|.*\|\n\|[-|]+\|\n((?:\|.*\|\n)+)", text, re.MULTILINE)
    return [
        [[cell.strip() for cell in row.strip("|").split("|")] for row in body.splitlines()]
        for body in found
    ]


def run(script: str, folder: Path) -> str:
    """Run a script of bash, which has to succeed, and return what it printed."""
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],  # noqa: S607 - whichever bash there is
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def masked(text: str) -> Any:
    """Return what a block shows, as JSON where it is JSON, with a mark for each id and time."""
    text = _VARIABLE.sub("*", text)
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text.strip()


def curl_examples() -> tuple[list[str], list[str]]:
    """Return the commands of the README's section on curl, and the answer shown for each."""
    commands, answers = [], []
    for block in blocks(section(README, "With curl")):
        if block.language == "bash":
            commands.append(block.text)
            answers.append("")
        else:
            answers[-1] = block.text
    return commands, answers


def typed_in_one_shell(commands: list[str], server: Server, folder: Path) -> list[str]:
    """Run commands one after the other in one shell, and return what each printed.

    They find StatusThing in `.venv`, where the README has installed it.
    """
    (folder / ".venv").symlink_to(sys.prefix)
    end = "--- the end of a command ---"
    script = "".join(f"{command}\necho; echo '{end}'\n" for command in commands)
    printed = run(script.replace(DOCUMENTED_ADDRESS, server.address), folder)
    return printed.split(end)[:-1]


# The examples


def test_the_curl_examples_answer_what_is_shown(serve: Serve, tmp_path: Path) -> None:
    """Run one after the other, each command prints the answer shown below it."""
    commands, answers = curl_examples()

    with serve() as server:
        printed = typed_in_one_shell(commands, server, tmp_path)

    assert len(commands) >= 8
    assert [masked(each) for each in printed] == [masked(each) for each in answers]


def test_the_start_prints_what_is_shown(serve: Serve) -> None:
    """The README and the reference show the two lines that `serve` prints by default."""
    shown = [
        block.text
        for text in (section(README, "Start it"), section(CLI, "statusthing serve"))
        for block in blocks(text)
        if block.language == "text"
    ]

    with serve() as server:
        printed = f"listening on {server.url}\ndata in {server.data}\n"

    assert shown == [printed.replace(server.address, DOCUMENTED_ADDRESS)] * 2


def test_the_start_command_installs_what_it_needs() -> None:
    """The command that starts a server installs the core and the default store, and serves."""
    [command] = [block.text for block in blocks(section(README, "Start it")) if block[0] == "sh"]
    installs = re.findall(r"\./(\S+)", command)

    assert installs == ["statusthing", "statusthing_sqlite"]
    assert command.strip().endswith("&& .venv/bin/statusthing serve")


@pytest.mark.parametrize("page", [README, ROOT / "CONTRIBUTING.md", ROOT / ".ci" / "run"])
def test_one_command_checks_everything(page: Path) -> None:
    """The README, the contributors' page and the CI script name the same command."""
    command = "python3 -m venv .venv && .venv/bin/pip install nox && .venv/bin/nox -s tests\n"

    assert command in page.read_text()


@pytest.fixture
def grpc_environment(tmp_path: Path) -> Path:
    """`client/.venv` below the folder returned, as it is after `pip install grpcio-tools`.

    Made from what is installed here, so that the test needs no network; without StatusThing.
    """
    folder = tmp_path / "client" / ".venv"
    venv.create(folder, symlinks=True)
    [packages] = folder.glob("lib/python*/site-packages")
    for name in closure("grpcio-tools"):
        distribution = importlib.metadata.distribution(name)
        for top in {path.parts[0] for path in distribution.files or ()} - {".."}:
            if not (packages / top).exists():
                (packages / top).symlink_to(str(distribution.locate_file(top)))
    (tmp_path / "proto").symlink_to(ROOT / "proto")
    return tmp_path


def test_the_grpc_client_prints_what_is_shown(serve: Serve, grpc_environment: Path) -> None:
    """A client generated by the commands shown finds what the curl examples left."""
    part = section(README, "With gRPC")
    [commands, program, output] = blocks(part)
    [new, install, generate] = commands.text.splitlines()
    [start] = re.findall(r"run `(.*?)`", part)

    run(generate, grpc_environment)
    with serve() as server:
        source = program.text.replace(DOCUMENTED_ADDRESS, server.address)
        (grpc_environment / "client" / "main.py").write_text(source)
        *_, printed = typed_in_one_shell([*curl_examples()[0], start], server, grpc_environment)

    assert new == "python3 -m venv client/.venv"
    assert install == "client/.venv/bin/pip install grpcio-tools"
    assert printed.strip() == output.text.strip()


def python_examples() -> list[str]:
    """Return the programs of the README's section on embedding."""
    part = section(README, "In your own program")
    return [block.text for block in blocks(part) if block.language == "python"]


def test_the_in_process_example_prints_what_is_shown(tmp_path: Path) -> None:
    """The program without a server prints what is shown."""
    [shown] = [b.text for b in blocks(section(README, "In your own program")) if b[0] == "text"]
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", python_examples()[0]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, shown, "")


def application(source: str, folder: Path) -> Any:
    """Run a program that makes an application, and return what it makes."""
    program = folder / "program.py"
    program.write_text(source.replace("sqlite:///", f"sqlite:///{folder}/"))
    return runpy.run_path(str(program))["app"]


async def statuses_of(
    app: ASGIApp, rpcs: str, name: str, **headers: str
) -> tuple[httpx.Response, httpx.Response]:
    """Add a status with these headers, and list all without them."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        added = await http.post(
            f"{rpcs}.StatusService/AddStatus",
            json={"name": name, "kind": "STATUS_KIND_UP"},
            headers=headers,
        )
        return added, await http.post(f"{rpcs}.StatusService/ListStatus", json={})


def test_the_embedding_example_serves_under_its_prefix(tmp_path: Path) -> None:
    """Mounted as shown, the API answers below its prefix, and lets write who has a token."""
    app = application(python_examples()[1], tmp_path)
    rpcs = "/status/statusthing.v1"
    token = asyncio.run(add_token(SqliteStore(tmp_path / "embedded.db")))

    async def use() -> tuple[httpx.Response, ...]:
        return (
            *await statuses_of(app, rpcs, "by a program", authorization=f"Bearer {token}"),
            *await statuses_of(app, rpcs, "by a stranger"),
        )

    added, listed, refused, read = asyncio.run(use())

    assert (added.status_code, refused.status_code, read.status_code) == (200, 401, 200)
    assert len(listed.json()["statuses"]) == 9
    assert read.json() == listed.json()


def test_the_identify_example_lets_write_who_signed_in(tmp_path: Path) -> None:
    """With the function shown, users whom the host application knows may write."""
    app = application(python_examples()[2], tmp_path)

    class User:
        is_authenticated = True
        display_name = "ada"

    async def signed_in(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "user": User()}, receive, send)

    async def use() -> tuple[httpx.Response, httpx.Response]:
        known, _ = await statuses_of(signed_in, "/statusthing.v1", "known")
        stranger, _ = await statuses_of(app, "/statusthing.v1", "stranger")
        await app.st.store.close()
        return known, stranger

    known, stranger = asyncio.run(use())

    assert known.status_code == 200
    assert stranger.status_code == 401


def test_the_backup_command_makes_a_whole_copy(serve: Serve, tmp_path: Path) -> None:
    """The command shown makes a complete copy of a database that a server has open."""
    [command] = [b.text for b in blocks(section(ROOT / "docs/explanation/storage.md", "Backup"))]

    with serve():
        run(command.replace("python3", sys.executable, 1), tmp_path)
    copy = sqlite3.connect(tmp_path / "backup.db")
    [found] = copy.execute("SELECT count(*) FROM statusthing_statuses").fetchone()
    copy.close()

    assert found == 8


def test_the_get_example_may_be_cached(serve: Serve, tmp_path: Path) -> None:
    """The answer to the GET shown has the headers that the text beside it describes."""
    [example] = blocks(section(API, "Caching"))

    with serve() as server:
        [printed] = typed_in_one_shell([example.text], server, tmp_path)

    assert printed.startswith("HTTP/1.1 200")
    assert "cache-control: public, no-cache" in printed
    assert "etag: " in printed


def test_the_log_line_shown_is_one_of_ours(serve: Serve) -> None:
    """A request's line in the log has the fields of the line shown."""
    [example] = blocks(section(ROOT / "docs/explanation/serving.md", "Logs"))

    with serve() as server:
        httpx.get(f"{server.url}/healthz", timeout=SECONDS)
    line = server.log.read_text().splitlines()[-1]

    assert json.loads(line).keys() == json.loads(example.text).keys()


def test_every_example_of_the_readme_is_executed() -> None:
    """Every block of the README is in a section whose blocks are executed."""
    titles = ["Start it", "With curl", "With gRPC", "In your own program", "Development"]
    executed = [block for title in titles for block in blocks(section(README, title))]

    assert executed == blocks(README.read_text())


# The reference


RPCS = [row for row in OPERATIONS.values() if row.service]


def test_the_reference_has_every_operation() -> None:
    """Each operation has a section in the reference that names each field of its request."""
    missing = [
        (row.name, field)
        for row in RPCS
        for field in row.request.__struct_fields__
        if f"`{field}`" not in section(API, row.name)
    ]

    assert missing == []


def test_the_reference_has_no_other_operations() -> None:
    """Every section about an operation is about one that exists."""
    verbs = "Get|List|Add|Update|Delete|Change|Who|Revoke"
    titles = re.findall(rf"^### ((?:{verbs})\w+)$", API.read_text(), re.MULTILINE)

    assert sorted(titles) == sorted(row.name for row in RPCS)


def test_the_reference_has_the_role_of_every_operation() -> None:
    """The table of who may call says what the policy does."""
    [rows] = tables(section(API, "Who may call"))
    roles = {name.strip("` "): (row[0], row[1]) for row in rows for name in row[2].split(", ")}

    def named(role: Role) -> str:
        return "nobody in particular" if role is Role.ANYBODY else role.name.lower()

    assert roles == {
        row.name: (
            named(PERMISSIONS[row.name][Access.PUBLIC]),
            named(PERMISSIONS[row.name][Access.PRIVATE]),
        )
        for row in RPCS
    }


def test_the_reference_has_every_error() -> None:
    """The table of errors has the same classes and codes as the code."""
    documented = {row[0].strip("`"): row[1].strip("`") for row in tables(section(API, "Errors"))[0]}

    assert documented == {kind.__name__: code.value for kind, code in CODES.items()}


# https://connectrpc.com/docs/protocol#error-codes
HTTP_STATUSES = {
    "invalid_argument": HTTPStatus.BAD_REQUEST,
    "failed_precondition": HTTPStatus.BAD_REQUEST,
    "unauthenticated": HTTPStatus.UNAUTHORIZED,
    "permission_denied": HTTPStatus.FORBIDDEN,
    "not_found": HTTPStatus.NOT_FOUND,
    "aborted": HTTPStatus.CONFLICT,
    "already_exists": HTTPStatus.CONFLICT,
    "resource_exhausted": HTTPStatus.TOO_MANY_REQUESTS,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "deadline_exceeded": HTTPStatus.GATEWAY_TIMEOUT,
}


def test_the_reference_has_the_http_status_of_errors() -> None:
    """Each code has the HTTP status that the protocol assigns to it."""
    rows = tables(section(API, "Errors"))[0]

    assert [int(row[2]) for row in rows] == [HTTP_STATUSES[row[1].strip("`")] for row in rows]


API_LIMITS = {
    "name": checks.MAX_NAME,
    "description": checks.MAX_DESCRIPTION,
    "note": checks.MAX_NOTE,
    "id of your choice": 64,
    "`request_id`": checks.MAX_REQUEST_ID,
    "notes that an item brings along": items.NEWEST_NOTES,
    "page": pages.MAX_PAGE,
    "list without a page size": pages.MAX_WHOLE,
    "list in a request": limits.ELEMENTS,
    "request message": limits.MESSAGE_BYTES,
    "an idempotency key is kept": idempotency.KEPT_FOR // timedelta(hours=1),
    "email address": checks.MAX_EMAIL,
    "address of a picture": checks.MAX_URL,
    "password, at least": passwords.LEAST_CHARACTERS,
    "password, at most": passwords.MOST_BYTES,
    "entries of the audit trail, without a page size": audit.PAGE,
    "failed attempts to sign in, of one account from one address": throttle.FAILURES[
        "account and address"
    ],
    "the same, from one address": throttle.FAILURES["address"],
    "time in which they are counted": throttle.WINDOW // timedelta(minutes=1),
    "failed attempts to sign in that are kept": throttle.MOST_KEPT,
    "for how long": throttle.KEPT_FOR.days,
}

SERVING_LIMITS = {
    "message of a request": limits.MESSAGE_BYTES,
    "list in a request": limits.ELEMENTS,
    "request line and headers": limits.HEADER_BYTES,
    "time for them to arrive, over HTTP/1.1": limits.HEADER_SECONDS,
    "time for the body of a request to arrive": limits.BODY_SECONDS,
    "time for a whole request; a half-open stream": limits.UNFINISHED_SECONDS,
    "answer of which the client takes nothing": limits.STALLED_SECONDS,
    "body that waits for the application": limits.UNREAD_BYTES,
    "answers that wait for the client on an HTTP/2 connection": limits.UNSENT_BYTES,
    "bodies that are arriving": limits.BODIES_BYTES,
    "calls in flight": limits.CALLS,
    "streaming calls open": limits.STREAMS,
    "pages that listen for changes": limits.EVENT_STREAMS,
    "calls in flight on one HTTP/2 connection": limits.CALLS_OF_A_CONNECTION,
    "cancelled calls on one HTTP/2 connection": limits.CANCELLED_CALLS,
    "time in which cancelled calls are counted": limits.CANCELLED_SECONDS,
    "an HTTP/2 frame": limits.FRAME_BYTES,
    "HTTP/2 frames with neither a request nor data": limits.CONTROL_FRAMES,
    "the same, if fewer came for long": limits.CONTROL_FRAMES_SAVED,
    "further such frames": limits.CONTROL_FRAMES_PER_SECOND,
    "further such frames for what is exchanged": limits.CONTROL_FRAMES_EARNED,
    "open connections": limits.CONNECTIONS,
    "connections that wait to be accepted": limits.BACKLOG,
    "idle connection": limits.IDLE_SECONDS,
    "TLS handshake": limits.HANDSHAKE_SECONDS,
    "body that nobody reads, over HTTP/1.1": limits.DROPPED_BYTES,
    "time in which such a body is dropped": limits.DROPPED_SECONDS,
    "calls in flight once told to stop": limits.GRACE_SECONDS,
    "answers to the calls that are cut off then": limits.CUT_SECONDS,
}


POSTGRES_LIMITS = {
    "connections that read": CONNECTIONS,
    "connecting to one host": CONNECT_SECONDS,
    "one answer of the server": ANSWER_SECONDS,
    "one step of a migration": MIGRATION_SECONDS,
    "finding out about a commit whose answer was lost": SETTLE_SECONDS,
    "taking it that nobody else has written since, before the head is asked for": FRESH_SECONDS,
    "any call, with all that it waits for": PostgresStore.patience_seconds,
    "pause before a server that was away is tried again": AWAY_SECONDS,
    "look at the head without a notification, while somebody waits": LISTEN_SECONDS,
}


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (API, API_LIMITS),
        (ROOT / "docs/explanation/serving.md", SERVING_LIMITS),
        (ROOT / "docs/explanation/postgres.md", POSTGRES_LIMITS),
    ],
    ids=["api", "serving", "postgres"],
)
def test_the_limits_are_those_of_the_code(page: Path, expected: dict[str, float]) -> None:
    """Each table of limits has the numbers of the code, and a unit for each."""
    [rows] = tables(section(page, "Limits"))

    assert {row[0]: float(row[1].replace(" ", "")) for row in rows} == expected
    assert all(row[2] for row in rows)


def test_every_limit_of_the_wire_is_documented() -> None:
    """The table has as many rows as there are limits."""
    assert len(SERVING_LIMITS) == sum(name.isupper() for name in vars(limits))


def test_a_chosen_id_has_the_documented_length() -> None:
    """An id may have 64 characters, but not 65."""
    longest = "x" * int(API_LIMITS["id of your choice"])

    assert checks.can_exist(longest)
    assert not checks.can_exist(longest + "x")


# The pages


def test_the_reference_has_every_kind_in_order() -> None:
    """The table of kinds has the levels of the code, and headlines as the rule makes them."""
    [rows] = tables(section(PUBLIC, "The headline"))
    up = {StatusKind.UP: 8}

    def example(kind: StatusKind) -> str:
        alone = KINDS[kind].level in (Level.UP, Level.NEUTRAL)
        return headline({kind: 1} if alone else {kind: 1} | up).text

    assert [row[0].strip("`") for row in rows] == [kind.name for kind in KINDS]
    assert [row[1] for row in rows] == [kind.level.value for kind in KINDS.values()]
    assert [row[2] for row in rows] == [example(kind) for kind in KINDS]


def test_the_reference_has_every_setting() -> None:
    """Each setting of the pages is in the table, with its default."""
    [rows] = tables(section(PUBLIC, "Settings"))
    defaults = {row[0].strip("`"): row[1].strip("`").replace("empty", "") for row in rows}

    assert defaults == {name: getattr(DEFAULTS, name) for name in DEFAULTS.__struct_fields__}


def test_the_reference_has_the_addresses_of_pages() -> None:
    """Each address that a visitor or a program asks for is in the table."""
    [rows] = tables(section(PUBLIC, "The pages").partition("## ")[0])
    shown = {row[0].strip("`").replace("ID", "{id}").partition("?")[0] for row in rows}

    assert shown == {row.path for row in ROUTES if row.operation == "ViewPage"}


def test_the_headline_example_works(tmp_path: Path) -> None:
    """The function shown is a rule that `build_app` takes."""
    [example] = blocks(section(PUBLIC, "The headline"))
    app = application(example.text, tmp_path)

    async def page() -> str:
        transport = httpx.ASGITransport(app)
        async with app, httpx.AsyncClient(transport=transport, base_url="http://x") as http:
            return (await http.get("/")).text

    assert "We are fine" in asyncio.run(page())


# The command


def commands(group: click.Group = cli.command, prefix: str = "") -> dict[str, click.Command]:
    """Return every command by its name, those of groups too."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= commands(command, f"{prefix}{name} ")
        else:
            found[f"{prefix}{name}"] = command
    return found


def options() -> list[tuple[str, click.Option]]:
    """Return every option of every command, with the command's name."""
    return [
        (name, option)
        for name, command in commands().items()
        for option in command.params
        if isinstance(option, click.Option)
    ]


def variables(option: click.Option) -> list[str]:
    """Return the environment variables that an option can come from."""
    return [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())


def default(option: click.Option) -> str:
    """Return an option's default as the documentation shows it."""
    if option.is_flag:
        return "off"
    return str((not option.required and option.to_info_dict()["default"]) or "none")


@pytest.mark.parametrize(
    ("command", "option"), options(), ids=lambda value: getattr(value, "name", value)
)
def test_the_reference_has_every_option(command: str, option: click.Option) -> None:
    """Each option is in its command's table, with its variable and its default."""
    rows = tables(section(CLI, f"statusthing {command}"))[0]
    [row] = [row for row in rows if option.opts[0] in row[0]]

    assert all(name in row[0] for name in option.opts)
    assert re.findall(r"STATUSTHING_\w+", row[1]) == variables(option)
    assert row[2].strip("`") == default(option)


def test_the_reference_has_only_what_is_there() -> None:
    """The commands and options in the reference exist."""
    documented = [
        (title, re.findall(r"--[\w-]+", row[0])[0])
        for title in re.findall(r"^##+ statusthing ([\w -]+)$", CLI.read_text(), re.MULTILINE)
        if title not in {"user", "token"}  # whose commands follow
        for row in tables(section(CLI, f"statusthing {title}"))[0]
    ]

    assert sorted(documented) == sorted((name, option.opts[0]) for name, option in options())


def test_the_readme_has_every_variable() -> None:
    """The README's tables have all commands, and the options that can come from the environment."""
    listed, documented, _ = tables(section(README, "The command"))
    shown = {
        row[0].strip("`").split()[0]: (row[2].strip("`"), row[3].strip("`")) for row in documented
    }
    expected = {
        option.opts[0]: (variables(option)[0], default(option))
        for _, option in options()
        if variables(option)
    }

    assert {row[0].strip("`").removeprefix("statusthing ") for row in listed} == set(
        cli.command.commands
    )
    assert shown == expected


@pytest.mark.parametrize("page", [README, CLI], ids=["README", "reference"])
def test_every_store_has_its_url(page: Path) -> None:
    """Each store that is installed with this repository is in the table of URLs."""
    title = {README: "The command", CLI: "Store URLs"}[page]
    urls = [row[0].strip("`") for row in tables(section(page, title))[-1]]

    assert {url.partition(":")[0] for url in urls} == {point.name for point in installed()}


# All pages


def anchor(heading: str) -> str:
    """Return the anchor of a heading, by the rule of the common hosts."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_relative_link_leads_somewhere() -> None:
    """The target of every link to a file, or to a heading in one, exists."""
    dead = []
    seen = 0
    for page in PAGES:
        for link in _LINK.findall(_FENCE.sub("", page.read_text())):
            path, _, fragment = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if re.match(r"[a-z]+:", link):
                continue
            seen += 1
            headings = (
                re.findall(r"^#+ (.*)$", _FENCE.sub("", target.read_text()), re.MULTILINE)
                if target.suffix == ".md" and target.is_file()
                else []
            )
            if not target.exists() or (fragment and fragment not in map(anchor, headings)):
                dead.append((page.relative_to(ROOT).as_posix(), link))

    assert dead == []
    assert seen > 30


def test_every_page_is_listed() -> None:
    """The index of the documentation links to every page."""
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link).resolve() for link in _LINK.findall(index.read_text())}

    assert set((ROOT / "docs").glob("**/*.md")) - {index} <= linked
