"""The `statusthing` command.

Exit codes: 0; 2 for a mistake in the command or its arguments, 1 for anything else, either
reported in one line on stderr. Every option can also be set by a variable of the environment,
`STATUSTHING_` and its name.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from statusthing import __version__
from statusthing.errors import SchemaMismatch, StatusThingError, UserMistake, with_cause
from statusthing.registry import failures_named, installed, open_store
from statusthing.store import Store

if TYPE_CHECKING:
    from statusthing.app import App

DEFAULT_STORE = "sqlite:///statusthing.db"
DEFAULT_ADDR = "127.0.0.1:9000"


def _not_empty(context: click.Context, option: click.Parameter, value: Any) -> Any:
    """Refuse an empty variable of the environment, which click takes for one that is not set.

    It is rather a mistake in a unit file, after which the default would serve other data.
    """
    if context.get_parameter_source(option.name or "") is ParameterSource.DEFAULT:
        for name in option.envvar or ():
            if name in os.environ:
                raise UserMistake(f"{name} is empty: give it a value, or remove it")
    return value


_option = functools.partial(click.option, show_default=True, show_envvar=True, callback=_not_empty)

_store_option: Callable[[Any], Any] = _option(
    "--store",
    metavar="URL",
    default=DEFAULT_STORE,
    envvar=["STATUSTHING_STORE"],
    help="Where everything is kept, such as sqlite:////srv/statusthing.db for a file.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def command() -> None:
    """A status page: items, their statuses, and notes about them."""


@command.command()
@_store_option
@_option(
    "--addr",
    "--api-addr",
    metavar="HOST:PORT",
    default=DEFAULT_ADDR,
    envvar=["STATUSTHING_ADDR", "STATUSTHING_API_ADDR"],
    help="Where to listen, on this machine only; port 0 takes a free one.",
)
@_option(
    "--devmode",
    is_flag=True,
    envvar=["STATUSTHING_DEVMODE"],
    callback=None,  # empty is off
    help="Serve gRPC reflection; have pages follow edits of templates and assets.",
)
@_option(
    "--cors-origin",
    "cors_origins",
    metavar="ORIGIN",
    multiple=True,
    envvar=["STATUSTHING_CORS_ORIGIN"],
    callback=None,  # empty is no origin
    help="Let pages of https://this.origin write, not only read; may be given several times.",
)
@_option(
    "--cache-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    envvar=["STATUSTHING_CACHE_DIR"],
    help="Keep what the pages show here, to have it after a restart without the store.",
)
@_option(
    "--certfile",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar=["STATUSTHING_CERTFILE"],
    help="Serve over TLS, with this certificate and those that lead to its authority, in PEM.",
)
@_option(
    "--keyfile",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar=["STATUSTHING_KEYFILE"],
    help="The private key of the certificate, in PEM, without a passphrase.",
)
@_option(
    "--workers",
    metavar="NUMBER",
    type=click.IntRange(1, 64),
    default=1,
    envvar=["STATUSTHING_WORKERS"],
    help="How many processes serve.",
)
def serve(
    store: str,
    addr: str,
    *,
    devmode: bool,
    cors_origins: tuple[str, ...],
    cache_dir: Path | None,
    certfile: Path | None,
    keyfile: Path | None,
    workers: int,
) -> int:
    """Serve the API and the pages until SIGINT or SIGTERM."""
    # What serving needs takes a while to load, and no other command needs it.
    from statusthing import logformat, server  # noqa: PLC0415
    from statusthing.tls import tls_context  # noqa: PLC0415
    from statusthing.workers import supervise  # noqa: PLC0415

    host, _ = server.host_and_port(addr)
    if not server.is_loopback(host):
        msg = (
            f"cannot listen on {addr}: anyone who can reach this server may write, so it listens "
            "on loopback addresses only; use 127.0.0.1:9000, localhost:9000 or [::1]:9000"
        )
        raise UserMistake(msg)
    chosen = open_store(store)
    if workers > 1 and not chosen.shared:
        msg = f"{chosen.url} is of use to one process only: take another store, or --workers 1"
        raise UserMistake(msg)
    tls = tls_context(certfile, keyfile)
    logformat.configure()
    options = {"devmode": devmode, "cors_origins": cors_origins, "cache_dir": cache_dir}
    site = _Site(store, certfile, keyfile, options)

    with server.listen(addr) as listener, failures_named(store):

        def started() -> None:
            click.echo(f"listening on {server.url_of(listener, tls)}")
            click.echo(f"data in {chosen.url}")

        if workers == 1:
            server.run_on(listener, site.app(chosen), on_start=started, tls=tls)
            return 0
        return supervise(
            workers,
            _work,
            (listener, site),
            on_start=started,
            on_stop=listener.close,
        )


class _Site(NamedTuple):
    """What all processes that serve together have in common."""

    store: str
    certfile: Path | None
    keyfile: Path | None
    options: dict[str, Any]

    def app(self, store: Store) -> App:
        """Build the application over the store."""
        from statusthing.app import build_app  # noqa: PLC0415

        return build_app(store, defaults=True, migrate=True, **self.options)


def _work(listener: socket, site: _Site, started: Callable[[], None]) -> None:
    """Serve, as one of several processes."""
    from statusthing import logformat, server  # noqa: PLC0415
    from statusthing.tls import tls_context  # noqa: PLC0415

    logformat.configure()
    with _exit_codes(), failures_named(site.store), listener:
        tls = tls_context(site.certfile, site.keyfile)
        server.run_on(listener, site.app(open_store(site.store)), on_start=started, tls=tls)


@command.command()
@_store_option
def migrate(store: str) -> None:
    """Bring the layout of a store up to date, or make an empty one."""
    chosen = open_store(store)
    with failures_named(store):
        version = asyncio.run(_migrate(chosen))
    click.echo(f"data in {chosen.url} is laid out as version {version}")


async def _migrate(store: Store) -> str:
    await store.migrate()
    await store.open()
    try:
        return store.schema.version
    finally:
        await store.close()


@command.command()
@_store_option
def stores(store: str) -> None:
    """List the installed stores.

    An asterisk marks the store that takes the URL of --store; none is marked if no store does.
    Exclamation marks show that several claim one scheme.
    """
    scheme = store.partition(":")[0].lower()
    offers = installed()
    claims = Counter(offer.name for offer in offers)
    for name, origin, _ in offers:
        mark = "!" if claims[name] > 1 else "*" if name == scheme else " "
        click.echo(f"{mark} {name}:  {origin}")


def main() -> None:
    """Run the command, and end the process with its exit code."""
    with _exit_codes():
        code = command.main(prog_name="statusthing", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def _exit_codes() -> Iterator[None]:
    """End the process with one line on stderr for errors that have one."""
    try:
        yield
    except click.exceptions.Abort:
        _fail("interrupted", 1)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except (UserMistake, SchemaMismatch) as error:
        _fail(str(error), 2)
    except StatusThingError as error:
        _fail(with_cause(error), 1)


def _fail(message: str, code: int) -> None:
    # In whatever a message quotes: an argument in the wrong place, or the words of a plugin.
    for secret in sorted(_credentials(), key=len, reverse=True):
        message = message.replace(f"://{secret}@", "://***@")
    click.echo(f"statusthing: {' '.join(message.split())}", err=True)
    sys.exit(code)


def _credentials() -> set[str]:
    """Return what may be a user with a password in what the process was given.

    A password may hold what should be encoded in it, so that any @ may be the end of it.
    """
    return {
        text[begin.end() : end.start()]
        for text in [*sys.argv, *os.environ.values()]
        for begin in re.finditer("://", text)
        for end in re.finditer("@", text)
        if begin.end() < end.start()
    }
