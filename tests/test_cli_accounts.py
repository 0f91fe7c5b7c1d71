"""`statusthing user`, `token` and `audit`: what they do, print and refuse."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests import layouts
from tests.command import STATUSTHING, is_one_clear_line, statusthing
from tests.postgres import Postgres
from tests.units import SECONDS, until

from statusthing import StatusThing, open_store
from statusthing.errors import Unauthenticated
from statusthing.service import credentials

Run = Callable[..., AbstractContextManager[Any]]

PASSWORD = "correct horse"
ANOTHER = "battery staple"
WHO_AM_I = "/statusthing.v1.UsersService/WhoAmI"
SECRET = re.compile(r"st_[0-9A-Za-z]{49}")


class Command:
    """The command, over one store."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url

    def run(self, *arguments: str, password: str = "") -> subprocess.CompletedProcess[str]:
        """Run it to its end, with a password on standard input."""
        where = () if arguments[-1].startswith("--store") else (f"--store={self.url}",)
        return statusthing(self.folder, *arguments, *where, stdin=f"{password}\nmore\n")

    def ok(self, *arguments: str, password: str = "") -> str:
        """Return what it prints; it has to succeed, and to be silent on stderr."""
        ended = self.run(*arguments, password=password)
        assert (ended.returncode, ended.stderr) == (0, ""), ended
        return ended.stdout

    def add(self, name: str, role: str = "admin") -> None:
        """Add a user."""
        self.ok("user", "add", name, f"--role={role}", "--password-stdin", password=PASSWORD)

    def table(self, *arguments: str) -> list[dict[str, str]]:
        """Return the rows that it prints, each cell by its head: all columns are aligned."""
        heads, *rows = self.ok(*arguments).splitlines()
        starts = [found.start() for found in re.finditer(r"(?:(?<=  )|^)\S", heads)]
        slices = [slice(*ends) for ends in zip(starts, [*starts[1:], None], strict=True)]
        return [{heads[each].strip(): row[each].strip() for each in slices} for row in rows]

    def signs_in(self, name: str, password: str) -> bool:
        """Tell whether somebody can sign in."""

        async def sign_in() -> None:
            async with StatusThing(open_store(self.url)) as st:
                await st.accounts.sign_in(name, password)

        try:
            asyncio.run(sign_in())
        except Unauthenticated:
            return False
        return True


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The command over a store that is not there yet."""
    return Command(tmp_path, f"sqlite:///{tmp_path}/data.db")


@pytest.fixture(params=["sqlite", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path: Path, run: Run) -> Any:
    """The command over a store that a server keeps, and the server."""
    if request.param == "sqlite":
        with run(*serve(url := f"sqlite:///{tmp_path}/data.db")) as server:
            yield Command(tmp_path, url), server
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.database() as url, run(*serve(url)) as server:
        yield Command(tmp_path, url), server


def serve(url: str) -> tuple[str, ...]:
    """Return the command that serves a store."""
    return (str(STATUSTHING), "serve", "--addr=127.0.0.1:0", f"--store={url}")


# Users


def test_users_are_managed_while_a_server_runs(shared: tuple[Command, Any]) -> None:
    """Each command does what it says, and the list shows it."""
    command, _ = shared
    command.add("root")
    added = command.ok(
        *("user", "add", "ada", "--role=viewer", "--email=ada@example.com", "--first-name=Ada"),
        *("--last-name=Lovelace", "--password-stdin"),
        password=PASSWORD,
    )
    before = command.table("user", "list")[1]
    assert command.signs_in("ada", PASSWORD)
    command.ok("user", "set-role", "ada", "--role=editor")
    command.ok("user", "disable", "ada")
    disabled = command.table("user", "list")[1]
    assert not command.signs_in("ada", PASSWORD)
    command.ok("user", "enable", "ada")
    command.ok("user", "set-password", "ada", "--password-stdin", password=ANOTHER)
    assert not command.signs_in("ada", PASSWORD)
    assert command.signs_in("ada", ANOTHER)
    enabled = command.table("user", "list")[1]
    command.ok("user", "delete", "ada")

    assert added == "added ada, role viewer\n"
    row = {"USERNAME": "ada", "ROLE": "viewer", "STATE": "enabled"}
    assert before == row | {"LAST SIGN-IN": "-", "EMAIL": "ada@example.com"}
    assert (disabled["ROLE"], disabled["STATE"]) == ("editor", "disabled")
    assert enabled["STATE"] == "enabled"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", enabled["LAST SIGN-IN"])
    assert [each["USERNAME"] for each in command.table("user", "list")] == ["root"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("user add ada --role=admin --password-stdin", "'ada' is already taken"),
        ("user add eve --role=owner --password-stdin", "'owner' is not one of"),
        ("user add eve --password-stdin", "Missing option '--role'"),
        ("user add eve --role=admin", "use --password-stdin"),
        ("user add eve hunter2hunter2 --role=admin", "not taken from the command line"),
        ("user add eve --role=admin --password=hunter2hunter2", "--password"),
        ("user add eve --role=admin --password-stdin=hunter2hunter2", "--password-stdin"),
        ("user add eve --role=admin --email=eve --password-stdin", "must be an email address"),
        ("user disable eve", "no user is called 'eve'"),
        ("user enable eve", "no user is called 'eve'"),
        ("user delete eve", "no user is called 'eve'"),
        ("user set-password eve --password-stdin", "no user is called 'eve'"),
        ("user set-password ada", "use --password-stdin"),
        ("user set-password ada hunter2hunter2", "not taken from the command line"),
        ("user disable ada", "last enabled admin"),
        ("user delete ada", "last enabled admin"),
        ("user set-role ada --role=viewer", "last enabled admin"),
        ("user disable \a", "control character"),
        ("token create ci --role=root", "'root' is not one of"),
        ("token create ci", "Missing option '--role'"),
        ("token revoke ci", "no token has the id or the name 'ci'"),
        ("token revoke st_0123456789abcdefXYZ", "'st_***'"),
        ("st_0123456789abcdefXYZ", "'st_***'"),
        ("audit --limit=0", "--limit"),
        ("audit --limit=many", "--limit"),
        ("user list --store=memory://", "the memory of one process"),
        ("token create ci --role=admin --store=memory://", "the memory of one process"),
        ("audit --store=memory://", "the memory of one process"),
    ],
)
def test_mistakes_are_one_clear_line(command: Command, arguments: str, says: str) -> None:
    """Every mistake gives exit code 2 and one clear line, without a password or a secret."""
    command.add("ada")
    ended = command.run(*arguments.split(" "), password="hunter2hunter2")

    assert ended.returncode == 2, ended
    assert is_one_clear_line(ended.stderr), ended.stderr
    assert says in ended.stderr
    assert ended.stdout == ""
    for secret in ("hunter2", "0123456789abcdef", "\a"):
        assert secret not in ended.stderr


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "at least 8 characters"),
        ("\n", "at least 8 characters"),
        ("hunter2\n", "at least 8 characters"),
        ("password1\n", "most common passwords"),
        ("adalovelace\n", "is the username"),
        ("\udcff" * 8, "not text in UTF-8"),
        ("hunter2 " * 100_000, "bytes"),
    ],
    ids=["nothing", "empty", "short", "common", "username", "bytes", "long"],
)
@pytest.mark.parametrize("task", ["add", "set-password"])
def test_bad_passwords_are_refused(command: Command, task: str, line: str, says: str) -> None:
    """Both commands refuse them, with one line that does not repeat them."""
    name, role = "adalovelace", ["--role=admin"]
    if task == "set-password":
        command.add(name)
        role = []
    ended = statusthing(
        command.folder,
        *("user", task, name, *role, "--password-stdin", f"--store={command.url}"),
        stdin=line,
    )

    assert ended.returncode == 2
    assert is_one_clear_line(ended.stderr), ended.stderr
    assert says in ended.stderr
    assert "hunter2" not in ended.stderr


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nmore\n"])
def test_a_password_is_the_first_line(command: Command, end: str) -> None:
    """Its end does not belong to it; spaces do, and so do letters of any language."""
    password = " pässwörter im Wald "
    ended = statusthing(
        command.folder,
        *("user", "add", "ada", "--role=admin", "--password-stdin", f"--store={command.url}"),
        stdin=password + end,
    )

    assert ended.returncode == 0, ended.stderr
    assert command.signs_in("ada", password)


def typed(command: Command, *answers: str) -> tuple[int, str]:
    """Add `ada` on a terminal, type an answer to each question; return the code and what shows."""
    controller, terminal = os.openpty()
    arguments = ("user", "add", "ada", "--role=admin", f"--store={command.url}")
    process = subprocess.Popen(
        [STATUSTHING, *arguments],
        stdin=terminal,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        start_new_session=True,  # away from the terminal of the tests, which would be asked
    )
    os.close(terminal)
    shown, end = "", time.monotonic() + SECONDS
    for number, answer in enumerate(answers, 1):
        while shown.count(": ") < number:
            assert select.select([controller], [], [], end - time.monotonic())[0], shown
            shown += os.read(controller, 10_000).decode()
        os.write(controller, f"{answer}\n".encode())
    code = process.wait(SECONDS)
    shown += os.read(controller, 10_000).decode()
    os.close(controller)
    return code, shown


def test_a_terminal_is_asked_twice(command: Command) -> None:
    """On a terminal the password is asked for and repeated, and nothing of it is shown."""
    code, shown = typed(command, PASSWORD, PASSWORD)

    assert code == 0, shown
    assert PASSWORD not in shown
    assert command.signs_in("ada", PASSWORD)


def test_the_development_account_is_named(command: Command, run: Run) -> None:
    """It is marked in the list, cannot become a real one, and the way around it is said."""
    with run(*serve(command.url), "--devmode") as server:
        until(lambda: "development account" in server.log.read_text())
    [row] = command.table("user", "list")
    for task in (["add", "admin", "--role=admin"], ["set-password", "admin"]):
        ended = command.run("user", *task, "--password-stdin", password=PASSWORD)
        assert ended.returncode == 2
        assert "statusthing user delete admin" in ended.stderr
    command.ok("user", "delete", "admin")
    command.add("admin")

    assert row["STATE"] == "development"
    assert command.signs_in("admin", PASSWORD)


# Tokens


def test_tokens_are_made_and_revoked_while_a_server_runs(shared: tuple[Command, Any]) -> None:
    """The secret stands alone on stdout and works at once; revoked, it is dead within a second."""
    command, server = shared
    made = command.run("token", "create", "ci", "--role=editor", "--expires=30d")
    secret = made.stdout.removesuffix("\n")
    headers = {"authorization": f"Bearer {secret}"}

    def who() -> httpx.Response:
        return httpx.post(f"{server.url}{WHO_AM_I}", json={}, headers=headers)

    assert made.returncode == 0
    assert SECRET.fullmatch(secret)
    assert credentials.is_token_secret(secret)
    assert made.stderr == "keep this secret now: it is not shown again\n"
    assert who().json()["role"] == "ROLE_EDITOR"
    until(lambda: command.table("token", "list")[0]["LAST USED"] != "-")
    [listed] = command.table("token", "list")
    assert secret not in command.ok("token", "list")
    assert (listed["NAME"], listed["ROLE"], listed["OWNER"]) == ("ci", "editor", "-")

    assert command.ok("token", "revoke", "ci") == "revoked ci\n"
    began = time.monotonic()
    until(lambda: who().status_code == 401)
    assert time.monotonic() - began < 2
    assert command.table("token", "list") == []


def test_a_name_that_several_have_is_no_answer(command: Command) -> None:
    """Then the line names the ids, each of which can be revoked."""
    for _ in range(2):
        command.run("token", "create", "ci", "--role=viewer")
    ids = [row["ID"] for row in command.table("token", "list")]
    ended = command.run("token", "revoke", "ci")

    assert ended.returncode == 2
    assert is_one_clear_line(ended.stderr)
    assert all(id in ended.stderr for id in ids)
    command.ok("token", "revoke", ids[1])
    assert [row["ID"] for row in command.table("token", "list")] == ids[:1]


@pytest.mark.parametrize(
    ("duration", "length"),
    [("12h", timedelta(hours=12)), ("30d", timedelta(days=30)), ("52w", timedelta(weeks=52))],
)
def test_a_token_expires_when_it_should(command: Command, duration: str, length: timedelta) -> None:
    """Hours, days and weeks count from now on."""
    command.run("token", "create", "ci", "--role=viewer", "--expires", duration)

    async def token() -> Any:
        async with StatusThing(open_store(command.url)) as st:
            return (await st.tokens.list()).tokens[0]

    made = asyncio.run(token())
    assert abs(made.expires - made.timestamps.created - length) < timedelta(seconds=1)


@pytest.mark.parametrize("duration", ["", "30", "d", "0d", "-1d", "1.5d", "30m", "99999d", "1d1h"])
def test_durations_are_clear(command: Command, duration: str) -> None:
    """Anything else is refused, with examples; no token is made."""
    ended = command.run("token", "create", "ci", "--role=viewer", f"--expires={duration}")

    assert ended.returncode == 2
    assert is_one_clear_line(ended.stderr), ended.stderr
    assert "12h, 30d or 52w" in ended.stderr
    assert ended.stdout == ""


# Audit


def test_audit_shows_who_did_what(shared: tuple[Command, Any]) -> None:
    """Newest first: changes by the command line, and attempts to sign in, each with its subject."""
    command, _ = shared
    command.add("ada")
    command.run("token", "create", "ci", "--role=viewer")
    assert not command.signs_in("ada", ANOTHER)
    failed, token, user = command.table("audit", "--limit=3")

    assert (failed["ACTOR"], failed["ACTION"]) == ("-", "failed to sign in")
    assert failed["SUBJECT"] == "ada"
    assert (token["ACTION"], token["KIND"], token["SUBJECT"]) == ("added", "Token", "ci")
    assert (user["ACTION"], user["KIND"], user["SUBJECT"]) == ("added", "User", "ada")
    assert {user["ACTOR"], token["ACTOR"]} == {"command line"}
    assert failed["TIME"] >= token["TIME"] >= user["TIME"]


def test_audit_as_json_has_all_there_is(command: Command) -> None:
    """Each line is an object with what the API answers; no secret is in it."""
    command.add("ada")
    secret = command.run("token", "create", "ci", "--role=viewer").stdout.strip()
    printed = command.ok("audit", "--json")
    token, user = map(json.loads, printed.splitlines())

    assert {"id", "time", "actor", "action", "kind", "subject", "after"} == set(user)
    assert json.loads(user["after"])["username"] == "ada"
    assert json.loads(token["after"])["id"] == token["subject"]
    for hidden in (secret, credentials.digest(secret), "argon2"):
        assert hidden not in printed


def test_audit_goes_as_far_back_as_asked(command: Command) -> None:
    """More entries than a page of the API has come in one order, none twice."""

    async def fill() -> None:
        async with StatusThing(open_store(command.url)) as st:
            await asyncio.gather(*(st.items.add(name=f"item {n}") for n in range(1_200)))

    asyncio.run(fill())
    lines = [
        json.loads(line) for line in command.ok("audit", "--json", "--limit=1150").splitlines()
    ]

    assert [line["id"] for line in lines] == [f"{n}.0" for n in range(1_200, 50, -1)]
    assert len(command.ok("audit").splitlines()) == 101


# All of them


def test_names_control_no_terminal(command: Command) -> None:
    """What would turn the text around is shown by its code, whatever a command prints."""
    name = "ada\N{RIGHT-TO-LEFT OVERRIDE}\N{ZERO WIDTH SPACE}"
    command.add(name)
    printed = [
        command.ok("user", "disable", name) if task == "disable" else command.ok(*task.split())
        for task in ("user list", "audit", "audit --json")
    ]
    printed.append(command.run("user", "disable", name).stderr)
    printed.append(command.run("user", "enable", f"{name}\a").stderr)

    assert all(text.replace("\n", "").isprintable() for text in printed)
    assert all("\\u202e" in text for text in printed[:4])


def test_any_encoding_will_do(command: Command) -> None:
    """A terminal that lacks the letters of a name gets codes, not a failure."""
    command.add("Łukasz")
    where = f"--store={command.url}"
    ended = statusthing(command.folder, "user", "list", where, PYTHONIOENCODING="latin-1")

    assert ended.returncode == 0, ended.stderr
    assert "\\u0141ukasz" in ended.stdout


@pytest.mark.parametrize("task", ["user list", "token list", "audit", "user delete ada"])
def test_an_older_layout_is_left_alone(
    command: Command, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    """Bringing it up to date is for `migrate`, which the line names."""
    with monkeypatch.context() as patch:
        layouts.older_release(patch, "0001")

        async def lay_out() -> None:
            store = open_store(command.url)
            await store.open()
            await store.close()

        asyncio.run(lay_out())
    ended = command.run(*task.split())

    assert ended.returncode == 2
    assert is_one_clear_line(ended.stderr), ended.stderr
    assert "run `statusthing migrate`" in ended.stderr


def test_the_store_can_be_in_the_environment(command: Command) -> None:
    """`STATUSTHING_STORE` names the store of each of them."""
    command.add("ada")
    ended = statusthing(command.folder, "user", "list", STATUSTHING_STORE=command.url)

    assert "ada" in ended.stdout
