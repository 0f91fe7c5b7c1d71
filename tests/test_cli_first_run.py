"""What `serve` does for whoever has no account yet, and where it may listen."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import stat
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import trustme
from tests.command import STATUSTHING, is_one_clear_line, statusthing
from tests.units import SECONDS, until

from statusthing import Role, StatusThing, build_app, open_store
from statusthing.cli.first_run import FirstRun
from statusthing.errors import NotFound, Unauthenticated
from statusthing.memory import MemoryStore
from statusthing.model import SetupLink
from statusthing.store import Query

T = TypeVar("T")

Run = Callable[..., AbstractContextManager[Any]]

SERVE = (str(STATUSTHING), "serve", "--addr=127.0.0.1:0", "--store=sqlite:///data.db")
LINK = re.compile(r"http://127\.0\.0\.1:\d+/setup\?token=([\w-]{20,})\n?")
PASSWORD = "correct horse"
OTHERS = "192.0.2.1:9000"  # which no machine has, https://www.rfc-editor.org/rfc/rfc5737
REFUSED_BY_THE_SYSTEM = "it is not an address of this machine"


def over(folder: Path, work: Callable[[StatusThing], Awaitable[T]], *, devmode: bool = False) -> T:
    """Do something with the service over the store that the server has."""

    async def run() -> T:
        async with StatusThing(open_store(f"sqlite:///{folder}/data.db"), devmode=devmode) as st:
            return await work(st)

    return asyncio.run(run())


def add_admin(folder: Path, name: str = "ada") -> None:
    """Add an admin with the command."""
    ended = statusthing(
        folder,
        *("user", "add", name, "--role=admin", "--password-stdin", "--store=sqlite:///data.db"),
        stdin=f"{PASSWORD}\n",
    )
    assert ended.returncode == 0, ended.stderr


def logged(server: Any) -> list[dict[str, Any]]:
    """Return what the log says about setup."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    return [line for line in lines if line["logger"] == "statusthing.setup"]


def only_line(server: Any) -> dict[str, Any]:
    """Wait for what the log says about setup, which has to be one line."""
    until(lambda: logged(server) != [])
    [line] = logged(server)
    return line


def is_up(server: Any) -> bool:
    """Return whether the server answers."""
    return httpx.get(f"{server.url}/readyz").status_code == 200


# The setup link


def test_the_link_is_in_a_file_of_its_owner(run: Run, tmp_path: Path) -> None:
    """Where nobody watches, the link is in a file that others cannot read, and in no log."""
    file = tmp_path / "statusthing-setup"
    with run("sh", "-c", f"umask 0; exec {' '.join(SERVE)}") as server:
        line = only_line(server)
        found = LINK.fullmatch(file.read_text())
        mode = stat.S_IMODE(file.stat().st_mode)

        assert str(file) in line["event"]
        assert found is not None
        assert found[1] not in server.log.read_text()
        assert found[0].startswith(server.url)
        assert oct(mode) == "0o600"
        over(tmp_path, lambda st: st.setup.check(found[1]))

    assert not file.exists()
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_the_link_is_dead_once_there_is_an_admin(run: Run, tmp_path: Path) -> None:
    """An admin who is made in another way ends the setup, with the server running."""
    with run(*SERVE) as server:
        only_line(server)
        found = LINK.fullmatch((tmp_path / "statusthing-setup").read_text())
        assert found is not None
        add_admin(tmp_path)

        with pytest.raises(NotFound):
            over(tmp_path, lambda st: st.setup.check(found[1]))


@pytest.mark.parametrize("role", [Role.VIEWER, Role.EDITOR, Role.ADMIN])
def test_an_admin_needs_no_link(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, role: Role
) -> None:
    """Where there is one, there is neither a file nor a line; nobody else counts."""
    st = StatusThing(MemoryStore())
    file = tmp_path / "setup"

    async def populate() -> None:
        async with st:
            await st.users.add(username="ada", password=PASSWORD, role=role)

    asyncio.run(populate())
    with caplog.at_level("INFO"), FirstRun("memory://", file, devmode=False) as first_run:
        first_run.begin(st, "http://127.0.0.1:9000")

        assert file.exists() is (role is not Role.ADMIN)
        assert len(caplog.records) == (role is not Role.ADMIN)


@pytest.mark.parametrize("workers", [1, 3])
def test_one_link_is_made(run: Run, tmp_path: Path, workers: int) -> None:
    """However many processes serve, they offer one link, which the first process removes."""
    with run(*SERVE, f"--workers={workers}") as server:
        only_line(server)
        links = over(tmp_path, lambda st: st.store.read(lambda tx: tx.find(Query(SetupLink))))

        assert len(links) == 1
        assert (tmp_path / "statusthing-setup").exists()

    assert not (tmp_path / "statusthing-setup").exists()


def test_a_link_of_a_memory_store(run: Run, tmp_path: Path) -> None:
    """A store that nobody else can open has a link too."""
    with run(str(STATUSTHING), "serve", "--addr=127.0.0.1:0", "--store=memory://") as server:
        only_line(server)

        assert LINK.fullmatch((tmp_path / "statusthing-setup").read_text())


def test_a_symbolic_link_is_not_followed(run: Run, tmp_path: Path) -> None:
    """What somebody has put in the place of the file is left alone, and so is its target."""
    target = tmp_path / "target"
    target.write_text("mine\n")
    (tmp_path / "statusthing-setup").symlink_to(target)
    with run(*SERVE) as server:
        line = only_line(server)
        assert is_up(server)

    assert line["level"] == "warning"
    assert "--setup-file" in line["event"]
    assert "statusthing user add" in line["event"]
    assert target.read_text() == "mine\n"
    assert (tmp_path / "statusthing-setup").is_symlink()
    assert "token=" not in server.log.read_text()


@pytest.mark.parametrize("name", ["letter.txt", "data.db", "no/such/folder/setup", "folder"])
def test_a_file_that_cannot_be_written_is_a_warning(run: Run, tmp_path: Path, name: str) -> None:
    """No other file is overwritten for the link; serving goes on, and the log says what to do."""
    (tmp_path / "letter.txt").write_text("Dear all,\n")
    (tmp_path / "folder").mkdir()
    with run(*SERVE, f"--setup-file={name}") as server:
        line = only_line(server)
        assert is_up(server)

    assert line["level"] == "warning"
    assert "--setup-file" in line["event"]
    assert (tmp_path / "letter.txt").read_text() == "Dear all,\n"


def test_a_file_that_was_left_behind_is_replaced(run: Run, tmp_path: Path) -> None:
    """The file of a server that was killed makes room, and its rights go with it."""
    file = tmp_path / "statusthing-setup"
    file.write_text("http://127.0.0.1:9000/setup?token=old\n")
    file.chmod(0o644)
    with run(*SERVE) as server:
        only_line(server)

        assert LINK.fullmatch(file.read_text())
        assert oct(stat.S_IMODE(file.stat().st_mode)) == "0o600"


def test_the_file_of_another_server_stays(run: Run, tmp_path: Path) -> None:
    """At its end a server removes only the file that it has written."""
    file = tmp_path / "statusthing-setup"
    with run(*SERVE) as server:
        only_line(server)
        file.unlink()
        file.write_text("http://127.0.0.1:9000/setup?token=other\n")

    assert file.exists()


def test_the_file_goes_when_setup_is_done(run: Run, tmp_path: Path) -> None:
    """Whoever has the link makes the first admin with it, and then the file is gone."""
    file = tmp_path / "statusthing-setup"
    with run(*SERVE, "--workers=2") as server:
        only_line(server)
        link = file.read_text().strip()
        answer = httpx.post(link, data={"username": "ada", "email": "", "password": PASSWORD})

        assert answer.status_code == 303, answer.text
        assert not file.exists()
        assert over(tmp_path, lambda st: st.accounts.sign_in("ada", PASSWORD))


@pytest.mark.parametrize("text", ["Dear all,\n", "http://127.0.0.1:9000/setup?token=other\n"])
def test_setup_removes_no_other_file(tmp_path: Path, text: str) -> None:
    """What the program was given as the file for the link may be something else."""
    file = tmp_path / "letter.txt"
    file.write_text(text)
    app = build_app(MemoryStore(), setup_file=file)

    async def set_up() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with app, httpx.AsyncClient(transport=transport, base_url="http://host") as http:
            link = await app.st.setup_link() or ""
            return await http.post(link, data={"username": "ada", "password": PASSWORD})

    assert asyncio.run(set_up()).status_code == 303
    assert file.read_text() == text


def test_the_link_is_shown_on_a_terminal(tmp_path: Path) -> None:
    """On a terminal the link comes below the two lines that always come, and in no file."""
    controller, terminal = os.openpty()
    process = subprocess.Popen(SERVE, cwd=tmp_path, stdout=terminal, stderr=subprocess.DEVNULL)
    os.close(terminal)
    shown = b""
    end = time.monotonic() + SECONDS
    while shown.count(b"\n") < 3:
        assert select.select([controller], [], [], end - time.monotonic())[0], shown
        shown += os.read(controller, 10_000)
    process.terminate()
    assert process.wait(SECONDS) == 0
    os.close(controller)
    first, second, third = shown.decode().splitlines()

    assert first.startswith("listening on http://127.0.0.1:")
    assert second == "data in sqlite:///data.db"
    assert LINK.fullmatch(third.removeprefix("set up the first admin at "))
    assert not (tmp_path / "statusthing-setup").exists()


def test_a_link_has_the_address_of_the_server(run: Run, tmp_path: Path) -> None:
    """A link to a server that listens on IPv6 has its address in brackets."""
    with run(*SERVE, "--addr=[::1]:0") as server:
        only_line(server)
        link = (tmp_path / "statusthing-setup").read_text()

        assert link.startswith(f"{server.url}/setup?token=")


# The development account


@pytest.mark.parametrize("workers", [1, 2])
def test_devmode_has_an_account(run: Run, tmp_path: Path, workers: int) -> None:
    """It is announced loudly, once, and works; setup counts as done."""
    with run(*SERVE, "--devmode", f"--workers={workers}") as server:
        line = only_line(server)

        assert line["level"] == "warning"
        assert 'sign in as admin with the password "password"' in line["event"]
        assert over(tmp_path, lambda st: st.accounts.sign_in("admin", "password"), devmode=True)

    assert not (tmp_path / "statusthing-setup").exists()


def test_the_account_is_dead_without_devmode(run: Run, tmp_path: Path) -> None:
    """Nobody can sign in with it, and setup counts as not done."""
    with run(*SERVE, "--devmode") as server:
        only_line(server)
    with run(*SERVE) as server:
        until(lambda: len(logged(server)) == 3)  # the log of both is one file
        with pytest.raises(Unauthenticated):
            over(tmp_path, lambda st: st.accounts.sign_in("admin", "password"))

        assert "there is a development account, admin" in logged(server)[1]["event"]
        assert "set up the first admin" in logged(server)[2]["event"]


def test_devmode_leaves_a_real_account_alone(run: Run, tmp_path: Path) -> None:
    """Where somebody is called admin, no account is made, and the log says so."""
    add_admin(tmp_path, "admin")
    with run(*SERVE, "--devmode") as server:
        line = only_line(server)
        with pytest.raises(Unauthenticated):
            over(tmp_path, lambda st: st.accounts.sign_in("admin", "password"), devmode=True)

        assert "no development account was made" in line["event"]
        assert over(tmp_path, lambda st: st.accounts.sign_in("admin", PASSWORD))


def test_devmode_does_not_open_the_api(run: Run) -> None:
    """Without a token nobody may write."""
    with run(*SERVE, "--devmode") as server:
        answer = httpx.post(f"{server.url}/statusthing.v1.ItemsService/AddItem", json={"name": "x"})

    assert answer.status_code == 401


# Where it may listen


@pytest.fixture
def certificate(tmp_path: Path) -> list[str]:
    """The options for a certificate."""
    issued = trustme.CA().issue_cert("status.example")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    return ["--certfile=cert.pem", "--keyfile=key.pem"]


@pytest.mark.parametrize("addr", [OTHERS, "0.0.0.0:0", "[::]:0", "example.com:9000"])
def test_other_addresses_need_a_reason(tmp_path: Path, addr: str) -> None:
    """One line says what a container, a reverse proxy, an open server and a laptop want."""
    ended = statusthing(tmp_path, "serve", "--addr", addr)

    assert ended.returncode == 2
    assert is_one_clear_line(ended.stderr), ended.stderr
    for word in (addr, "container", "reverse proxy", "directly", "laptop", "127.0.0.1"):
        assert word in ended.stderr
    for option in ("--trusted-proxy", "--certfile", "--keyfile", "--insecure-http"):
        assert option in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        ["--insecure-http"],
        ["--trusted-proxy=10.0.0.0/8"],
        ["--trusted-proxy=10.0.0.7", "--trusted-proxy=fd00::/8"],
        ["certificate"],
        ["certificate", "--trusted-proxy=10.0.0.7"],
    ],
    ids=" ".join,
)
def test_a_reason_is_enough(tmp_path: Path, certificate: list[str], options: list[str]) -> None:
    """With TLS, a proxy or the wish to do without, it is up to the system where to listen."""
    options = [*(certificate if "certificate" in options else []), *options]
    options = [each for each in options if each != "certificate"]
    ended = statusthing(tmp_path, "serve", "--addr", OTHERS, *options)

    assert ended.returncode == 2
    assert REFUSED_BY_THE_SYSTEM in ended.stderr


@pytest.mark.parametrize(
    "options",
    [[], ["--insecure-http"], ["--trusted-proxy=10.0.0.0/8"], ["certificate"]],
    ids=" ".join,
)
def test_devmode_is_for_this_machine_only(
    tmp_path: Path, certificate: list[str], options: list[str]
) -> None:
    """Nothing lets the development account be reached from elsewhere."""
    options = certificate if options == ["certificate"] else options
    ended = statusthing(tmp_path, "serve", "--devmode", "--addr", OTHERS, *options)

    assert ended.returncode == 2
    assert is_one_clear_line(ended.stderr), ended.stderr
    assert "account that everybody knows the password of" in ended.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [("TRUSTED_PROXY", "10.0.0.0/8 fd00::/8"), ("INSECURE_HTTP", "1")],
)
def test_a_reason_can_be_in_the_environment(tmp_path: Path, variable: str, value: str) -> None:
    """Several networks are separated by spaces; an empty variable is no reason."""
    given = statusthing(tmp_path, "serve", "--addr", OTHERS, **{f"STATUSTHING_{variable}": value})
    empty = statusthing(tmp_path, "serve", "--addr", OTHERS, **{f"STATUSTHING_{variable}": ""})

    assert REFUSED_BY_THE_SYSTEM in given.stderr
    assert "--insecure-http" in empty.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_proxy_that_is_no_network_is_a_mistake(tmp_path: Path, workers: str) -> None:
    """It is one clear line, from however many processes."""
    ended = statusthing(
        tmp_path, "serve", "--addr=127.0.0.1:0", "--trusted-proxy=nginx", "--workers", workers
    )

    assert ended.returncode == 2
    assert is_one_clear_line(ended.stderr), ended.stderr
    assert "10.0.0.0/8, not 'nginx'" in ended.stderr


def test_a_trusted_proxy_is_believed(run: Run) -> None:
    """The address of a client is the one that a trusted proxy names; nobody else is believed."""
    headers = {"x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https"}
    with run(*SERVE, "--trusted-proxy=127.0.0.1") as trusting:
        secure = httpx.get(f"{trusting.url}/healthz", headers=headers)
    with run(*SERVE, "--trusted-proxy=10.0.0.0/8") as distrusting:
        plain = httpx.get(f"{distrusting.url}/healthz", headers=headers)

    assert "strict-transport-security" in secure.headers
    assert "strict-transport-security" not in plain.headers


@pytest.mark.parametrize(("access", "status"), [("public", 200), ("private", 401)])
def test_access_says_who_may_read(run: Run, access: str, status: int) -> None:
    """With private access those who are unknown get nothing; the environment can say so too."""
    path = "/statusthing.v1.ItemsService/ListItems"
    with run(*SERVE, f"--access={access}") as server:
        by_option = httpx.post(f"{server.url}{path}", json={}).status_code
    with run("env", f"STATUSTHING_ACCESS={access}", *SERVE) as server:
        by_environment = httpx.post(f"{server.url}{path}", json={}).status_code

    assert (by_option, by_environment) == (status, status)


def test_setup_file_can_be_in_the_environment(run: Run, tmp_path: Path) -> None:
    """`STATUSTHING_SETUP_FILE` names the file."""
    with run("env", "STATUSTHING_SETUP_FILE=first", *SERVE) as server:
        only_line(server)

        assert LINK.fullmatch((tmp_path / "first").read_text())
