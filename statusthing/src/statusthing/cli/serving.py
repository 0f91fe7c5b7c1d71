"""`statusthing serve`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from statusthing.cli.failures import exit_codes
from statusthing.cli.first_run import FirstRun
from statusthing.cli.options import option, store_option
from statusthing.errors import UserMistake
from statusthing.identity import is_loopback
from statusthing.registry import failures_named, open_store
from statusthing.service import StatusThing
from statusthing.store import Store

if TYPE_CHECKING:
    from statusthing.app import App

DEFAULT_ADDR = "127.0.0.1:9000"


@click.command()
@store_option
@option(
    "--addr",
    "--api-addr",
    metavar="HOST:PORT",
    default=DEFAULT_ADDR,
    envvar=["STATUSTHING_ADDR", "STATUSTHING_API_ADDR"],
    help="Where to listen; port 0 takes a free one.",
)
@option(
    "--access",
    type=click.Choice(("public", "private")),
    default="public",
    envvar=["STATUSTHING_ACCESS"],
    help="Who may read: everybody, or only those who have signed in or have a token.",
)
@option(
    "--devmode",
    is_flag=True,
    envvar=["STATUSTHING_DEVMODE"],
    callback=None,  # empty is off
    help='Make the account admin with the password "password", serve gRPC reflection, and have '
    "pages follow edits of templates and assets.",
)
@option(
    "--cors-origin",
    "cors_origins",
    metavar="ORIGIN",
    multiple=True,
    envvar=["STATUSTHING_CORS_ORIGIN"],
    callback=None,  # empty is no origin
    help="Let pages of https://this.origin write, not only read; may be given several times.",
)
@option(
    "--cache-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    envvar=["STATUSTHING_CACHE_DIR"],
    help="Keep what the pages show here, to have it after a restart without the store.",
)
@option(
    "--certfile",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar=["STATUSTHING_CERTFILE"],
    help="Serve over TLS, with this certificate and those that lead to its authority, in PEM.",
)
@option(
    "--keyfile",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar=["STATUSTHING_KEYFILE"],
    help="The private key of the certificate, in PEM, without a passphrase.",
)
@option(
    "--trusted-proxy",
    "trusted_proxies",
    metavar="CIDR",
    multiple=True,
    envvar=["STATUSTHING_TRUSTED_PROXY"],
    callback=None,  # empty is no proxy
    help="Believe the X-Forwarded headers of proxies in this network, such as 10.0.0.0/8; may be "
    "given several times.",
)
@option(
    "--insecure-http",
    is_flag=True,
    envvar=["STATUSTHING_INSECURE_HTTP"],
    callback=None,  # empty is off
    help="Listen on other than loopback addresses without TLS, where passwords can be overheard.",
)
@option(
    "--setup-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default="./statusthing-setup",
    envvar=["STATUSTHING_SETUP_FILE"],
    help="Where the link to make the first admin is written, if nobody watches standard output.",
)
@option(
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
    access: str,
    *,
    devmode: bool,
    cors_origins: tuple[str, ...],
    cache_dir: Path | None,
    certfile: Path | None,
    keyfile: Path | None,
    trusted_proxies: tuple[str, ...],
    insecure_http: bool,
    setup_file: Path,
    workers: int,
) -> int:
    """Serve the API and the pages until SIGINT or SIGTERM."""
    # What serving needs takes a while to load, and no other command needs it.
    from statusthing import logformat, server  # noqa: PLC0415
    from statusthing.tls import tls_context  # noqa: PLC0415
    from statusthing.workers import supervise  # noqa: PLC0415

    if devmode and trusted_proxies:
        msg = (
            "--devmode does not go with --trusted-proxy: through the proxy anybody could sign in "
            "with the account that everybody knows the password of; leave one of them out"
        )
        raise UserMistake(msg)
    host, _ = server.host_and_port(addr)
    if not is_loopback(host):
        _check_reachable(
            addr, devmode=devmode, is_safe=bool(certfile or trusted_proxies) or insecure_http
        )
    chosen = open_store(store)
    if workers > 1 and not chosen.shared:
        msg = f"{chosen.url} is of use to one process only: take another store, or --workers 1"
        raise UserMistake(msg)
    tls = tls_context(certfile, keyfile)
    logformat.configure()
    options = {
        "access": access,
        "devmode": devmode,
        "cors_origins": cors_origins,
        "cache_dir": cache_dir,
        "trusted_proxies": trusted_proxies,
        "setup_file": setup_file,
    }
    site = _Site(store, certfile, keyfile, options)

    with (
        server.listen(addr) as listener,
        failures_named(store),
        FirstRun(store, setup_file, devmode=devmode) as first_run,
    ):
        url = server.url_of(listener, tls)

        def say_where() -> None:
            click.echo(f"listening on {url}")
            click.echo(f"data in {chosen.url}")

        if workers == 1:
            app = site.app(chosen)

            def started() -> None:
                say_where()
                first_run.begin_soon(app.st, url)

            server.run_on(listener, app, on_start=started, tls=tls)
            return 0

        def all_started() -> None:
            say_where()
            first_run.begin(StatusThing(chosen, devmode=devmode), url)

        return supervise(
            workers,
            _work,
            (listener, site),
            on_start=all_started,
            on_stop=listener.close,
        )


def _check_reachable(addr: str, *, devmode: bool, is_safe: bool) -> None:
    """Refuse an address that others can reach, if it would be careless to serve there."""
    if devmode:
        msg = (
            f"cannot listen on {addr} with --devmode, which has an account that everybody knows "
            "the password of: use 127.0.0.1:9000, localhost:9000 or [::1]:9000"
        )
        raise UserMistake(msg)
    if not is_safe:
        msg = (
            f"cannot listen on {addr} without TLS, or passwords could be read on the way: in a "
            "container or behind a reverse proxy, name the network of what speaks TLS with "
            "--trusted-proxy; where clients reach this server directly, use --certfile and "
            "--keyfile; on a laptop, listen on 127.0.0.1:9000, or use --insecure-http in a network "
            "of your own"
        )
        raise UserMistake(msg)


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
    with exit_codes(), failures_named(site.store), listener:
        tls = tls_context(site.certfile, site.keyfile)
        server.run_on(listener, site.app(open_store(site.store)), on_start=started, tls=tls)
