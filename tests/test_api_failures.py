"""What callers are told when something is wrong with the server, or with who they are.

When run as a program, this file serves an application in which something goes wrong: see `main`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from statusthing import Principal, Role, build_app, server
from statusthing.memory import MemoryStore

if TYPE_CHECKING:
    from tests.conftest import Result, Server

SECRET = "no such table: secrets, in /var/lib/statusthing.db"
VIEWER = Principal(name="somebody", role=Role.VIEWER)

Run = Callable[..., AbstractContextManager["Server"]]


def main(failure: str) -> None:
    """Serve an empty store to viewers; `failure` says what happens when somebody calls."""
    store = MemoryStore()

    async def identify(_: Any) -> Principal:
        if failure == "defect":
            raise LookupError(SECRET)
        if failure == "away":
            await store.close()
        return VIEWER

    def started(url: str) -> None:
        print(f"listening on {url}\ndata in {store.url}", flush=True)  # noqa: T201 - as `serve` does

    server.run(build_app(store, identify=identify), addr="127.0.0.1:0", on_start=started)


def called(run: Run, protocol: str, failure: str, rpc: str) -> tuple[Result, str]:
    """Make a call to a server in which something goes wrong: its result, and what was logged."""
    with (
        run(sys.executable, __file__, failure) as running,
        getattr(running, protocol)() as client,
    ):
        result = client.call(rpc)
    return result, running.log.read_text()


@pytest.mark.parametrize("protocol", ["json", "grpc"])
def test_an_unexpected_error_is_told_to_the_log_only(run: Run, protocol: str) -> None:
    """The caller gets an id by which the line of the log is found, and nothing else."""
    result, log = called(run, protocol, "defect", "ListItems")

    correlation_id = result.message.split()[-1]
    assert result.code == "internal"
    assert len(correlation_id) >= 8
    assert correlation_id in log
    assert SECRET in log
    assert not any(word in str(result) for word in ("table", "/var", "LookupError", ".py"))


@pytest.mark.parametrize("protocol", ["json", "grpc"])
@pytest.mark.parametrize("rpc", ["ListItems", "GetItem"])
def test_a_store_that_is_away_is_unavailable(run: Run, protocol: str, rpc: str) -> None:
    """The caller may try again, and is not told what the store is."""
    fields = {"item_id": "x"} if rpc == "GetItem" else {}
    with run(sys.executable, __file__, "away") as running, getattr(running, protocol)() as client:
        result = client.call(rpc, **fields)

    assert result.code == "unavailable"
    assert "memory" not in str(result)


def test_a_server_without_its_store_is_alive_and_not_ready(run: Run) -> None:
    """`/healthz` still answers 200, while `/readyz` answers 503 with a reason."""
    with run(sys.executable, __file__, "away") as running, running.http() as http:
        http.post("/statusthing.v1.ItemsService/ListItems", json={})
        alive, ready = http.get("/healthz"), http.get("/readyz")

    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
    assert ready.status_code == 503
    assert ready.json()["reason"]


@pytest.mark.parametrize("protocol", ["json", "grpc"])
def test_a_viewer_may_not_write(run: Run, protocol: str) -> None:
    """A known caller whose role is too low is refused before the fields are looked at."""
    result, _ = called(run, protocol, "", "AddItem")

    assert result.code == "permission_denied"
    assert result.detail(ErrorInfo).domain == "statusthing"


@pytest.mark.parametrize("protocol", ["json", "grpc"])
def test_a_viewer_reads(run: Run, protocol: str) -> None:
    """A role that is too low for writing is high enough for reading."""
    result, _ = called(run, protocol, "", "ListItems")

    assert (result.code, result.body, result.revision) == ("ok", {}, 0)


if __name__ == "__main__":
    main(sys.argv[1])
