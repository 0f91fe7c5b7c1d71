"""What the server does with applications of other people, good ones and faulty ones.

When run as a program, this file serves the applications below, by path.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.client import (
    OK,
    HTTPConnection,
    HTTPException,
    HTTPResponse,
    IncompleteRead,
    RemoteDisconnected,
)
from typing import Any

import pytest

from statusthing import server

SECONDS = 10.0  # the bound of all that clients wait for
CALLS = 100

Ask = Callable[..., tuple[HTTPResponse, bytes]]
Headers = list[tuple[bytes, bytes]]


def start(headers: Headers | None = None, status: int = 200) -> dict[str, Any]:
    """Return the message that begins an answer."""
    return {"type": "http.response.start", "status": status, "headers": headers or []}


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    """Return a message with a part of an answer."""
    return {"type": "http.response.body", "body": data, "more_body": more}


ANSWERS: dict[str, list[dict[str, Any]]] = {
    "/plain": [start(), body(b"plain")],
    "/capitals": [start([(b"Content-Length", b"8"), (b"X-Name", b"a")]), body(b"capitals")],
    "/bytes": [start([(b"x-name", b"\xe4\t \x80")]), body(b"bytes")],
    "/chunks": [start([(b"Transfer-Encoding", b"chunked")]), body(b"chunks")],
    "/close": [start([(b"Connection", b"close"), (b"content-length", b"5")]), body(b"close")],
    "/cookies": [start([(b"set-cookie", b"a=b"), (b"set-cookie", b"c=d")]), body(b"cookies")],
    "/lists": [{**start(), "headers": [[b"x-name", b"a"]]}, body(b"lists")],
    "/spaces": [start([(b"x-name", b" a ")]), body(b"spaces")],
    "/parts": [start(), body(b"pa", more=True), body(b"", more=True), body(b"rts")],
    "/no-body": [start([(b"x-name", b"a")], 204), body(b"dropped")],
    "/a-line": [start([(b"x-name", b"a\r\nx-other: b")]), body(b"")],
    "/a-line-with-zero": [start([(b"x-name", b"a\r\nx-other\0 b")]), body(b"")],
    "/a-colon": [start([(b"content-length: 5, x", b"a")]), body(b"")],
    "/a-name": [start([(b"x-name: a\r\nx-other", b"b")]), body(b"")],
    "/a-zero": [start([(b"x-name", b"a\0b")]), body(b"")],
    "/two-lengths": [start([(b"content-length", b"1"), (b"content-length", b"2")]), body(b"a")],
    "/nothing": [],
    "/body-first": [body(b"a")],
    "/start-only": [start()],
    "/start-twice": [start(), start()],
    "/part-only": [start(), body(b"a", more=True)],
    "/more": [start(), body(b"more"), body(b"a")],
    "/trailers": [start(), body(b"trailers"), {"type": "http.response.trailers", "headers": []}],
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer as `ANSWERS` says; `/kept` with what is kept of earlier calls, `/left` once left."""
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == "/kept":
        garbage = gc.collect()
        tasks = sum(isinstance(each, asyncio.Task) for each in gc.get_objects())
        await send(start())
        await send(body(b"%d %d" % (garbage, tasks)))
    elif scope["path"] == "/state":
        calls = scope["state"]["calls"] = scope["state"].get("calls", 0) + 1
        await send(start())
        await send(body(b"%d" % calls))
    elif scope["path"] == "/left":
        await send(start())
        say(" ".join([(await receive())["type"] for _ in range(2)]))
    else:
        for message in ANSWERS[scope["path"]]:
            await send(message)


def say(line: str) -> None:
    """Tell the test something."""
    print(line, flush=True)  # noqa: T201


def main() -> None:
    """Serve, and look for garbage only where that is asked for."""
    gc.disable()
    logging.basicConfig(format="%(name)s: %(message)s")
    server.run(app, addr="127.0.0.1:0", on_start=say)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    """A server with the applications."""
    program = [sys.executable, __file__]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, stdout=pipe, stderr=pipe, text=True) as process:
        yield process
        process.kill()


@pytest.fixture
def address(process: subprocess.Popen[str]) -> str:
    """Where it listens."""
    assert process.stdout is not None
    return process.stdout.readline().strip().removeprefix("http://")


@pytest.fixture
def ask(address: str) -> Iterator[Ask]:
    """Make a request, on one connection as long as that is kept."""
    connection = HTTPConnection(address, timeout=SECONDS)

    def request(path: str, method: str = "GET") -> tuple[HTTPResponse, bytes]:
        connection.request(method, path)
        response = connection.getresponse()
        return response, response.read()

    yield request
    connection.close()


def test_parts_of_an_answer(ask: Ask) -> None:
    """An answer without a length is told in chunks, one with a length as it is."""
    for path in ("/plain", "/parts", "/capitals", "/chunks", "/bytes", "/spaces", "/lists"):
        response, data = ask(path)

        assert (response.status, data) == (200, path[1:].encode())


@pytest.mark.parametrize("path", ["/more", "/trailers"])
def test_what_follows_an_answer_is_ignored(
    ask: Ask, process: subprocess.Popen[str], path: str
) -> None:
    """Nothing comes of what an application sends after the last part of its answer."""
    assert ask(path)[1] == path[1:].encode()
    assert ask("/plain")[1] == b"plain"
    assert stop(process) == ""


def test_an_application_may_end_the_connection(address: str) -> None:
    """The client is told, and the connection ends with the answer."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS) as client:
        client.sendall(b"GET /close HTTP/1.1\r\nhost: a\r\n\r\n")
        with client.makefile("rb") as answer:
            head, _, data = answer.read().partition(b"\r\n\r\n")

    assert b"\r\nconnection: close" in head.lower()
    assert data == b"close"


def test_headers_are_sent_as_they_are(ask: Ask) -> None:
    """Whatever bytes a header may have arrive; spaces around them do not count."""
    assert ask("/bytes")[0].getheader("x-name") == "\xe4\t \x80"
    assert ask("/spaces")[0].getheader("x-name") == "a"
    assert ask("/cookies")[0].headers.get_all("set-cookie") == ["a=b", "c=d"]
    for path, framing in (("/capitals", "Content-Length"), ("/chunks", "Transfer-Encoding")):
        names = [name for name, _ in ask(path)[0].getheaders()]
        assert sorted(names) in ([framing, "X-Name", "date"], [framing, "date"])


def test_answers_without_a_body(ask: Ask) -> None:
    """Neither HEAD nor 204 has one, whatever the application sends."""
    for path, method in (("/capitals", "HEAD"), ("/no-body", "GET"), ("/plain", "HEAD")):
        assert ask(path, method)[1] == b""
    assert ask("/plain")[1] == b"plain"


@pytest.mark.parametrize(
    "path", ["/a-line", "/a-line-with-zero", "/a-colon", "/a-name", "/a-zero", "/two-lengths"]
)
def test_malformed_headers_are_refused(ask: Ask, process: subprocess.Popen[str], path: str) -> None:
    """No header becomes two, and none ends the head: the answer is 500, and the log says why."""
    response, data = ask(path)

    assert (response.status, data) == (500, b"")
    assert sorted(name for name, _ in response.getheaders()) == [
        "connection",
        "content-length",
        "date",
    ]
    assert "LocalProtocolError" in stop(process)


@pytest.mark.parametrize("path", ["/nothing", "/body-first"])
def test_who_answers_nothing_has_failed(ask: Ask, path: str) -> None:
    """A client waits for no answer that does not come."""
    response, data = ask(path)

    assert (response.status, data) == (500, b"")


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/start-only", RemoteDisconnected),
        ("/start-twice", RemoteDisconnected),
        ("/part-only", IncompleteRead),
    ],
)
def test_an_answer_that_breaks_off_is_seen_to(
    ask: Ask, path: str, error: type[HTTPException]
) -> None:
    """A client does not take a part for the whole."""
    with pytest.raises(error):
        ask(path)


def test_the_head_of_an_answer_need_not_wait(address: str) -> None:
    """It is sent when the application has nothing to follow it with yet."""
    with closing(HTTPConnection(address, timeout=SECONDS)) as client:
        client.request("GET", "/left")

        assert client.getresponse().status == OK


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/body-first", "sends http.response.body where http.response.start is to follow"),
        ("/start-twice", "sends http.response.start where http.response.body is to follow"),
    ],
)
def test_parts_out_of_turn_are_told(
    ask: Ask, process: subprocess.Popen[str], path: str, said: str
) -> None:
    """The log says what the application has sent, and what it should have."""
    with suppress(HTTPException):
        ask(path)

    assert f"the application {said}" in stop(process)


def test_who_has_left_stays_away(address: str, process: subprocess.Popen[str]) -> None:
    """An application that asks again is told again that its client has left."""
    client = HTTPConnection(address, timeout=SECONDS)
    client.request("GET", "/left")
    client.close()

    assert process.stdout is not None
    assert process.stdout.readline() == "http.disconnect http.disconnect\n"


def test_nothing_is_kept_of_calls(ask: Ask) -> None:
    """What calls have used is free when they end, without Python looking for cycles among it."""
    ask("/kept")
    for _ in range(CALLS):
        ask("/plain")

    garbage, tasks = map(int, ask("/kept")[1].split())
    assert garbage < CALLS
    assert tasks < CALLS


def test_each_call_has_a_state_of_its_own(ask: Ask) -> None:
    """What an application puts into the state of a request is there for that one only."""
    assert ask("/state")[1] == b"1"
    assert ask("/state")[1] == b"1"


def stop(process: subprocess.Popen[str]) -> str:
    """Stop the server, and return what it has logged."""
    process.terminate()
    return process.communicate(timeout=SECONDS)[1]


if __name__ == "__main__":
    main()
