"""`statusthing token`: what programs call with."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import click

from statusthing.access import Role
from statusthing.cli.options import role_option, store_option
from statusthing.cli.service import COMMAND_LINE, with_service
from statusthing.cli.text import columns, instant, plain
from statusthing.errors import UserMistake
from statusthing.model import Token, TokenUse, User
from statusthing.service import StatusThing, checks, utc_now
from statusthing.store import Query, Transaction

_DURATION = re.compile(r"([0-9]{1,5})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_LONGEST = timedelta(days=36_500)


@click.group()
def token() -> None:
    """Make, list and revoke the tokens that programs call with."""


class _Duration(click.ParamType[timedelta]):
    """A number of hours, days or weeks."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Read `12h`, `30d` or `52w`."""
        match = _DURATION.fullmatch(value)
        length = int(match[1]) * _UNITS[match[2]] if match else timedelta()
        if not timedelta() < length <= _LONGEST:
            self.fail("must be hours, days or weeks, such as 12h, 30d or 52w, up to 36500d")
        return length


@token.command()
@click.argument("name")
@store_option
@role_option
@click.option(
    "--expires",
    metavar="DURATION",
    type=_Duration(),
    help="After how long it ends, such as 12h, 30d or 52w; never without this.",
)
def create(name: str, store: str, role: str, expires: timedelta | None) -> None:
    """Make a token, and print its secret.

    NAME says what the token is for. It belongs to no user.
    """

    async def work(st: StatusThing) -> str:
        added = await st.tokens.add(
            name=name,
            role=Role[role.upper()],
            expires=None if expires is None else utc_now() + expires,
            principal=COMMAND_LINE,
        )
        return added.secret

    click.echo(with_service(store, work))
    click.echo("keep this secret now: it is not shown again", err=True)


@token.command("list")
@store_option
def list_tokens(store: str) -> None:
    """List the tokens, in the order they were made."""

    def everything(tx: Transaction) -> list[tuple[str, ...]]:
        owners = {each.id: each.username for each in tx.find(Query(User))}
        used = {each.id: each.updated for each in tx.find(Query(TokenUse))}
        return [
            (
                each.id,
                each.name,
                each.role.name.lower(),
                owners.get(each.user_id or "", ""),
                instant(each.expires),
                instant(used.get(each.id)),
            )
            for each in tx.find(Query(Token))
        ]

    rows = with_service(store, lambda st: st.store.read(everything))
    for line in columns(("ID", "NAME", "ROLE", "OWNER", "EXPIRES", "LAST USED"), rows):
        click.echo(line)


@token.command()
@click.argument("id_or_name")
@store_option
def revoke(id_or_name: str, store: str) -> None:
    """Revoke a token, which is then dead within a second."""

    async def work(st: StatusThing) -> str:
        found = await _token(st, id_or_name)
        await st.tokens.revoke(found.id, principal=COMMAND_LINE)
        return found.name

    click.echo(f"revoked {plain(with_service(store, work))}")


async def _token(st: StatusThing, id_or_name: str) -> Token:
    checks.name("the name or id of the token", id_or_name)

    def work(tx: Transaction) -> list[Token]:
        if checks.can_exist(id_or_name):
            for found in tx.find(Query(Token, {"id": id_or_name})):
                return [found]
        return list(tx.find(Query(Token, {"name": id_or_name})))

    found = await st.store.read(work)
    if not found:
        msg = f"no token has the id or the name {id_or_name!r}"
        raise UserMistake(msg)
    if len(found) > 1:
        ids = ", ".join(each.id for each in found)
        msg = f"several tokens are called {id_or_name!r}: revoke them by their ids, {ids}"
        raise UserMistake(msg)
    return found[0]
