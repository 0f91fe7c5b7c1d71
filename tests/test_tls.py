"""`statusthing serve` over TLS."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

SECONDS = 10.0  # the bound of everything that is waited for
STATUSTHING = Path(sys.executable).with_name("statusthing")

Serve = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Whom the clients trust."""
    return trustme.CA()


@pytest.fixture
def options(authority: trustme.CA, tmp_path: Path) -> list[str]:
    """The options for a certificate of 127.0.0.1."""
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    return ["--certfile=cert.pem", "--keyfile=key.pem"]


@pytest.fixture
def context(authority: trustme.CA) -> ssl.SSLContext:
    """The settings of a client that trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


CLOSED = (ConnectionError, ssl.SSLEOFError)
"""What a client sees of a connection that is closed at once, before or after its first message."""


def handshake(server: Any, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Connect and shake hands."""
    host, _, port = server.url.removeprefix("https://").partition(":")
    bare = socket.create_connection((host, int(port)), timeout=SECONDS)
    return context.wrap_socket(bare, server_hostname=host)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["h2", "http/1.1"], "h2"),
        (["http/1.1", "h2"], "h2"),
        (["http/1.1"], "http/1.1"),
        (["spdy/3"], None),
        ([], None),
    ],
)
def test_the_protocol_is_negotiated(
    serve: Serve, options: list[str], context: ssl.SSLContext, offered: list[str], chosen: str
) -> None:
    """HTTP/2 if the client has it, otherwise HTTP/1.1, which needs no negotiation."""
    if offered:
        context.set_alpn_protocols(offered)
    with serve(*options) as server, handshake(server, context) as client:
        assert server.url.startswith("https://127.0.0.1:")
        assert client.selected_alpn_protocol() == chosen
        if chosen != "h2":
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert client.recv(1_000).startswith(b"HTTP/1.1 200 ")


def test_old_versions_are_refused(
    serve: Serve, options: list[str], context: ssl.SSLContext
) -> None:
    """TLS 1.1 and older are not spoken."""
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with serve(*options) as server, pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(server, context)


def test_several_processes_serve_tls(
    serve: Serve, options: list[str], context: ssl.SSLContext
) -> None:
    """Each process has the certificate."""
    with serve(*options, "--workers=2") as server:
        for _ in range(20):
            with handshake(server, context) as client:
                client.sendall(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                assert client.recv(1_000).startswith(b"HTTP/1.1 200 ")


def test_what_is_not_tls_harms_nobody(
    serve: Serve, options: list[str], context: ssl.SSLContext
) -> None:
    """Plain HTTP, noise and silence at a TLS port are dropped; the log stays quiet."""
    with serve(*options) as server:
        host, _, port = server.url.removeprefix("https://").partition(":")
        address = (host, int(port))
        with (
            socket.create_connection(address, timeout=SECONDS),
            socket.create_connection(address, timeout=SECONDS) as plain,
            socket.create_connection(address, timeout=SECONDS) as noisy,
        ):
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            noisy.sendall(b"\x16\x03\x01\xff\xff" + b"\x00" * 100)
            for client in (plain, noisy):
                assert not client.recv(1_000).startswith(b"HTTP")
            with handshake(server, context) as good:
                good.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                assert good.recv(1_000).startswith(b"HTTP/1.1 200 ")
    assert "Traceback" not in server.log.read_text()


def test_handshakes_count_as_connections(
    run: Serve, options: list[str], context: ssl.SSLContext
) -> None:
    """Clients that never finish their handshake take up no more than all connections."""
    program = (
        "from statusthing import cli, limits\n"
        "limits.CONNECTIONS = 2\nlimits.HANDSHAKE_SECONDS = 600.0\ncli.main()"
    )
    with run(sys.executable, "-c", program, "serve", "--addr=127.0.0.1:0", *options) as server:
        host, _, port = server.url.removeprefix("https://").partition(":")
        silent = [socket.create_connection((host, int(port)), SECONDS) for _ in range(2)]
        with pytest.raises(CLOSED), handshake(server, context):
            pass
        for client in silent:
            client.close()
        assert is_served(server, context)
    assert "2 connections are open" in server.log.read_text()


def is_served(server: Any, context: ssl.SSLContext) -> bool:
    """Wait until there is room for one more client."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with suppress(*CLOSED), handshake(server, context) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            return client.recv(1_000).startswith(b"HTTP/1.1 200 ")
    return False


def test_a_passphrase_is_not_asked_for(tmp_path: Path, options: list[str]) -> None:
    """A locked key is a mistake with a clear line, not a question at the terminal."""
    key = tmp_path / "key.pem"
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    says(tmp_path, options, "the key in key.pem has a passphrase")


def says(folder: Path, options: list[str], text: str) -> None:
    """Run the command, which has to end with exit code 2 and one line that says so."""
    ended = subprocess.run(
        [STATUSTHING, "serve", "--addr=127.0.0.1:0", *options],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("statusthing: ")
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert text in ended.stderr


def test_half_of_the_files_is_not_enough(tmp_path: Path, options: list[str]) -> None:
    """Neither file is of use without the other."""
    for option in options:
        says(tmp_path, [option], "TLS needs both")


def test_a_missing_file_is_named(tmp_path: Path, options: list[str]) -> None:
    """The file that cannot be read is named."""
    (tmp_path / "key.pem").unlink()
    says(tmp_path, options, "cannot read key.pem: No such file or directory")


def test_files_that_do_not_fit_together(
    authority: trustme.CA, tmp_path: Path, options: list[str]
) -> None:
    """A key of another certificate is refused, and so is what is no certificate at all."""
    authority.issue_cert("127.0.0.1").private_key_pem.write_to_path(tmp_path / "key.pem")
    says(tmp_path, options, "are not a certificate and its private key")
    (tmp_path / "cert.pem").write_text("Dear all,\n")
    says(tmp_path, options, "are not a certificate and its private key")
