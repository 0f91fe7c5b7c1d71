"""Several processes behind one port: `statusthing serve --workers N`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

SECONDS = 10.0  # the bound of everything that is waited for
STATUSTHING = Path(sys.executable).with_name("statusthing")

Serve = Callable[..., AbstractContextManager[Any]]


def until(condition: Callable[[], Any]) -> Any:
    """Wait until a condition holds, and return what it says."""
    end = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < end
    return found


def workers(server: Any) -> set[int]:
    """Return the processes that serve."""
    return {
        child.pid
        for child in psutil.Process(server.pid).children()
        if "spawn_main" in " ".join(child.cmdline())
    }


def listening(pid: int) -> bool:
    """Return whether a process has come so far as to hold a listening socket."""
    with suppress(psutil.NoSuchProcess):
        return any(c.status == psutil.CONN_LISTEN for c in psutil.Process(pid).net_connections())
    return False


def logged(server: Any, logger: str) -> list[dict[str, Any]]:
    """Return the lines of a logger."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    return [line for line in lines if line["logger"] == logger]


def add(server: Any, name: str) -> None:
    """Add an item, over a connection of its own."""
    answer = httpx.post(
        f"{server.url}/statusthing.v1.ItemsService/AddItem",
        json={"name": name},
        headers=server.credentials,
    )
    assert answer.is_success, answer.text


def names(url: str) -> set[str]:
    """Return the items' names, over a connection of its own."""
    answer = httpx.post(f"{url}/statusthing.v1.ItemsService/ListItems", json={})
    return {item["name"] for item in answer.json().get("items", ())}


def test_eight_processes_start_on_an_empty_database(run: Serve) -> None:
    """There is one layout and one set of default statuses, and nothing is said about it."""
    with run(str(STATUSTHING), "serve", "--addr=127.0.0.1:0", "--workers=8") as server:
        assert len(workers(server)) == 8
        answer = httpx.post(f"{server.url}/statusthing.v1.StatusService/ListStatus", json={})
        assert len(answer.json()["statuses"]) == 8
        assert answer.headers["statusthing-revision"] == "1"
        assert {line["level"] for line in logged(server, "statusthing.sqlite")} <= {"info"}
        assert logged(server, "statusthing.workers") == []


def test_eight_servers_start_on_an_empty_database(tmp_path: Path) -> None:
    """The same holds for servers that know nothing of each other."""
    command = [str(STATUSTHING), "serve", "--addr=127.0.0.1:0", "--store=sqlite:///data.db"]
    servers = [
        subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    try:
        for server in servers:
            assert server.stdout is not None
            url = server.stdout.readline().removeprefix("listening on ").strip()
            answer = httpx.post(f"{url}/statusthing.v1.StatusService/ListStatus", json={})
            assert len(answer.json()["statuses"]) == 8
            assert answer.headers["statusthing-revision"] == "1"
    finally:
        for server in servers:
            server.terminate()
        ends = [(server.communicate(timeout=SECONDS)[1], server.returncode) for server in servers]
    assert [code for _, code in ends] == [0] * 8, ends
    assert "Traceback" not in "".join(errors for errors, _ in ends)


def test_all_processes_see_every_write_at_once(serve: Serve) -> None:
    """Whoever answers, the write that was acknowledged before is there."""
    with serve("--workers=3") as server:
        for number in range(60):
            add(server, f"item {number}")
            assert len(names(server.url)) == number + 1


@contextmanager
def alone(server: Any, pid: int) -> Iterator[None]:
    """Suspend all processes that serve but one, so that only this one can answer."""
    others = [psutil.Process(other) for other in workers(server) - {pid}]
    for other in others:
        other.suspend()
    until(lambda: all(other.status() == psutil.STATUS_STOPPED for other in others))
    try:
        yield
    finally:
        for other in others:
            other.resume()


def test_the_processes_share_the_connections(serve: Serve) -> None:
    """Each process takes connections from the one socket; `test_server.py` shows: one by one."""
    with serve("--workers=3") as server:
        add(server, "shared")
        for pid in workers(server):
            with alone(server, pid):
                assert names(server.url) == {"shared"}


def test_a_process_that_is_killed_is_replaced(serve: Serve) -> None:
    """The others go on serving, nothing is lost, and the log says what happened."""
    with serve("--workers=2") as server:
        add(server, "before")
        before = workers(server)
        victim = min(before)
        psutil.Process(victim).kill()
        add(server, "meanwhile")
        [fresh] = until(lambda: workers(server) - before)
        until(lambda: listening(fresh))
        with alone(server, fresh):
            assert names(server.url) == {"before", "meanwhile"}
        [line] = logged(server, "statusthing.workers")
        assert line["event"] == f"process {victim} ended (SIGKILL); another takes its place"


def test_what_keeps_all_of_them_from_starting_is_said_once(tmp_path: Path) -> None:
    """A mistake is one clear line and exit code 2, however many processes there would be."""
    (tmp_path / "letter.txt").write_text("Dear all,\n" * 1_000)
    ended = subprocess.run(
        [STATUSTHING, "serve", "--addr=127.0.0.1:0", "--store=sqlite:///letter.txt", "--workers=4"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("statusthing: ")
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert ended.stdout == ""


def refuses(address: tuple[str, int]) -> bool:
    """Return whether nothing listens at an address any more."""
    try:
        socket.create_connection(address, timeout=SECONDS).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it waited to be accepted
        return False
    return False


def test_calls_in_flight_are_finished(serve: Serve) -> None:
    """SIGTERM refuses new connections in all processes, and lets calls come to their end."""
    body = b'{"name": "late"}'

    def head(server: Any) -> bytes:
        return (
            "POST /statusthing.v1.ItemsService/AddItem HTTP/1.1\r\n"
            "Host: localhost\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {server.token}\r\n"
            f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
        ).encode()

    with serve("--workers=2") as server:
        host, port = server.address.split(":")
        with socket.create_connection((host, int(port)), timeout=SECONDS) as client:
            client.sendall(head(server))
            assert client.recv(100).startswith(b"HTTP/1.1 100 ")
            psutil.Process(server.pid).terminate()
            until(lambda: refuses((host, int(port))))
            client.sendall(body)
            assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")
    with serve() as server:
        assert names(server.url) == {"late"}


@pytest.mark.parametrize("count", [1, 2, 4])
def test_an_interrupt_while_processes_start(tmp_path: Path, count: int) -> None:
    """Ctrl-C, which every process of a terminal gets, stops all of them, and is no error."""
    first = subprocess.Popen(
        [STATUSTHING, "serve", "--addr=127.0.0.1:0", "--workers=4"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(lambda: len(psutil.Process(first.pid).children()) > count)  # one tracks resources
    others = psutil.Process(first.pid).children()
    end = time.monotonic() + SECONDS
    while first.poll() is None and time.monotonic() < end:
        os.killpg(first.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            first.wait(0.01)
    _, errors = first.communicate(timeout=SECONDS)
    _, alive = psutil.wait_procs(others, SECONDS)

    assert first.returncode == 0, errors
    assert "Traceback" not in errors
    assert alive == []


def test_no_process_outlives_the_one_that_started_it(tmp_path: Path) -> None:
    """When the first process is killed, the others stop by themselves."""
    first = subprocess.Popen(
        [STATUSTHING, "serve", "--addr=127.0.0.1:0", "--workers=2"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert first.stdout is not None
    assert first.stdout.readline().startswith(b"listening on ")
    others = psutil.Process(first.pid).children(recursive=True)
    first.kill()
    first.communicate()

    _, alive = psutil.wait_procs(others, SECONDS)
    assert len(others) >= 2
    assert alive == []
