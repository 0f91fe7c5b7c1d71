"""The server while its database stops, crashes or stands still, and afterwards."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.postgres import OwnPostgres, own_server

if TYPE_CHECKING:
    from tests.conftest import Server

Serve = Callable[..., AbstractContextManager["Server"]]

SECONDS = 10.0  # the bound of everything that is waited for
PAUSE_SECONDS = 0.02  # between two calls, so that there are 50 a second
RETURN_SECONDS = 5.0
"""Within how many seconds of the database's return the server has to serve again."""

ADD = "/statusthing.v1.ItemsService/AddItem"
LIST = "/statusthing.v1.ItemsService/ListItems"


@pytest.fixture(scope="module")
def postgres() -> Iterator[OwnPostgres]:
    """A database server that tests may stop."""
    with own_server() as server:
        yield server


class Calls:
    """Calls that a client makes all the time, a read and a write in turn.

    Attributes:
        acknowledged: the names of the items whose adding was acknowledged.
        refused: those whose adding was answered with an error.
        codes: the codes of all answers, "ok" among them.
        slowest: the longest time that an answer took, in seconds.
        served: when the latest answer came that was no error, to a read and to a write.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self.codes: set[str] = set()
        self.slowest = 0.0
        self.served = {LIST: 0.0, ADD: 0.0}
        self._over = threading.Event()

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Make calls all the while, at 50 a second."""
        threads = [
            threading.Thread(target=self._call_on, args=(name,)) for name in ("one", "other")
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(2 * SECONDS)

    def serve_again(self) -> float:
        """Wait until reads and writes are answered without an error; return how long that took."""
        began = time.monotonic()
        while min(self.served.values()) <= began:
            assert time.monotonic() < began + SECONDS
            time.sleep(PAUSE_SECONDS)
        return time.monotonic() - began

    def fail(self) -> None:
        """Wait until the server answers with an error."""
        end = time.monotonic() + SECONDS
        before = len(self.refused)
        while len(self.refused) == before:
            assert time.monotonic() < end
            time.sleep(PAUSE_SECONDS)

    def _call_on(self, name: str) -> None:
        with self._server.http() as client:
            for n in itertools.count():
                if self._over.wait(2 * PAUSE_SECONDS):
                    return
                began = time.monotonic()
                path = LIST if n % 2 else ADD
                if path is LIST:
                    answer = client.post(path, json={"page_size": 1})
                else:
                    answer = client.post(path, json={"name": f"{name} {n}"})
                    (self.acknowledged if answer.is_success else self.refused).append(f"{name} {n}")
                self.codes.add("ok" if answer.is_success else answer.json()["code"])
                if answer.is_success:
                    self.served[path] = time.monotonic()
                self.slowest = max(self.slowest, time.monotonic() - began)


def readiness(server: Server) -> tuple[int, int]:
    """Return the status of `/readyz`, and that of `/healthz`."""
    with server.http() as client:
        return client.get("/readyz").status_code, client.get("/healthz").status_code


def names(server: Server) -> list[str]:
    """Return the names of all items."""
    with server.json() as client:
        return [item["name"] for item in client.ok("ListItems").get("items", [])]


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(PAUSE_SECONDS)


def test_a_crash_of_the_database_is_a_short_pause(postgres: OwnPostgres, serve: Serve) -> None:
    """Under load, errors are `unavailable` only, no acknowledged write is lost, and it goes on."""
    with postgres.database() as url, serve(f"--store={url}") as server:
        calls = Calls(server)
        with calls.going_on():
            calls.serve_again()
            for _ in range(3):
                postgres.stop(signal.SIGQUIT)
                calls.fail()
                assert readiness(server) == (503, 200)
                postgres.start()
                assert calls.serve_again() < RETURN_SECONDS
                until(lambda: readiness(server) == (200, 200))
        found = names(server)
        log = server.log.read_text()

    assert calls.codes == {"ok", "unavailable"}
    assert set(calls.acknowledged) <= set(found)
    assert len(found) == len(set(found))
    assert calls.slowest < RETURN_SECONDS
    assert "Traceback" not in log


def test_a_database_that_stands_still_keeps_nobody_waiting(
    postgres: OwnPostgres, serve: Serve
) -> None:
    """Each call is answered within 5 seconds, `/healthz` at once, and later all works again."""
    with postgres.database() as url, serve(f"--store={url}") as server:
        calls = Calls(server)
        with calls.going_on():
            calls.serve_again()
            parent = psutil.Process(postgres.pid)
            frozen = [parent, *parent.children(recursive=True)]
            for process in frozen:
                process.send_signal(signal.SIGSTOP)
            try:
                calls.fail()
                ready, healthy = readiness(server)
            finally:
                for process in frozen:
                    process.send_signal(signal.SIGCONT)
            assert calls.serve_again() < RETURN_SECONDS
        found = names(server)

    assert (ready, healthy) == (503, 200)
    assert calls.codes == {"ok", "unavailable"}
    assert set(calls.acknowledged) <= set(found)
    assert calls.slowest < RETURN_SECONDS


@pytest.mark.parametrize(
    "command", [("serve", "--addr=127.0.0.1:0"), ("migrate",)], ids=lambda c: c[0]
)
def test_a_command_says_why_it_cannot_start(
    postgres: OwnPostgres, command: tuple[str, ...]
) -> None:
    """While the database is away, commands end with one line and exit code 1."""
    with postgres.database() as url:
        postgres.stop()
        try:
            ended = subprocess.run(
                [Path(sys.executable).with_name("statusthing"), *command, f"--store={url}"],
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        finally:
            postgres.start()

    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("statusthing: cannot use the database postgresql://")
    assert "Connection refused" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "not-a-secret" not in ended.stderr
