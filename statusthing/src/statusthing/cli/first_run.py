"""What a server does for whoever has no account yet, once it answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import click

from statusthing import setup_file
from statusthing.errors import StatusThingError, StoreClosed, with_cause
from statusthing.registry import failures_named
from statusthing.service import StatusThing
from statusthing.service.setup import DEVELOPER, DEVELOPERS_PASSWORD, SETUP_FOR

_log = logging.getLogger("statusthing.setup")

_HOURS = SETUP_FOR.total_seconds() / 3_600
_EVERY_ADDRESS = re.compile(r"//(0\.0\.0\.0|\[::\]):")


class FirstRun:
    """Offers a link to make the first admin, while there is none; makes the account of a devmode.

    At the end of the context that it is, it removes the file with the link.

    Args:
        store: the URL of the store.
        file: where the link is written if nobody watches standard output.
        devmode: whether the account for development is to be there.
    """

    def __init__(self, store: str, file: Path, *, devmode: bool) -> None:
        self._store = store
        self._file = file.absolute()
        self._token = ""
        self._devmode = devmode
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        setup_file.remove(self._file, self._token)

    def begin_soon(self, st: StatusThing, url: str) -> None:
        """Do all that in the running event loop, where the store is open.

        Args:
            st: the service.
            url: where the server listens.
        """
        self._task = asyncio.create_task(self._begin(st, url))

    def begin(self, st: StatusThing, url: str) -> None:
        """Do all that now, with a store that nobody else uses; see `begin_soon`."""

        async def run() -> None:
            async with st:
                await self._begin(st, url)

        with self._reported():
            asyncio.run(run())

    async def _begin(self, st: StatusThing, url: str) -> None:
        with self._reported():
            if self._devmode:
                await self._make_developer(st)
            elif await st.setup.has_developer():
                _log.warning(
                    "there is a development account, %s: nobody can sign in with it without "
                    "--devmode",
                    DEVELOPER,
                )
            link = await st.setup_link()
            if link is not None:
                self._offer(f"{_EVERY_ADDRESS.sub('//localhost:', url)}{link}")

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        """Report what keeps this from being done, which keeps nobody from being served."""
        try:
            with failures_named(self._store):
                yield
        except StoreClosed:
            return  # the server is to stop already
        except StatusThingError as error:
            _log.error("no setup link was made: %s", with_cause(error))

    @staticmethod
    async def _make_developer(st: StatusThing) -> None:
        if await st.setup.make_developer():
            _log.warning(
                'development account: sign in as %s with the password "%s"; it is dead without '
                "--devmode",
                DEVELOPER,
                DEVELOPERS_PASSWORD,
            )
        else:
            _log.warning(
                "no development account was made: %s is an account of your own, or is disabled",
                DEVELOPER,
            )

    def _offer(self, link: str) -> None:
        if sys.stdout is not None and sys.stdout.isatty():
            click.echo(f"set up the first admin at {link}")
            return
        try:
            setup_file.write(self._file, link)
        except OSError as error:
            _log.warning(
                "nobody can sign in yet, and the setup link cannot be written to %s (%s): name "
                "another file with --setup-file, or make an admin with `statusthing user add`",
                self._file,
                error.strerror or error,
            )
        else:
            self._token = link.rpartition("=")[2]
            _log.info(
                "nobody can sign in yet: set up the first admin at the link in %s, within %d hours",
                self._file,
                _HOURS,
            )
