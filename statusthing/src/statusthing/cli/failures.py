"""How the command ends when something fails: one line on stderr without secrets, and a code."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from statusthing.cli.text import plain
from statusthing.errors import (
    RequestError,
    SchemaMismatch,
    StatusThingError,
    UserMistake,
    with_cause,
)

_TOKEN = re.compile(r"st_[0-9A-Za-z]{12,}")  # the secret of a token, or what is left of one


@contextmanager
def exit_codes() -> Iterator[None]:
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
    except (UserMistake, SchemaMismatch, RequestError) as error:
        _fail(str(error), 2)
    except StatusThingError as error:
        _fail(with_cause(error), 1)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"statusthing: {without_secrets(' '.join(message.split()))}", err=True)
    sys.exit(code)


def without_secrets(message: str) -> str:
    """Return a message for a terminal, whatever it quotes.

    That may be an argument in the wrong place, or the words of a plugin.
    """
    for secret in sorted(_credentials(), key=len, reverse=True):
        message = message.replace(f"://{secret}@", "://***@")
    return plain(_TOKEN.sub("st_***", message))


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
