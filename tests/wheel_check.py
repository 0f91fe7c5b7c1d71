"""Shows that the built wheels are whole: what they contain, and that their server works.

The `wheels` session runs this with the Python of an environment that has only the wheels, from a
folder outside the repository. It needs the standard library alone, stops at the first thing that
is wrong with exit code 1 and one line, and takes two arguments: the repository and the wheels.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import urllib.request
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

SECONDS = 30.0
"""How long the server may take for anything: to start, to answer, to stop."""


def check_contents(repository: Path, wheels: Path) -> None:
    """Compare each wheel with the sources of its distribution, data files included."""
    distributions = sorted(path.parent for path in repository.glob("*/pyproject.toml"))
    for distribution in distributions:
        (wheel,) = wheels.glob(f"{distribution.name}-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            contained = set(archive.namelist())
        sources = distribution / "src"
        expected = {
            path.relative_to(sources).as_posix()
            for path in sources.rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }
        if missing := sorted(expected - contained):
            sys.exit(f"{wheel.name} lacks {', '.join(missing)}")
        if not any(name.endswith("/licenses/LICENSE") for name in contained):
            sys.exit(f"{wheel.name} lacks its licence")


def check_server() -> None:
    """Make a token, start the installed command, make a status and an item, and stop it."""
    command = Path(sys.executable).with_name("statusthing")
    made = subprocess.run(
        [command, "token", "create", "check", "--role=editor"],
        stdout=subprocess.PIPE,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    with subprocess.Popen(
        [command, "serve", "--addr", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    ) as server:
        watchdog = threading.Timer(SECONDS, server.kill)
        watchdog.start()
        try:
            assert_item_can_be_made(Caller(address_of(server), made.stdout.strip()))
            server.send_signal(signal.SIGTERM)
            code = server.wait()
        finally:
            watchdog.cancel()
            server.kill()
    if code != 0:
        sys.exit(f"the server stopped with exit code {code} after SIGTERM")


def address_of(server: subprocess.Popen[str]) -> str:
    """Return the URL that the server prints once it listens."""
    line = server.stdout.readline() if server.stdout else ""
    prefix = "listening on "
    if not line.startswith(prefix):
        sys.exit(f"the server printed {line!r} and not the address it listens on")
    return line.removeprefix(prefix).strip()


class Caller(NamedTuple):
    """Calls a server with a token."""

    address: str
    token: str

    def call(self, rpc: str, **fields: str) -> dict[str, dict[str, Any]]:
        """Call an rpc with JSON over HTTP and return its answer."""
        request = urllib.request.Request(  # noqa: S310 - the address is the server's own
            f"{self.address}/statusthing.v1.{rpc}",
            data=json.dumps(fields).encode(),
            headers={
                "Content-Type": "application/json",
                "Authorization": f"Bearer {self.token}",
            },
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310 - as above
            return json.load(response)  # type: ignore[no-any-return]


def assert_item_can_be_made(caller: Caller) -> None:
    """Make a status and an item that has it, and read the item back."""
    status = caller.call("StatusService/AddStatus", name="new", kind="STATUS_KIND_UP")
    status_id = status["status"]["id"]
    item = caller.call("ItemsService/AddItem", name="api", initial_status_id=status_id)
    answer = caller.call("ItemsService/GetItem", item_id=item["item"]["id"])
    if answer["item"]["status"]["name"] != "new":
        sys.exit(f"the item did not come back as it was made: {answer}")


if __name__ == "__main__":
    check_contents(Path(sys.argv[1]), Path(sys.argv[2]))
    check_server()
