"""A TCP proxy in front of a server, which loses what a test wants lost."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.units import SECONDS

Fault = Callable[[], bool]
"""Told that a client has sent what commits, tells whether its connection breaks then."""

_COMMIT = b"COMMIT\0"
_ALONE = b"WITH held AS "  # how the statement begins that may be a transaction of its own


class Commits:
    """Tells whether what one client has sent commits something."""

    def __init__(self) -> None:
        # As psycopg names what it sends often.
        self._names: dict[bytes, list[bytes]] = {_COMMIT: [], _ALONE: []}
        self._begun = False

    def __contains__(self, sent: bytes) -> bool:
        commit = self._has(sent, _COMMIT)
        commits = commit or (self._has(sent, _ALONE) and not self._begun)
        self._begun = b"BEGIN " in sent or (self._begun and not commit and b"ROLLBACK" not in sent)
        return commits

    def _has(self, sent: bytes, text: bytes) -> bool:
        self._names[text] += re.findall(rb"(\w+)\0" + text, sent)
        return text in sent or any(name + b"\0" in sent for name in self._names[text])


class Proxy:
    """Passes on what comes, both ways, until told otherwise.

    Attributes:
        before: breaks the connection instead of passing on what commits.
        after: passes it on, and breaks the connection before an answer comes.
        late: keeps it until the client has given the connection up, and `deliver` is called.
        refusing: whether new connections are closed at once.
        cuts: how many connections were broken so far.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = parts._replace(
            netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}"
        ).geturl()
        self.before: Fault = lambda: False
        self.after: Fault = lambda: False
        self.late: Fault = lambda: False
        self.refusing = False
        self.cuts = 0
        self._go, self._delivered = threading.Event(), threading.Event()

    def serve(self) -> None:
        """Accept connections until `close`."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def close(self) -> None:
        """Accept no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def deliver(self) -> None:
        """Pass on what is late, and return when the server has done with it."""
        self._go.set()
        assert self._delivered.wait(SECONDS)

    def _pass_on(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self.refusing:
                return
            with socket.create_connection(self._server) as server:
                answers = threading.Thread(target=_copy, args=(server, client), daemon=True)
                answers.start()
                try:
                    self._ask(client, server)
                finally:
                    for end in (client, server):
                        with contextlib.suppress(OSError):
                            end.shutdown(socket.SHUT_RDWR)
                    answers.join()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        commits = Commits()
        while data := client.recv(65536):
            commit = data in commits
            if commit and self.before():
                self.cuts += 1
                return
            if commit and self.after():
                self.cuts += 1
                client.shutdown(socket.SHUT_RDWR)  # first, so that no answer can slip through
                _deliver(data, server)
                return
            if commit and self.late():
                self.cuts += 1
                while client.recv(65536):
                    pass
                assert self._go.wait(SECONDS)
                _deliver(data, server)
                self._delivered.set()
                return
            server.sendall(data)


def _deliver(data: bytes, server: socket.socket) -> None:
    """Send the last that a server gets, which acts on it before it sees the end."""
    server.sendall(data)
    server.shutdown(socket.SHUT_WR)
    with contextlib.suppress(OSError):  # the thread that copies the answers may close it first
        while server.recv(65536):
            pass


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def proxied(url: str) -> Iterator[Proxy]:
    """Run a proxy in front of the server of a URL."""
    proxy = Proxy(url)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join()
