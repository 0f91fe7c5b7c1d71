"""The `statusthing` command.

Exit codes: 0; 2 for a mistake in the command or its arguments, 1 for anything else, either
reported in one line on stderr. Options that say where and how to serve, and where the data is, can
also be set by a variable of the environment, `STATUSTHING_` and their name.

What only one command needs is loaded when that command runs.
"""

from __future__ import annotations

import sys

import click

from statusthing import __version__
from statusthing.cli import audit, serving, stores, tokens, users
from statusthing.cli.failures import exit_codes


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def command() -> None:
    """A status page: items, their statuses, and notes about them."""


for _each in (
    serving.serve,
    stores.migrate,
    stores.stores,
    users.user,
    tokens.token,
    audit.audit,
):
    command.add_command(_each)


def main() -> None:
    """Run the command, and end the process with its exit code."""
    # Names that the encoding of a terminal or a pipe does not have are no reason to fail.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    with exit_codes():
        code = command.main(prog_name="statusthing", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
