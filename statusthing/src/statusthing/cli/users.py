"""`statusthing user`: who may sign in, and what they may do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from statusthing.access import Role
from statusthing.cli.options import role_option, store_option
from statusthing.cli.service import COMMAND_LINE, with_service
from statusthing.cli.text import columns, instant, plain
from statusthing.errors import UserMistake
from statusthing.model import User
from statusthing.service import StatusThing, checks
from statusthing.service.passwords import MOST_BYTES
from statusthing.store import Query

# What is typed behind the name is a password, which no message may repeat.
_SECRETIVE = {"allow_extra_args": True}

_name = click.argument("name")
_password_option: Callable[[Any], Any] = click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the password from the first line of standard input, and do not ask for it.",
)


@click.group()
def user() -> None:
    """Add, list and change the users of a store."""


@user.command(context_settings=_SECRETIVE)
@_name
@store_option
@role_option
@click.option("--email", metavar="ADDRESS", default="", help="Their email address.")
@click.option("--first-name", metavar="NAME", default="", help="Their first name.")
@click.option("--last-name", metavar="NAME", default="", help="Their last name.")
@_password_option
@click.pass_context
def add(
    context: click.Context,
    name: str,
    store: str,
    role: str,
    *,
    email: str,
    first_name: str,
    last_name: str,
    password_stdin: bool,
) -> None:
    """Add a user, who can sign in at once."""
    password = _password(context, from_stdin=password_stdin)

    async def work(st: StatusThing) -> None:
        if any(other.development for other in await _called(st, name)):
            raise UserMistake(_of_devmode(name))
        await st.users.add(
            username=name,
            password=password,
            role=Role[role.upper()],
            email_address=email,
            first_name=first_name,
            last_name=last_name,
            principal=COMMAND_LINE,
        )

    with_service(store, work)
    click.echo(f"added {plain(name)}, role {role}")


@user.command("list")
@store_option
def list_users(store: str) -> None:
    """List the users, in the order they were added."""

    async def work(st: StatusThing) -> tuple[User, ...]:
        return tuple(await st.store.read(lambda tx: tx.find(Query(User))))

    rows = [
        (
            each.username,
            each.role.name.lower(),
            _state(each),
            instant(each.last_login),
            each.email_address,
        )
        for each in with_service(store, work)
    ]
    for line in columns(("USERNAME", "ROLE", "STATE", "LAST SIGN-IN", "EMAIL"), rows):
        click.echo(line)


@user.command()
@_name
@store_option
def disable(name: str, store: str) -> None:
    """End all that a user may do, with a session or a token."""
    _update(store, name, disabled=True)
    click.echo(f"disabled {plain(name)}")


@user.command()
@_name
@store_option
def enable(name: str, store: str) -> None:
    """Undo `disable`."""
    _update(store, name, disabled=False, update_mask=("disabled",))
    click.echo(f"enabled {plain(name)}")


@user.command("set-role")
@_name
@store_option
@role_option
def set_role(name: str, store: str, role: str) -> None:
    """Give a user another role, which ends their sessions."""
    _update(store, name, role=Role[role.upper()])
    click.echo(f"{plain(name)} has the role {role}")


@user.command("set-password", context_settings=_SECRETIVE)
@_name
@store_option
@_password_option
@click.pass_context
def set_password(context: click.Context, name: str, store: str, *, password_stdin: bool) -> None:
    """Give a user another password, which ends their sessions."""
    # The username too, which the password must not be; the mask, as no password is none to set.
    password = _password(context, from_stdin=password_stdin)
    mask = ("password", "username")
    _update(store, name, password=password, username=name, update_mask=mask)
    click.echo(f"set the password of {plain(name)}")


@user.command()
@_name
@store_option
def delete(name: str, store: str) -> None:
    """Delete a user, their tokens and their sessions."""

    async def work(st: StatusThing) -> None:
        found = await _user(st, name)
        await st.users.delete(found.id, principal=COMMAND_LINE)

    with_service(store, work)
    click.echo(f"deleted {plain(name)}")


def _update(store: str, name: str, **fields: Any) -> None:
    async def work(st: StatusThing) -> None:
        found = await _user(st, name)
        if found.development and "password" in fields:
            raise UserMistake(_of_devmode(name))
        await st.users.update(found.id, **fields, principal=COMMAND_LINE)

    with_service(store, work)


async def _called(st: StatusThing, name: str) -> tuple[User, ...]:
    """Return the user of that name, or nobody."""
    query = Query(User, {"username": checks.name("username", name)})
    return tuple(await st.store.read(lambda tx: tx.find(query)))


async def _user(st: StatusThing, name: str) -> User:
    for found in await _called(st, name):
        return found
    msg = f"no user is called {name!r}; `statusthing user list` shows all of them"
    raise UserMistake(msg)


def _of_devmode(name: str) -> str:
    return (
        f"{name!r} is the account that --devmode has made: "
        f"remove it with `statusthing user delete {name}`, and add one of your own"
    )


def _state(user: User) -> str:
    return "disabled" if user.disabled else "development" if user.development else "enabled"


def _password(context: click.Context, *, from_stdin: bool) -> str:
    """Return the password that somebody types, or that a program hands over."""
    if context.args:
        raise UserMistake(
            "a password is not taken from the command line, where others can see it: "
            "leave it out, or use --password-stdin"
        )
    if from_stdin:
        return _first_line()
    if sys.stdin is None or not sys.stdin.isatty():
        raise UserMistake("there is no terminal to ask for the password on: use --password-stdin")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password


def _first_line() -> str:
    if sys.stdin is None:
        return ""
    line = sys.stdin.buffer.readline(MOST_BYTES + 2)  # one byte too many, and the line break
    try:
        return line.removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        raise UserMistake("the password is not text in UTF-8") from error
