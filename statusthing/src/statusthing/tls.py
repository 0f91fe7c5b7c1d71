"""TLS for the server: from two files to what the sockets need."""

from __future__ import annotations

import ssl
from pathlib import Path

from statusthing.errors import UserMistake

_PROTOCOLS = ["h2", "http/1.1"]


def tls_context(certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext | None:
    """Read a certificate and its key; TLS 1.2 or newer, HTTP/2 or HTTP/1.1 as the client prefers.

    Args:
        certfile: the server's certificate and those that lead to its authority, in PEM.
        keyfile: the private key, in PEM, without a passphrase.

    Returns:
        What `statusthing.server.run` takes; None if neither file is given.

    Raises:
        UserMistake: one is missing or cannot be read, or they do not fit together.
    """
    if certfile is None and keyfile is None:
        return None
    if certfile is None or keyfile is None:
        raise UserMistake("TLS needs both the certificate (--certfile) and its key (--keyfile)")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(_PROTOCOLS)
    for path in (certfile, keyfile):
        try:
            path.read_bytes()
        except OSError as error:
            msg = f"cannot read {path}: {error.strerror}"
            raise UserMistake(msg) from error
    try:
        context.load_cert_chain(certfile, keyfile, password=_no_passphrase)
    except _Passphrase as error:
        msg = f"the key in {keyfile} has a passphrase: store it without one, readable by this user"
        raise UserMistake(msg) from error
    except (ssl.SSLError, ValueError) as error:
        msg = f"{certfile} and {keyfile} are not a certificate and its private key, both in PEM"
        raise UserMistake(msg) from error
    return context


class _Passphrase(Exception):
    """OpenSSL asked for one."""


def _no_passphrase() -> str:
    # OpenSSL would ask at the terminal.
    raise _Passphrase
